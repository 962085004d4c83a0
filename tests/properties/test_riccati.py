"""What is always true of the whitened spectral contrastive flow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import rounding

from theory.losses.spectral_contrastive import (
    eigenvalue_curves,
    gram_matrix,
    step_times,
    weights_factor,
    whiten,
)

seeds = st.integers(0, 2**32 - 1)
shapes = st.tuples(st.integers(1, 5), st.integers(1, 5))
times = st.floats(-6, 1.5).map(lambda e: 10.0**e)
scales = st.floats(-8, 1).map(lambda e: 10.0**e)


def draw(seed, shape, scale):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(shape[1], shape[1])))[0]
    gamma = (basis * rng.uniform(-1, 1, size=shape[1])) @ basis.T
    return (gamma + gamma.T) / 2, scale * rng.normal(size=shape), rng


@pytest.mark.machine
@given(seeds, shapes, scales, st.one_of(times, st.floats(0, 1e12)))
def test_gram_matrix_is_finite_bounded_and_positive(seed, shape, scale, t):
    gamma, w0, _ = draw(seed, shape, scale)
    gram = gram_matrix(t, gamma, w0)
    assert np.abs(gram - gram.T).max() <= rounding(float, len(w0), scale=np.abs(gram).max())
    values = np.linalg.eigvalsh(gram)
    start = np.linalg.norm(w0, 2) ** 2
    assert values[0] >= -1e-13 * max(values[-1], 1e-300)
    # The largest eigenvalue m obeys dm/dt <= 8 m (gamma_1 - m).
    assert values[-1] <= max(start, np.linalg.eigvalsh(gamma)[-1]) * (1 + 1e-11)


@given(seeds, shapes, scales, times, st.floats(0, 1))
def test_flow_composes_in_time(seed, shape, scale, first, second):
    gamma, w0, _ = draw(seed, shape, scale)
    parts = gram_matrix(second, gamma, weights_factor(first, gamma, w0).T)
    whole = gram_matrix(first + second, gamma, w0)
    # Rounding of the intermediate weights grows by exp(4 gamma) a unit of time, their squares by
    # exp(8 gamma), 3e3 here; the start is as uncertain as its condition makes it.
    bound = 3e3 * 1e-14 * np.linalg.cond(w0) * (1 + 8 * first) * np.abs(whole).max()
    assert np.abs(whole - parts).max() <= bound


@given(seeds, shapes, scales, times)
def test_only_the_gram_matrix_of_the_start_matters(seed, shape, scale, t):
    gamma, w0, rng = draw(seed, shape, scale)
    turn = np.linalg.qr(rng.normal(size=(shape[0], shape[0])))[0]
    first, second = gram_matrix(t, gamma, w0), gram_matrix(t, gamma, turn @ w0)
    condition = np.linalg.cond(w0)
    bound = 1e-13 * condition**2 * (1 + 8 * t) * np.abs(first).max()
    assert np.abs(first - second).max() <= bound


@given(seeds, shapes, scales, times)
def test_velocity_obeys_the_riccati_equation(seed, shape, scale, t):
    gamma, w0, _ = draw(seed, shape, scale)
    step = 1e-4 * min(t, 1.0 / (1.0 + np.linalg.norm(w0, 2) ** 2))
    before, now, after = gram_matrix([t - step, t, t + step], gamma, w0)
    velocity = (after - before) / (2 * step)
    expected = 4 * (gamma @ now + now @ gamma) - 8 * now @ now
    size = np.abs(now).max()
    rounding = 1e-12 * np.linalg.cond(w0) * (1 + 8 * t) * size / step
    # The third derivative is at most about (8 (1 + |M|))^3 |M|.
    truncation = step**2 * (8 * (1 + size)) ** 3 * size
    assert np.abs(velocity - expected).max() <= rounding + truncation


@given(seeds, st.floats(1e-9, 1e-2))
def test_curves_pass_one_half_at_the_step_times(seed, start):
    gamma = np.random.default_rng(seed).uniform(0.05, 1, size=4)
    s0 = np.full(4, start)
    tau = step_times(gamma, s0)
    assert np.allclose(np.diagonal(eigenvalue_curves(tau, gamma, s0)), gamma / 2, rtol=1e-9)


@given(seeds, st.integers(2, 12), st.integers(1, 5))
def test_whitened_spectrum_lies_within_one(seed, n, m):
    rng = np.random.default_rng(seed)
    pairs = whiten(rng.normal(size=(n, m)), rng.normal(size=(n, m)))
    values = np.linalg.eigvalsh(pairs.gamma)
    assert np.abs(values).max() <= 1 + 1e-10
    if 2 * n <= m:  # no more views than axes: nothing but agreement and disagreement is left
        assert np.allclose(np.abs(values), 1)
