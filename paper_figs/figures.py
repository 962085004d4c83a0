"""All figures of the paper from stored results: ``sslsim figures``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
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
)
from paper_figs.store import RESULTS, misfit
from paper_figs.style import save_both, styled
from sslsim.core.files import whole_file
from sslsim.runs.folder import new_results

FIGURES: dict[int, Callable[[Path], tuple[Figure, str]]] = {
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
    return figures(options.only, options.results, options.out)


def figures(only: Sequence[int] = (), results: Path | None = None, out: Path | None = None) -> Path:
    """Build figures with their captions."""
    numbers = sorted(set(only)) or list(FIGURES)
    for number in numbers:
        if number not in FIGURES:
            raise ValueError(f"there is no figure {number}; there are {captions.listed(FIGURES)}")
    source = RESULTS if results is None else Path(results)
    options = {"only": numbers, "results": "installed" if results is None else source}
    out = Path("figures" if out is None else out)
    with new_results(out, "figures", options, results=()) as folder:
        for number in numbers:
            with styled():
                figure, caption = _drawn(number, source)
                save_both(figure, folder / f"figure{number}.png")
                figure.clear()  # a page of vectors is large: free it before the next
            text = captions.wrapped(f"**Figure {number}.** {caption}")
            with whole_file(folder / f"figure{number}.md") as file:
                file.write(text.encode() + b"\n")
            if number == 1:
                figure1_staircase.animate(source, folder)
    return out


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
