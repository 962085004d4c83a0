"""The flow with refreshed kernels: its closed form, a linear network, a kernel that jumps."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from theory.kernels.modes import embed, kernel_initialization, kernel_modes
from theory.kernels.refreshed import cross_correlations, refreshed_curves
from theory.linear.closed_form import eigenvalue_curves


def kernel_of(rng, n, width=None):
    factor = rng.standard_normal((2 * n, width or 2 * n))
    factor[n:] = factor[:n] + 0.7 * factor[n:]  # views of a pair are alike
    return factor @ factor.T / factor.shape[1]


def aligned(kernel, dim, scale, rng):
    modes = kernel_modes(kernel, dim)
    s0 = scale * rng.uniform(0.5, 1.0, dim)
    left = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    return modes, s0, embed(modes, kernel, 0.0, s0, left)


def test_a_constant_kernel_gives_the_closed_form_however_often_it_is_refreshed():
    rng = np.random.default_rng(0)
    kernel = kernel_of(rng, 6)
    modes, s0, start = aligned(kernel, 3, 1e-3, rng)
    times = np.linspace(0.0, 12.0 / modes.gamma[-1], 40)
    expected = np.sort(eigenvalue_curves(times, modes.gamma, s0), axis=1)[:, ::-1]
    for starts in ([0.0], [0.0, times[7], 0.3 + times[20]]):
        found = refreshed_curves(times, starts, [kernel] * len(starts), start)
        assert_allclose(found, expected, rtol=1e-6, atol=1e-12)


def test_a_kernel_that_doubles_turns_the_clock_twice_as_fast():
    rng = np.random.default_rng(1)
    kernel = kernel_of(rng, 5)
    modes, s0, start = aligned(kernel, 2, 1e-2, rng)
    switch = 0.4 / modes.gamma[0]
    times = np.linspace(0.0, 3.0 / modes.gamma[-1], 31)
    clock = np.where(times < switch, times, switch + 2 * (times - switch))
    found = refreshed_curves(times, [0.0, switch], [kernel, 2 * kernel], start)
    expected = np.sort(eigenvalue_curves(clock, modes.gamma, s0), axis=1)[:, ::-1]
    assert_allclose(found, expected, rtol=1e-6)


def test_new_axes_take_over_what_was_learned_by_the_old_ones():
    # Kernels that share their axes, in another order: the logistic curves go on with new rates.
    rng = np.random.default_rng(2)
    axes = np.linalg.qr(rng.standard_normal((5, 5)))[0]

    def diagonal(weights):  # its two views of a sample agree fully
        block = axes * np.asarray(weights) @ axes.T
        return np.block([[block, block], [block, block]])

    first, second = diagonal([5.0, 2.0, 1.0, 0.5, 0.2]), diagonal([1.0, 5.0, 1.0, 0.5, 0.2])
    start = 1e-3 * np.concatenate([axes[:, :2], axes[:, :2]])
    found = refreshed_curves([2.0], [0.0, 1.0], [first, second], start)[0]

    def logistic(lam, gamma):  # for one unit of time
        grown = lam * np.exp(8 * gamma)
        return grown / (1 - lam + grown)

    lam = 1e-6 / 5  # of both modes; gamma is the weight over n
    expected = [logistic(logistic(lam, g), h) for g, h in ((1.0, 0.2), (0.4, 1.0))]
    assert_allclose(found, sorted(expected, reverse=True), rtol=1e-6)


def test_a_trained_linear_network_follows_its_kernel_from_any_start():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((12, 4)) * [2.0, 1.0, 0.7, 0.4]
    x_prime = x + 0.3 * rng.standard_normal(x.shape)
    w0 = 0.05 * rng.standard_normal((3, 4))  # not small, not aligned
    stacked = np.concatenate([x, x_prime])
    lr = 1e-4
    iterations = np.array([0, 400, 1000, 2500, 6000])
    weights = w0.copy()
    gamma = (x.T @ x_prime + x_prime.T @ x) / (2 * len(x))
    curves = []
    for step in range(iterations[-1] + 1):
        if step in iterations:
            curves.append(np.linalg.eigvalsh(weights @ gamma @ weights.T)[::-1])
        weights = weights - lr * 4 * (weights @ gamma @ weights.T - np.eye(3)) @ weights @ gamma
    kernel = stacked @ stacked.T
    found = refreshed_curves(lr * iterations, [0.0, 0.2], [kernel, kernel], stacked @ w0.T)
    # Descent leaves the flow by about 4 lr gamma_1 log(1 / lambda_0) relative in lambda.
    assert_allclose(found, curves, rtol=4 * lr * 10 * np.linalg.norm(gamma, 2), atol=1e-9)
    assert found[-1, 0] > 0.9


def test_small_generic_starts_step_when_the_equivalent_aligned_ones_do():
    rng = np.random.default_rng(4)
    kernel = kernel_of(rng, 8)
    start = 1e-5 * np.linalg.cholesky(kernel + 1e-9 * np.eye(16)) @ rng.standard_normal((16, 2))
    modes = kernel_modes(kernel, 2)
    _, s0 = kernel_initialization(modes, start)
    times = np.linspace(0, 14 / modes.gamma[-1] / 8 * 2, 60)
    found = refreshed_curves(times, [0.0], [kernel], start)
    expected = np.sort(eigenvalue_curves(times, modes.gamma, s0), axis=1)[:, ::-1]
    # arXiv 2303.15438: off by about the scale to the power 2 (1 - gamma_2 / gamma_1).
    assert np.abs(found - expected).max() < (1e-5) ** (2 - 2 * modes.gamma[1] / modes.gamma[0]) * 10
    assert found[-1].min() > 0.9


def test_cross_correlations_of_a_stack():
    rng = np.random.default_rng(5)
    f = rng.standard_normal((3, 8, 2))
    for one, found in zip(f, cross_correlations(f), strict=True):
        swap = np.roll(np.eye(8), 4, axis=0)
        assert_allclose(found, one.T @ swap @ one / 8, atol=1e-14)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": [0.0, 0.0]}, "times do not ascend"),
        ({"times": [-1.0, 1.0]}, "times begin at -1.0; expected none before 0.0"),
        ({"starts": [0.0, 1.0]}, r"kernels has shape \(1, 4, 4\) and starts \(2,\)"),
        ({"embeddings": np.ones((3, 1))}, "expected \\(2n, d\\)"),
        ({"kernels": np.triu(np.ones((1, 4, 4)))}, "expected a symmetric matrix"),
        ({"embeddings": np.full((4, 1), np.nan)}, "NaN or infinite"),
    ],
)
def test_bad_input_is_refused_in_words(change, message):
    given = {"times": [0.0, 1.0], "starts": [0.0], "kernels": [np.eye(4)]}
    given |= {"embeddings": np.ones((4, 1))} | change
    with pytest.raises(ValueError, match=message):
        refreshed_curves(**given)
