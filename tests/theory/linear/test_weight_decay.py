"""Weight decay in closed form against integrators, calculus and a matrix training loop."""

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp

from theory.linear import closed_form as cf
from theory.linear import gradient_descent
from theory.linear import weight_decay as wd

# Above, at and below the threshold b/2 = 0.1, at zero and below it.
GAMMA = np.array([2.0, 0.7, 0.1, 0.05, 0.0, -0.5, 0.1 + 1e-9])
S0 = np.array([1e-3, 2.0, 0.8, 1.0, 0.6, 0.9, 0.8])
B = 0.2


def test_closed_form_solves_the_differential_equation_symbolically():
    t, gamma, s0, b = sympy.symbols("t gamma s0 b", positive=True)
    a = 8 * gamma - 4 * b
    s = (s0**-2 * sympy.exp(-a * t) + 8 * gamma**2 * (1 - sympy.exp(-a * t)) / a) ** sympy.Rational(
        -1, 2
    )
    slope = 4 * gamma * s * (1 - gamma * s**2) - 2 * b * s
    assert sympy.simplify(sympy.diff(s, t) / s - slope / s) == 0
    height = 1 - b / (2 * gamma)
    lam = height / (1 + (height / (gamma * s0**2) - 1) * sympy.exp(-8 * gamma * height * t))
    assert sympy.simplify(lam - gamma * s**2) == 0
    critical = s0 / sympy.sqrt(1 + 8 * gamma**2 * s0**2 * t)
    slope = 4 * gamma * critical * (1 - gamma * critical**2) - 4 * gamma * critical
    assert sympy.simplify(sympy.diff(critical, t) - slope) == 0
    value = critical.subs({t: 3, gamma: sympy.Rational(1, 10), s0: sympy.Rational(4, 5)})
    assert wd.singular_values(3.0, [0.1], [0.8], 0.2)[0] == pytest.approx(float(value), rel=1e-14)


def test_singular_values_agree_with_an_integrator():
    t = np.linspace(0.0, 20.0, 81)
    flow = solve_ivp(
        lambda _, s: 4.0 * GAMMA * s * (1.0 - GAMMA * s**2) - 2.0 * B * s,
        (0.0, 20.0),
        S0,
        method="DOP853",
        rtol=1e-12,
        atol=1e-14,
        t_eval=t,
        max_step=0.02,
    )
    np.testing.assert_allclose(wd.singular_values(t, GAMMA, S0, B), flow.y.T, atol=1e-10)


def test_agrees_with_the_integrated_matrix_flow():
    rng = np.random.default_rng(0)
    eigenvalues = np.array([1.0, 0.4, 0.08, -0.3])
    vectors = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    left = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    gamma, s0 = (vectors * eigenvalues) @ vectors.T, np.array([0.01, 0.1, 0.5])

    def slope(_, flat):
        w = flat.reshape(3, 4)
        return (-4.0 * (w @ gamma @ w.T - np.eye(3)) @ w @ gamma - 2.0 * B * w).ravel()

    start = (left * s0) @ vectors[:, :3].T
    flow = solve_ivp(slope, (0.0, 5.0), start.ravel(), method="DOP853", rtol=1e-12, atol=1e-14)
    end = (left * wd.singular_values(5.0, eigenvalues[:3], s0, B)) @ vectors[:, :3].T
    np.testing.assert_allclose(flow.y[:, -1].reshape(3, 4), end, atol=1e-9)


def test_agrees_with_torch_style_training():
    """Gradient descent in which ``weight_decay * W`` is added to the gradient, at small steps."""
    eta, decay, gamma, s0 = 1e-4, 0.4, np.array([1.0, 0.15]), np.array([0.1, 0.9])
    s = s0.copy()
    for _ in range(20_000):
        s = s - eta * (-4.0 * gamma * s * (1.0 - gamma * s**2) + decay * s)
    np.testing.assert_allclose(
        s, wd.singular_values(2.0, gamma, s0, wd.from_torch(decay)), rtol=1e-3
    )
    found = gradient_descent.descent_singular_values(
        [20_000], gamma, s0, eta, penalty=wd.from_torch(decay)
    )[0]
    np.testing.assert_allclose(found, s, rtol=1e-10)


