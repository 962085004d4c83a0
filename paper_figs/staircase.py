"""Staircase of the loss and its eigenvalues, predicted and measured: ``comparison.png``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from experiments.runs import read_arrays, read_json
from paper_figs.style import BAND, INK, QUIET, mode_colours, save, styled


def draw(folder: str | os.PathLike[str]) -> Path:
    """Draw what ``sslsim compare`` found.

    Parameters
    ----------
    folder : path
        Run folder with ``comparison.json`` and ``comparison.npz``.

    Returns
    -------
    Path
        Of ``comparison.png`` in the same folder.

    Raises
    ------
    ValueError
        If the folder does not hold a comparison or cannot be written to.
    """
    result = read_json(Path(folder) / "comparison.json")
    curves = read_arrays(Path(folder) / "comparison.npz")
    with styled():
        figure = Figure(figsize=(6.4, 5.0), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.15, 1.0))
        draw_staircase(above, below, result, curves)
        above.set_title(_title(result))
        return save(figure, Path(folder) / "comparison.png")


def draw_staircase(
    above: Axes, below: Axes, result: Mapping[str, Any], curves: Mapping[str, NDArray[Any]]
) -> None:
    """Draw loss and eigenvalues, measured and predicted, into two panels.

    Parameters
    ----------
    above, below : Axes
        Of the loss and of the eigenvalues; they share the axis of time.
    result, curves : mapping
        Contents of ``comparison.json`` and ``comparison.npz``.
    """
    shown = curves["times"] > 0  # the logarithm has no place for the start
    times = curves["times"][shown]
    steps = [step for step in result["predicted_step_times"] if step]
    _mark_steps((above, below), result)
    above.plot(times, curves["measured_loss"][shown], color=INK, lw=2.2, alpha=0.45)
    above.plot(times, curves["predicted_loss"][shown], color=INK, lw=1.2, ls=(0, (4, 2)))
    above.set(ylabel="loss")
    above.set_ylim(-0.03 * result["dim"], 1.04 * result["dim"])
    colours = mode_colours(result["dim"])
    order = np.argsort([np.inf if s is None else s for s in result["predicted_step_times"]])
    for place, (mode, colour) in enumerate(zip(order, colours, strict=True)):
        measured = curves["measured_eigenvalues"][shown, place]
        below.plot(times, measured, color=colour, lw=2.2, alpha=0.5)
        predicted = curves["predicted_eigenvalues"][shown, mode]
        below.plot(times, predicted, color=colour, lw=1.2, ls=(0, (4, 2)))
    below.set(ylabel="eigenvalue", xlabel="time (learning rate $\\times$ iteration)")
    below.set_ylim(-0.03, 1.06)
    below.set_xscale("log")
    below.set_xlim(min(steps, default=2 * times[0]) / 2, times[-1])
    above.legend(handles=_legend(), loc="lower left")


def _mark_steps(panels: tuple[Axes, Axes], result: Mapping[str, Any]) -> None:
    for step in result["predicted_step_times"]:
        if step is not None:
            for axes in panels:
                axes.axvline(step, color=BAND, lw=0.8, zorder=0)


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], color=INK, lw=2.2, alpha=0.45, label="measured in training"),
        Line2D([], [], color=INK, lw=1.2, ls=(0, (4, 2)), label="predicted before training"),
        Line2D([], [], color=QUIET, lw=0.8, label="predicted step times"),
    ]


def _title(result: dict[str, Any]) -> str:
    error = result["mean_relative_error"]
    judged = "no step seen" if error is None else f"mean step-time error {100 * error:.2g} %"
    name = Path(result["data"]).name
    return f"Linear Barlow Twins on {result['n_pairs']} pairs of {name}: {judged}"
