"""Do methods learn the same, and what their kernels predict? A matrix of alignments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.runs import read_json
from paper_figs.style import INK, save, styled


def draw_across(folder: Path) -> Path:
    """Draw the alignment of all embeddings and predictions, values written into the cells.

    Parameters
    ----------
    folder : Path
        Run folder with ``ntk_across.json``.

    Returns
    -------
    Path
        Of ``ntk_across.png`` in the same folder.

    Raises
    ------
    ValueError
        If the folder does not hold the result or cannot be written to.
    """
    result = read_json(folder / "ntk_across.json")
    with styled():
        side = 2.4 + 0.52 * 2 * len(result["methods"])
        figure = Figure(figsize=(side + 0.8, side - 0.4), layout="constrained")
        figure.suptitle(
            f"Alignment of {result['modes']}-dimensional subspaces, mean and range over networks",
            fontsize=9.5,
        )
        draw_matrix(
            figure.subplots(), result, [name.replace("_", " ") for name in result["methods"]]
        )
        return save(figure, folder / "ntk_across.png")


def draw_matrix(axes: Axes, result: Mapping[str, Any], names: Sequence[str]) -> None:
    """Draw alignments as a matrix, mean and range written into the cells, chance on the scale.

    Parameters
    ----------
    axes : Axes
        Whose figure gets the scale beside them.
    result : mapping
        Content of ``ntk_across.json``.
    names : sequence of str
        Of the groups of networks, in their order.
    """
    mean, low, high = (
        np.array(result[key], dtype=np.float64) for key in ("alignment", "lowest", "highest")
    )
    count = len(names)
    ticks = [name.replace(", ", ",\n") for name in names]
    shown = axes.imshow(mean, cmap="Greys", vmin=0, vmax=1)
    axes.set_facecolor("white")
    for (row, column), value in np.ndenumerate(mean):
        if np.isnan(value):
            axes.text(column, row, "-", ha="center", va="center", color=INK)
            continue
        ink = "white" if value > 0.55 else INK
        several = high[row, column] > low[row, column]
        place = row - (0.14 if several else 0)
        axes.text(column, place, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=8)
        if several:
            told = f"{low[row, column]:.2f}-{high[row, column]:.2f}"
            axes.text(column, row + 0.24, told, ha="center", va="center", color=ink, fontsize=5.8)
    for line in (axes.axhline, axes.axvline):
        line(count - 0.5, color=INK, lw=1.4)
    axes.set_xticks(range(2 * count), ticks * 2, rotation=45, ha="right")
    axes.set_yticks(range(2 * count), ticks * 2)
    axes.tick_params(length=0)
    for place, label in ((count / 2 - 0.5, "embeddings"), (1.5 * count - 0.5, "predictions")):
        axes.text(place, -0.75, label, ha="center", va="bottom")
        axes.text(2 * count - 0.3, place, label, rotation=270, ha="left", va="center")
    figure = axes.figure
    bar = figure.colorbar(shown, ax=axes, shrink=0.6, pad=0.06)
    for level in ("chance", "chance_alike"):
        bar.ax.axhline(result[level], color=INK, lw=1.2)
    middle = (result["chance"] + result["chance_alike"]) / 2
    told = f"chance {result['chance']:.2f} to {result['chance_alike']:.2f}"
    marks = {0.25: "0.25", 0.5: "0.5", 0.75: "0.75", 1.0: "1"}
    marks = {place: mark for place, mark in marks.items() if place > middle + 0.06}
    bar.set_ticks([middle, *marks], labels=[told, *marks.values()])
