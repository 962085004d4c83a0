"""What a network's tangent kernel predicts of its embedding and its steps: ``ntk.png``."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.runs import read_json
from paper_figs.style import INK, QUIET, mode_colours, save, styled


def draw(folder: str | os.PathLike[str]) -> Path:
    """Draw how far predicted modes lie in the embedding, and step times against measured ones.

    Parameters
    ----------
    folder : path
        Run folder with ``ntk.json``.

    Returns
    -------
    Path
        Of ``ntk.png`` in the same folder.

    Raises
    ------
    ValueError
        If the folder does not hold the result or cannot be written to.
    """
    result = read_json(Path(folder) / "ntk.json")
    shares = result["mode_alignment"]
    colours = mode_colours(len(shares))
    with styled():
        figure = Figure(figsize=(6.4, 3.0), layout="constrained")
        modes, times = figure.subplots(1, 2)
        modes.bar(np.arange(1, len(shares) + 1), shares, color=colours)
        modes.axhline(result["chance"], color=QUIET, lw=1.0, ls=(0, (3, 2)))
        modes.text(
            0.98,
            result["chance"] + 0.02,
            "chance",
            color=INK,
            ha="right",
            transform=modes.get_yaxis_transform(),
            fontsize=7.5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.0},
        )
        modes.set(xlabel="mode of the kernel", ylabel="share in the embedding", ylim=(0, 1.05))
        modes.set_title(f"{result['method']}, {result['encoder']}, update {result['step']}")
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
        return save(figure, Path(folder) / "ntk.png")
