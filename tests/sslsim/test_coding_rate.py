"""Coding rate in torch: transforms, derivatives in float32, batches of groups, refused input."""

import math

import numpy as np
import pytest
import torch
from forward_mode import FORWARD
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

from sslsim.coding_rate import coding_rate, coding_rate_reduction, half_logdet, instance_groups
from theory.coding_rate import rate as twin
from theory.coding_rate.optima import best_instance_reduction


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SOFT = torch.tensor([[0.2, 0.8], [0.0, 1.0], [1.0, 0.0], [0.5, 0.5], [0.3, 0.7]])
RATES = {
    "rate": lambda z: coding_rate(z, 0.7),
    "labels": lambda z: coding_rate_reduction(z, torch.tensor([4, 1, 4, 1, -2]), 0.7),
    "shares": lambda z: coding_rate_reduction(z, SOFT, 0.7),
}


@pytest.mark.slow
@FORWARD
@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("d", [3, 7])
def test_derivatives_of_three_orders(name, d):
    rate, z = RATES[name], normal(5, d).requires_grad_()
    assert torch.autograd.gradcheck(rate, z, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(rate, z, check_fwd_over_rev=True)

    def curvature(z):  # whose gradient has the third derivative in it
        (first,) = torch.autograd.grad(rate(z), z, create_graph=True)
        return torch.autograd.grad(first.square().sum(), z, create_graph=True)[0]

    assert torch.autograd.gradcheck(curvature, z)


@FORWARD
@pytest.mark.parametrize("eps", [0.7, 1e-5])  # the Cholesky route and the other
def test_transforms_of_torch_func_agree_with_autograd(eps):
    z, dz = normal(4, 3), normal(4, 3, seed=1)
    labels = torch.tensor([0, 1, 0, 1])

    def rate(z):
        return coding_rate_reduction(z, labels, eps)

    first = grad(rate)(z)
    exact = torch.from_numpy(twin.coding_rate_reduction_gradient(z.numpy(), labels.numpy(), eps))
    torch.testing.assert_close(first, exact, rtol=1e-7, atol=1e-7)
    _, along = jvp(rate, (z,), (dz,))
    assert abs(along - (first * dz).sum()) < 1e-7
    second = torch.autograd.functional.hessian(rate, z)
    for transform in (hessian(rate), jacrev(jacrev(rate)), jacrev(jacfwd(rate))):
        torch.testing.assert_close(transform(z), second, rtol=1e-6, atol=1e-6)
    third = jacrev(jacrev(jacrev(rate)))(z)
    torch.testing.assert_close(jacfwd(jacrev(jacrev(rate)))(z), third, rtol=1e-6, atol=1e-6)
    with pytest.raises(RuntimeError, match="data-dependent"):
        vmap(rate)(torch.stack([z, z]))
    stack = torch.stack([z, 2 * z])
    each = torch.stack([half_logdet(one, 0.3) for one in stack])
    torch.testing.assert_close(half_logdet(stack, 0.3), each, rtol=1e-14, atol=0)


@pytest.mark.machine
@pytest.mark.parametrize("shape", [(90, 300), (300, 90), (520, 300)])  # one block and many
@pytest.mark.parametrize("eps", [1.0, 0.5, 0.03, 1e-5])
@pytest.mark.parametrize("directions", [1, 300])  # one: the product that loses the most digits
def test_gradient_of_float32_is_as_exact_as_documented(shape, eps, directions):
    n, d = shape
    z = normal(n, directions) @ normal(directions, d, seed=1)
    z = torch.nn.functional.normalize(z, dim=1).float().requires_grad_()
    rate = coding_rate(z, eps)
    (found,) = torch.autograd.grad(rate, z)
    assert found.dtype == torch.float32
    exact = twin.coding_rate_gradient(z.detach().numpy(), eps)
    most = math.sqrt(d / n) / eps / 2
    assert np.linalg.norm(found.numpy() - exact, 2) < 5e-5 * most
    expected = twin.coding_rate(z.detach().numpy(), eps)
    assert abs(rate.item() - expected) < 1e-10 * min(n, d)


@pytest.mark.machine
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_double(dtype):
    z = normal(6, 4).to(dtype).requires_grad_()
    rate = coding_rate_reduction(z, instance_groups(3, 2), 0.5)
    exact = twin.coding_rate_reduction(z.detach().double().numpy(), np.tile(np.arange(3), 2), 0.5)
    assert abs(rate.item() - exact) < 1e-13
    (found,) = torch.autograd.grad(rate, z)
    assert found.dtype == dtype


def test_groups_are_factorised_at_once_on_their_smaller_side(monkeypatch):
    shapes = []
    real = torch.linalg.cholesky
    monkeypatch.setattr(torch.linalg, "cholesky", lambda a: shapes.append(a.shape) or real(a))
    coding_rate_reduction(normal(40, 30), instance_groups(20, 2), 1.0)
    assert shapes == [(30, 30), (20, 2, 2)]
    shapes.clear()
    labels = torch.tensor([0] * 3 + [1] * 3 + [2] * 7 + [9])
    coding_rate_reduction(normal(14, 4), labels, 1.0)
    assert shapes == [(4, 4), (1, 1, 1), (2, 3, 3), (1, 4, 4)]
    shapes.clear()
    coding_rate_reduction(normal(6, 9), torch.eye(3).repeat(2, 1), 1.0)
    assert shapes == [(6, 6), (2, 2), (2, 2), (2, 2)]  # rows without a share are left out


def test_instance_groups_label_stacked_views():
    z, z_prime = normal(5, 8), normal(5, 8, seed=1)
    labels = instance_groups(5, 2)
    found = coding_rate_reduction(torch.cat([z, z_prime]), labels, 0.5)
    rates = [coding_rate(torch.stack(pair), 0.5) for pair in zip(z, z_prime, strict=True)]
    exact = coding_rate(torch.cat([z, z_prime]), 0.5) - torch.stack(rates).mean()
    assert abs(found - exact) < 1e-13


@pytest.mark.machine
def test_zeros_tiny_distortions_and_huge_embeddings_have_finite_rates():
    assert coding_rate_reduction(torch.zeros(4, 3), torch.tensor([0, 0, 1, 1]), 1e-3) == 0
    z = torch.eye(3, dtype=torch.float64)
    assert abs(coding_rate(z, 1e-200) - 3 * 200 * math.log(10)) < 1e-9
    assert abs(coding_rate(1e200 * z, 1.0) - 3 * 200 * math.log(10)) < 1e-9
    assert abs(coding_rate_reduction(z, torch.arange(3), 1e-200)) > 100


@pytest.mark.machine
@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e-12, 1.0, 1e15, 1e25])
@pytest.mark.parametrize("eps", [1e-6, 1e-3, 0.7])
def test_embeddings_whose_squares_leave_float32_take_the_route_of_their_true_norm(scale, eps):
    # One direction: the other eigenvalues, 1 exactly, are lost in a Gram matrix that is too large.
    z = (scale * normal(60, 1).double() * torch.linspace(0.3, 1.7, 5)).float()
    found = coding_rate(z, eps * scale)
    assert abs(found - coding_rate(z.double(), eps * scale)) < 1e-8
    expected = twin.coding_rate(z.double().numpy(), eps * scale)
    assert abs(float(found) - expected) < 1e-8


