"""Figure 3: the same network trained by several methods climbs in steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.special import expit

from paper_figs import captions
from paper_figs.runs.training import draw_again, draw_records
from paper_figs.store import grouped
from paper_figs.style import BAND, INK, QUIET, TIME, WIDTH, entitle, letter, mode_colours
from sslsim.core.files import read_json

NAME = "methods"
COMMAND = (
    "sslsim train --encoder resnet50 --method METHOD --seed SEED --out DIR/methods/METHOD_SEED"
    " (DIR as in --results DIR)"
)
_SPECTRA = {
    "cross_spectrum": "of the cross-correlation C",
    "covariance_spectrum": "of the covariance",
}
_DASH = (0, (3, 2))
_ORDER = ("barlow_twins", "simclr", "vicreg")  # others after them


def figure(results: Path) -> tuple[Figure, str]:
    """Draw loss and eigenvalues of every run under ``methods``, a column for each method."""
    folders = [path.parent for path in (Path(results) / NAME).glob("*/training.json")]
    if not folders:
        raise ValueError(f"{Path(results) / NAME} holds no run; one is made by: {COMMAND}")
    runs = sorted(map(_run, folders), key=_place)
    columns = list(grouped(runs, lambda run: (run["method"], run["encoder"], run["data"])).values())
    drawn = Figure(figsize=(WIDTH, 4.3), layout="constrained")
    panels = drawn.subplots(2, len(columns), sharex="col", squeeze=False)
    for column, (first, *others) in enumerate(columns):
        above, below = panels[:, column]
        for run in others:
            draw_again(above, below, run["folder"], run)
        draw_records(above, below, first["folder"], first, first["step_times"])
        _draw_theory(below, first)
        entitle(above, letter(column), captions.name_of(first["method"]))
        above.get_legend().remove()
        below.set_xlabel("")
        if column:
            above.set_ylabel("")
            same = columns[column - 1][0]["spectrum"] == first["spectrum"]
            below.set_ylabel("" if same else "eigenvalue of covariance")
    drawn.supxlabel(TIME, fontsize=9)
    _legend(drawn, columns)
    return drawn, _caption(columns)


def _legend(drawn: Figure, columns: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    handles = [Line2D([], [], color=INK, lw=1.6, label="first seed")]
    if any(len(column) > 1 for column in columns):
        handles.append(Line2D([], [], color=QUIET, lw=0.7, label="other seeds"))
    if any(column[0]["kernel"] is not None for column in columns):
        label = "kernel of the untrained network"
        handles.append(Line2D([], [], color=INK, lw=1.0, ls=_DASH, label=label))
    handles.append(Line2D([], [], color=BAND, lw=1.2, label="detected steps"))
    drawn.legend(handles=handles, loc="outside upper center", ncols=len(handles))


def _draw_theory(axes: Axes, run: Mapping[str, Any]) -> None:
    """Eigenvalues that the kernel of the untrained network predicts, times stretched as one."""
    if (kernel := run["kernel"]) is None:
        return
    times = run["time"] * np.geomspace(1e-3, 1.0, 600)
    scale = kernel["fitted_time_scale"]
    curves = zip(kernel["initial_eigenvalues"], kernel["predicted_step_times"], strict=False)
    shown = [(gamma, step) for gamma, step in curves if step is not None]
    for (gamma, step), colour in zip(shown, mode_colours(len(shown)), strict=True):
        # The closed form of linear Barlow Twins, written with its half-rise time.
        curve = expit(8.0 * gamma * (times / scale - step))
        axes.plot(times, curve, color=colour, lw=1.0, ls=_DASH, zorder=3)


def _run(folder: Path) -> dict[str, Any]:
    """A run with the theory of its kernel, in its folder or among the results of kernels."""
    result, config = (read_json(folder / name) for name in ("training.json", "config.json"))
    own = folder / "ntk.json"
    theory = (
        own
        if own.exists()
        else (folder.parents[1] / "kernels" / f"{result['encoder']}_{folder.name}" / "ntk.json")
    )
    kernel = read_json(theory) if theory.exists() else None
    if kernel is not None and (
        result["method"] != "barlow_twins" or not kernel["fitted_time_scale"]
    ):
        kernel = None  # the closed form is that of Barlow Twins
    return {**result, "folder": folder, "config": config, "kernel": kernel}


def _place(run: Mapping[str, Any]) -> tuple[int, str, float, str]:
    method = run["method"]
    place = _ORDER.index(method) if method in _ORDER else len(_ORDER)
    return (place, method, run["config"]["options"].get("seed", 0), str(run["folder"]))


def _caption(columns: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    runs = [run for column in columns for run in column]
    networks = captions.listed(captions.name_of(run["encoder"]) for run in runs)
    methods = len(columns)
    again = "" if len(runs) == methods else "; thin lines, the same with other seeds"
    told = " ".join(_column(letter(place), column) for place, column in enumerate(columns))
    return (
        f"{networks} trained by {methods} method{'s' if methods != 1 else ''} from small "
        f"initialisation, {captions.device([run['config'] for run in runs])}. Above: loss of "
        "held-out pairs. Below: eigenvalues of their embeddings; vertical lines, the steps "
        f"detected in the run of the wide lines{again}. {told}"
    )


def _column(label: str, runs: Sequence[Mapping[str, Any]]) -> str:
    first = runs[0]
    counts = [run["detected_steps"] for run in runs]
    steps = f"{counts[0]} step{'s' if counts[0] != 1 else ''} detected"
    if len(runs) > 1:
        steps += f" ({', '.join(map(str, counts[1:]))} with other seeds)"
    theory = ""
    if (kernel := first["kernel"]) is not None:
        theory = (
            " Dashed, what the kernel of the untrained network predicts, all times multiplied by "
            f"{kernel['fitted_time_scale']:.3g} (step times off by "
            f"{captions.percent(kernel['mean_scaled_relative_error'])} then)."
        )
    return (
        f"{label}: {captions.training(first['config'], first)}; {steps}, in the eigenvalues "
        f"{_SPECTRA[first['spectrum']]}.{theory}"
    )
