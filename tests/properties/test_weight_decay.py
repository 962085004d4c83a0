"""What weight decay's closed form promises for every input."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from tolerances import rounding

from theory.linear import weight_decay as wd

magnitudes = st.floats(-3.0, 1.0).map(lambda e: 10.0**e)
eigenvalues = st.one_of(magnitudes, magnitudes.map(lambda g: -g), st.just(0.0))
values = st.floats(-8.0, 1.0).map(lambda e: 10.0**e)
penalties = st.one_of(magnitudes, st.just(0.0))
modes = st.lists(st.tuples(eigenvalues, values), min_size=1, max_size=5)
times = st.floats(0.0, 1e3)


def split(pairs):
    return np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])


@given(modes, penalties, st.lists(times, min_size=2, max_size=6).map(sorted))
def test_each_mode_moves_towards_its_end(pairs, b, t):
    gamma, s0 = split(pairs)
    goal = wd.final_eigenvalues(gamma, b)
    assert np.all((goal >= 0) & (goal <= 1))
    assert np.array_equal(goal > 0, gamma > b / 2)
    curves = wd.eigenvalue_curves(np.array(t), gamma, s0, b)
    assert np.all(np.isfinite(curves))
    distance = np.abs(curves - goal)
    # The height cancels near the threshold, where |lambda - goal| is small anyway.
    assert np.all(np.diff(distance, axis=0) <= 1e-13 * (1.0 + np.abs(curves[0])))


@given(modes, penalties, times, times)
def test_flow_composes(pairs, b, first, second):
    gamma, s0 = split(pairs)
    assume(np.all(np.abs(8.0 * gamma - 4.0 * b) * (first + second) < 200.0))
    whole = wd.singular_values(first + second, gamma, s0, b)
    parts = wd.singular_values(second, gamma, wd.singular_values(first, gamma, s0, b), b)
    np.testing.assert_allclose(parts, whole, rtol=1e-12)


@given(modes, penalties, magnitudes, times)
def test_more_decay_means_smaller_values_and_later_learning(pairs, b, more, t):
    gamma, s0 = split(pairs)
    less_decay, more_decay = (wd.singular_values(t, gamma, s0, x) for x in (b, b + more))
    assert np.all(more_decay <= less_decay * (1.0 + 1e-12))
    learned, still = (wd.final_eigenvalues(gamma, x) > 0 for x in (b, b + more))
    assert np.all(learned | ~still)


@given(modes, penalties, times, magnitudes)
def test_time_scales_like_one_over_gamma(pairs, b, t, c):
    gamma, s0 = split(pairs)
    here = wd.eigenvalue_curves(t, gamma, s0, b)
    there = wd.eigenvalue_curves(c * t, gamma / c, s0 * np.sqrt(c), b / c)
    # Both terms of the rate 8 gamma - 4 b round, and the exponent amplifies that.
    rtol = 1e-14 * (10.0 + (8.0 * np.abs(gamma).max() + 4.0 * b) * t)
    assume(rtol < 1e-2)
    np.testing.assert_allclose(there, here, rtol=10 * rtol, atol=1e-300)


@given(modes, penalties)
def test_step_times_are_where_half_the_height_is_reached(pairs, b):
    gamma, s0 = split(pairs)
    tau, goal = wd.step_times(gamma, s0, b), wd.final_eigenvalues(gamma, b)
    assert np.array_equal(np.isfinite(tau), goal > 0)
    for j in np.flatnonzero((tau > 0) & (goal > 0)):
        reached = wd.eigenvalue_curves(tau[j], gamma[[j]], s0[[j]], b)[0]
        np.testing.assert_allclose(reached, goal[j] / 2.0, rtol=1e-10)


# Where a mode stands among the others, its logarithms may be rounded another way: they are below
# 100, and enter exponents and times.
ROUNDING = rounding(float, 100)


@given(modes, penalties, times, st.randoms(use_true_random=False))
def test_order_of_modes_does_not_matter(pairs, b, t, random):
    gamma, s0 = split(pairs)
    order = list(range(len(gamma)))
    random.shuffle(order)
    here = wd.singular_values(t, gamma, s0, b)[order]
    there = wd.singular_values(t, gamma[order], s0[order], b)
    np.testing.assert_allclose(here, there, rtol=ROUNDING, atol=1e-300)
    here = wd.step_times(gamma, s0, b)[order]
    there = wd.step_times(gamma[order], s0[order], b)
    # Times are a logarithm over the rate 8 gamma - 4 b.
    rate = np.abs(8 * gamma - 4 * b)
    floor = ROUNDING / np.where(rate > 0, rate, 1).min()
    np.testing.assert_allclose(here, there, rtol=ROUNDING, atol=floor)
