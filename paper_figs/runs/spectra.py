"""Spectra of stored embeddings: ``spectra.png``."""

from __future__ import annotations

import os
from pathlib import Path

from matplotlib.figure import Figure

from paper_figs.style import BAND, INK, mode_colours, save, styled
from sslsim.core.files import read_arrays, read_json

_SHOWN = 32  # eigenvalues drawn at most


def draw_spectra(folder: str | os.PathLike[str]) -> Path:
    """Draw the effective rank and the eigenvalues of a folder of ``sslsim spectra``."""
    folder = Path(folder)
    result, arrays = read_json(folder / "spectra.json"), read_arrays(folder / "spectra.npz")
    times, curves = arrays["times"], arrays[f"{result['spectrum']}_spectrum"][:, :_SHOWN]
    single = {"marker": "o"} if len(times) == 1 else {}
    with styled():
        figure = Figure(figsize=(6.4, 5.0), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.0, 1.15))
        for axes in (above, below):
            for step in filter(None, result["step_times"]):
                axes.axvline(step, color=BAND, lw=0.8, zorder=0)
        above.plot(times, arrays["effective_rank"], color=INK, lw=1.6, **single)
        above.set(ylabel="effective rank", ylim=(0, None))
        above.set_title(f"{result['file']}: {result['detected_steps']} steps seen")
        for curve, colour in zip(curves.T, mode_colours(curves.shape[1]), strict=True):
            below.plot(times, curve, color=colour, lw=1.6, **single)
        below.set(ylabel=f"eigenvalues, {result['spectrum']}", xlabel=result["unit"])
        return save(figure, folder / "spectra.png")
