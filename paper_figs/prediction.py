"""Predicted staircase and step times with their intervals: ``prediction.png``."""

from __future__ import annotations

import os
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.runs import read_arrays, read_json
from paper_figs.style import BAND, INK, QUIET, mode_colours, save, styled


def draw(folder: str | os.PathLike[str]) -> Path:
    """Draw what ``sslsim predict`` found.

    Parameters
    ----------
    folder : path
        Run folder with ``prediction.json`` and ``prediction.npz``.

    Returns
    -------
    Path
        Of ``prediction.png`` in the same folder.

    Raises
    ------
    ValueError
        If the folder does not hold a prediction or cannot be written to.
    """
    result = read_json(Path(folder) / "prediction.json")
    curves = read_arrays(Path(folder) / "prediction.npz")
    times = curves["times"]
    dim = len(result["step_times"])
    with styled():
        figure = Figure(figsize=(6.4, 5.0), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.15, 1.0))
        for step in result["step_times"]:
            if step is not None:
                for axes in (above, below):
                    axes.axvline(step, color=BAND, lw=0.8, zorder=0)
        above.plot(times, curves["loss"], color=INK, lw=1.6)
        above.set(ylabel="predicted loss", ylim=(-0.03 * dim, 1.04 * dim))
        name = Path(result["data"]).name
        above.set_title(f"Linear Barlow Twins on {result['n_pairs']} pairs of {name}, predicted")
        ends = [high for high in result["step_time_high"] if high is not None]
        right = max([times[-1], *(1.05 * end for end in ends)])
        for mode, colour in enumerate(mode_colours(dim)):
            step, low, high = (
                result[name][mode] for name in ("step_times", "step_time_low", "step_time_high")
            )
            if low is not None:
                below.plot(
                    [max(low, times[0]), right if high is None else high],
                    [mode + 1, mode + 1],
                    color=colour,
                    lw=3.0,
                    alpha=0.45,
                    solid_capstyle="butt",
                )
            if step is not None:
                filled = colour if result["resolved"][mode] else "white"
                below.plot(step, mode + 1, "o", ms=5, mec=colour, mfc=filled)
        below.set(ylabel="mode", ylim=(dim + 0.6, 0.4))
        below.set(
            xlabel="time (learning rate $\\times$ iteration)", xscale="log", xlim=(times[0], right)
        )
        below.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=2))
        level = f"{100 * result['interval_level']:g} %"
        below.text(
            0.01,
            0.03,
            f"dots: step times of these pairs (hollow: not resolved by the sample)\n"
            f"bars: {level} intervals for the population they were drawn from",
            transform=below.transAxes,
            fontsize=7.5,
            color=QUIET,
            va="bottom",
        )
        return save(figure, Path(folder) / "prediction.png")
