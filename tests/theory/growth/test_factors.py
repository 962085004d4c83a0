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
    """With dtau/dt = g lambda / (g0 lambda0), w_l^2 = 1 + A_l tau solves the flow of the factors."""
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


def test_a_pull_that_vanishes_on_the_way_stops_the_rise():
    times = growth_time([1.0, 1.0], lambda lam: 0.2 - lam, 0.01, [0.19, 0.21])
    assert np.isfinite(times[0])
    assert times[1] == np.inf


def test_factors_that_stand_still_take_for_ever():
    assert growth_time([0.0, 0.0], line, 0.1, [0.05, 0.1, 0.5]).tolist() == [-np.inf, 0.0, np.inf]
    assert float(growth_rate([0.0], line, 0.1, 0.2)) == 0.0


def test_a_lag_changes_the_rate_along_the_whole_rise():
    slow = growth_time([1.0, 2.0], line, 0.01, [0.1, 0.5], lag=lambda rate: rate / 3)
    np.testing.assert_allclose(slow, 3 * growth_time([1.0, 2.0], line, 0.01, [0.1, 0.5]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: growth_time([], line, 0.1, 0.5), r"shares is \[\]; expected one or more"),
        (lambda: growth_time([1.0, -1.0], line, 0.1, 0.5), r"shares is \[1.0, -1.0\]; expected"),
        (lambda: growth_time([1.0], line, 0.0, 0.5), "start is 0.0; expected a finite eigenvalue"),
        (lambda: growth_time([1.0], line, 0.1, [0.5, np.inf]), "end is inf; expected"),
        (lambda: growth_time([1.0], line, 1.5, 2.0), "pull is -0.5 at lambda = 1.5; expected a pos"),
        (lambda: growth_rate([1.0], line, 0.1, -0.5), "lam is -0.5; expected"),
        (lambda: growth_rate([np.nan], line, 0.1, 0.5), "shares holds 1 NaN"),
    ],
)
def test_what_is_no_factor_is_refused(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
