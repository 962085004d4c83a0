"""How forecasts came out: of all plateaus, and by method, network and batching."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.studies.forecasts.forecasters import MAIN, Forecast
from experiments.studies.forecasts.rest import AT_REST

_PARTS: dict[str, Callable[[Forecast], str]] = {
    "methods": lambda entry: entry.method,
    "networks": lambda entry: entry.encoder,
    "batchings": lambda entry: entry.batching,
    "states": lambda entry: entry.state.partition(" mode")[0],
}


def summarise(forecasts: Sequence[Forecast]) -> dict[str, Any]:
    """How forecasts came out."""
    parts = {
        name: {key: _errors(group) for key, group in _grouped(forecasts, kind).items()}
        for name, kind in _PARTS.items()
    }
    groups = _grouped(forecasts, lambda entry: f"{entry.method}, {entry.encoder}")
    return {
        "main": MAIN,
        **_errors(forecasts),
        "groups": {name: _errors(group) for name, group in groups.items()},
        **parts,
    }


def _grouped(
    forecasts: Sequence[Forecast], kind: Callable[[Forecast], str]
) -> dict[str, list[Forecast]]:
    groups: dict[str, list[Forecast]] = {}
    for entry in forecasts:
        groups.setdefault(kind(entry), []).append(entry)
    return groups


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
                if not np.isnan(entry.step_times.get(name, np.nan))
                and entry.measured_step_time > entry.time
            ]
        )
        by_name[name] = {
            "counted": len(ratios),
            "median_rate_error": float(np.median(rates)) if rates else None,
            "median_time_error": float(np.median(np.abs(ratios - 1))) if len(ratios) else None,
            "median_time_ratio": float(np.median(ratios)) if len(ratios) else None,
        }
    # A queued mode has no interval but a lower bound.
    told = [entry for entry in came if not np.isnan(entry.step_times.get(MAIN, np.nan))]
    inside = [entry.low <= entry.measured_step_time <= entry.high for entry in told]
    factors = [
        (entry.high - entry.time) / (entry.low - entry.time) if entry.low > entry.time else np.inf
        for entry in told
    ]
    main = by_name.get(MAIN, {})
    return {
        "plateaus": len(came),
        "at_rest": sum(entry.state == AT_REST for entry in came),
        "covered": float(np.mean(inside)) if inside else None,
        "median_time_ratio": main.get("median_time_ratio"),
        "median_time_error": main.get("median_time_error"),
        "median_interval_factor": float(np.median(factors)) if factors else None,
        "forecasters": by_name,
    }
