"""Nearest neighbours read while a network trains."""

import torch

from sslsim.data.datasets import Images
from sslsim.data.pixels import pixel_statistics
from sslsim.encoders.build import Encoder, build_encoder
from sslsim.measures.probes import knn_accuracy
from sslsim.training.knn_monitor import NeighbourBank, neighbour_accuracy, neighbour_bank


def pictures(count, seed=0, classes=3):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    noise = torch.randint(40, (count, 1, 6, 6), generator=draw)
    return Images((noise + 70 * labels[:, None, None, None]).to(torch.uint8), labels, "planted")


def test_bank_is_spread_over_both_splits_and_standardised():
    data, held_out = pictures(2100), pictures(600, seed=1)
    pixels = pixel_statistics(data.images)
    bank = neighbour_bank(data, held_out, pixels, torch.device("cpu"))
    assert (len(bank.images), bank.size) == (1256, 1000)
    assert torch.equal(bank.images[0], pixels.standardise(data.images[0].float() / 255))
    assert torch.equal(bank.labels[1000:], held_out.labels[torch.arange(256) * 600 // 256])
    plain = neighbour_bank(data, held_out, None, torch.device("cpu"))
    assert plain.images.min() >= 0
    assert plain.images.max() <= 1


def test_there_is_none_without_two_classes():
    data = pictures(20)
    device = torch.device("cpu")
    assert neighbour_bank(Images(data.images, None, "x"), data, None, device) is None
    assert neighbour_bank(data, Images(data.images, None, "x"), None, device) is None
    assert neighbour_bank(pictures(20, classes=1), data, None, device) is None


def test_accuracy_is_that_of_the_probe_on_the_representation():
    data, held_out = pictures(60), pictures(30, seed=1)
    bank = neighbour_bank(data, held_out, None, torch.device("cpu"))
    encoder = build_encoder("mlp", (1, 6, 6), 2, seed=0)
    with torch.no_grad():
        fitted, read = (encoder.backbone(part.images.float() / 255) for part in (data, held_out))
    expected = knn_accuracy(fitted, data.labels, read, held_out.labels)
    assert neighbour_accuracy(encoder, bank) == expected.accuracy
    shuffled = torch.randperm(90, generator=torch.Generator().manual_seed(0))
    chance = NeighbourBank(bank.images, bank.labels[shuffled], bank.size)
    assert neighbour_accuracy(encoder, chance) < 0.7


def test_the_network_is_left_as_it_was():
    data = pictures(60)
    bank = neighbour_bank(data, data, None, torch.device("cpu"))
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(36))
    encoder = Encoder(net, torch.nn.Linear(36, 2), feature_dim=36, dim=2)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    neighbour_accuracy(encoder, bank)
    assert encoder.training
    assert net[1].training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
