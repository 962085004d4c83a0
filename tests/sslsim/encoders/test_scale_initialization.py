"""The scale of the initialisation: which parameters, and by which power embeddings follow."""

import copy
import math

import pytest
import torch
from torch import nn

from sslsim.core.seeds import seeded
from sslsim.encoders.build import ENCODERS, build_encoder
from sslsim.encoders.initialization import scale_initialization
from sslsim.encoders.resnet import resnet

DIGITS = (1, 8, 8)


def images(n=6, shape=DIGITS):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, *shape, generator=generator, dtype=torch.float64)


def without_eps(module):
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eps = 1e-40  # torch asks for more than zero
    return module


def ratio(module, factor, x, **options):
    """Exponent said, and least and largest of output over factor^exponent times output before."""
    scaled = copy.deepcopy(module)
    exponent = scale_initialization(scaled, factor, **options)
    before, after = module(x).detach(), scaled(x).detach()
    assert torch.equal(before == 0, after == 0)  # behind a ReLU
    found = (after / before)[before != 0] / factor ** (exponent or 0)
    return exponent, found.min().item(), found.max().item()


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_last_is_exact_for_every_encoder(name):
    encoder = build_encoder(name, DIGITS, 4, seed=0, projector="linear")
    x = images().float()
    before = encoder(x)
    assert scale_initialization(encoder, 2.0**-10, which="last") == 1
    assert torch.equal(encoder(x), before * 2.0**-10)  # a power of two rounds nothing
    scale_initialization(encoder, 3.0, which="last")
    assert torch.allclose(encoder(x), before * 2.0**-10 * 3, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "scaling", "expected"),
    [
        ("linear", {}, {}, 1),
        ("linear", {"widths": (6, 5, 4)}, {}, 3),
        ("mlp", {}, {}, 3),
        ("mlp", {"widths": (8,) * 4, "parameterization": "ntk"}, {"which": "weights"}, 5),
        ("mlp", {"widths": (4,), "projector": "none"}, {}, 1),
        ("mlp", {"widths": (4,), "projector": "none"}, {"which": "last"}, 1),
        ("convnet", {}, {}, 4),
        ("convnet", {"projector": "mlp", "projector_widths": (8,)}, {}, 1),
        ("convnet", {"projector": "mlp", "projector_widths": (8, 8)}, {"batch_norm": "gain"}, 2),
        ("resnet18", {}, {}, 1),
        ("resnet18", {}, {"which": "weights"}, 1),
        ("resnet18", {}, {"batch_norm": "gain"}, 2),
        ("resnet50", {}, {"batch_norm": "gain"}, 2),
        ("resnet18", {"projector": "mlp", "projector_widths": (8,)}, {"batch_norm": "gain"}, 2),
    ],
)
def test_exponents(name, options, scaling, expected):
    encoder = without_eps(build_encoder(name, DIGITS, 4, seed=0, **options).double())
    # Larger images where BatchNorm would have a few values only.
    x = images(6, (1, 8, 8) if name in ("linear", "mlp") else (1, 16, 16))
    exponent, low, high = ratio(encoder, 0.37, x, **scaling)
    assert exponent == expected
    assert abs(low - 1) + abs(high - 1) < 1e-6


@pytest.mark.parametrize(
    ("name", "scaling"),
    [("vit_tiny", {}), ("vit_tiny", {"which": "weights"}), ("vit_tiny", {"batch_norm": "gain"})],
)
def test_transformers_follow_no_power(name, scaling):
    encoder = build_encoder(name, DIGITS, 4, seed=0).double()
    exponent, low, high = ratio(encoder, 0.37, images(), **scaling)
    assert exponent is None
    assert high - low > 0.01 * abs(low)


def test_a_residual_sum_of_different_powers_follows_none():
    with seeded(0):
        block = resnet(18).layer1[0].double()  # its shortcut is the input as it is
    x = images(4, (64, 3, 3))
    exponent, low, high = ratio(without_eps(block), 0.37, x)
    assert exponent == 0
    assert abs(low - 1) + abs(high - 1) < 1e-9
    scaled = copy.deepcopy(block)
    assert scale_initialization(scaled, 0.37, batch_norm="gain") is None
    before, after = block(x), scaled(x)
    both = (before > 0) & (after > 0)
    found = (after / before)[both]
    assert found.max() - found.min() > 0.1


def biased(*parts):
    with seeded(2):
        return nn.Sequential(*[part() for part in parts]).double()


