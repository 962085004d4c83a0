"""Tangent kernels of drawn architectures against the contraction of their full Jacobians."""

import re

import jacobians
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sslsim.core.seeds import seeded
from sslsim.encoders.vit import Block
from sslsim.ntk import empirical_ntk, layer_ntks

assert_equal, draw, full_kernel = jacobians.assert_equal, jacobians.draw, jacobians.full_kernel
randomise, trace = jacobians.randomise, jacobians.trace


COUNTS = st.integers(1, 3)


class Residual(nn.Module):
    """Sum of a branch and a short cut, in place as in many ResNets or not."""

    def __init__(self, branch, shortcut, in_place):
        super().__init__()
        self.branch, self.shortcut, self.in_place = branch, shortcut, in_place

    def forward(self, x):
        """Branch + short cut."""
        out = self.branch(x)
        if self.in_place:
            out += self.shortcut(x)
            return out
        return out + self.shortcut(x)


class Gain(nn.Module):
    """A factor a channel or token entry, which no hook sees."""

    def __init__(self, shape):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(shape[0], *[1] * (len(shape) - 1)))

    def forward(self, x):
        """(n, ...) -> (n, ...)."""
        return x * self.gain


class Tokens(nn.Module):
    """Places of an image as tokens: (n, c, h, w) -> (n, h w, c)."""

    def forward(self, x):
        """Flatten and transpose."""
        return x.flatten(2).transpose(1, 2)


class MeanToken(nn.Module):
    """Mean over tokens."""

    def forward(self, x):
        """(n, t, w) -> (n, w)."""
        return x.mean(1)


def out_shape(module, shape):
    with torch.no_grad():
        return tuple(module.eval()(torch.zeros(2, *shape)).shape[1:])


def activations():
    return st.sampled_from([nn.Tanh, nn.GELU, nn.ReLU, nn.Softplus]).map(lambda kind: kind())


# What is overwritten by these, no gradient needs: torch itself refuses to overwrite a tanh.
IN_PLACE = (nn.ReLU, nn.SiLU, nn.Hardtanh)


@st.composite
def convolutions(draw_one, shape, same=False):
    channels, *sides = shape
    groups = draw_one(st.sampled_from([g for g in (1, 2, 4) if channels % g == 0]))
    outputs = channels if same else groups * draw_one(st.integers(1, 2))
    bias = draw_one(st.booleans())
    mode = draw_one(st.sampled_from(["zeros", "zeros", "circular", "replicate"]))
    if same:
        side = draw_one(st.sampled_from([1, 3]))
        return nn.Conv2d(
            channels, outputs, side, padding="same", groups=groups, bias=bias, padding_mode=mode
        )
    kernel, padding, dilation = [], [], []
    for side in sides:
        kernel.append(draw_one(st.integers(1, min(3, side))))
        padding.append(draw_one(st.integers(0, min(2, side - 1))))
        fits = kernel[-1] == 1 or 2 * (kernel[-1] - 1) < side + 2 * padding[-1]
        dilation.append(draw_one(st.integers(1, 2 if fits else 1)))
    stride = (draw_one(st.integers(1, 3)), draw_one(st.integers(1, 2)))
    sizes = (tuple(kernel), stride, tuple(padding), tuple(dilation))
    return nn.Conv2d(channels, outputs, *sizes, groups, bias, mode)


@st.composite
def layers(draw_one, shape, same=False):
    """One layer that takes the shape; with ``same`` one that gives it back."""
    kinds = ["linear", "activation", "norm", "gain", "layer norm"]
    if len(shape) == 3:
        kinds = ["convolution", "convolution", "activation", "norm", "group norm", "gain"]
        kinds += [] if same or min(shape[1:]) < 2 else ["pooling"]
        kinds += ["layer norm"]
    kind = draw_one(st.sampled_from(kinds))
    bias = draw_one(st.booleans())
    width = shape[0] if len(shape) == 3 else shape[-1]
    if kind == "activation":
        return draw_one(activations())
    if kind == "convolution":
        return draw_one(convolutions(shape, same))
    if kind == "linear":
        return nn.Linear(width, width if same else draw_one(st.integers(1, 5)), bias=bias)
    if kind == "norm" and len(shape) != 2:
        norm = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
        return norm(width, affine=bias)
    if kind == "group norm":
        groups = draw_one(st.sampled_from([g for g in (1, 2, 4) if width % g == 0]))
        return nn.GroupNorm(groups, width)
    if kind == "pooling":
        return draw_one(st.sampled_from([nn.AvgPool2d, nn.MaxPool2d]))(2)
    if kind == "gain":
        return Gain(shape)
    axes = draw_one(st.integers(1, len(shape)))
    return nn.LayerNorm(shape[len(shape) - axes :])


