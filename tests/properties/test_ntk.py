"""Tangent kernels against the contraction of full Jacobians, for drawn layers and sizes."""

import math

import jacobians
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sslsim.core.seeds import seeded
from sslsim.encoders.build import build_encoder
from sslsim.ntk import empirical_ntk, layer_ntks, pair_ntk

assert_equal, draw, full_kernel = jacobians.assert_equal, jacobians.draw, jacobians.full_kernel
randomise, trace = jacobians.randomise, jacobians.trace

COUNTS = st.integers(1, 4)


@st.composite
def convolutions(draw_one):
    groups = draw_one(st.sampled_from([1, 1, 2, 3]))
    stride = draw_one(st.integers(1, 3))
    padding = draw_one(st.sampled_from([0, 1, (2, 1)] + (["same", "valid"] if stride == 1 else [])))
    layer = nn.Conv2d(
        groups * draw_one(COUNTS),
        groups * draw_one(COUNTS),
        draw_one(st.sampled_from([1, 2, 3, (3, 2)])),
        stride=stride,
        padding=padding,
        dilation=draw_one(st.integers(1, 2)),
        groups=groups,
        bias=draw_one(st.booleans()),
        padding_mode=draw_one(st.sampled_from(["zeros", "reflect", "circular", "replicate"])),
    )
    return layer


# torch says it once a process, of even kernels with padding "same".
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=60)
@given(convolutions(), st.integers(5, 8), st.integers(5, 7), st.sampled_from([1, 2, 7]))
def test_convolutions(layer, height, width, n):
    with seeded(0):
        x = draw(n, layer.in_channels, height, width)
        features = layer.double()(x)[0].numel()
        module = randomise(nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.Linear(features, 2)))
    expected = full_kernel(module, x)
    assert_equal(empirical_ntk(module, x, engine="hooks"), trace(expected))
    assert_equal(empirical_ntk(module, x, output="full", engine="hooks"), expected)


class Tokens(nn.Module):
    """Linear maps and norms on (n, t, i) with the first axis for samples."""

    def __init__(self, inputs, width, outputs, bias):
        super().__init__()
        self.first = nn.Linear(inputs, width, bias=bias)
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, outputs, bias=bias)

    def forward(self, x):
        """Mean over tokens."""
        x = torch.tanh(self.norm(self.first(x)))
        return self.last(x).flatten(1, -2).mean(1)


@given(
    st.integers(1, 6),
    st.lists(st.integers(1, 5), max_size=2),
    COUNTS,
    st.integers(2, 6),
    COUNTS,
    st.booleans(),
)
def test_linear_maps_of_tokens(n, leading, inputs, width, outputs, bias):
    with seeded(1):
        module = randomise(Tokens(inputs, width, outputs, bias))
    x1, x2 = draw(n, *leading, 1, inputs), draw(3, *leading, 1, inputs, seed=4)
    expected = full_kernel(module, x1, x2)
    assert_equal(empirical_ntk(module, x1, x2, engine="hooks"), trace(expected))


@pytest.mark.slow
@given(st.sampled_from(["batch", "group", "layer"]), COUNTS, st.integers(2, 5), COUNTS)
def test_normalisations(kind, channels, side, n):
    channels *= 2
    norm = {
        "batch": lambda: nn.BatchNorm2d(channels),
        "group": lambda: nn.GroupNorm(2, channels),
        "layer": lambda: nn.LayerNorm((channels, side, side)),
    }[kind]()
    with seeded(2):
        layers = (nn.Conv2d(2, channels, 1), norm, nn.ReLU(inplace=True), nn.Flatten())
        module = randomise(nn.Sequential(*layers, nn.Linear(channels * side**2, 3)))
    x = draw(n, 2, side, side)
    expected = full_kernel(module, x)
    assert_equal(empirical_ntk(module, x, engine="hooks"), trace(expected))
    assert_equal(empirical_ntk(module, x, engine="func"), trace(expected))


ENCODERS = st.sampled_from(
    [("linear", (1, 3, 3), None), ("mlp", (1, 3, 3), (6, 5)), ("convnet", (2, 6, 5), (3, 4))]
)


def small_encoder(case, parameterization="standard", projector="linear"):
    name, shape, widths = case
    widths = (4,) if widths is None else widths
    encoder = build_encoder(
        name, shape, 3, seed=0, widths=widths, parameterization=parameterization,
        projector=projector, projector_widths=(5,) if projector == "mlp" else None,
    )  # fmt: skip
    return encoder.double().eval(), shape


