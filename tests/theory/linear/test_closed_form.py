"""The aligned closed form against calculus, integrators, differences and literal formulas."""

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from theory.linear import closed_form as cf

GAMMA = np.array([2.0, 0.7, 0.1, 0.0, -0.05, -1.5])
S0 = np.array([1e-3, 0.2, 1.5, 0.3, 0.8, 0.5])


def matrix_loss(w, gamma):
    return np.sum((w @ gamma @ w.T - np.eye(len(w))) ** 2)


def matrix_gradient(w, gamma):
    return 4.0 * (w @ gamma @ w.T - np.eye(len(w))) @ w @ gamma


def symmetric(eigenvalues, rng):
    vectors = np.linalg.qr(rng.standard_normal((len(eigenvalues),) * 2))[0]
    return (vectors * eigenvalues) @ vectors.T, vectors


def test_gradient_agrees_with_finite_differences():
    rng = np.random.default_rng(0)
    gamma, _ = symmetric(GAMMA, rng)
    w = rng.standard_normal((3, 6))
    numeric = np.empty_like(w)
    for index in np.ndindex(*w.shape):
        step = np.zeros_like(w)
        step[index] = 1e-5
        numeric[index] = (matrix_loss(w + step, gamma) - matrix_loss(w - step, gamma)) / 2e-5
    np.testing.assert_allclose(numeric, matrix_gradient(w, gamma), atol=1e-6)


def test_flow_of_the_module_descends_the_loss():
    """The derivative of weights() at t = 0 is minus the gradient, factor 4 included."""
    rng = np.random.default_rng(1)
    gamma, vectors = symmetric(GAMMA, rng)
    left = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    w = cf.weights(np.array([0.0, 1e-6, 2e-6]), GAMMA, S0, left, vectors)
    slope = (-3.0 * w[0] + 4.0 * w[1] - w[2]) / 2e-6
    np.testing.assert_allclose(slope, -matrix_gradient(w[0], gamma), atol=1e-6)


@pytest.mark.slow
def test_closed_form_solves_the_differential_equations_symbolically():
    t, gamma, s0 = sympy.symbols("t gamma s0", positive=True)
    s = 1 / sympy.sqrt(gamma + (s0**-2 - gamma) * sympy.exp(-8 * gamma * t))
    lam = 1 / (1 + (1 / (gamma * s0**2) - 1) * sympy.exp(-8 * gamma * t))
    assert sympy.simplify(sympy.diff(s, t) / s - 4 * gamma * (1 - gamma * s**2)) == 0
    assert sympy.simplify(sympy.diff(lam, t) - 8 * gamma * lam * (1 - lam)) == 0
    assert sympy.simplify(lam - gamma * s**2) == 0
    assert sympy.simplify(s.subs(t, 0) - s0) == 0
    value = s.subs({gamma: 0.7, s0: 0.01, t: 0.9}).evalf(25)
    assert cf.singular_values(0.9, [0.7], [0.01])[0] == pytest.approx(float(value), rel=1e-14)


def test_singular_values_agree_with_an_integrator():
    t = np.linspace(0.0, 12.0, 97)
    flow = solve_ivp(
        lambda _, s: 4.0 * GAMMA * s * (1.0 - GAMMA * s**2),
        (0.0, 12.0),
        S0,
        method="DOP853",
        rtol=1e-12,
        atol=1e-14,
        t_eval=t,
        max_step=0.02,
    )
    np.testing.assert_allclose(cf.singular_values(t, GAMMA, S0), flow.y.T, atol=1e-10)


def test_weights_agree_with_the_integrated_matrix_flow():
    rng = np.random.default_rng(2)
    eigenvalues = np.array([1.0, 0.4, -0.3, 0.2, 0.0])
    gamma, vectors = symmetric(eigenvalues, rng)
    left = np.linalg.qr(rng.standard_normal((4, 3)))[0]
    s0 = np.array([1e-2, 0.1, 0.4])
    t = np.linspace(0.0, 4.0, 41)
    start = (left * s0) @ vectors[:, :3].T
    flow = solve_ivp(
        lambda _, w: -matrix_gradient(w.reshape(4, 5), gamma).ravel(),
        (0.0, 4.0),
        start.ravel(),
        method="DOP853",
        rtol=1e-12,
        atol=1e-14,
        t_eval=t,
        max_step=0.02,
    )
    exact = flow.y.T.reshape(-1, 4, 5)
    predicted = cf.weights(t, eigenvalues[:3], s0, left, vectors[:, :3])
    # The saddle direction of the fourth output amplifies rounding errors, hardly in this time.
    np.testing.assert_allclose(predicted, exact, atol=1e-9)
    literal = [matrix_loss(w, gamma) for w in exact]
    np.testing.assert_allclose(cf.loss(t, eigenvalues[:3], s0, dim=4), literal, atol=1e-9)


