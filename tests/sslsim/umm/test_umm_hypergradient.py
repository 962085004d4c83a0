"""Hypergradients against closed forms of quadratic problems and against finite differences."""

import math

import numpy as np
import pytest
import torch

from sslsim.umm.hypergradient import darts, implicit, unrolled


def normal(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def quadratic(seed, n=5, least=0.5):
    """Of inner = phi A phi / 2 - b phi, eigenvalues of A from ``least`` to 2; outer is quartic."""
    basis = torch.linalg.qr(normal(seed, n, n)).Q
    a = basis * torch.linspace(least, 2, n, dtype=torch.float64) @ basis.T
    a = (a + a.T) / 2
    b, target = normal(seed + 1, n), normal(seed + 2, n)

    def inner(phi):
        x = torch.cat([phi[0].reshape(-1), phi[1]])
        return x @ a @ x / 2 - b @ x

    def outer(phi):
        x = torch.cat([phi[0].reshape(-1), phi[1]])
        return (x - target).square().sum() / 2 + (x**4).sum() / 12

    def slope(x):
        return x - target + x**3 / 3

    return inner, outer, a, b, slope


def pieces(x):
    return x[:4].reshape(2, 2).clone(), x[4:].clone()


def whole(parts):
    return torch.cat([part.reshape(-1) for part in parts])


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_steps_of_a_quadratic_inner_problem(steps):
    """phi_K = phi_inf + M^K (theta - phi_inf), M = I - lr A, so h = M^K grad outer(phi_K)."""
    inner, outer, a, b, slope = quadratic(0)
    theta, lr = normal(9, 5), 0.3
    rest = torch.linalg.solve(a, b)
    power = torch.linalg.matrix_power(torch.eye(5).double() - lr * a, steps)
    phi = rest + power @ (theta - rest)
    for method in (unrolled, darts):
        found = method(inner, outer, pieces(theta), lr, steps)
        torch.testing.assert_close(whole(found.phi), phi, rtol=1e-12, atol=1e-12)
        # Gradients of a quadratic are linear: a central difference is off by rounding / radius.
        torch.testing.assert_close(
            whole(found.gradient), power @ slope(phi), rtol=1e-10, atol=1e-10
        )
        assert found.outer == pytest.approx(float(outer(pieces(phi))), rel=1e-12)
        assert found.inner_start == pytest.approx(float(inner(pieces(theta))), rel=1e-12)
        assert found.inner_end == pytest.approx(float(inner(pieces(phi))), rel=1e-12)
        assert found.residual == 0


@pytest.mark.parametrize("solver", ["cg", "neumann"])
@pytest.mark.parametrize("damping", [0.0, 0.4])
def test_the_implicit_one_of_a_quadratic_inner_problem(solver, damping):
    """phi* = (A + rho I)^-1 (b + rho theta), h = rho (A + (rho + damping) I)^-1 grad outer."""
    inner, outer, a, b, slope = quadratic(0)
    theta, rho, eye = normal(9, 5), 0.7, torch.eye(5).double()
    phi = torch.linalg.solve(a + rho * eye, b + rho * theta)
    found = implicit(
        inner, outer, pieces(theta), 0.3, 200, proximal=rho, damping=damping, solver=solver,
        iterations=200,
    )  # fmt: skip
    torch.testing.assert_close(whole(found.phi), phi, rtol=1e-10, atol=1e-10)
    exact = rho * torch.linalg.solve(a + (rho + damping) * eye, slope(phi))
    torch.testing.assert_close(whole(found.gradient), exact, rtol=1e-8, atol=1e-8)
    assert found.residual < 1e-9


def test_conjugate_gradients_end_after_as_many_steps_as_dimensions():
    inner, outer, *_ = quadratic(0)
    theta = pieces(normal(9, 5))
    full = implicit(inner, outer, theta, 0.3, 50, iterations=5)
    assert full.residual < 1e-8
    assert implicit(inner, outer, theta, 0.3, 50, iterations=2).residual > 1e-3


def test_the_implicit_one_goes_on_from_where_it_was():
    inner, outer, *_ = quadratic(0)
    theta = pieces(normal(9, 5))
    ten = implicit(inner, outer, theta, 0.3, 10)
    five = implicit(inner, outer, theta, 0.3, 5)
    again = implicit(inner, outer, theta, 0.3, 5, phi=five.phi)
    torch.testing.assert_close(whole(again.phi), whole(ten.phi), rtol=0, atol=1e-15)
    torch.testing.assert_close(whole(again.gradient), whole(ten.gradient), rtol=0, atol=1e-14)
    assert again.inner_start == pytest.approx(five.inner_end, rel=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("method", [unrolled, darts, implicit])
def test_the_quadratic_bilevel_problem_is_solved_exactly(method):
    """The outer minimum wants phi* = t: theta is where the inner problem leads to it."""
    inner, _, a, b, _ = quadratic(0)
    t, eye = normal(5, 5), torch.eye(5).double()

    def outer(phi):
        return (whole(phi) - t).square().sum() / 2

    steps, settings, rest = 2, {}, torch.linalg.solve(a, b)
    if method is implicit:  # (a + rho) t = b + rho theta
        steps, settings = 8, {"proximal": 2.0, "iterations": 10}
        answer = t + (a @ t - b) / 2.0
    else:
        answer = rest + torch.linalg.solve(torch.linalg.matrix_power(eye - 0.2 * a, 2), t - rest)
    theta, phi = torch.zeros(5).double(), None
    for _ in range(200):
        warm = {"phi": phi} if method is implicit else {}
        found = method(inner, outer, pieces(theta), 0.2, steps, **settings, **warm)
        theta, phi = theta - whole(found.gradient), found.phi
    # Each step leaves at most 1 - (1 - 0.2 * 2)^4 or 1 - (2 / (2 + 2))^2 of the error.
    torch.testing.assert_close(theta, answer, rtol=1e-8, atol=1e-8)


def network(seed=0):
    """A small network's loss and another, of parameters (4, 3), (3,) and (2, 4)."""
    x, y, u = normal(seed, 6, 3), normal(seed + 1, 6, 2), normal(seed + 2, 6, 2)

    def out(phi):
        return torch.tanh(x @ phi[0].T + phi[1].sum()) @ phi[2].T

    def inner(phi):
        return (out(phi) - y).square().mean()

    def outer(phi):
        return (out(phi) * u).exp().mean()

    return inner, outer, (normal(3, 4, 3), normal(4, 3), normal(5, 2, 4))


def difference(value, theta, direction, step):
    ends = [
        value(tuple(t + sign * step * d for t, d in zip(theta, direction, strict=True)))
        for sign in (1, -1)
    ]
    return (ends[0] - ends[1]) / (2 * step)


@pytest.mark.parametrize("steps", [1, 3])
def test_steps_of_a_network_against_finite_differences(steps):
    inner, outer, theta = network()
    exact = unrolled(inner, outer, theta, 0.5, steps)
    for seed in range(3):
        direction = tuple(normal(20 + seed, *t.shape) for t in theta)
        slope = difference(
            lambda at: unrolled(inner, outer, at, 0.5, steps).outer, theta, direction, 1e-5
        )
        along = sum((g * d).sum() for g, d in zip(exact.gradient, direction, strict=True))
        # Third derivatives are of order 10: 1e-10 * 10, and rounding 1e-16 / 1e-5.
        assert float(along) == pytest.approx(slope, abs=1e-7)
    near = darts(inner, outer, theta, 0.5, steps, radius=1e-4)
    torch.testing.assert_close(whole(near.gradient), whole(exact.gradient), rtol=1e-6, atol=1e-7)
    # The second order of it is no small matter: the first order alone is far off.
    gap = whole(unrolled(inner, outer, theta, 1e-12, 1).gradient) - whole(exact.gradient)
    assert gap.norm() > 0.01 * whole(exact.gradient).norm()


@pytest.mark.slow
def test_the_implicit_one_of_a_network_against_finite_differences():
    inner, outer, theta = network()
    settings = {"proximal": 3.0, "iterations": 50}

    def solved(at):
        return implicit(inner, outer, at, 0.2, 100, **settings)

    exact = solved(theta)
    for seed in range(3):
        direction = tuple(normal(20 + seed, *t.shape) for t in theta)
        slope = difference(lambda at: solved(at).outer, theta, direction, 1e-5)
        along = sum((g * d).sum() for g, d in zip(exact.gradient, direction, strict=True))
        assert float(along) == pytest.approx(slope, abs=1e-7)


def test_without_positive_curvature_conjugate_gradients_leave_the_hessian_out():
    def inner(phi):
        return -2 * phi[0].square().sum()

    found = implicit(inner, lambda phi: phi[0].sum(), [torch.ones(2)], 0.1, 1, proximal=0.5)
    assert found.gradient[0].tolist() == [1.0, 1.0]
    assert found.residual > 1


def test_linear_and_partial_losses():
    theta = (torch.ones(2), torch.ones(3))

    def linear(phi):
        return phi[0].sum()

    for method in (unrolled, darts, implicit):
        found = method(linear, linear, theta, 0.5, 1)
        assert [g.tolist() for g in found.gradient] == [[1.0, 1.0], [0.0, 0.0, 0.0]]
    nothing = darts(linear, lambda phi: 0 * phi[0].sum(), theta, 0.5, 1)
    assert not whole(nothing.gradient).any()


def test_theta_is_left_alone():
    inner, outer, theta = network()
    held = tuple(t.clone().requires_grad_() for t in theta)
    for method in (unrolled, darts, implicit):
        found = method(inner, outer, held, 0.1, 2)
        assert all(t.grad is None and torch.equal(t, u) for t, u in zip(held, theta, strict=True))
        assert not any(g.requires_grad for g in (*found.gradient, *found.phi))


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        (unrolled, {"lr": 0.0}, "lr is 0.0; expected a finite number above zero"),
        (unrolled, {"steps": 0}, "steps is 0; expected at least 1 inner step"),
        (darts, {"lr": math.nan}, "lr is nan"),
        (darts, {"radius": 0.0}, "radius is 0.0"),
        (implicit, {"steps": -1}, "steps is -1"),
        (implicit, {"proximal": 0.0}, "proximal is 0.0"),
        (implicit, {"damping": -1.0}, "damping is -1.0"),
        (implicit, {"solver": "lu"}, "solver is 'lu'; expected one of cg, neumann"),
        (implicit, {"iterations": 0}, "iterations is 0"),
    ],
)
def test_unfit_numbers_are_refused(method, changes, message):
    inner, outer, theta = network()
    with pytest.raises(ValueError, match=message):
        method(inner, outer, theta, **({"lr": 0.1, "steps": 1} | changes))
