"""Backtests put together from their folders, with the intervals of one calibration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.studies.forecasts.forecasters import MAIN, Forecast, with_intervals
from experiments.studies.forecasts.moments import JUDGED, Array
from experiments.studies.forecasts.rest import AT_REST, NOT_SETTLED
from sslsim.runs.stored import stored_arrays, stored_result

_NEVER = ("high", "measured_step_time")  # null is infinite; of others, not known


def pooled(
    folders: Sequence[Path], calibration: dict[str, Any], level: float
) -> tuple[list[str], list[Forecast], dict[str, Array]]:
    """Runs, forecasts with intervals at a level, and curves of several backtests.

    Raises ValueError if a folder holds no backtest, or one of another version.
    """
    runs: list[str] = []
    forecasts: list[Forecast] = []
    curves: dict[str, Array] = {}
    for folder in folders:
        result = stored_result(folder / "forecast.json", {"runs": list, "forecasts": list})
        if result.get("judged_at") != JUDGED or result.get("main") != MAIN:
            raise ValueError(
                f"{folder} is no backtest of this version; expected folders of sslsim forecast "
                "without --at and --curves"
            )
        shapes = {
            f"{name}_{place}": ndim
            for place in range(len(result["runs"]))
            for name, ndim in (("times", 1), ("eigenvalues", 2))
        }
        arrays = stored_arrays(folder / "forecast.npz", shapes)
        for place, run in enumerate(result["runs"]):
            for name in ("times", "eigenvalues"):
                curves[f"{name}_{len(runs)}"] = arrays[f"{name}_{place}"]
            runs.append(run)
            own = [_forecast(entry) for entry in result["forecasts"] if entry["run"] == run]
            forecasts += with_intervals(own, calibration, level)
    return runs, forecasts, curves


def _forecast(entry: dict[str, Any]) -> Forecast:
    """A stored forecast as it was made."""
    unknown = [name for name, value in entry.items() if value is None and name != "size"]
    values = entry | {name: np.inf if name in _NEVER else np.nan for name in unknown}
    values["rates"] = {n: np.nan if v is None else v for n, v in entry["rates"].items()}
    told = entry["state"] in (AT_REST, NOT_SETTLED)
    values["step_times"] = {
        n: (np.inf if told or n != MAIN else np.nan) if v is None else v
        for n, v in entry["step_times"].items()
    }
    return Forecast(**values)
