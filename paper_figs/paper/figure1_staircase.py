"""Figure 1: a network learns one dimension after another, in its loss and its embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from paper_figs import captions
from paper_figs.runs.embeddings import animate as animate_embeddings
from paper_figs.runs.embeddings import principal_points
from paper_figs.runs.training import draw_records, losses
from paper_figs.store import read_result
from paper_figs.style import INK, QUIET, WIDTH, entitle, letter

NAME = "convnet"
COMMAND = (
    "sslsim train --data cifar10 --limit 2000 --views crops --lr 0.001 --out DIR/convnet"
    " (DIR as in --results DIR)"
)
_MOMENTS = 4


def figure(results: Path) -> tuple[Figure, str]:
    """Draw embeddings on the plateaus of the first steps, the loss, and the eigenvalues."""
    folder = Path(results) / NAME
    config, result, records = (
        read_result(results, NAME, file, COMMAND)
        for file in ("config.json", "training.json", "records.npz")
    )
    records = dict(records)
    places = moments(records, result)
    drawn = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    grid = drawn.add_gridspec(3, len(places), height_ratios=(1.25, 1.0, 1.0))
    above = drawn.add_subplot(grid[1, :])
    below = drawn.add_subplot(grid[2, :], sharex=above)
    draw_records(above, below, folder, result, result["step_times"])
    above.tick_params(labelbottom=False)
    _, loss = losses(folder, records)
    points = principal_points(records)
    low, high = (limit(points[places], axis=(0, 1)) for limit in (np.min, np.max))
    centre, reach = (low + high) / 2, 0.54 * float((high - low)[:2].max())
    for number, place in enumerate(places):
        axes = drawn.add_subplot(grid[0, number])
        _draw_points(axes, points[place], points[places[-1]], centre, reach)
        time = float(records["times"][place])
        entitle(axes, letter(number), _opened(result, time), fontsize=8.5)
        above.plot(time, loss[place], "o", ms=4, mfc="white", mec=INK, zorder=5)
        above.annotate(
            letter(number),
            (time, loss[place]),
            xytext=(3, 5),
            textcoords="offset points",
            fontsize=8,
        )
    return drawn, _caption(config, result, records, places)


def animate(results: Path, out: Path) -> Path:
    """Animate the embeddings of figure 1."""
    for file in ("training.json", "records.npz"):
        read_result(results, NAME, file, COMMAND)
    return animate_embeddings(Path(results) / NAME, Path(out) / "figure1.gif")


def moments(records: dict[str, NDArray[Any]], result: Any) -> list[int]:
    """Snapshots shown: the last one of the plateau after each of the first four steps.

    >>> records = {"times": np.arange(10.0)}
    >>> moments(records, {"step_times": [1.5, 3.5, None, 8.5]})
    [3, 7, 9]
    """
    steps = sorted(step for step in result["step_times"] if step is not None)
    ends = [*(0.9 * step for step in steps[1:]), records["times"][-1]]
    places = np.searchsorted(records["times"], ends[:_MOMENTS], side="right") - 1
    return sorted({int(place) for place in places})


def _opened(result: Any, time: float) -> str:
    done = sum(step is not None and step <= time for step in result["step_times"])
    return f"{done} step{'s' if done != 1 else ''} done"


def _draw_points(
    axes: Axes,
    points: NDArray[np.float64],
    last: NDArray[np.float64],
    centre: NDArray[np.float64],
    reach: float,
) -> None:
    """Along the first two directions; the third is the size of a point, the colour the end."""
    order = np.argsort(points[:, 2])
    sizes = 9.0 * (1.0 + 0.8 * np.clip(points[:, 2] / reach, -1, 1))
    axes.scatter(
        points[order, 0],
        points[order, 1],
        s=sizes[order],
        c=last[order, 2],
        cmap="viridis",
        lw=0.2,
        edgecolors=INK,
    )
    across, up = ((middle - reach, middle + reach) for middle in centre[:2])
    axes.set(xlim=across, ylim=up, aspect="equal", xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color=QUIET)


def _caption(config: Any, result: Any, records: dict[str, NDArray[Any]], places: list[int]) -> str:
    shown = records["scores"].shape[1]
    first = places[0]
    mean = float(np.square(records["mean"][first]).sum() / records[result["spectrum"]][first, 0])
    return (
        f"Learning in steps. {letter(0)} to {letter(len(places) - 1)}: embeddings of {shown} "
        "held-out views at the moments marked in the loss, less their mean, along three principal "
        "directions, the same in all panels (of the moment when just three dimensions are open): "
        "two are the axes, the third is the size of a point; its shade is the third coordinate at "
        f"the last of these moments. At {letter(0)} the squared norm of the mean is "
        f"{100 * mean:.0f} % of the largest eigenvalue: the first step is that of the mean. "
        "Middle: loss of held-out pairs. Below: eigenvalues of "
        f"{_spectrum(result)}; vertical lines, the {result['detected_steps']} steps detected. "
        f"Run {captions.device([config])}: {captions.training(config, result)}. "
        "figure1.gif shows the embeddings in motion."
    )


def _spectrum(result: Any) -> str:
    return (
        "the cross-correlation C of the embeddings"
        if result["spectrum"] == "cross_spectrum"
        else "the covariance of the embeddings"
    )
