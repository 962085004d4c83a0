"""The exact solution of the whitened spectral contrastive loss against integration and mpmath."""

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from theory.linear.initialization import column_norms, equivalent_initialization
from theory.losses.spectral_contrastive import (
    eigenvalue_curves,
    embedding_eigenvalues,
    gram_matrix,
    step_times,
    weights_factor,
    whiten,
)


def symmetric(eigenvalues, seed=0):
    m = len(eigenvalues)
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(m, m)))[0]
    gamma = (basis * eigenvalues) @ basis.T
    return (gamma + gamma.T) / 2, basis


def literal_gram_matrix(t, gamma, w0):
    """The textbook formula, overflowing exponentials and all, in 300 digits."""
    with mpmath.workdps(300):
        values, basis = mpmath.eigsy(mpmath.matrix(gamma.tolist()))
        start = mpmath.matrix(w0.tolist()) * basis
        grown = mpmath.diag([mpmath.exp(4 * g * t) for g in values])
        gain = mpmath.diag([(mpmath.exp(8 * g * t) - 1) / g for g in values])
        inner = mpmath.eye(len(w0)) + start * gain * start.T
        result = basis * grown * start.T * inner**-1 * start * grown * basis.T
        return np.array(result.tolist(), dtype=float)


def contrastive_loss(w, x, x_prime):
    """Spectral contrastive loss: mean over pairs, squares over all pairs of views."""
    views = np.concatenate([x, x_prime]) @ w.T
    attraction = np.mean([a @ b for a, b in zip(x @ w.T, x_prime @ w.T, strict=True)])
    return -2 * attraction + np.mean([(a @ b) ** 2 for a in views for b in views])


def test_the_flow_is_that_of_the_loss():
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(9, 3))
    pairs = whiten(shared, shared + 0.5 * rng.normal(size=(9, 3)))
    w, step = rng.normal(size=(2, 3)), 1e-5
    gradient = np.zeros_like(w)
    for index in np.ndindex(w.shape):
        shift = np.zeros_like(w)
        shift[index] = step
        up, down = (contrastive_loss(w + k * shift, pairs.x, pairs.x_prime) for k in (1, -1))
        gradient[index] = (up - down) / (2 * step)
    assert np.allclose(-gradient, 4 * w @ pairs.gamma - 4 * w @ w.T @ w, atol=1e-8)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 3.0])
@pytest.mark.parametrize("dim", [1, 3, 6])
def test_integrated_flow(scale, dim):
    gamma, _ = symmetric([0.9, 0.6, 0.0, -0.3])
    w0 = scale * np.random.default_rng(dim).normal(size=(dim, 4))
    times = np.array([0.0, 0.3, 1.0, 3.0])

    def velocity(_, flat):
        w = flat.reshape(dim, 4)
        return (4 * w @ gamma - 4 * w @ w.T @ w).ravel()

    flow = solve_ivp(velocity, (0, 3), w0.ravel(), "DOP853", t_eval=times, rtol=1e-12, atol=1e-14)
    path = flow.y.T.reshape(-1, dim, 4)
    exact = gram_matrix(times, gamma, w0)
    assert np.abs(exact - np.swapaxes(path, 1, 2) @ path).max() < 1e-9
    spectra = np.linalg.eigvalsh(path @ np.swapaxes(path, 1, 2))[:, ::-1]
    assert np.abs(embedding_eigenvalues(times, gamma, w0) - spectra).max() < 1e-9


@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1.0, 100.0])
@pytest.mark.parametrize("t", [1e-9, 1e-2, 1.0, 6.0, 40.0])
def test_literal_formula_in_many_digits(scale, t):
    gamma, _ = symmetric([1.0, 0.6, 0.02, -0.1, -0.9])
    w0 = scale * np.random.default_rng(5).normal(size=(3, 5))
    expected = literal_gram_matrix(t, gamma, w0)
    # Rounding of gamma moves exp(8 gamma t) relatively by 8 t eps = 7e-14 at t = 40.
    bound = 2e-13 * np.abs(expected).max()
    assert np.abs(gram_matrix(t, gamma, w0) - expected).max() < bound


