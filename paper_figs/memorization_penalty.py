"""Memorisation and accuracy against the strength of an alignment penalty: ``penalty.png``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.runs import read_json
from paper_figs.style import INK, QUIET, save, styled

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


def draw(folder: str | os.PathLike[str]) -> Path:
    """Draw what ``sslsim memorization-penalty`` found.

    Parameters
    ----------
    folder : path
        Run folder with ``penalty.json``.

    Returns
    -------
    Path
        Of ``penalty.png`` in the same folder: a measure a panel, with intervals over seeds.

    Raises
    ------
    ValueError
        If the folder does not hold the result or cannot be written to.
    """
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

    Parameters
    ----------
    targets : sequence of str
        Who pays.

    Returns
    -------
    tuple of tuple of str
        Names of score, ratio and alignment loss, each with its words.

    Examples
    --------
    >>> [name for name, _ in measures_shown(["all"])]
    ['raw_above_external', 'ratio_above_external', 'alignment_candidate']
    """
    return _OF_ALL if list(targets) == ["all"] else _OF_CHOSEN


def draw_measure(
    axes: Axes, rows: Sequence[Mapping[str, Any]], targets: Sequence[str], name: str
) -> None:
    """Draw a measure against the strength, strengths evenly spaced.

    Parameters
    ----------
    axes : Axes
        Gets a line a target, with intervals over seeds; accuracies are in percent.
    rows : sequence of mapping
        Of ``penalty.json``.
    targets : sequence of str
        Who pays.
    name : str
        Of the measure.
    """
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
