"""Do late layers overfit, and does the coding rate reduction show it? ``overfitting.png``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.runs import read_json
from paper_figs.style import BAND, INK, QUIET, mode_colours, save, styled

_LAST = "backbone"  # whose overfitting is asked about: the representation
_NAMES = {"backbone": "representation", "projector": "embedding"}
_EPS = 0.3  # that of a published code, eps^2 = 0.1; the measured one nearest to it is shown
_EARLY = "#2a788e"
_SIGNALS = (  # name, marker, face
    ("instance", "o", INK),
    ("class", "s", "white"),
    ("updates", "x", QUIET),
)


def draw(folder: str | os.PathLike[str], group: int = 0) -> Path:
    """Draw what a folder of ``sslsim overfitting`` holds.

    Parameters
    ----------
    folder : path
        Run folder with ``overfitting.json``.
    group : int
        Which group of runs, alike but for their seeds, is shown checkpoint by checkpoint.

    Returns
    -------
    Path
        Of ``overfitting.png`` in the same folder: accuracy and Delta R by layer and checkpoint,
        the curves of the first layer and the representation, and, of several runs, the rank
        correlations of all groups.

    Raises
    ------
    ValueError
        If the folder does not hold the result, there is no such group, or the picture cannot be
        written.
    """
    folder = Path(folder)
    result = read_json(folder / "overfitting.json")
    groups = result["groups"]
    if not 0 <= group < len(groups):
        raise ValueError(f"group is {group}; {folder} holds {len(groups)}, counted from 0")
    shown = groups[group]
    runs = [result["runs"][place] for place in shown["runs"]]
    # Seeds measured at other checkpoints have no common mean.
    runs = [run for run in runs if run["steps"] == runs[0]["steps"]]
    scale = int(np.argmin(np.abs(np.log(np.array(result["eps"]) / _EPS))))
    several = len(result["runs"]) > 1
    heights = [5.0, 1.0 + 0.28 * len(groups)] if several else [5.0]
    with styled():
        figure = Figure(figsize=(7.4, sum(heights)), layout="constrained")
        parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        told = f"{len(runs)} seeds" if len(runs) > 1 else f"seed {runs[0]['seed']}"
        label = shown["label"].replace("_", " ")
        parts[0].suptitle(f"{label} ({told})", x=0.01, ha="left", fontsize=10)
        panels = parts[0].subplots(2, 2, height_ratios=[1.0, 1.3])
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
        _draw_map(panels[0, 1], runs[0], relative, rows, rf"$\Delta R$ of its highest, {eps}")
        _draw_accuracies(panels[1, 0], runs)
        _draw_reductions(panels[1, 1], runs, result["eps"])
        if several:
            pair = parts[1].subplots(1, 2, sharey=True)
            for axes, span in zip(pair, ("all", "after_peak"), strict=True):
                _draw_correlations(axes, result, scale, span)
            handles, labels = pair[0].get_legend_handles_labels()
            parts[1].suptitle("Rank correlation with the representation's accuracy", fontsize=9.5)
            parts[1].legend(handles, labels, loc="outside lower center", ncols=len(labels))
        return save(figure, folder / "overfitting.png")


def _name(layer: str) -> str:
    return _NAMES.get(layer, layer)


def _draw_map(
    axes: Axes, run: dict[str, Any], values: NDArray[Any], rows: list[int], title: str
) -> None:
    image = axes.imshow(values[rows], aspect="auto", cmap="viridis", interpolation="nearest")
    axes.set_yticks(range(len(rows)), [_name(run["layers"][row]) for row in rows])
    steps = run["steps"]
    places = np.unique(np.linspace(0, len(steps) - 1, min(5, len(steps))).round().astype(int))
    axes.set_xticks(places, [str(steps[place]) for place in places])
    axes.tick_params(length=2)
    axes.set_title(title)
    bar = axes.figure.colorbar(image, ax=axes, pad=0.02)
    bar.ax.tick_params(labelsize=7)


def _over_updates(axes: Axes, steps: list[int]) -> None:
    axes.set_xscale("symlog", linthresh=steps[1], linscale=0.4)
    axes.set(xlim=(0, steps[-1] * 1.05), xlabel="updates")


def _draw_accuracies(axes: Axes, runs: list[dict[str, Any]]) -> None:
    layers, steps = runs[0]["layers"], runs[0]["steps"]
    for layer, colour, dash in ((layers[0], _EARLY, (0, (4, 2))), (_LAST, INK, "-")):
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
    axes.legend(loc="best")


def _draw_reductions(axes: Axes, runs: list[dict[str, Any]], every_eps: list[float]) -> None:
    """Of the representation, at every eps over its highest."""
    layers, steps = runs[0]["layers"], runs[0]["steps"]
    row = layers.index(_LAST)
    for scale, (eps, colour) in enumerate(
        zip(every_eps, mode_colours(len(every_eps)), strict=True)
    ):
        mean = np.mean([run["instance"]["test"][scale][row] for run in runs], axis=0)
        if mean.max() > 0:
            label = f"eps {eps:g}"
            axes.plot(steps, mean / mean.max(), color=colour, marker="o", ms=3, label=label)
    _over_updates(axes, steps)
    axes.set_ylabel(r"$\Delta R$ of the representation")
    axes.legend(loc="best", fontsize=7)


def _draw_correlations(axes: Axes, result: dict[str, Any], scale: int, span: str) -> None:
    groups = result["groups"]
    axes.axvline(0, color=BAND, lw=1.0, zorder=0)
    for place, group in enumerate(groups):
        row = group["layers"].index(_LAST)
        for offset, (signal, marker, face) in zip((-0.22, 0.0, 0.22), _SIGNALS, strict=True):
            height = place + offset
            found = group["correlations"]["linear"][signal][span]
            mean, low, high = (found[key][scale][row] for key in ("mean", "low", "high"))
            edge = QUIET if marker == "x" else INK
            seeds = [
                result["runs"][run]["correlations"]["linear"][signal][span][scale][row]
                for run in group["runs"]
            ]
            known = [value for value in seeds if value is not None]
            axes.plot(known, [height] * len(known), "|", color=edge, ms=4, mew=0.6)
            if mean is None:
                continue
            if low is not None:
                ends = np.clip([low, high], -1, 1)  # an interval may leave what can be
                axes.plot(ends, [height] * 2, color=edge, lw=0.8)
            label = None
            if place == 0:
                label = signal if signal == "updates" else rf"$\Delta R$, groups by {signal}"
            axes.plot(mean, height, marker, color=edge, mfc=face, ms=4, ls="none", label=label)
    axes.set(xlim=(-1.08, 1.08), ylim=(len(groups) - 0.5, -0.5))
    axes.set_yticks(range(len(groups)), [group["label"].replace("_", " ") for group in groups])
    axes.tick_params(axis="y", labelsize=7, length=0)
    axes.set_title("all checkpoints" if span == "all" else "from the peak of the accuracy on")
