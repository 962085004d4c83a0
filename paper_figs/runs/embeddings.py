"""Embeddings as they unfold, one dimension after another: ``embeddings.gif``.

At initialisation all embeddings lie in a point; every step of the loss opens one more dimension:
a line, a plane, a volume. The three axes are the principal directions at the moment when just three
dimensions are open, since later on more of them have equal weight and none is the third.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from paper_figs.style import BAND, INK, QUIET, TIME, styled
from sslsim.core.files import read_arrays, read_json, whole_file


def animate(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    count: int = 60,
) -> Path:
    """Animate the embeddings of the probe set over training, in so many frames at most."""
    result = read_json(Path(folder) / "training.json")
    records = read_arrays(Path(folder) / "records.npz")
    points = principal_points(records)
    shown = _frames(records["times"], count)
    opened = [step for step in result["step_times"] if step is not None]
    frames = []
    with styled():
        for place in shown:
            frames.append(_frame(points[: place + 1], records, int(place), opened, result))
    path = Path(folder) / "embeddings.gif" if out is None else Path(out)
    with whole_file(path) as file:
        frames[0].save(
            file,
            format="GIF",
            save_all=True,
            append_images=[*frames[1:], *[frames[-1]] * 10],
            duration=90,
            loop=0,
        )
    return path


def principal_points(records: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Embeddings of every snapshot along three fixed principal directions.

    >>> scores, axes = np.ones((2, 4, 1)), np.ones((2, 1, 1))
    >>> records = {"scores": scores, "axes": axes, "covariance_spectrum": np.ones((2, 1))}
    >>> principal_points(records).shape
    (2, 4, 3)
    """
    spectra = records["covariance_spectrum"].astype(np.float64)
    padded = np.pad(spectra, ((0, 0), (0, max(0, 4 - spectra.shape[1]))))
    best = int(np.argmax(padded[:, 2] - padded[:, 3])) if padded[:, 2].any() else len(spectra) - 1
    frame = records["axes"][best][:, :3].astype(np.float64)  # (d, up to 3)
    # Rank-r reconstruction of each snapshot's embeddings, then the three directions.
    turned = np.einsum("tdr,dk->trk", records["axes"].astype(np.float64), frame)
    points = records["scores"].astype(np.float64) @ turned
    return np.pad(points, ((0, 0), (0, 0), (0, 3 - points.shape[2])))


def _frames(times: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Snapshots to show: evenly spaced in time, so that rises look as fast as they are."""
    wanted = np.linspace(times[0], times[-1], count)
    return np.unique(np.searchsorted(times, wanted).clip(0, len(times) - 1))


def _frame(
    points: NDArray[np.float64],
    records: dict[str, NDArray[Any]],
    place: int,
    opened: list[float],
    result: dict[str, Any],
) -> Image.Image:
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    space = figure.add_subplot(1, 2, 1, projection="3d")
    curves = figure.add_subplot(1, 2, 2)
    cloud = points[-1]
    # Coloured by the first direction, so that points can be followed.
    space.scatter(*cloud.T, c=cloud[:, 0], cmap="viridis", s=8, depthshade=False)
    reach = 1.1 * max(1.0, float(np.abs(points).max()))
    for name, number in zip("xyz", (1, 2, 3), strict=True):
        getattr(space, f"set_{name}lim")(-reach, reach)
        getattr(space, f"set_{name}ticks")([])
        getattr(space, f"set_{name}label")(f"direction {number}", fontsize=7.5, labelpad=-12)
    space.set_title(
        "embeddings along three principal\ndirections (colour: direction 1)", fontsize=8.5
    )
    times, spectra = records["times"], records[result["spectrum"]][:, :16]
    for curve in spectra.T:
        curves.plot(times, curve, color=BAND, lw=1.0)
        curves.plot(times[: place + 1], curve[: place + 1], color=INK, lw=1.2)
    curves.axvline(times[place], color=QUIET, lw=0.8)
    done = sum(step <= times[place] for step in opened)
    of = " of C" if result["spectrum"] == "cross_spectrum" else " of the covariance"
    steps = f"{done} step{'' if done == 1 else 's'} done"
    curves.set(xlabel=TIME, ylabel=f"eigenvalues{of}", title=steps)
    curves.xaxis.label.set_fontsize(7.5)
    canvas = FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    return Image.open(buffer).convert("P", palette=Image.Palette.ADAPTIVE)