def test_literal_transcription():
    for gamma, s0 in zip(GAMMA, S0, strict=True):
        for t in (0.0, 0.3, 2.0):
            s = (gamma + (s0**-2 - gamma) * np.exp(-8 * gamma * t)) ** -0.5
            assert cf.singular_values(t, [gamma], [s0])[0] == pytest.approx(s, rel=1e-13)
            curve = cf.eigenvalue_curves(t, [gamma], [s0])[0]
            assert curve == pytest.approx(gamma * s**2, rel=1e-13)


def test_limits():
    np.testing.assert_allclose(cf.singular_values(0.0, GAMMA, S0), S0, rtol=1e-15)
    end = cf.singular_values(np.inf, GAMMA, S0)
    np.testing.assert_allclose(end, [2.0**-0.5, 0.7**-0.5, 0.1**-0.5, 0.3, 0.0, 0.0], rtol=1e-15)
    np.testing.assert_allclose(cf.eigenvalue_curves(np.inf, GAMMA, S0), [1, 1, 1, 0, 0, 0])
    assert np.all(cf.singular_values([0.0, 5.0, np.inf], [0.0], [0.3]) == 0.3)
    assert np.all(cf.singular_values([0.0, 5.0, np.inf], [1.0], [0.0]) == 0.0)


@pytest.mark.parametrize("gamma", [1.0, -1.0, 1e-3, -1e3])
@pytest.mark.parametrize("s0", [0.0, 1e-300, 1e-6, 1.0, 30.0])
def test_no_overflow_at_large_times(gamma, s0):
    t = 1e4 / (8.0 * abs(gamma))
    for time in (t, 1e3 * t, 1e300):
        curve = cf.eigenvalue_curves(time, [gamma], [s0])
        assert np.all(np.isfinite(curve))
        assert curve[0] == pytest.approx(float(gamma > 0 and s0 > 0), abs=1e-12)


def test_step_times_are_where_the_curve_crosses_one_half():
    for gamma, s0 in [(2.0, 1e-6), (0.3, 0.2), (0.01, 5.0)]:
        root = brentq(lambda t, g=gamma, s=s0: cf.eigenvalue_curves(t, [g], [s])[0] - 0.5, 0, 1e3)
        assert cf.step_times([gamma], [s0])[0] == pytest.approx(root, rel=1e-10)
    tau = cf.step_times([1.0, 0.0, -1.0, 1.0, 1.0], [0.9, 0.1, 0.1, 0.0, 1e-200])
    assert tau[:4].tolist() == [0.0, np.inf, np.inf, np.inf]
    assert tau[4] == pytest.approx(400 * np.log(10) / 8, rel=1e-14)


def test_approximate_step_times_miss_by_lambda0_over_8_gamma():
    gamma, s0 = np.array([2.0, 0.3]), np.array([1e-2, 1e-2])
    excess = cf.approximate_step_times(gamma, s0) - cf.step_times(gamma, s0)
    np.testing.assert_allclose(excess, s0**2 / 8.0, rtol=1e-3)
    assert np.isinf(cf.approximate_step_times([0.0, -1.0, 1.0], [1.0, 1.0, 0.0])).all()


def test_rise_widths_from_the_curves():
    for s0 in (1e-6, 1e-2):
        times = [
            brentq(lambda t, v=v, s=s0: cf.eigenvalue_curves(t, [0.4], [s])[0] - v, 0, 100)
            for v in (0.1, 0.9)
        ]
        assert cf.rise_widths([0.4])[0] == pytest.approx(times[1] - times[0], rel=1e-10)
    assert np.isinf(cf.rise_widths([0.0, -1.0])).all()


