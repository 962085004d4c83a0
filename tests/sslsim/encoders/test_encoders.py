"""Encoders by name: shapes, parameter counts, seeds, small nets against closed forms and loops."""

import math

import numpy as np
import pytest
import torch
from tolerances import rounding

from sslsim.core.seeds import seeded
from sslsim.core.torchvision import torchvision
from sslsim.encoders import small
from sslsim.encoders.build import ENCODERS, Encoder, build_encoder
from sslsim.encoders.heads import predictor, projector
from sslsim.encoders.resnet import resnet

DIGITS, CIFAR, STL, ODD = (1, 8, 8), (3, 32, 32), (3, 96, 96), (3, 17, 23)


def images(shape, n=2, dtype=torch.float32):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("shape", [DIGITS, CIFAR, STL, ODD], ids=str)
@pytest.mark.parametrize("name", ENCODERS)
def test_forward_and_backward_reach_every_parameter(name, shape):
    if name.startswith("vit") and shape == ODD:
        with pytest.raises(ValueError, match="divisor of height 17 and width 23"):
            build_encoder(name, shape, 6, seed=0)
        return
    encoder = build_encoder(name, shape, 6, seed=0)
    x = images(shape)
    representation = encoder.backbone(x)
    assert representation.shape == (2, encoder.feature_dim)
    embedding = encoder.projector(representation)
    assert embedding.shape == (2, encoder.dim) == (2, 6)
    assert embedding.isfinite().all()
    assert embedding.std() > 1e-3
    embedding.square().sum().backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        # The residual sums of two batch-normalised images may cancel behind a 1 x 1 map.
        if shape != DIGITS or not name.startswith("resnet"):
            assert parameter.grad.abs().max() > 0, key


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "classified"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032)]
)
def test_parameters_of_resnets(depth, classified):
    features = 512 if depth < 50 else 2048
    known = classified - 1000 * (features + 1)  # published with the classifier of ImageNet
    assert count(resnet(depth)) == known
    assert count(resnet(depth, stem="small")) == known - 64 * 3 * (7 * 7 - 3 * 3)
    assert count(resnet(depth, channels=1, stem="small")) == known - 64 * (3 * 49 - 9)


