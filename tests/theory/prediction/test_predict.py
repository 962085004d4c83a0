"""The front door, against a literal descent on the pairs and in its special cases."""

import numpy as np
import pytest

from theory import predict_steps, predict_steps_from
from theory.pairs.planted import planted_pairs


def _descend(x, x_prime, w, rate, steps):
    """Eigenvalues of the cross-correlation at every step of explicit gradient descent."""
    gamma = (x.T @ x_prime + x_prime.T @ x) / (2 * len(x))
    curves = []
    for _ in range(steps):
        correlation = w @ gamma @ w.T
        curves.append(np.linalg.eigvalsh(correlation)[::-1])
        w = w - rate * 4 * (correlation - np.eye(len(w))) @ w @ gamma
    return np.array(curves)


@pytest.fixture(scope="module")
def pairs():
    return planted_pairs("geometric", 300, 12, np.random.default_rng(0))


def test_iterations_and_curves_are_those_of_descent(pairs):
    x, x_prime = pairs
    found = predict_steps(x, x_prime, 4, init_scale=1e-6)
    steps = int(1.2 * found.step_iterations.max())
    curves = _descend(x, x_prime, found.initial_weights, found.learning_rate, steps)
    measured = [np.argmax(curve > 0.5) for curve in curves.T]
    np.testing.assert_allclose(measured, found.step_iterations, rtol=5e-3, atol=1)
    slow = predict_steps(x, x_prime, 4, init_scale=1e-6, learning_rate=found.learning_rate / 8)
    curves = _descend(x, x_prime, slow.initial_weights, slow.learning_rate, 8 * steps)
    times = slow.learning_rate * np.arange(8 * steps)
    assert np.abs(curves - slow.eigenvalue_curves(times)).max() < 0.1
    np.testing.assert_allclose(slow.loss(times[-1]), 0.0, atol=1e-3)


@pytest.mark.machine
def test_chunks_routes_scale_and_given_weights_agree(pairs):
    x, x_prime = pairs
    whole = predict_steps(x, x_prime, 3)
    chunks = [(x[i : i + 70], x_prime[i : i + 70]) for i in range(0, 300, 70)]
    for other in (
        predict_steps(chunks, dim=3),
        predict_steps(x / 4, x_prime / 4, 3, scale=4.0),
        predict_steps_from(x, x_prime, whole.initial_weights),
    ):
        np.testing.assert_allclose(other.step_times, whole.step_times, rtol=1e-9)
    # Wide enough that a Krylov basis leaves something to save.
    x, x_prime = planted_pairs("geometric", 400, 80, np.random.default_rng(1))
    dense, krylov, streamed = (
        predict_steps(x, x_prime, 3, route=route) for route in ("dense", "krylov", "streamed")
    )
    for other in (krylov, streamed):
        np.testing.assert_allclose(other.step_times, dense.step_times, rtol=1e-6)
        np.testing.assert_allclose(other.step_time_low, dense.step_time_low, rtol=0.1)
        np.testing.assert_allclose(other.step_time_high, dense.step_time_high, rtol=0.1)
    assert krylov.positive_modes == dense.positive_modes
    assert streamed.positive_modes is None


