"""Gradient descent predictions against literal scalar recursions and matrix training loops."""

import math

import numpy as np
import pytest

from theory.linear import closed_form as cf
from theory.linear import gradient_descent


def literal_crossing(gamma, s, eta):
    """Fractional iteration of lambda = 1/2 by the plainest loop."""

    def logit(value):
        lam = gamma * value**2
        return math.log(lam / (1.0 - lam)) if lam < 1.0 else math.inf

    n = 0
    while gamma * s**2 < 0.5:
        before, s = s, s + 4.0 * eta * gamma * s * (1.0 - gamma * s**2)
        n += 1
    if n == 0:
        return 0.0
    gain = logit(s) - logit(before)
    return n - 1 - logit(before) / gain


def train(w, gamma, eta, iterations, momentum=0.0, penalty=0.0):
    """Torch's SGD on linear Barlow Twins, in numpy."""
    velocity, history = np.zeros_like(w), [w]
    for _ in range(iterations):
        residual = w @ gamma @ w.T - np.eye(len(w))
        velocity = momentum * velocity + 4.0 * residual @ w @ gamma + 2.0 * penalty * w
        w = w - eta * velocity
        history.append(w)
    return np.array(history)


@pytest.mark.parametrize(("momentum", "penalty"), [(0.0, 0.0), (0.8, 0.0), (0.0, 0.1), (0.9, 0.3)])
def test_singular_values_agree_with_matrix_training(momentum, penalty):
    rng = np.random.default_rng(0)
    eigenvalues = np.array([1.0, 0.4, 0.1, -0.2, -0.5])
    vectors = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    left = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    s0 = np.array([0.01, 0.1, 0.3, 0.5])
    history = train(
        (left * s0) @ vectors[:, :4].T,
        (vectors * eigenvalues) @ vectors.T,
        0.02,
        150,
        momentum,
        penalty,
    )
    exact = np.abs(np.einsum("dk,tdm,mk->tk", left, history, vectors[:, :4]))
    wanted = [150, 0, 7, 7, 60]
    found = gradient_descent.descent_singular_values(
        wanted, eigenvalues[:4], s0, 0.02, momentum=momentum, penalty=penalty
    )
    np.testing.assert_allclose(found, exact[wanted], atol=1e-12)


def test_first_iteration_by_hand():
    found = gradient_descent.descent_singular_values([1], [0.5, -0.5], [1.0, 1.0], 0.1)
    np.testing.assert_allclose(found, [[1.0 + 0.2 * 0.5, 1.0 - 0.2 * 1.5]], rtol=1e-14)
    decayed = gradient_descent.descent_singular_values([1], [0.0], [1.0], 0.1, penalty=0.25)
    assert decayed[0, 0] == pytest.approx(1.0 - 0.1 * 2.0 * 0.25, rel=1e-14)


@pytest.mark.parametrize("eta", [1e-4, 9.9e-4, 1.1e-3, 1e-2, 0.1, 0.19, 0.24, 0.4, 2.0])
@pytest.mark.parametrize("s0", [1e-6, 1e-3, 0.3, 0.706])
def test_step_iterations_agree_with_the_literal_loop(eta, s0):
    if eta < 1e-3 and s0 == 1e-6:
        s0 = 1e-4  # the literal loop is slow
    expected = literal_crossing(1.0, s0, eta)
    found = gradient_descent.descent_step_iterations([1.0], [s0], eta)[0]
    # Below h = 0.004 the count is smooth, off the interpolated one by up to 0.1 h^2.
    h = 4.0 * eta
    assert found == pytest.approx(expected, rel=1e-9, abs=0.15 * h**2 if h < 4e-3 else 1e-7)


def test_step_iterations_are_continuous_where_the_method_changes():
    """Iterating and expanding agree at h = 4 eta gamma = 0.004, where one replaces the other."""
    gamma = 1e-3 * np.array([1.0 - 1e-9, 1.0 + 1e-9])
    below, above = gradient_descent.descent_step_iterations(gamma, [1e-4, 1e-4], 1.0)
    assert below == pytest.approx(above, rel=1e-8)


def test_step_iterations_of_many_modes_are_those_of_each():
    gamma = np.array([2.0, 1.0, 0.5, 1e-3, 1e-6, 1e-9, 0.0, -1.0, 1.0, 0.3])
    s0 = np.array([1e-3, 1e-5, 0.1, 1e-3, 1e-3, 1e-6, 1.0, 1.0, 0.9, 0.0])
    together = gradient_descent.descent_step_iterations(gamma, s0, 0.1)
    alone = [
        gradient_descent.descent_step_iterations([g], [s], 0.1)[0]
        for g, s in zip(gamma, s0, strict=True)
    ]
    np.testing.assert_allclose(together, alone, rtol=1e-14)
    assert together[-4:].tolist() == [np.inf, np.inf, 0.0, np.inf]


