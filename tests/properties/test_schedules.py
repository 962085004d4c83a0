"""Learning rates and moments of recording: ranges, ends and order at all lengths of a run."""

import itertools
import math

from hypothesis import assume, given
from hypothesis import strategies as st

from sslsim.core.seeds import derived_seed
from sslsim.training.options import SCHEDULES, TrainingOptions, flow_time, learning_rate_factor
from sslsim.training.records import record_steps

RUNS = st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))


def factors(schedule, steps, warmup):
    return [learning_rate_factor(schedule, step, steps, warmup) for step in range(steps)]


@given(st.sampled_from(SCHEDULES), RUNS)
def test_the_rate_rises_in_the_warm_up_and_never_after(schedule, run):
    steps, warmup = run
    found = factors(schedule, steps, warmup)
    assert all(0 < factor <= 1 for factor in found)
    assert found[:warmup] == [(step + 1) / warmup for step in range(warmup)]
    rest = found[warmup:]
    assert rest[:1] in ([], [1.0])  # it goes on from where the warm-up ends
    assert all(a >= b for a, b in itertools.pairwise(rest))
    assert found == factors(schedule, steps, warmup)


@given(st.sampled_from(SCHEDULES), RUNS)
def test_after_the_warm_up_the_schedule_is_one_of_a_run_without(schedule, run):
    steps, warmup = run
    assume(warmup < steps)
    assert factors(schedule, steps, warmup)[warmup:] == factors(schedule, steps - warmup, 0)


@given(st.integers(2, 200))
def test_cosine_falls_strictly_and_is_symmetric_about_one_half(steps):
    found = factors("cosine", steps, 0)
    assert all(a > b for a, b in itertools.pairwise(found))
    for step in range(1, steps):
        assert abs(found[step] + found[steps - step] - 1) < 1e-15 * 8


@given(st.integers(2, 200))
def test_the_exponential_schedule_falls_by_one_factor(steps):
    found = factors("exponential", steps, 0)
    for a, b in itertools.pairwise(found):
        assert math.isclose(b / a, 0.01 ** (1 / steps), rel_tol=1e-13)


@given(
    st.sampled_from(SCHEDULES),
    RUNS,
    st.sampled_from(["sgd", "adamw", "lars", "muon"]),
    st.floats(0, 0.99),
    st.floats(1e-5, 10),
)
def test_flow_time_sums_the_learning_rates(schedule, run, optimizer, momentum, lr):
    steps, warmup = run
    options = TrainingOptions(
        steps=steps, warmup=warmup, schedule=schedule, optimizer=optimizer, momentum=momentum, lr=lr
    )
    rates = [lr * factor for factor in factors(schedule, steps, warmup)]
    share = 1 - momentum if optimizer == "sgd" else 1
    for step in (0, 1, steps):
        expected = math.fsum(rates[:step]) / share
        assert math.isclose(flow_time(options, step), expected, rel_tol=1e-13)


@given(st.integers(1, 10**6), st.integers(2, 300))
def test_records_go_from_the_first_to_the_last_update(steps, count):
    found = record_steps(steps, count)
    assert found == sorted(set(found))
    assert found[0] == 0
    assert found[-1] == steps
    assert len(found) <= count


@given(st.integers(2, 40))
def test_no_record_is_lost_in_a_long_run(count):
    assert len(record_steps(10**12, count)) == count


@given(st.integers(50, 10**6), st.integers(8, 300))
def test_gaps_between_records_are_bounded_in_time_and_in_its_logarithm(steps, count):
    found = record_steps(steps, count)
    half = count // 2
    assert max(b - a for a, b in itertools.pairwise(found)) <= steps / (half - 1) + 1
    # Rounding moves each of the two by a half.
    ratio = steps ** (1 / half)
    assert all(b - 0.5 <= (a + 0.5) * ratio * (1 + 1e-9) for a, b in itertools.pairwise(found[1:]))


@given(st.lists(st.tuples(*[st.integers(0, 2**40)] * 3), min_size=2, max_size=20, unique=True))
def test_draws_of_different_purpose_or_number_differ_in_their_seed(keys):
    seeds = [derived_seed(*key) for key in keys]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert seeds == [derived_seed(*key) for key in keys]
