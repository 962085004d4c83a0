"""Encoders in two parts: together they are the encoder, and the early one holds still."""

import pytest
import torch
from torch import nn

from sslsim.core.seeds import seeded
from sslsim.core.torchvision import torchvision
from sslsim.encoders.build import Encoder, build_encoder
from sslsim.encoders.own.encoder import own_encoder
from sslsim.encoders.vit import VisionTransformer
from sslsim.umm.split import evaluating, frozen_early, split_encoder

SHAPE = (1, 8, 8)
CASES = [
    ("linear", {"widths": (6, 5)}),
    ("mlp", {"widths": (6, 5)}),
    ("convnet", {"widths": (3, 4), "projector": "mlp", "projector_widths": (6,)}),
    ("resnet18", {"projector": "mlp", "projector_widths": (6,)}),
    ("resnet34", {}),
    ("resnet50", {}),
    ("vit_tiny", {}),
]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("name", "options"), CASES, ids=[name for name, _ in CASES])
@pytest.mark.parametrize("training", [False, True])
def test_the_two_parts_are_the_encoder_to_the_bit(name, options, training):
    encoder = build_encoder(name, SHAPE, 5, seed=0, **options).train(training)
    x = draw(3, *SHAPE)
    expected = encoder(x)
    middle = len(encoder.layers) // 2
    for layer in {encoder.layers[i] for i in (0, middle, -1)}:
        split = split_encoder(encoder, layer)
        found = split.projector(split.late(split.early(x)))
        assert torch.equal(found, expected)
        parts = [list(part.parameters()) for part in (split.early, split.late, split.projector)]
        held = [id(p) for part in parts for p in part]
        assert sorted(held) == sorted(id(p) for p in encoder.parameters())


@pytest.mark.parametrize("pooling", ["mean", "class"])
def test_a_class_token_is_early(pooling):
    with seeded(0):
        backbone = VisionTransformer(SHAPE, 8, 3, 2, class_token=True, pooling=pooling)
        layers = [f"blocks.{i}" for i in range(3)]
        encoder = Encoder(backbone, nn.Linear(8, 2), 8, 2, layers)
    for layer in layers:
        split = split_encoder(encoder, layer)
        assert torch.equal(split.projector(split.late(split.early(draw(3, *SHAPE)))),
                           encoder(draw(3, *SHAPE)))  # fmt: skip
        assert any(p is backbone.class_token for p in split.early.parameters())
    # The encoder itself is as it was.
    assert len(backbone.blocks) == 3
    assert isinstance(backbone.norm, nn.LayerNorm)


def test_an_unknown_layer_lists_those_there_are():
    encoder = build_encoder("resnet18", SHAPE, 5, seed=0)
    known = "stem, layer1, layer2, layer3, layer4"
    for layer in ("layer9", "pool", "", "layer1.0"):
        with pytest.raises(ValueError, match=f"split layer is '{layer}'; expected one of {known}"):
            split_encoder(encoder, layer)
    bare = Encoder(nn.Flatten(), nn.Linear(64, 2), 64, 2)
    with pytest.raises(ValueError, match="expected one of none, for the encoder names no layers"):
        split_encoder(bare, "layer1")


class Shuffled(nn.Module):
    """Parts are registered in another order than they run, with tokens and an activation in place.

    ``skip`` adds what comes before the first layer to the output of the second one.
    """

    def __init__(self, skip=False):
        super().__init__()
        self.last = nn.Linear(6, 4)
        self.gain = nn.Parameter(torch.rand(6))
        self.act = nn.ReLU(inplace=True)
        self.parts = nn.ModuleList([nn.Linear(64, 6), nn.Linear(6, 6)])
        self.shift = nn.Parameter(torch.rand(64))
        self.unused = nn.Linear(2, 2)
        self.skip = skip

    def forward(self, x):  # noqa: D102
        x = x.flatten(1) + self.shift
        z = self.act(self.parts[0](x))
        z = self.parts[1](z) + (x[:, :6] if self.skip else 0)
        return self.last(self.act(z) * self.gain)


def names_of(encoder, part):
    known = {id(p): name for name, p in encoder.named_parameters()}
    return {known[id(p)].removeprefix("backbone.") for p in part.parameters()}


