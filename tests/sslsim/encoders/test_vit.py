"""Vision transformers against torch's own encoder layer, loops, published counts and masks."""

import math

import pytest
import torch
from torch import nn

from sslsim.core.seeds import seeded
from sslsim.encoders.build import build_encoder
from sslsim.encoders.mae_decoder import MaeDecoder
from sslsim.encoders.vit import (
    Block,
    VisionTransformer,
    default_patch_size,
    patchify,
    position_embedding,
    unpatchify,
)

SHAPE = (3, 8, 12)  # 2 x 3 patches


def images(n=2, shape=SHAPE):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, *shape, generator=generator, dtype=torch.float64)


def tiny(**options):
    with seeded(0):
        return VisionTransformer(SHAPE, width=16, depth=2, heads=4, **options).double()


def test_a_block_is_torch_s_encoder_layer():
    with seeded(0):
        block = Block(12, 3).double()
        for parameter in block.parameters():
            nn.init.normal_(parameter, std=0.5)
    reference = nn.TransformerEncoderLayer(
        12, 3, 48, dropout=0, activation="gelu", layer_norm_eps=1e-6, batch_first=True,
        norm_first=True, dtype=torch.float64,
    )  # fmt: skip
    pairs = {
        "self_attn.in_proj_weight": block.qkv.weight,
        "self_attn.in_proj_bias": block.qkv.bias,
        "self_attn.out_proj.weight": block.out.weight,
        "self_attn.out_proj.bias": block.out.bias,
        "linear1.weight": block.mlp[0].weight,
        "linear1.bias": block.mlp[0].bias,
        "linear2.weight": block.mlp[2].weight,
        "linear2.bias": block.mlp[2].bias,
        "norm1.weight": block.norm1.weight,
        "norm1.bias": block.norm1.bias,
        "norm2.weight": block.norm2.weight,
        "norm2.bias": block.norm2.bias,
    }
    reference.load_state_dict(pairs)
    x = torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert (block(x) - reference(x)).abs().max() < 1e-12


def test_positions_against_loops():
    table = position_embedding(2, 3, 8).double()
    for row in range(2):
        for column in range(3):
            expected = []
            for place in (row, column):
                for wave in (math.sin, math.cos):
                    expected += [wave(place / 10_000 ** (i / 2)) for i in range(2)]
            found = table[3 * row + column]
            assert (found - torch.tensor(expected, dtype=torch.float64)).abs().max() < 1e-7


