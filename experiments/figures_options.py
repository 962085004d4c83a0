"""Options of ``sslsim figures``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FiguresOptions:
    """Build the figures of the paper with their captions, from stored results; nothing is trained.

    Attributes
    ----------
    only : tuple of int
        Numbers of the figures to build. Default: all.
    results : Path or None
        Folder of results by name, whole run folders or stored ones: convnet, linear/*, methods/*,
        kernels/*, kernels_across, wide, forecast, overfitting, umm_sweep, memorization/*.
        Default: the stored results that are installed with the figures.
    out : Path
        Folder for figureN.pdf, figureN.png, figureN.md (the caption), figure1.gif and config.json.
    """

    only: tuple[int, ...] = ()
    results: Path | None = None
    out: Path = Path("figures")
