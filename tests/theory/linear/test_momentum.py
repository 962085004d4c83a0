"""Heavy ball predictions against literal recursions, eigenvalues and matrix training loops."""

import math

import numpy as np
import pytest

from theory.linear import closed_form as cf
from theory.linear import gradient_descent, momentum


def literal_crossing(gamma, s, eta, mu):
    """Fractional iteration of lambda = 1/2 of torch's SGD on one mode, by the plainest loop."""

    def logit(value):
        lam = gamma * value**2
        return math.log(lam / (1.0 - lam)) if lam < 1.0 else math.inf

    velocity, n = 0.0, 0
    while True:
        velocity = mu * velocity - 4.0 * gamma * s * (1.0 - gamma * s**2)
        after = s - eta * velocity
        if gamma * after**2 >= 0.5:
            return n - logit(s) / (logit(after) - logit(s))
        s, n = after, n + 1


@pytest.mark.parametrize("mu", [0.0, 0.3, 0.9, 0.99])
@pytest.mark.parametrize("eta", [1e-5, 3e-4, 1e-2, 0.3])
@pytest.mark.parametrize("s0", [1e-3, 0.2, 0.6])
def test_step_iterations_agree_with_the_literal_loop(mu, eta, s0):
    if eta == 1e-5 and mu < 0.9:
        eta = 1e-4  # the literal loop is slow
    expected = literal_crossing(1.3, s0, eta, mu)
    found = momentum.momentum_step_iterations([1.3], [s0], eta, mu)[0]
    # Relative to the whole rise: from s0 = 0.6 only its last part is counted.
    assert found == pytest.approx(expected, rel=1e-7, abs=1e-5)


def test_iterated_and_expanded_counts_agree_where_one_replaces_the_other():
    for mu in (0.5, 0.9):
        h = 2e-3 * 2.0 * (1.0 - mu) ** 2 / (1.0 + mu)
        gamma = h / 4.0 * np.array([1.0 - 1e-9, 1.0 + 1e-9])
        below, above = momentum.momentum_step_iterations(gamma, 1e-2 / np.sqrt(gamma), 1.0, mu)
        assert below == pytest.approx(above, rel=1e-7)


def test_growth_root_is_the_largest_eigenvalue():
    for mu in (0.0, 0.5, 0.9):
        for gamma in (2.0, 0.1, 0.0, -0.02, -0.5, -5.0, -100.0):
            h = 4.0 * 0.1 * gamma
            largest = np.abs(np.linalg.eigvals([[1.0 + mu + h, -mu], [1.0, 0.0]])).max()
            root = momentum.growth_root([gamma], 0.1, mu)[0]
            assert root == pytest.approx(largest, rel=1e-7)
    h = 0.4
    stated = ((1.9 + h) + math.sqrt((1.9 + h) ** 2 - 3.6)) / 2.0
    assert momentum.growth_root([1.0], 0.1, 0.9)[0] == pytest.approx(stated, rel=1e-14)


def test_small_values_grow_by_the_root():
    s = gradient_descent.descent_singular_values([200, 201], [1.0], [1e-200], 0.1, momentum=0.9)
    assert s[1, 0] / s[0, 0] == pytest.approx(momentum.growth_root([1.0], 0.1, 0.9)[0], rel=1e-12)


def test_flow_time_predicts_slow_learning():
    gamma, s0, eta, mu = [1.0, 0.3], [1e-3, 1e-3], 1e-5, 0.9
    iterations = momentum.momentum_step_iterations(gamma, s0, eta, mu)
    times = momentum.flow_time(iterations, eta, mu)
    np.testing.assert_allclose(times, cf.step_times(gamma, s0), rtol=1e-2)
    assert float(momentum.flow_time(10, 0.1, 0.0)) == pytest.approx(1.0)
    assert float(momentum.flow_time(10, 0.1, 0.5)) == pytest.approx(2.0)
    assert momentum.flow_time(np.inf, 0.1, 0.5) == np.inf


def test_without_momentum_it_is_descent():
    gamma, s0 = [1.0, 0.01, 1e-7], [1e-3, 1e-3, 1e-3]
    assert np.array_equal(
        momentum.momentum_step_iterations(gamma, s0, 0.05, 0.0),
        gradient_descent.descent_step_iterations(gamma, s0, 0.05),
    )
    np.testing.assert_allclose(
        momentum.growth_root(gamma, 0.05, 0.0) ** 2,
        gradient_descent.small_signal_growth(gamma, 0.05),
    )