@pytest.mark.parametrize(("depth", "width"), [(18, 16), (34, 4), (50, 8)])
def test_a_narrow_resnet_has_the_channels_of_a_wide_one_in_proportion(depth, width):
    narrow, wide = (
        {name: parameter.shape for name, parameter in net.named_parameters()}
        for net in (resnet(depth, width=width), resnet(depth))
    )
    assert narrow.keys() == wide.keys()
    for name, shape in wide.items():
        inputs = (
            [] if len(shape) == 1 else [3] if name.startswith("stem") else [shape[1] * width // 64]
        )
        assert list(narrow[name]) == [shape[0] * width // 64, *inputs, *shape[2:]]
    encoder = build_encoder(f"resnet{depth}", (1, 8, 8), 3, seed=0, widths=(width,))
    assert encoder(images((1, 8, 8))).shape[1] == 3


def test_a_resnet_without_normalisation_is_homogeneous_in_its_input():
    net = resnet(18, channels=1, stem="small", width=8, norm="none").double()
    assert not any("bn" in name or "bias" in name for name, _ in net.named_parameters())
    x = images((1, 8, 8)).double()
    torch.testing.assert_close(net(3 * x), 3 * net(x))


@pytest.mark.machine
def test_a_resnet_is_torchvision_s_without_classifier():
    torch.manual_seed(3)
    reference = torchvision.models.resnet18(weights=None)
    reference.fc = torch.nn.Identity()
    net = resnet(18)
    # Both register their parameters in the order of the forward pass.
    for ours, theirs in zip(
        net.state_dict().values(), reference.state_dict().values(), strict=True
    ):
        ours.copy_(theirs)
    x = images(STL, n=3)
    expected = reference(x)
    # Most of the sums are of 512 x 9 products.
    tolerance = rounding(torch.float32, 512 * 9, scale=expected.abs().max().item())
    torch.testing.assert_close(net(x), expected, rtol=0, atol=tolerance)


def test_a_residual_gain_of_zero_is_torchvision_s_zero_init_residual():
    with seeded(4):
        ours = resnet(50, width=8, residual_gain=0.0)
    with seeded(4):
        stock = resnet(50, width=8)
    zeroed = torchvision.models.resnet50(weights=None, zero_init_residual=True)
    for (name, part), reference in zip(
        ours.named_parameters(), list(zeroed.parameters())[:-2], strict=True
    ):
        assert part.any() == reference.any(), name
    for (name, part), kept in zip(ours.named_parameters(), stock.parameters(), strict=True):
        assert not part.any() or torch.equal(part, kept), name


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize(("depth", "last"), [(18, 2), (50, 3)])
def test_the_residual_gain_multiplies_every_branch_and_nothing_else(depth, last, norm):
    def built(gain):
        with seeded(4):
            return resnet(depth, 1, "small", width=4, norm=norm, residual_gain=gain).double()

    x = images((1, 8, 8)).double()
    whole, some, none = built(1.0), built(0.25), built(0.0)
    for block, damped, shortcut in zip(whole.layer2, some.layer2, none.layer2, strict=True):
        y = torch.rand(2, block.conv1.in_channels, 8, 8, dtype=torch.float64)
        passed = y if block.downsample is None else block.downsample(y)
        torch.testing.assert_close(shortcut(y), torch.relu(passed))
        outputs = []
        for part in (block, damped):
            layer = getattr(part, f"bn{last}")
            layer.register_forward_hook(lambda *call, kept=outputs: kept.append(call[2].clone()))
            part(y)
        torch.testing.assert_close(outputs[1], 0.25 * outputs[0])
    none(x).sum().backward()
    moved = [name for name, p in none.named_parameters() if p.grad is not None and p.grad.any()]
    named = f"bn{last}.weight" if norm == "batch" else f"conv{last}.weight"
    assert sum(name.endswith(named) for name in moved) == sum(
        name.endswith(named) for name, _ in none.named_parameters()
    )  # every branch can start to learn


@pytest.mark.parametrize("gain", [-0.1, math.inf, math.nan])
def test_a_residual_gain_out_of_range_is_refused(gain):
    with pytest.raises(ValueError, match=r"residual_gain is .*; expected a finite number"):
        resnet(18, residual_gain=gain)


@pytest.mark.parametrize(("size", "expected"), [(32, 32), (28, 28), (17, 17)])
def test_the_small_stem_keeps_the_size(size, expected):
    assert resnet(18, stem="small").stem(images((3, size, size))).shape[2:] == (expected, expected)


def test_the_imagenet_stem_quarters_it():
    assert resnet(18).stem(images((3, 224, 224), n=1)).shape == (1, 64, 56, 56)


@pytest.mark.parametrize(("size", "stem"), [(63, 3), (64, 7)])
def test_the_stem_follows_the_longer_side(size, stem):
    encoder = build_encoder("resnet18", (1, 20, size), 4, seed=0)
    assert encoder.backbone.stem[0].kernel_size == (stem, stem)


@pytest.mark.parametrize(("stem", "kernel"), [("small", 3), ("imagenet", 7)])
@pytest.mark.parametrize("size", [8, 64])
def test_a_stem_may_be_chosen_at_any_size(size, stem, kernel):
    encoder = build_encoder("resnet18", (3, size, size), 4, seed=0, stem=stem, widths=(4,))
    assert encoder.backbone.stem[0].kernel_size == (kernel, kernel)
    assert encoder(images((3, size, size))).isfinite().all()


@pytest.mark.parametrize("option", [{"stem": "small"}, {"residual_gain": 0.0}, {"norm": "batch"}])
def test_options_of_resnets_are_refused_for_other_encoders(option):
    (name,) = option
    with pytest.raises(ValueError, match=rf"{name} is .* for mlp; expected None, only ResNets"):
        build_encoder("mlp", DIGITS, 4, seed=0, **option)


@pytest.mark.parametrize("name", ["mlp", "convnet", "resnet18", "vit_tiny"])
def test_the_seed_decides_and_the_caller_s_generator_stays(name):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first = build_encoder(name, DIGITS, 4, seed=5)
    assert torch.equal(torch.rand(3), expected)
    again = build_encoder(name, DIGITS, 4, seed=5)
    other = build_encoder(name, DIGITS, 4, seed=6)
    for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first(images(DIGITS)), other(images(DIGITS)))


def test_the_default_device_is_of_no_account():
    with torch.device("meta"):
        encoder = build_encoder("mlp", DIGITS, 4, seed=5)
    expected = build_encoder("mlp", DIGITS, 4, seed=5)
    assert torch.equal(encoder(images(DIGITS)), expected(images(DIGITS)))


def test_the_generator_is_put_back_after_an_error():
    torch.manual_seed(2)
    before = torch.get_rng_state()
    with pytest.raises(TypeError), seeded(0):
        torch.nn.Linear(5, torch.rand(5))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("linear", ("layer1",)),
        ("mlp", ("layer1", "layer2")),
        ("convnet", ("layer1", "layer2", "layer3")),
        ("resnet18", ("stem", "layer1", "layer2", "layer3", "layer4")),
        ("vit_tiny", tuple(f"blocks.{i}" for i in range(12))),
    ],
)
def test_layers_are_named_from_early_to_late(name, layers):
    encoder = build_encoder(name, DIGITS, 4, seed=0)
    assert encoder.layers == layers
    seen = []
    for layer in layers:
        part = encoder.backbone.get_submodule(layer)
        part.register_forward_hook(lambda *_, layer=layer: seen.append(layer))
    encoder(images(DIGITS))
    assert tuple(seen) == layers


