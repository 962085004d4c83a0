"""Literal values of schedules and clocks, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslsim.core.seeds import derived_generator, derived_seed
from sslsim.training.options import TrainingOptions, flow_time, learning_rate_factor
from sslsim.training.records import MOVED, SEEN, closer_record, record_steps


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1, 1, 1, 1, 1]),
        ("cosine", [1, 0.9045084971874737, 0.6545084971874737, 0.3454915028125263, 0.0954915028]),
        ("step", [1, 1, 1, 0.1, 0.01]),  # a tenth from 60 %, a hundredth from 80 %
        ("exponential", [1, 0.3981071705534972, 0.15848931924611134, 0.0630957344, 0.0251188643]),
    ],
)
def test_literal_values(schedule, expected):
    found = [learning_rate_factor(schedule, step, 5) for step in range(5)]
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_run_may_be_all_warm_up():
    assert [learning_rate_factor("cosine", k, 4, 4) for k in range(4)] == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("run", [(-1, 5, 0), (5, 5, 0), (0, 5, 6), (0, 5, -1), (0, 0, 0)])
def test_numbers_out_of_range_are_refused(run):
    with pytest.raises(ValueError, match=r"(step|warmup) is -?\d; expected from 0 to "):
        learning_rate_factor("cosine", *run)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="unknown schedule 'linear'; expected one of constant"):
        learning_rate_factor("linear", 0, 5)


def test_flow_time_of_a_warm_up():
    options = TrainingOptions(steps=10, lr=0.3, warmup=3, momentum=0.5)
    assert flow_time(options, 4) == pytest.approx((0.1 + 0.2 + 0.3 + 0.3) / 0.5, rel=1e-14)


@pytest.mark.parametrize("numbers", [(0, 5), (5, 1)])
def test_too_few_records_are_refused(numbers):
    with pytest.raises(ValueError, match="expected at least 1 update and 2 records"):
        record_steps(*numbers)


def test_records_of_a_short_run_are_all_its_updates():
    assert record_steps(3, 100) == [0, 1, 2, 3]
    assert record_steps(1, 2) == [0, 1]


def test_derived_seeds_stay_what_they_are():
    # Recorded runs depend on these bits.
    assert derived_seed(0, 1, 2) == 9247832928889101276
    assert derived_generator(0, 1, 2).initial_seed() == 9247832928889101276


@given(
    st.lists(st.integers(0, 1000), min_size=2, max_size=2, unique=True),
    st.integers(1, 6),
    st.floats(1e-6, 1e6),
)
def test_nothing_closer_is_recorded_while_eigenvalues_stand_still(steps, dim, scale):
    spectrum = scale * np.arange(dim, 0, -1.0)
    nearly = spectrum * (1 - 0.9 * MOVED)
    assert closer_record(sorted(steps), [[spectrum], [nearly]]) is None


@given(st.integers(0, 1000), st.integers(1, 500), st.integers(0, 3), st.booleans())
def test_what_has_moved_halves_the_distance_between_snapshots(start, gap, mode, rising):
    still = np.array([1.0, 0.5, 0.2, 0.05])
    moved = still.copy()
    moved[mode] *= 1 - 1.1 * MOVED
    spectra = [[still, still], [moved, still]]
    due = closer_record([start, start + gap], spectra[::-1] if rising else spectra)
    assert due == start + gap + max(gap // 2, 1)


def test_eigenvalues_too_small_to_be_seen_ask_for_no_snapshot():
    spectra = [[np.array([1.0, 0.9 * SEEN])], [np.array([1.0, 0.1 * SEEN])]]
    assert closer_record([4, 8], spectra) is None
    assert closer_record([4, 8], [[np.zeros(3)], [np.zeros(3)]]) is None
