"""Who is memorised, and how surely: ``memorization.png``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.runs import read_arrays, read_json
from paper_figs.memorization_panels import (
    draw_agreement,
    draw_comparisons,
    draw_curve,
    draw_distributions,
    draw_images,
    draw_layers,
    draw_outliers,
)
from paper_figs.style import WIDTH, save, styled

Array = NDArray[Any]
Panel = Callable[[Axes], None]


def draw(folder: str | os.PathLike[str]) -> Path:
    """Draw what a folder of ``sslsim memorization`` holds.

    Parameters
    ----------
    folder : path
        Run folder with ``memorization.json`` and ``scores.npz``.

    Returns
    -------
    Path
        Of ``memorization.png`` in the same folder: the distribution of scores by set, or of planted
        outliers and other images; differences of sets, pairs of encoders as dots; what outliers,
        layers, checkpoints and other studies have to show, where there are any; and the most and
        the least memorised images, outliers framed.

    Raises
    ------
    ValueError
        If the folder does not hold the result, or the picture cannot be written.
    """
    folder = Path(folder)
    result, arrays = read_json(folder / "memorization.json"), read_arrays(folder / "scores.npz")
    panels = _panels(result, arrays)
    rows = (len(panels) + 1) // 2
    tall = 1.6
    with styled():
        figure = Figure(figsize=(WIDTH, 2.5 * rows + tall), layout="constrained")
        parts = figure.subfigures(2, 1, height_ratios=[2.5 * rows, tall], squeeze=False)[:, 0]
        upper, lower = parts
        lone = len(panels) % 2
        layout = [[2 * row, 2 * row + 1] for row in range(rows)]
        if lone:  # the first panel, which holds most, gets the place that is left
            layout = [[0, 0], *([2 * row - 1, 2 * row] for row in range(1, rows))]
        axes = upper.subplot_mosaic(layout)
        for place, panel in enumerate(panels):
            panel(axes[place])
        upper.suptitle(_headline(result), x=0.01, ha="left", fontsize=9)
        draw_images(lower.subplots(2, 1), arrays)
        return save(figure, folder / "memorization.png")


def _panels(result: Mapping[str, Any], arrays: Mapping[str, Array]) -> list[Panel]:
    """What there is to show."""
    panels: list[Panel] = [lambda axes: draw_distributions(axes, result, arrays)]
    if result["sets"]:
        panels.append(lambda axes: draw_comparisons(axes, result))
    group = "candidate" if result["sets"] else "all"
    if result["atypical"] and result["atypical"].get(group):
        panels.append(lambda axes: draw_outliers(axes, result, group))
    if len(result["layers"]) > 1:
        panels.append(lambda axes: draw_layers(axes, result))
    if result.get("curve"):
        panels.append(lambda axes: draw_curve(axes, result))
    if result["agreement"]:
        panels.append(lambda axes: draw_agreement(axes, result))
    return panels


def _headline(result: Mapping[str, Any]) -> str:
    told = f"{result['method']}, {result['encoder']} on {result['data']}, {result['views']} views"
    return f"{told}; {result['protocol']}, {result['layers'][0]}".replace("_", " ")