def test_centring_subtracts_the_mean_of_both_views(pairs):
    x, x_prime = pairs[0] + 3.0, pairs[1] + 3.0
    mean = (x.mean(axis=0) + x_prime.mean(axis=0)) / 2
    centred = predict_steps(x, x_prime, 3, center=True)
    plain = predict_steps(x - mean, x_prime - mean, 3)
    np.testing.assert_allclose(centred.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(centred.eigenvalues, plain.eigenvalues, rtol=1e-10)
    assert centred.centred
    assert not plain.centred


def test_more_dimensions_than_positive_modes_warn_and_never_step():
    rng = np.random.default_rng(3)
    x, x_prime = rng.standard_normal((2, 3, 12))  # rank 6: three positive, three negative, six null
    with pytest.warns(UserWarning, match=r"12 dimensions asked for, but Gamma has 3 positive"):
        found = predict_steps(x, x_prime, 12)
    assert found.positive_modes == 3
    assert np.isfinite(found.step_times).sum() == 3
    assert np.all(found.eigenvalues[3:9] == 0)
    np.testing.assert_allclose(
        found.eigenvectors.T @ found.eigenvectors, np.eye(12), rtol=0, atol=1e-10
    )
    np.testing.assert_allclose(found.loss(1e9), 9.0, atol=1e-6)
    assert np.all(found.step_time_low <= found.step_time_high)


def test_directions_without_data_are_never_learned():
    """Data of rank 3 in five dimensions: rounding must not pass for two more modes."""
    z = np.random.default_rng(0).standard_normal((100, 3))
    x = np.c_[z, z[:, :2] @ [[1.0, 2.0], [3.0, 4.0]]]
    with pytest.warns(UserWarning, match="Gamma has 3 positive"):
        found = predict_steps(x, x, 5)
    assert np.isinf(found.step_times[3:]).all()
    assert not found.resolved[3:].any()
    assert np.linalg.norm(found.final_weights()) < 100
    with pytest.warns(UserWarning, match="Gamma has 0 positive"):
        found = predict_steps(np.full((20, 3), 0.1), np.full((20, 3), 0.1), 2, center=True)
    assert np.isinf(found.step_times).all()


@pytest.mark.parametrize("route", ["dense", "krylov", "streamed"])
def test_the_most_negative_eigenvalue_bounds_the_learning_rate(route):
    x, x_prime = planted_pairs("geometric", 300, 60, np.random.default_rng(4))
    x[:, 0] *= 6
    x_prime[:, 0] = -x[:, 0]
    lowest = np.linalg.eigvalsh((x.T @ x_prime + x_prime.T @ x) / 600)[0]
    found = predict_steps(x, x_prime, 3, route=route)
    assert found.stable_learning_rate == pytest.approx(0.5 / -lowest, rel=1e-3)
    assert found.learning_rate == pytest.approx(found.stable_learning_rate / 5)


@pytest.mark.machine
def test_same_seed_same_bits_and_other_seed_other_weights(pairs):
    first, again = (predict_steps(*pairs, 3, rng=7) for _ in range(2))
    np.testing.assert_array_equal(first.step_times, again.step_times)
    np.testing.assert_array_equal(first.step_time_high, again.step_time_high)
    assert not np.array_equal(
        first.initial_weights, predict_steps(*pairs, 3, rng=8).initial_weights
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim is 0; expected from 1 to 12"),
        ({"dim": 13}, "dim is 13; expected from 1 to 12"),
        ({"init_scale": 0.0}, "init_scale is 0.0; expected"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0; expected"),
        ({"level": 1.0}, "level is 1.0; expected"),
        ({"groups": [0, 1]}, "groups has shape"),
        ({"route": "magic"}, "route is 'magic'; expected one of"),
    ],
)
def test_bad_options_are_refused_in_words(pairs, options, message):
    with pytest.raises(ValueError, match=message):
        predict_steps(*pairs, **({"dim": 3} | options))


@pytest.mark.parametrize(
    ("x", "x_prime", "message"),
    [
        (np.full((3, 2), np.nan), np.ones((3, 2)), "x holds 6 NaN or infinite"),
        (np.ones((1, 2)), np.ones((1, 2)), "1 pair.* given; expected at least 2"),
        (np.ones((3, 2)), np.ones((3, 4)), "expected equal"),
    ],
)
def test_bad_pairs_are_refused_in_words(x, x_prime, message):
    with pytest.raises(ValueError, match=message):
        predict_steps(x, x_prime, 1)


def test_weights_that_do_not_fit_are_refused(pairs):
    with pytest.raises(ValueError, match=r"w0 has shape \(2, 5\); expected \(dim, 12\)"):
        predict_steps_from(*pairs, np.ones((2, 5)))


@pytest.mark.parametrize("power", [140, 100, 80, -80, -100, -140])
def test_extreme_scales_give_the_same_times_and_intervals_in_their_unit(pairs, power):
    x, x_prime = (2.0 * view for view in pairs)
    scale = 2.0 ** round(power / np.log10(2.0))
    w0 = 1e-3 * np.random.default_rng(3).standard_normal((4, 12))
    plain = predict_steps_from(x, x_prime, w0, center=True)
    found = predict_steps_from(x * scale, x_prime * scale, w0 / scale, center=True)
    for name in ("step_times", "step_time_low", "step_time_high", "learning_rate"):
        expected = getattr(plain, name) / scale / scale
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-9, err_msg=name)
    for name in ("eigenvalues", "eigenvalue_low", "eigenvalue_high", "eigenvalue_bias"):
        expected = getattr(plain, name) * scale * scale
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(found.step_iterations, plain.step_iterations, rtol=1e-9)
    np.testing.assert_allclose(found.initial_weights, w0 / scale, rtol=1e-15)
    np.testing.assert_allclose(found.mean, plain.mean * scale, rtol=1e-9)
    np.testing.assert_array_equal(found.resolved, plain.resolved)
    ends = [[plateau.start for plateau in p.plateaus] for p in (found, plain)]
    np.testing.assert_allclose(ends[0], np.array(ends[1]) / scale / scale, rtol=1e-9)
    times = found.step_times
    np.testing.assert_allclose(np.diag(found.eigenvalue_curves(times)), 0.5, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-150, 1e150, 1e-170])
def test_scales_whose_squares_cannot_be_computed_are_refused(pairs, scale):
    x, x_prime = (scale * view for view in pairs)
    with pytest.raises(ValueError, match=r"norm of about|overflow"):
        predict_steps(x, x_prime, 2)


