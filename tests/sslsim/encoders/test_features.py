"""Features by layer against direct calls; the encoder is left as it was."""

import pytest
import torch
from torch import nn

from sslsim.encoders.build import Encoder, build_encoder
from sslsim.encoders.features import features


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