def test_any_backbone_is_cut_where_it_runs():
    with seeded(0):
        encoder = own_encoder(Shuffled(), SHAPE, 2)
    assert encoder.layers == ("parts.0", "parts.1", "last")
    split, x = split_encoder(encoder.eval(), "parts.1"), draw(3, *SHAPE)
    early, late = (names_of(encoder, part) for part in (split.early, split.late))
    assert late == {"last.weight", "last.bias", "gain"}
    assert early == {name for name, _ in encoder.backbone.named_parameters()} - late
    encoder.backbone.gain.requires_grad_(False)
    split = split_encoder(encoder, "parts.0")
    with torch.no_grad():
        encoder.backbone.gain.fill_(1)
        shifted = x.flatten(1) + encoder.backbone.shift
        assert torch.equal(split.early(x), encoder.backbone.parts[0](shifted))
    assert not encoder.backbone.gain.requires_grad


def test_torchvisions_resnet_is_cut_behind_a_layer_with_or_without_the_shape_of_images():
    def parts(shape):
        with seeded(0):
            network = torchvision.models.resnet18(num_classes=16)
        head, network.fc = network.fc, nn.Identity()
        layers = ("layer1", "layer2", "layer3", "layer4")
        encoder = Encoder(network, head, 512, 16, layers, shape).eval()
        split = split_encoder(encoder, "layer2")
        return encoder, split, [names_of(encoder, p) for p in (split.early, split.late)]

    encoder, split, known = parts((3, 16, 16))
    assert parts(None)[2] == known
    assert {name.partition(".")[0] for name in known[1]} == {"layer3", "layer4"}
    assert known[0] | known[1] == {name for name, _ in encoder.backbone.named_parameters()}
    x = draw(2, 3, 16, 16)
    assert torch.equal(split.projector(split.late(split.early(x))), encoder(x))
    with frozen_early(encoder, split):
        assert not encoder.backbone.bn1.training
        assert encoder.backbone.layer3[0].bn1.training


def test_a_layer_that_the_network_goes_round_is_refused():
    with seeded(0):
        encoder = own_encoder(Shuffled(skip=True), SHAPE, 2)
    with pytest.raises(ValueError, match=r"'shift' acts before and behind layer 'parts\.0'"):
        split_encoder(encoder, "parts.0")
    assert split_encoder(encoder, "last").layer == "last"


def test_layers_inside_others_are_cut_too():
    nested = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(64, 4), nn.Linear(4, 4)))
    encoder = Encoder(nested, nn.Linear(4, 2), 4, 2, ("1.0",))
    assert names_of(encoder, split_encoder(encoder, "1.0").late) == {"1.1.weight", "1.1.bias"}


def test_the_early_part_holds_still_and_all_flags_come_back():
    encoder = build_encoder("resnet18", SHAPE, 5, seed=0, projector="mlp", projector_widths=(6,))
    encoder.eval()
    encoder.backbone.layer4.train()
    encoder.backbone.stem[0].weight.requires_grad_(False)
    split = split_encoder(encoder, "layer2")
    modes = [module.training for module in encoder.modules()]
    asking = [p.requires_grad for p in encoder.parameters()]
    early = {name: value.clone() for name, value in split.early.state_dict().items()}
    late = {name: value.clone() for name, value in split.late.state_dict().items()}
    with frozen_early(encoder, split):
        assert not any(p.requires_grad for p in split.early.parameters())
        assert all(p.requires_grad for p in split.late.parameters())
        assert not any(module.training for module in split.early.modules())
        assert all(module.training for module in (*split.late.modules(), split.projector))
        encoder(draw(4, *SHAPE)).sum().backward()
    with pytest.raises(RuntimeError), frozen_early(encoder, split):
        encoder(draw(4, 2, 8, 8))
    assert all(torch.equal(value, early[name]) for name, value in split.early.state_dict().items())
    moved = [name for name, value in split.late.state_dict().items()
             if not torch.equal(value, late[name])]  # fmt: skip
    assert any("running_mean" in name for name in moved)
    assert modes == [module.training for module in encoder.modules()]
    assert asking == [p.requires_grad for p in encoder.parameters()]
    with evaluating(split.late):
        assert not encoder.backbone.layer4.training
    assert encoder.backbone.layer4.training