@pytest.mark.parametrize(
    ("parts", "scaling", "expected"),
    [
        # A bias in the first layer has the weight's power, behind another weight it has not.
        ([lambda: nn.Linear(6, 5)], {}, 1),
        ([lambda: nn.Linear(6, 5)], {"which": "weights"}, None),
        ([lambda: nn.Linear(6, 5), nn.ReLU, lambda: nn.Linear(5, 3)], {}, None),
        ([lambda: nn.Linear(6, 5), nn.ReLU, lambda: nn.Linear(5, 3)], {"which": "last"}, 1),
        ([lambda: nn.Linear(6, 5), nn.ReLU, lambda: nn.Linear(5, 3, bias=False)], {}, 2),
        ([lambda: nn.Linear(6, 5), nn.Tanh, lambda: nn.Linear(5, 3)], {}, None),
        ([lambda: nn.Linear(6, 5), nn.Tanh, lambda: nn.Linear(5, 3)], {"which": "last"}, 1),
        ([lambda: nn.Linear(6, 5), lambda: nn.BatchNorm1d(5)], {}, 0),
        ([lambda: nn.Linear(6, 5), lambda: nn.BatchNorm1d(5)], {"batch_norm": "gain"}, 1),
        ([lambda: nn.Linear(6, 5), lambda: nn.BatchNorm1d(5, affine=False)], {}, 0),
    ],
)
def test_biases_and_unknown_parts(parts, scaling, expected):
    net = without_eps(biased(*parts))
    exponent, low, high = ratio(net, 0.37, images(12, (6,)), **scaling)
    assert exponent == expected
    if expected is None:
        assert high - low > 0.01 * abs(low)
    else:
        assert abs(low - 1) + abs(high - 1) < 1e-9


def test_a_layer_used_twice_counts_twice():
    with seeded(0):
        layer = nn.Linear(4, 4, bias=False)
        net = nn.Sequential(layer, nn.ReLU(), layer).double()
    exponent, low, high = ratio(net, 0.5, images(4, (4,)) - 0.2)
    assert exponent == 2
    assert low == high == 1


def test_a_bias_of_batchnorm_other_than_zero():
    net = biased(lambda: nn.Linear(6, 5), lambda: nn.BatchNorm1d(5), lambda: nn.Linear(5, 3, False))
    nn.init.ones_(net[1].bias)
    assert ratio(net, 0.5, images(12, (6,)))[0] == 1
    assert ratio(without_eps(net), 0.5, images(12, (6,)), batch_norm="gain")[0] == 2


def test_the_eps_of_batchnorm_costs_what_is_said():
    net = biased(lambda: nn.Linear(6, 5, bias=False), lambda: nn.BatchNorm1d(5))
    x = images(12, (6,))
    variance = net[0](x).var(0, unbiased=False)
    for factor in (0.5, 0.2):
        scaled = copy.deepcopy(net)
        assert scale_initialization(scaled, factor) == 0
        shrunk = 1 - scaled(x)[0] / net(x)[0]
        said = (1 / factor**2 - 1) * net[1].eps / (2 * variance)
        assert torch.allclose(shrunk, said, rtol=0.05)


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({}, {"0.weight", "0.bias", "3.weight", "3.bias"}),
        ({"which": "weights"}, {"0.weight", "3.weight"}),
        ({"which": "last"}, {"3.weight", "3.bias"}),
        (
            {"batch_norm": "gain"},
            {"0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"},
        ),
        (
            {"which": "weights", "batch_norm": "gain"},
            {"0.weight", "1.weight", "1.bias", "3.weight"},
        ),
    ],
)
def test_what_is_multiplied(options, changed):
    net = biased(
        lambda: nn.Linear(6, 5), lambda: nn.BatchNorm1d(5), nn.ReLU, lambda: nn.Linear(5, 3)
    )
    for parameter in net.parameters():
        nn.init.uniform_(parameter, 1, 2)
    before = {name: p.clone() for name, p in net.named_parameters()}
    scale_initialization(net, 0.25, **options)
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter, before[name] * (0.25 if name in changed else 1)), name
        assert parameter.requires_grad
        assert parameter.is_leaf


@pytest.mark.parametrize("trained_only", [False, True])
def test_parameters_without_gradients_are_multiplied_unless_only_trained_ones_are(trained_only):
    net = nn.Sequential(nn.Linear(3, 2).requires_grad_(False), nn.Linear(2, 2))
    before = [parameter.clone() for parameter in net.parameters()]
    scale_initialization(net, 0.5, trained_only=trained_only)
    factors = [1.0 if trained_only else 0.5] * 2 + [0.5] * 2
    for parameter, was, factor in zip(net.parameters(), before, factors, strict=True):
        assert torch.equal(parameter, was * factor)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"factor": 0.0}, "factor is 0.0"),
        ({"factor": -1.0}, "factor is -1.0"),
        ({"factor": math.inf}, "factor is inf"),
        ({"factor": math.nan}, "factor is nan"),
        ({"which": "first"}, "which is 'first'"),
        ({"batch_norm": "off"}, "batch_norm is 'off'"),
        ({"which": "last", "batch_norm": "gain"}, "expected 'keep'"),
        ({"module": nn.Conv2d(1, 1, 1), "which": "last"}, "no nn.Linear"),
    ],
)
def test_bad_input(given, message):
    with pytest.raises(ValueError, match=message):
        scale_initialization(**{"module": nn.Linear(2, 2), "factor": 0.5, **given})
