"""What a study leaves: scores of every image, and what they say of sets, outliers and networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from experiments.memorization.agreement import agreement_with, image_hashes
from experiments.memorization.atypical import KINDS
from experiments.memorization.options import MemorizationOptions
from experiments.memorization.points import Points, sets_of
from experiments.memorization.statistics import SETS, split_tests
from experiments.runs import write_arrays, write_json
from experiments.umm_table import summed_up
from sslsim.memorization import rank_points

Array = NDArray[np.float64]

_SHOWN = 24  # images at either end of the ranking that are kept for the picture
_LEVEL = 0.9


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of n images.

    Attributes
    ----------
    scores, standard_error : ndarray, shape (layers, n)
        By layer as the options name them, high for memorised images; errors are NaN where one
        encoder (or none, in closed form) stands behind a score.
    units : ndarray, shape (layers, pairs, n)
        Scores under every pair of encoders of the split protocol; no pairs for the others.
    losses : ndarray, shape (encoders, layers, n)
        Alignment losses.
    members : ndarray of bool, shape (encoders, n)
        Which images every encoder was trained on.
    details : dict
        What else goes to ``memorization.json``.
    """

    scores: Array
    standard_error: Array
    units: Array
    losses: Array
    members: NDArray[np.bool_]
    details: dict[str, Any]


def write_results(
    folder: Path, options: MemorizationOptions, points: Points, scored: Scored
) -> dict[str, Any]:
    """Write ``scores.npz`` and ``memorization.json``.

    Parameters
    ----------
    folder : Path
        Of the run.
    options : MemorizationOptions
        Of the study.
    points : Points
        What was scored.
    scored : Scored
        The scores.

    Returns
    -------
    dict
        What was written to ``memorization.json``; its keys are explained in
        ``experiments/docs/memorization.md``.

    Raises
    ------
    ValueError
        If a study to compare with scored other images, or a file cannot be read or written.
    """
    first = scored.scores[0]
    sets = sets_of(points)
    # Of the four sets candidates alone can be memorised: they are ranked.
    ranked = np.flatnonzero(np.isin(sets, (-1, SETS.index("candidate"))))
    order = ranked[rank_points(first[ranked]).numpy()]
    shown = min(_SHOWN, len(order) // 2)
    most, least = order[:shown], order[::-1][:shown].copy()
    atypical = points.atypical.numpy()
    layers = scored.details.get("layers", options.layers)
    agreement = [
        agreement_with(other, points, scored.scores, layers, options.top)
        for other in options.compare
    ]
    result = {
        "protocol": options.protocol,
        "method": options.method,
        "encoder": options.encoder,
        "data": options.data,
        "points": len(first),
        "form": options.form,
        "distance": options.distance,
        "normalise": options.normalise,
        "layers": options.layers,
        **scored.details,
        "mean": scored.scores.mean(axis=1),
        "deviation": scored.scores.std(axis=1),
        "sets": _by_set(scored, points) if points.sets else None,
        "atypical": _found_outliers(scored, sets, atypical) if options.atypical else None,
        "agreement": agreement,
    }
    write_arrays(
        folder / "scores.npz",
        scores=scored.scores,
        standard_error=scored.standard_error,
        units=scored.units,
        losses=scored.losses,
        members=scored.members,
        numbers=points.numbers.numpy(),
        hashes=image_hashes(points.images),
        sets=sets,
        atypical=atypical,
        order=order,
        most=points.images[most].numpy(),
        least=points.images[least].numpy(),
    )
    write_json(folder / "memorization.json", result)
    return result


def _by_set(scored: Scored, points: Points) -> list[dict[str, Any]]:
    """Of every layer: mean scores of the sets and the tests between them, pairs as units."""
    found = []
    for units in scored.units:
        tests = split_tests(units, {name: rows.numpy() for name, rows in points.sets.items()})
        found.append(
            {
                "means": tests.means,
                "offset": tests.offset,
                "offset_error": tests.offset_error,
                "comparisons": [asdict(test) for test in tests.comparisons],
                "agreement_of_pairs": _pairs_agree(units[:, points.sets["candidate"].numpy()]),
            }
        )
    return found


def _pairs_agree(units: Array) -> float:
    """Mean Kendall's tau of the candidates' scores between pairs of encoders."""
    taus = [
        stats.kendalltau(units[i], units[j]).statistic for i in range(len(units)) for j in range(i)
    ]
    return float(np.mean(taus))


def _found_outliers(scored: Scored, sets: NDArray[Any], atypical: NDArray[Any]) -> dict[str, Any]:
    """How well scores of the first layer tell outliers, set by set: areas under ROC curves."""
    groups = {SETS[code]: sets == code for code in range(len(SETS)) if np.any(sets == code)}
    groups = groups or {"all": np.ones(len(sets), dtype=bool)}
    found: dict[str, Any] = {}
    for name, rows in groups.items():
        kinds = {"any": atypical > 0}
        kinds |= {KINDS[kind]: atypical == kind for kind in range(1, len(KINDS))}
        of_group = {}
        for kind, chosen in kinds.items():
            planted, others = chosen & rows, (atypical == 0) & rows
            if not planted.any() or not others.any():
                continue
            units = [_auc(unit[planted], unit[others]) for unit in scored.units[0]]
            of_group[kind] = {
                "points": int(planted.sum()),
                "auc": _auc(scored.scores[0][planted], scored.scores[0][others]),
                **_interval(units),
            }
        found[name] = of_group
    return found


def _auc(planted: Array, others: Array) -> float:
    """Chance that an outlier scores above another image, ties counting half."""
    statistic = stats.mannwhitneyu(planted, others).statistic
    return float(statistic / (len(planted) * len(others)))


def _interval(units: Sequence[float]) -> dict[str, Any]:
    """Mean over pairs of encoders and its Student interval."""
    if len(units) < 2:
        return {"units": np.asarray(units), "mean": None, "low": None, "high": None}
    found = summed_up(units, _LEVEL)
    return {"units": found["values"], **{name: found[name] for name in ("mean", "low", "high")}}
