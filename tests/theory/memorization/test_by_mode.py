"""Scores of a linear model mode by mode: their sum, training again, and what theory predicts."""

import numpy as np
import pytest

from theory.memorization.by_mode import (
    expected_spread,
    first_order_by_mode,
    leave_one_out_by_mode,
    losses_by_mode,
)
from theory.memorization.first_order import (
    alignment_losses,
    first_order_scores,
    kernel_points,
    linear_points,
)
from theory.memorization.leave_one_out import leave_one_out_scores

SIZES = [(20, 6, 3, 1), (20, 60, 5, 1), (9, 4, 4, 1), (12, 30, 4, 3)]


def drawn_points(n, m, each, seed=0):
    rng = np.random.default_rng(seed)
    scale = np.arange(1, m + 1) ** -1.0
    points = rng.standard_normal((n, 1, m)) * scale
    strength = rng.uniform(0.1, 0.6, (n, 1, m)) * scale
    drawn = points + strength * rng.standard_normal((n, 4 + 2 * each, m))
    x, x_prime = drawn[:, :each].reshape(-1, m), drawn[:, each : 2 * each].reshape(-1, m)
    return x, x_prime, drawn[:, 2 * each :], np.repeat(np.arange(n), each)


def points_of(n, m, dim, each, seed=0):
    x, x_prime, augmentations, groups = drawn_points(n, m, each, seed)
    return linear_points(x, x_prime, dim, augmentations=augmentations, groups=groups)


def map_of(x, x_prime, dim):
    """Learned map W, a row a mode; a mode that is not positive is not learned."""
    gamma, vectors = np.linalg.eigh((x.T @ x_prime + x_prime.T @ x) / (2 * len(x)))
    weight = np.array([g**-0.5 if g > 1e-12 * gamma.max() else 0.0 for g in gamma])
    return (vectors * weight)[:, ::-1][:, :dim].T


@pytest.mark.parametrize(("n", "m", "dim", "each"), SIZES)
def test_modes_sum_to_the_whole_score(n, m, dim, each):
    points = points_of(n, m, dim, each)
    for modes, whole in (
        (losses_by_mode(points), alignment_losses(points)),
        (first_order_by_mode(points), first_order_scores(points)),
        (leave_one_out_by_mode(points), leave_one_out_scores(points, 1e-300).scores),
    ):
        assert modes.shape == (n, dim)
        size = np.abs(modes).sum(axis=1)  # what cancels between modes that are close
        np.testing.assert_array_less(np.abs(modes.sum(axis=1) - whole), 1e-10 * (1e-300 + size))


@pytest.mark.parametrize(("n", "m", "dim", "each"), SIZES)
def test_modes_are_those_of_training_again_without_the_point(n, m, dim, each):
    x, x_prime, augmentations, groups = drawn_points(n, m, each)
    points = linear_points(x, x_prime, dim, augmentations=augmentations, groups=groups)
    found, whole = leave_one_out_by_mode(points), map_of(x, x_prime, dim)
    for point, views in enumerate(augmentations):
        left = groups != point
        without = map_of(x[left], x_prime[left], dim)
        covariance = np.cov(views.T)
        expected = [
            2 * (b @ covariance @ b - a @ covariance @ a)
            for a, b in zip(whole, without, strict=True)
        ]
        np.testing.assert_allclose(found[point], expected, rtol=1e-8, atol=1e-9)


def test_first_order_modes_are_derivatives():
    """The score of a point by mode, over its share of the data, tends to the first-order one."""
    x, x_prime, augmentations, _ = drawn_points(12, 7, 1)
    dim, n, step = 3, 12, 1e-4
    found = first_order_by_mode(linear_points(x, x_prime, dim, augmentations=augmentations))
    gamma_of = lambda a, b: (a.T @ b + b.T @ a) / 2  # noqa: E731
    whole = gamma_of(x, x_prime) / n
    for i, views in enumerate(augmentations):
        direction = (whole - gamma_of(x[i : i + 1], x_prime[i : i + 1])) / (n - 1)

        covariance = np.cov(views.T)

        def losses(t, direction=direction, covariance=covariance):
            values, vectors = np.linalg.eigh(whole + t * direction)
            top = vectors[:, ::-1][:, :dim]
            return 2 * np.einsum("aj,ab,bj->j", top, covariance, top) / values[::-1][:dim]

        slope = (losses(step) - losses(-step)) / (2 * step)
        np.testing.assert_allclose(found[i], slope, rtol=1e-4, atol=1e-6)


