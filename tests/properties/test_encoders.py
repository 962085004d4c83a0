"""What holds for encoders of every size."""

import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sslsim.core.seeds import seeded
from sslsim.encoders.build import build_encoder
from sslsim.encoders.features import features
from sslsim.encoders.initialization import scale_initialization
from sslsim.encoders.vit import VisionTransformer, patchify, unpatchify

SMALL = st.sampled_from(["linear", "mlp", "convnet"])
SIZES = st.integers(1, 9)
WIDTHS = st.lists(st.integers(1, 12), min_size=1, max_size=4)
FACTORS = st.floats(1e-3, 10)


def images(n, shape):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, *shape, generator=generator, dtype=torch.float64)


@given(*[st.integers(1, 4)] * 5)
def test_unpatchify_is_the_inverse_of_patchify(n, channels, rows, columns, size):
    shape = (channels, rows * size, columns * size)
    x = images(n, shape)
    patches = patchify(x, size)
    assert patches.shape == (n, rows * columns, channels * size**2)
    assert torch.equal(unpatchify(patches, size, shape), x)
    assert torch.equal(patchify(unpatchify(patches, size, shape), size), patches)


@pytest.mark.slow
@given(SMALL, st.integers(1, 3), SIZES, SIZES, WIDTHS, st.sampled_from(["standard", "ntk"]))
def test_small_nets_take_any_size_and_are_homogeneous(
    name, channels, h, w, widths, parameterization
):
    shape = (channels, h, w)
    encoder = build_encoder(
        name, shape, 3, seed=0, widths=widths, parameterization=parameterization, projector="linear"
    ).double()
    x = images(2, shape)
    z = encoder(x)
    assert z.shape == (2, 3)
    assert encoder.feature_dim == widths[-1]
    assert torch.allclose(encoder(5 * x), 5 * z, rtol=1e-10, atol=1e-12)
    z.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


@given(SMALL, WIDTHS, FACTORS, st.sampled_from(["standard", "ntk"]))
def test_all_layers_scale_the_embedding_by_factor_to_their_number(name, widths, factor, kind):
    encoder = build_encoder(
        name, (1, 4, 4), 3, seed=1, widths=widths, parameterization=kind, projector="linear"
    ).double()
    x = images(2, (1, 4, 4))
    before = encoder(x)
    assert scale_initialization(encoder, factor) == len(widths) + 1
    expected = before * factor ** (len(widths) + 1)
    assert (encoder(x) - expected).abs().max() <= 1e-12 * expected.abs().max() + 1e-300


ENCODERS = {
    name: build_encoder(name, (1, 8, 8), 3, seed=0, projector="linear").double()
    for name in ("linear", "mlp", "convnet", "resnet18", "vit_tiny")
}


@settings(max_examples=25)
@given(st.sampled_from(sorted(ENCODERS)), FACTORS)
def test_last_scales_the_embedding_by_factor(name, factor):
    encoder = ENCODERS[name]
    x = images(3, (1, 8, 8))
    scaled = copy.deepcopy(encoder)
    assert scale_initialization(scaled, factor, which="last") == 1
    expected = factor * encoder(x)
    assert (scaled(x) - expected).abs().max() <= 1e-12 * expected.abs().max()


@given(SMALL, st.integers(1, 12), st.integers(1, 15))
def test_features_do_not_depend_on_batches(name, n, batch_size):
    encoder = ENCODERS[name]
    x = images(n, (1, 8, 8))
    whole = features(encoder, x, [*encoder.layers, "projector"])
    parts = features(encoder, x, [*encoder.layers, "projector"], batch_size=batch_size)
    for layer, values in whole.items():
        assert (values - parts[layer]).abs().max() < 1e-12


with seeded(0):
    VIT = VisionTransformer((1, 4, 6), width=8, depth=2, heads=2, patch_size=2).double()


@given(st.integers(1, 6).flatmap(lambda k: st.permutations(range(6)).map(lambda p: p[:k])))
def test_tokens_follow_the_order_of_what_is_kept(order):
    x = images(2, (1, 4, 6))
    kept = torch.tensor([order, order])
    tokens = VIT.tokens(x, kept)
    ascending = VIT.tokens(x, kept.sort(dim=1).values)
    places = kept.argsort(dim=1).argsort(dim=1)
    rearranged = ascending.gather(1, places[:, :, None].expand(-1, -1, 8))
    assert (tokens - rearranged).abs().max() < 1e-12
    if len(order) == 6:
        assert (VIT(x, kept) - VIT(x)).abs().max() < 1e-12


def test_every_way_to_leave_patches_out_differs():
    x = images(1, (1, 4, 6))
    kept = [torch.tensor([c]) for c in itertools.combinations(range(6), 3)]
    found = torch.cat([VIT(x, indices) for indices in kept])
    distance = torch.cdist(found, found) + torch.eye(len(found))
    assert distance.min() > 1e-4
