"""What was recorded over a training, and what theory said of it: three pictures.

``run.png`` and ``comparison.png`` of a run, ``spectra.png`` of embeddings stored by any tool.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from paper_figs.runs.embeddings import animate
from paper_figs.style import BAND, INK, QUIET, TIME, mode_colours, save, styled
from sslsim.core.files import read_arrays, read_json, read_lines

_SHOWN = 32  # eigenvalues drawn at most


def draw_training(folder: str | os.PathLike[str]) -> Path:
    """Draw what a training leaves: ``run.png``, whose path is returned, and ``embeddings.gif``."""
    animate(folder)
    return draw_run(folder)


def draw_run(folder: str | os.PathLike[str]) -> Path:
    """Draw the loss and the eigenvalues of a training run, with the steps that were detected."""
    result = read_json(Path(folder) / "training.json")
    title = f"{result['method']}, {result['encoder']} on {Path(result['data']).name}"
    title += f": {result['detected_steps']} steps seen"
    return _draw(Path(folder), "run.png", title, result, result["step_times"], {})


def draw_run_comparison(folder: str | os.PathLike[str]) -> Path:
    """Draw the steps that theory predicts from the data over those that a run recorded."""
    result = read_json(Path(folder) / "comparison.json")
    scale = result["fitted_time_scale"]
    predicted = result["predicted_step_times"]
    scaled = [None if step is None or scale is None else scale * step for step in predicted]
    title = f"{result['method']}, {result['encoder']} on {Path(result['data']).name}: "
    title += (
        "no two steps to compare"
        if result["mean_scaled_relative_error"] is None
        else f"step ratios off by {100 * result['mean_scaled_relative_error']:.0f} %"
    )
    return _draw(
        Path(folder),
        "comparison.png",
        title,
        result,
        result["measured_step_times"],
        {"predicted": scaled, "scale": scale},
    )


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


def _draw(
    folder: Path,
    name: str,
    title: str,
    result: dict[str, Any],
    steps: list[float | None],
    theory: dict[str, Any],
) -> Path:
    told = [line for line in read_lines(folder / "records.jsonl") if line.get("next_mode")]
    with styled():
        figure = Figure(figsize=(6.4, 7.0 if told else 5.0), layout="constrained")
        ratios = (1.15, 1.0, 1.0) if told else (1.15, 1.0)
        above, below, *third = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
        draw_records(above, below, folder, result, steps, theory)
        if told:
            _draw_next_steps(third[0], told, steps, below.get_xlim()[1])
            third[0].set_xlabel(below.get_xlabel())
            below.set_xlabel("")
        above.set_title(title)
        return save(figure, folder / name)


def _draw_next_steps(
    axes: Axes, told: Sequence[Mapping[str, Any]], steps: Sequence[float | None], end: float
) -> None:
    """Forecasts of the next step over the time at which they were made, with their intervals."""
    colours = mode_colours(len(steps))
    for mode in sorted({line["next_mode"] for line in told}):
        lines = [line for line in told if line["next_mode"] == mode]
        times, step, low, high = (
            np.array([line[key] for line in lines], dtype=float)
            for key in ("time", "next_step", "next_step_low", "next_step_high")
        )
        colour = colours[mode - 1]
        axes.fill_between(times, low, high, color=colour, alpha=0.2, lw=0)
        axes.plot(times, step, color=colour, lw=1.6)
        if (measured := steps[mode - 1]) is not None:
            axes.plot([times[0], measured], [measured, measured], color=colour, lw=0.9, ls=":")
    axes.plot([0, end], [0, end], color=QUIET, lw=0.8)
    handles = [
        Line2D([], [], color=INK, lw=1.6, label="forecast of the next step, with its interval"),
        Line2D([], [], color=INK, lw=0.9, ls=":", label="detected step"),
        Line2D([], [], color=QUIET, lw=0.8, label="now"),
    ]
    axes.legend(handles=handles, loc="upper left")
    axes.set(ylabel="time of the next step", ylim=(0, 1.25 * end))


def draw_records(
    above: Axes,
    below: Axes,
    folder: Path,
    result: Mapping[str, Any],
    steps: Sequence[float | None],
    theory: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Draw the loss and the eigenvalues that a run recorded into two panels."""
    records = read_arrays(folder / "records.npz")
    times, curves = records["times"], records[result["spectrum"]][:, :_SHOWN]
    kind, loss = losses(folder, records)
    seen = [step for step in steps if step is not None]
    for step in seen:
        for axes in (above, below):
            axes.axvline(step, color=BAND, lw=0.8, zorder=0)
    above.plot(times, loss, color=INK, lw=1.6)
    above.set(ylabel="held-out loss" if kind == "probe_loss" else "loss")
    colours = mode_colours(curves.shape[1])
    for curve, colour in zip(curves.T, colours, strict=True):
        below.plot(times, curve, color=colour, lw=1.6)
    handles = [Line2D([], [], color=BAND, lw=1.2, label="detected steps")]
    for step, colour in zip(theory.get("predicted", []), colours, strict=False):
        if step is not None:
            below.axvline(step, color=colour, lw=1.0, ls=(0, (3, 2)), zorder=1)
    if theory:
        scale = "" if theory["scale"] is None else f", times {theory['scale']:.3g}"
        label = f"predicted from the data{scale}"
        handles.append(Line2D([], [], color=QUIET, lw=1.0, ls=(0, (3, 2)), label=label))
    above.legend(handles=handles, loc="lower left")
    below.set(
        ylabel="eigenvalue of C" if result["spectrum"] == "cross_spectrum" else "eigenvalue",
        xlabel=TIME,
    )
    if seen and min(seen) > 0 and max(seen) / min(seen) > 20:
        below.set_xscale("log")
        below.set_xlim(min(seen) / 3, times[-1])
    else:
        below.set_xlim(0, times[-1])


def draw_again(above: Axes, below: Axes, folder: Path, result: Mapping[str, Any]) -> None:
    """Draw another run of the same kind behind one that is drawn, in thin lines."""
    records = read_arrays(folder / "records.npz")
    curves = records[result["spectrum"]][:, :_SHOWN]
    above.plot(records["times"], losses(folder, records)[1], color=QUIET, lw=0.7, zorder=1)
    for curve, colour in zip(curves.T, mode_colours(curves.shape[1]), strict=True):
        below.plot(records["times"], curve, color=colour, lw=0.6, alpha=0.55, zorder=1)


def losses(folder: Path, records: Mapping[str, NDArray[Any]]) -> tuple[str, NDArray[np.float64]]:
    """Loss at every snapshot of a run: of the probe set where it has one, else of training.

    NaN where there is none, as in a recorded loop that gave none.
    """
    known = set(records["steps"].tolist())
    lines = [line for line in read_lines(folder / "records.jsonl") if line["step"] in known]
    kind = "probe_loss" if "probe_loss" in lines[0] else "loss"
    return kind, np.array([np.nan if line.get(kind) is None else line[kind] for line in lines])
