"""When will the next mode be learned? ``sslsim forecast``.

A forecast knows one checkpoint and what the run did before it. The next rise follows from how the
mode grows now, from how its rate splits between early and late layers, from the pull of the loss
and from the lag of momentum (:mod:`theory.growth`); how far to trust it, from how forecasts of
other runs came out, and of this one. Keys of ``forecast.json`` are explained in
``experiments/docs/forecast.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from experiments.options import ForecastOptions
from experiments.studies.forecasts.curves import curve_forecasts, read_curves
from experiments.studies.forecasts.forecasters import (
    CURVES,
    MAIN,
    Forecast,
    forecasts_of,
    judged_moments,
    score,
    with_intervals,
)
from experiments.studies.forecasts.intervals import (
    calibration_of,
    read_calibration,
    run_name,
    scores_for,
)
from experiments.studies.forecasts.moments import (
    JUDGED,
    STEP,
    crossings,
    expected_ceiling,
    modes_left,
)
from experiments.studies.forecasts.pool import pooled
from experiments.studies.forecasts.rest import LEARNED, QUEUED
from experiments.studies.forecasts.summary import summarise
from sslsim.core.files import write_arrays, write_json
from sslsim.runs.folder import check_folder, new_results
from sslsim.runs.history import RunHistory, read_history
from sslsim.runs.networks import check_different

_RESULTS = ("forecast.json", "forecast.npz", "forecast.png", "calibration.json")


def forecast(options: ForecastOptions) -> Path:
    """Forecast the steps of runs, and compare with what happened; or go on from curves alone."""
    _check(options)
    check_folder(options.out, "forecast", _RESULTS)
    calibration = read_calibration(options.calibration)
    if options.curves is not None:
        return _from_curves(options, calibration)
    if options.pool:
        return _written(options, *pooled(options.pool, calibration, options.interval_level))
    quiet = not sys.stderr.isatty()
    histories = [
        read_history(run, options.pairs, options.root, progress=not quiet) for run in options.run
    ]
    steps = histories[0].steps
    if options.at is not None and options.at not in steps:
        raise ValueError(
            f"at is {options.at}; {options.run[0]} holds checkpoints {steps[0]}, {steps[1]}, "
            f"..., {steps[-1]}"
        )
    forecasts: list[Forecast] = []
    for history in histories:
        until = None if options.at is None else steps.index(options.at)
        moments = crossings(history, until)
        if until is not None:
            moments = [moment for moment in moments if moment[2] == JUDGED]
        moments = judged_moments(history, moments, quiet)
        if until is not None:
            moments = [moment for moment in moments if moment[0] < until]
            moments += modes_left(history, until)
        made = forecasts_of(history, moments, options, quiet)
        forecasts += with_intervals(made, calibration, options.interval_level)
    if options.at is not None:
        forecasts = [entry for entry in forecasts if entry.size is None]
    curves = {
        f"{name}_{place}": values
        for place, history in enumerate(histories)
        for name, values in (("times", history.times), ("eigenvalues", history.lam))
    }
    states = [] if options.at is None else _states(histories[0], options.at, forecasts)
    return _written(options, [str(run) for run in options.run], forecasts, curves, states)


def _written(
    options: ForecastOptions,
    runs: Sequence[str],
    forecasts: Sequence[Forecast],
    curves: dict[str, Any],
    states: Sequence[dict[str, Any]] = (),
) -> Path:
    judged = [entry for entry in forecasts if entry.size in (None, JUDGED)]
    result = {
        "runs": runs,
        "at": options.at,
        "judged_at": None if options.at is not None else JUDGED,
        "interval_level": options.interval_level,
        "main": MAIN,
        "states": list(states),
        "forecasts": [asdict(entry) for entry in forecasts],
        "summary": {} if options.at is not None else summarise(judged),
    }
    with new_results(options.out, "forecast", options, results=_RESULTS) as folder:
        write_arrays(folder / "forecast.npz", **curves)
        write_json(folder / "forecast.json", result)
        if options.calibrate:
            write_json(folder / "calibration.json", _calibrated(runs, forecasts))
    return options.out


def _check(options: ForecastOptions) -> None:
    options.check()
    check_different("run", options.run)
    check_different("pool", options.pool)
    if options.at is not None and (len(options.run) > 1 or options.curves is not None):
        what = "curves" if options.curves is not None else f"{len(options.run)} runs"
        raise ValueError(f"at is {options.at} for {what}; expected one run")
    if options.calibrate and (options.at is not None or options.curves is not None):
        raise ValueError("calibrate is given with at or curves; expected whole runs")
    if options.pairs < 2 or not 0 < options.interval_level < 1:
        raise ValueError(
            f"pairs is {options.pairs} and interval_level {options.interval_level}; "
            "expected at least 2 and a number between 0 and 1"
        )
    if options.curves is not None and options.lr is None:
        raise ValueError("curves are given without lr; expected --lr, their learning rate")
    if options.curves is None and options.lr is not None:
        raise ValueError(f"lr is {options.lr} without curves; expected it with --curves only")
    if options.lr is not None and not 0 < options.lr < np.inf:
        raise ValueError(f"lr is {options.lr}; expected a finite number above zero")
    if not 0 <= options.momentum < 1:
        raise ValueError(f"momentum is {options.momentum}; expected from 0 to below 1")


def _states(history: RunHistory, step: int, forecasts: Sequence[Forecast]) -> list[dict[str, Any]]:
    """State of every mode at a checkpoint."""
    index = history.steps.index(step)
    known = {entry.mode: entry.state for entry in forecasts}
    states = []
    for mode, lam in enumerate(history.lam[index]):
        learned = lam >= STEP * expected_ceiling(history, index, mode)
        state = LEARNED if learned else known.get(mode + 1, f"{QUEUED} {mode}")
        states.append({"mode": mode + 1, "lam": float(lam), "state": state})
    return states


def _calibrated(runs: Sequence[str], forecasts: Sequence[Forecast]) -> dict[str, Any]:
    """Scores of the forecasts that were judged, and of those made while modes were not settled."""
    entries: list[dict[str, Any]] = []
    for entry in forecasts:
        kinds = [(entry.state, MAIN)] if entry.size == JUDGED or "not" in entry.state else []
        kinds += [(CURVES, CURVES)] if entry.size == JUDGED else []
        entries += [
            {
                "run": run_name(Path(entry.run)),
                "method": entry.method,
                "mode": entry.mode,
                "state": state,
                "score": score(entry, name),
            }
            for state, name in kinds
            if np.isfinite(score(entry, name))
        ]
    names = " ".join(run_name(Path(run)) for run in runs)
    return calibration_of(entries, f"sslsim forecast --calibrate --run {names}")


def _from_curves(options: ForecastOptions, calibration: dict[str, Any]) -> Path:
    assert options.curves is not None
    assert options.lr is not None
    times, lam = read_curves(options.curves)
    told = curve_forecasts(
        times,
        lam,
        options.lr,
        options.momentum,
        options.method,
        scores_for(calibration, options.method, CURVES),
        options.interval_level,
        options.ceiling,
    )
    states = [
        {"mode": entry.mode, "lam": entry.lam * entry.ceiling, "state": entry.state}
        for entry in told
    ]
    forecasts = [
        {
            "mode": entry.mode,
            "size": None,
            "time": float(times[-1]),
            "lam": entry.lam,
            "ceiling": entry.ceiling,
            "late_rate": float(entry.shares[0]),
            "early_rate": float(entry.shares[1]),
            "state": entry.state,
            "rates": {},
            "step_times": {CURVES: entry.step},
            "low": entry.low,
            "high": entry.high,
            "measured_rate": np.nan,
            "measured_step_time": np.inf,
        }
        for entry in told
        if entry.state != LEARNED and entry.lam > 0
    ]
    with new_results(options.out, "forecast", options, results=_RESULTS) as folder:
        write_arrays(folder / "forecast.npz", times_0=times, eigenvalues_0=lam)
        write_json(
            folder / "forecast.json",
            {
                "runs": [str(options.curves)],
                "at": len(times) - 1,
                "judged_at": None,
                "interval_level": options.interval_level,
                "main": CURVES,
                "states": states,
                "forecasts": forecasts,
                "summary": {},
            },
        )
    return options.out
