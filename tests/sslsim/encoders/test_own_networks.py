"""Any network of the user's is an encoder: its output, its parts, its layers."""

import sys
from collections import namedtuple
from types import ModuleType

import pytest
import torch
from torch import nn

from sslsim.core.seeds import seeded
from sslsim.data.datasets import load_images
from sslsim.encoders.features import features
from sslsim.encoders.own import factory
from sslsim.encoders.own.encoder import own_encoder
from sslsim.encoders.own.factory import load_module
from sslsim.methods.build import build_learner
from sslsim.training.loop import TrainingOptions, train

SHAPE = (1, 8, 8)
Named = namedtuple("Named", "h z")


class Net(nn.Module):
    """BatchNorm, an activation in place, a projector, and a part that is not used."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True)
        )
        self.projector = nn.Linear(8, 3)
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        """Embedding."""
        return self.projector(self.backbone(x))


class Several(Net):
    """Two outputs, in a form of choice."""

    form = staticmethod(lambda h, z: {"h": h, "z": z})

    def forward(self, x):
        """Both outputs."""
        h = self.backbone(x)
        return self.form(h, self.projector(h))


def transformer():
    network = nn.Sequential(
        nn.Flatten(2),
        nn.Linear(64, 8),
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 3,
                              enable_nested_tensor=False),
        nn.Flatten(),
    )  # fmt: skip
    return network


def maps():
    return nn.Sequential(nn.Conv2d(1, 5, 3), nn.AdaptiveAvgPool2d(1))


def half():
    return Net().bfloat16()


@pytest.fixture
def mine(monkeypatch):
    """A module of the user's, imported."""
    module = ModuleType("mine_networks")
    for part in (Net, Several, transformer, maps, half):
        setattr(module, part.__name__, part)
    monkeypatch.setitem(sys.modules, "mine_networks", module)
    return module


def test_a_network_with_a_projector_keeps_it_and_freezes_what_it_does_not_use(mine):
    network = load_module("mine_networks:Net")
    encoder = own_encoder(network, SHAPE)
    assert (encoder.feature_dim, encoder.dim, encoder.layers) == (8, 3, ("1",))
    assert encoder.projector is network.projector
    assert not any(p.requires_grad for p in network.unused.parameters())
    x = torch.rand(4, *SHAPE)
    assert torch.equal(encoder.eval()(x), network.eval()(x))
    assert own_encoder(network, SHAPE, projector="none").dim == 3
    on_top = own_encoder(network, SHAPE, 2, projector="linear", seed=5)
    assert (on_top.feature_dim, on_top.dim) == (3, 2)
    same = own_encoder(network, SHAPE, 2, projector="linear", seed=5)
    assert torch.equal(on_top.projector[0].weight, same.projector[0].weight)
    with pytest.raises(ValueError, match="dim is 5 for a network of 3 outputs; expected 3"):
        own_encoder(network, SHAPE, 5)


@pytest.mark.parametrize(
    ("form", "key"),
    [
        (lambda h, z: {"h": h, "z": z}, "z"),
        (lambda h, z: (h, z), "1"),
        (lambda h, z: [h, z], "1"),
        (Named, "z"),
        (Named, "1"),
    ],
)
def test_one_of_several_outputs_is_chosen(mine, monkeypatch, form, key):
    monkeypatch.setattr(Several, "form", staticmethod(form))
    chosen = load_module("mine_networks:Several", output=key, seed=3)
    x = torch.rand(4, *SHAPE)
    assert torch.equal(chosen(x), load_module("mine_networks:Net", seed=3)(x))
    for output in (None, "nope"):
        with pytest.raises(
            ValueError, match=r"gives a .* with .*\(3, 8\), .*\(3, 3\), one of which"
        ):
            own_encoder(load_module("mine_networks:Several", output=output), SHAPE)


def test_maps_of_one_place_and_half_precision_are_taken(mine):
    encoder = own_encoder(load_module("mine_networks:maps"), SHAPE, 2)
    assert encoder.feature_dim == 5
    network = load_module("mine_networks:half")
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_the_seed_decides_the_weights_and_nothing_else_changes(mine):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first, same, other = (load_module("mine_networks:Net", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    weights = [network.projector.weight for network in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_blocks_of_a_transformer_are_layers_with_features(mine):
    encoder = own_encoder(load_module("mine_networks:transformer"), SHAPE, 2)
    blocks = tuple(f"2.layers.{i}" for i in range(3))
    assert encoder.layers == ("1", *blocks)
    outputs = features(encoder, torch.rand(3, *SHAPE))
    assert {name: tuple(z.shape) for name, z in outputs.items()} == dict.fromkeys(
        encoder.layers, (3, 8)
    )


def test_torchvisions_networks_come_by_name_without_their_classifier():
    with seeded(0):
        encoder = own_encoder(load_module("torchvision:resnet18"), (3, 16, 16), 4)
    assert encoder.feature_dim == 512
    assert encoder.layers == ("conv1", "layer1", "layer2", "layer3", "layer4")
    with pytest.raises(ValueError, match="torchvision:resnet19 raised ValueError: Unknown model"):
        load_module("torchvision:resnet19")


def test_timms_networks_come_by_name_or_the_extra_is_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    with monkeypatch.context() as patched:
        patched.setattr(factory, "import_module", missing)
        with pytest.raises(
            ValueError, match=r"timm is not installed.*pip install 'sslsim\[networks"
        ):
            load_module("timm:resnet10t")
    pytest.importorskip("timm")
    assert own_encoder(load_module("timm:resnet10t"), (3, 32, 32), 2).feature_dim == 512


def test_a_lightning_module_is_a_network():
    lightning = pytest.importorskip("lightning")

    class Lit(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Net()

        def forward(self, x):
            return self.net(x)

    encoder = own_encoder(Lit(), SHAPE, 2)
    learner = build_learner("byol", SHAPE, 2, encoder=encoder, seed=0)  # copies the encoder
    assert learner.encoder.dim == 2


@pytest.mark.parametrize("method", ["barlow_twins", "byol", "dino"])
def test_a_frozen_part_stays_as_it_is_from_the_start_to_the_end_of_training(method, tmp_path):
    with seeded(0):
        network = Net()
    network.backbone.requires_grad_(False)
    before = {name: value.clone() for name, value in network.named_parameters()}
    encoder = own_encoder(network, SHAPE)
    learner = build_learner(method, SHAPE, 3, encoder=encoder, seed=0, init_scale=0.25)
    for name, value in network.named_parameters():
        scaled = name.startswith("projector")
        assert torch.equal(value, before[name] * (0.25 if scaled else 1)), name
    if method == "byol":
        for name, value in learner.teacher.named_parameters():
            assert torch.equal(value, encoder.get_parameter(name)), name
    options = TrainingOptions(steps=3, batch=20, lr=0.1, weight_decay=0.1, momentum=0.5)
    train(learner, load_images(limit=40), "noise", options, tmp_path)
    for name, value in network.named_parameters():
        frozen = not name.startswith("projector")
        assert torch.equal(value, before[name]) == frozen, name


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Flatten(0), r"gives \(192,\) for inputs of shape \(3, 1, 8, 8\)"),
        (nn.Linear(3, 2), "does not take inputs of shape"),
        (nn.Conv2d(3, 2, 1), "does not take inputs of shape"),
    ],
)
def test_networks_that_give_no_matrix_are_refused_in_one_line(network, message):
    with pytest.raises(ValueError, match=message) as caught:
        own_encoder(network, SHAPE, 2)
    assert "\n" not in str(caught.value)