@pytest.mark.parametrize(("n", "m", "d"), [(6, 8, 4), (4, 9, 6)])
def test_a_linear_encoder_of_identical_unit_views_ends_at_the_analytic_optimum(n, m, d):
    x, labels, eps = normal(n, m), instance_groups(n, 2), 0.5
    w = (0.1 * normal(d, m, seed=1)).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [w], max_iter=300, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def loss():
        z = torch.nn.functional.normalize(x @ w.T, dim=1)
        return -coding_rate_reduction(torch.cat([z, z]), labels, eps)

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    start = -loss().item()
    optimizer.step(closure)
    best = best_instance_reduction(n, d, eps)
    assert start < best - 0.1
    # Where the gradient vanishes, the value is off by its square over the curvature.
    assert abs(-loss().item() - best) < 1e-9


Z = torch.ones(4, 2)
LABELS = torch.tensor([0, 0, 1, 1])
HALVES = torch.full((4, 2), 0.5)
REFUSED = [
    (Z, LABELS, 0.0, "eps is 0.0; expected"),
    (Z, LABELS, -1.0, "eps is -1.0; expected"),
    (Z, LABELS, math.nan, "eps is nan; expected"),
    (Z[:1], LABELS[:1], 1.0, r"z has shape \(1, 2\); expected .* at least 2"),
    (Z * 1j, LABELS, 1.0, "z is complex; expected real numbers"),
    (Z[0], LABELS, 1.0, r"z has shape \(2,\); expected"),
    (Z * math.nan, LABELS, 1.0, "z holds .*NaN"),
    (Z * math.inf, LABELS, 1.0, "z holds .*infinite"),
    (Z, LABELS[:3], 1.0, r"groups has shape \(3,\) .*; expected 4 integer labels"),
    (Z, LABELS.float(), 1.0, "groups has .*float32; expected 4 integer labels"),
    (Z, LABELS[None, None], 1.0, r"groups has shape \(1, 1, 4\)"),
    (Z, HALVES[:3], 1.0, r"groups has shape \(3, 2\).*; expected"),
    (Z, HALVES[:, :0], 1.0, r"groups has shape \(4, 0\).*; expected"),
    (Z, torch.tensor([[1.0, 0.0]] * 4), 1.0, "no member in column 1; expected none empty"),
    (Z, torch.tensor([[1.5, -0.5]] * 4), 1.0, "share of -0.5; expected none below zero"),
    (Z, 0.9 * HALVES, 1.0, "sum is 0.1 off 1; expected rows of sum 1"),
    (Z, HALVES * math.nan, 1.0, "groups holds .*NaN"),
]


