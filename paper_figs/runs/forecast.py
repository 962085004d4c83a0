"""Forecasts of steps: against what happened, or into the future; ``forecast.png``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs.style import BAND, INK, QUIET, mode_colours, save, styled
from sslsim.core.files import read_arrays, read_json
from theory.linear.two_factor import growth_time, two_factor_law

_MARKERS = "osD^vP"
_NAIVE = "last_rate"


def draw_forecast(folder: str | os.PathLike[str]) -> Path:
    """Draw what a folder of ``sslsim forecast`` holds."""
    folder = Path(folder)
    result, curves = read_json(folder / "forecast.json"), read_arrays(folder / "forecast.npz")
    with styled():
        figure = Figure(figsize=(7.0, 3.3), layout="constrained")
        if result["at"] is None:
            scatter, path = figure.subplots(1, 2)
            _draw_scatter(scatter, result)
            _draw_tightening(path, result)
        else:
            _draw_future(figure.subplots(), result, curves)
        return save(figure, folder / "forecast.png")


def _draw_scatter(axes: Axes, result: dict[str, Any]) -> None:
    came = [
        one
        for one in result["forecasts"]
        if one["size"] == result["judged_at"] and one["measured_step_time"] is not None
    ]
    kinds = list(dict.fromkeys((one["method"], one["encoder"]) for one in came))
    colours = mode_colours(max(len(kinds), 1))
    everything = []
    for place, kind in enumerate(kinds):
        of_kind = [one for one in came if (one["method"], one["encoder"]) == kind]
        remaining = np.array([one["measured_step_time"] - one["time"] for one in of_kind])
        told, low, high, naive = (
            np.array([np.inf if value is None else value for value in values])
            - np.array([one["time"] for one in of_kind])
            for values in (
                [one["step_times"]["two_factor"] for one in of_kind],
                [one["low"] for one in of_kind],
                [one["high"] for one in of_kind],
                [one["step_times"][_NAIVE] for one in of_kind],
            )
        )
        marker = _MARKERS[place % len(_MARKERS)]
        axes.errorbar(
            remaining,
            told,
            yerr=np.abs(np.stack([told - low, high - told])),
            fmt=marker,
            ms=4.5,
            color=colours[place],
            ecolor=colours[place],
            elinewidth=0.7,
            label=", ".join(kind),
        )
        axes.plot(remaining, naive, marker, ms=4.5, mfc="none", mec=QUIET, mew=0.8, ls="none")
        shown = np.concatenate([remaining, told, naive])
        everything += shown[np.isfinite(shown) & (shown > 0)].tolist()
    axes.set(xlabel="time to the step, measured", ylabel="forecast")
    axes.set_title(f"forecast at $\\lambda$ = {result['judged_at']:g}")
    if not everything:
        axes.text(0.5, 0.5, "no step was seen", ha="center", transform=axes.transAxes)
        return
    ends = [min(everything) / 1.5, max(everything) * 1.5]
    axes.set(xscale="log", yscale="log")
    axes.plot(ends, ends, color=INK, lw=0.8)
    axes.plot([], [], "o", mfc="none", mec=QUIET, mew=0.8, ls="none", label="last rate kept up")
    axes.legend(loc="best")


def _draw_tightening(axes: Axes, result: dict[str, Any]) -> None:
    """Forecasts over what happened, by the eigenvalue at which they were made."""
    sizes = sorted({one["size"] for one in result["forecasts"]})
    names = {"two_factor": (INK, "o", "two factors"), _NAIVE: (QUIET, "s", "last rate kept up")}
    for name, (colour, marker, label) in names.items():
        middle, low, high, held = [], [], [], []
        for size in sizes:
            ratios = [
                (one["step_times"][name] - one["time"]) / (one["measured_step_time"] - one["time"])
                for one in result["forecasts"]
                if one["size"] == size
                and one["measured_step_time"] is not None
                and one["step_times"].get(name) is not None
                and one["measured_step_time"] > one["time"]
            ]
            if ratios:
                held.append(size)
                middle.append(np.median(ratios))
                low.append(np.quantile(ratios, 0.1))
                high.append(np.quantile(ratios, 0.9))
        if not held:
            continue
        axes.set(xscale="log", yscale="log")
        axes.plot(held, middle, marker=marker, ms=4, color=colour, label=label)
        axes.fill_between(held, low, high, color=colour, alpha=0.18, lw=0)
    axes.axhline(1.0, color=INK, lw=0.8)
    axes.set(
        xlabel=r"eigenvalue $\lambda$ at the forecast",
        ylabel="remaining time, forecast / measured",
    )
    axes.set_title("median and 10 to 90 % of all plateaus")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best")


def _draw_future(axes: Axes, result: dict[str, Any], curves: dict[str, Any]) -> None:
    times, lam = curves["times_0"], curves["eigenvalues_0"]
    told = result["forecasts"]
    now = told[0]["time"] if told else times[-1]
    colours = mode_colours(lam.shape[1])
    past, rest = times <= now, times >= now
    for mode, colour in enumerate(colours):
        values = np.where(lam[:, mode] > 0, lam[:, mode], np.nan)
        axes.plot(times[past], values[past], color=colour)
        axes.plot(times[rest], values[rest], color=colour, lw=0.8, ls=":")
    for one in told:
        law = two_factor_law(one["lam"], one["late_rate"], one["early_rate"])
        rise = np.geomspace(one["lam"], 0.98, 60)
        when = now + growth_time(law, one["lam"], rise)
        colour = colours[one["mode"] - 1]
        axes.plot(when, one["ceiling"] * rise, color=colour, lw=1.0, ls=(0, (5, 2)))
        height = 0.5 * one["ceiling"]
        axes.plot([one["low"], one["high"]], [height, height], color=colour, lw=0.8, marker="|")
    axes.axvspan(times[0], now, color=BAND, alpha=0.35, lw=0)
    ends = [one["high"] for one in told[:3] if one["high"] is not None]
    axes.set(
        yscale="log",
        xlabel="flow time",
        ylabel=r"eigenvalue $\lambda$",
        xlim=(times[0], max([times[-1], *ends])),
    )
    axes.set_title("shaded: known; dashed: forecast, with its interval; dotted: what happened")
