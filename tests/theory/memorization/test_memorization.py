"""Leave-one-out scores of linear and kernel models against training again without each point."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from theory.kernels.modes import embed, kernel_modes
from theory.memorization import leave_one_out as loo
from theory.memorization.first_order import (
    alignment_losses,
    chunks_of_points,
    first_order_scores,
    kernel_points,
    linear_points,
)
from theory.memorization.leave_one_out import leave_one_out_scores


def squared_map(x, x_prime, dim):
    """M = W^T W of the learned map, as the theory writes it."""
    gamma, vectors = np.linalg.eigh((x.T @ x_prime + x_prime.T @ x) / (2 * len(x)))
    top = [j for j in np.argsort(gamma)[::-1][:dim] if gamma[j] > 1e-12 * gamma.max()]
    return sum(np.outer(vectors[:, j], vectors[:, j]) / gamma[j] for j in top)


def literal_scores(x, x_prime, dim, covariances, groups=None):
    groups = np.arange(len(x)) if groups is None else groups
    whole = squared_map(x, x_prime, dim)
    scores = []
    for point, covariance in zip(np.unique(groups), covariances, strict=True):
        left = groups != point
        change = squared_map(x[left], x_prime[left], dim) - whole
        scores.append(2 * np.trace(change @ covariance))
    return np.array(scores)


def covariances_of(augmentations, every=False):
    return np.array([np.atleast_2d(np.cov(a.T, bias=every)) for a in augmentations])


def draw(n, m, views=4, each=1, seed=0):
    """Pairs and augmentations of points whose augmentations differ in strength and direction."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, m + 1) ** -1.0
    points = rng.standard_normal((n, 1, m)) * scale
    strength = rng.uniform(0.1, 0.6, (n, 1, m)) * scale
    drawn = points + strength * rng.standard_normal((n, views + 2 * each, m))
    x, x_prime = drawn[:, :each].reshape(-1, m), drawn[:, each : 2 * each].reshape(-1, m)
    return x, x_prime, drawn[:, 2 * each :], np.repeat(np.arange(n), each)


@pytest.mark.parametrize(("n", "m", "dim"), [(20, 6, 3), (40, 90, 4), (20, 60, 5), (9, 4, 4)])
@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("every", [False, True])
def test_exact_scores_are_those_of_training_again(n, m, dim, each, every):
    x, x_prime, augmentations, groups = draw(n, m, each=each)
    points = linear_points(x, x_prime, dim, augmentations=augmentations, every=every, groups=groups)
    found = leave_one_out_scores(points)
    covariances = covariances_of(augmentations, every)
    expected = literal_scores(x, x_prime, dim, covariances, groups)
    size = alignment_losses(points)
    whole = squared_map(x, x_prime, dim)
    np.testing.assert_allclose(
        size, [2 * np.trace(whole @ s) for s in covariances], rtol=1e-9, atol=0
    )
    # Eigenvectors of either way are known to rounding over the gap below mode d.
    rounding = 1e-11 * points.gamma[0] / points.gamma[dim - 1] * (size + np.abs(expected))
    assert np.all(np.abs(found.scores - expected) <= found.errors + rounding)
    assert np.all(found.errors <= 1e-6 * size / points.n_pairs)


def test_small_problems_are_used_where_they_serve_and_their_bounds_hold():
    x, x_prime, augmentations, _ = draw(60, 120)
    points = linear_points(x, x_prime, 5, augmentations=augmentations)
    exact = leave_one_out_scores(points, 1e-300)
    assert exact.whole == 60
    assert not exact.errors.any()
    assert leave_one_out_scores(points).whole == 0
    rows, size = np.arange(60), alignment_losses(points)
    held = []
    for kept, depth in ((5 + 1, 1), (5 + 4, 2), (5 + 8, 4)):
        after, errors = loo._compressed(points, rows, kept, depth)
        served = np.isfinite(errors)
        assert served.mean() > 0.9
        error = np.abs(after - size - exact.scores)
        assert np.all(error[served] <= errors[served] + 1e-11 * size[served])
        held.append(np.median(errors))
    assert held[0] > 10 * held[1] > 100 * held[2]  # a larger problem is worth its cost


def test_eigenvalues_above_a_level_are_counted_exactly():
    rng = np.random.default_rng(0)
    gamma = np.sort(rng.standard_normal(12))[::-1]
    u = rng.standard_normal((300, 12, 4))
    sign = np.array([-0.3, -0.3, 0.3, 0.3])
    level = rng.uniform(-2, 2, 300)
    values = np.linalg.eigvalsh(np.diag(gamma) + (u * sign) @ u.swapaxes(1, 2))
    expected = np.count_nonzero(values > level[:, None], axis=1)
    assert np.array_equal(loo._above(gamma, u, sign, level), expected)


