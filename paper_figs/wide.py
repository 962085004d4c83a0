"""Error of kernels against the width of networks, and the widest staircases: ``wide.png``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator
from numpy.typing import NDArray

from experiments.runs import read_arrays, read_json
from paper_figs.style import BAND, INK, mode_colours, save, styled

_WAYS = {"last": "last layer scaled", "centred": "initial outputs subtracted"}
_PREDICTIONS = {
    "kernel": ("its kernel, traced over outputs", "o", "#35608d"),
    "full_kernel": ("its kernel, with all blocks", "s", "#bc5a3c"),
    "limit": ("kernel of infinite width", "^", "#7a7a7a"),
}
_APART = 1.07  # factor by which markers of one width are moved, not to hide each other


def draw(folder: str | os.PathLike[str]) -> Path:
    """Draw what ``sslsim compare --width`` found.

    Parameters
    ----------
    folder : path
        Run folder with ``wide.json`` and ``wide.npz``.

    Returns
    -------
    Path
        Of ``wide.png`` in the same folder.

    Raises
    ------
    ValueError
        If the folder does not hold the result or cannot be written to.
    """
    result = read_json(Path(folder) / "wide.json")
    curves = read_arrays(Path(folder) / "wide.npz")
    with styled():
        figure = Figure(figsize=(8.0, 5.8), layout="constrained")
        panels = figure.subplots(2, 2, height_ratios=(1.15, 1.0))
        for column, (way, title) in enumerate(_WAYS.items()):
            _errors(panels[0, column], result, way, title)
            _staircase(panels[1, column], curves, way)
            panels[1, column].set_title(f"width {max(result['widths'])}: {title}")
        low = min(axes.get_ylim()[0] for axes in panels[0]) / 6  # room for the legend
        high = max(axes.get_ylim()[1] for axes in panels[0])
        for axes in panels[0]:
            axes.set_ylim(low, high)
        panels[0, 0].set_ylabel("mean relative error of step times")
        panels[1, 0].set_ylabel("eigenvalue")
        panels[1, 0].legend(handles=_legend(), loc="center", bbox_to_anchor=(0.4, 0.5))
        return save(figure, Path(folder) / "wide.png")


def _errors(axes: Axes, result: dict[str, Any], way: str, title: str) -> None:
    widths = np.array(result["widths"], dtype=np.float64)
    order = np.argsort(widths)
    axes.axhline(0.05, color=BAND, lw=1.0, zorder=0)
    for place, (name, (label, marker, colour)) in enumerate(_PREDICTIONS.items()):
        found = result["ways"][way][name]
        at = widths * _APART ** (place - 1)
        errors = _floats(found["mean_relative_error"])
        seeds = np.repeat(at, errors.shape[1])
        axes.plot(seeds, errors.ravel(), "o", ms=2.2, mew=0.6, mfc="white", color=colour, zorder=3)
        mean, low, high = (_floats(found[key])[order] for key in ("geometric_mean", "low", "high"))
        exponent = found["exponent"]
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


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], color=INK, lw=2.6, alpha=0.35, label="measured in training"),
        Line2D([], [], color=INK, lw=1.1, ls=(0, (4, 2)), label="kernel, traced"),
        Line2D([], [], color=INK, lw=1.1, ls=":", label="kernel, all blocks"),
    ]


def _floats(values: Any) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)  # None becomes NaN
