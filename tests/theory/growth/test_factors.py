"""The law of N factors against its derivation, an integrator and a two-layer network's pull."""

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp

from theory.growth.factors import growth_rate, growth_time


def line(lam):
    """The pull of Barlow Twins."""
    return 1 - lam


def test_squared_factors_grow_along_lines_of_the_clock():
    """With dtau/dt = g lambda / (g0 lambda0), w_l^2 = 1 + A_l tau solves the factors' flow."""
    tau, a, b, c, pull = sympy.symbols("tau A B C g", positive=True)
    squares = [1 + share * tau for share in (a, b, c)]
    lam = sympy.prod(squares)  # over lambda0; g over g0
    for share, square in zip((a, b, c), squares, strict=True):
        w = sympy.sqrt(square)
        flow = share / 2 * pull * lam / w  # the gradient of the amplitude's loss
        assert sympy.simplify(sympy.diff(w, tau) * pull * lam - flow) == 0
    rate = sympy.diff(sympy.log(lam), tau) * pull * lam
    assert sympy.simplify(rate.subs({tau: 0, pull: 1}) - (a + b + c)) == 0


@pytest.mark.parametrize("shares", [[2.0], [0.3, 1.7], [1.0, 0.5, 0.25, 0.0, 2.0]])
@pytest.mark.parametrize(
    "pull", [line, lambda lam: lam**-0.5, lambda lam: 0.4 - lam + 2 * lam**2, np.ones_like]
)
def test_an_integrator_of_the_factors_arrives_where_it_should(shares, pull):
    shares, start = np.array(shares), 1e-3
    first = float(pull(np.array([start]))[0])

    def flow(_, logs):
        lam = start * np.exp(2 * logs.sum())
        strength = float(pull(np.array([lam]))[0]) / first
        return shares / 2 * lam / start * strength * np.exp(-2 * logs)

    time = float(growth_time(shares, pull, start, 0.3))
    found = solve_ivp(flow, (0, time), np.zeros(len(shares)), rtol=1e-11, atol=1e-12)
    assert start * np.exp(2 * found.y[:, -1].sum()) == pytest.approx(0.3, rel=1e-6)
    # The rate on the way is that of the factors.
    middle = found.y[:, found.y.shape[1] // 2]
    lam = start * np.exp(2 * middle.sum())
    expected = 2 * flow(0, middle).sum()
    assert float(growth_rate(shares, pull, start, lam)) == pytest.approx(expected, rel=1e-6)


def test_a_factor_free_of_scale_turns_into_its_room():
    """The amplitude w sin(theta) with weights of norm R: the flow, and the room by gradients."""
    w, theta, g, r, big = sympy.symbols("w theta g R q", positive=True)
    amplitude = w * sympy.sin(theta)
    # Gradient flow of a loss with -dL/da = g a; arcs on the sphere have the length R theta.
    turn = g * amplitude * sympy.diff(amplitude, theta) / r**2
    share = 2 * turn * sympy.cot(theta)
    assert sympy.simplify(share - 2 * g * amplitude**2 * sympy.cot(theta) ** 2 / r**2) == 0
    gradient = sympy.diff(sympy.log(amplitude), theta) / r
    assert sympy.simplify(r * gradient - sympy.cot(theta)) == 0
    # In the clock, ln(sin^2) grows at A cot^2(theta) / q.
    tau, a = sympy.symbols("tau A", positive=True)
    square = 1 + big * (1 - sympy.exp(-a * tau / big))
    sine = square / (1 + big)  # sin^2 at the start is 1 / (1 + q)
    residual = sympy.diff(sympy.log(square), tau) - a / big * (1 / sine - 1)
    assert sympy.simplify(residual) == 0
    assert sympy.limit(square, big, sympy.oo) == 1 + a * tau


@pytest.mark.parametrize("angle", [0.02, 0.5, 1.2])
def test_a_weight_beside_a_direction_follows_the_law(angle):
    """(w, theta) by an integrator that knows neither shares nor rooms."""
    w, norm, end = 0.1, 1.7, 0.6

    def flow(_, state):
        w, theta = state
        amplitude = w * np.sin(theta)
        force = (1 - amplitude**2) * amplitude
        return [force * np.sin(theta), force * w * np.cos(theta) / norm**2]

    lam = (w * np.sin(angle)) ** 2
    room = 1 / np.tan(angle) ** 2
    shares = 2 * (1 - lam) * np.array([np.sin(angle) ** 2, lam * room / norm**2])
    time = float(growth_time(shares, line, lam, end, rooms=[np.inf, room]))
    found = solve_ivp(flow, (0, time), [w, angle], rtol=1e-11, atol=1e-13).y[:, -1]
    assert (found[0] * np.sin(found[1])) ** 2 == pytest.approx(end, rel=1e-6)
    # Without the cap the mode would come too early, by much where the angle is wide.
    free = float(growth_time(shares, line, lam, end))
    assert free < time * (1 if angle < 0.1 else 0.999)


def test_without_room_a_mode_stops_where_its_factors_are_used_up():
    assert np.isfinite(growth_time([1.0], np.ones_like, 0.1, 0.19, rooms=[1.0]))
    assert growth_time([1.0], np.ones_like, 0.1, 0.21, rooms=[1.0]) == np.inf
    assert float(growth_rate([1.0], np.ones_like, 0.1, 0.21, rooms=[1.0])) == 0.0


def test_a_pull_that_vanishes_on_the_way_stops_the_rise():
    times = growth_time([1.0, 1.0], lambda lam: 0.2 - lam, 0.01, [0.19, 0.21])
    assert np.isfinite(times[0])
    assert times[1] == np.inf


def test_factors_that_stand_still_take_for_ever():
    assert growth_time([0.0, 0.0], line, 0.1, [0.1, 0.5]).tolist() == [0.0, np.inf]
    assert float(growth_rate([0.0], line, 0.1, 0.2)) == 0.0


def test_a_lag_changes_the_rate_along_the_whole_rise():
    slow = growth_time([1.0, 2.0], line, 0.01, [0.1, 0.5], lag=lambda rate: rate / 3)
    np.testing.assert_allclose(slow, 3 * growth_time([1.0, 2.0], line, 0.01, [0.1, 0.5]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: growth_time([], line, 0.1, 0.5), r"shares is \[\]; expected one or more"),
        (lambda: growth_time([1.0, -1.0], line, 0.1, 0.5), r"shares is \[1.0, -1.0\]; expected"),
        (lambda: growth_time([1.0], line, 0.0, 0.5), "start is 0.0; expected"),
        (lambda: growth_time([1.0], line, 0.1, [0.5, np.inf]), "end is inf; expected"),
        (
            lambda: growth_time([1.0], line, 1.5, 2.0),
            "pull is -0.5 at lambda = 1.5; expected a",
        ),
        (lambda: growth_rate([1.0], line, 0.1, -0.5), "lam is -0.5; expected"),
        (
            lambda: growth_time([1.0], line, 0.1, 0.05),
            "end is 0.05; expected a finite eigen",
        ),
        (lambda: growth_time([1.0], line, 0.1, 0.5, rooms=[0.0]), r"rooms is \[0.0\] for 1 shares"),
        (lambda: growth_time([1.0], line, 0.1, 0.5, rooms=[1.0, 1.0]), "for 1 shares; expected as"),
        (lambda: growth_rate([np.nan], line, 0.1, 0.5), "shares holds 1 NaN"),
    ],
)
def test_what_is_no_factor_is_refused(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