def test_patches_against_loops():
    x = images()
    patches = patchify(x, 4)
    for i in range(2):
        for j in range(3):
            window = x[:, :, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
            assert torch.equal(patches[:, 3 * i + j], window.flatten(1))


@pytest.mark.parametrize(
    ("width", "heads", "classified"), [(192, 3, 5_717_416), (384, 6, 22_050_664)]
)
def test_parameters_of_the_published_sizes(width, heads, classified):
    # DeiT's counts (2012.12877, table 1) with its classifier and learnt positions.
    known = classified - 1000 * (width + 1) - 197 * width
    net = VisionTransformer((3, 224, 224), width, 12, heads, class_token=True)
    assert sum(p.numel() for p in net.parameters()) == known
    assert net.patch_size == 16


@pytest.mark.parametrize(("side", "patch_size"), [(63, 4), (64, 8), (127, 8), (128, 16)])
def test_patch_sizes(side, patch_size):
    assert default_patch_size(1, side) == default_patch_size(side, 1) == patch_size


def test_positions_are_fixed_and_not_saved():
    net = tiny()
    assert "positions" not in net.state_dict()
    assert "positions" not in dict(net.named_parameters())
    x = images()
    moved = torch.cat([x[..., 4:], x[..., :4]], dim=3)  # the same patches elsewhere
    assert (net(moved) - net(x)).abs().max() > 1e-3


@pytest.mark.parametrize("class_token", [False, True])
def test_what_is_not_kept_is_not_seen(class_token):
    net = tiny(class_token=class_token)
    x = images()
    kept = torch.tensor([[4, 1], [0, 5]])
    tokens = net.tokens(x, kept)
    assert tokens.shape == (2, 2 + class_token, 16)
    patches = patchify(x, 4)
    hidden = torch.ones(2, 6, dtype=torch.bool).scatter(1, kept, False)
    changed = unpatchify(torch.where(hidden[:, :, None], 7.0, patches), 4, SHAPE)
    assert torch.equal(net.tokens(changed, kept), tokens)
    assert torch.equal(net(x, kept), tokens[:, class_token:].mean(1))
    assert (net(changed) - net(x)).abs().max() > 1e-3


def test_pooling_by_the_class_token():
    net = tiny(class_token=True, pooling="class")
    assert torch.equal(net(images()), net.tokens(images())[:, 0])
    assert build_encoder("vit_tiny", (1, 8, 8), 4, seed=0).backbone.class_token is None


@pytest.mark.parametrize("class_token", [False, True])
def test_the_decoder_puts_tokens_at_their_places(class_token):
    with seeded(1):
        decoder = MaeDecoder(
            SHAPE, 4, 16, width=8, depth=1, heads=2, class_token=class_token
        ).double()
    net = tiny(class_token=class_token)
    kept = torch.tensor([[4, 1], [0, 5]])
    seen = []
    decoder.blocks.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    tokens = net.tokens(images(), kept)
    predicted = decoder(tokens, kept)
    assert predicted.shape == (2, 6, 48)
    embedded = decoder.embedding(tokens)
    for n in range(2):
        if class_token:
            assert torch.equal(seen[0][n, 0], embedded[n, 0])
        for place in range(6):
            at = (kept[n] == place).nonzero()
            token = embedded[n, class_token + at.item()] if len(at) else decoder.mask_token
            expected = token + decoder.positions[place]
            assert torch.allclose(seen[0][n, class_token + place], expected, rtol=1e-13)
    predicted.square().mean().backward()
    for module in (net, decoder):
        for key, parameter in module.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.abs().max() > 0, key


def test_a_masked_autoencoder_learns_what_the_kept_patches_tell():
    with seeded(1):
        decoder = MaeDecoder(SHAPE, 4, 16, width=16, depth=1, heads=2).double()
    net = tiny()
    x = 6 * images(8)[:, :, :1, :1].expand(-1, -1, 8, 12) - 3  # each of one colour
    patches = patchify(x, 4)
    kept = torch.tensor([[4, 1], [0, 5], [2, 3], [1, 2]]).repeat(2, 1)
    optimizer = torch.optim.Adam([*net.parameters(), *decoder.parameters()], lr=1e-2)
    for _ in range(80):
        loss = (decoder(net.tokens(x, kept), kept) - patches).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    ignorant = patches.var(dim=0, unbiased=False).mean()  # of the best constant prediction
    assert loss < 0.05 * ignorant


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Block(10, 4), "heads is 4; expected a divisor of the width 10"),
        (lambda: VisionTransformer(SHAPE, 6, 1, 1), "multiple of 4"),
        (lambda: VisionTransformer(SHAPE, 8, 1, 1, patch_size=5), "expected a divisor"),
        (lambda: VisionTransformer(SHAPE, 8, 1, 1, pooling="max"), "pooling is 'max'"),
        (lambda: VisionTransformer(SHAPE, 8, 1, 1, pooling="class"), "class_token=True"),
        (lambda: VisionTransformer(SHAPE, 8, 0, 1), "depth is 0"),
        (lambda: tiny()(images(shape=(3, 8, 8))), r"expected \(n, c, h, w\) with \(3, 8, 12\)"),
        (lambda: tiny()(images(), torch.tensor([0, 1])), r"expected \(2, k\) and int64"),
        (lambda: tiny()(images(), torch.ones(2, 1)), r"expected \(2, k\) and int64"),
        (lambda: patchify(torch.ones(3, 4, 4), 2), r"expected \(n, c, h, w\)"),
        (lambda: patchify(images(), 0), "patch_size is 0"),
        (lambda: unpatchify(torch.ones(1, 5, 48), 4, SHAPE), r"expected \(n, \*\(6, 48\)\)"),
        (
            lambda: MaeDecoder(SHAPE, 4, 16)(torch.ones(2, 3, 16), torch.zeros(2, 2).long()),
            r"expected \(n, 0 \+ k, width\)",
        ),
    ],
)
def test_what_does_not_fit(build, message):
    with pytest.raises(ValueError, match=message):
        build()