def test_the_linear_encoder_is_one_matrix():
    encoder = build_encoder("linear", DIGITS, 5, seed=0).double()
    (weight,) = encoder.parameters()
    x = images(DIGITS, dtype=torch.float64)
    assert weight.shape == (5, 64)
    assert torch.allclose(encoder(x), x.flatten(1) @ weight.T, rtol=1e-13)
    assert torch.equal(encoder(x), encoder(x.flatten(1)))


def test_an_mlp_against_a_transcription():
    encoder = build_encoder("mlp", (2, 3, 4), 3, seed=0, widths=(7, 5), parameterization="ntk")
    encoder = encoder.double()
    x = images((2, 3, 4), n=4, dtype=torch.float64)
    first, second, last = (p.detach().numpy() for p in encoder.parameters())
    for row, found in zip(x.numpy(), encoder(x).detach().numpy(), strict=True):
        h = row.ravel()
        h = np.maximum(math.sqrt(2 / 24) * first @ h, 0)
        h = np.maximum(math.sqrt(2 / 7) * second @ h, 0)
        np.testing.assert_allclose(found, last @ h / math.sqrt(5), rtol=1e-12, atol=1e-14)


def test_a_convnet_against_loops():
    with seeded(4):
        net = small.convnet(2, (3,), "ntk").double()
    (weight,) = (p.detach().numpy() for p in net.parameters())
    x = images((2, 4, 5), n=1, dtype=torch.float64)
    padded = np.pad(x.numpy()[0], ((0, 0), (1, 1), (1, 1)))
    maps = np.zeros((3, 2, 3))
    for k, i, j in np.ndindex(*maps.shape):
        window = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        maps[k, i, j] = max(math.sqrt(2 / 18) * (weight[k] * window).sum(), 0)
    found = net(x).detach().numpy()[0]
    np.testing.assert_allclose(found, maps.mean(axis=(1, 2)), rtol=1e-12)


@pytest.mark.parametrize("name", ["linear", "mlp", "convnet"])
def test_both_parameterizations_are_one_function(name):
    options = {"seed": 3, "projector": "linear"}
    standard = build_encoder(name, CIFAR, 4, **options)
    ntk = build_encoder(name, CIFAR, 4, parameterization="ntk", **options)
    x = images(CIFAR)
    assert torch.allclose(standard(x), ntk(x), rtol=1e-4, atol=1e-5)
    for parameter in ntk.parameters():  # 5 standard deviations of the mean square
        wanted = 5 * math.sqrt(2 / parameter.numel())
        assert abs(parameter.square().mean() - 1) < wanted


def squares_and_kernels(width, parameterization, seeds=400):
    """Mean f(x)^2 and Theta(x, x) of one f for MLPs of three layers, over |x|^2 / m."""
    x = images((1, 2, 4), n=1, dtype=torch.float64)
    found = []
    for seed in range(seeds):
        net = build_encoder(
            "mlp", (1, 2, 4), 8, seed=seed, widths=(width, width), parameterization=parameterization
        ).double()
        f = net(x)[0]
        kernel = sum(g.square().sum() for g in torch.autograd.grad(f[0], list(net.parameters())))
        found.append((f.square().mean().item(), kernel.item()))
    return np.array(found) / x.square().mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("width", [8, 64])
def test_ntk_scale_is_free_of_the_width(width):
    ratios = squares_and_kernels(width, "ntk")
    error = ratios.std(axis=0) / math.sqrt(len(ratios))
    assert np.all(np.abs(ratios.mean(axis=0) - [1, 3]) < 4 * error)
    assert np.all(4 * error < [0.5, 1])  # half of them, or one layer less, would show


