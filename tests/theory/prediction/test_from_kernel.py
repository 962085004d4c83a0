"""Step times from a kernel: the linear model's, and those of kernel modes."""

import numpy as np
import pytest

from theory import predict_steps_from
from theory.kernels.features import choose_landmarks, kernel_features, landmark_features
from theory.kernels.infinite_width import infinite_width_kernels
from theory.kernels.modes import kernel_initialization, kernel_modes
from theory.kernels.random_functions import initial_weights
from theory.prediction.from_kernel import predict_kernel_steps


def views(n=40, m=5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, m)) * 0.7 ** np.arange(m)
    return x, x + 0.1 * rng.standard_normal((n, m))


def test_the_linear_kernel_predicts_what_the_linear_model_does():
    x, y = views()
    stacked = np.vstack([x, y])
    found = predict_kernel_steps(kernel_features(stacked @ stacked.T), dim=3, learning_rate=0.05)
    # The same start in the coordinates of the data: W(0) of its outputs on the views.
    features = found.steps.initial_weights
    outputs = kernel_features(stacked @ stacked.T).values @ features.T
    w0 = np.linalg.lstsq(stacked, outputs, rcond=None)[0].T
    rng = np.random.default_rng(0)
    initial_weights(kernel_features(stacked @ stacked.T), 3, None, 1e-3, rng)  # drawn before
    linear = predict_steps_from(x, y, w0, learning_rate=0.05, rng=rng)
    for name in ("eigenvalues", "step_times", "step_iterations", "initial_singular_values",
                 "eigenvalue_bias", "eigenvalue_low", "eigenvalue_high"):  # fmt: skip
        np.testing.assert_allclose(
            getattr(found.steps, name), getattr(linear, name), rtol=1e-6, err_msg=name
        )
    np.testing.assert_array_equal(found.steps.resolved, linear.resolved)
    np.testing.assert_array_equal(found.scales, 1)


def test_times_are_those_of_the_kernels_modes_and_its_initial_function():
    covariance, tangent = infinite_width_kernels(np.vstack(views()), layers=3)
    found = predict_kernel_steps(kernel_features(tangent), dim=3, covariance=covariance)
    modes = kernel_modes(tangent, 3)
    np.testing.assert_allclose(found.steps.eigenvalues, modes.gamma, rtol=1e-9)
    start = kernel_features(tangent).values @ found.steps.initial_weights.T
    _, s0 = kernel_initialization(modes, start)
    # The prediction also takes neighbouring modes into account.
    np.testing.assert_allclose(found.steps.initial_singular_values, s0, rtol=1e-3)
    overlap = np.abs(np.diag(found.coefficients.T @ tangent @ modes.coefficients))
    np.testing.assert_allclose(overlap, 1, rtol=1e-6)


def test_the_draw_has_the_covariance_given():
    covariance, tangent = infinite_width_kernels(np.vstack(views(4)), layers=2)
    features = kernel_features(tangent)
    outputs = [
        features.values @ initial_weights(features, 4, covariance, 0.1, seed).T
        for seed in range(300)
    ]
    outputs = np.hstack(outputs) / 0.1
    error = outputs @ outputs.T / outputs.shape[1] - covariance
    # 1,200 functions: entries scatter by at most root(2 / 1200) of the variances.
    assert np.abs(error).max() < 4.5 * np.sqrt(2 / 1200) * covariance.max()


def test_the_drawn_times_are_typical_of_the_law():
    covariance, tangent = infinite_width_kernels(np.vstack(views()), layers=2)
    features = kernel_features(tangent)
    inside = []
    for seed in range(20):
        found = predict_kernel_steps(features, 3, covariance=covariance, rng=seed, level=0.8)
        times = found.steps.step_times
        inside.append((times > found.step_time_draw_low) & (times < found.step_time_draw_high))
    share = np.mean(inside)
    assert abs(share - 0.8) < 4 * np.sqrt(0.16 / 60)


def test_all_landmarks_predict_what_the_whole_kernel_does():
    stacked = np.vstack(views())
    covariance, tangent = infinite_width_kernels(stacked, layers=2)
    whole = predict_kernel_steps(kernel_features(tangent), 3, covariance=covariance)
    z = choose_landmarks(40, 80)
    features = landmark_features(tangent[:, z], z, np.diag(tangent))
    found = predict_kernel_steps(features, 3, covariance=covariance[np.ix_(z, z)])
    for name in ("step_time_mean", "step_time_draw_low", "step_time_draw_high", "scales"):
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-6)


def test_landmarks_make_steps_late_and_say_how_much_they_miss():
    stacked = np.vstack(views(200))
    covariance, tangent = infinite_width_kernels(stacked, layers=2)
    whole = predict_kernel_steps(kernel_features(tangent), 3, covariance=covariance)
    z = choose_landmarks(200, 60)
    features = landmark_features(tangent[:, z], z, np.diag(tangent))
    found = predict_kernel_steps(features, 3, covariance=covariance[np.ix_(z, z)])
    assert np.all(found.steps.eigenvalues <= whole.steps.eigenvalues)
    np.testing.assert_allclose(found.step_time_mean, whole.step_time_mean, rtol=0.05)
    assert 0 < features.missing_trace < 0.1


def test_modes_that_do_not_exist_are_never_learned():
    x, _ = views()
    stacked = np.vstack([x, x * [1, 1, -1, -1, -1]])
    with pytest.warns(UserWarning, match="never learned"):
        found = predict_kernel_steps(kernel_features(stacked @ stacked.T), dim=4)
    assert np.isfinite(found.step_time_mean).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 81}, "dim is 81; expected from 1 to"),
        ({"init_scale": -1.0}, "init_scale is -1.0"),
        ({"covariance": np.eye(3)}, "covariance has shape \\(3, 3\\); expected \\(80, 80\\)"),
        ({"level": 2.0}, "level"),
    ],
)
def test_bad_input_is_refused(options, message):
    features = kernel_features(infinite_width_kernels(np.vstack(views()), layers=2)[1])
    with pytest.raises(ValueError, match=message):
        predict_kernel_steps(features, **options)
