"""Figure 2: linear Barlow Twins, theory against gradient descent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_figs import captions
from paper_figs.runs.linear import draw_staircase
from paper_figs.store import grouped, read_result, read_results
from paper_figs.style import BAND, INK, QUIET, WIDTH, entitle, letter, mode_colours

NAME = "linear"
COMMAND = "sslsim compare --out DIR/linear/SOME_NAME (DIR as in --results DIR)"
SHOWN = "linear/digits_1e-3_0"
_MARKERS = "osD^vP"


def comparisons(results: Path) -> list[dict[str, Any]]:
    """Read every comparison under ``linear``."""
    every = read_results(results, NAME, "comparison.json", "comparison", COMMAND)
    return sorted(every, key=lambda result: (result["data"], -result["init_scale"], result["seed"]))


def figure(results: Path) -> tuple[Figure, str]:
    """Draw one comparison as curves, and all of them as step times and errors."""
    every = comparisons(results)
    shown, curves = (
        read_result(results, SHOWN, file, f"sslsim compare --out DIR/{SHOWN}")
        for file in ("comparison.json", "comparison.npz")
    )
    drawn = Figure(figsize=(WIDTH, 5.0), layout="constrained")
    grid = drawn.add_gridspec(2, 2, width_ratios=(1.25, 1.0))
    above = drawn.add_subplot(grid[0, 0])
    below = drawn.add_subplot(grid[1, 0], sharex=above)
    draw_staircase(above, below, shown, curves)
    above.tick_params(labelbottom=False)
    times, errors = drawn.add_subplot(grid[0, 1]), drawn.add_subplot(grid[1, 1])
    _draw_times(times, every)
    _draw_errors(errors, every)
    for place, axes in enumerate((above, below, times, errors)):
        entitle(axes, letter(place))
    return drawn, _caption(every, shown)


def _by_data(every: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    return grouped(every, lambda comparison: captions.name_of(comparison["data"]))


def _draw_times(axes: Axes, every: Sequence[Mapping[str, Any]]) -> None:
    kinds, both = _by_data(every), []
    for (name, some), colour, marker in zip(
        kinds.items(), mode_colours(len(kinds)), _MARKERS, strict=False
    ):
        points = [
            (measured, predicted)
            for comparison in some
            for measured, predicted in zip(
                comparison["measured_step_times"], comparison["predicted_step_times"], strict=True
            )
            if measured and predicted
        ]
        both += [time for point in points for time in point]
        x, y = zip(*points, strict=True)
        axes.plot(x, y, marker, ms=4, mfc="none", mec=colour, mew=0.8, label=name)
    ends = [min(both), max(both)]
    axes.plot(ends, ends, color=INK, lw=0.8, zorder=0)
    axes.set(xscale="log", yscale="log", xlabel="measured step time", ylabel="predicted")
    axes.legend(loc="upper left")


def _draw_errors(axes: Axes, every: Sequence[Mapping[str, Any]]) -> None:
    """Mean errors by initial scale: exact prediction, and that from column norms of W(0)."""
    kinds = _by_data(every)
    for (_, some), colour, marker in zip(
        kinds.items(), mode_colours(len(kinds)), _MARKERS, strict=False
    ):
        for key, dash, face in (
            ("mean_relative_error", "-", colour),
            ("naive_mean_relative_error", (0, (1, 1.5)), "white"),
        ):
            scales = sorted({comparison["init_scale"] for comparison in some})
            values = [
                [
                    100 * comparison[key]
                    for comparison in some
                    if comparison["init_scale"] == scale and comparison[key]
                ]
                for scale in scales
            ]
            for scale, row in zip(scales, values, strict=True):
                axes.plot([scale] * len(row), row, "_", ms=5, color=colour, alpha=0.6)
            means = [float(np.exp(np.mean(np.log(row)))) for row in values]
            axes.plot(scales, means, marker=marker, ms=4.5, color=colour, mfc=face, ls=dash, lw=1.1)
    axes.set(xscale="log", yscale="log", xlabel=r"initial scale $\alpha$")
    axes.set_ylabel("mean step-time error, %")
    axes.axhline(1.0, color=BAND, lw=0.8, zorder=0)
    handles = [
        Line2D([], [], color=QUIET, lw=1.1, marker="o", ms=4, label="closed form"),
        Line2D(
            [], [], color=QUIET, lw=1.1, ls=(0, (1, 1.5)), marker="o", ms=4, mfc="white",
            label="modes as if alone",
        ),
    ]  # fmt: skip
    axes.set_ylim(top=12 * axes.get_ylim()[1])  # room for the legend
    axes.legend(handles=handles, loc="upper left")


def _caption(every: list[dict[str, Any]], shown: Mapping[str, Any]) -> str:
    kinds = _by_data(every)
    data = captions.listed(
        f"{name} ({captions.listed(sorted({comparison['n_pairs'] for comparison in some}))} pairs, "
        f"views by {captions.listed(captions.name_of(comparison['views']) for comparison in some)})"
        for name, some in kinds.items()
    )
    scales = sorted({comparison["init_scale"] for comparison in every}, reverse=True)
    worst = max(comparison["mean_relative_error"] or 0.0 for comparison in every)
    smallest = [comparison for comparison in every if comparison["init_scale"] == scales[-1]]
    middle = np.median([comparison["mean_relative_error"] for comparison in smallest])
    count = sum(
        bool(measured and predicted)
        for comparison in every
        for measured, predicted in zip(
            comparison["measured_step_times"], comparison["predicted_step_times"], strict=True
        )
    )
    return (
        "Linear Barlow Twins: step times predicted before training against full-batch gradient "
        f"descent. a, b: loss and eigenvalues on {shown['n_pairs']} pairs of "
        f"{captions.name_of(shown['data'])}, d = {shown['dim']}, initial scale "
        f"{captions.number(shown['init_scale'])}, seed {shown['seed']}: measured (wide, solid), "
        "predicted from W(0) (dashed), predicted step times (vertical). Mean error of these: "
        f"{100 * shown['mean_relative_error']:.2g} %. c: all {count} steps of {len(every)} "
        f"comparisons: {data}; initial scales {captions.listed(map(captions.number, scales))}; "
        f"{captions.seeds(comparison['seed'] for comparison in every)}, which draw views and W(0). "
        "d: mean relative error of a comparison's step times (dashes), geometric means over seeds; "
        "hollow and dotted: modes growing from column norms of W(0) as if alone, the negative "
        f"control. At scale {captions.number(scales[-1])} the median error is "
        f"{100 * middle:.2g} %; the largest of all is {100 * worst:.2g} %. Run "
        f"{captions.device([comparison['config'] for comparison in every])}."
    )
