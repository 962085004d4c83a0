"""What detected steps are invariant to, and their agreement with half-rise times."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from sslsim.measures.steps import detect_steps, half_rise_times

TIMES = np.linspace(0.0, 50.0, 60)
SEEDS = st.integers(0, 10_000)


def noisy(seed, k=3):
    rng = np.random.default_rng(seed)
    rise = expit((TIMES[:, None] - rng.uniform(12, 38, k)) / rng.uniform(0.8, 3, k))
    return rng.uniform(0.2, 1, k) * rise + 0.02 * rng.standard_normal((len(TIMES), k))


def assert_same(found, expected, tolerance=1e-5):
    # Fits stop at 1e-8 of their cost, 1e-4 of an error; rounding sets where.
    np.testing.assert_array_equal(found.detected, expected.detected)
    finite = expected.detected
    gap = np.abs(found.times - expected.times)[finite] / expected.standard_errors[finite]
    assert np.all(gap < 1e3 * tolerance)
    for name in ("standard_errors", "heights", "widths"):
        np.testing.assert_allclose(
            getattr(found, name)[finite], getattr(expected, name)[finite], rtol=1e3 * tolerance
        )


@pytest.mark.slow
@given(SEEDS, st.floats(1e-6, 1e6), st.floats(-3, 3))
@settings(max_examples=20, deadline=None)
def test_scaled_and_raised_curves_step_at_the_same_time(seed, scale, offset):
    curves = noisy(seed)
    before, after = detect_steps(TIMES, curves), detect_steps(TIMES, scale * (curves + offset))
    np.testing.assert_allclose(after.heights, scale * before.heights, rtol=1e-2)
    after.heights[:] = before.heights
    assert_same(after, before)


@pytest.mark.slow
@given(SEEDS, st.floats(1e-5, 1e5), st.floats(-100, 100))
@settings(max_examples=20, deadline=None)
def test_steps_follow_a_change_of_clock(seed, scale, shift):
    curves = noisy(seed)
    before, after = detect_steps(TIMES, curves), detect_steps(scale * (TIMES + shift), curves)
    for name in ("times", "standard_errors", "widths"):
        getattr(after, name)[:] /= scale
    after.times[:] -= shift
    assert_same(after, before)


@pytest.mark.slow
@given(SEEDS, st.permutations(range(5)), st.floats(-2, 2))
@settings(max_examples=20, deadline=None)
def test_curves_do_not_know_of_each_other(seed, order, constant):
    curves = np.concatenate([noisy(seed), np.full((len(TIMES), 2), constant)], axis=1)
    alone, together = detect_steps(TIMES, curves[:, :3]), detect_steps(TIMES, curves[:, order])
    assert not together.detected[np.isin(order, [3, 4])].any()
    for name in ("times", "standard_errors", "heights", "widths", "detected"):
        back = getattr(together, name)[np.argsort(order)][:3]
        np.testing.assert_allclose(back, getattr(alone, name), rtol=1e-3)


LOGISTIC = st.tuples(st.floats(15, 35), st.floats(0.9, 3), st.floats(0.1, 10), st.floats(-1, 1))


@given(st.lists(LOGISTIC, min_size=1, max_size=3), st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_exact_on_logistic_curves_at_any_resolution(modes, density):
    middle, width, height, floor = np.array(modes).T
    times = np.linspace(0, 50, 60 * density)
    rise = height * expit((times[:, None] - middle) / width)
    found = detect_steps(times, floor + rise)
    assert found.detected.all()
    assert np.all(np.abs(found.times - middle) < 1e-3 * width)
    np.testing.assert_allclose(found.heights, height, rtol=1e-3)
    np.testing.assert_allclose(found.widths, width, rtol=1e-3)
    np.testing.assert_allclose(
        found.times, half_rise_times(times, rise, top=height), atol=2e-3 * width.max()
    )


@pytest.mark.slow
@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_what_is_not_detected_is_infinite_and_flat(seed):
    rng = np.random.default_rng(seed)
    curves = np.concatenate([noisy(seed), rng.standard_normal((len(TIMES), 2))], axis=1)
    found = detect_steps(TIMES, curves)
    for values in (found.times, found.standard_errors, found.widths):
        np.testing.assert_array_equal(np.isfinite(values), found.detected)
    assert np.all((found.heights > 0) == found.detected)
    inside = found.times[found.detected]
    assert np.all((inside > TIMES[0]) & (inside < TIMES[-1]))
