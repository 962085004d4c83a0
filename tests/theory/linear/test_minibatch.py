"""The law of mini-batches against enumeration of batches, symbols, the reduced equation and SGD."""

from itertools import combinations, product

import numpy as np
import pytest
import sympy as sp

from sslsim.measures.steps import half_rise_times
from sslsim.training.full_batch import train_linear
from theory.linear import minibatch
from theory.linear.closed_form import step_times
from theory.linear.minibatch import (
    batch_covariance,
    batch_share,
    ceilings,
    competition,
    eigenvalue_curves,
    fresh_covariance,
    noise_order,
)
from theory.linear.reduced import Law, descent_curves, final_eigenvalues, reduced_flow


def batch_gradient(w, a, b, weight):
    corr = ((w @ a.T) @ (w @ b.T).T + (w @ b.T) @ (w @ a.T).T) / (2 * len(a))
    gamma = (a.T @ b + b.T @ a) / (2 * len(a))
    error = np.where(np.eye(len(w)) > 0, 1.0, weight) * (corr - np.eye(len(w)))
    return 4 * error @ w @ gamma


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_the_mean_step_over_all_batches_is_that_of_the_law(size, weight):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 5, 3))
    gamma, vectors = np.linalg.eigh((a.T @ b + b.T @ a) / 10)
    a, b, w = a @ vectors, b @ vectors, 0.3 * rng.standard_normal((2, 3))
    batches = [list(rows) for rows in combinations(range(5), size)]
    mean = np.mean([batch_gradient(w, a[rows], b[rows], weight) for rows in batches], axis=0)
    law = Law(off_diagonal=weight, noise=batch_covariance(a, b, size, 5))
    moved = w - 1e-3 * mean
    expected = np.linalg.eigvalsh((moved * gamma) @ moved.T)[::-1]
    np.testing.assert_allclose(
        descent_curves([1], gamma, w, 1e-3, law=law)[0], expected, rtol=1e-12, atol=1e-14
    )


def test_a_full_batch_of_fresh_views_has_the_noise_of_views_alone():
    """The mean estimate over all draws of four views is the variance over all pairs of views."""
    faces = np.array([[1.0, 3.0], [2.0, -1.0]])  # two equally likely views of each image
    estimates = [
        fresh_covariance(np.stack([faces[0][list(a)], faces[1][list(b)]])[..., None], 2).item()
        for a, b in product(product(range(2), repeat=4), repeat=2)
    ]
    variances = [np.var([a * b for a, b in product(face, face)]) for face in faces]
    # The mean over two images: a quarter of the sum of their variances.
    assert np.mean(estimates) == pytest.approx(sum(variances) / 4, rel=1e-12)


@pytest.mark.parametrize("k", [4, 7])
def test_batches_of_fresh_views_scatter_as_their_covariance_says(k):
    rng = np.random.default_rng(3)
    faces = rng.standard_normal((60, 1, 2))

    def views(count):
        return faces + 0.6 * rng.standard_normal((60, count, 2))

    found = np.mean([fresh_covariance(views(k), 20) for _ in range(50)], axis=0)
    means = []
    for _ in range(20000):
        a, b = views(2)[rng.permutation(60)[:20]].transpose(1, 0, 2)
        means.append((a.T @ b + b.T @ a) / 40)
    expected = np.cov(np.reshape(means, (-1, 4)).T).reshape(2, 2, 2, 2)
    np.testing.assert_allclose(found, expected, atol=0.05 * expected.max())


@pytest.mark.parametrize("shape", [(5, 3, 2), (1, 6, 2)])
def test_too_few_views_do_not_tell_the_noise_of_views(shape):
    with pytest.raises(ValueError, match="expected at least 4 views of at least 2"):
        fresh_covariance(np.zeros(shape), 1)


def test_the_law_of_one_mode_follows_from_the_batches_by_algebra():
    # Three pairs with products g; batches of two without replacement; flow of the mean loss.
    g, s = sp.symbols("g0:3", real=True), sp.symbols("s", positive=True)
    losses = [(s**2 * (p + q) / 2 - 1) ** 2 for p, q in combinations(g, 2)]
    flow = -sp.diff(sum(losses) / 3, s)
    gamma = sum(g) / 3
    variance = sum((value - gamma) ** 2 for value in g) / 3
    lam = gamma * s**2
    # Batches of two out of three: (n - B) / ((n - 1) B) = 1/4.
    law = 8 * gamma * lam * (1 - lam - variance / gamma**2 * lam / 4)
    assert sp.simplify(2 * gamma * s * flow - law) == 0
    assert batch_share(2, 3) == 0.25


