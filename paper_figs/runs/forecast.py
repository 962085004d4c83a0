"""Forecasts of steps: against what happened, or into the future; ``forecast.png``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from paper_figs.store import grouped
from paper_figs.style import BAND, INK, QUIET, TIME, mode_colours, save, styled
from sslsim.core.files import read_arrays, read_json
from theory.growth.two_factor import growth_time, two_factor_law

_MARKERS = "osD^vP"
NAIVE = "last_rate"
_APART = 0.4  # factor between the heights of intervals, so that none hides another


def draw_forecast(folder: str | os.PathLike[str]) -> Path:
    """Draw what a folder of ``sslsim forecast`` holds."""
    folder = Path(folder)
    result = read_json(folder / "forecast.json")
    with styled():
        if result["at"] is not None:
            curves = read_arrays(folder / "forecast.npz")
            figure = Figure(figsize=(7.0, 3.3), layout="constrained")
            _draw_future(figure.subplots(), result, curves)
            return save(figure, folder / "forecast.png")
        methods = grouped(judged_steps(result), lambda forecast: forecast["method"])
        rows = len(methods) // 2 + 1 if len(methods) > 1 else 1
        figure = Figure(figsize=(7.0, 3.3 * rows), layout="constrained")
        panels = figure.subplots(rows, 2, squeeze=False).flat
        for axes, (method, came) in zip(
            panels, methods.items() if methods else [("", [])], strict=False
        ):
            _draw_scatter(axes, result, method, came)
        _draw_tightening(panels[max(len(methods), 1)], result)
        for axes in panels[max(len(methods), 1) + 1 :]:
            axes.set_axis_off()
        return save(figure, folder / "forecast.png")


def judged_steps(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The judged forecasts of steps that came, as far as there was a forecast."""
    return [
        forecast
        for forecast in result["forecasts"]
        if forecast["size"] == result["judged_at"]
        and forecast["measured_step_time"] is not None
        and not forecast.get("state", "").startswith("queued")
    ]


def _draw_scatter(
    axes: Axes, result: dict[str, Any], method: str, came: Sequence[Mapping[str, Any]]
) -> None:
    kinds = grouped(came, lambda forecast: forecast["encoder"])
    colours = mode_colours(max(len(kinds), 1))
    everything = []
    for place, (kind, of_kind) in enumerate(kinds.items()):
        remaining = np.array(
            [forecast["measured_step_time"] - forecast["time"] for forecast in of_kind]
        )
        predicted, low, high, naive = (
            np.array([np.inf if value is None else value for value in values])
            - np.array([forecast["time"] for forecast in of_kind])
            for values in (
                [forecast["step_times"][main_forecaster(result)] for forecast in of_kind],
                [forecast["low"] for forecast in of_kind],
                [forecast["high"] for forecast in of_kind],
                [forecast["step_times"][NAIVE] for forecast in of_kind],
            )
        )
        marker = _MARKERS[place % len(_MARKERS)]
        axes.errorbar(
            remaining,
            predicted,
            yerr=np.abs(np.stack([predicted - low, high - predicted])),
            fmt=marker,
            ms=4.5,
            color=colours[place],
            ecolor=colours[place],
            elinewidth=0.7,
            label=kind,
        )
        axes.plot(remaining, naive, marker, ms=4.5, mfc="none", mec=QUIET, mew=0.8, ls="none")
        shown = np.concatenate([remaining, predicted, naive])
        everything += shown[np.isfinite(shown) & (shown > 0)].tolist()
    axes.set(xlabel="flow time to the step, measured", ylabel="flow time to the step, forecast")
    axes.set_title(f"{method}, from $\\lambda$ = {result['judged_at']:g} on")
    if not everything:
        axes.text(0.5, 0.5, "no step was seen", ha="center", transform=axes.transAxes)
        return
    ends = [min(everything) / 1.5, max(everything) * 1.5]
    axes.set(xscale="log", yscale="log")
    axes.xaxis.set_minor_formatter(NullFormatter())  # between decades they collide
    axes.plot(ends, ends, color=INK, lw=0.8)
    axes.plot([], [], "o", mfc="none", mec=QUIET, mew=0.8, ls="none", label="last rate kept up")
    axes.legend(loc="best")