def test_the_standard_kernel_grows_with_the_width():
    m, width = 8, 64
    squares, kernels = squares_and_kernels(width, "standard").T
    # Each layer's share is multiplied by fan_in / sigma^2.
    expected = m / 2 + width / 2 + width
    error = np.array([squares.std(), kernels.std()]) / math.sqrt(len(squares))
    assert abs(squares.mean() - 1) < 4 * error[0]
    assert abs(kernels.mean() - expected) < 4 * error[1] < expected / 4


def test_a_projector_is_linear_batchnorm_relu_linear():
    torch.manual_seed(0)
    head = projector((6, 9, 4)).double()
    x = torch.rand(12, 6, dtype=torch.float64)
    first, gain, shift, last = head.parameters()
    h = x @ first.T
    h = (h - h.mean(0)) / (h.var(0, unbiased=False) + 1e-5).sqrt() * gain + shift
    assert torch.allclose(head(x), h.clamp_min(0) @ last.T, rtol=1e-10)
    assert [type(part).__name__ for part in projector((6, 9, 9, 4), batch_norm=False)] == [
        "Linear", "ReLU", "Linear", "ReLU", "Linear"
    ]  # fmt: skip
    biases = [part.bias is not None for part in projector((6, 9, 4), False)[::2]]
    assert biases == [True, False]
    assert predictor(5, 8)(torch.rand(3, 5)).shape == (3, 5)


def test_projectors_by_name():
    hidden = build_encoder("mlp", DIGITS, 4, seed=0, projector="mlp", projector_widths=(6,))
    assert [tuple(p.shape) for p in hidden.projector.parameters()] == [(6, 512), (6,), (6,), (4, 6)]
    default = build_encoder("mlp", DIGITS, 4, seed=0, widths=(8,), projector="mlp")
    assert count(default.projector) == 8 * 2048 + 2048**2 + 4 * 2048 + 4 * 2048
    bare = build_encoder("mlp", DIGITS, 16, seed=0, widths=(16,), projector="none")
    assert torch.equal(bare(images(DIGITS)), bare.backbone(images(DIGITS)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "resnet19"}, "'resnet19'; expected one of"),
        ({"shape": (8, 8)}, "expected 3 whole numbers"),
        ({"shape": (1, 8, 0)}, "expected 3 whole numbers"),
        ({"dim": 0}, "dim is 0"),
        ({"dim": 2.0}, "dim is 2.0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"widths": ()}, r"widths is \(\)"),
        ({"widths": 5}, "widths is 5"),
        ({"projector": "deep"}, "projector is 'deep'"),
        ({"projector": "none"}, "expected the representation's 512"),
        ({"projector_widths": (3,)}, "expected 'mlp'"),
        ({"projector": "mlp", "projector_widths": ()}, r"projector_widths is \(\)"),
        ({"parameterization": "mup"}, "'mup'; expected one of"),
        ({"parameterization": "ntk", "projector": "mlp"}, "expected 'standard'"),
        ({"name": "resnet18", "parameterization": "ntk"}, "expected 'standard'"),
        ({"name": "vit_tiny", "widths": (3,)}, "they are fixed"),
        ({"name": "resnet18", "widths": (3, 4)}, "expected one, that of its first stage"),
        ({"name": "resnet18", "widths": (0,)}, "widths is"),
        ({"name": "resnet18", "norm": "layer"}, "norm is 'layer'"),
        ({"norm": "batch"}, "only ResNets have a choice"),
    ],
)
def test_what_cannot_be_built(changes, message):
    given = {"name": "mlp", "shape": DIGITS, "dim": 4, "seed": 0, **changes}
    with pytest.raises(ValueError, match=message) as error:
        build_encoder(**given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: resnet(20), "depth is 20"),
        (lambda: resnet(18, stem="tiny"), "stem is 'tiny'"),
        (lambda: resnet(18, channels=0), "channels is 0"),
        (lambda: projector((3,)), "expected two or more"),
        (lambda: predictor(3, 0), "hidden is 0"),
        (lambda: small.linear_map(3, 2, "other"), "'other'; expected one of"),
        (lambda: Encoder(torch.nn.ReLU(), torch.nn.ReLU(), 1, 1, ["a"]), r"layers holds \['a'\]"),
    ],
)
def test_what_parts_refuse(build, message):
    with pytest.raises(ValueError, match=message):
        build()