@st.composite
def architectures(draw_one):
    """A module of drawn layers, and the shape of its inputs."""
    first = draw_one(
        st.sampled_from([(5,), (3, 4), (2, 3, 5), (1, 5, 5), (2, 5, 4), (4, 4, 4), (4, 1, 3)])
    )
    body, shape = [], first

    def put(module):
        body.append(module)
        return out_shape(module, shape)

    for _ in range(draw_one(st.integers(1, 4))):
        form = draw_one(st.sampled_from(["layer", "layer", "residual", "shared", "block"]))
        if form == "layer":
            shape = put(draw_one(layers(shape)))
        elif form == "residual":
            branch = [draw_one(layers(shape, same=True)) for _ in range(draw_one(COUNTS))]
            shortcut = Gain(shape) if draw_one(st.booleans()) else nn.Identity()
            shape = put(Residual(nn.Sequential(*branch), shortcut, False))
        elif form == "shared":
            layer, between = draw_one(layers(shape, same=True)), draw_one(activations())
            shape = put(nn.Sequential(layer, between, layer))
        elif len(shape) == 2:
            if shape[1] % 4 == 0:
                shape = put(Block(shape[1], draw_one(st.sampled_from([1, 2]))))
        elif len(shape) == 3 and draw_one(st.booleans()):
            shape = put(Tokens())
        elif len(shape) == 3:  # as in ResNets
            branch = draw_one(convolutions(shape, same=True))
            shape = put(Residual(branch, nn.Identity(), True))
            shape = put(draw_one(st.sampled_from(IN_PLACE))(inplace=True))
    if len(shape) == 2:
        shape = put(MeanToken())
    elif len(shape) == 3:
        pool = draw_one(st.sampled_from([nn.Flatten, lambda: nn.AdaptiveAvgPool2d(1)]))()
        shape = put(pool)
        if len(shape) > 1:
            shape = put(nn.Flatten())
    put(nn.Linear(shape[0], draw_one(st.integers(1, 3))))
    with seeded(draw_one(st.integers(0, 9))):
        return randomise(nn.Sequential(*body)), first


SIZES = st.tuples(st.integers(1, 4), st.integers(1, 3))
FORMS = st.sampled_from(["trace", "full", "indices", "projection"])


@pytest.mark.slow
@settings(max_examples=60)
@given(architectures(), SIZES, st.booleans(), FORMS, st.sampled_from(["auto", "auto", "func"]))
def test_the_kernel_of_any_architecture(architecture, sizes, symmetric, form, engine):
    module, shape = architecture
    x1, x2 = draw(sizes[0], *shape), None if symmetric else draw(sizes[1], *shape, seed=4)
    full = full_kernel(module, x1, x2)
    d = full.shape[2]
    matrix = draw(d, 2)
    output, expected = {
        "trace": ("trace", trace(full)),
        "full": ("full", full),
        "indices": ([d - 1], full[:, :, d - 1, d - 1]),
        "projection": (matrix, torch.einsum("ijkl,kp,lp->ij", full, matrix, matrix)),
    }[form]
    assert_equal(empirical_ntk(module, x1, x2, output=output, engine=engine), expected)


@settings(max_examples=20)
@given(architectures(), SIZES)
def test_parts_of_any_architecture_and_what_hooks_see_of_it(architecture, sizes):
    module, shape = architecture
    x1, x2 = draw(sizes[0], *shape), draw(sizes[1], *shape, seed=4)
    parts = layer_ntks(module, x1, x2)
    assert list(parts) == [name for name, _ in module.named_parameters()]
    expected = trace(full_kernel(module, x1, x2))
    assert_equal(sum(parts.values()), expected)
    unseen = [name for name in parts if name.endswith(".gain")]
    if unseen:
        message = re.escape(f"hooks do not see every use of {', '.join(unseen)}; expected")
        with pytest.raises(ValueError, match=message):
            empirical_ntk(module, x1, x2, engine="hooks")
    else:
        assert_equal(empirical_ntk(module, x1, x2, engine="hooks"), expected)


@settings(max_examples=20)
@given(architectures(), SIZES, st.booleans(), st.sampled_from(["trace", "full"]))
def test_the_least_budget_that_is_told_is_enough(architecture, sizes, symmetric, output):
    module, shape = architecture
    x1, x2 = draw(sizes[0], *shape), None if symmetric else draw(sizes[1], *shape, seed=4)
    with pytest.raises(ValueError, match="memory_budget is 1 bytes; expected") as caught:
        empirical_ntk(module, x1, x2, output=output, memory_budget=1)
    least = int(str(caught.value).split("expected ")[1].split()[0])
    found = empirical_ntk(module, x1, x2, output=output, memory_budget=least)
    assert_equal(found, empirical_ntk(module, x1, x2, output=output))
    with pytest.raises(ValueError, match=f"expected {least} or more"):
        empirical_ntk(module, x1, x2, output=output, memory_budget=least - 1)
