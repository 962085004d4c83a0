"""Factors under momentum: against literal SGD, the quadrature and gradient flow."""

import numpy as np
import pytest

from theory.growth.factors import growth_time
from theory.growth.heavy_ball import heavy_ball_time, momentum_growth_time
from theory.growth.lag import lagged_rate, momentum_mass


def line(lam):
    """The pull of Barlow Twins."""
    return 1 - lam


def sgd(weights, eta, mu, level, updates=100_000):
    """Updates until (w phi)^2 passes a level, of L = (1 - (w phi)^2)^2 / 4; and the history."""
    velocity, history = np.zeros(2), []
    for _ in range(updates):
        amplitude = weights[0] * weights[1]
        history.append((weights.copy(), velocity.copy()))
        if amplitude**2 >= level:
            return history
        velocity = mu * velocity + (1 - amplitude**2) * amplitude * weights[::-1]
        weights = weights + eta * velocity
    raise AssertionError("not reached")


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.97])
@pytest.mark.parametrize("ratio", [1.0, 0.1])
def test_sgd_on_two_weights_arrives_when_the_factors_say(ratio, momentum):
    """From any moment after the start, however fast the growth."""
    eta = 0.1 * (1 - momentum)
    start = 0.1 * np.array([1.0, ratio])
    history = sgd(start, eta, momentum, 0.5)
    unit = eta / (1 - momentum)
    amplitudes = np.array([w.prod() for w, _ in history])
    index = int(np.argmax(amplitudes**2 >= 1e-3))
    weights, velocity = history[index]
    lam = float(amplitudes[index] ** 2)
    shares = 2 * (1 - lam) * weights[::-1] ** 2
    # The actual rate in flow time, from the velocity with which these weights were reached.
    actual = float(2 * (eta * velocity / weights).sum() / unit)
    told = heavy_ball_time(shares, line, lam, 0.5, eta, momentum, velocity=actual)
    before, after = amplitudes[-2] ** 2, amplitudes[-1] ** 2
    count = len(history) - 2 - index + np.log(0.5 / before) / np.log(after / before)
    # The velocity is shared out as the rate is, which holds at rest only.
    assert told == pytest.approx(unit * count, rel=0.01)
    settled = heavy_ball_time(shares, line, lam, 0.5, eta, momentum)
    assert settled == pytest.approx(unit * count, rel=0.03)


@pytest.mark.parametrize("shares", [[1.0], [0.9, 0.1], [0.5, 0.5], [0.2, 0.3, 0.5]])
def test_slow_growth_is_the_quadrature_and_fast_growth_is_within_four_per_cent(shares):
    eta, mu = 0.002, 0.9
    mass = momentum_mass(eta, mu)

    def lag(rate):
        return lagged_rate(rate, eta, mu)

    for product, tolerance in ((0.003, 3e-4), (0.03, 3e-3), (0.3, 0.02), (3.0, 0.06)):
        # The rate at the end is at most some ten times that of the start here.
        given = product / mass / 10 * np.array(shares)
        exact = heavy_ball_time(given, line, 0.02, 0.5, eta, mu)
        quick = float(growth_time(given, line, 0.02, 0.5, lag))
        assert quick == pytest.approx(exact, rel=tolerance)
        assert momentum_growth_time(given, line, 0.02, 0.5, eta, mu) in (quick, exact)


def test_without_momentum_small_steps_are_gradient_flow():
    told = heavy_ball_time([1.0, 0.5], line, 0.01, 0.5, 1e-4, 0.0)
    assert told == pytest.approx(float(growth_time([1.0, 0.5], line, 0.01, 0.5)), rel=1e-3)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_direction_turns_as_the_law_has_it_also_under_momentum(momentum):
    shares, rooms = [0.4, 0.6], [np.inf, 0.8]
    eta = 0.01 * (1 - momentum)

    def lag(rate):
        return lagged_rate(rate, eta, momentum)

    told = heavy_ball_time(shares, line, 0.02, 0.5, eta, momentum, rooms=rooms)
    quick = float(growth_time(shares, line, 0.02, 0.5, lag, rooms))
    assert told == pytest.approx(quick, rel=0.01)
    assert told > 1.05 * heavy_ball_time(shares, line, 0.02, 0.5, eta, momentum)
    assert momentum_growth_time(shares, line, 0.02, 0.5, eta, momentum, rooms) in (told, quick)


def test_momentum_makes_rises_later_and_the_more_so_the_heavier():
    times = [
        heavy_ball_time([3.0, 3.0], line, 0.01, 0.5, 0.02 * (1 - mu), mu) for mu in (0, 0.8, 0.95)
    ]
    assert times == sorted(times)
    assert times[2] > 1.5 * times[0]


def test_a_rise_that_turns_round_never_arrives():
    assert heavy_ball_time([1.0], lambda lam: 0.2 - lam, 0.1, 0.5, 0.002, 0.0) == np.inf
    assert heavy_ball_time([0.0], line, 0.1, 0.5, 0.002, 0.9) == np.inf
    assert heavy_ball_time([1.0], line, 0.1, 0.5, 0.002, 0.9, updates=10) == np.inf
    assert heavy_ball_time([1.0], line, 0.1, 0.1, 0.002, 0.9) == 0.0
    assert momentum_growth_time([0.0], line, 0.1, 0.5, 0.002, 0.9) == np.inf


@pytest.mark.parametrize("function", [heavy_ball_time, momentum_growth_time])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"end": 0.05}, "end is 0.05; expected a finite eigenvalue of at least 0.1"),
        ({"end": np.inf}, "end is inf; expected"),
        ({"shares": [-1.0]}, "shares is"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"momentum": 1.0}, "momentum is 1.0"),
    ],
)
def test_what_no_run_has_is_refused(function, changes, message):
    given = {
        "shares": [1.0], "pull": line, "start": 0.1, "end": 0.5, "learning_rate": 0.01,
        "momentum": 0.9,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message) as caught:
        function(**given | changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("velocity", [None, 0.5])
def test_a_mode_that_is_there_already_needs_no_time(velocity):
    """Also where a grid from an eigenvalue to itself is rounded below it."""
    for start in np.random.default_rng(0).uniform(1e-3, 0.9, 100):
        ends = (start, np.nextafter(start, 1))
        times = [
            momentum_growth_time([1.0], line, start, end, 1e-3, 0.5, velocity=velocity)
            for end in ends
        ]
        assert times[0] == 0.0
        assert 0 <= times[1] < 1e-9
