"""Do late layers overfit, and does the coding rate reduction show it? ``overfitting.png``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from paper_figs import captions
from paper_figs.style import INK, QUIET, mode_colours, save, styled
from sslsim.core.files import read_json

_LATE = {"backbone": "representation", "projector": "embedding"}
_EPS = 0.3  # that of a published code, eps^2 = 0.1; maps show the measured one nearest to it
_ROOMY = 10  # columns of a map that leave room for large numbers
_DASHES: tuple[Any, ...] = ("-", (0, (4, 2)))  # of the late layers
_MARKERS = "osD^"  # by eps


def draw_overfitting(folder: str | os.PathLike[str], group: int = 0) -> Path:
    """Draw what a folder of ``sslsim overfitting`` holds."""
    folder = Path(folder)
    result = read_json(folder / "overfitting.json")
    groups = result["groups"]
    if not 0 <= group < len(groups):
        raise ValueError(f"group is {group}; {folder} holds {len(groups)}, counted from 0")
    several = len(result["runs"]) > 1
    heights = [5.0, 1.2 + 0.5 * len(groups)] if several else [5.0]
    with styled():
        figure = Figure(figsize=(7.4, sum(heights)), layout="constrained")
        parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        label, runs = groups[group]["label"].replace("_", " "), runs_shown(result, group)
        seeds = f"{len(runs)} seeds" if len(runs) > 1 else f"seed {runs[0]['seed']}"
        parts[0].suptitle(f"{label} ({seeds})", x=0.01, ha="left", fontsize=10)
        draw_group(parts[0].subplots(2, 2, height_ratios=[1.0, 1.3]), result, group)
        if several:
            draw_correlations(parts[1], result, short_labels(groups))
        return save(figure, folder / "overfitting.png")


def runs_shown(result: Mapping[str, Any], group: int) -> list[dict[str, Any]]:
    """Runs of a group that were measured at the same checkpoints as its first."""
    runs = [result["runs"][place] for place in result["groups"][group]["runs"]]
    return [run for run in runs if run["steps"] == runs[0]["steps"]]


def eps_shown(result: Mapping[str, Any]) -> float:
    """The measured distortion nearest to that of a published code, 0.3: the one of the map.

    >>> eps_shown({"eps": [0.03, 0.1, 1.0]})
    0.1
    """
    return min(result["eps"], key=lambda eps: abs(np.log(eps / _EPS)))


def short_labels(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """Short names of groups of runs, from what sets them apart.

    >>> options = {"method": "simclr", "data": "cifar10", "limit": 500, "fixed_views": True}
    >>> other = {**options, "fixed_views": False, "schedule": "cosine"}
    >>> short_labels([{"options": options, "label": "a"}, {"options": other, "label": "b"}])
    ['SimCLR, CIFAR-10, 500, fixed', 'SimCLR, CIFAR-10, 500, fresh, cosine']
    """
    names = []
    for group in groups:
        options = group["options"]
        words = [captions.name_of(options[key]) for key in ("method", "data") if key in options]
        if options.get("limit") is not None:
            words.append(f"{options['limit']}")
        if "fixed_views" in options:
            words.append("fixed" if options["fixed_views"] else "fresh")
        if options.get("schedule", "constant") != "constant":
            words.append(options["schedule"])
        names.append(", ".join(words))
    if len(set(names)) < len(names) or not all(names):
        return [group["label"].replace("_", " ") for group in groups]
    return names


def draw_group(panels: NDArray[Any], result: Mapping[str, Any], group: int) -> None:
    """Draw accuracy and Delta R by layer and checkpoint, and the curves of three layers."""
    runs = runs_shown(result, group)
    scale = result["eps"].index(eps_shown(result))
    accuracy = np.mean([run["linear"] for run in runs], axis=0)
    reduction = np.mean([run["instance"]["test"][scale] for run in runs], axis=0)
    rows = [  # a layer may be read out as it is: one row for both
        row
        for row in range(len(accuracy))
        if row + 1 == len(accuracy) or (reduction[row] != reduction[row + 1]).any()
    ]
    highest = reduction.max(axis=1, keepdims=True)
    relative = np.divide(reduction, highest, where=highest > 0, out=0 * reduction)
    eps = f"eps {result['eps'][scale]:g}"
    _draw_map(panels[0, 0], runs[0], 100 * accuracy, rows, "linear probe, %")
    title = rf"$\Delta R$, % of its highest, {eps}"
    _draw_map(panels[0, 1], runs[0], 100 * relative, rows, title)
    _draw_accuracies(panels[1, 0], runs)
    _draw_reductions(panels[1, 1], runs, result["eps"])


def draw_correlations(
    part: Any,
    result: Mapping[str, Any],
    labels: Sequence[str],
    shown_eps: Sequence[float] | None = None,
) -> None:
    """Draw rank correlations of Delta R and accuracy for all groups, at every eps or some."""
    grid = part.subplots(2, 2, sharex=True, sharey=True)
    scales = [result["eps"].index(eps) for eps in (shown_eps or result["eps"])]
    for row, layer in zip(grid, _LATE, strict=True):
        for axes, span in zip(row, ("all", "after_peak"), strict=True):
            _draw_correlations(axes, result, layer, span, scales)
            axes.set_yticks(range(len(labels)), labels)
    for axes in grid[-1]:
        axes.set_xlabel("Spearman's correlation with accuracy")
    handles, names = grid[0, 0].get_legend_handles_labels()
    part.suptitle("Rank correlation with the same layer's accuracy", fontsize=9.5)
    part.legend(handles, names, loc="outside lower center", ncols=len(names), handlelength=1.0)


def _name(layer: str) -> str:
    return _LATE.get(layer, layer)


def _draw_map(
    axes: Axes, run: dict[str, Any], values: NDArray[Any], rows: list[int], title: str
) -> None:
    """Draw numbers by layer and checkpoint; the shade grows evenly, in colour and in grey."""
    shown, steps = values[rows], run["steps"]
    axes.imshow(shown, aspect="auto", cmap="cividis", interpolation="nearest")
    middle = (shown.min() + shown.max()) / 2
    size = 7.5 if len(steps) <= _ROOMY else 5.5
    for (row, column), value in np.ndenumerate(shown):
        ink = "white" if value < middle else INK
        text = f"{value:.0f}" if value > 99.9 else f"{value:.1f}"
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=size)
    axes.set_yticks(range(len(rows)), [_name(run["layers"][row]) for row in rows])
    axes.set_xticks(range(len(steps)), [str(step) for step in steps])
    axes.tick_params(length=2)
    axes.tick_params(axis="x", labelsize=size)
    axes.set(title=title, xlabel="updates")


def _over_updates(axes: Axes, steps: list[int]) -> None:
    axes.set_xscale("symlog", linthresh=steps[1], linscale=0.4)
    axes.set(xlim=(0, steps[-1] * 1.05), xlabel="updates")


def _draw_accuracies(axes: Axes, runs: list[dict[str, Any]]) -> None:
    layers, steps = runs[0]["layers"], runs[0]["steps"]
    drawn = ((layers[0], QUIET, (0, (1, 1))), *zip(_LATE, (INK, "#2a788e"), _DASHES, strict=True))
    for layer, colour, dash in drawn:
        row = layers.index(layer)
        values = 100 * np.array([run["linear"][row] for run in runs])
        errors = 100 * np.array([run["linear_error"][row] for run in runs])
        mean, error = values.mean(axis=0), errors.mean(axis=0) / np.sqrt(len(runs))
        for seed in values if len(runs) > 1 else []:
            axes.plot(steps, seed, color=colour, lw=0.5, alpha=0.5)
        axes.plot(steps, mean, color=colour, ls=dash, marker="o", ms=3, label=_name(layer))
        axes.fill_between(steps, mean - error, mean + error, color=colour, alpha=0.15, lw=0)
    _over_updates(axes, steps)
    axes.set_ylabel("accuracy of a linear probe, %")
    axes.legend(loc="best", fontsize=7)


def _draw_reductions(axes: Axes, runs: list[dict[str, Any]], every_eps: list[float]) -> None:
    """Of the late layers, at every eps over its highest."""
    layers, steps = runs[0]["layers"], runs[0]["steps"]
    for layer, dash in zip(_LATE, _DASHES, strict=True):
        row, late = layers.index(layer), layer == "projector"
        looks = zip(mode_colours(len(every_eps)), cycle(_MARKERS))
        for scale, (colour, mark) in enumerate(looks):
            mean = np.mean([run["instance"]["test"][scale][row] for run in runs], axis=0)
            label = None if late else f"eps {every_eps[scale]:g}"
            if mean.max() > 0:
                axes.plot(
                    steps, mean / mean.max(), color=colour, ls=dash, marker=mark, ms=3.5,
                    mfc="white" if late else colour, label=label,
                )  # fmt: skip
    axes.plot([], [], color=QUIET, ls=_DASHES[1], label="dashed, hollow: embedding")
    _over_updates(axes, steps)
    axes.set_ylabel(r"$\Delta R$ by instances, of its highest")
    axes.legend(loc="best", fontsize=7)


def _draw_correlations(
    axes: Axes, result: Mapping[str, Any], layer: str, span: str, scales: Sequence[int]
) -> None:
    groups, every_eps = result["groups"], result["eps"]
    colours = mode_colours(len(every_eps))
    marks = [
        ("instance", scale, marker, colours[scale], rf"$\Delta R$, eps {every_eps[scale]:g}")
        for scale, marker in zip(scales, cycle(_MARKERS))
    ]
    marks.append(("updates", 0, "x", QUIET, "number of updates instead"))
    offsets = np.linspace(-0.32, 0.32, len(marks)) * min(1.0, len(marks) / 4)
    for place in range(0, len(groups), 2):
        axes.axhspan(place - 0.5, place + 0.5, color="#f4f4f4", zorder=0, lw=0)
    axes.axvline(0, color=QUIET, lw=0.8, zorder=1)
    for place, group in enumerate(groups):
        row = group["layers"].index(layer)
        for offset, (signal, scale, marker, colour, _) in zip(offsets, marks, strict=True):
            height = place + offset
            correlation = group["correlations"]["linear"][signal][span]
            mean, low, high = (correlation[key][scale][row] for key in ("mean", "low", "high"))
            if mean is None:
                continue
            if low is not None:
                ends = np.clip([low, high], -1, 1)  # an interval may leave what can be
                dash = (0, (1, 1)) if signal == "updates" else "-"
                axes.plot(ends, [height] * 2, color=colour, lw=1.0, ls=dash)
            axes.plot(mean, height, marker, color=colour, ms=4)
    for _, _, marker, colour, label in marks:
        axes.plot([], [], marker, color=colour, ms=4, ls="none", label=label)
    axes.set(xlim=(-1.08, 1.08), ylim=(len(groups) - 0.5, -0.5))
    axes.tick_params(axis="y", labelsize=7.5, length=0)
    words = "all checkpoints" if span == "all" else "from its peak on"
    axes.set_title(f"{_name(layer)}, {words}", fontsize=8.5)
