"""Coding rate: gradients by differences, curves under solved flows, refused input."""

import numpy as np
import pytest

from sslsim.training.full_batch import train_linear
from theory.coding_rate import bounds, optima
from theory.coding_rate.flow import coding_rate_curve
from theory.coding_rate.rate import (
    coding_rate,
    coding_rate_gradient,
    coding_rate_reduction,
    coding_rate_reduction_gradient,
    group_shares,
)
from theory.linear.closed_form import weights
from theory.losses import spectral_contrastive as riccati


def differences(function, z, step=1e-5):
    """Central differences, right to about step^2 and 1e-16 / step."""
    found = np.zeros_like(z)
    for place in np.ndindex(z.shape):
        move = np.zeros_like(z)
        move[place] = step
        found[place] = (function(z + move) - function(z - move)) / (2 * step)
    return found


SHARES = [[0.2, 0.8], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]


@pytest.mark.parametrize("d", [3, 6])
@pytest.mark.parametrize("groups", [[0, 0, 4, 0], SHARES])
def test_gradients_are_those_of_differences(d, groups):
    z = np.random.default_rng(0).standard_normal((4, d))
    exact = differences(lambda z: coding_rate(z, 0.5), z)
    np.testing.assert_allclose(coding_rate_gradient(z, 0.5), exact, atol=1e-8)
    exact = differences(lambda z: coding_rate_reduction(z, groups, 0.5), z)
    found = coding_rate_reduction_gradient(z, groups, 0.5)
    np.testing.assert_allclose(found, exact, atol=1e-8)


def test_curve_is_the_rate_of_the_embeddings_at_every_time():
    rng = np.random.default_rng(0)
    for n, m, d in ((9, 5, 3), (3, 5, 4), (6, 4, 6)):
        x, maps = rng.standard_normal((n, m)), rng.standard_normal((2, 3, d, m))
        curve = coding_rate_curve(maps, x, 0.3)
        assert curve.shape == (2, 3)
        moment = x.T @ x / n
        for place in np.ndindex(curve.shape):
            w = maps[place]
            assert abs(curve[place] - coding_rate(x @ w.T, 0.3)) < 1e-12
            whole = np.eye(d) + d / 0.09 * w @ moment @ w.T
            assert abs(curve[place] - 0.5 * np.linalg.slogdet(whole)[1]) < 1e-11


def aligned_problem():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 5)) * np.array([2.0, 1.4, 1.0, 0.7, 0.5])
    x_prime = x + 0.3 * rng.standard_normal(x.shape)
    cross = x.T @ x_prime / len(x)
    gamma, right = np.linalg.eigh((cross + cross.T) / 2)
    left = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    return x, x_prime, gamma[::-1][:3], right[:, ::-1][:, :3], left, np.full(3, 1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("t", [0.05, 0.2, 0.6])
def test_curve_of_the_closed_form_is_what_training_approaches(t):
    """Descent with half the step is half as far off: the flow is its limit."""
    x, x_prime, gamma, right, left, s0 = aligned_problem()
    predicted = coding_rate_curve(weights(t, gamma, s0, left, right), x, 0.5)
    w0, off = weights(0.0, gamma, s0, left, right), []
    for updates in (400, 800):
        run = train_linear(x, x_prime, w0, t / updates, updates, record_every=updates)
        off.append(coding_rate(x @ run.weights.T, 0.5) - predicted)
    assert abs(off[0]) < 0.1 * predicted
    assert 1.9 < off[0] / off[1] < 2.1
    extrapolated = 2 * off[1] - off[0]  # what is left is of the second order of the step
    assert abs(extrapolated) < 0.01 * abs(off[0])


def test_curve_rises_by_steps_to_the_rate_of_the_learned_map():
    x, _, gamma, right, left, s0 = aligned_problem()
    times = np.array([0.0, 1e9])
    start, end = coding_rate_curve(weights(times, gamma, s0, left, right), x, 0.5)
    learned = x @ (right * gamma**-0.5)
    assert start < 0.02 * end
    assert abs(end - coding_rate(learned, 0.5)) < 1e-12


def test_curve_of_the_spectral_contrastive_flow_from_anywhere():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 4))
    white = riccati.whiten(x, x + 0.4 * rng.standard_normal(x.shape))
    w0 = rng.standard_normal((2, 4))
    factor = riccati.weights_factor([0.0, 0.3], white.gamma, w0)  # (2, m, d)
    curve = coding_rate_curve(np.swapaxes(factor, -1, -2), white.x, 0.5)
    assert abs(curve[0] - coding_rate(white.x @ w0.T, 0.5)) < 1e-12
    gram = riccati.gram_matrix(0.3, white.gamma, w0)
    whole = np.eye(12) + 2 / 0.25 / 12 * white.x @ gram @ white.x.T
    assert abs(curve[1] - 0.5 * np.linalg.slogdet(whole)[1]) < 1e-12


