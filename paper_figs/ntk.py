"""What tangent kernels predict: ``ntk.png``, ``ntk_training.png``, ``ntk_across.png``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.runs import read_json
from paper_figs.ntk_across import draw_across
from paper_figs.ntk_training import draw_training
from paper_figs.style import INK, QUIET, mode_colours, save, styled

_SHOWN = 32  # modes drawn at most


def draw(folder: str | os.PathLike[str]) -> Path:
    """Draw all that a folder of ``sslsim ntk`` holds.

    Parameters
    ----------
    folder : path
        Run folder with ``ntk.json`` or ``ntk_across.json``.

    Returns
    -------
    Path
        Of ``ntk.png`` (one network: how far predicted modes lie in the embedding, and step times
        against measured ones) or ``ntk_across.png`` in the same folder; with a kernel over training
        there is ``ntk_training.png`` as well.

    Raises
    ------
    ValueError
        If the folder does not hold the result or cannot be written to.
    """
    folder = Path(folder)
    if (folder / "ntk_across.json").exists():
        return draw_across(folder)
    result = read_json(folder / "ntk.json")
    if "over_training" in result:
        draw_training(folder)
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
