"""How long a frozen kernel stays right, and the steps that refreshed ones date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.runs import read_json
from paper_figs.style import BAND, INK, QUIET, save, styled

_LINES = (  # of one colour family, told apart by marker and dash
    ("kernel_alignment", "kernel, with its start", INK, "o", "-"),
    ("kernel_cka", "the same, centred", INK, "s", (0, (4, 2))),
)
_STEPS = (  # name, marker, face, edge
    ("predicted", "initial kernel", "o", "white"),
    ("refreshed", "refreshed kernels", "s", "#b0b0b0"),
    ("restarted", "restarted before the step", "D", INK),
)


def draw_training(folder: Path) -> Path:
    """Draw the kernel and its predictions over training, and step times against measured ones.

    Parameters
    ----------
    folder : Path
        Run folder with the key ``over_training`` in its ``ntk.json``.

    Returns
    -------
    Path
        Of ``ntk_training.png`` in the same folder.

    Raises
    ------
    ValueError
        If the folder does not hold the result or cannot be written to.
    """
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
    axes.set_xlabel("time (learning rate $\\times$ update / (1 $-$ momentum))")
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
