"""What figure 8 reads: a study of memorisation and what was made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from experiments.runs import read_json
from paper_figs import captions
from paper_figs.memorization_overlap import Overlap, overlaps
from paper_figs.store import read_result

NAME = "memorization"
COMMAND = "sslsim memorization --curve 5 --out DIR/memorization/split (DIR as in --results DIR)"


@dataclass(frozen=True)
class Found:
    """What is stored of memorisation.

    Attributes
    ----------
    result, config, arrays : mapping
        Of the study ``split``.
    removal, penalty : mapping or None
        Contents of ``removal.json`` and ``penalty.json``.
    rows : list of Overlap
        What studies say of each other.
    configs : list of mapping
        Of everything drawn.
    """

    result: Mapping[str, Any]
    config: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    removal: Mapping[str, Any] | None
    penalty: Mapping[str, Any] | None
    rows: list[Overlap]
    configs: list[Mapping[str, Any]]


def read(results: Path) -> Found:
    """Read what is stored.

    Parameters
    ----------
    results : Path
        As of :func:`paper_figs.figure8_memorization.figure`.

    Returns
    -------
    Found

    Raises
    ------
    ValueError
        As of :func:`paper_figs.figure8_memorization.figure`.
    """
    result, config, arrays = (
        read_result(results, f"{NAME}/split", file, COMMAND)
        for file in ("memorization.json", "config.json", "scores.npz")
    )
    if not result["sets"]:
        raise ValueError(
            f"{Path(results) / NAME / 'split'} is of protocol {result['protocol']}; "
            "expected split, which has four sets"
        )
    folder = Path(results) / NAME
    rows, configs = overlaps(folder), [config]
    made: dict[str, dict[str, Any]] = {}
    for name in ("removal", "penalty"):
        if (folder / name / f"{name}.json").exists():
            made[name] = read_json(folder / name / f"{name}.json")
            configs.append(read_json(folder / name / "config.json"))
    configs += [one.config for one in rows]
    return Found(result, config, arrays, made.get("removal"), made.get("penalty"), rows, configs)


def own_and_transferred(removal: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Curves of linear probes.

    Parameters
    ----------
    removal : mapping
        Content of ``removal.json``.

    Returns
    -------
    list of mapping
        Its ``results``, those on the data set of the study first.
    """
    found = [one for one in removal["results"] if one["measure"] == "linear"]
    return sorted(found, key=lambda one: one["data"] != removal["data"])


def layer_name(layer: str) -> str:
    """A layer as readers know it.

    Parameters
    ----------
    layer : str
        As options spell it.

    Returns
    -------
    str
        The name.

    Examples
    --------
    >>> [layer_name(one) for one in ("layer1", "backbone", "projector")]
    ['layer1', 'representation', 'embedding']
    """
    return {"backbone": "representation", "projector": "embedding"}.get(layer, layer)


def data_name(data: str) -> str:
    """What accuracies were read on, as readers know it.

    Parameters
    ----------
    data : str
        A data set, or its outliers.

    Returns
    -------
    str
        The name.

    Examples
    --------
    >>> data_name("cifar10, outliers"), data_name("digits")
    ('CIFAR-10 (outliers)', 'digits')
    """
    name, comma, kind = data.partition(", ")
    return f"{captions.name_of(name)} ({kind})" if comma else captions.name_of(name)
