"""Figure 6: layers that overfit, and whether the coding rate reduction shows it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from paper_figs import captions
from paper_figs.runs.overfitting import (
    draw_correlations,
    draw_group,
    eps_shown,
    runs_shown,
    short_labels,
)
from paper_figs.store import read_result
from paper_figs.style import WIDTH, entitle, letter

NAME = "overfitting"
COMMAND = "sslsim overfitting --run RUN RUN ... --out DIR/overfitting (DIR as in --results DIR)"


def figure(results: Path) -> tuple[Figure, str]:
    """Draw accuracy and Delta R by layer and checkpoint, and their rank correlations."""
    result, config = (
        read_result(results, NAME, file, COMMAND) for file in ("overfitting.json", "config.json")
    )
    groups = result["groups"]
    several = len(result["runs"]) > 1
    heights = [4.6, 1.2 + 0.4 * len(groups)] if several else [4.6]
    shown = most_overfit(result)
    drawn = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    parts = drawn.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    panels = parts[0].subplots(2, 2, height_ratios=[1.0, 1.3])
    draw_group(panels, result, shown)
    for place, axes in enumerate(panels.flat):
        entitle(axes, letter(place), axes.get_title(loc="left"))
    if several:
        draw_correlations(parts[1], result, short_labels(groups), eps_compared(result))
        parts[1].suptitle("")
        for place, axes in enumerate(parts[1].axes):
            title = axes.get_title(loc="left")
            entitle(axes, letter(4 + place), title, fontsize=8.5)
    return drawn, _caption(result, config)


def most_overfit(result: Mapping[str, Any]) -> int:
    """The group whose embedding has lost most accuracy since its peak, mean over seeds."""
    falls = []
    for place in range(len(result["groups"])):
        curves = [
            run["linear"][run["layers"].index("projector")] for run in runs_shown(result, place)
        ]
        falls.append(sum(max(curve) - curve[-1] for curve in curves) / len(curves))
    return falls.index(max(falls))


def eps_compared(result: Mapping[str, Any]) -> list[float]:
    """The smallest and the largest measured eps, between which the answer changes.

    >>> eps_compared({"eps": [0.1, 0.03, 1.0]})
    [0.03, 1.0]
    """
    return sorted({min(result["eps"]), max(result["eps"])})


def _caption(result: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    groups = result["groups"]
    shown = most_overfit(result)
    name = short_labels(groups)[shown]
    runs = runs_shown(result, shown)
    compared = captions.listed(captions.number(eps) for eps in eps_compared(result))
    level = captions.percent(result["interval_level"])
    measured = sorted({run["images"] for run in result["runs"]})
    counts = sorted({len(run["steps"]) for run in result["runs"]})
    seeds = [seed for group in groups for seed in group["seeds"]]
    text = (
        "Overfitting by layers, and the coding rate reduction Delta R by instances, which knows no "
        f"labels. a to d: {name} (method, data, images, views; of all groups the one "
        "whose embedding falls most), "
        f"{captions.seeds(run['seed'] for run in runs)}: a, accuracy of a linear probe on held-out "
        "images by layer and updates, mean over seeds; b, Delta R on held-out images in per "
        f"cent of each layer's highest, eps {captions.number(eps_shown(result))}; c, accuracies "
        "(thin: seeds; bands: standard error of the draw of test images); d, Delta R of "
        "representation (solid) and embedding (dashed) at every eps."
    )
    if len(result["runs"]) > 1:
        text += (
            " e to h: Spearman's correlation over checkpoints of a layer's Delta R with the same "
            f"layer's accuracy, {len(groups)} groups of runs: means over seeds with {level} "
            f"intervals, cut at 1, at eps {compared}; "
            "crosses, the number of updates instead of Delta R, which knows nothing of the network."
        )
    return text + (
        f" {len(result['runs'])} runs, {captions.seeds(seeds)}, {captions.listed(counts)} "
        f"checkpoints a run, {captions.listed(measured)} images in a coding rate, "
        f"{captions.device([config])}."
    )