def test_final_loss_is_dimension_less_positive_modes():
    rng = np.random.default_rng(3)
    gamma, vectors = symmetric(GAMMA, rng)
    assert cf.loss(1e5, GAMMA, S0, dim=6) == pytest.approx(3.0, abs=1e-12)
    assert cf.loss(1e5, GAMMA, S0, dim=9) == pytest.approx(6.0, abs=1e-12)
    left = np.linalg.qr(rng.standard_normal((8, 6)))[0]
    w = cf.final_weights(GAMMA, left, vectors)
    assert matrix_loss(w, gamma) == pytest.approx(8 - 3, abs=1e-12)
    np.testing.assert_allclose(
        w, cf.weights(np.inf, GAMMA * (GAMMA > 0), S0 * (GAMMA > 0), left, vectors), atol=1e-12
    )
    assert np.sum(w**2) == pytest.approx(np.sum(1.0 / GAMMA[:3]), rel=1e-12)


def test_plateaus_are_flat_and_of_the_height_stated():
    gamma, s0 = np.array([1.0, 0.2, 0.05, -1.0]), np.full(4, 1e-4)
    found = cf.plateaus(gamma, s0, dim=5)
    assert [(p.modes, p.loss) for p in found] == [(0, 5.0), (1, 4.0), (2, 3.0), (3, 2.0)]
    for plateau in found:
        low = plateau.start
        high = plateau.end if np.isfinite(plateau.end) else low + 1e4
        curves = cf.eigenvalue_curves(np.linspace(low, high, 50), gamma, s0)
        done = (curves > 0.9 - 1e-9).sum(axis=1)
        waiting = (curves < 0.1 + 1e-9).sum(axis=1)
        assert np.all(done == plateau.modes)
        assert np.all(done + waiting == 4)
    assert found[-1].end == np.inf


def test_no_plateau_is_claimed_while_a_slow_mode_rises():
    # The second mode has its half rise later but is in its rise from the start.
    found = cf.plateaus([1.0, 0.1], [1e-3, 1.3])
    assert [p.modes for p in found] == [2]
    # The first mode is half risen first, and done last.
    last = cf.plateaus([0.1, 1.0], [2.0, 0.03])[-1]
    ends = [
        cf.step_times([g], [s])[0] + cf.rise_widths([g])[0] / 2 for g, s in [(0.1, 2), (1, 0.03)]
    ]
    assert last.start == max(ends) == ends[0]
    assert cf.plateaus([1.0, 1.0], [1e-3, 1e-3])[1].modes == 2
    assert [p.modes for p in cf.plateaus([-1.0], [1e-3])] == [0]


def test_level_logits():
    found = cf.level_logits([[0.5, 0.9], [0.1, 1e-300]])
    np.testing.assert_allclose(found, [[0.0, np.log(9)], [-np.log(9), -300 * np.log(10)]])


def test_times_of_any_shape():
    t = np.arange(6.0).reshape(2, 3)
    assert cf.eigenvalue_curves(t, GAMMA, S0).shape == (2, 3, 6)
    assert cf.loss(t, GAMMA, S0).shape == (2, 3)
    assert cf.weights(t, GAMMA, S0, np.eye(6), np.eye(7, 6)).shape == (2, 3, 6, 7)
    one = cf.eigenvalue_curves(4.0, GAMMA, S0)
    assert np.array_equal(cf.eigenvalue_curves(t, GAMMA, S0)[1, 1], one)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cf.singular_values(0.0, [1.0, 2.0], [1.0]), r"shape \(2,\) and s0 \(1,\)"),
        (lambda: cf.singular_values(0.0, [np.nan], [1.0]), "gamma holds 1 NaN"),
        (lambda: cf.singular_values(0.0, [1.0], [-1.0]), "s0 has a smallest value of -1.0"),
        (lambda: cf.singular_values(0.0, [[1.0]], [[1.0]]), "expected 1 dimension"),
        (lambda: cf.singular_values(-1.0, [1.0], [1.0]), "negative or NaN"),
        (lambda: cf.singular_values(np.nan, [1.0], [1.0]), "negative or NaN"),
        (lambda: cf.loss(0.0, [1.0, 1.0], [1.0, 1.0], dim=1), "dim is 1; expected at least the 2"),
        (lambda: cf.rise_widths([np.inf]), "expected finite numbers"),
        (lambda: cf.weights(0.0, [1.0], [1.0], [1.0], [[1.0]]), "left has shape"),
        (lambda: cf.final_weights([1.0], [[1.0]], [1.0]), "right has shape"),
        (lambda: cf.level_logits([0.5, 1.0]), "expected levels between 0 and 1"),
        (lambda: cf.level_logits(np.nan), "expected levels between 0 and 1"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
