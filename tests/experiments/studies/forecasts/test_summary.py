"""How forecasts came out, summed up."""

import numpy as np
import pytest

from experiments.studies.forecasts.forecasters import Forecast
from experiments.studies.forecasts.summary import summarise


def came(step, measured, low=0.5, high=9.0, rate=1.0, measured_rate=1.0, **changes):
    """A forecast made at time 1, of which only what is summed up counts."""
    given = {
        "run": "a", "method": "simclr", "encoder": "mlp", "mode": 1, "size": 1e-3, "step": 10,
        "time": 1.0, "lam": 1e-3, "ceiling": 1.0, "rate": 1.0, "own_rate": 1.0, "early_rate": 0.5,
        "late_rate": 0.5, "cut": "x", "last_layer_rate": 0.1, "batching": "full batches",
        "adaptation": 0.3, "lagged_rate": 0.9, "actual_rate": 0.9, "state": "at rest",
        "rates": {"lagged_law": rate}, "step_times": {"lagged_law": step}, "low": low, "high": high,
        "measured_rate": measured_rate, "measured_step_time": measured,
    }  # fmt: skip
    return Forecast(**given | changes)


def test_forecasts_are_summed_up_by_remaining_times_and_both_ends_of_intervals():
    many = [
        came(3.0, 5.0, low=2.0, high=6.0, rate=1.5),  # half of what remained; inside
        came(4.0, 3.0, low=2.0, high=2.9, rate=0.9),  # 1.5 times; came late
        came(5.0, 2.0, low=2.1, high=9.0, rate=3.0),  # 4 times; came early
        came(2.0, 2.0, low=2.0, high=2.0, rate=1.2, encoder="vit"),  # right; at both ends
        came(2.0, np.inf, rate=1.0, measured_rate=np.nan, encoder="vit"),  # never came
    ]
    found = summarise(many)
    assert found["plateaus"] == 4
    assert found["covered"] == 0.5
    told = found["forecasters"]["lagged_law"]
    assert told["counted"] == 4
    assert told["median_time_ratio"] == pytest.approx(1.25)  # of 0.5, 1, 1.5 and 4
    assert told["median_time_error"] == pytest.approx(0.5)  # of 0, 0.5, 0.5 and 3
    assert told["median_rate_error"] == pytest.approx(0.35)  # of 0.1, 0.2, 0.5 and 2
    first, second = found["groups"]["simclr, mlp"], found["groups"]["simclr, vit"]
    assert (first["plateaus"], second["plateaus"]) == (3, 1)
    assert (first["covered"], second["covered"]) == (pytest.approx(1 / 3), 1.0)
    assert first["forecasters"]["lagged_law"]["median_time_ratio"] == pytest.approx(1.5)


def test_queued_modes_have_a_bound_and_are_not_covered_or_missed():
    many = [
        came(3.0, 5.0, low=2.0, high=6.0),
        came(np.nan, 5.0, low=2.0, state="queued behind mode 1"),
    ]
    found = summarise(many)
    assert (found["plateaus"], found["at_rest"], found["covered"]) == (2, 1, 1.0)
    assert found["forecasters"]["lagged_law"]["counted"] == 1
    assert found["median_interval_factor"] == pytest.approx(5.0)
    assert set(found["states"]) == {"at rest", "queued behind"}
    assert list(found["batchings"]) == ["full batches"]


def test_nothing_seen_sums_up_to_nothing():
    found = summarise([])
    assert (found["plateaus"], found["covered"], found["forecasters"]) == (0, None, {})
    assert found["groups"] == found["methods"] == {}