def test_weights_that_are_not_small_are_warned_of(pairs):
    with pytest.warns(
        UserWarning, match=r"W\(0\) is not small: mode 1 starts at lambda = .* at least"
    ):
        predict_steps(*pairs, 2, init_scale=0.5)


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.int64, bool])
def test_other_real_types_count_as_their_values(dtype):
    rng = np.random.default_rng(0)
    x, x_prime = (rng.integers(0, 2, (50, 4)).astype(dtype) for _ in range(2))
    found = predict_steps(x, x_prime, 2)
    expected = predict_steps(x.astype(np.float64), x_prime.astype(np.float64), 2)
    np.testing.assert_array_equal(found.step_times, expected.step_times)


def test_intervals_scale_with_the_data_and_weights(pairs):
    x, x_prime = pairs
    w0 = 1e-3 * np.random.default_rng(5).standard_normal((3, 12))
    found = predict_steps_from(x, x_prime, w0)
    other = predict_steps_from(8 * x, 8 * x_prime, w0 / 8)
    for name in ("step_time_low", "step_time_high"):
        np.testing.assert_allclose(getattr(other, name), getattr(found, name) / 64, rtol=1e-9)
    for name in ("eigenvalue_low", "eigenvalue_high", "eigenvalue_bias"):
        np.testing.assert_allclose(getattr(other, name), getattr(found, name) * 64, rtol=1e-9)
    np.testing.assert_array_equal(other.resolved, found.resolved)


def test_the_spread_of_eigenvalues_has_a_part_of_images_and_one_of_views():
    """Each part, from one sample, against the scatter over many samples with the other fixed."""
    m, images, k, weight = 4, 60, 4, np.array([1.0, 0.4, 0.2, 0.1])
    w0 = 1e-3 * np.eye(2, m)

    def samples(rng, faces):
        first, second = (
            np.repeat(faces, k, axis=0) + 0.7 * rng.standard_normal((images * k, m)) * weight
            for _ in range(2)
        )
        return first, second, np.repeat(np.arange(images), k)

    rng = np.random.default_rng(6)
    faces = rng.standard_normal((images, m)) * weight
    fixed, fresh, parts = [], [], []
    for _ in range(150):
        x, x_prime, groups = samples(rng, faces)
        fixed.append(np.mean(x[:, 0] * x_prime[:, 0]))
        x, x_prime, groups = samples(rng, rng.standard_normal((images, m)) * weight)
        fresh.append(np.mean(x[:, 0] * x_prime[:, 0]))
        steps = predict_steps_from(x, x_prime, w0, groups=groups)
        parts.append([steps.eigenvalue_deviation_images[0], steps.eigenvalue_deviation_views[0]])
    from_images, from_views = np.sqrt(np.mean(np.square(parts), axis=0))
    # The views' part for these images is a draw; a standard deviation of 150 is known to 6 %.
    assert from_views == pytest.approx(np.std(fixed), rel=0.25)
    assert np.hypot(from_images, from_views) == pytest.approx(np.std(fresh), rel=0.2)
    assert from_images > 2 * from_views
    single = predict_steps_from(x, x_prime, w0)
    assert np.isnan(single.eigenvalue_deviation_images).all()


def test_views_of_images_tell_their_part_by_the_jackknife():
    """Copies of a view add nothing; with two views the part of views is unknown."""
    rng = np.random.default_rng(7)
    views = rng.standard_normal((80, 1, 3)) + 0.5 * rng.standard_normal((80, 5, 3))
    w0 = 1e-3 * np.eye(1, 3)
    found = predict_steps_from(views, None, w0)
    leading = views @ found.eigenvectors[:, 0]

    def entries(chosen):
        k = chosen.shape[1]
        return (chosen.sum(axis=1) ** 2 - (chosen**2).sum(axis=1)) / (k * (k - 1))

    without = np.stack([entries(np.delete(leading, a, axis=1)) for a in range(5)])
    expected = np.sqrt(np.sum(4 * without.var(axis=0))) / 80
    assert found.eigenvalue_deviation_views[0] == pytest.approx(expected, rel=1e-9)
    total = np.hypot(found.eigenvalue_deviation_views, found.eigenvalue_deviation_images)[0]
    assert total == pytest.approx(entries(leading).std() / np.sqrt(80), rel=1e-9)
    assert np.isnan(predict_steps_from(views[:, :2], None, w0).eigenvalue_deviation_views).all()


def test_a_given_learning_rate_is_in_the_unit_of_the_data(pairs):
    w0 = 1e-3 * np.random.default_rng(3).standard_normal((2, 12))
    plain = predict_steps_from(*pairs, w0, learning_rate=0.02)
    x, x_prime = (64.0 * view for view in pairs)
    found = predict_steps_from(x, x_prime, w0 / 64.0, learning_rate=0.02 / 64.0**2)
    assert found.learning_rate == plain.learning_rate / 64.0**2
    np.testing.assert_allclose(found.step_iterations, plain.step_iterations, rtol=1e-9)
