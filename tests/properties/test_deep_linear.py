"""What the deep linear closed form promises for every input."""

from itertools import pairwise

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tolerances import rounding

from theory.linear import deep

magnitudes = st.floats(-2.0, 1.0).map(lambda e: 10.0**e)
eigenvalues = st.one_of(magnitudes, magnitudes.map(lambda g: -g), st.just(0.0))
values = st.floats(-4.0, 0.7).map(lambda e: 10.0**e)
modes = st.lists(st.tuples(eigenvalues, values), min_size=1, max_size=4)
times = st.floats(-2.0, 8.0).map(lambda e: 10.0**e)
depths = st.integers(2, 8)


def split(pairs):
    return np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])


@given(modes, depths, st.lists(times, min_size=2, max_size=5).map(sorted))
def test_each_mode_moves_towards_its_end(pairs, layers, t):
    gamma, s0 = split(pairs)
    curves = deep.eigenvalue_curves([0.0, *t], gamma, s0, layers)
    assert np.all(np.isfinite(curves))
    np.testing.assert_allclose(curves[0], gamma * s0**2, rtol=1e-12, atol=1e-15)
    goal = (gamma > 0).astype(float)
    distance = np.abs(curves - goal)
    assert np.all(np.diff(distance, axis=0) <= 1e-12 * (1.0 + distance[0]))
    assert np.all((curves - goal) * (curves[0] - goal) >= -1e-15)


@given(magnitudes, st.floats(-8.0, -0.4), depths, st.floats(0.02, 0.98))
def test_curves_and_times_are_inverse(gamma, log_lam, layers, level):
    lam0 = 10.0**log_lam
    assume(level > 1.01 * lam0)
    s0 = [np.sqrt(lam0 / gamma)]
    t = deep.level_times(level, [gamma], s0, layers)[0]
    found = deep.eigenvalue_curves(t, [gamma], s0, layers)[0]
    # Rounding of the waiting time moves lambda at the rate of the flow.
    rate = 8 * layers * gamma ** (1 / layers) * level ** (2 - 1 / layers) * (1 - level)
    assert abs(found - level) <= 1e-13 * (1.0 + 20.0 * rate * t)


@given(magnitudes, st.floats(-8.0, -0.5), depths, st.floats(-2.0, 2.0))
def test_scaling_law(gamma, log_lam, layers, log_c):
    """At equal lambda(0), times go like gamma^(-1/N)."""
    lam0, c = 10.0**log_lam, 10.0**log_c
    here = deep.step_times([gamma], [np.sqrt(lam0 / gamma)], layers)[0]
    there = deep.step_times([gamma / c], [np.sqrt(lam0 * c / gamma)], layers)[0]
    np.testing.assert_allclose(there, here * c ** (1.0 / layers), rtol=1e-10)


@given(magnitudes, st.floats(-8.0, -0.5), st.integers(1, 8), st.floats(0.0, 4.0))
def test_larger_starts_step_earlier(gamma, log_lam, layers, gain):
    s0 = np.sqrt(10.0**log_lam / gamma)
    late, early = deep.step_times([gamma] * 2, [s0, s0 * 10**gain], layers)
    assert early <= late * (1.0 + 1e-12)
    levels = deep.level_times([0.4, 0.6], [gamma], [s0], layers)
    assert levels[0, 0] < levels[1, 0]


@given(st.floats(-8.0, -0.5), st.integers(1, 7))
def test_depth_lengthens_the_wait_against_the_rise(log_lam, layers):
    """At gamma = 1: the share of the waiting time that the rise takes falls with depth."""
    s0 = [np.sqrt(10.0**log_lam)]
    shares = []
    for depth in (layers, layers + 1):
        low, half, high = deep.level_times([0.4, 0.5, 0.6], [1.0], s0, depth)[:, 0]
        shares.append((high - low) / half)
    assert shares[1] < shares[0]


# Where a mode stands among the others, its logarithms may be rounded another way: they are below
# 100, and enter exponents and times.
ROUNDING = rounding(float, 100)


@given(modes, st.integers(1, 6), times, st.randoms(use_true_random=False))
def test_order_of_modes_does_not_matter(pairs, layers, t, random):
    gamma, s0 = split(pairs)
    order = list(range(len(gamma)))
    random.shuffle(order)
    curves = deep.eigenvalue_curves(t, gamma, s0, layers)
    turned = deep.eigenvalue_curves(t, gamma[order], s0[order], layers)
    np.testing.assert_allclose(turned, curves[order], rtol=ROUNDING)
    tau = deep.step_times(gamma, s0, layers)
    turned = deep.step_times(gamma[order], s0[order], layers)
    np.testing.assert_allclose(turned, tau[order], rtol=ROUNDING, atol=ROUNDING)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.lists(st.integers(4, 7), max_size=4))
def test_factors_are_balanced_and_multiply_to_the_map(seed, k, widths):
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.standard_normal((5, k)))[0]
    right = np.linalg.qr(rng.standard_normal((6, k)))[0]
    s0 = 10.0 ** rng.uniform(-6, 1, k)
    factors = deep.balanced_factors(s0, left, right, widths, rng)
    w = factors[0]
    for first, second in pairwise(factors):
        np.testing.assert_allclose(second.T @ second, first @ first.T, atol=1e-12 * s0.max() ** 2)
        w = second @ w
    np.testing.assert_allclose(w, (left * s0) @ right.T, atol=1e-12 * s0.max())
