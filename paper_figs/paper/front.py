"""Front page: four results in one picture, each beside its baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs import captions
from paper_figs.paper import figure8_memorization
from paper_figs.runs.acceleration import draw_arm, looks
from paper_figs.runs.forecast import NAIVE, judged_steps, main_forecaster
from paper_figs.store import grouped, read_result, read_results
from paper_figs.style import BAND, INK, QUIET, TIME, entitle, letter, mode_colours
from sslsim.core.files import read_arrays

STEPS, FORECAST, SOONER = "methods", "forecast", "acceleration/convnet"
_COMMANDS = {
    STEPS: "sslsim train --encoder resnet50 --out DIR/methods/NAME (DIR as in --results DIR)",
    FORECAST: "sslsim forecast --run RUN RUN ... --out DIR/forecast (DIR: --results DIR)",
    SOONER: "sslsim accelerate --out DIR/acceleration/convnet (DIR as in --results DIR)",
}
_ARMS = ("sgd", "muon", "sgd+embedding", "muon+embedding")
_MARKERS = "osD^vP"
_SIZE = (8.0, 6.0)  # inches: 1,600 pixels wide at the resolution of the picture


def figure(results: Path) -> tuple[Figure, str]:
    """Draw steps of a ResNet-50, forecasts, memorisation by layer, and late modes sooner."""
    runs = _runs(results)
    steps = _forecasts(results)
    networks, configs = _memorised(results)
    sooner = read_result(results, SOONER, "acceleration.json", _COMMANDS[SOONER])
    drawn = Figure(figsize=_SIZE)
    drawn.set_layout_engine("constrained", w_pad=0.1, h_pad=0.08)
    panels = drawn.subplots(2, 2).flat
    parts = (
        _draw_steps(panels[0], results, runs),
        _draw_forecasts(panels[1], steps),
        _draw_memorised(panels[2], networks),
        _draw_sooner(panels[3], sooner),
    )
    for place, (title, _) in enumerate(parts):
        entitle(panels[place], letter(place), title)
    configs += [run["config"] for run in runs]
    configs += [
        read_result(results, name, "config.json", _COMMANDS[name]) for name in (FORECAST, SOONER)
    ]
    words = " ".join(f"{letter(place)}: {text}" for place, (_, text) in enumerate(parts))
    return drawn, f"Results in one picture. {words} Run {captions.device(configs)}."


def _runs(results: Path) -> list[dict[str, Any]]:
    """Trainings of a ResNet by Barlow Twins, the first seed first."""
    every = read_results(results, STEPS, "training.json", "run", _COMMANDS[STEPS])
    some = [run for run in every if run["method"] == "barlow_twins"]
    if not some:
        raise ValueError(f"{Path(results) / STEPS} holds no run of Barlow Twins")
    return sorted(some, key=lambda run: run["config"]["options"]["seed"])


def _draw_steps(axes: Axes, results: Path, runs: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    first = runs[0]
    name = f"barlow_twins_{first['config']['options']['seed']}"
    records = read_arrays(Path(results) / STEPS / name / "records.npz")
    curves = records[first["spectrum"]]
    for step in filter(None, first["step_times"]):
        axes.axvline(step, color=BAND, lw=1.0, zorder=0)
    colours = mode_colours(curves.shape[1])
    for place, (curve, colour) in enumerate(zip(curves.T, colours, strict=True)):
        axes.plot(records["times"], curve, color=colour, lw=1.8)
        if (step := first["step_times"][place]) is not None:
            axes.plot(step, first["step_heights"][place] / 2, "o", ms=5, mfc="white", mec=colour)
    start = min(filter(None, first["step_times"])) / 3
    axes.set(xscale="log", xlim=(start, records["times"][-1]))
    axes.set_xlabel(TIME, fontsize=8)
    axes.set_ylabel("eigenvalue of the correlation C")
    network = captions.name_of(first["encoder"])
    counts = [run["detected_steps"] for run in runs]
    others = f" ({', '.join(map(str, counts[1:]))} with other seeds)" if counts[1:] else ""
    text = (
        f"eigenvalues of the cross-correlation C of embeddings of a {network} in training (Barlow "
        f"Twins, {captions.name_of(first['data'])}, "
        f"{captions.seeds([first['config']['options']['seed']])}), one line a dimension; circles "
        f"and upright lines, the {counts[0]} steps detected{others}."
    )
    return f"A {network} learns in {counts[0]} steps", text


def _forecasts(results: Path) -> list[dict[str, Any]]:
    result = read_result(results, FORECAST, "forecast.json", _COMMANDS[FORECAST])
    main = main_forecaster(result)
    return [
        {
            "encoder": step["encoder"],
            "run": step["run"],
            "measured": step["measured_step_time"] - step["time"],
            "forecast": step["step_times"][main] - step["time"],
            "last rate": step["step_times"][NAIVE] - step["time"],
            "low": None if step["low"] is None else step["low"] - step["time"],
            "high": None if step["high"] is None else step["high"] - step["time"],
        }
        for step in judged_steps(result)
        if step.get("state", "at rest") == "at rest"  # else it says itself not to be trusted
        and None not in (step["step_times"][main], step["step_times"][NAIVE])
    ]


def _draw_forecasts(axes: Axes, steps: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    kinds = grouped(steps, lambda step: step["encoder"])
    ends = np.array([(step["measured"], step["forecast"], step["last rate"]) for step in steps])
    low, high = ends.min() / 1.5, ends.max() * 1.5
    axes.plot([low, high], [low, high], color=INK, lw=0.9, zorder=1)
    for (kind, some), colour, marker in zip(
        kinds.items(), mode_colours(len(kinds)), _MARKERS, strict=False
    ):
        measured, forecast, naive = (
            [step[key] for step in some] for key in ("measured", "forecast", "last rate")
        )
        axes.plot(measured, naive, marker, ms=4.5, mfc="white", mec=QUIET, mew=0.8, zorder=2)
        name = captions.name_of(kind)
        axes.plot(measured, forecast, marker, ms=4.5, color=colour, zorder=4, label=name)
        bounded = [step for step in some if None not in (step["low"], step["high"])]
        across, below, above = (
            [step[key] for step in bounded] for key in ("measured", "low", "high")
        )
        axes.vlines(across, below, above, color=colour, lw=0.8, zorder=3)
    axes.plot([], [], "o", ms=4.5, mfc="white", mec=QUIET, mew=0.8, label="last rate kept up")
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    axes.set(xlabel="flow time left to the step, measured", ylabel="the same, forecast")
    axes.legend(loc="upper left", handletextpad=0.2, handlelength=1.5)
    error, naive_error = (
        captions.percent(float(np.median(np.abs(ends[:, place] / ends[:, 0] - 1))))
        for place in (1, 2)
    )
    runs = len({step["run"] for step in steps})
    text = (
        f"time left to the {len(steps)} steps forecast at rest of {runs} trainings, "
        "forecast from one checkpoint each and measured later (filled; upright lines, 90 % "
        f"intervals), median error {error}; hollow, the last measured rate kept up, {naive_error}."
    )
    return f"Forecasts miss by {error}, last rates by {naive_error}", text


def _memorised(results: Path) -> tuple[dict[str, Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Studies of memorisation by the name of their network, and configurations."""
    networks, configs = {}, []
    for study in (figure8_memorization.STUDY, figure8_memorization.OTHER):
        result, config = (
            read_result(
                results, f"{figure8_memorization.NAME}/{study}", file, figure8_memorization.COMMAND
            )
            for file in ("memorization.json", "config.json")
        )
        networks[captions.name_of(result["encoder"])] = result
        configs.append(config)
    return networks, configs


