"""Features by layer against direct calls; the encoder is left as it was."""

import pytest
import torch
from torch import nn

from sslsim.core.seeds import seeded
from sslsim.core.torchvision import torchvision
from sslsim.encoders.build import Encoder, build_encoder
from sslsim.encoders.features import features
from sslsim.encoders.own.encoder import own_encoder


def images(n=5, shape=(1, 8, 8)):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1))


def hooks(module):
    return sum(len(part._forward_hooks) for part in module.modules())


@pytest.mark.parametrize("name", ["linear", "mlp", "convnet", "resnet18", "vit_tiny"])
def test_layers_of_all_encoders(name):
    encoder = build_encoder(name, (1, 8, 8), 4, seed=0)
    x = images()
    found = features(encoder, x, [*encoder.layers, "backbone", "projector"], batch_size=2)
    assert list(found) == [*encoder.layers, "backbone", "projector"]
    assert all(len(values) == 5 and values.ndim == 2 for values in found.values())
    encoder.eval()
    assert torch.allclose(found["backbone"], encoder.backbone(x), rtol=1e-4, atol=1e-5)
    assert torch.allclose(found["projector"], encoder(x), rtol=1e-4, atol=1e-5)
    assert not any(values.requires_grad for values in found.values())


def test_feature_maps_are_averaged_over_places():
    encoder = build_encoder("convnet", (1, 8, 8), 4, seed=0)
    x = images()
    found = features(encoder, x)
    first = encoder.backbone.layer1(x)
    assert torch.allclose(found["layer1"], first.mean((2, 3)), rtol=1e-5)
    assert torch.allclose(found["layer3"], encoder.backbone(x), rtol=1e-5)


def test_tokens_are_averaged():
    encoder = build_encoder("vit_tiny", (1, 8, 8), 4, seed=0)
    x = images()
    kept = []
    hook = encoder.backbone.blocks[3].register_forward_hook(lambda *given: kept.append(given[2]))
    encoder(x)
    hook.remove()
    assert torch.allclose(features(encoder, x)["blocks.3"], kept[0].mean(1), rtol=1e-4, atol=1e-5)


class LastAxis(nn.Module):
    """Channels behind places, as in a Swin transformer."""

    def __init__(self, width, *, back=False):
        super().__init__()
        self.linear, self.back = nn.Linear(3, width), back

    def forward(self, x):
        """Maps (n, h, w, k), or turned back to (n, k, h, w)."""
        maps = self.linear(x.permute(0, 2, 3, 1))
        return maps.permute(0, 3, 1, 2) if self.back else maps


def test_channels_of_a_swin_transformer_are_the_last_axis():
    with seeded(0):
        swin = torchvision.models.swin_transformer.SwinTransformer(
            [2, 2], 12, [1, 1], [2, 2], [2, 2], num_classes=2
        )
    x = images(shape=(3, 16, 16))
    layers = ("features.0", "features.1", "features.2", "features.3")
    assert own_encoder(swin, (3, 16, 16), 2).layers == (*layers, "head")
    found = features(Encoder(swin, nn.Identity(), 2, 2, layers), x)
    swin.eval()  # no part is left out at random
    maps = swin.features[0](x)
    for i, layer in enumerate(layers):
        maps = swin.features[i](maps) if i else maps
        assert torch.allclose(found[layer], maps.mean((1, 2)), rtol=1e-4, atol=1e-5)
    assert [values.shape[1] for values in found.values()] == [12, 12, 24, 24]


class Doubled(nn.Conv2d):
    """More channels than its weight says."""

    def forward(self, x):
        """The channels twice."""
        return super().forward(x).repeat(1, 2, 1, 1)


