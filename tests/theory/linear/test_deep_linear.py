"""Deep linear predictions against quadrature, integrators and training of all the factors."""

from itertools import pairwise

import numpy as np
import pytest
import sympy
from scipy.integrate import quad, solve_ivp

from theory.linear import closed_form as cf
from theory.linear import deep


def product(factors):
    w = factors[0]
    for factor in factors[1:]:
        w = factor @ w
    return w


def gradients(factors, gamma):
    """Gradient of the loss with respect to every factor, by the chain rule."""
    w = product(factors)
    outer = 4.0 * (w @ gamma @ w.T - np.eye(len(w))) @ w @ gamma
    found = []
    for i in range(len(factors)):
        before = product([np.eye(gamma.shape[0]), *factors[:i]])
        after = product([np.eye(len(factors[i])), *factors[i + 1 :]])
        found.append(after.T @ outer @ before.T)
    return found


def aligned_network(layers, seed=0):
    rng = np.random.default_rng(seed)
    eigenvalues = np.array([1.0, 0.5, -0.4, 0.2])
    vectors = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    left = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    s0 = np.array([0.1, 0.2, 0.6])
    factors = deep.balanced_factors(s0, left, vectors[:, :3], range(5, 4 + layers), rng)
    return factors, eigenvalues, vectors, left, s0


