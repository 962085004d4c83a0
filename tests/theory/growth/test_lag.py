"""The lag of momentum against its derivation, literal updates and the flow with mass."""

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp

from theory.growth.lag import flow_lagged_rate, gradient_rate, lagged_rate, momentum_mass
from theory.linear.momentum import growth_root


def test_the_flow_with_mass_has_the_rate_of_the_root():
    t, r, m, rho = sympy.symbols("t r m rho", positive=True)
    a = sympy.exp(r * t / 2)
    residual = m * sympy.diff(a, t, 2) + sympy.diff(a, t) - rho / 2 * a
    claimed = (sympy.sqrt(1 + 2 * m * rho) - 1) / m
    assert sympy.simplify(residual.subs(r, claimed)) == 0
    # Updates multiply the amplitude by x: a[n+1] - a[n] = mu (a[n] - a[n-1]) + eta rho / 2 a[n].
    x, mu, eta = sympy.symbols("x mu eta", positive=True)
    update = x - 1 - mu * (1 - 1 / x) - eta * rho / 2
    assert sympy.expand(update * x - (x**2 - (1 + mu + eta * rho / 2) * x + mu)) == 0


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("rate", [0.01, 1.0, 30.0])
def test_literal_updates_grow_at_the_lagged_rate(rate, momentum):
    eta, a, velocity = 0.004, 1e-9, 0.0
    history = []
    for _ in range(8000):
        velocity = momentum * velocity - eta * (-rate / 2 * a)
        a += velocity
        history.append(a)
        if a > 1e200:
            break
    unit = eta / (1 - momentum)
    measured = 2 * np.log(history[-1] / history[-2]) / unit
    assert measured == pytest.approx(float(lagged_rate(rate, eta, momentum)), rel=1e-9)


def test_the_flow_with_mass_grows_at_the_flows_rate():
    mass, rate = 0.18, 4.3
    found = solve_ivp(
        lambda _, y: [y[1], (rate / 2 * y[0] - y[1]) / mass], (0, 12), [1.0, 0.0],
        rtol=1e-11, atol=1e-13, t_eval=[11.0, 12.0],
    )  # fmt: skip
    measured = 2 * np.log(found.y[0, 1] / found.y[0, 0])
    assert measured == pytest.approx(float(flow_lagged_rate(rate, mass)), rel=1e-6)


def test_small_steps_of_the_same_mass_are_the_flow():
    errors = []
    for eta in (1e-4, 1e-6):
        # Of mass 0.5: mu eta = m (1 - mu)^2.
        mu = 1 + eta - np.sqrt(eta**2 + 2 * eta)
        assert momentum_mass(eta, mu) == pytest.approx(0.5, rel=1e-6)
        errors.append(abs(float(lagged_rate(3.0, eta, mu) / flow_lagged_rate(3.0, 0.5)) - 1))
    assert errors[1] < errors[0] / 8
    assert errors[1] < 1e-3


def test_a_mode_of_the_linear_model_lags_as_its_recursion_does():
    gamma, eta, mu = 0.7, 0.01, 0.9
    root = float(growth_root([gamma], eta, mu)[0])
    rate = 2 * np.log(root) * (1 - mu) / eta
    # lambda = gamma s^2 grows at 8 gamma near the origin.
    assert float(lagged_rate(8 * gamma, eta, mu)) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lagged_rate([1.0, -1.0], 0.1, 0.9), "rate holds -1.0; expected rates of at least"),
        (lambda: lagged_rate(float("nan"), 0.1, 0.9), "rate holds nan"),
        (lambda: lagged_rate(1.0, 0.0, 0.9), "learning_rate is 0.0"),
        (lambda: lagged_rate(1.0, 0.1, 1.0), "momentum is 1.0; expected"),
        (lambda: gradient_rate(-1.0, 0.1, 0.9), "measured holds -1.0"),
        (lambda: flow_lagged_rate(1.0, -1.0), "mass is -1.0"),
        (lambda: momentum_mass(float("inf"), 0.5), "learning_rate is inf"),
    ],
)
def test_what_is_no_rate_is_refused(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