@pytest.mark.parametrize(
    ("layer", "axis"),
    [
        (LastAxis(5), 3),
        (LastAxis(5, back=True), 1),
        (nn.Sequential(nn.Conv2d(3, 5, 1), nn.ReLU()), 1),
        (nn.Conv2d(3, 6, 1), 1),  # as many channels as places in a row
        (Doubled(3, 5, 1), 1),
        (nn.Sequential(nn.Conv2d(3, 5, 1), nn.PReLU(5), nn.Flatten(2)), 1),
        (nn.Sequential(LastAxis(5), nn.Flatten(1, 2)), 2),
        (LastAxis(6), None),
        (LastAxis(6, back=True), None),
        (Doubled(3, 6, 1), None),  # might be 12 x 6 places of 6 channels
    ],
    ids=range(10),
)
def test_channels_are_told_from_6_x_6_places_by_widths_of_a_layer_or_refused(layer, axis):
    x = images(shape=(3, 6, 6))
    output = layer(x)
    backbone = nn.Sequential(layer, nn.Flatten(), nn.Linear(output[0].numel(), 2))
    encoder = own_encoder(backbone, (3, 6, 6), projector="none")
    if axis is None:
        assert encoder.layers == ("2",)
        with pytest.raises(ValueError, match="of which the first or the last axis may have the ch"):
            features(encoder, x, ["0"])
        return
    places = [place for place in range(1, output.ndim) if place != axis]
    assert torch.allclose(features(encoder, x, ["0"])["0"], output.mean(places), rtol=1e-5)
    assert encoder.layers[0].startswith("0")


def test_a_layer_without_parameters_is_told_by_those_of_the_network():
    backbone = nn.Sequential(LastAxis(5), nn.ReLU(), nn.Flatten(), nn.Linear(180, 2))
    encoder = Encoder(backbone, nn.Identity(), 2, 2)
    x = images(shape=(3, 6, 6))
    expected = backbone[:2](x).mean((1, 2))
    assert torch.allclose(features(encoder, x, ["1"])["1"], expected, rtol=1e-5)


def test_an_operation_in_place_changes_nothing():
    layer = nn.Linear(3, 3)
    encoder = Encoder(nn.Sequential(layer, nn.ReLU(inplace=True)), nn.Identity(), 3, 3, ["0"])
    x = images(shape=(3,)) - 0.5
    assert torch.equal(features(encoder, x)["0"], layer(x))
    assert (layer(x) < 0).any()


def test_the_encoder_is_left_as_it_was():
    encoder = build_encoder("resnet18", (1, 8, 8), 4, seed=0)
    encoder.backbone.stem.eval()  # frozen by the caller
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    flags = [part.training for part in encoder.modules()]
    features(encoder, images())
    assert [part.training for part in encoder.modules()] == flags
    assert any(flags)
    assert not all(flags)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert hooks(encoder) == 0


def test_the_encoder_is_left_as_it_was_after_an_error():
    encoder = build_encoder("linear", (1, 8, 8), 4, seed=0)
    with pytest.raises(RuntimeError):
        features(encoder, images(shape=(1, 7, 7)))
    assert hooks(encoder) == 0
    assert encoder.training


def test_evaluation_mode():
    encoder = build_encoder("resnet18", (1, 8, 8), 4, seed=0)
    one = features(encoder, images(), ["backbone"], batch_size=1)
    all_at_once = features(encoder, images(), ["backbone"])
    assert torch.allclose(one["backbone"], all_at_once["backbone"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layers": ["layer9"]}, r"layers holds \['layer9'\]"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"images": images(0)}, "n above zero"),
        ({"images": images().to(torch.uint8)}, "expected floats"),
    ],
)
def test_bad_input(given, message):
    encoder = build_encoder("linear", (1, 8, 8), 4, seed=0)
    with pytest.raises(ValueError, match=message):
        features(**{"encoder": encoder, "images": images(), **given})


def test_outputs_with_other_axes():
    encoder = Encoder(nn.Sequential(nn.Unflatten(1, (1, 1, 1, 3))), nn.Linear(1, 1), 3, 3, ["0"])
    with pytest.raises(ValueError, match="expected two to four axes"):
        features(encoder, images(shape=(3,)))
    assert hooks(encoder) == 0
