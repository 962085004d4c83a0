"""Rows of unit norm, and dead rows among them."""

import pytest
import torch
from tolerances import rounding

from sslsim.core.unit_rows import unit_rows
from sslsim.methods.dino import UnitLinear
from sslsim.objectives import byol, simclr


@pytest.mark.machine
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_those_of_normalize(dtype):
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=dtype)
    z[1] *= 1e-9
    z.requires_grad_()
    found, expected = unit_rows(z), torch.nn.functional.normalize(z, dim=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=rounding(dtype, 5))
    gradients = [torch.autograd.grad(v.pow(3).sum(), z)[0] for v in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=rounding(dtype, 20), atol=rounding(dtype, 20))


@pytest.mark.parametrize(
    "loss",
    [
        lambda z: unit_rows(z).pow(3).sum(),
        lambda z: simclr(z, z.flip(0) + 1),
        lambda z: byol(z, z.flip(0), z + 1, z - 1),
        lambda z: UnitLinear(3, 2).double()(z).pow(2).sum(),
    ],
)
def test_dead_rows_leave_derivatives_of_three_orders_finite(loss):
    torch.manual_seed(0)
    hidden = torch.randn(4, 3, dtype=torch.float64).abs()
    hidden[2] = 0  # a sample of which no unit is active
    weight = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    value = loss(hidden @ weight)
    for _ in range(3):
        (gradient,) = torch.autograd.grad(value, weight, create_graph=True)
        assert gradient.isfinite().all()
        assert gradient.abs().max() < 1e4
        value = gradient.square().sum()
