"""Normalisations by elementary operations: torch's values, and derivatives of three orders."""

import pytest
import torch
from torch import nn

from sslsim.umm.split import elementary_normalisation

LAYERS = {
    "batch": (lambda: nn.BatchNorm1d(3), (6, 3)),
    "maps": (lambda: nn.BatchNorm2d(3), (4, 3, 2, 2)),
    "mean of all": (lambda: nn.BatchNorm1d(3, momentum=None), (6, 3)),
    "no gain": (lambda: nn.BatchNorm1d(3, affine=False), (6, 3)),
    "no statistics": (lambda: nn.BatchNorm1d(3, track_running_stats=False), (6, 3)),
    "layer": (lambda: nn.LayerNorm(3), (6, 3)),
    "two axes": (lambda: nn.LayerNorm((2, 3)), (4, 2, 3)),
    "no offset": (lambda: nn.LayerNorm(3, bias=False), (6, 3)),
    "bare": (lambda: nn.LayerNorm(3, elementwise_affine=False), (6, 3)),
}


def made(name):
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer = make().double()
    for p in layer.parameters():
        nn.init.normal_(p)
    return layer, *(torch.randn(shape, dtype=torch.float64) for _ in range(5))


@pytest.mark.parametrize("name", LAYERS)
def test_values_and_statistics_are_those_of_torch(name):
    layer, x, more, *_ = made(name)
    other = made(name)[0]
    for training in (True, False):
        layer.train(training)
        other.train(training)
        for batch in (x, more):
            with elementary_normalisation(layer):
                found = layer(batch)
            torch.testing.assert_close(found, other(batch), rtol=1e-12, atol=1e-12)
    for value, expected in zip(layer.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    assert "forward" not in vars(layer)


def third(layer, x, w, v, u, d):
    """Third derivative along v, u and d, automatic and as a difference of the second."""

    def second(at):
        first = torch.autograd.grad((layer(at).square() * w).sum(), at, create_graph=True)[0]
        return (torch.autograd.grad((first * v).sum(), at, create_graph=True)[0] * u).sum()

    x.requires_grad_()
    exact = (torch.autograd.grad(second(x), x)[0] * d).sum().item()
    step = 1e-5
    ends = [second((x + sign * step * d).detach().requires_grad_()).item() for sign in (1, -1)]
    return exact, (ends[0] - ends[1]) / (2 * step)


@pytest.mark.parametrize("name", LAYERS)
def test_third_derivatives_are_right(name):
    layer, *values = made(name)
    with elementary_normalisation(layer):
        exact, difference = third(layer, *values)
    # Fifth derivatives of order 1e4 times 1e-10, and rounding 1e-13 / 1e-5.
    assert exact == pytest.approx(difference, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", ["batch", "layer"])
def test_those_of_torch_are_not(name):
    """Should this fail one day, torch has been put right and the module can go."""
    layer, *values = made(name)
    exact, difference = third(layer, *values)
    assert abs(exact - difference) > 0.1 * abs(difference)