@pytest.mark.parametrize(("z", "groups", "eps", "message"), REFUSED)
def test_unfit_input_is_refused_in_one_line_by_both_rooms(z, groups, eps, message):
    given = [(coding_rate_reduction, z, groups)]
    for reduction in (twin.coding_rate_reduction, twin.coding_rate_reduction_gradient):
        given.append((reduction, z.numpy(), groups.numpy()))
    for reduction, *arrays in given:
        with pytest.raises(ValueError, match=message) as error:
            reduction(*arrays, eps)
        assert "\n" not in str(error.value)


def test_shares_that_need_a_gradient_and_no_images_are_refused():
    with pytest.raises(ValueError, match="groups requires a gradient"):
        coding_rate_reduction(Z, HALVES.clone().requires_grad_(), 1.0)
    with pytest.raises(ValueError, match="n is 0"):
        instance_groups(0, 2)


def test_labels_with_gaps_booleans_and_lists_are_labels():
    z = normal(4, 3)
    exact = coding_rate_reduction(z, LABELS, 0.5)
    for groups in ([-5, -5, 90, 90], LABELS.bool(), LABELS.to(torch.uint8), LABELS.numpy()):
        assert coding_rate_reduction(z, groups, 0.5) == exact
        found = twin.coding_rate_reduction(z.numpy(), np.asarray(groups), 0.5)
        assert abs(found - exact.item()) < 1e-13


def test_a_scale_that_overflows_is_refused_in_one_line():
    z = torch.ones(4, 2, dtype=torch.float64)
    assert math.isfinite(float(coding_rate(1e300 * z, 1.0)))
    for call in (
        lambda: coding_rate(1e300 * z, 1e-100),
        lambda: coding_rate_reduction(1e307 * z, torch.tensor([0, 0, 1, 1]), 1e-2),
    ):
        with pytest.raises(ValueError, match="overflows; expected a smaller scale of z") as caught:
            call()
        assert "\n" not in str(caught.value)