def test_first_order_is_the_derivative():
    """Scores of a point that is a share s of the data, over s, tend to it."""
    x, x_prime, augmentations, _ = draw(12, 7)
    dim, n = 3, len(x)
    points = linear_points(x, x_prime, dim, augmentations=augmentations)
    gamma_of = lambda a, b: (a.T @ b + b.T @ a) / 2  # noqa: E731
    whole = gamma_of(x, x_prime) / n
    for i, covariance in enumerate(covariances_of(augmentations)):
        direction = (whole - gamma_of(x[i : i + 1], x_prime[i : i + 1])) / (n - 1)
        step = 1e-4

        def value(t, direction=direction, covariance=covariance):
            values, vectors = np.linalg.eigh(whole + t * direction)
            top = vectors[:, -dim:] / values[-dim:]
            return 2 * np.trace(top @ vectors[:, -dim:].T @ covariance)

        slope = (value(step) - value(-step)) / (2 * step)
        # A central difference errs by step squared times a third derivative of such size.
        assert first_order_scores(points)[i] == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_first_order_tends_to_leaving_out_as_points_grow_in_number():
    gaps = []
    for n in (50, 200, 800):
        x, x_prime, augmentations, _ = draw(n, 8)
        points = linear_points(x, x_prime, 3, augmentations=augmentations)
        exact, first = leave_one_out_scores(points).scores, first_order_scores(points)
        gaps.append(np.linalg.norm(first - exact) / np.linalg.norm(exact))
        assert spearmanr(first, exact).statistic > 0.95
    assert gaps[2] < gaps[0] / 4


@pytest.mark.parametrize(("n", "m"), [(25, 8), (12, 40)])
@pytest.mark.parametrize("each", [1, 2])
def test_a_linear_kernel_gives_the_scores_of_its_inputs(n, m, each):
    x, x_prime, augmentations, groups = draw(n, m, each=each)
    stacked = np.vstack([x, x_prime])
    for inputs, cross in ((augmentations, augmentations @ stacked.T), (None, None)):
        primal = linear_points(x, x_prime, 3, augmentations=inputs, groups=groups)
        dual = kernel_points(stacked @ stacked.T, 3, cross_kernel=cross, groups=groups)
        for of in (alignment_losses, first_order_scores, lambda p: leave_one_out_scores(p).scores):
            one = of(primal)
            np.testing.assert_allclose(of(dual), one, rtol=0, atol=1e-7 * np.abs(one).max())