@pytest.mark.slow
@settings(max_examples=25)
@given(ENCODERS, st.sampled_from(["standard", "ntk"]), st.integers(1, 5), st.integers(1, 4))
def test_kernels_are_symmetric_and_positive_and_their_parts_add_up(case, parameterization, n, n2):
    encoder, shape = small_encoder(case, parameterization)
    x, other = draw(n, *shape), draw(n2, *shape, seed=5)
    expected = full_kernel(encoder, x)
    kernel = empirical_ntk(encoder, x)
    assert_equal(kernel, trace(expected))
    assert torch.equal(kernel, kernel.T)
    full = empirical_ntk(encoder, x, output="full")
    assert torch.equal(full, full.permute(1, 0, 3, 2))
    for matrix in (kernel, full.permute(0, 2, 1, 3).reshape(3 * n, 3 * n)):
        values = torch.linalg.eigvalsh(matrix)
        assert values[0] >= -1e-12 * values[-1]
    parts = layer_ntks(encoder, x, other)
    assert list(parts) == [name for name, _ in encoder.named_parameters()]
    assert_equal(sum(parts.values()), empirical_ntk(encoder, x, other))
    for part in layer_ntks(encoder, x).values():
        assert torch.equal(part, part.T)


@pytest.mark.slow
@settings(max_examples=25)
@given(ENCODERS, st.integers(1, 6), st.floats(0, 1), st.sampled_from(["trace", "full"]))
def test_any_budget_gives_the_same_numbers(case, n, share, output):
    encoder, shape = small_encoder(case, projector="mlp")
    x, other = draw(n, *shape), draw(4, *shape, seed=5)
    # From what two samples need to what all of them do.
    budget = int(2**14.5 * 2 ** (6 * share))
    for inputs in ((x,), (x, other)):
        whole = empirical_ntk(encoder, *inputs, output=output)
        small = empirical_ntk(encoder, *inputs, output=output, memory_budget=budget)
        assert_equal(small, whole)


INDICES = st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True)


@pytest.mark.slow
@given(ENCODERS, INDICES, st.integers(1, 3))
def test_traces_over_chosen_outputs_and_projections(case, indices, p):
    encoder, shape = small_encoder(case)
    x = draw(3, *shape)
    full = full_kernel(encoder, x)
    chosen = full[:, :, indices, indices].sum(-1)
    assert_equal(empirical_ntk(encoder, x, output=indices), chosen)
    matrix = draw(3, p)
    expected = torch.einsum("ijkl,kp,lp->ij", full, matrix, matrix)
    assert_equal(empirical_ntk(encoder, x, output=matrix), expected)
    assert_equal(pair_ntk(encoder, x[:1], x[1:2], output=matrix), expected[:2, :2] / p)


@pytest.mark.machine
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
def test_a_linear_map_has_the_kernel_of_inner_products(n, m, d):
    layer = nn.Linear(m, d).double()
    x, other = draw(n, m), draw(2, m, seed=4)
    assert_equal(empirical_ntk(layer, x, other), d * (x @ other.T + 1))
    identity = torch.eye(d, dtype=torch.float64)
    expected = (x @ other.T + 1)[:, :, None, None] * identity
    assert_equal(empirical_ntk(layer, x, other, output="full"), expected)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_two_linear_layers_in_closed_form(n, m, width, d):
    layers = (nn.Linear(m, width, bias=False), nn.Linear(width, d, bias=False))
    module = nn.Sequential(*layers).double()
    x = draw(n, m)
    first, last = (p.detach() for p in module.parameters())
    gram, hidden = x @ x.T, x @ first.T
    # d f / d W1 contracts to x.x' W2 W2^T, d f / d W2 to (W1 x).(W1 x') on the diagonal.
    expected = gram[:, :, None, None] * (last @ last.T)
    expected = expected + (hidden @ hidden.T)[:, :, None, None] * torch.eye(d).double()
    assert_equal(empirical_ntk(module, x, output="full"), expected)


@pytest.mark.machine
@given(st.integers(1, 30), st.integers(1, 40))
def test_float32_gradients_are_summed_in_float64(n, m):
    x = draw(n, m).float()
    kernel = empirical_ntk(nn.Linear(m, 2), x)
    exact = 2 * (x.double() @ x.double().T + 1)
    # The inputs and the unit output gradients are exact: nothing is left to round in float32.
    scale = exact.diagonal().sqrt()
    assert ((kernel - exact).abs() <= 1e-14 * math.sqrt(m) * scale[:, None] * scale).all()
