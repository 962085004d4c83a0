"""How far studies of memorisation agree on who is memorised: other seeds, methods, views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from scipy import stats

from paper_figs import captions
from paper_figs.style import BAND, INK, QUIET
from sslsim.core.files import read_json

LEVEL = 0.9
_KINDS = ("seed", "method", "supervised", "encoder", "views", "protocol", "name")  # order of rows
_PROTOCOLS = {
    "split": "four sets",
    "subsample": "subsampling",
    "closed-form": "closed form",
    "influence": "influence",
}


@dataclass(frozen=True)
class Overlap:
    """Two studies' rankings of the same images, compared.

    Attributes
    ----------
    kind : str
        What sets the studies apart: an option, ``supervised``, or ``name`` of one of them.
    label : str
        The same in words.
    points, top : int
        Images ranked by both; those of the highest scores that were compared.
    tau : float or None
        Kendall's.
    share : float
        Of the top, in common.
    config : mapping
        Content of ``config.json`` of the study.
    """

    kind: str
    label: str
    points: int
    top: int
    tau: float | None
    share: float
    config: Mapping[str, Any]


def overlaps(results: Path) -> list[Overlap]:
    """Collect what studies have to say of each other.

    >>> overlaps(Path("nowhere"))
    []
    """
    rows = []
    for path in sorted(Path(results).glob("*/memorization.json")):
        config = read_json(path.parent / "config.json")
        for other in read_json(path)["agreement"]:
            their_config = path.parent.parent / Path(other["run"]).name / "config.json"
            theirs = read_json(their_config)["options"] if their_config.exists() else other
            kind, label = _difference(config["options"], theirs, path.parent.name)
            rows.append(
                Overlap(
                    kind,
                    label,
                    other["points"],
                    other["top"],
                    other["tau"],
                    other["overlap"],
                    config,
                )
            )
    return sorted(rows, key=lambda row: _KINDS.index(row.kind))


def chance(points: int, top: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where rankings at random lie with a probability of 90 %.

    >>> tau, share = chance(300, 50)
    >>> [round(end, 3) for end in (*tau, *share)]
    [-0.064, 0.064, 0.1, 0.24]
    """
    deviation = np.sqrt(2 * (2 * points + 5) / (9 * points * (points - 1)))
    half = float(stats.norm.ppf(0.5 + LEVEL / 2) * deviation)
    low, high = stats.hypergeom.ppf((0.5 - LEVEL / 2, 0.5 + LEVEL / 2), points, top, top) / top
    return (-half, half), (float(low), float(high))


def draw_overlaps(panels: Sequence[Axes], rows: Sequence[Overlap], between: float | None) -> None:
    """Draw the agreement of rankings, a row a pair of studies, against chance."""
    measures: tuple[list[float | None], ...] = (
        [row.tau for row in rows],
        [row.share for row in rows],
    )
    for which, (axes, values) in enumerate(zip(panels, measures, strict=True)):
        bands = [chance(row.points, row.top)[which] for row in rows]
        for place, (value, (low, high)) in enumerate(zip(values, bands, strict=True)):
            axes.barh(place, high - low, 0.62, left=low, color=BAND, lw=0)
            if value is not None:
                axes.plot(value, place, "o", color=INK, ms=4.5)
        ends = [*(end for band in bands for end in band), *(v for v in values if v is not None)]
        room = 0.06 * (max(ends) - min(ends))
        axes.set_xlim(min(ends) - room, max(ends) + room)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_yticks(range(len(rows)), [])
    if between is not None:
        panels[0].axvline(between, color=QUIET, ls=(0, (4, 2)), lw=0.9, zorder=0)
    panels[0].set_yticks(range(len(rows)), [row.label for row in rows], fontsize=7.5)
    panels[0].axvline(0, color=QUIET, lw=0.8, zorder=0)
    panels[0].set_xlabel("Kendall's tau")
    tops = captions.listed(sorted({row.top for row in rows}))
    panels[1].set_xlabel(f"top {tops} in common")


def _difference(own: Mapping[str, Any], other: Mapping[str, Any], name: str) -> tuple[str, str]:
    """What sets one study apart from another, and words for it; the first that does."""
    differing: dict[str, Any] = {
        key: own.get(key) for key in other if key in _KINDS and own.get(key) != other[key]
    }
    if "protocol" in differing:
        here, there = (
            _PROTOCOLS.get(study["protocol"], study["protocol"]) for study in (own, other)
        )
        return "protocol", f"{here}, {there}"
    if differing.get("method") == "supervised":
        return "supervised", "supervised"
    for key, words in (("method", "{}"), ("encoder", "{}"), ("views", "{} views")):
        if key in differing:
            return key, words.format(captions.name_of(differing[key]))
    return ("seed", "other seeds") if "seed" in differing else ("name", name.replace("_", " "))
