"""What the predictions of orthogonalised descent promise for every input."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from theory.linear import orthogonalised as orth

magnitudes = st.floats(-4.0, 3.0).map(lambda e: 10.0**e)
log_lams = st.floats(-14.0, -0.4)
seeds = st.integers(0, 2**20)


@given(magnitudes, log_lams, st.floats(0.01, 0.98))
def test_a_curve_passes_a_level_at_its_time(gamma, log_lam, level):
    s0 = [np.sqrt(10.0**log_lam / gamma)]
    tau = orth.level_times(level, [gamma], s0)
    reached = orth.eigenvalue_curves(tau[0], [gamma], s0)[0]
    np.testing.assert_allclose(reached, max(level, 10.0**log_lam), rtol=1e-9)


@given(magnitudes, log_lams, magnitudes)
def test_time_scales_like_one_over_the_root_of_gamma(gamma, log_lam, c):
    s0 = np.sqrt(10.0**log_lam / gamma)
    here = orth.step_times([gamma], [s0])[0]
    there = orth.step_times([gamma * c], [s0 / np.sqrt(c)])[0]
    np.testing.assert_allclose(there * np.sqrt(c), here, rtol=1e-9, atol=1e-12 * here)


@given(st.floats(-2.0, 2.0), st.floats(0.0, 3.0), st.floats(0.0, 5.0), st.floats(0.0, 5.0))
def test_the_flow_is_a_semigroup_and_never_raises_the_loss(gamma, s0, first, second):
    middle = orth.singular_values(first, [gamma], [s0])
    end = orth.singular_values(second, [gamma], middle)
    together = orth.singular_values(first + second, [gamma], [s0])
    np.testing.assert_allclose(end, together, atol=1e-12)
    assert np.all(np.abs(end - middle) <= second + 1e-12)
    before, after = orth.loss([0.0, second], [gamma], middle)
    assert after <= before * (1 + 1e-12) + 1e-12


@given(seeds, st.integers(1, 4), st.integers(1, 4))
def test_the_polar_factor_turns_with_its_matrix_and_ignores_its_size(seed, d, m):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((d, m))
    values = np.linalg.svd(matrix, compute_uv=False)
    if values[-1] < 1e-3 * values[0]:
        return
    left, right = (np.linalg.qr(rng.standard_normal((k, k)))[0] for k in (d, m))
    factor = orth.polar_factor(matrix)
    np.testing.assert_allclose(orth.polar_factor(left @ matrix @ right), left @ factor @ right,
                               atol=1e-9)  # fmt: skip
    np.testing.assert_allclose(orth.polar_factor(1e-6 * matrix), factor, atol=1e-9)
    np.testing.assert_allclose(np.linalg.svd(factor, compute_uv=False), 1.0)


@given(seeds, st.integers(1, 4))
def test_the_equivalent_start_turns_with_the_outputs(seed, d):
    rng = np.random.default_rng(seed)
    w0 = rng.standard_normal((d, d + 2))
    gamma = np.sort(rng.uniform(0.1, 1.0, d))[::-1]
    if np.linalg.svd(w0[:, :d], compute_uv=False)[-1] < 1e-2:
        return
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    left, s0 = orth.equivalent_initialization(w0, gamma, np.eye(d + 2)[:, :d])
    turned, same = orth.equivalent_initialization(turn @ w0, gamma, np.eye(d + 2)[:, :d])
    np.testing.assert_allclose(same, s0, rtol=1e-6)
    np.testing.assert_allclose(turned, turn @ left, atol=1e-6)
    assert np.all(s0 > 0)
