"""What the aligned closed form promises for every input."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tolerances import rounding

from theory.linear import closed_form as cf

magnitudes = st.floats(-4.0, 2.0).map(lambda e: 10.0**e)
eigenvalues = st.one_of(magnitudes, magnitudes.map(lambda g: -g), st.just(0.0))
values = st.one_of(st.floats(-9.0, 1.0).map(lambda e: 10.0**e), st.just(0.0))
modes = st.lists(st.tuples(eigenvalues, values), min_size=1, max_size=6)
times = st.floats(0.0, 1e3)


def split(pairs):
    return np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])


@given(modes, st.lists(times, min_size=2, max_size=6).map(sorted))
def test_each_mode_moves_towards_its_end_and_stays_on_its_side(pairs, t):
    gamma, s0 = split(pairs)
    curves = cf.eigenvalue_curves(np.array(t), gamma, s0)
    assert np.all(np.isfinite(curves))
    goal = np.where((gamma > 0) & (s0 > 0), 1.0, 0.0)
    distance = np.abs(curves - goal)
    slack = 1e-14 * (1.0 + np.abs(curves[0]))
    assert np.all(np.diff(distance, axis=0) <= slack)
    low = np.minimum(gamma * s0**2, goal)
    high = np.maximum(gamma * s0**2, goal)
    assert np.all(curves >= low - 1e-13 * (1.0 + np.abs(low)))
    assert np.all(curves <= high + 1e-13 * (1.0 + np.abs(high)))


@given(modes, st.lists(times, min_size=2, max_size=6).map(sorted))
def test_loss_never_rises(pairs, t):
    gamma, s0 = split(pairs)
    loss = cf.loss(np.array(t), gamma, s0, dim=len(gamma) + 2)
    assert np.all(np.diff(loss) <= 1e-12 * (1.0 + loss[:-1]))
    end = float(cf.loss(np.inf, gamma, s0, dim=len(gamma) + 2))
    assert end == len(gamma) + 2 - np.count_nonzero((gamma > 0) & (s0 > 0))


@given(modes, times, times)
def test_flow_composes(pairs, first, second):
    gamma, s0 = split(pairs)
    # Decayed values turn subnormal and lose digits; an exponent carries the rounding of the time.
    assume(np.all(8.0 * np.abs(gamma) * (first + second) < 200.0))
    whole = cf.singular_values(first + second, gamma, s0)
    parts = cf.singular_values(second, gamma, cf.singular_values(first, gamma, s0))
    np.testing.assert_allclose(parts, whole, rtol=1e-12)


@given(modes, times, magnitudes)
def test_time_scales_like_one_over_gamma(pairs, t, c):
    """Gamma -> Gamma / c with s -> s sqrt(c) leaves lambda alone and stretches time by c."""
    gamma, s0 = split(pairs)
    here = cf.eigenvalue_curves(t, gamma, s0)
    there = cf.eigenvalue_curves(c * t, gamma / c, s0 * np.sqrt(c))
    # Relative rounding of the exponent 8 gamma t is what is amplified.
    rtol = 1e-14 * (10.0 + 8.0 * np.abs(gamma).max() * t)
    assert np.all(np.abs(here - there) <= np.minimum(rtol, 1e-6) * (np.abs(here) + 1e-30))
    tau, stretched = cf.step_times(gamma, s0), cf.step_times(gamma / c, s0 * np.sqrt(c))
    # Close to one half the logarithm is small and carries an absolute error.
    with np.errstate(divide="ignore"):
        floor = 1e-13 / np.abs(8.0 * gamma)
    finite = np.isfinite(tau)
    assert np.array_equal(finite, np.isfinite(stretched))
    error = np.abs(stretched[finite] / c - tau[finite])
    assert np.all(error <= 1e-12 * tau[finite] + floor[finite])


# Where a mode stands among the others, its logarithms may be rounded another way: they are below
# 100, and enter exponents and times.
ROUNDING = rounding(float, 100)


@pytest.mark.machine
@given(modes, times, st.randoms(use_true_random=False))
def test_order_of_modes_does_not_matter(pairs, t, random):
    gamma, s0 = split(pairs)
    order = list(range(len(gamma)))
    random.shuffle(order)
    for function in (cf.eigenvalue_curves, cf.singular_values):
        here, there = function(t, gamma, s0)[order], function(t, gamma[order], s0[order])
        np.testing.assert_allclose(here, there, rtol=ROUNDING)
    here, there = cf.step_times(gamma, s0)[order], cf.step_times(gamma[order], s0[order])
    floor = ROUNDING / np.abs(gamma).clip(1e-4).min()
    np.testing.assert_allclose(here, there, rtol=ROUNDING, atol=floor)
    here, there = cf.plateaus(gamma, s0), cf.plateaus(gamma[order], s0[order])
    assert [p.modes for p in here] == [p.modes for p in there]
    ends = [[[p.start, p.end] for p in found] for found in (here, there)]
    np.testing.assert_allclose(*ends, rtol=ROUNDING, atol=floor)


@given(magnitudes, st.floats(-9.0, 1.0), st.floats(0.0, 3.0))
def test_larger_starts_step_earlier(gamma, exponent, gain):
    late, early = cf.step_times([gamma] * 2, [10.0**exponent, 10.0 ** (exponent + gain)])
    assert early <= late
    assert cf.approximate_step_times([gamma], [10.0**exponent])[0] <= late * (1 + 1e-14) + 1 / gamma


@given(magnitudes, st.floats(-12.0, -0.4))
def test_lambda_is_one_half_at_the_step_time(gamma, log_lam):
    s0 = np.sqrt(10.0**log_lam / gamma)
    tau = cf.step_times([gamma], [s0])[0]
    assert abs(cf.eigenvalue_curves(tau, [gamma], [s0])[0] - 0.5) < 1e-12
    width = cf.rise_widths([gamma])[0]
    curves = cf.eigenvalue_curves([max(tau - width / 2, 0.0), tau + width / 2], [gamma], [s0])
    assert abs(curves[1, 0] - 0.9) < 1e-12
    assert abs(curves[0, 0] - max(0.1, 10.0**log_lam)) < 1e-12


@given(modes)
def test_plateaus_are_ordered_disjoint_and_end_with_the_last_mode(pairs):
    gamma, s0 = split(pairs)
    found = cf.plateaus(gamma, s0)
    assert all(p.start < p.end for p in found)
    assert all(a.end <= b.start for a, b in pairwise(found))
    assert [p.modes for p in found] == sorted({p.modes for p in found})
    assert found[-1].end == np.inf
    assert found[-1].modes == np.count_nonzero((gamma > 0) & (s0 > 0))


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(0, 3), st.integers(0, 3))
def test_final_weights_have_least_norm_among_zero_loss_maps(seed, dim, spare, negative):
    """Any A with A Lambda A^T = I costs at least the sum of 1/gamma over the top modes."""
    rng = np.random.default_rng(seed)
    positive = np.sort(10.0 ** rng.uniform(-2, 1, dim + spare))[::-1]
    lower = -(10.0 ** rng.uniform(-2, 1, negative))
    gamma = np.concatenate([positive, lower])
    vectors = np.linalg.qr(rng.standard_normal((len(gamma),) * 2))[0]
    # A zero-loss map: what negative modes take away, positive modes must add.
    taken = rng.standard_normal((dim, negative)) * rng.choice([0.0, 0.1, 1.0])
    needed = np.eye(dim) - (taken * lower) @ taken.T
    values, basis = np.linalg.eigh(needed)
    frame = np.linalg.qr(rng.standard_normal((dim + spare, dim)))[0].T
    kept = (basis * np.sqrt(values)) @ basis.T @ frame * positive**-0.5
    other = np.hstack([kept, taken]) @ vectors.T
    matrix = (vectors * gamma) @ vectors.T
    np.testing.assert_allclose(other @ matrix @ other.T, np.eye(dim), atol=1e-9)
    left = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    best = cf.final_weights(gamma[:dim], left, vectors[:, :dim])
    np.testing.assert_allclose(best @ matrix @ best.T, np.eye(dim), atol=1e-9)
    assert np.sum(best**2) <= np.sum(other**2) * (1.0 + 1e-9)
