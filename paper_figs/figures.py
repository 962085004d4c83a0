"""All figures of the paper from stored results: ``sslsim figures``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from matplotlib.figure import Figure

from paper_figs import captions
from paper_figs.paper import (
    figure1_staircase,
    figure2_linear,
    figure3_methods,
    figure4_kernels,
    figure5_step_times,
    figure6_overfitting,
    figure7_umm,
    figure8_memorization,
    figure9_untrained,
    front,
)
from paper_figs.pictures import PICTURES, draw_picture, shrink
from paper_figs.sources import store_finished
from paper_figs.store import RESULTS, misfit
from paper_figs.style import DPI, save, save_both, styled
from sslsim.core.files import whole_file
from sslsim.runs.folder import new_results

FIGURES: dict[int, Callable[[Path], tuple[Figure, str]]] = {
    0: front.figure,
    1: figure1_staircase.figure,
    2: figure2_linear.figure,
    3: figure3_methods.figure,
    4: figure4_kernels.figure,
    5: figure5_step_times.figure,
    6: figure6_overfitting.figure,
    7: figure7_umm.figure,
    8: figure8_memorization.figure,
    9: figure9_untrained.figure,
}
_READ = {  # names of the results that each is drawn of
    0: ("methods", "forecast", "memorization", "acceleration"),
    1: ("convnet",),
    2: ("linear",),
    3: ("methods",),
    4: ("kernels", "kernels_across"),
    5: ("linear", "wide", "kernels", "forecast"),
    6: ("overfitting",),
    7: ("umm_sweep",),
    8: ("memorization",),
    9: ("untrained",),
}


def build(options: Any) -> Path:
    """Build what the options of ``sslsim figures`` say."""
    make = gallery if options.gallery else figures
    return make(options.only, options.results, options.out, options.store)


def gallery(
    only: Sequence[int] = (),
    results: Path | None = None,
    out: Path | None = None,
    store: Path | None = None,
) -> Path:
    """Build all small pictures of the gallery: those of run folders, and the figures."""
    if only:
        raise ValueError(f"only is {list(only)}; with gallery all pictures are built")
    with _building({"gallery": True}, results, out, store) as (source, folder):
        for name in PICTURES:
            draw_picture(name, source, folder)
        for number in FIGURES:
            small_figure(number, source, folder)
    return _place(out)


def _place(out: Path | None) -> Path:
    return Path("figures" if out is None else out)


@contextmanager
def _building(
    said: Mapping[str, Any], results: Path | None, out: Path | None, store: Path | None
) -> Iterator[tuple[Path, Path]]:
    """Results, and the folder to draw into; what a campaign has finished is stored before."""
    source = RESULTS if results is None else Path(results)
    options = {**said, "results": "installed" if results is None else source}
    with new_results(_place(out), "figures", options, results=()) as folder:
        if store is not None:
            print(f"stored {captions.listed(store_finished(store, source))}")
        yield source, folder


def small_figure(number: int, results: Path, out: Path) -> Path:
    """Draw a figure as it is in the gallery."""
    with TemporaryDirectory() as temporary, styled():
        figure, _ = _drawn(number, results)
        large = save(figure, Path(temporary) / "large.png", _dpi(number))
        figure.clear()
        return shrink(large, Path(out) / f"{name_of(number)}.png")


def name_of(number: int) -> str:
    """Name of a figure's files.

    >>> name_of(0), name_of(3)
    ('front', 'figure3')
    """
    return f"figure{number}" if number else "front"


def _dpi(number: int) -> float:
    """The picture of the front page is shown at half its size, sharp on screens of two pixels."""
    return DPI if number else 200.0


def figures(
    only: Sequence[int] = (),
    results: Path | None = None,
    out: Path | None = None,
    store: Path | None = None,
) -> Path:
    """Build figures with their captions."""
    numbers = sorted(set(only)) or list(FIGURES)
    for number in numbers:
        if number not in FIGURES:
            raise ValueError(f"there is no figure {number}; there are {captions.listed(FIGURES)}")
    with _building({"only": numbers}, results, out, store) as (source, folder):
        for number in numbers:
            with styled():
                figure, caption = _drawn(number, source)
                save_both(figure, folder / f"{name_of(number)}.png", _dpi(number))
                figure.clear()  # a page of vectors is large: free it before the next
            title = f"**Figure {number}.** " if number else ""
            with whole_file(folder / f"{name_of(number)}.md") as file:
                file.write(captions.wrapped(title + caption).encode() + b"\n")
            if number == 1:
                figure1_staircase.animate(source, folder)
    return _place(out)


def _drawn(number: int, source: Path) -> tuple[Figure, str]:
    """Draw a figure, or say which result does not fit it, however it is misshapen."""
    try:
        return FIGURES[number](source)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, ValueError) and str(source) in str(error):  # names its file
            raise
        names = _READ.get(number, ())
        reason = misfit(source, names)
        if reason is None:
            places = captions.listed(str(source / name) for name in names) or str(source)
            reason = f"{places} cannot be drawn ({type(error).__name__}: {error})"
        raise ValueError(f"{reason}; expected results as figure {number} is drawn of") from error