def test_literal_logistic():
    gamma, s0, t = 0.7, 0.05, 1.3
    height = 1.0 - B / (2.0 * gamma)
    expected = height / (1 + (height / (gamma * s0**2) - 1) * np.exp(-8 * gamma * height * t))
    assert wd.eigenvalue_curves(t, [gamma], [s0], B)[0] == pytest.approx(expected, rel=1e-13)


def test_without_penalty_it_is_the_closed_form():
    t = np.array([0.0, 0.3, 4.0, 1e4, np.inf])
    np.testing.assert_allclose(
        wd.singular_values(t, GAMMA, S0, 0.0), cf.singular_values(t, GAMMA, S0), rtol=1e-13
    )
    np.testing.assert_allclose(wd.step_times(GAMMA, S0, 0.0), cf.step_times(GAMMA, S0), rtol=1e-13)
    np.testing.assert_allclose(wd.final_eigenvalues(GAMMA, 0.0), GAMMA > 0)


def test_limits():
    np.testing.assert_allclose(wd.singular_values(0.0, GAMMA, S0, B), S0, rtol=1e-15)
    end = wd.eigenvalue_curves(np.inf, GAMMA, S0, B)
    np.testing.assert_allclose(end, wd.final_eigenvalues(GAMMA, B), atol=1e-15)
    np.testing.assert_allclose(end[:2], [1.0 - 0.05, 1.0 - 1.0 / 7.0], rtol=1e-12)
    assert np.all(end[2:6] == 0)
    assert wd.final_eigenvalues([0.11, 0.09, 0.06], B).tolist()[1:] == [0.0, 0.0]
    assert wd.final_eigenvalues([0.11], B)[0] > 0


def test_threshold_mode_decays_like_one_over_t():
    gamma, b = 0.1, 0.2
    for t in (1e4, 1e8, 1e200):
        lam = wd.eigenvalue_curves(t, [gamma], [0.8], b)[0]
        assert lam * 8.0 * gamma * t == pytest.approx(1.0, rel=0.02)
    # Continuous across the threshold: modes a hair to either side behave alike at finite times.
    near = wd.singular_values(30.0, [gamma - 1e-12, gamma, gamma + 1e-12], [0.8] * 3, b)
    np.testing.assert_allclose(near, near[1], rtol=1e-9)


@pytest.mark.parametrize("s0", [0.0, 1e-300, 1e-6, 1.0, 30.0])
@pytest.mark.parametrize("gamma", [1.0, 0.1, 0.05, 0.0, -1.0, 1e3])
def test_no_overflow_at_large_times(gamma, s0):
    for t in (1e4, 1e8, 1e300, np.inf):
        lam = wd.eigenvalue_curves(t, [gamma], [s0], B)[0]
        expected = wd.final_eigenvalues([gamma], B)[0] if s0 > 0 else 0.0
        assert lam == pytest.approx(expected, abs=2e-3)


def test_step_times_are_at_half_the_own_height():
    gamma, s0 = np.array([2.0, 0.7, 0.11]), np.array([1e-3, 0.1, 1e-6])
    tau = wd.step_times(gamma, s0, B)
    reached = wd.eigenvalue_curves(tau, gamma, s0, B).diagonal()
    np.testing.assert_allclose(reached, wd.final_eigenvalues(gamma, B) / 2.0, rtol=1e-10)
    unlearned = wd.step_times([0.1, 0.05, 0.0, -1.0, 1.0, 1.0], [1, 1, 1, 1, 0.0, 0.9], B)
    assert unlearned.tolist() == [np.inf] * 5 + [0.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wd.from_torch(-0.1), "weight_decay is -0.1"),
        (lambda: wd.from_torch(np.nan), "weight_decay is nan"),
        (lambda: wd.singular_values(0.0, [1.0], [1.0], -1.0), "penalty is -1.0"),
        (lambda: wd.singular_values(0.0, [1.0], [1.0], np.inf), "penalty is inf"),
        (lambda: wd.singular_values(-1.0, [1.0], [1.0], 0.1), "negative or NaN"),
        (lambda: wd.eigenvalue_curves(0.0, [1.0], [1.0, 2.0], 0.1), "expected equal shapes"),
        (lambda: wd.step_times([np.nan], [1.0], 0.1), "gamma holds 1 NaN"),
        (lambda: wd.final_eigenvalues([[1.0]], 0.1), "gamma has shape"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
