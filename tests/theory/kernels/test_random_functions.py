"""The law of step times over draws of the initial function, against draws."""

import numpy as np
import pytest
from scipy.special import digamma

from theory.kernels.infinite_width import infinite_width_kernels
from theory.kernels.modes import kernel_initialization, kernel_modes
from theory.kernels.random_functions import (
    projection_scales,
    singular_value_quantiles,
    step_time_law,
)
from theory.linear.closed_form import step_times


def relu_modes(dim=4, n=15, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 5)) * 0.6 ** np.arange(5)
    views = np.vstack([x, x + 0.02 * rng.standard_normal(x.shape)])
    covariance, tangent = infinite_width_kernels(views, layers=3)
    return kernel_modes(tangent, dim), covariance


def drawn_starts(modes, covariance, dim, draws, seed=1):
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    rng = np.random.default_rng(seed)
    return np.array(
        [
            kernel_initialization(modes, root @ rng.standard_normal((len(root), dim)))[1]
            for _ in range(draws)
        ]
    )


def test_quantiles_are_those_of_drawn_functions():
    modes, covariance = relu_modes()
    scales = projection_scales(modes.coefficients, covariance)
    drawn = drawn_starts(modes, covariance, 4, 4000)
    for level in (0.1, 0.5, 0.9):
        share = np.mean(drawn < singular_value_quantiles(level, scales, 4), axis=0)
        # Four standard errors of a share of 4,000 draws.
        np.testing.assert_allclose(share, level, atol=4 * np.sqrt(level * (1 - level) / 4000))


def test_singular_values_of_the_modes_are_independent():
    modes, covariance = relu_modes()
    logs = np.log(drawn_starts(modes, covariance, 4, 4000))
    correlation = np.corrcoef(logs.T) - np.eye(4)
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)


def test_mean_and_interval_of_step_times_are_those_of_draws():
    modes, covariance = relu_modes()
    scales = projection_scales(modes.coefficients, covariance)
    mean, low, high = step_time_law(modes.gamma, scales, 4, 1e-3, 0.8)
    drawn = drawn_starts(modes, covariance, 4, 4000)
    times = np.array([step_times(modes.gamma, 1e-3 * s0) for s0 in drawn])
    error = 5 * times.std(axis=0) / np.sqrt(4000)
    np.testing.assert_array_less(np.abs(times.mean(axis=0) - mean), error)
    inside = np.mean((times > low) & (times < high), axis=0)
    np.testing.assert_allclose(inside, 0.8, atol=0.03)


def test_the_mean_is_that_of_the_logarithm_of_chi_squared():
    gamma, scales = np.array([1.0, 0.5, 0.1]), np.array([2.0, 1.0, 0.3])
    mean, _, _ = step_time_law(gamma, scales, 3, 1e-4)
    freedom = np.array([3, 2, 1])
    log = np.log(gamma * (1e-4 * scales) ** 2) + np.log(2) + digamma(freedom / 2)
    assert np.all(np.abs(mean + log / (8 * gamma)) < 0.001 / (8 * gamma))


def test_modes_that_are_never_learned_have_infinite_times():
    for time in step_time_law([1.0, 0.0, -0.1], np.ones(3), 3, 1e-3):
        assert np.isfinite(time).tolist() == [True, False, False]
    mean, _, _ = step_time_law([1.0, 0.5], [1.0, 0.0], 2, 1e-3)  # a start without that mode
    assert np.isfinite(mean).tolist() == [True, False]


def test_a_start_of_lower_rank_has_no_more_modes():
    modes, _ = relu_modes()
    f = modes.coefficients @ np.ones(4)
    scales = projection_scales(modes.coefficients, np.outer(f, f))
    assert scales[0] > 0
    assert np.all(scales[1:] < 1e-6 * scales[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: projection_scales(np.ones((2, 1)), np.eye(3)), "expected \\(L, k\\)"),
        (lambda: projection_scales(np.ones((2, 1)), [[1.0, 2.0], [0, 1]]), "symmetric"),
        (lambda: singular_value_quantiles(2.0, [1.0], 1), "outside \\[0, 1\\]"),
        (lambda: singular_value_quantiles(0.5, [-1.0], 1), "expected none below zero"),
        (lambda: singular_value_quantiles(0.5, [1.0, 1.0], 1), "dim is 1; expected at least 2"),
        (lambda: step_time_law([1.0], [1.0, 1.0], 2, 1e-3), "expected equal shapes"),
        (lambda: step_time_law([1.0], [1.0], 1, 1e-3, 1.0), "level is 1.0"),
        (lambda: step_time_law([1.0], [1.0], 1, 0.0), "init_scale is 0.0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