def test_slow_modes_follow_the_flow_and_its_first_correction():
    s1, s0 = math.sqrt(0.5), 1e-3
    correction = 0.5 * math.log(s1 * (1.0 - s1**2) / (s0 * (1.0 - s0**2)))
    for product in (1e-5, 1e-7, 1e-9):
        scaled = [s0 / math.sqrt(product)]
        found = gradient_descent.descent_step_iterations([product], scaled, 1.0)[0]
        flow = cf.step_times([product], scaled)[0]
        assert found - flow == pytest.approx(correction, abs=1e-4)


def test_flow_time_error_is_what_the_exact_recursion_shows():
    for product in (1e-3, 5e-3, 2e-2):
        exact = gradient_descent.descent_step_iterations([product], [1e-12], 1.0)[0]
        flow = cf.step_times([product], [1e-12])[0]
        stated = gradient_descent.flow_time_error([product], 1.0)[0]
        assert exact / flow - 1.0 == pytest.approx(stated, rel=0.1)


def test_small_signal_growth():
    gamma = np.array([1.0, 0.2, -0.5])
    s = gradient_descent.descent_singular_values([0, 1], gamma, [1e-9, 1e-9, 1e-9], 0.1)
    np.testing.assert_allclose(
        (s[1] / s[0]) ** 2, gradient_descent.small_signal_growth(gamma, 0.1), rtol=1e-12
    )


@pytest.mark.parametrize("eigenvalues", [[1.0, 0.5, -0.3], [0.5, 0.2, -2.0]])
def test_training_is_stable_just_below_the_bound_only(eigenvalues):
    gamma = np.diag(eigenvalues)
    bound = gradient_descent.stable_learning_rate(eigenvalues)
    rng = np.random.default_rng(1)
    fixed = cf.final_weights(eigenvalues, np.eye(3), np.eye(3))
    start = fixed + 1e-6 * rng.standard_normal((3, 3))
    errors = []
    for factor in (0.98, 1.02):
        with np.errstate(over="ignore", invalid="ignore"):
            w = train(start, gamma, factor * bound, 400)[-1]
        if not np.isfinite(w).all():
            errors.append(np.inf)
            continue
        # Spectra: turning the outputs costs no loss, so that nothing undoes a turned start.
        errors.append(np.abs(np.linalg.eigvalsh(w @ gamma @ w.T) - [0.0, 1.0, 1.0]).max())
    assert errors[0] < 1e-8
    assert errors[1] > 1e-3


def test_stable_learning_rate_values():
    assert gradient_descent.stable_learning_rate([0.5, 2.0, -1.0]) == pytest.approx(1.0 / 8.0)
    assert gradient_descent.stable_learning_rate([1.0, -3.0]) == pytest.approx(1.0 / 6.0)
    assert gradient_descent.stable_learning_rate([0.0]) == math.inf


def test_divergence_is_infinite_not_nan():
    found = gradient_descent.descent_singular_values([0, 5, 60], [1.0, 1.0], [0.1, 0.1], 3.0)
    assert not np.isnan(found).any()
    assert np.isinf(found[-1]).all()


def test_sign_flips_do_not_show():
    found = gradient_descent.descent_singular_values(range(20), [1.0], [1.35], 0.4)
    assert np.all(found >= 0)


def test_no_iterations_asked():
    assert gradient_descent.descent_singular_values([], [1.0, 2.0], [0.1, 0.1], 0.1).shape == (0, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gradient_descent.descent_singular_values([0.5], [1.0], [1.0], 0.1), "holds 0.5"),
        (lambda: gradient_descent.descent_singular_values([-1], [1.0], [1.0], 0.1), "holds -1.0"),
        (
            lambda: gradient_descent.descent_singular_values([1e300], [1.0], [1.0], 0.1),
            "less than 2",
        ),
        (
            lambda: gradient_descent.descent_singular_values([[1]], [1.0], [1.0], 0.1),
            "iterations has shape",
        ),
        (
            lambda: gradient_descent.descent_singular_values([1], [1.0], [1.0], 0.0),
            "learning_rate is 0.0",
        ),
        (
            lambda: gradient_descent.descent_singular_values([1], [1.0], [1.0], 0.1, momentum=1.0),
            "momentum is 1.0",
        ),
        (
            lambda: gradient_descent.descent_singular_values([1], [1.0], [1.0], 0.1, penalty=-1.0),
            "penalty is -1.0",
        ),
        (
            lambda: gradient_descent.descent_step_iterations([1.0], [1.0, 2.0], 0.1),
            "expected equal shapes",
        ),
        (
            lambda: gradient_descent.descent_step_iterations([1.0], [1.0], -0.1),
            "learning_rate is -0.1",
        ),
        (
            lambda: gradient_descent.descent_step_iterations([1.0], [1.0], np.nan),
            "learning_rate is nan",
        ),
        (lambda: gradient_descent.stable_learning_rate([]), "at least one eigenvalue"),
        (lambda: gradient_descent.small_signal_growth([np.nan], 0.1), "gamma holds 1 NaN"),
        (lambda: gradient_descent.flow_time_error([1.0], 0.0), "learning_rate is 0.0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
