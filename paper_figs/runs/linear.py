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
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from numpy.typing import NDArray

from paper_figs.style import BAND, INK, QUIET, mode_colours, save, styled
from sslsim.core.files import read_arrays, read_json


def draw_comparison(folder: str | os.PathLike[str]) -> Path:
    """Draw what ``sslsim compare`` found."""
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
    """Draw loss and eigenvalues, measured and predicted, into two panels."""
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


def draw_prediction(folder: str | os.PathLike[str]) -> Path:
    """Draw what ``sslsim predict`` found."""
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
        name, kernel = Path(result["data"]).name, result.get("kernel")
        model = "Linear Barlow Twins" if kernel is None else f"Kernel {Path(kernel).name}"
        above.set_title(f"{model} on {result['n_pairs']} pairs of {name}, predicted")
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
            if result.get("step_time_mean"):
                draws = [result[f"step_time_draw_{end}"][mode] for end in ("low", "high")]
                if None not in draws:
                    below.plot(draws, [mode + 1.3] * 2, color=INK, lw=0.8)
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
            f"bars: {level} intervals for the population they were drawn from"
            + ("\nlines: over draws of the initial function" if "step_time_mean" in result else ""),
            transform=below.transAxes,
            fontsize=7.5,
            color=QUIET,
            va="bottom",
        )
        return save(figure, Path(folder) / "prediction.png")


_WAYS = {"last": "last layer scaled", "centred": "initial outputs subtracted"}
_PREDICTIONS = {
    "kernel": ("its kernel, traced over outputs", "o", "#35608d"),
    "full_kernel": ("its kernel, with all blocks", "s", "#bc5a3c"),
    "limit": ("kernel of infinite width", "^", "#7a7a7a"),
}
_APART = 1.07  # factor by which markers of one width are moved, not to hide each other


def draw_widths(folder: str | os.PathLike[str]) -> Path:
    """Draw what ``sslsim compare --width`` found."""
    result = read_json(Path(folder) / "wide.json")
    curves = read_arrays(Path(folder) / "wide.npz")
    with styled():
        figure = Figure(figsize=(8.0, 5.8), layout="constrained")
        panels = figure.subplots(2, 2, height_ratios=(1.15, 1.0))
        _draw_errors(panels[0], result)
        for column, (way, title) in enumerate(_WAYS.items()):
            _staircase(panels[1, column], curves, way)
            panels[1, column].set_title(f"width {max(result['widths'])}: {title}")
        panels[1, 0].set_ylabel("eigenvalue")
        panels[1, 0].legend(handles=_legend_wide(), loc="center", bbox_to_anchor=(0.4, 0.5))
        return save(figure, Path(folder) / "wide.png")


def draw_width_errors(folder: str | os.PathLike[str]) -> Path:
    """Draw only the errors by width, which need no curves."""
    with styled():
        figure = Figure(figsize=(8.0, 3.3), layout="constrained")
        _draw_errors(figure.subplots(1, 2), read_json(Path(folder) / "wide.json"))
        return save(figure, Path(folder) / "wide.png")


def _draw_errors(panels: NDArray[Any], result: dict[str, Any]) -> None:
    for axes, (way, title) in zip(panels, _WAYS.items(), strict=True):
        _errors(axes, result, way, title)
    low = min(axes.get_ylim()[0] for axes in panels) / 6  # room for the legend
    high = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(low, high)
    panels[0].set_ylabel("mean relative error of step times")


def _errors(axes: Axes, result: dict[str, Any], way: str, title: str) -> None:
    widths = np.array(result["widths"], dtype=np.float64)
    order = np.argsort(widths)
    axes.axhline(0.05, color=BAND, lw=1.0, zorder=0)
    for place, (name, (label, marker, colour)) in enumerate(_PREDICTIONS.items()):
        if (by_width := result["ways"][way].get(name)) is None:  # left out of a stored result
            continue
        at = widths * _APART ** (place - 1)
        errors = _floats(by_width["mean_relative_error"])
        seeds = np.repeat(at, errors.shape[1])
        axes.plot(seeds, errors.ravel(), "o", ms=2.2, mew=0.6, mfc="white", color=colour, zorder=3)
        mean, low, high = (
            _floats(by_width[key])[order] for key in ("geometric_mean", "low", "high")
        )
        exponent = by_width["exponent"]
        law = "" if exponent is None else f" (width$^{{{exponent:.2f}}}$)"
        axes.errorbar(
            at[order],
            mean,
            yerr=np.maximum([mean - low, high - mean], 0.0),
            fmt=marker + "-",
            ms=5.5,
            lw=1.2,
            capsize=2,
            color=colour,
            label=label + law,
        )
    axes.set(xscale="log", yscale="log", xlabel="width", title=title)
    axes.set_xticks(widths, [f"{width:g}" for width in widths])
    axes.minorticks_off()
    shown = (0.001, 0.003, 0.01, 0.03, 0.05, 0.1, 0.3, 1.0)
    axes.set_yticks(shown, [f"{100 * tick:g} %" for tick in shown])
    axes.legend(loc="lower left", title="step times predicted by", alignment="left")


def _staircase(axes: Axes, curves: dict[str, NDArray[Any]], way: str) -> None:
    measured = curves[f"{way}_measured_eigenvalues"]
    styles: dict[str, dict[str, Any]] = {
        "measured": {"lw": 2.6, "alpha": 0.35},
        "kernel": {"lw": 1.1, "ls": (0, (4, 2))},
        "full_kernel": {"lw": 1.1, "ls": ":"},
    }
    for name, style in styles.items():
        times = curves[f"{way}_{name}_times"]
        eigenvalues = curves[f"{way}_{name}_eigenvalues"]
        for j, colour in enumerate(mode_colours(measured.shape[1])):
            axes.plot(times[1:], eigenvalues[1:, j], color=colour, **style)
    first = np.flatnonzero(measured[:, 0] > 0.02)
    times = curves[f"{way}_measured_times"]
    start = times[max(int(first[0]) if first.size else 1, 1)]
    axes.set(xscale="log", xlabel="time (learning rate $\\times$ iteration)", ylim=(-0.03, 1.06))
    axes.set_xlim(start, max(times[-1], 2 * start))
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
    axes.minorticks_off()


def _legend_wide() -> list[Line2D]:
    return [
        Line2D([], [], color=INK, lw=2.6, alpha=0.35, label="measured in training"),
        Line2D([], [], color=INK, lw=1.1, ls=(0, (4, 2)), label="kernel, traced"),
        Line2D([], [], color=INK, lw=1.1, ls=":", label="kernel, all blocks"),
    ]


def _floats(values: Any) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)  # None becomes NaN