@pytest.mark.parametrize("t", [1e-2, 1.0, 10.0])
def test_start_without_the_leading_directions(t):
    # Columns of W(0) V that vanish exactly: the first pivot is the third mode.
    gamma = np.diag([1.0, 0.6, 0.3, 0.1, -0.5])
    w0 = np.array([[0.0, 0.0, 1e-3, 2e-3, 1e-3], [0.0, 0.0, -2e-3, 1e-3, 3e-3]])
    expected = literal_gram_matrix(t, gamma, w0)
    assert np.abs(gram_matrix(t, gamma, w0) - expected).max() < 1e-13 * np.abs(expected).max()


def test_nearly_dependent_leading_directions():
    rng = np.random.default_rng(12)
    w0 = rng.normal(size=(3, 5))
    w0[:, 1] = w0[:, 0] + 1e-9 * rng.normal(size=3)
    gamma = np.diag([1.0, 0.6, 0.3, 0.1, -0.5])
    assert np.abs(gram_matrix(0.0, gamma, w0) - w0.T @ w0).max() < 1e-14
    for t in (0.1, 2.0):
        # What is known of the second direction to 1e-7 has not grown to matter by then.
        expected = literal_gram_matrix(t, gamma, w0)
        assert np.abs(gram_matrix(t, gamma, w0) - expected).max() < 1e-11


def test_tiny_start_at_tiny_times():
    gamma, _ = symmetric([0.9, -0.5])
    factor = weights_factor([1e-30, 1e-3], gamma, [[1e-300, 2e-300]])
    # The weights grow by exp(4 * 0.9 * 1e-3) at most. What is factorised is g W(0), 1e-315 at the
    # first time: a subnormal number, of eight digits.
    assert np.linalg.norm(factor[0] * 1e300) == pytest.approx(np.sqrt(5), rel=1e-7)
    assert np.linalg.norm(factor[1] * 1e300) == pytest.approx(np.sqrt(5), rel=4e-3)


def test_more_dimensions_than_inputs_and_a_start_of_low_rank():
    gamma, _ = symmetric([0.8, 0.5, -0.2])
    rng = np.random.default_rng(6)
    tall = 1e-3 * rng.normal(size=(7, 3))
    assert np.allclose(gram_matrix(4.0, gamma, tall), literal_gram_matrix(4, gamma, tall))
    flat = np.outer(rng.normal(size=3), [1.0, 0.0, 0.0]) * 1e-3
    assert weights_factor(1.0, gamma, flat).shape == (3, 1)
    assert embedding_eigenvalues(1.0, gamma, flat).shape == (3,)
    assert np.all(gram_matrix([0.0, 5.0], gamma, np.zeros((2, 3))) == 0.0)


def test_start_and_end():
    gamma, basis = symmetric([0.9, 0.5, 0.2, 0.0, -0.7])
    w0 = np.random.default_rng(7).normal(size=(2, 5))
    assert np.allclose(gram_matrix(0.0, gamma, w0), w0.T @ w0, rtol=0, atol=1e-14)
    best = (basis[:, :2] * [0.9, 0.5]) @ basis[:, :2].T
    for scale in (1e-200, 1e-6, 1.0, 1e6):
        for t in (1e4, 1e8, 1e15):
            assert np.abs(gram_matrix(t, gamma, scale * w0) - best).max() < 1e-14 * 8
    # With room to spare the positive part is learned; a zero eigenvalue leaves like 1 / (8 t).
    roomy = gram_matrix(1e12, gamma, np.random.default_rng(8).normal(size=(5, 5)))
    best = (basis[:, :3] * [0.9, 0.5, 0.2]) @ basis[:, :3].T
    assert np.abs(roomy - best).max() < 1e-12


