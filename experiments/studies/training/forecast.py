"""When will the next mode be learned? ``sslsim forecast``.

A forecast knows one checkpoint and what the run did before it. The next rise follows from how the
mode grows now and how its rate splits between early and late layers (the two-factor law,
:mod:`theory.growth.two_factor`); how far to trust it, from how earlier forecasts of the same run
came out. Beside it stand forecasts that hold the rate fixed. Keys of ``forecast.json`` are
explained in ``experiments/docs/forecast.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from experiments.options import ForecastOptions
from experiments.studies.training.forecasters import (
    JUDGED,
    Forecast,
    crossings,
    forecasts_of,
    modes_left,
)
from sslsim.core.files import write_arrays, write_json
from sslsim.runs.folder import check_folder, new_results
from sslsim.runs.history import read_history
from sslsim.runs.networks import check_different

_RESULTS = ("forecast.json", "forecast.npz", "forecast.png")


def forecast(options: ForecastOptions) -> Path:
    """Forecast the steps of runs, and compare with what happened."""
    if not options.run:
        raise ValueError("no run is given; expected --run DIR, a folder of sslsim train")
    check_different("run", options.run)
    if options.at is not None and len(options.run) > 1:
        raise ValueError(f"at is {options.at} for {len(options.run)} runs; expected one run")
    if options.pairs < 2 or not 0 < options.interval_level < 1:
        raise ValueError(
            f"pairs is {options.pairs} and interval_level {options.interval_level}; "
            "expected at least 2 and a number between 0 and 1"
        )
    check_folder(options.out, "forecast", _RESULTS)
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
        if options.at is not None:
            index = steps.index(options.at)
            moments = [*crossings(history, until=index), *modes_left(history, index)]
        else:
            moments = crossings(history)
        forecasts += forecasts_of(history, moments, options, quiet)
    if options.at is not None:
        forecasts = [entry for entry in forecasts if entry.size is None]
    curves = {
        f"{name}_{place}": values
        for place, history in enumerate(histories)
        for name, values in (("times", history.times), ("eigenvalues", history.lam))
    }
    judged = [entry for entry in forecasts if entry.size in (None, JUDGED)]
    summary = {} if options.at is not None else summarise(judged)
    with new_results(options.out, "forecast", options, results=_RESULTS) as folder:
        write_arrays(folder / "forecast.npz", **curves)
        write_json(
            folder / "forecast.json",
            {
                "runs": [str(run) for run in options.run],
                "at": options.at,
                "judged_at": None if options.at is not None else JUDGED,
                "interval_level": options.interval_level,
                "forecasts": [asdict(entry) for entry in forecasts],
                "summary": summary,
            },
        )
    return options.out


def summarise(forecasts: Sequence[Forecast]) -> dict[str, Any]:
    """How forecasts came out."""
    errors = _errors(forecasts)
    groups: dict[str, list[Forecast]] = {}
    for entry in forecasts:
        groups.setdefault(f"{entry.method}, {entry.encoder}", []).append(entry)
    return {**errors, "groups": {name: _errors(group) for name, group in groups.items()}}


def _errors(forecasts: Sequence[Forecast]) -> dict[str, Any]:
    came = [entry for entry in forecasts if np.isfinite(entry.measured_step_time)]
    names = list(dict.fromkeys(name for entry in forecasts for name in entry.rates))
    by_name = {}
    for name in names:
        rates = [
            abs(entry.rates[name] / entry.measured_rate - 1)
            for entry in forecasts
            if np.isfinite(entry.rates.get(name, np.nan)) and np.isfinite(entry.measured_rate)
        ]
        ratios = np.array(
            [
                (entry.step_times[name] - entry.time) / (entry.measured_step_time - entry.time)
                for entry in came
                if name in entry.step_times
            ]
        )
        by_name[name] = {
            "counted": len(ratios),
            "median_rate_error": float(np.median(rates)) if rates else None,
            "median_time_error": float(np.median(np.abs(ratios - 1))) if len(ratios) else None,
            "median_time_ratio": float(np.median(ratios)) if len(ratios) else None,
        }
    inside = [entry.low <= entry.measured_step_time <= entry.high for entry in came]
    return {
        "plateaus": len(came),
        "covered": float(np.mean(inside)) if inside else None,
        "forecasters": by_name,
    }