def uncorrelated(variances):
    """Covariances of a g whose entries are uncorrelated, but for its symmetry."""
    size = len(variances)
    noise = np.zeros((size,) * 4)
    for j in range(size):
        for k in range(size):
            noise[j, k, j, k] = noise[j, k, k, j] = variances[j, k]
    return noise


def test_aligned_modes_compete_as_the_reduced_equation_says():
    gamma, s0 = np.array([1.0, 0.6, 0.3]), np.full(3, 1e-3)
    noise = uncorrelated(np.array([[0.3, 0.1, 0.05], [0.1, 0.1, 0.04], [0.05, 0.04, 0.02]]))
    rivalry = competition(gamma, noise)
    np.testing.assert_allclose(
        np.sort(ceilings(gamma, rivalry))[::-1],
        final_eigenvalues(gamma, 3, Law(noise=noise)),
        atol=1e-5,
    )
    times = np.linspace(0.0, 20.0, 41)
    curves = eigenvalue_curves(times, gamma, s0, rivalry)
    flow = reduced_flow(gamma, np.diag(s0), 20.0, law=Law(noise=noise))
    np.testing.assert_allclose(np.sort(curves)[:, ::-1], flow.eigenvalue_curves(times), atol=1e-5)


def test_modes_that_lose_have_no_ceiling():
    heights = ceilings([1.0, 0.5, -1.0], [[0.2, 0.1, 0.0], [3.0, 0.2, 0.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(heights, [1 / 1.2, 0.0, 0.0])


def test_stochastic_descent_steps_and_settles_as_predicted():
    size = 8
    rng = np.random.default_rng(4)
    z = rng.standard_normal((400, 4)) * [1.0, 0.7, 0.5, 0.35]
    x, y = (z + 0.1 * rng.standard_normal(z.shape) for _ in range(2))
    gamma, vectors = np.linalg.eigh((x.T @ y + y.T @ x) / 800)
    gamma, vectors = gamma[::-1], vectors[:, ::-1]
    w0 = 1e-3 * rng.standard_normal((3, 4))
    noise = batch_covariance(x @ vectors, y @ vectors, size, 400)
    flow = reduced_flow(gamma, w0 @ vectors, law=Law(noise=noise))
    runs = [
        train_linear(x, y, w0, 0.01, 1500, record_every=10, batch_size=size, seed=seed)
        for seed in range(2)
    ]
    measured = np.mean(
        [half_rise_times(run.times, run.eigenvalues, top=flow.ceilings) for run in runs], axis=0
    )
    settled = np.mean([run.eigenvalues[-50:].mean(axis=0) for run in runs], axis=0)
    plain = step_times(gamma[:3], np.abs(np.diagonal(np.linalg.qr(w0 @ vectors)[1]))[:3])
    assert flow.ceilings.max() < 0.9  # far from 1
    np.testing.assert_allclose(flow.step_times, measured, rtol=0.06)
    # The noise of sorted eigenvalues spreads them; their sum does not depend on the order.
    np.testing.assert_allclose(flow.ceilings, settled, atol=0.1)
    assert flow.ceilings.mean() == pytest.approx(settled.mean(), abs=0.03)
    # Plain theory is further away.
    assert np.abs(plain / measured - 1).max() > 2 * np.abs(flow.step_times / measured - 1).max()


def test_covariances_do_not_depend_on_chunks_and_need_no_mean_of_zero():
    rng = np.random.default_rng(5)
    a, b = 3.0 + rng.standard_normal((2, 5000, 2))
    g = (a[:, :, None] * b[:, None] + b[:, :, None] * a[:, None]) / 2
    expected = np.cov(g.reshape(5000, 4).T, bias=True).reshape(2, 2, 2, 2) / 3
    np.testing.assert_allclose(batch_covariance(a, b, 3), expected, rtol=1e-9, atol=1e-9)


def test_the_bound_grows_with_the_learning_rate():
    rivalry = np.array([[0.3, 0.1], [0.1, 0.2]])
    first, second = (noise_order([1.0, 0.5], rivalry, [0.8, 0.7], rate) for rate in (0.01, 0.02))
    assert second == pytest.approx(2 * first)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="batch_size is 9; expected from 1 to 5"):
        batch_share(9, 5)
    with pytest.raises(ValueError, match=r"rivalry has shape \(1, 1\); expected \(2, 2\)"):
        ceilings([1.0, 0.5], [[1.0]])
    with pytest.raises(ValueError, match="covariance has shape"):
        competition([1.0], np.zeros((2, 2, 2, 2)))
    with pytest.raises(ValueError, match="not positive"):
        minibatch.eigenvalue_curves([1.0], [-1.0], [1e-3], [[0.1]])