def main_forecaster(result: Mapping[str, Any]) -> str:
    """The forecaster that has an interval; results of earlier versions do not name it."""
    return str(result.get("main", "two_factor"))


def _draw_tightening(axes: Axes, result: dict[str, Any]) -> None:
    """Forecasts over what happened, by the eigenvalue at which they were made."""
    sizes = sorted({forecast["size"] for forecast in result["forecasts"]})
    names = {
        main_forecaster(result): (INK, "o", "the law"),
        NAIVE: (QUIET, "s", "last rate kept up"),
    }
    for name, (colour, marker, label) in names.items():
        middle, low, high, judged_sizes = [], [], [], []
        for size in sizes:
            ratios = [
                (forecast["step_times"][name] - forecast["time"])
                / (forecast["measured_step_time"] - forecast["time"])
                for forecast in result["forecasts"]
                if forecast["size"] == size
                and forecast["measured_step_time"] is not None
                and forecast["step_times"].get(name) is not None
                and forecast["measured_step_time"] > forecast["time"]
            ]
            if ratios:
                judged_sizes.append(size)
                middle.append(np.median(ratios))
                low.append(np.quantile(ratios, 0.1))
                high.append(np.quantile(ratios, 0.9))
        if not judged_sizes:
            continue
        axes.set(xscale="log", yscale="log")
        axes.plot(judged_sizes, middle, marker=marker, ms=4, color=colour, label=label)
        axes.fill_between(judged_sizes, low, high, color=colour, alpha=0.18, lw=0)
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
    forecasts = result["forecasts"]
    now = forecasts[0]["time"] if forecasts else times[-1]
    colours = mode_colours(lam.shape[1])
    past, rest = times <= now, times >= now
    for mode, colour in enumerate(colours):
        values = np.where(lam[:, mode] > 0, lam[:, mode], np.nan)
        axes.plot(times[past], values[past], color=colour)
        axes.plot(times[rest], values[rest], color=colour, lw=0.8, ls=":")
    for place, forecast in enumerate(forecasts):
        colour = colours[forecast["mode"] - 1]
        step = forecast["step_times"][main_forecaster(result)]
        if step is not None:
            # The shape of two factors, with the time of the forecast at half the ceiling.
            law = two_factor_law(forecast["lam"], forecast["late_rate"], forecast["early_rate"])
            rise = np.geomspace(forecast["lam"], 0.98, 60)
            when = now + growth_time(law, forecast["lam"], rise)
            if main_forecaster(result) != "two_factor":
                when = now + (when - now) * (step - now) / growth_time(law, forecast["lam"], 0.5)
            axes.plot(when, forecast["ceiling"] * rise, color=colour, lw=1.0, ls=(0, (5, 2)))
        height = 0.5 * forecast["ceiling"] * _APART**place
        interval = np.array([forecast["low"], forecast["high"]], dtype=float)
        axes.plot(interval, [height, height], color=colour, lw=1.0, marker="|")
        words: dict[str, Any] = {"color": colour, "fontsize": 7, "va": "bottom", "clip_on": True}
        if step is not None:
            axes.plot(step, height, "o", color=colour, ms=3.5)
            axes.text(step, height, f"mode {forecast['mode']} ", ha="right", **words)
        elif forecast["low"] is not None and forecast["high"] is None:
            axes.text(forecast["low"], height, f" mode {forecast['mode']}: not before", **words)
    axes.axvspan(times[0], now, color=BAND, alpha=0.35, lw=0)
    ends = [forecast["high"] for forecast in forecasts[:3] if forecast["high"] is not None]
    axes.set(
        yscale="log",
        xlabel=TIME,
        ylabel=r"eigenvalue $\lambda$",
        xlim=(times[0], max([times[-1], *ends])),
    )
    axes.set_title(
        "shaded: known; dashed: forecast; dots: step times, with intervals; dotted: outcome"
    )
