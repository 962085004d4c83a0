"""What tangent kernels predict: ``ntk.png``, ``ntk_training.png``, ``ntk_across.png``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs.style import BAND, INK, QUIET, TIME, mode_colours, save, styled
from sslsim.core.files import read_json

_LINES = (  # of one colour family, told apart by marker and dash
    ("kernel_alignment", "kernel, with its start", INK, "o", "-"),
    ("kernel_cka", "the same, centred", INK, "s", (0, (4, 2))),
)
_STEPS = (  # name, marker, face, edge
    ("predicted", "initial kernel", "o", "white"),
    ("refreshed", "refreshed kernels", "s", "#b0b0b0"),
    ("restarted", "restarted before the step", "D", INK),
)


def draw_over_training(folder: Path) -> Path:
    """Draw the kernel and its predictions over training, and step times against measured ones."""
    result = read_json(folder / "ntk.json")
    dated = "refreshed_step_times" in result
    with styled():
        figure = Figure(figsize=(7.2 if dated else 4.2, 3.3), layout="constrained")
        panels = figure.subplots(1, 2 if dated else 1, squeeze=False)[0]
        _draw_kernel(panels[0], result)
        if dated:
            _draw_steps(panels[1], result)
        return save(figure, folder / "ntk_training.png")


def _draw_kernel(axes: Axes, result: dict[str, Any]) -> None:
    lines = result["over_training"]
    times = np.array([line["time"] for line in lines])
    for step in result["measured_step_times"]:
        if step is not None:
            axes.axvline(step, color=BAND, lw=0.8, zorder=0)
    for key, label, colour, marker, dash in _LINES:
        values = [line[key] for line in lines]
        axes.plot(times, values, color=colour, marker=marker, ms=3.5, ls=dash, label=label)
    for key, label, marker, dash in (
        ("with_embedding", "prediction, with the embedding then", "^", "-"),
        ("with_final_embedding", "prediction, with the last embedding", "v", (0, (4, 2))),
    ):
        values = [line[key]["subspace_alignment"] for line in lines]
        axes.plot(times, values, color="#2a788e", marker=marker, ms=3.5, ls=dash, label=label)
    chance = lines[0]["with_embedding"]["chance"]
    axes.axhline(chance, color=QUIET, lw=1.0, ls=(0, (1, 2)))
    axes.text(times[-1], chance + 0.015, "chance", color=INK, ha="right", fontsize=7.5)
    first = times[1] if len(times) > 1 else 1.0
    axes.set_xscale("symlog", linthresh=first)
    axes.set(xlim=(0, times[-1] * 1.05), ylim=(0, 1.03), ylabel="alignment")
    axes.set_xlabel(TIME)
    axes.set_title(f"{result['method']}, {result['encoder']} on {Path(result['data']).name}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=7.5)


def _draw_steps(axes: Axes, result: dict[str, Any]) -> None:
    measured = result["measured_step_times"]
    known = [time for time in measured if time]
    for key, label, marker, face in _STEPS:
        judged = result if key == "predicted" else result[f"{key}_agreement"]
        error = judged["mean_relative_error"]
        label += "" if error is None else f", off by {100 * error:.0f} %"
        pairs = zip(result[f"{key}_step_times"], measured, strict=False)
        points = [(p, m) for p, m in pairs if p and m]
        known += [p for p, _ in points]
        axes.plot(
            [m for _, m in points],
            [p for p, _ in points],
            ls="",
            marker=marker,
            ms=5,
            mfc=face,
            mec=INK,
            mew=0.8,
            label=label,
        )
    if known:
        ends = [min(known), max(known)]
        axes.plot(ends, ends, color=QUIET, lw=1.0, ls=(0, (3, 2)), zorder=0)
        axes.set(xscale="log", yscale="log")
    else:
        axes.text(0.5, 0.5, "no step", color=INK, ha="center", transform=axes.transAxes)
    axes.set(xlabel="measured step time", ylabel="predicted", title="Steps by kernels")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=7.5)


def draw_across(folder: Path) -> Path:
    """Draw the alignment of all embeddings and predictions, values written into the cells."""
    result = read_json(folder / "ntk_across.json")
    with styled():
        side = 2.4 + 0.52 * 2 * len(result["methods"])
        figure = Figure(figsize=(side + 0.8, side - 0.4), layout="constrained")
        figure.suptitle(
            f"Alignment of {result['modes']}-dimensional subspaces, mean and range over networks",
            fontsize=9.5,
        )
        draw_matrix(
            figure.subplots(), result, [name.replace("_", " ") for name in result["methods"]]
        )
        return save(figure, folder / "ntk_across.png")


def draw_matrix(axes: Axes, result: Mapping[str, Any], names: Sequence[str]) -> None:
    """Draw alignments as a matrix, mean and range written into the cells, chance on the scale."""
    mean, low, high = (
        np.array(result[key], dtype=np.float64) for key in ("alignment", "lowest", "highest")
    )
    count = len(names)
    ticks = [name.replace(", ", ",\n") for name in names]
    shown = axes.imshow(mean, cmap="Greys", vmin=0, vmax=1)
    axes.set_facecolor("white")
    for (row, column), value in np.ndenumerate(mean):
        if np.isnan(value):
            axes.text(column, row, "-", ha="center", va="center", color=INK)
            continue
        ink = "white" if value > 0.55 else INK
        several = high[row, column] > low[row, column]
        place = row - (0.14 if several else 0)
        axes.text(column, place, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=8)
        if several:
            words = f"{low[row, column]:.2f}-{high[row, column]:.2f}"
            axes.text(column, row + 0.24, words, ha="center", va="center", color=ink, fontsize=5.8)
    for line in (axes.axhline, axes.axvline):
        line(count - 0.5, color=INK, lw=1.4)
    axes.set_xticks(range(2 * count), ticks * 2, rotation=45, ha="right")
    axes.set_yticks(range(2 * count), ticks * 2)
    axes.tick_params(length=0)
    for place, label in ((count / 2 - 0.5, "embeddings"), (1.5 * count - 0.5, "predictions")):
        axes.text(place, -0.75, label, ha="center", va="bottom")
        axes.text(2 * count - 0.3, place, label, rotation=270, ha="left", va="center")
    figure = axes.figure
    bar = figure.colorbar(shown, ax=axes, shrink=0.6, pad=0.06)
    for level in ("chance", "chance_alike"):
        bar.ax.axhline(result[level], color=INK, lw=1.2)
    middle = (result["chance"] + result["chance_alike"]) / 2
    words = f"chance {result['chance']:.2f} to {result['chance_alike']:.2f}"
    marks = {0.25: "0.25", 0.5: "0.5", 0.75: "0.75", 1.0: "1"}
    marks = {place: mark for place, mark in marks.items() if place > middle + 0.06}
    bar.set_ticks([middle, *marks], labels=[words, *marks.values()])


_SHOWN = 32  # modes drawn at most


def draw_kernel(folder: str | os.PathLike[str]) -> Path:
    """Draw all that a folder of ``sslsim ntk`` holds."""
    folder = Path(folder)
    if (folder / "ntk_across.json").exists():
        return draw_across(folder)
    result = read_json(folder / "ntk.json")
    if "over_training" in result:
        draw_over_training(folder)
    shares = result["mode_alignment"][:_SHOWN]
    dated = "predicted_step_times" in result
    with styled():
        figure = Figure(figsize=(6.4 if dated else 3.6, 3.0), layout="constrained")
        panels = figure.subplots(1, 2 if dated else 1, squeeze=False)[0]
        _draw_modes(panels[0], shares, result["chance"])
        panels[0].set_title(
            f"{result['method']}, {result['encoder']}, update {result['step']}"
            if dated
            else result["module"]
        )
        if dated:
            _draw_times(panels[1], result, mode_colours(len(shares)))
        return save(figure, folder / "ntk.png")


def _draw_modes(modes: Axes, shares: list[float], chance: float) -> None:
    modes.bar(np.arange(1, len(shares) + 1), shares, color=mode_colours(len(shares)))
    modes.axhline(chance, color=QUIET, lw=1.0, ls=(0, (3, 2)))
    modes.text(
        0.98,
        chance + 0.02,
        "chance",
        color=INK,
        ha="right",
        transform=modes.get_yaxis_transform(),
        fontsize=7.5,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.0},
    )
    modes.set(xlabel="mode of the kernel", ylabel="share in the embedding", ylim=(0, 1.05))


def _draw_times(times: Axes, result: dict[str, Any], colours: list[str]) -> None:
    pairs = zip(result["predicted_step_times"], result["measured_step_times"], strict=True)
    both = [(p, m, c) for (p, m), c in zip(pairs, colours, strict=False) if p and m]
    for predicted, measured, colour in both:
        times.plot(predicted, measured, "o", ms=5, color=colour)
    if both:
        known = [time for p, m, _ in both for time in (p, m)]
        ends = [min(known), max(known)]
        times.plot(ends, ends, color=QUIET, lw=1.0, ls=(0, (3, 2)))
        times.set(xscale="log", yscale="log")
    else:
        times.text(0.5, 0.5, "no step", color=INK, ha="center", transform=times.transAxes)
    times.set(xlabel="step time by the initial kernel", ylabel="measured")
