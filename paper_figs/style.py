"""One look for all figures: readable in grey, by the colour-blind, and on a slide."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure, SubFigure

from sslsim.core.files import whole_file

INK = "#222222"
QUIET = "#8a8a8a"
BAND = "#d9d9d9"
WIDTH = 7.0  # inches: a page's two columns
DPI = 160.0
TIME = r"time (learning rate $\times$ update / (1 $-$ momentum))"

_SETTINGS: Any = {
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.5,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "legend.handlelength": 2.8,  # long enough to tell a dashed line with a marker
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
    "pdf.fonttype": 42,  # outlines as they are: journals refuse type 3
}


@contextmanager
def styled() -> Iterator[None]:
    """Use the shared settings inside a block, and leave matplotlib's own as they were.

    >>> with styled():
    ...     inside = mpl.rcParams["font.size"]
    >>> inside, mpl.rcParams["font.size"] == mpl.rcParamsDefault["font.size"]
    (9.0, True)
    """
    with mpl.rc_context(_SETTINGS):
        yield


def mode_colours(count: int) -> list[str]:
    """Colours of modes in order, from dark to light, told apart in grey too.

    >>> mode_colours(2)
    ['#440154', '#7ad151']
    """
    return [to_hex(mpl.colormaps["viridis"](share)) for share in np.linspace(0.0, 0.8, count)]


def letter(place: int) -> str:
    """Letter of a panel.

    >>> letter(0), letter(2)
    ('a', 'c')
    """
    return "abcdefghijklmnopqrstuvwxyz"[place]


def entitle(axes: Axes, mark: str, words: str | None = None, **look: Any) -> None:
    """Give a panel its letter, and words after it, for a title."""
    axes.set_title(rf"$\bf{{{mark}}}$" + ("" if words is None else f"  {words}"), **look)


def save(figure: Figure, path: Path, dpi: float = DPI) -> Path:
    """Write a figure as PNG, whole or not at all.

    >>> import tempfile
    >>> save(Figure(figsize=(1, 1)), Path(tempfile.mkdtemp()) / "empty.png").stat().st_size > 100
    True
    """
    FigureCanvasAgg(figure)
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    return path


def _parts(figure: Figure | SubFigure) -> Iterator[SubFigure]:
    for part in figure.subfigs:
        yield part
        yield from _parts(part)


def _settle(figure: Figure) -> None:
    """Fix the layout: the last digits that its solver finds differ from process to process."""
    if figure.get_layout_engine() is None:
        return
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for part in _parts(figure):
        box = part.bbox_relative
        box.set_points(np.round(box.get_points(), 6) + 0.0)
    for axes in figure.axes:
        left, bottom, width, height = np.round(axes.get_position().bounds, 6) + 0.0
        axes.set_position((left, bottom, width, height))


def save_both(figure: Figure, path: Path, dpi: float = DPI) -> Path:
    """Write a figure as PNG and, for print, as PDF of equal bytes at every build."""
    _settle(figure)
    with whole_file(path.with_suffix(".pdf")) as file:
        # Without a date, and the same whatever matplotlib's version is called.
        figure.savefig(file, format="pdf", metadata={"CreationDate": None, "Producer": None})
    return save(figure, path, dpi)
