"""QR equivalence of a generic small initialisation, measured on exactly integrated flows."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from theory.linear import closed_form as cf
from theory.linear.initialization import column_norms, equivalent_initialization


def matrix_flow(w0, gamma, t, max_step=None):
    """Exact W(t) in the eigenbasis of Gamma, shape (T, d, m)."""
    d, m = w0.shape

    def slope(_, flat):
        scaled = flat.reshape(d, m) * gamma
        return (-4.0 * (scaled @ flat.reshape(d, m).T - np.eye(d)) @ scaled).ravel()

    flow = solve_ivp(
        slope,
        (0.0, t[-1]),
        w0.ravel(),
        method="DOP853",
        rtol=1e-12,
        atol=1e-15,
        t_eval=t,
        max_step=max_step or np.inf,
    )
    return flow.y.T.reshape(-1, d, m)


def spectra(w, gamma):
    """Eigenvalues of W Gamma W^T, descending."""
    return np.linalg.eigvalsh((w * gamma) @ w.swapaxes(-1, -2))[..., ::-1]


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.8])
def test_errors_vanish_with_the_powers_claimed(ratio):
    """The error of W goes like alpha^(1-r), that of the eigenvalue curves like alpha^(2(1-r))."""
    gamma = ratio ** np.arange(4)
    direction = np.random.default_rng(0).standard_normal((3, 4))
    right = np.eye(4)[:, :3]
    scales = np.array([1e-5, 1e-4, 1e-3])
    map_errors, curve_errors = [], []
    for scale in scales:
        left, s0 = equivalent_initialization(scale * direction, right)
        t = np.linspace(0.0, 1.3 * cf.step_times(gamma[:3], s0).max(), 60)
        w = matrix_flow(scale * direction, gamma, t, max_step=t[-1] / 500)
        predicted = cf.weights(t, gamma[:3], s0, left, right)
        map_errors.append(np.linalg.norm(w - predicted, axis=(1, 2)).max())
        curves = np.sort(cf.eigenvalue_curves(t, gamma[:3], s0), axis=1)[:, ::-1]
        curve_errors.append(np.abs(spectra(w, gamma) - curves).max())
    map_slope = np.polyfit(np.log(scales), np.log(map_errors), 1)[0]
    curve_slope = np.polyfit(np.log(scales), np.log(curve_errors), 1)[0]
    assert map_slope == pytest.approx(1.0 - ratio, rel=0.15)
    assert curve_slope == pytest.approx(2.0 * (1.0 - ratio), rel=0.15)


@pytest.mark.slow
def test_qr_beats_column_norms():
    """Mean error of step times over modes and seeds, gamma_k = 1/k, alpha = 1e-3."""
    d, gamma = 6, 1.0 / np.arange(1.0, 13.0)
    right = np.eye(12)[:, :d]
    errors, naive_errors = [], []
    for seed in range(3):
        w0 = 1e-3 * np.random.default_rng(seed).standard_normal((d, 12))
        predicted = np.sort(cf.step_times(gamma[:d], equivalent_initialization(w0, right)[1]))
        naive = np.sort(cf.step_times(gamma[:d], column_norms(w0, right)))
        t = np.linspace(0.0, 1.5 * predicted.max(), 3000)
        curves = spectra(matrix_flow(w0, gamma, t), gamma)
        measured = np.array([np.interp(0.5, curves[:, j], t) for j in range(d)])
        errors.append(np.abs(predicted / measured - 1.0).mean())
        naive_errors.append(np.abs(naive / measured - 1.0).mean())
    assert np.mean(errors) < 0.01
    assert np.mean(naive_errors) > 5.0 * np.mean(errors)


def test_aligned_initialization_is_its_own_equivalent():
    rng = np.random.default_rng(4)
    left = np.linalg.qr(rng.standard_normal((4, 3)))[0]
    right = np.linalg.qr(rng.standard_normal((6, 3)))[0]
    s0 = np.array([0.1, 2.0, 1e-9])
    found, values = equivalent_initialization((left * s0) @ right.T, right)
    np.testing.assert_allclose(found, left, atol=1e-6)
    np.testing.assert_allclose(values, s0, rtol=1e-6)
    np.testing.assert_allclose(column_norms((left * s0) @ right.T, right), s0, rtol=1e-6)


def test_literal_gram_schmidt():
    rng = np.random.default_rng(5)
    w0, right = rng.standard_normal((5, 7)), np.linalg.qr(rng.standard_normal((7, 4)))[0]
    left, s0 = equivalent_initialization(w0, right)
    basis = []
    for j in range(4):
        rest = w0 @ right[:, j]
        for q in basis:
            rest = rest - q * (q @ rest)
        assert s0[j] == pytest.approx(np.linalg.norm(rest), rel=1e-12)
        basis.append(rest / np.linalg.norm(rest))
        np.testing.assert_allclose(left[:, j], basis[-1], atol=1e-12)


def test_map_of_zeros_stays_finite():
    left, s0 = equivalent_initialization(np.zeros((3, 4)), np.eye(4)[:, :2])
    assert s0.tolist() == [0.0, 0.0]
    np.testing.assert_allclose(left.T @ left, np.eye(2), atol=1e-15)
    assert np.isinf(cf.step_times([1.0, 0.5], s0)).all()


@pytest.mark.parametrize("function", [equivalent_initialization, column_norms])
@pytest.mark.parametrize(
    ("w0", "right", "message"),
    [
        (np.ones((2, 3)), np.ones((4, 2)), r"w0 has shape \(2, 3\) and right \(4, 2\)"),
        (np.ones((2, 3)), np.ones((3, 3)), "k <= d"),
        (np.ones(3), np.ones((3, 1)), "w0 has shape"),
        (np.full((2, 3), np.nan), np.ones((3, 1)), "w0 holds 6 NaN"),
    ],
)
def test_bad_input(function, w0, right, message):
    with pytest.raises(ValueError, match=message):
        function(w0, right)