def test_aligned_start_gives_the_logistic_curves():
    values, s0 = np.array([0.9, 0.4, 0.0, -0.3]), np.array([1e-4, 1e-2, 0.5, 0.6])
    gamma, basis = symmetric(values)
    times = np.array([0.0, 0.5, 2.0, 20.0, 1e3])
    curves = eigenvalue_curves(times, values, s0)
    exact = gram_matrix(times, gamma, s0[:, None] * basis.T)
    inside = np.einsum("mj,tmn,nj->tj", basis, exact, basis)
    assert np.allclose(inside, curves, rtol=0, atol=1e-11)
    flow = solve_ivp(
        lambda _, y: 8 * y * (values - y), (0, 20), s0**2, t_eval=times[:4], rtol=1e-11, atol=1e-15
    )
    assert np.abs(curves[:4] - flow.y.T).max() < 1e-9
    assert np.allclose(curves[:, 2], 0.25 / (1 + 2 * times), rtol=1e-14)


def test_step_times_of_a_generic_small_start():
    gamma, basis = symmetric([1.0, 0.5, 0.25, 0.1])
    w0 = 1e-4 * np.random.default_rng(9).normal(size=(3, 4))
    _, s0 = equivalent_initialization(w0, basis[:, :3])
    values = np.array([1.0, 0.5, 0.25])
    tau = step_times(values, s0)
    at_step = np.array([embedding_eigenvalues(tau[j], gamma, w0)[j] / values[j] for j in range(3)])
    assert np.allclose(at_step, 0.5, atol=2e-3)
    # The column norms, which forget that later modes grow orthogonally, miss the half rise.
    naive = step_times(values, column_norms(w0, basis[:, :3]))
    missed = [embedding_eigenvalues(naive[j], gamma, w0)[j] / values[j] - 0.5 for j in range(3)]
    assert np.abs(missed).max() > 0.05


def test_step_times_are_the_half_rise():
    gamma, s0 = np.array([1.0, 0.3, 0.0, -1.0, 0.5]), np.array([1e-6, 1e-2, 1.0, 1.0, 0.9])
    tau = step_times(gamma, s0)
    assert np.diagonal(eigenvalue_curves(tau[:2], gamma[:2], s0[:2])) == pytest.approx([0.5, 0.15])
    assert np.all(np.isinf(tau[2:4]))
    assert tau[4] == 0.0


def test_whitening():
    rng = np.random.default_rng(10)
    mix = rng.normal(size=(4, 6))  # six inputs of rank four, with a mean
    shared = rng.normal(size=(20, 4)) + 1.0
    pairs = whiten(shared @ mix, (shared + 0.3 * rng.normal(size=(20, 4))) @ mix)
    views = np.concatenate([pairs.x, pairs.x_prime])
    assert pairs.transform.shape == (6, 4)
    assert np.allclose(views.T @ views / 40, np.eye(4), atol=1e-12)
    expected = (pairs.x.T @ pairs.x_prime + pairs.x_prime.T @ pairs.x) / 40
    assert np.allclose(pairs.gamma, expected, atol=1e-13)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: whiten(np.zeros((3, 2)), np.zeros((3, 2))), "all zero"),
        (lambda: whiten(np.zeros((3, 2)), np.zeros((3, 1))), "equal shapes"),
        (lambda: gram_matrix(1.0, np.eye(2), np.ones((2, 3))), "expected"),
        (lambda: gram_matrix(1.0, [[0.0, 1.0], [0.0, 0.0]], np.ones((2, 2))), "symmetric"),
        (lambda: gram_matrix(-1.0, np.eye(2), np.ones((2, 2))), "negative"),
        (lambda: gram_matrix(np.inf, np.eye(2), np.ones((2, 2))), "infinite"),
        (lambda: gram_matrix(1.0, np.eye(2), [[np.nan, 0.0]]), "NaN"),
        (lambda: eigenvalue_curves(np.inf, [1.0], [1.0]), "infinite"),
        (lambda: eigenvalue_curves(1.0, [1.0], [-1.0]), "below zero"),
        (lambda: step_times([1.0], [1.0, 2.0]), "equal shapes"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
