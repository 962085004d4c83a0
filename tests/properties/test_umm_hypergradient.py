"""Hypergradients of quadratic problems drawn at random, against their closed forms.

The inner loss is phi A phi / 2 - b phi, the outer |phi - t|^2 / 2. With M = I - lr A the K-th inner
iterate is phi_K = r + M^K (theta - r), r = A^-1 b, and the hypergradient M^K (phi_K - t).
Every tolerance is the number of operations times the machine epsilon, times what the problem's
conditioning makes of it.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sslsim.umm.hypergradient import darts, implicit, unrolled

EPS = np.finfo(float).eps


@dataclass
class Quadratic:
    """A problem in an eigenbasis of its own, its parameters in two pieces."""

    values: np.ndarray
    a: np.ndarray
    b: np.ndarray
    target: np.ndarray
    theta: np.ndarray
    cut: int

    @property
    def n(self):
        """Number of parameters."""
        return len(self.b)

    @property
    def condition(self):
        """Condition number of A."""
        return self.values.max() / self.values.min()

    @property
    def size(self):
        """Of everything that is added up: parameters, the inner minimum, the target."""
        rest = np.abs(self.b).max() * np.sqrt(self.n) / self.values.min()
        return rest + sum(np.linalg.norm(v) for v in (self.theta, self.target))

    def pieces(self, vector):
        """A vector as the two tensors that the losses take."""
        return tuple(torch.from_numpy(part.copy()) for part in np.split(vector, [self.cut]))

    @cached_property
    def tensors(self):
        """A, b and the target."""
        return tuple(torch.from_numpy(value) for value in (self.a, self.b, self.target))

    def inner(self, phi):
        """Inner loss."""
        a, b, _ = self.tensors
        x = torch.cat(phi)
        return x @ (a @ x / 2 - b)

    def outer(self, phi):
        """Outer loss."""
        return (torch.cat(phi) - self.tensors[2]).square().sum() / 2

    def after(self, steps, lr):
        """phi_K and M^K, in the eigenbasis, where nothing cancels."""
        values, basis = np.linalg.eigh(self.a)
        rest = (basis.T @ self.b) / values
        shrink = (1 - lr * values) ** steps
        phi = basis @ (rest + shrink * (basis.T @ self.theta - rest))
        return phi, basis * shrink @ basis.T


@st.composite
def quadratics(draw):
    n = draw(st.integers(2, 8))
    largest = draw(st.sampled_from([0.01, 1.0, 30.0]))
    condition = draw(st.floats(1, 1e4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = largest * condition ** -np.sort(np.concatenate([[0, 1], rng.random(n - 2)]))
    basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
    a = basis * values @ basis.T
    b = (a + a.T) / 2 @ rng.standard_normal(n)  # the minimum is of the order of one
    target, theta = rng.standard_normal((2, n))
    return Quadratic(values, (a + a.T) / 2, b, target, theta, draw(st.integers(1, n - 1)))


def whole(parts):
    return torch.cat(parts).numpy()


steps, rates = st.integers(1, 12), st.floats(0.05, 1.95)  # rates in units of 1 / the largest


@given(quadratics(), steps, rates)
def test_unrolled_steps_are_differentiated_exactly(problem, count, rate):
    lr = rate / problem.values.max()
    found = unrolled(problem.inner, problem.outer, problem.pieces(problem.theta), lr, count)
    phi, power = problem.after(count, lr)
    # |M| <= 1: each of K steps, and each product on the way back, rounds n sums of this size; the
    # minimum in the eigenbasis is known to the condition number.
    near = 8 * EPS * problem.n * (count + problem.condition) * problem.size
    assert np.linalg.norm(whole(found.phi) - phi) <= near
    assert np.linalg.norm(whole(found.gradient) - power @ (phi - problem.target)) <= 2 * near
    assert found.residual == 0


@given(quadratics(), steps, rates, st.sampled_from([1e-4, 0.01, 1.0]))
def test_central_differences_of_a_quadratic_are_off_by_rounding_alone(problem, count, rate, radius):
    """Gradients are linear, so that a central difference has no error but cancellation.

    Two gradients of size L (|phi| + radius), L the largest eigenvalue, are known to n eps; their
    difference is divided by 2 radius / |v| and multiplied by lr: n eps lr L (|phi| + radius)
    |v| / radius a step.
    """
    lr = rate / problem.values.max()
    theta = problem.pieces(problem.theta)
    exact = unrolled(problem.inner, problem.outer, theta, lr, count)
    found = darts(problem.inner, problem.outer, theta, lr, count, radius=radius)
    np.testing.assert_array_equal(whole(found.phi), whole(exact.phi))
    assert found.outer == exact.outer
    vector = np.linalg.norm(whole(exact.phi) - problem.target)
    reach = 4 * problem.size + radius
    bound = 4 * EPS * problem.n * count * rate * reach * (vector / radius + 1)
    assert np.linalg.norm(whole(found.gradient) - whole(exact.gradient)) <= bound


@given(
    st.floats(-2, 2), st.floats(-2, 2), st.floats(0.01, 0.5), st.sampled_from([0.3, 0.1, 0.03]),
    st.sampled_from([-1.0, 1.0]), st.integers(2, 5),
)  # fmt: skip
def test_central_differences_are_off_by_the_radius_squared_and_a_fourth_derivative(
    theta, target, lr, radius, sign, count
):
    """Of x^4 / 24 the fourth derivative is 1: an error of radius^2 / 6, of that very sign."""
    start = torch.full((count,), theta, dtype=torch.float64)
    direction = torch.zeros(count, dtype=torch.float64)
    direction[-1] = sign

    def inner(phi):
        return (phi[0] ** 4).sum() / 24

    def outer(phi):  # its gradient is the target along one axis, wherever phi ends
        return target * (direction @ phi[0])

    gradients = [
        method(inner, outer, (start,), lr, 1, **options).gradient[0].numpy()
        for method, options in ((unrolled, {}), (darts, {"radius": radius}))
    ]
    expected = np.zeros(count)
    expected[-1] = -lr * radius**2 / 6 * sign * target
    # Third powers up to (2 + radius)^3 / 6 cancel before they are divided by the radius.
    rounding = 4 * EPS * (abs(target) + 1) * (1 + lr * (2 + radius) ** 3 / radius)
    np.testing.assert_allclose(gradients[1] - gradients[0], expected, rtol=0, atol=rounding)


@settings(max_examples=20)
@given(
    quadratics(),
    st.floats(0.5, 10),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from(["cg", "neumann"]),
)
def test_the_implicit_gradient_is_that_of_the_proximal_minimum(problem, share, damping, solver):
    """phi* = (A + rho I)^-1 (b + rho theta), h = rho (A + (rho + d) I)^-1 (phi* - t)."""
    largest, eye = problem.values.max(), np.eye(problem.n)
    rho, damping = share * largest, damping * largest
    lr = 1 / (largest + rho + damping)
    # The slowest direction shrinks by 1 - lr (smallest + rho) a step: to 1e-13 in so many.
    slowest = 1 - lr * (problem.values.min() + rho)
    count = 2 if slowest <= EPS else 1 + int(np.log(1e-13) / np.log(slowest))
    found = implicit(
        problem.inner, problem.outer, problem.pieces(problem.theta), lr, count, proximal=rho,
        damping=damping, solver=solver, iterations=count if solver == "neumann" else 4 * problem.n,
    )  # fmt: skip
    phi = np.linalg.solve(problem.a + rho * eye, problem.b + rho * problem.theta)
    answer = rho * np.linalg.solve(problem.a + (rho + damping) * eye, phi - problem.target)
    # What the steps leave, and rounding of each of them, which shrinks with them.
    left = (1e-13 + 8 * EPS * problem.n / (1 - slowest)) * problem.size
    assert np.linalg.norm(whole(found.phi) - phi) <= left
    # |rho (A + rho)^-1| <= 1; the solver ends at a relative residual of 1e-10, which the inverse
    # multiplies by 1 / (rho + smallest), and its own error in phi goes through unchanged.
    residual = max(found.residual, 1e-10)
    assert found.residual <= 1.01e-10
    bound = left + 2 * residual * np.linalg.norm(phi - problem.target) + 8 * EPS * problem.n
    assert np.linalg.norm(whole(found.gradient) - answer) <= 2 * bound


@settings(max_examples=10)
@given(quadratics(), st.integers(1, 3), st.sampled_from([unrolled, darts, implicit]))
def test_descent_on_hypergradients_ends_at_the_analytic_bilevel_optimum(problem, count, method):
    """At the optimum the inner problem ends at the target.

    That is M^K (theta - r) = t - r or, with the proximal term, (A + rho I) t = b + rho theta.
    """
    values, eye = problem.values, np.eye(problem.n)
    largest, options = values.max(), {}
    if method is implicit:
        rho = 4 * largest
        lr, inner_steps = 1 / (largest + rho), 15  # shrinks by a fifth at least: to 3e-11
        options = {"proximal": rho, "iterations": 4 * problem.n}
        answer = problem.target + (problem.a @ problem.target - problem.b) / rho
        curvature = (rho / (values + rho)) ** 2
    else:
        lr, inner_steps = 0.1 / largest, count
        rest = np.linalg.solve(problem.a, problem.b)
        power = np.linalg.matrix_power(eye - lr * problem.a, count)
        answer = rest + np.linalg.solve(power, problem.target - rest)
        curvature = (1 - lr * values) ** (2 * count)
    theta = problem.theta
    # The outer Hessian has these eigenvalues, at least 0.9^6: with rate 1 the slowest direction
    # shrinks by 1 - least a step.
    most = int(np.ceil(np.log(1e-6) / np.log1p(-min(curvature.min(), 0.99)))) + 1
    for _ in range(most):
        found = method(
            problem.inner, problem.outer, problem.pieces(theta), lr, inner_steps, **options
        )
        theta = theta - whole(found.gradient)
    # What is left of the way, and errors of gradients that the slowest direction adds up.
    slip = 1e-9 if method is not unrolled else 1e-12
    near = 1e-6 * np.linalg.norm(problem.theta - answer)
    near += (slip + 8 * EPS * problem.n * problem.condition) * problem.size / curvature.min()
    assert np.linalg.norm(theta - answer) <= near
    assert found.outer == pytest.approx(0, abs=near**2)
