"""Kernel modes against the primal model, brute force, and planted defects."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from theory.kernels.modes import embed, kernel_initialization, kernel_modes
from theory.linear import closed_form
from theory.linear.initialization import equivalent_initialization


def linear_views(n, m, seed=0, noise=0.5):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, m)) * np.linspace(2, 0.5, m)
    return tuple(shared + noise * rng.normal(size=(n, m)) for _ in range(2))


def primal(x, x_prime):
    values, vectors = np.linalg.eigh((x.T @ x_prime + x_prime.T @ x) / (2 * len(x)))
    return values[::-1], vectors[:, ::-1]


def rbf(a, b, width):
    return np.exp(-((a[:, None] - b[None]) ** 2).sum(-1) / (2 * width**2))


def swap(n):
    return np.roll(np.eye(2 * n), n, axis=0)


def test_spectrum_is_that_of_the_literal_matrix():
    x, x_prime = linear_views(5, 12)
    views = np.concatenate([x, x_prime])
    kernel = views @ views.T
    root = np.real(sqrtm(kernel))
    expected = np.linalg.eigvalsh(root @ swap(5) @ root / 10)[::-1]
    modes = kernel_modes(kernel)
    assert np.allclose(modes.eigenvalues, expected, rtol=0, atol=1e-12)
    assert (modes.positive_modes, modes.truncation.dropped) == (5, 0)


@pytest.mark.parametrize(("n", "m"), [(20, 4), (6, 6), (4, 9)])
def test_primal_and_dual_spectra_agree(n, m):
    x, x_prime = linear_views(n, m)
    views = np.concatenate([x, x_prime])
    gamma, _ = primal(x, x_prime)
    modes = kernel_modes(views @ views.T)
    rank = min(2 * n, m)
    assert modes.truncation.kept == rank
    nonzero = gamma[np.argsort(-np.abs(gamma))[:rank]]
    assert np.allclose(modes.eigenvalues, np.sort(nonzero)[::-1], rtol=0, atol=1e-12)
    assert modes.positive_modes == np.count_nonzero(gamma > 1e-10)


def test_embeddings_are_those_of_the_linear_model():
    x, x_prime = linear_views(20, 5)
    views, new = np.concatenate([x, x_prime]), np.random.default_rng(1).normal(size=(7, 5))
    gamma, right = primal(x, x_prime)
    w0 = 1e-4 * np.random.default_rng(2).normal(size=(3, 5))
    left, s0 = equivalent_initialization(w0, right[:, :3])
    modes = kernel_modes(views @ views.T, dim=3)
    kernel_left, kernel_s0 = kernel_initialization(modes, views @ w0.T)
    # Modes carry arbitrary signs; singular values and embeddings do not.
    assert np.allclose(kernel_s0, s0, rtol=1e-9)
    cross = new @ views.T
    final = embed(modes, cross, left=kernel_left)
    expected = new @ closed_form.final_weights(gamma[:3], left, right[:, :3]).T
    assert np.allclose(final, expected, rtol=0, atol=1e-10)
    times = np.array([0.0, 0.5, 1.0, 50.0])
    path = embed(modes, cross, times, kernel_s0, kernel_left)
    weights = closed_form.weights(times, gamma[:3], s0, left, right[:, :3])
    assert path.shape == (4, 7, 3)
    assert np.allclose(path, new @ np.swapaxes(weights, 1, 2), rtol=0, atol=1e-10)
    # One time, and the default directions.
    assert np.allclose(embed(modes, cross, 0.5, kernel_s0) @ kernel_left.T, path[1])
    assert np.allclose(embed(modes, cross) @ kernel_left.T, final)


def test_training_views_are_whitened_by_the_swap():
    x, x_prime = linear_views(8, 3)
    views = np.concatenate([x, x_prime])
    kernel = rbf(views, views, 3.0)
    modes = kernel_modes(kernel, dim=4)
    f = embed(modes, kernel)
    # Ill-conditioning of the modes, 1/gamma times the rounding of K.
    bound = 1e-13 * len(kernel) / modes.gamma[-1]
    assert np.abs(f.T @ swap(8) @ f / 16 - np.eye(4)).max() < bound
    norms = modes.coefficients.T @ kernel @ modes.coefficients
    assert np.abs(norms - np.eye(4)).max() < bound


def test_final_embeddings_have_the_least_norm_of_all_zero_loss_functions():
    x, x_prime = linear_views(6, 20)
    views = np.concatenate([x, x_prime])
    kernel = views @ views.T
    modes, every = kernel_modes(kernel, dim=3), kernel_modes(kernel, dim=6)
    learned = modes.coefficients * modes.gamma**-0.5
    assert np.trace(learned.T @ kernel @ learned) == pytest.approx(modes.squared_norm, rel=1e-10)
    assert modes.squared_norm == pytest.approx(np.sum(1 / modes.eigenvalues[:3]))
    with pytest.warns(UserWarning, match="never learned"):
        whole = kernel_modes(kernel, dim=12)
    rng, positive, negative = np.random.default_rng(3), every.gamma, whole.gamma[6:]
    for scale in (0.0, 0.1, 1.0):
        # Coordinates (d x 12) whose positive part makes up for what the negative part takes away.
        taken = scale * rng.normal(size=(3, 6))
        needed = np.eye(3) - (taken * negative) @ taken.T
        turn = np.linalg.qr(rng.normal(size=(6, 3)))[0].T
        given = np.real(sqrtm(needed)) @ turn * positive**-0.5
        other = whole.coefficients @ np.concatenate([given, taken], axis=1).T
        f = kernel @ other
        assert np.allclose(f.T @ swap(6) @ f / 12, np.eye(3), atol=1e-9)
        assert np.trace(other.T @ kernel @ other) > modes.squared_norm


def test_planted_rank_is_found_and_reported():
    x, x_prime = linear_views(10, 3)
    views = np.concatenate([x, x_prime])
    kernel = views @ views.T
    # A direction of weight 1e-17 of the largest lies below what float64 resolves.
    hidden = np.random.default_rng(4).normal(size=20)
    kernel = kernel + 1e-17 * np.linalg.norm(kernel, 2) * np.outer(hidden, hidden) / 20
    report = kernel_modes(kernel).truncation
    assert (report.kept, report.dropped) == (3, 17)
    assert 0 <= report.largest_dropped <= report.threshold
    assert report.threshold == pytest.approx(2.2e-16 * 20 * np.linalg.norm(kernel, 2), rel=0.02)
    assert 0 < report.trace_fraction < 1e-14
    # In a diagonal matrix every figure is known.
    report = kernel_modes(np.diag([1.0, 1e-3, 1.0, 1e-20])).truncation
    assert (report.kept, report.dropped, report.most_negative) == (3, 1, 0.0)
    assert report.largest_dropped == pytest.approx(1e-20)
    assert report.trace_fraction == pytest.approx(1e-20 / 2.001)


def test_low_precision_noise_is_reported_and_cut():
    x, x_prime = linear_views(30, 4)
    views = np.concatenate([x, x_prime])
    single = views.astype(np.float32)
    noisy = kernel_modes((single @ single.T).astype(np.float64))
    clean = kernel_modes(views @ views.T)
    assert noisy.truncation.most_negative < -1e-7
    assert noisy.truncation.threshold == -noisy.truncation.most_negative
    assert noisy.truncation.most_negative < 1e3 * clean.truncation.most_negative
    assert np.allclose(noisy.eigenvalues[:4], clean.eigenvalues[:4], rtol=1e-5)
    indefinite = kernel_modes(np.diag([1.0, -0.5, 1.0, 0.2])).truncation
    assert (indefinite.kept, indefinite.most_negative) == (2, -0.5)
    assert indefinite.trace_fraction == pytest.approx(0.7 / 2.7)


def test_ill_conditioned_kernel_keeps_its_leading_modes():
    x, x_prime = linear_views(40, 2, noise=0.1)
    views = np.concatenate([x, x_prime])
    kernel = rbf(views, views, 4.0)
    assert np.linalg.cond(kernel) > 1e15
    modes = kernel_modes(kernel, dim=5)
    # ZK has the same spectrum and needs no square root of K.
    literal = np.sort(np.linalg.eigvals(swap(40) @ kernel / 80).real)[::-1][:5]
    assert np.allclose(modes.gamma, literal, rtol=1e-9)
    f = embed(modes, kernel)
    assert np.all(np.isfinite(f))
    assert np.abs(f.T @ swap(40) @ f / 80 - np.eye(5)).max() < 1e-9


def test_dimensions_beyond_the_positive_modes():
    x, x_prime = linear_views(10, 3)
    views = np.concatenate([x, x_prime])
    kernel = views @ views.T
    with pytest.warns(UserWarning, match="dim is 5 but only 3 modes"):
        modes = kernel_modes(kernel, dim=5)
    assert modes.coefficients.shape == (20, 5)
    assert np.all(modes.coefficients[:, 3:] == 0)
    assert np.all(embed(modes, kernel)[:, 3:] == 0)
    assert np.all(np.isfinite(embed(modes, kernel, 1e6, np.full(5, 1e-3))))
    assert modes.squared_norm == pytest.approx(kernel_modes(kernel, dim=3).squared_norm)
    # A negative mode decays as the flow makes it, and is absent in the end.
    kernel = np.diag([4.0, 2.0, 4.0, 2.0])
    with pytest.warns(UserWarning, match="never learned"):
        modes = kernel_modes(kernel, dim=3)
    late = embed(modes, kernel, [0.0, 3.0], np.full(3, 0.1))[..., 2]
    assert np.abs(late[1]).max() < 0.01 * np.abs(late[0]).max()
    assert np.all(embed(modes, kernel)[:, 2] == 0)


def test_rounding_is_no_positive_mode():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        same, lone = rng.normal(size=(2, 6))
        lone -= same * (same @ lone) / (same @ same)
        # The second input shows in one view only, uncorrelated with the other: gamma = 0.
        turn = np.linalg.qr(rng.normal(size=(4, 4)))[0][:2]
        x, x_prime = np.column_stack([same, lone]), np.column_stack([same, 0 * lone])
        views = np.concatenate([x, x_prime]) @ turn
        modes = kernel_modes(views @ views.T)
        assert (modes.truncation.kept, modes.positive_modes) == (2, 1)


def test_views_that_only_disagree_teach_nothing():
    x = np.random.default_rng(5).normal(size=(4, 2))
    views = np.concatenate([x, -x])
    modes = kernel_modes(views @ views.T)
    assert modes.positive_modes == 0
    assert embed(modes, views @ views.T).shape == (8, 0)
    assert modes.squared_norm == 0.0


GOOD = kernel_modes(np.diag([4.0, 2.0, 4.0, 2.0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernel_modes(np.triu(np.ones((4, 4)))), "symmetric"),
        (lambda: kernel_modes(np.eye(5)), "both views"),
        (lambda: kernel_modes(np.eye(2)), "both views"),
        (lambda: kernel_modes(np.ones((4, 6))), "square"),
        (lambda: kernel_modes(np.zeros((4, 4))), "not zero"),
        (lambda: kernel_modes(-np.eye(4)), "positive semi-definite"),
        (lambda: kernel_modes(np.full((4, 4), np.nan)), "NaN"),
        (lambda: kernel_modes(np.eye(4), dim=0), "dim is 0"),
        (lambda: kernel_initialization(GOOD, np.ones((3, 2))), r"expected \(4, d\)"),
        (lambda: embed(GOOD, np.ones((3, 2))), r"expected \(p, 4\)"),
        (lambda: embed(GOOD, np.ones((3, 4)), t=1.0), "only one of t and s0"),
        (lambda: embed(GOOD, np.ones((3, 4)), s0=[1.0]), "only one of t and s0"),
        (lambda: embed(GOOD, np.ones((3, 4)), 1.0, [1.0], np.eye(2)), r"expected \(d, 1\)"),
        (lambda: embed(GOOD, np.ones((3, 4)), 1.0, [1.0] * 3), "at most 2"),
        (lambda: embed(GOOD, np.ones((3, 4)), -1.0, [1.0]), "negative"),
        (lambda: embed(GOOD, np.ones((3, 4)), 1.0, [-1.0]), "below zero"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
