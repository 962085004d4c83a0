"""Figure 5: step times predicted against measured, over all models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from paper_figs import captions
from paper_figs.paper import figure2_linear, figure4_kernels
from paper_figs.store import grouped, read_result
from paper_figs.style import INK, QUIET, WIDTH, entitle, letter, mode_colours
from sslsim.core.files import read_json

WIDE, FORECAST = "wide", "forecast"
COMMAND_WIDE = "sslsim compare --width 64 256 1024 4096 --dim 5 --out DIR/wide (DIR: --results DIR)"
COMMAND_FORECAST = "sslsim forecast --run RUN RUN ... --out DIR/forecast (DIR: --results DIR)"
_MARKERS = "osD^vP*X<"


@dataclass(frozen=True)
class Predictions:
    """Step times of one kind of model by one kind of prediction.

    Attributes
    ----------
    name : str
        Model and what it was predicted from.
    measured, predicted : ndarray, shape (k,)
        Times to the step, learning rate x update.
    low, high : ndarray, shape (k,)
        Intervals of the predictions, NaN where there is none, infinite where they have no end.
    runs : int
        Trainings that the steps were seen in.
    configs : list of dict
        Of the results they come from.
    """

    name: str
    measured: NDArray[np.float64]
    predicted: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    runs: int
    configs: list[dict[str, Any]]


def predictions(results: Path) -> list[Predictions]:
    """Collect what was predicted and measured of linear models and networks."""
    return [*_linear(results), *_wide(results), *_kernels(results), *_forecasts(results)]


def figure(results: Path) -> tuple[Figure, str]:
    """Draw all step times in one scatter, and the ratios kind by kind."""
    kinds = predictions(results)
    drawn = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    scatter, ratios = drawn.subplots(1, 2, width_ratios=(1.05, 1.0))
    _draw_scatter(scatter, kinds)
    _draw_ratios(ratios, kinds)
    for place, axes in enumerate((scatter, ratios)):
        entitle(axes, letter(place))
    return drawn, _caption(kinds)


def _numbers(values: Sequence[float | None], missing: float = np.nan) -> NDArray[np.float64]:
    return np.array([missing if value is None else value for value in values], dtype=np.float64)


def _linear(results: Path) -> list[Predictions]:
    every = figure2_linear.comparisons(results)
    measured, predicted, low, high = (
        np.concatenate([_numbers(comparison[key], missing) for comparison in every])
        for key, missing in (
            ("measured_step_times", np.nan),
            ("predicted_step_times", np.nan),
            ("predicted_low", np.nan),
            ("predicted_high", np.inf),
        )
    )
    configs = [comparison["config"] for comparison in every]
    return [_both("linear: closed form", measured, predicted, low, high, len(every), configs)]


def _wide(results: Path) -> list[Predictions]:
    result, config = (
        read_result(results, WIDE, file, COMMAND_WIDE) for file in ("wide.json", "config.json")
    )
    times_by_kernel = result["ways"]["last"]
    rows = []
    for place in (0, len(result["widths"]) - 1):
        measured, predicted = (
            _numbers(np.ravel(np.array(times[place], dtype=object)).tolist())
            for times in (
                times_by_kernel["measured_step_times"],
                times_by_kernel["kernel"]["step_times"],
            )
        )
        name = f"one hidden layer of {result['widths'][place]}: initial kernel"
        none = np.full_like(measured, np.nan)
        runs = result["repeats"]
        rows.append(_both(name, measured, predicted, none, none, runs, [dict(config)]))
    return rows


def _kernels(results: Path) -> list[Predictions]:
    every = [
        network
        for network in figure4_kernels.networks(results)
        if network["method"] == "barlow_twins"  # whose closed form it is
    ]
    rows = []
    for encoder, some in grouped(every, lambda network: network["encoder"]).items():
        measured, predicted = (
            np.concatenate([_numbers(network[key]) for network in some])
            for key in ("measured_step_times", "predicted_step_times")
        )
        none = np.full_like(measured, np.nan)
        name = f"{captions.name_of(encoder)}: initial kernel"
        configs = [network["config"] for network in some]
        rows.append(_both(name, measured, predicted, none, none, len(some), configs))
    return rows


def _forecasts(results: Path) -> list[Predictions]:
    result = read_result(results, FORECAST, "forecast.json", COMMAND_FORECAST)
    config = read_json(Path(results) / FORECAST / "config.json")
    judged = [
        forecast for forecast in result["forecasts"] if forecast["size"] == result["judged_at"]
    ]
    main = result.get("main", "two_factor")
    rows = []
    for encoder, some in grouped(judged, lambda forecast: forecast["encoder"]).items():
        now = _numbers([forecast["time"] for forecast in some])
        measured, predicted, low, high = (
            _numbers(values, missing) - now
            for values, missing in (
                ([forecast["measured_step_time"] for forecast in some], np.nan),
                ([forecast["step_times"][main] for forecast in some], np.nan),
                ([forecast["low"] for forecast in some], np.nan),
                ([forecast["high"] for forecast in some], np.inf),
            )
        )
        name = f"{captions.name_of(encoder)}: forecast in training"
        runs = len({forecast["run"] for forecast in some})
        rows.append(_both(name, measured, predicted, low, high, runs, [config]))
    return rows


def _both(
    name: str,
    measured: NDArray[np.float64],
    predicted: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    runs: int,
    configs: list[dict[str, Any]],
) -> Predictions:
    """Only steps that were predicted and came."""
    known = (measured > 0) & np.isfinite(predicted) & (predicted > 0)
    steps = [row[known] for row in (measured, predicted, low, high)]
    return Predictions(name, steps[0], steps[1], steps[2], steps[3], runs, configs)


def _looks(kinds: Sequence[Predictions]) -> list[tuple[str, str, str]]:
    """Marker, colour and face of each kind; every other one hollow, so that grey tells them."""
    colours = mode_colours(len(kinds))
    return [
        (_MARKERS[place % len(_MARKERS)], colour, colour if place % 2 else "white")
        for place, colour in enumerate(colours)
    ]


def _draw_scatter(axes: Axes, kinds: Sequence[Predictions]) -> None:
    both = np.concatenate([np.concatenate([kind.measured, kind.predicted]) for kind in kinds])
    ends = np.array([both.min() / 2, both.max() * 2])
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    for kind, (marker, colour, face) in zip(kinds, _looks(kinds), strict=True):
        bounded = _bounded(kind)
        # Those without an end leave the picture, as they should.
        low, high = (
            np.maximum(kind.low[bounded], ends[0] / 9),
            np.minimum(kind.high[bounded], ends[1] * 9),
        )
        axes.vlines(kind.measured[bounded], low, high, color=colour, lw=0.6, alpha=0.5)
        axes.plot(
            kind.measured,
            kind.predicted,
            marker,
            ms=4,
            mec=colour,
            mfc=face,
            mew=0.8,
            label=kind.name,
            zorder=3,
        )
    axes.plot(ends, ends, color=INK, lw=0.8, zorder=1)
    axes.set(xlabel="measured time to a step", ylabel="predicted")


def _draw_ratios(axes: Axes, kinds: Sequence[Predictions]) -> None:
    axes.axvline(1.0, color=INK, lw=0.8, zorder=0)
    for place, (kind, (marker, colour, face)) in enumerate(zip(kinds, _looks(kinds), strict=True)):
        ratio = kind.predicted / kind.measured
        spread = 0.5 * (np.argsort(np.argsort(ratio)) / max(len(ratio) - 1, 1) - 0.5)
        axes.plot(ratio, place + spread, marker, ms=3.5, mec=colour, mfc=face, mew=0.7)
        low, middle, high = np.quantile(ratio, [0.1, 0.5, 0.9])
        axes.plot([low, high], [place + 0.38] * 2, color=QUIET, lw=1.2)
        axes.plot(middle, place + 0.38, "|", color=INK, ms=7, mew=1.4)
    names = [kind.name.replace(": ", ":\n") for kind in kinds]
    axes.set_yticks(range(len(kinds)), names)
    axes.tick_params(axis="y", labelsize=7.5, length=0)
    axes.set(xscale="log", ylim=(len(kinds) - 0.4, -0.5), xlabel="predicted / measured")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(
        FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    )
    axes.tick_params(axis="x", which="minor", labelsize=7.5)


def _caption(kinds: Sequence[Predictions]) -> str:
    configs = [config for kind in kinds for config in kind.configs]
    medians = "; ".join(
        f"{kind.name}, {len(kind.measured)} steps of {_runs(kind)}, median error "
        + captions.percent(float(np.median(np.abs(kind.predicted / kind.measured - 1))))
        + (
            f", {captions.percent(_covered(kind))} inside the interval"
            if _bounded(kind).any()
            else ""
        )
        for kind in kinds
    )
    return (
        "Step times predicted against measured, over all models. a: all steps, marked as in b; "
        "upright lines, intervals, where there are any. b: predicted over measured; bars, from the "
        "tenth to the ninetieth percentile, with the median. Those of linear models are predicted "
        "from data and W(0) before training, with intervals for the population that the pairs were "
        "drawn from; by initial kernels, from the network at initialisation, nothing fitted; "
        "forecasts, from a checkpoint as the mode's eigenvalue is still small, where times are "
        "those left from then on and intervals those of the forecast. "
        f"{medians[0].upper()}{medians[1:]}. Run {captions.device(configs)}."
    )


def _runs(kind: Predictions) -> str:
    return f"{kind.runs} run{'s' if kind.runs != 1 else ''}"


def _bounded(kind: Predictions) -> NDArray[np.bool_]:
    return ~np.isnan(kind.low)


def _covered(kind: Predictions) -> float:
    bounded = _bounded(kind)
    inside = (kind.low <= kind.measured) & (kind.measured <= kind.high)
    return float(inside[bounded].mean())