def test_shares_of_labels_come_in_their_order():
    assert group_shares([5, -1, 5], 3).tolist() == [[0, 1], [1, 0], [0, 1]]


Z = np.ones((4, 2))
LABELS = np.array([0, 0, 1, 1])
REFUSED = [
    (coding_rate_gradient, (Z, 0.0), "eps is 0.0"),
    (bounds.energy_bounds, (-1.0, 2, 2, 1.0), "energy is -1.0"),
    (bounds.energy_bounds, (1.0, 0, 2, 1.0), "n is 0"),
    (bounds.hadamard_bound, (Z * np.nan, 1.0), "z holds"),
    (bounds.gradient_norm_bound, (2, 0, 1.0), "d is 0"),
    (bounds.large_eps_reduction, (Z, LABELS[:2], 1.0), "groups has shape"),
    (bounds.small_eps_slope, (Z[:1], LABELS[:1]), "at least 2"),
    (optima.subspaces_reduction, (2, 2, 2, 3, 1.0), "d is 3; expected at least 4"),
    (optima.subspaces_reduction, (2, 2, 1, 4, 1.0), "size is 1; expected at least 2"),
    (optima.singleton_rate, (0, 1.0), "d is 0"),
    (optima.two_view_rate, ([1.1], 2, 1.0), "cosines is"),
    (optima.two_view_rate, ([], 2, 1.0), "cosines is"),
    (optima.best_instance_reduction, (0, 2, 1.0), "instances is 0"),
    (coding_rate_curve, (Z[0], Z, 1.0), "maps has shape"),
    (coding_rate_curve, (np.ones((3, 2, 5)), Z, 1.0), "maps has shape"),
    (coding_rate_curve, (Z * np.inf, Z, 1.0), "maps holds"),
]


@pytest.mark.parametrize(("function", "arguments", "message"), REFUSED)
def test_unfit_input_is_refused_in_one_line(function, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        function(*arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scale", [1e-160, 1e150, 1e200, 1e300, 3e307])
@pytest.mark.parametrize("eps", [0.5, 1e-100, 1e10])
def test_no_scale_overflows(scale, eps):
    """At large s, log(1 + s^2) is 2 log s, of which scales make a sum; its derivative is 1/s."""
    z = np.random.default_rng(0).standard_normal((6, 3))
    groups = [0, 0, 0, 1, 1, 1]
    rate = coding_rate(scale * z, eps)
    gradient = coding_rate_gradient(scale * z, eps)
    reduction = coding_rate_reduction(scale * z, groups, eps)
    assert np.isfinite([rate, reduction]).all()
    assert np.isfinite(coding_rate_reduction_gradient(scale * z, groups, eps)).all()
    a = np.sqrt(3 / 6) * np.linalg.svd(z, compute_uv=False)
    if scale > 1:
        exact = np.sum(np.log(a)) + 3 * (np.log(scale) - np.log(eps))
        np.testing.assert_allclose(rate, exact, rtol=1e-12)
        np.testing.assert_allclose(scale * gradient, np.linalg.pinv(z).T, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(reduction, coding_rate_reduction(1e9 * z, groups, 1), rtol=1e-9)
