"""Finite features of kernels: exact, by landmarks, and from blocks."""

import numpy as np
import pytest

from theory.kernels.features import (
    choose_landmarks,
    kernel_features,
    landmark_features,
    stacked_kernel,
)
from theory.kernels.modes import kernel_modes
from theory.kernels.radial import rbf_kernel


def stacked(n=30, m=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, m))
    return np.vstack([x, x + 0.1 * rng.standard_normal((n, m))])


def by_landmarks(views, count, width=2.0):
    landmarks = choose_landmarks(len(views) // 2, count)
    columns = rbf_kernel(views, views[landmarks], width=width)
    return landmark_features(columns, landmarks, np.ones(len(views)))


def eigenvalues(features):
    a, b = features.pairs
    return np.linalg.eigvalsh(a.T @ b + b.T @ a)[::-1] / (2 * len(a))


def test_features_give_the_kernel_its_modes_and_the_features_of_other_points():
    views = stacked()
    kernel = rbf_kernel(views, width=2.0)
    features = kernel_features(kernel)
    np.testing.assert_allclose(features.values @ features.values.T, kernel, atol=1e-12)
    modes = kernel_modes(kernel)
    np.testing.assert_allclose(eigenvalues(features), modes.eigenvalues, atol=1e-13)
    assert features.missing_trace < 1e-12
    np.testing.assert_allclose(kernel @ features.basis, features.values, atol=1e-6)


def test_all_points_as_landmarks_are_exact():
    views = stacked()
    kernel = rbf_kernel(views, width=2.0)
    features = by_landmarks(views, len(views))
    np.testing.assert_allclose(features.values @ features.values.T, kernel, atol=1e-10)
    np.testing.assert_allclose(
        eigenvalues(features)[:20], kernel_modes(kernel).eigenvalues[:20], rtol=1e-9
    )
    assert features.missing_trace < 1e-10


def test_more_landmarks_miss_less_and_eigenvalues_grow_to_the_exact_ones():
    views = stacked(200)
    exact = kernel_modes(rbf_kernel(views, width=2.0)).eigenvalues[:5]
    found = [by_landmarks(views, count) for count in (10, 20, 40, 80)]
    missing = [features.missing_trace for features in found]
    assert np.all(np.diff(missing) < 0)
    assert missing[-1] < 0.2 * missing[0]
    tops = np.array([eigenvalues(features)[:5] for features in found])
    assert np.all(np.diff(tops, axis=0) > -1e-12)  # landmarks are nested: Cauchy's interlacing
    assert np.all(tops <= exact + 1e-12)
    np.testing.assert_allclose(tops[-1], exact, rtol=0.02)


def test_what_is_missing_of_the_trace_is_that_of_the_residual():
    views = stacked()
    features = by_landmarks(views, 10)
    residual = rbf_kernel(views, width=2.0) - features.values @ features.values.T
    np.testing.assert_allclose(features.missing_trace, np.trace(residual) / len(views), rtol=1e-9)
    assert np.linalg.eigvalsh(residual)[0] > -1e-10
    # At the landmarks themselves nothing is missing.
    assert np.abs(residual[features.landmarks]).max() < 1e-10


def test_landmarks_are_both_views_of_pairs_and_nested():
    few, many = choose_landmarks(50, 10, 3), choose_landmarks(50, 40, 3)
    np.testing.assert_array_equal(many[:10], few)
    np.testing.assert_array_equal(many[1::2], many[::2] + 50)
    assert len(set(many.tolist())) == 40
    assert sorted(choose_landmarks(5, 10).tolist()) == list(range(10))


def test_blocks_stack_to_the_kernel_of_stacked_views():
    views = stacked(5)
    x, y = views[:5], views[5:]
    blocks = [rbf_kernel(a, b, width=1.0) for a, b in ((x, x), (x, y), (y, y))]
    np.testing.assert_allclose(stacked_kernel(*blocks), rbf_kernel(views, width=1.0), atol=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernel_features(np.eye(3)), "expected 2n rows"),
        (lambda: kernel_features(np.zeros((4, 4))), "semi-definite matrix that is not zero"),
        (lambda: kernel_features([[1.0, 2.0], [0.0, 1.0]]), "expected a symmetric matrix"),
        (lambda: landmark_features(np.ones((4, 2)), [0], np.ones(4)), "expected \\(2n, L\\)"),
        (lambda: landmark_features(np.ones((4, 2)), [0, 4], np.ones(4)), "numbers from 0 to 3"),
        (lambda: landmark_features(np.ones((4, 2)), [0, 0], np.ones(4)), "different rows"),
        (lambda: landmark_features(np.ones((4, 1)), [0.5], np.ones(4)), "different rows"),
        (lambda: choose_landmarks(5, 12), "count is 12; expected from 2 to 10"),
        (lambda: choose_landmarks(5, 3), "expected an even number"),
        (lambda: stacked_kernel(np.eye(2), np.ones((2, 3)), np.eye(2)), "equal square shapes"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