def test_memorisation_planted_in_one_mode_is_found_there():
    """One point alone holds a direction, and its augmentations move along it."""
    rng = np.random.default_rng(0)
    x = np.zeros((40, 4))
    x[:, :3] = rng.standard_normal((40, 3)) * [3.0, 2.0, 1.0]
    x[0] = [0.0, 0.0, 0.0, 3.0]  # gamma of this direction is 9 / 40, the smallest
    views = np.stack([x, x], axis=1)
    views[0, :, 3] += [0.5, -0.5]
    points = linear_points(x, x, 4, augmentations=views, every=True)
    scores = first_order_by_mode(points)
    # b_44 = N gamma_4: 2 / (N - 1) (N - 1) gamma_4 s / gamma_4^2 = 2 s / gamma_4
    assert scores[0, 3] == pytest.approx(2 * 0.25 / (9 / 40))
    assert np.abs(scores[0, :3]).max() < 1e-10
    assert np.abs(scores[1:]).max() < 1e-10
    # Without the point nothing of the mode is learned, and nothing is lost of what was aligned.
    assert leave_one_out_by_mode(points)[0, 3] == pytest.approx(-2 * 0.25 / (9 / 40))


def isotropic_points(n, deviations, noise, seed=0):
    """Gaussian points whose pairs and views are moved by noise of equal size in all directions."""
    rng = np.random.default_rng(seed)
    m = len(deviations)
    clean = rng.standard_normal((n, m)) * deviations
    x, x_prime = (clean + noise**0.5 * rng.standard_normal((n, m)) for _ in range(2))
    steps = np.vstack([np.eye(m), -np.eye(m)]) * (m * noise) ** 0.5  # covariance noise * identity
    return linear_points(x, x_prime, m, augmentations=clean[:, None] + steps, every=True)


def test_late_modes_carry_memorisation_as_predicted():
    points = isotropic_points(6000, np.array([2.0, 1.0, 0.5, 0.25]), noise=0.04)
    found = first_order_by_mode(points)
    predicted = expected_spread(points.gamma, 0.04, points.n_pairs)
    # A standard deviation of n products of Gaussians is known to about sqrt(8 / 4 n) = 2 %.
    np.testing.assert_allclose(found.std(axis=0), predicted, rtol=0.1)
    # From the first mode to the last gamma falls by a factor of 64, the spread grows by as much.
    assert found[:, 3].std() / found[:, 0].std() == pytest.approx(64 * 1.3, rel=0.15)
    # In units of the mode's own loss all modes above the noise memorise alike.
    relative = (found / losses_by_mode(points)).std(axis=0)
    assert relative.max() < 1.5 * relative.min()


def test_modes_of_a_kernel_are_those_of_the_inputs():
    x, x_prime, _, _ = drawn_points(20, 6, 1)
    stacked = np.vstack([x, x_prime])
    kernel = kernel_points(stacked @ stacked.T, 3)
    plain = linear_points(x, x_prime, 3)
    for by_mode in (first_order_by_mode, leave_one_out_by_mode):
        np.testing.assert_allclose(by_mode(kernel), by_mode(plain), rtol=1e-7, atol=1e-10)


def test_equal_learned_modes_are_refused():
    x = np.vstack([np.eye(3), np.eye(3)])
    with pytest.raises(ValueError, match="modes 1 and 2 both have gamma"):
        first_order_by_mode(linear_points(x, x, 2))


@pytest.mark.parametrize(
    ("gamma", "noise", "pairs", "message"),
    [
        ([1.0, 0.0], 0.1, 5, "expected eigenvalues above zero"),
        ([1.0], 0.0, 5, "noise"),
        ([1.0], 0.1, 1, "n_pairs"),
    ],
)
def test_a_spread_of_nothing_is_refused(gamma, noise, pairs, message):
    with pytest.raises(ValueError, match=message):
        expected_spread(gamma, noise, pairs)