def test_scores_of_a_kernel_are_those_of_its_embeddings():
    """The dual against embeddings of kernel_modes, trained again on the kernel of what is left."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((10, 1, 3)) + 0.3 * rng.standard_normal((10, 6, 3))
    x, x_prime, views = inputs[:, 0], inputs[:, 1], inputs[:, 2:]

    def rbf(a, b):
        return np.exp(-np.sum((a[..., None, :] - b) ** 2, axis=-1) / 4)

    def losses(left, point):
        stacked = np.vstack([x[left], x_prime[left]])
        z = embed(kernel_modes(rbf(stacked, stacked), 2), rbf(views[point], stacked))
        return 2 * np.trace(np.atleast_2d(np.cov(z.T)))

    stacked = np.vstack([x, x_prime])
    points = kernel_points(rbf(stacked, stacked), 2, cross_kernel=rbf(views, stacked))
    everything = np.arange(10)
    before = [losses(everything, i) for i in everything]
    after = [losses(np.delete(everything, i), i) for i in everything]
    np.testing.assert_allclose(alignment_losses(points), before, rtol=1e-7)
    found = leave_one_out_scores(points).scores
    np.testing.assert_allclose(found, np.subtract(after, before), rtol=0, atol=1e-7 * max(after))


def test_pairs_alone_give_the_covariance_of_their_halves():
    x, x_prime, _, groups = draw(12, 5, each=3)
    points = linear_points(x, x_prime, 2, groups=groups)
    expected = []
    whole = squared_map(x, x_prime, 2)
    for point in range(12):
        gaps = (x - x_prime)[groups == point]
        expected.append(np.mean(np.sum((gaps @ whole) * gaps, axis=1)))
    np.testing.assert_allclose(alignment_losses(points), expected, rtol=1e-10)


def test_a_mode_that_only_one_point_holds_is_memorised_away():
    x = np.array([[3.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    augmentations = np.stack([x, 1.5 * x], axis=1)
    points = linear_points(x, x, 3, augmentations=augmentations)
    found = leave_one_out_scores(points).scores
    # Without its point a mode has gamma 0, is not learned and loses nothing.
    np.testing.assert_allclose(found[2:], -alignment_losses(points)[2:], rtol=1e-12)
    assert np.all(found[:2] > 0)


def test_groups_are_sorted_and_may_differ_in_size():
    x, x_prime, augmentations, _ = draw(9, 4, views=5)
    groups = np.array([30, 10, 20, 10, 40, 40, 40, 20, 10])
    points = linear_points(x, x_prime, 2, augmentations=augmentations[:4], groups=groups)
    assert points.counts.tolist() == [3, 2, 1, 3]
    expected = literal_scores(x, x_prime, 2, covariances_of(augmentations[:4]), groups)
    np.testing.assert_allclose(leave_one_out_scores(points).scores, expected, rtol=1e-9)


def test_chunks_do_not_matter():
    x, x_prime, augmentations, _ = draw(30, 60)
    points = linear_points(x, x_prime, 3, augmentations=augmentations)
    expected = leave_one_out_scores(points).scores, first_order_scores(points)
    assert len(chunks_of_points(30, 1, chunk_bytes=1)) == 30
    one_by_one = leave_one_out_scores(points, chunk_bytes=1).scores
    np.testing.assert_allclose(one_by_one, expected[0], rtol=1e-9)
    np.testing.assert_allclose(first_order_scores(points, chunk_bytes=1), expected[1], rtol=1e-9)
    with pytest.raises(ValueError, match="chunk_bytes is 0; expected"):
        first_order_scores(points, chunk_bytes=0)


def test_more_dimensions_than_modes_are_cut_with_a_warning():
    x, x_prime, augmentations, _ = draw(10, 4)
    with pytest.warns(UserWarning, match="dim is 9 but only 4 modes have a positive eigenvalue"):
        points = linear_points(x, x_prime, 9, augmentations=augmentations)
    assert points.dim == 4


X, X_PRIME, AUGMENTATIONS, _ = draw(6, 3)
BAD = [
    ({"x": X[:2], "x_prime": X_PRIME[:2]}, r"2 point\(s\) given; expected at least 3"),
    ({"groups": [0, 0, 0, 1, 1, 1]}, r"2 point\(s\) given"),
    ({"groups": [0, 1, 2]}, r"groups has shape \(3,\)"),
    ({"x_prime": X_PRIME[:5]}, "expected equal shapes"),
    ({"x": X * np.nan}, "x holds 18 NaN"),
    ({"augmentations": AUGMENTATIONS[:, :1]}, r"\(6, 1, 3\); expected \(n, V, 3\) with V of"),
    ({"augmentations": AUGMENTATIONS[:5]}, "augmentations of 5 points for 6"),
    ({"augmentations": AUGMENTATIONS[:, :, :2]}, r"expected \(n, V, 3\)"),
    ({"augmentations": AUGMENTATIONS * np.inf}, "augmentations holds 72 NaN or infinite"),
    ({"dim": 0}, "dim is 0; expected at least 1"),
    ({"x_prime": -X}, "the largest eigenvalue of Gamma is"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message for _, message in BAD])
def test_points_refuse(change, message):
    with pytest.raises(ValueError, match=message) as error:
        linear_points(**{"x": X, "x_prime": X_PRIME, "dim": 2, **change})
    assert "\n" not in str(error.value)


def test_kernels_and_degenerate_modes_are_refused():
    with pytest.raises(ValueError, match=r"kernel has shape \(5, 5\); expected \(2N, 2N\)"):
        kernel_points(np.eye(5), 1)
    with pytest.raises(ValueError, match="largest eigenvalue of -1"):
        kernel_points(-np.eye(6), 1)
    with pytest.raises(ValueError, match=r"expected \(n, V, 6\)"):
        kernel_points(np.eye(6), 1, cross_kernel=np.ones((3, 2, 5)))
    with pytest.raises(ValueError, match="tolerance is 0"):
        leave_one_out_scores(linear_points(X, X_PRIME, 1), 0)
    same = np.eye(4)
    with pytest.raises(ValueError, match=r"modes 2 and 3 both have gamma 0\.25; expected a dim"):
        first_order_scores(linear_points(same, same, 2))
