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
LAYER = "backbone"
_KINDS = ("seed", "method", "supervised", "encoder", "views", "protocol", "name")  # order of rows
_PROTOCOLS = {
    "split": "four sets",
    "subsample": "subsampling",
    "closed-form": "closed form",
    "influence": "influence",
}


@dataclass(frozen=True)
class Overlap:
    """Two studies' rankings of the same images by their representations, compared.

    Attributes
    ----------
    kind : str
        What sets the studies apart: an option, ``supervised``, or ``name`` of one of them.
    label : str
        The same in words.
    points : int
        Number of images ranked by both.
    tau : float or None
        Kendall's tau of the mean scores.
    correlation : float or None
        Mean Spearman correlation between an encoder pair of one study and one of the other.
    corrected, low, high : float or None
        The same corrected for the reliabilities of both studies, with its 90 % interval.
    config : mapping
        Content of ``config.json`` of the study.
    """

    kind: str
    label: str
    points: int
    tau: float | None
    correlation: float | None
    corrected: float | None
    low: float | None
    high: float | None
    config: Mapping[str, Any]


def overlaps(results: Path, study: str) -> list[Overlap]:
    """Collect how studies agree with one of them.

    >>> overlaps(Path("nowhere"), "resnet18")
    []
    """
    rows = []
    for path in sorted(Path(results).glob("*/memorization.json")):
        config = read_json(path.parent / "config.json")
        for other in read_json(path)["agreement"]:
            if Path(other["run"]).name != study:
                continue
            their_config = path.parent.parent / study / "config.json"
            theirs = read_json(their_config)["options"] if their_config.exists() else other
            kind, label = _difference(config["options"], theirs, path.parent.name)
            (by_layer,) = [
                entry for entry in other.get("by_layer", [other]) if entry["layer"] == LAYER
            ] or [other]
            rows.append(
                Overlap(
                    kind,
                    label,
                    other["points"],
                    by_layer["tau"],
                    by_layer.get("correlation"),
                    by_layer.get("corrected"),
                    by_layer.get("corrected_low"),
                    by_layer.get("corrected_high"),
                    config,
                )
            )
    return sorted(rows, key=lambda row: _KINDS.index(row.kind))


def chance(points: int) -> tuple[float, float]:
    """Where Kendall's tau of rankings at random lies with a probability of 90 %.

    >>> [round(end, 3) for end in chance(300)]
    [-0.064, 0.064]
    """
    deviation = np.sqrt(2 * (2 * points + 5) / (9 * points * (points - 1)))
    half = float(stats.norm.ppf(0.5 + LEVEL / 2) * deviation)
    return -half, half


def draw_overlaps(panels: Sequence[Axes], rows: Sequence[Overlap], between: float | None) -> None:
    """Draw the agreement of rankings, a row a study: as it is, and corrected for noise."""
    left, right = panels
    for place, row in enumerate(rows):
        low, high = chance(row.points)
        left.barh(place, high - low, 0.62, left=low, color=BAND, lw=0)
        if row.tau is not None:
            left.plot(row.tau, place, "o", color=INK, ms=4.5)
        if row.correlation is not None:
            right.plot(row.correlation, place, "o", color=QUIET, mfc="white", ms=4.5)
        if row.corrected is not None:
            right.plot(row.corrected, place, "o", color=INK, ms=4.5)
        if row.low is not None and row.high is not None:
            ends = np.clip([row.low, row.high], -1.0, 1.0)  # corrected, it may leave what can be
            right.plot(ends, [place] * 2, color=INK, lw=1.1)
    if between is not None:
        left.axvline(between, color=QUIET, ls=(0, (4, 2)), lw=0.9, zorder=0)
    for axes in panels:
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_yticks(range(len(rows)), [])
        axes.axvline(0, color=QUIET, lw=0.8, zorder=0)
    right.axvline(1, color=QUIET, lw=0.8, zorder=0)
    left.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=7.5)
    left.set_xlabel("Kendall's tau")
    right.set_xlabel("Spearman's correlation,\ncorrected (open: not)")


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