@pytest.mark.parametrize("mu", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("eigenvalues", [[1.0, 0.5, -0.3], [0.5, 0.2, -2.0]])
def test_training_is_stable_just_below_the_bound_only(mu, eigenvalues):
    bound = momentum.stable_learning_rate(eigenvalues, mu)
    gamma = np.array(eigenvalues)
    errors = []
    for factor in (0.98, 1.02):
        w = cf.final_weights(gamma, np.eye(3), np.eye(3))
        w = w + 1e-6 * np.random.default_rng(2).standard_normal((3, 3))
        velocity = np.zeros_like(w)
        for _ in range(1500):
            residual = (w * gamma) @ w.T - np.eye(3)
            velocity = mu * velocity + 4.0 * residual @ (w * gamma)
            w = w - factor * bound * velocity
            # Spectra: turning the outputs costs no loss, so that nothing undoes a turned start.
            error = np.abs(np.linalg.eigvalsh((w * gamma) @ w.T) - [0.0, 1.0, 1.0]).max()
            if error > 1e-3:
                break
        errors.append(error)
    assert errors[0] < 1e-8
    assert errors[1] > 1e-3


def test_extreme_values():
    found = momentum.momentum_step_iterations(
        [1.0, 1e-9, 1e-320, 1e300, 5.0, 0.0, -1.0, 1.0],
        [1e-300, 1e-100, 1.0, 1.0, 1e-160, 1.0, 1.0, 0.0],
        1e-9,
        0.9,
    )
    assert not np.isnan(found).any()
    assert np.isinf(found[[2, 5, 6, 7]]).all()
    assert found[3] == 0.0
    assert np.all(found[[0, 1, 4]] > 1e8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: momentum.growth_root([1.0], 0.1, 1.0), "momentum is 1.0; expected a number from"),
        (lambda: momentum.growth_root([1.0], 0.1, -0.1), "momentum is -0.1"),
        (lambda: momentum.growth_root([1.0], 0.1, np.nan), "momentum is nan"),
        (lambda: momentum.growth_root([1.0], np.inf, 0.1), "learning_rate is inf"),
        (lambda: momentum.growth_root([np.nan], 0.1, 0.1), "gamma holds 1 NaN"),
        (lambda: momentum.stable_learning_rate([], 0.5), "at least one eigenvalue"),
        (lambda: momentum.flow_time([-1.0], 0.1, 0.5), "negative or NaN"),
        (lambda: momentum.momentum_step_iterations([1.0], [-1.0], 0.1, 0.5), "none below zero"),
        (lambda: momentum.momentum_step_iterations([1.0], [1.0], 0.1, 2.0), "momentum is 2.0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def heavy_ball(w, gamma, rate, mu, steps):
    """Largest |W| in heavy ball descent of ||W Gamma W^T - I||^2 from rest."""
    velocity, largest = np.zeros_like(w), 0.0
    for _ in range(steps):
        correlation = (w * gamma) @ w.T
        velocity = mu * velocity + 4.0 * (correlation - np.eye(len(w))) @ (w * gamma)
        w = w - rate * velocity
        largest = max(largest, np.abs(w).max())
        if largest > 1e6:
            break
    return largest, w


@pytest.mark.parametrize("mu", [0.0, 0.5, 0.9, 0.99])
def test_no_small_start_diverges_at_the_safe_rate(mu):
    gamma = np.array([1.0, 0.6, 0.3])
    rng = np.random.default_rng(0)
    for dim in (1, 2, 3):
        rate = momentum.safe_learning_rate(gamma, mu, dim)
        assert rate < momentum.stable_learning_rate(gamma, mu)
        for scale in (1e-4, 0.1, 0.4):
            w = scale * rng.standard_normal((dim, 3))
            if np.sum(((w * gamma) @ w.T - np.eye(dim)) ** 2) >= dim:
                continue
            largest, w = heavy_ball(w, gamma, rate, mu, 4000)
            # C stays below 1 + sqrt(dim), and every direction is learned.
            assert largest < np.sqrt((1 + np.sqrt(dim)) / 0.3)
            np.testing.assert_allclose((w * gamma) @ w.T, np.eye(dim), atol=1e-3)


def test_the_energy_never_grows_at_the_safe_rate():
    """The proof's energy, along random aligned starts; at the locally stable rate it does."""
    mu, gamma = 0.9, 1.0
    for rate, grows in (
        (momentum.safe_learning_rate([gamma], mu), False),
        (0.6 * momentum.stable_learning_rate([gamma], mu), True),
    ):
        growth = []
        for start in np.linspace(0.01, 1.4, 30):
            s, v = start, 0.0
            energy = (1 - gamma * s**2) ** 2
            for _ in range(200):
                v = mu * v + 4.0 * rate * gamma * s * (1 - gamma * s**2)
                s = s + v
                before, energy = energy, (1 - gamma * s**2) ** 2 + mu / (2 * rate) * v**2
                growth.append(energy - before)
                if abs(s) > 1e3:
                    break
        assert (max(growth) > 1e-9) == grows


def test_a_small_start_diverges_below_the_locally_stable_rate():
    rate = 0.6 * momentum.stable_learning_rate([1.0], 0.9)
    assert heavy_ball(np.array([[1e-3]]), np.ones(1), rate, 0.9, 500)[0] > 1e6


def test_large_negative_eigenvalues_set_the_safe_rate():
    rate = momentum.safe_learning_rate([1.0, -3.0], 0.5)
    assert rate == pytest.approx(2 * 0.5 / 48)
    largest, w = heavy_ball(np.array([[0.0, 0.5]]), np.array([1.0, -3.0]), rate, 0.5, 500)
    assert largest < 0.5
    assert abs(w).max() < 1e-6
    assert momentum.safe_learning_rate([0.0], 0.5) == np.inf
    with pytest.raises(ValueError, match="expected none below zero, or dim 1"):
        momentum.safe_learning_rate([1.0, -3.0], 0.5, 2)
