"""The two forms of a weight's part of the kernel, and the type of what is summed."""

import jacobians
import pytest
import torch
from tolerances import rounding
from torch import nn

from sslsim.core.seeds import seeded
from sslsim.ntk import empirical_ntk, layers
from sslsim.ntk.layers import Call, WeightShape, by_places, gradients, product

draw, trace = jacobians.draw, jacobians.trace


@pytest.mark.parametrize("chosen", [False, True])
def test_both_forms_give_the_kernel(monkeypatch, chosen):
    with seeded(0):
        module = nn.Sequential(
            nn.Conv2d(2, 3, (3, 2), stride=2, padding=1, dilation=(1, 2), padding_mode="circular"),
            nn.Tanh(),
            nn.Flatten(2),
            nn.LazyLinear(4),
            nn.Flatten(),
            nn.Linear(12, 2),
        ).double()
        x, other = draw(3, 2, 7, 6), draw(2, 2, 7, 6, seed=4)
        module(x)
    counted = []

    def choose(shape, rows, passes):
        counted.append(chosen)
        return chosen

    monkeypatch.setattr(layers, "by_places", choose)
    for inputs in ((x,), (x, other)):
        expected = trace(jacobians.full_kernel(module, *inputs))
        jacobians.assert_equal(empirical_ntk(module, *inputs, engine="hooks"), expected)
    assert len(counted) == 2 * 3 * 2  # kernels, weights, outputs


def test_the_form_with_fewer_operations_is_taken():
    deep, early = WeightShape(16, 512, 4608, 1, 9), WeightShape(1024, 64, 576, 1, 9)
    assert by_places(deep, (32, 32), 10)
    assert not by_places(early, (32, 32), 10)
    assert not by_places(WeightShape(16, 512, 4608, groups=2), (32, 32), 10)


@pytest.mark.machine
def test_gradients_of_float32_are_multiplied_in_float64():
    gradient = draw(3, 50_000).float()
    found = product(gradient, (slice(0, 2), slice(1, 3)))
    assert found.dtype == torch.float64
    expected = gradient[:2].double() @ gradient[1:].double().T
    tolerance = rounding(torch.float64, 50_000, scale=gradient.square().sum(1).max().item())
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("work", [1, 3000, 10**6])
def test_parts_of_a_gradient_add_up_to_it(groups, work):
    with seeded(1):
        layer = nn.Conv2d(6, 6, 3, padding=1, groups=groups).double()
    x = draw(2, 6, 4, 5)
    g = draw(2, 6, 4, 5, seed=9)
    call = Call(layer, x, 0)
    parts = [part for name, part in gradients(call, g, ["weight"], work)]
    whole = dict(gradients(call, g, ["weight", "bias"], 0))
    assert len(parts) > 1 or work == 10**6
    together = torch.cat(parts, 1)
    assert together.shape == whole["weight"].shape == (2, layer.weight.numel())
    jacobians.assert_equal(together.square().sum(1), whole["weight"].square().sum(1))
    for i in range(2):
        expected = torch.autograd.grad(layer(x[i : i + 1]), tuple(layer.parameters()), g[i : i + 1])
        jacobians.assert_equal(whole["weight"][i], expected[0].flatten())
        jacobians.assert_equal(whole["bias"][i], expected[1])
