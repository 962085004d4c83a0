"""Accuracy of encoders trained without some images: ``removal.png``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs.style import BAND, INK, QUIET, save, styled
from sslsim.core.files import read_json

_LINES: dict[str, tuple[str, str, str, Any]] = {  # label, colour, marker, line: also for grey
    "most": ("most memorised", "#1d3f66", "o", "-"),
    "random": ("random", QUIET, "s", (0, (4, 2))),
    "least": ("least memorised", "#bc5a3c", "^", (0, (1, 1.2))),
}
_APART = 1.06  # factor by which markers of one share are moved, not to hide each other


def draw_removal(folder: str | os.PathLike[str]) -> Path:
    """Draw what ``sslsim memorization-removal`` found."""
    result = read_json(Path(folder) / "removal.json")
    results = result["results"]
    compared = any(_differences(curve) for part in results for curve in part["curves"])
    with styled():
        rows = 2 if compared else 1
        size = (1.0 + 2.5 * max(len(results), 2), 1.2 + 2.0 * rows)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(rows, len(results), squeeze=False, sharex=True)
        for place, part in enumerate(results):
            draw_accuracies(panels[0, place], part)
            panels[0, place].set_title(f"{Path(part['data']).name}\n{part['measure']}")
            if compared:
                _draw_differences(panels[1, place], part)
            label_shares(panels[-1, place], part)
        panels[0, 0].set_ylabel("accuracy, %")
        if compared:
            panels[1, 0].set_ylabel("less random removed, points")
        figure.supxlabel("share of the pool not trained on, %", fontsize=9)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncol=4)
        return save(figure, Path(folder) / "removal.png")


def draw_accuracies(axes: Axes, result: Mapping[str, Any]) -> None:
    """Draw accuracies against the share removed."""
    none = result["none"]
    if none is not None:
        if none["low"] is not None:
            axes.axhspan(100 * none["low"], 100 * none["high"], color=BAND, alpha=0.5, lw=0)
        axes.axhline(100 * none["mean"], color=INK, lw=0.8, ls=":", label="nothing removed")
    for curve in result["curves"]:
        _draw_curve(axes, curve["which"], curve["points"], "accuracy")


def _draw_differences(axes: Axes, result: Mapping[str, Any]) -> None:
    axes.axhline(0.0, color=QUIET, lw=0.8)
    for curve in result["curves"]:
        if points := _differences(curve):
            _draw_curve(axes, curve["which"], points, "from_random")


def _differences(curve: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [point for point in curve["points"] if point["from_random"] is not None]


def _draw_curve(axes: Axes, which: str, points: Sequence[Mapping[str, Any]], key: str) -> None:
    label, colour, marker, line = _LINES[which]
    factor = _APART ** (list(_LINES).index(which) - 1)
    shares = [100 * factor * point["share"] for point in points]
    means = [100 * point[key]["mean"] for point in points]
    axes.plot(shares, means, marker=marker, ls=line, ms=4, lw=1.1, color=colour, label=label)
    for share, point in zip(shares, points, strict=True):
        if point[key]["low"] is not None:
            ends = [100 * point[key]["low"], 100 * point[key]["high"]]
            axes.plot([share, share], ends, color=colour, lw=0.9)


def label_shares(axes: Axes, result: Mapping[str, Any]) -> None:
    """Give the shares that were removed for ticks, in percent, on a logarithmic scale."""
    shares = sorted({point["share"] for curve in result["curves"] for point in curve["points"]})
    axes.set_xscale("log")
    axes.set_xticks([100 * share for share in shares], [f"{100 * share:g}" for share in shares])
    axes.minorticks_off()
    if len(shares) == 1:
        axes.set_xlim(50 * shares[0], 200 * shares[0])


_TARGETS = {  # label, colour, marker
    "all": ("all images pay", INK, "o"),
    "most": ("the most memorised pay", "#35608d", "o"),
    "random": ("random ones pay", QUIET, "s"),
}
_OF_ALL = (
    ("raw_above_external", "candidates' score\nabove external images"),
    ("ratio_above_external", "the same,\n(g - f) / (g + f)"),
    ("alignment_candidate", "alignment loss of\ncandidates under f"),
)
_OF_CHOSEN = (
    ("raw_chosen", "score of those chosen\nabove shared images"),
    ("ratio_chosen", "the same,\n(g - f) / (g + f)"),
    ("alignment_chosen", "alignment loss of\nthose chosen under f"),
)


def draw_penalty(folder: str | os.PathLike[str]) -> Path:
    """Draw what ``sslsim memorization-penalty`` found."""
    result = read_json(Path(folder) / "penalty.json")
    rows, targets = result["rows"], result["targets"]
    shown = [*measures_shown(targets)]
    shown += [(name, _title(name)) for name in rows[0]["measures"] if ": " in name]
    columns = min(len(shown), 4)
    height = -(-len(shown) // columns)
    with styled():
        size = (0.6 + 2.2 * columns, 0.8 + 2.1 * height)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(height, columns, squeeze=False).flatten()
        for axes, (name, title) in zip(panels, shown, strict=False):
            draw_measure(axes, rows, targets, name)
            axes.set_title(title)
            axes.set_xticks(
                range(len(result["strengths"])), [f"{s:g}" for s in result["strengths"]]
            )
        for axes in panels[len(shown) :]:
            axes.set_axis_off()
        figure.supxlabel("strength of the penalty", fontsize=9)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncol=len(labels))
        return save(figure, Path(folder) / "penalty.png")


def measures_shown(targets: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Measures of memorisation that tell of those who pay.

    >>> [name for name, _ in measures_shown(["all"])]
    ['raw_above_external', 'ratio_above_external', 'alignment_candidate']
    """
    return _OF_ALL if list(targets) == ["all"] else _OF_CHOSEN


def draw_measure(
    axes: Axes, rows: Sequence[Mapping[str, Any]], targets: Sequence[str], name: str
) -> None:
    """Draw a measure against the strength, strengths evenly spaced."""
    factor = 100.0 if ": " in name else 1.0
    if factor == 1.0 and not name.startswith("alignment"):
        axes.axhline(0.0, color=QUIET, lw=0.8)
    for number, target in enumerate(targets):
        label, colour, marker = _TARGETS[target]
        own = [row["measures"][name]["value"] for row in rows if row["target"] == target]
        places = [place + 0.08 * (number - (len(targets) - 1) / 2) for place in range(len(own))]
        means = [factor * value["mean"] for value in own]
        axes.plot(places, means, marker + "-", ms=4, lw=1.1, color=colour, label=label)
        for place, value in zip(places, own, strict=True):
            if value["low"] is not None:
                ends = [factor * value["low"], factor * value["high"]]
                axes.plot([place, place], ends, color=colour, lw=0.9)
    axes.margins(x=0.1)


def _title(name: str) -> str:
    """Of the panel of an accuracy."""
    measure, _, data = name.partition(": ")
    return f"{'linear probe' if measure == 'linear' else measure}, %\n{Path(data).name}"