@pytest.mark.parametrize("layers", [2, 3, 5])
def test_step_times_agree_with_quadrature(layers):
    for gamma, s0 in [(1.0, 0.1), (0.3, 0.02), (5.0, 0.01)]:
        w0, w1 = s0 ** (1 / layers), (1 / (2 * gamma)) ** (1 / (2 * layers))
        expected = quad(
            lambda w, g=gamma: 1 / (4 * g * w ** (2 * layers - 1) * (1 - g * w ** (2 * layers))),
            w0,
            w1,
            epsabs=0,
            epsrel=1e-12,
            limit=200,
        )[0]
        assert deep.step_times([gamma], [s0], layers)[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_formula_of_the_docstring(layers):
    """The step time as stated with G as stated, in 40 digits."""
    gamma, s0, level = sympy.Rational(3, 10), sympy.Rational(1, 50), sympy.Rational(4, 5)
    w0, w1 = s0 ** sympy.Rational(1, layers), (level / gamma) ** sympy.Rational(1, 2 * layers)
    order = 2 * layers - 2
    b = sympy.Rational(1, layers)

    def g(w):
        return gamma * w**2 / 2 * sympy.hyper([1, b], [1 + b], gamma * w ** (2 * layers))

    tau = ((w0**-order - w1**-order) / order + g(w1) - g(w0)) / (4 * gamma)
    found = deep.level_times(0.8, [0.3], [0.02], layers)[0]
    assert found == pytest.approx(float(tau.evalf(40)), rel=1e-12)


def test_partial_fractions_symbolically():
    w, gamma = sympy.symbols("w gamma", positive=True)
    for layers in (1, 2, 3, 7):
        whole = 1 / (w ** (2 * layers - 1) * (1 - gamma * w ** (2 * layers)))
        parts = w ** -(2 * layers - 1) + gamma * w / (1 - gamma * w ** (2 * layers))
        assert sympy.simplify(whole - parts) == 0


@pytest.mark.slow
@pytest.mark.parametrize("layers", [1, 2, 3, 6])
def test_curves_agree_with_an_integrator(layers):
    gamma = np.array([1.0, 0.5, -0.5, 0.0, -2.0, 0.9, 1.0])
    s0 = np.array([0.2, 0.3, 0.3, 1.0, 1.2, 1.5, 1.0])
    t = np.linspace(0.0, 8.0, 81)
    flow = solve_ivp(
        lambda _, w: 4.0 * gamma * w ** (2 * layers - 1) * (1.0 - gamma * w ** (2 * layers)),
        (0.0, 8.0),
        s0 ** (1.0 / layers),
        method="DOP853",
        rtol=1e-12,
        atol=1e-14,
        t_eval=t,
        max_step=0.005,
    )
    exact = gamma * flow.y.T ** (2 * layers)
    np.testing.assert_allclose(deep.eigenvalue_curves(t, gamma, s0, layers), exact, atol=1e-9)


def test_gradients_agree_with_finite_differences():
    factors, eigenvalues, vectors, _, _ = aligned_network(3)
    gamma = (vectors * eigenvalues) @ vectors.T

    def loss():
        w = product(factors)
        return np.sum((w @ gamma @ w.T - np.eye(3)) ** 2)

    for factor, gradient in zip(factors, gradients(factors, gamma), strict=True):
        for index in [(0, 0), (1, 2), (2, 1)]:
            value = factor[index]
            factor[index] = value + 1e-5
            up = loss()
            factor[index] = value - 1e-5
            down = loss()
            factor[index] = value
            assert (up - down) / 2e-5 == pytest.approx(gradient[index], abs=1e-8)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_curves_agree_with_the_integrated_flow_of_all_factors(layers):
    factors, eigenvalues, vectors, left, s0 = aligned_network(layers)
    gamma = (vectors * eigenvalues) @ vectors.T
    shapes = [factor.shape for factor in factors]
    splits = np.cumsum([factor.size for factor in factors])[:-1]

    def unpack(flat):
        return [p.reshape(s) for p, s in zip(np.split(flat, splits), shapes, strict=True)]

    t = np.array([0.0, 1.0, 2.0, 3.0])
    flow = solve_ivp(
        lambda _, flat: -np.concatenate([g.ravel() for g in gradients(unpack(flat), gamma)]),
        (0.0, 3.0),
        np.concatenate([factor.ravel() for factor in factors]),
        method="DOP853",
        rtol=1e-12,
        atol=1e-14,
        t_eval=t,
        max_step=0.05,
    )
    curves = deep.eigenvalue_curves(t, eigenvalues[:3], s0, layers)
    for flat, lam in zip(flow.y.T, curves, strict=True):
        w = product(unpack(flat))
        np.testing.assert_allclose(left.T @ w @ gamma @ w.T @ left, np.diag(lam), atol=1e-8)


def test_training_of_all_factors_steps_when_predicted():
    """Plain gradient descent on the factors, wide and with few steps."""
    factors, eigenvalues, vectors, left, s0 = aligned_network(2, seed=1)
    gamma = (vectors * eigenvalues) @ vectors.T
    eta, tau = 1e-3, deep.step_times(eigenvalues[:3], s0, 2)
    assert np.isinf(tau[2])
    crossings = np.full(3, np.nan)
    for n in range(int(1.1 * tau[1] / eta)):
        w = product(factors)
        lam = np.diag(left.T @ w @ gamma @ w.T @ left)
        crossings[np.isnan(crossings) & (lam > 0.5)] = n * eta
        factors = [f - eta * g for f, g in zip(factors, gradients(factors, gamma), strict=True)]
    np.testing.assert_allclose(crossings[:2], tau[:2], rtol=5e-3)
    assert np.isnan(crossings[2])


def test_balanced_factors_are_balanced_and_multiply_to_the_map():
    rng = np.random.default_rng(2)
    left = np.linalg.qr(rng.standard_normal((4, 3)))[0]
    right = np.linalg.qr(rng.standard_normal((6, 3)))[0]
    s0 = np.array([0.3, 0.0, 1e-4])
    for widths in ([], [3], [5, 4], [8, 3, 8]):
        for generator in (None, rng):
            factors = deep.balanced_factors(s0, left, right, widths, generator)
            assert [f.shape[0] for f in factors] == [*widths, 4]
            np.testing.assert_allclose(product(factors), (left * s0) @ right.T, atol=1e-15)
            for first, second in pairwise(factors):
                np.testing.assert_allclose(second.T @ second, first @ first.T, atol=1e-14)
    again = [
        deep.balanced_factors(s0, left, right, [5], np.random.default_rng(7))[0] for _ in range(2)
    ]
    assert np.array_equal(*again)


def test_single_layer_is_the_closed_form():
    gamma, s0, t = [1.0, 0.5, -1.0, 0.0, 2.0], [0.01, 0.1, 0.5, 0.3, 2.0], [0.0, 1.0, np.inf]
    np.testing.assert_allclose(deep.step_times(gamma, s0, 1), cf.step_times(gamma, s0), rtol=1e-13)
    np.testing.assert_allclose(
        deep.eigenvalue_curves(t, gamma, s0, 1), cf.eigenvalue_curves(t, gamma, s0), rtol=1e-13
    )


def test_limits():
    gamma = [1.0, 0.01, -1.0, 0.0, 1.0, 1.0, 1e-5, 1.0]
    s0 = [1e-3, 1e-3, 1.0, 1.0, 1.0, 2.0, 1e-100, 0.0]
    start, late, end = deep.eigenvalue_curves([0.0, 1e4, np.inf], gamma, s0, 3)
    np.testing.assert_allclose(start, np.multiply(gamma, np.square(s0)), rtol=1e-13)
    np.testing.assert_allclose(end, [1, 1, 0, 0, 1, 1, 1, 0], atol=1e-15)
    assert np.all(np.isfinite(late))
    # Without saturation the power law would blow up at this time: lambda stays algebraic till then.
    assert late[1] == pytest.approx(1e-8, rel=0.5)
    assert late[2] == pytest.approx(-((16 * 1e4) ** -1.5), rel=1e-3)


def test_times_are_algebraic_in_the_initialisation():
    """Two layers: halving s0 doubles the waiting time 1 / (8 sqrt(gamma lambda0))."""
    tau = deep.step_times([1.0], [1e-6], 2)[0]
    assert tau == pytest.approx(1.0 / (8.0 * 1e-6), rel=1e-4)
    assert deep.step_times([1.0], [5e-7], 2)[0] == pytest.approx(2.0 * tau, rel=1e-4)


def test_step_times_of_all_kinds():
    tau = deep.step_times([1.0, -1.0, 0.0, 1.0, 1.0, 1.0], [0.8, 1.0, 1.0, 0.0, 5.0, 0.7071], 2)
    assert tau[:5].tolist() == [0.0, np.inf, np.inf, np.inf, 0.0]
    assert 0.0 < tau[5] < 1e-4
    assert deep.level_times(np.full((2, 3), 0.3), [1.0, 2.0], [0.1, 0.1], 2).shape == (2, 3, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deep.step_times([1.0], [1.0], 0), "layers is 0; expected at least 1"),
        (lambda: deep.step_times([1.0], [1.0], 1.5), "layers is 1.5; expected a whole number"),
        (lambda: deep.step_times([1.0], [1.0, 1.0], 2), "expected equal shapes"),
        (lambda: deep.level_times([0.0], [1.0], [1.0], 2), "expected levels between 0 and 1"),
        (lambda: deep.eigenvalue_curves([-1.0], [1.0], [1.0], 2), "negative or NaN"),
        (lambda: deep.eigenvalue_curves([1.0], [np.inf], [1.0], 2), "gamma holds 1 NaN"),
        (lambda: deep.balanced_factors([-1.0], [[1.0]], [[1.0]], []), "s0 has a smallest value"),
        (lambda: deep.balanced_factors([1.0], [[1.0]], [[1.0]], [0]), "width is 0"),
        (lambda: deep.balanced_factors([1.0], [[1.0, 0.0]], [[1.0]], []), "left has shape"),
        (lambda: deep.balanced_factors([1.0], [[1.0]], [[2.0]], []), "right has columns"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("mu", [0.0, 0.6])
def test_descent_of_modes_is_descent_of_all_factors(layers, mu):
    rng = np.random.default_rng(0)
    gamma, s0 = np.array([1.0, 0.5]), np.array([0.3, 0.2])
    left = np.linalg.qr(rng.standard_normal((2, 2)))[0]
    factors = deep.balanced_factors(s0, left, np.eye(2), [3] * (layers - 1), rng)
    velocity = [np.zeros_like(factor) for factor in factors]
    recorded = []
    for _ in range(60):
        recorded.append(np.linalg.eigvalsh(product(factors) @ np.diag(gamma) @ product(factors).T))
        steps = gradients(factors, np.diag(gamma))
        velocity = [mu * v + step for v, step in zip(velocity, steps, strict=True)]
        factors = [w - 0.02 * v for w, v in zip(factors, velocity, strict=True)]
    curves = deep.descent_curves(np.arange(60), gamma, s0, layers, 0.02, momentum=mu)
    np.testing.assert_allclose(np.sort(curves), np.sort(recorded), atol=1e-10)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_iterations_at_a_small_rate_are_the_flow_time(layers):
    gamma, s0 = [1.0, 0.5, -0.5], [0.2, 0.2, 0.2]
    iterations = deep.descent_step_iterations(gamma, s0, layers, 1e-3)
    times = deep.step_times(gamma, s0, layers)
    np.testing.assert_allclose(iterations * 1e-3, times, rtol=4e-3)
    assert deep.descent_step_iterations(gamma, s0, layers, 1e-3, limit=5)[0] == np.inf


def test_descent_that_diverges_says_so():
    with pytest.raises(ValueError, match="learning_rate is 50; expected a smaller one"):
        deep.descent_curves([30], [1.0], [0.3], 2, 50.0)
