"""Late modes sooner: ``acceleration.png``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs.style import INK, QUIET, WIDTH, entitle, letter, mode_colours, save, styled
from sslsim.core.files import read_json

_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (2, 1.2)), (0, (6, 1.5, 1.5, 1.5)), (0, (1, 1)))


def draw_acceleration(folder: str | os.PathLike[str]) -> Path:
    """Draw what is learned over updates and processor time, and how much sooner."""
    result = read_json(Path(folder) / "acceleration.json")
    arms = result["arms"]
    styles = looks([arm["arm"] for arm in arms])
    shown = "modes" if result["plateaus"] else "effective_rank"
    labels = {
        "modes": "modes learned (held-out pairs)",
        "effective_rank": "effective rank (held-out)",
        "accuracy": "accuracy of the representation, %",
    }
    with styled():
        figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
        panels = figure.subplots(2, 2)
        for column, unit in enumerate(("updates", "processor seconds")):
            for row, key in enumerate((shown, "accuracy")):
                axes = panels[row, column]
                for arm in arms:
                    draw_arm(axes, arm, key, unit, styles[arm["arm"]])
                axes.set_xscale("log")
                axes.set_ylabel(labels[key] if column == 0 else "")
                axes.set_xlabel(unit if row == 1 else "")
                entitle(axes, letter(2 * row + column))
        panels[0, 0].axhline(result["dim"] / 2, color=QUIET, lw=0.7, ls=":", zorder=0)
        panels[0, 1].axhline(result["dim"] / 2, color=QUIET, lw=0.7, ls=":", zorder=0)
        handles, names = panels[0, 0].get_legend_handles_labels()
        data, seeds = Path(result["data"]).name, len(result["seeds"])
        title = f"{result['method']}, {result['encoder']} on {data}; thin lines: {seeds} seeds"
        figure.legend(handles, names, loc="outside upper center", ncol=3, title=title)
        return save(figure, Path(folder) / "acceleration.png")


def looks(names: list[str]) -> dict[str, dict[str, Any]]:
    """Colour and dashes of every arm, told apart in grey too; the first is black."""
    colours = [INK, *mode_colours(max(len(names) - 1, 1))]
    return {
        name: {"color": colours[place], "ls": _DASHES[place % len(_DASHES)]}
        for place, name in enumerate(names)
    }


def draw_arm(
    axes: Axes, arm: Mapping[str, Any], key: str, unit: str, look: Mapping[str, Any]
) -> None:
    """Mean over seeds as a thick line, every seed as a thin one."""
    factor = 1.0 if unit == "updates" else arm["seconds"]
    curves = [
        {name: values[1:] for name, values in curve.items()}  # 0 has no logarithm
        for curve in arm["curves"]
        if len(curve["steps"]) > 1
    ]
    scale = 100.0 if key == "accuracy" else 1.0
    for curve in curves:
        steps = factor * np.asarray(curve["steps"])
        axes.plot(steps, scale * np.asarray(curve[key]), lw=0.4, alpha=0.5, **look)
    if not curves:
        return
    grid = max((curve["steps"] for curve in curves), key=len)
    through = [np.interp(grid, curve["steps"], curve[key]) for curve in curves]
    mean = scale * np.mean(through, axis=0)
    axes.plot(factor * np.asarray(grid), mean, lw=1.8, label=f"{arm['arm']}", **look)