def _draw_memorised(axes: Axes, networks: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    figure8_memorization.draw_networks(axes, networks)
    axes.set_xlabel("layer, from the images on")
    axes.set_ylabel("memorisation score, (g - f) / (g + f)")
    axes.set_ylim(bottom=-0.15 * axes.get_ylim()[1])
    axes.annotate("images that both saw: 0", (1, 0), (0, -4), ha="right", va="top", fontsize=7.5,
                  xycoords=axes.get_yaxis_transform(), textcoords="offset points")  # fmt: skip
    layers = {
        name: figure8_memorization.by_layer(result)["backbone"] for name, result in networks.items()
    }
    first, result = next(iter(networks.items()))
    found = "; ".join(
        f"{name} {captions.bracketed(scores['difference'], scores['low'], scores['high'])}"
        for name, scores in layers.items()
    )
    text = (
        "how much closer an encoder f that was trained on an image brings its views than one, g, "
        "that was not, (g - f) / (g + f), less the same of images that both were trained on (0: "
        f"not memorised), by layer ({captions.name_of(result['method'])}, "
        f"{captions.name_of(result['data'])}; {captions.percent(figure8_memorization.LEVEL)} "
        f"intervals over images and encoder pairs); in the representation: {found}."
    )
    return f"A {first} memorises before its embedding, too", text


def _draw_sooner(axes: Axes, result: Mapping[str, Any]) -> tuple[str, str]:
    arms = {arm["arm"]: arm for arm in result["arms"]}
    shown = [name for name in _ARMS if name in arms] or list(arms)
    styles = looks(shown)
    for name in shown:
        draw_arm(axes, arms[name], "modes", "updates", styles[name])
    half = result["dim"] // 2
    axes.axhline(half, color=QUIET, lw=0.8, ls=":", zorder=0)
    axes.set(xscale="log", xlabel="updates", ylabel=f"modes learned (of {result['dim']})")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left")
    best = shown[-1]
    sooner = arms[best]["passages"][f"mode {half}"]["sooner"]
    text = (
        f"modes learned on held-out pairs ({captions.name_of(result['method'])}, "
        f"{captions.name_of(result['encoder'])}, {captions.name_of(result['data'])}; thin lines, "
        f"{len(result['seeds'])} seeds, thick ones their mean), by way to train: {best} has half "
        "of them "
        f"{captions.bracketed(sooner['mean'], sooner['low'], sooner['high'], 1)} times sooner "
        f"than {shown[0]}, the baseline."
    )
    return f"Half of the modes {sooner['mean']:.0f} times sooner than {shown[0]}", text
