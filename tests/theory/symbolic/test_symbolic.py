"""Symbolic derivations executed, and compared with the closed form they stand behind."""

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import quad

from theory.linear import closed_form
from theory.losses import spectral_contrastive as riccati
from theory.symbolic import scalar as sy


def test_mode_flow_is_minus_the_derivative_of_the_loss():
    assert sp.expand(sy.mode_flow() - 4 * sy.GAMMA * sy.S * (1 - sy.GAMMA * sy.S**2)) == 0


@pytest.mark.parametrize("gamma", [sy.GAMMA, sy.REAL_GAMMA, sp.Rational(-1, 3)])
def test_mode_solution_solves_the_flow(gamma):
    s = sy.mode_solution(gamma)
    flow = sy.mode_flow().subs(sy.GAMMA, gamma).subs(sy.S, s)
    assert sp.simplify(s.diff(sy.TIME) - flow) == 0
    assert sp.simplify(s.subs(sy.TIME, 0) - sy.S0) == 0


def test_limits_of_the_mode_solution():
    assert sp.limit(sy.mode_solution(sy.REAL_GAMMA), sy.REAL_GAMMA, 0) == sy.S0
    assert sp.limit(sy.mode_solution(), sy.TIME, sp.oo) == 1 / sp.sqrt(sy.GAMMA)
    assert sp.limit(sy.mode_solution(sp.Integer(-1)), sy.TIME, sp.oo) == 0


def test_mode_solution_is_the_numerical_closed_form():
    gamma, s0 = np.array([1.0, 0.3, -0.4]), np.array([1e-2, 0.5, 0.7])
    formula = sp.lambdify((sy.TIME, sy.REAL_GAMMA, sy.S0), sy.mode_solution(sy.REAL_GAMMA))
    for t in (0.0, 0.7, 3.0):
        assert np.allclose(formula(t, gamma, s0), closed_form.singular_values(t, gamma, s0))


@pytest.mark.slow
def test_eigenvalue_solution_solves_its_flow_and_is_gamma_s_squared():
    lam = sy.eigenvalue_solution()
    assert sp.simplify(lam.diff(sy.TIME) - sy.eigenvalue_flow().subs(sy.LAM, lam)) == 0
    square = sy.GAMMA * sy.mode_solution() ** 2
    assert sp.simplify(lam.subs(sy.LAM0, sy.GAMMA * sy.S0**2) - square) == 0
    formula = sp.lambdify((sy.TIME, sy.GAMMA, sy.LAM0), lam)
    expected = closed_form.eigenvalue_curves(2.0, [0.4], [0.1])[0]
    assert formula(2.0, 0.4, 0.4 * 0.01) == pytest.approx(expected)


@pytest.mark.slow
def test_step_time_and_rise_width():
    tau = sy.step_time()
    half = sy.eigenvalue_solution().subs(sy.TIME, tau)
    assert sp.simplify(half - sp.Rational(1, 2)) == 0
    assert sp.simplify(tau - sp.log(1 / sy.LAM0 - 1) / (8 * sy.GAMMA)) == 0
    number = tau.subs({sy.GAMMA: sp.Rational(1, 2), sy.LAM0: sp.Rational(1, 2) / 10**6})
    assert float(number) == pytest.approx(closed_form.step_times([0.5], [1e-3])[0])
    width = sy.rise_width()
    assert sy.LAM0 not in width.free_symbols
    assert sp.simplify(sp.expand_log(width - sp.log(9) / (4 * sy.GAMMA), force=True)) == 0
    assert float(width.subs(sy.GAMMA, 2)) == pytest.approx(closed_form.rise_widths([2.0])[0])


@pytest.mark.slow
def test_small_initialisation_step_time_is_the_limit():
    critical = -sp.log(sy.LAM0) / (8 * sy.GAMMA)
    assert sp.limit((sy.step_time() - critical) / sy.LAM0, sy.LAM0, 0) == -1 / (8 * sy.GAMMA)


@pytest.mark.slow
def test_weight_decay():
    height, lam = sy.weight_decay_fixed_point(), sy.weight_decay_solution()
    assert sp.simplify(height - (1 - sy.B / (2 * sy.GAMMA))) == 0
    flow = sy.eigenvalue_flow(sy.B)
    rate = 8 * sy.GAMMA * sy.LAM * (height - sy.LAM)
    assert sp.expand(flow - rate) == 0
    assert sp.simplify(lam.diff(sy.TIME) - flow.subs(sy.LAM, lam)) == 0
    assert sp.simplify(lam.subs(sy.TIME, 0) - sy.LAM0) == 0
    assert sp.simplify(lam.subs(sy.B, 0) - sy.eigenvalue_solution()) == 0
    # Descent on the penalised loss, one small step at a time.
    gamma, b, s, eta = 0.8, 0.3, 0.05, 1e-4
    for _ in range(20000):
        s += eta * (4 * gamma * s * (1 - gamma * s**2) - 2 * b * s)
    found = sp.lambdify((sy.TIME, sy.GAMMA, sy.LAM0, sy.B), lam)(2.0, gamma, gamma * 0.05**2, b)
    assert found == pytest.approx(gamma * s**2, rel=1e-3)


