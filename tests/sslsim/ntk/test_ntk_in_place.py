"""Tangent kernels of modules that overwrite tensors, hold a layer twice or leave finite numbers."""

import jacobians
import pytest
import torch
from torch import nn
from torch.nn import functional

from sslsim.core.seeds import seeded
from sslsim.ntk import empirical_ntk, layer_ntks, sketched_ntk

assert_equal, draw, full_kernel = jacobians.assert_equal, jacobians.draw, jacobians.full_kernel
trace = jacobians.trace


class Written(nn.Module):
    """Two linear maps around a function that overwrites."""

    def __init__(self, between):
        super().__init__()
        self.first, self.last, self.between = nn.Linear(4, 4), nn.Linear(4, 3), between

    def forward(self, x):
        """(n, 4) -> (n, 3)."""
        return self.last(self.between(self.first, x))


def made(between):
    with seeded(0):
        return Written(between).double()


def relu(layer, x):
    return functional.relu_(layer(x))


def added(layer, x):
    y = torch.sin(x)
    out = layer(y)
    out += y
    return out


def part_of_the_output(layer, x):
    y = layer(x)
    y[:, :2].mul_(2)
    y[:, 1:].relu_()
    return torch.tanh(y)


def into_zeros(layer, x):
    y = torch.zeros_like(x)
    y[:, 1:] = torch.tanh(layer(x))[:, 1:]
    return y


def sigmoid(layer, x):
    return layer(x).sigmoid_().sin()


@pytest.mark.parametrize("between", [relu, added, part_of_the_output, into_zeros, sigmoid])
@pytest.mark.parametrize("engine", ["hooks", "func"])
def test_outputs_that_are_overwritten(between, engine):
    module, x = made(between), draw(4, 4)
    full = full_kernel(module, x)
    assert_equal(empirical_ntk(module, x, engine=engine), trace(full))
    assert_equal(empirical_ntk(module, x, engine=engine, output="full"), full)


@pytest.mark.parametrize("engine", ["hooks", "func"])
def test_inputs_that_are_overwritten(engine):
    def doubled(layer, x):
        return torch.tanh(layer(x.mul_(2)))

    module, x = made(doubled), draw(4, 4)
    twice, before = made(lambda layer, x: torch.tanh(layer(2 * x))), x.clone()
    assert_equal(empirical_ntk(module, x, engine=engine), trace(full_kernel(twice, x)))
    sketched = sketched_ntk(module, x, sketch=5, seed=0).kernel
    assert torch.equal(sketched, sketched_ntk(twice, x, sketch=5, seed=0).kernel)
    assert torch.equal(x, before)


def overwritten_tanh(layer, x):
    return torch.tanh(layer(x)).relu_()


def overwritten_exponential(layer, x):
    return layer(x).exp_().mul_(2)


def input_of_the_layer(layer, x):
    y = torch.sin(x)
    out = layer(y)
    y.mul_(2)
    return out + y


def parameter(layer, x):
    return layer(x) * layer.bias.mul_(2)


@pytest.mark.parametrize(
    ("between", "message"),
    [
        (overwritten_tanh, r"Written changes in place what its gradient needs \(.*\); expected"),
        (overwritten_exponential, r"Written changes in place what its gradient needs \(.*\)"),
        (input_of_the_layer, "the input of a Linear was changed in place after its call; expected"),
        (parameter, r"Written changes in place what its gradient needs \(.*\); expected"),
    ],
)
def test_what_gradients_need_is_not_to_be_overwritten(between, message):
    for engine in ("auto", "func"):
        told = message if engine == "auto" or between is parameter else "torch.func cannot"
        with pytest.raises(ValueError, match=told) as caught:
            empirical_ntk(made(between), draw(4, 4), engine=engine)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("engine", ["auto", "func"])
def test_a_module_that_holds_a_layer_twice_keeps_its_parameters(engine):
    with seeded(1):
        layer = nn.Linear(4, 4)
        module = nn.Sequential(layer, nn.Tanh(), layer, nn.Conv1d(1, 1, 1), nn.Flatten())
        module.insert(3, nn.Unflatten(1, (1, 4)))
        module = module.double()
    x, before = draw(3, 4), dict(module.named_parameters())
    full = full_kernel(module, x)
    for _ in range(2):
        assert_equal(empirical_ntk(module, x, engine=engine), trace(full))
    sketched_ntk(module, x, sketch=2, seed=0)
    after = dict(module.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is value for name, value in before.items())


def test_infinite_parameters_are_told():
    module = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    with torch.no_grad():
        module[2].weight[0, 0] = torch.inf
    for engine in ("auto", "func"):
        with pytest.raises(ValueError, match="outputs of Sequential are not finite; expected fin"):
            empirical_ntk(module, torch.ones(3, 2), engine=engine)


class Root(nn.Module):
    """Finite at zero, where its derivative is not."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1, bias=False)

    def forward(self, x):
        """(n, 2) -> (n, 1)."""
        return self.layer(x).abs().sqrt()


def test_gradients_and_late_outputs_that_are_not_finite_are_told(tmp_path):
    x = torch.ones(4, 2)
    x[3] = 0
    message = "gradients of Root are not finite; expected finite numbers"
    for engine in ("auto", "func"):
        with pytest.raises(ValueError, match=message):
            empirical_ntk(Root(), x, engine=engine, resume=tmp_path / engine)
        assert not list((tmp_path / engine).glob("*.npy"))
        with pytest.raises(ValueError, match=message):
            layer_ntks(Root(), x, engine=engine)
    late = nn.Linear(2, 2)
    x[3] = 3e38
    with torch.no_grad():
        late.weight.fill_(10.0)
    for engine in ("auto", "func"):
        with pytest.raises(
            ValueError, match="outputs of Linear are not finite; expected finite numbers"
        ):
            empirical_ntk(late, x, engine=engine)
