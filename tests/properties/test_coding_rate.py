"""Coding rate: what always holds, and that both rooms agree."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslsim.coding_rate import coding_rate
from theory.coding_rate import coding_rate as twin

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12)) | st.just((3, 40)) | st.just((40, 3))
EPS = st.floats(-3, 1).map(lambda power: 10**power)


def normal(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def bound(z, eps):
    """Rounding of the rate: 1e-16 of the matrix where that is formed, else of its square root."""
    n, d = z.shape
    energy = d / (n * eps**2) * z.square().sum().item()
    each = 2e-16 * energy if 2e-16 * energy < 1e-10 else 2e-16 * math.sqrt(energy)
    return 100 * min(n, d) * (each + 1e-16)


@given(SEEDS, SHAPES, EPS, st.sampled_from([torch.float32, torch.float64]), st.booleans())
def test_both_rooms_agree(seed, shape, eps, dtype, deficient):
    z = normal(seed, *shape)
    if deficient:
        z = z[:, :1] @ normal(seed + 1, 1, shape[1])
    z = z.to(dtype)
    found = coding_rate(z, eps)
    assert found.dtype == torch.float64
    exact = twin(z.double().numpy(), eps)
    assert abs(found.item() - exact) < bound(z, eps) + 1e-13 * exact


@given(SEEDS, SHAPES, EPS)
def test_rotation_transposition_scale_and_duplication(seed, shape, eps):
    n, d = shape
    z = normal(seed, n, d)
    rate, close = coding_rate(z, eps).item(), 2 * bound(z, eps) + 1e-12
    left, right = (torch.linalg.qr(normal(seed + k, k, k)).Q for k in (n, d))
    assert abs(coding_rate(left @ z @ right, eps).item() - rate) < close * (1 + rate)
    assert abs(coding_rate(z.flip(0), eps).item() - rate) < close * (1 + rate)
    assert abs(coding_rate(3 * z, 3 * eps).item() - rate) < close * (1 + rate)
    assert abs(coding_rate(torch.cat([z, z]), eps).item() - rate) < close * (1 + rate)
    # On the other side d and n change places, so eps grows by d / n.
    assert abs(coding_rate(z.T, eps * n / d).item() - rate) < close * (1 + rate)


@given(SEEDS, SHAPES, EPS)
def test_between_one_direction_and_all_alike(seed, shape, eps):
    n, d = shape
    z = normal(seed, n, d)
    a, energy, q = d / (n * eps**2), z.square().sum().item(), min(n, d)
    rate, close = coding_rate(z, eps).item(), bound(z, eps) + 1e-12
    lines = a * z.square().sum(dim=0 if d < n else 1)  # Hadamard, on the smaller side
    assert 0.5 * math.log1p(a * energy) <= rate + close * (1 + rate)
    assert rate <= q / 2 * math.log1p(a * energy / q) + close * (1 + rate)
    assert rate <= 0.5 * torch.log1p(lines).sum().item() + close * (1 + rate)
    assert coding_rate(0 * z, eps) == 0
    more = torch.cat([z, math.sqrt((n + 1) / n) * normal(seed + 1, 1, d)])
    grown = coding_rate(math.sqrt((n + 1) / n) * more, eps).item()  # the same a
    assert grown >= rate - (close + bound(more, eps)) * (1 + rate)


@pytest.mark.parametrize("shape", [(6, 4), (3, 5), (1, 1)])
@pytest.mark.parametrize("eps", [0.5, 1e-4])
def test_gradients_of_both_routes_and_orders(shape, eps):
    z = normal(0, *shape)
    if eps < 0.1:  # so ill-conditioned that finite differences fail: compare with a Z (I + ..)^-1
        n, d = shape
        z.requires_grad_()
        (found,) = torch.autograd.grad(coding_rate(z, eps), z)
        u, s, v = torch.linalg.svd(z.detach(), full_matrices=False)
        a = d / (n * eps**2)
        exact = (u * (a * s / (1 + a * s**2))) @ v
        torch.testing.assert_close(found, exact, rtol=1e-8, atol=1e-8)
    else:
        z.requires_grad_()
        assert torch.autograd.gradcheck(lambda x: coding_rate(x, eps), (z,))
        assert torch.autograd.gradgradcheck(lambda x: coding_rate(x, eps), (z,))


def test_second_derivative_where_the_factor_is_taken_by_qr():
    """For one number R = 1/2 log(1 + (z / eps)^2)."""
    z, eps = torch.tensor([[1.0]], dtype=torch.float64, requires_grad=True), 1e-6
    (first,) = torch.autograd.grad(coding_rate(z, eps), z, create_graph=True)
    (second,) = torch.autograd.grad(first, z)
    assert abs(first.item() - 1) < 1e-9
    assert abs(second.item() + 1) < 1e-9


@pytest.mark.parametrize(("n", "d"), [(256, 64), (64, 256), (128, 128)])
def test_rank_deficient_float32_at_a_tiny_eps(n, d):
    z = (normal(0, n, 8) @ normal(1, 8, d)).float()
    z = torch.nn.functional.normalize(z, dim=1)
    found, exact = coding_rate(z, 1e-6).item(), twin(z.double().numpy(), 1e-6)
    assert abs(found - exact) < 1e-7 * exact


def test_both_routes_meet_where_one_takes_over():
    z = torch.linalg.qr(normal(0, 30, 5)).Q * math.sqrt(30 / 5)  # unit singular values, a scaled
    for energy in (4.4e5, 4.6e5):  # either side of 1e-10 / machine epsilon
        eps = math.sqrt(5 / 30 * 30 / energy)
        exact = 2.5 * math.log1p(energy / 5)
        assert abs(coding_rate(z, eps).item() - exact) < 1e-9


@pytest.mark.parametrize("rate", [coding_rate, twin])
@pytest.mark.parametrize("eps", [0.0, -1.0, math.nan, math.inf])
def test_unfit_eps_is_refused(rate, eps):
    with pytest.raises(ValueError, match="eps is"):
        rate(torch.ones(2, 2), eps)


@pytest.mark.parametrize("rate", [coding_rate, twin])
def test_unfit_embeddings_are_refused(rate):
    with pytest.raises(ValueError, match="NaN"):
        rate(torch.tensor([[1.0, math.nan]]), 1.0)
    with pytest.raises(ValueError, match="z has shape"):
        rate(torch.ones(3), 1.0)
    with pytest.raises(ValueError, match="at least"):
        rate(torch.ones(0, 3), 1.0)