def test_momentum_root():
    root, polynomial = sy.momentum_growth_root(), sy.momentum_characteristic()
    assert sp.simplify(polynomial.subs(sy.R, root)) == 0
    kick = 1 + sy.MU + 4 * sy.ETA * sy.GAMMA
    assert sp.simplify(root - (kick + sp.sqrt(kick**2 - 4 * sy.MU)) / 2) == 0
    # Heavy ball itself: velocity = mu velocity + gradient, then a step along it.
    gamma, eta, mu, s, velocity = 0.7, 0.05, 0.9, 1e-100, 0.0
    for _ in range(200):
        before = s
        velocity = mu * velocity + 4 * gamma * s * (1 - gamma * s**2)
        s += eta * velocity
    assert float(root.subs({sy.GAMMA: gamma, sy.ETA: eta, sy.MU: mu})) == pytest.approx(s / before)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_deep_linear(depth):
    flow, time = sy.deep_linear_flow(depth), sy.deep_linear_time(depth)
    expected = 4 * sy.GAMMA * sy.W ** (2 * depth - 1) * (1 - sy.GAMMA * sy.W ** (2 * depth))
    assert sp.expand(flow - expected) == 0
    u = sp.Symbol("u", positive=True)
    parts = sp.together(u**-depth + sy.GAMMA / (1 - sy.GAMMA * u**depth))
    integrand = sp.simplify((1 / flow).subs(sy.W, sp.sqrt(u)) / (2 * sp.sqrt(u)))
    assert sp.simplify(integrand - parts / (8 * sy.GAMMA)) == 0
    gamma, start, end = 0.6, 0.2, (1 / (2 * 0.6)) ** (1 / (2 * depth))
    speed = sp.lambdify((sy.W, sy.GAMMA), flow)
    measured = quad(lambda w: 1 / speed(w, gamma), start, end, epsrel=1e-12)[0]
    predicted = [float(time.subs({sy.GAMMA: gamma, sy.W: w}).evalf()) for w in (start, end)]
    assert predicted[1] - predicted[0] == pytest.approx(measured, rel=1e-9)


@pytest.mark.slow
def test_deep_linear_of_one_layer_is_the_mode():
    assert sp.simplify(sy.deep_linear_flow(1) - sy.mode_flow().subs(sy.S, sy.W)) == 0
    end, start = 1 / sp.sqrt(2 * sy.GAMMA), sp.sqrt(sy.LAM0 / sy.GAMMA)
    time = sp.hyperexpand(sy.deep_linear_time(1))
    gap = time.subs(sy.W, end) - time.subs(sy.W, start) - sy.step_time()
    assert sp.simplify(sp.expand_log(gap, force=True)).subs(
        {sy.GAMMA: 0.7, sy.LAM0: 0.01}
    ).evalf() == pytest.approx(0, abs=1e-12)


def test_flow_time_error_is_that_of_descent():
    gamma, eta, s0 = 1.0, 0.005, 1e-100
    s, steps = s0, 0
    while gamma * s**2 < 0.5:
        before, steps = s, steps + 1
        s += 4 * eta * gamma * s * (1 - gamma * s**2)
    lam, lam_before = s**2, before**2
    exact = steps - (lam - 0.5) / (lam - lam_before)
    flow = closed_form.step_times([gamma], [s0])[0] / eta
    error = float(sy.flow_time_error().subs({sy.ETA: eta, sy.GAMMA: gamma}))
    assert error == pytest.approx(2 * eta * gamma)
    # The next order in eta is 2/3 eta gamma of it, the half rise itself log(2) / log(1/lambda0).
    assert exact / flow - 1 == pytest.approx(error, rel=0.01)


def test_bad_input_is_refused():
    for call in (sy.deep_linear_flow, sy.deep_linear_time):
        with pytest.raises(ValueError, match="depth is 0"):
            call(0)


@pytest.mark.slow
def test_riccati_curve_is_a_rescaled_mode():
    # s^2 of the spectral contrastive loss is gamma lambda, from lambda0 = s0^2 / gamma.
    curve = sy.GAMMA * sy.eigenvalue_solution().subs(sy.LAM0, sy.S0**2 / sy.GAMMA)
    flow = 8 * curve * (sy.GAMMA - curve)
    assert sp.simplify(curve.diff(sy.TIME) - flow) == 0
    number = sp.lambdify((sy.TIME, sy.GAMMA, sy.S0), curve)(3.0, 0.4, 0.1)
    assert number == pytest.approx(riccati.eigenvalue_curves(3.0, [0.4], [0.1])[0])
