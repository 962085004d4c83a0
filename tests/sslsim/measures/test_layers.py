"""Layers are probed and rated as the functions for one layer say."""

import pytest
import torch

from sslsim.coding_rate import coding_rate, coding_rate_reduction
from sslsim.data.datasets import Images, load_images
from sslsim.encoders.build import build_encoder
from sslsim.encoders.features import features
from sslsim.measures.frozen import FrozenEncoder
from sslsim.measures.layers import accuracies, probe_frozen, probe_layers, rate_reductions
from sslsim.measures.probes import knn_accuracy, linear_probe


def test_reductions_are_those_of_one_kind_of_groups_at_a_time():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(12, 5, generator=generator)
    groups = {"instance": torch.arange(6).repeat(2), "class": torch.arange(12) % 3}
    rate, reductions = rate_reductions(z, groups, eps=0.3)
    unit = z.double() / z.double().norm(dim=1, keepdim=True)
    assert rate == pytest.approx(float(coding_rate(unit, 0.3)), rel=1e-12)
    for name, labels in groups.items():
        expected = float(coding_rate_reduction(unit, labels, 0.3))
        assert reductions[name] == pytest.approx(expected, rel=1e-9), name
    assert rate_reductions(100 * z, groups, eps=0.3)[0] == pytest.approx(rate, rel=1e-6)


def test_every_layer_of_a_frozen_encoder_is_probed_as_its_features_are():
    train, test = load_images(limit=120), load_images(split="test", limit=60)
    encoder = build_encoder("mlp", (1, 8, 8), 4, seed=0, widths=(6,))
    probes = probe_frozen(FrozenEncoder(encoder, None, "simclr"), train, test, seed=1)
    parts = [features(encoder, part.images / 255, list(probes)) for part in (train, test)]
    for layer, of_layer in probes.items():
        given = (parts[0][layer], train.labels, parts[1][layer], test.labels)
        assert of_layer["knn"] == knn_accuracy(*given)
        assert of_layer["linear"] == linear_probe(*given, seed=1)
        assert list(accuracies(of_layer)) == ["linear", "linear_error", "knn", "knn_error"]


def test_images_without_labels_have_no_probes():
    images = load_images(limit=20)
    encoder = FrozenEncoder(build_encoder("linear", (1, 8, 8), 4, seed=0), None, "simclr")
    for labels in (None, torch.zeros(20, dtype=torch.int64)):
        part = Images(images.images, labels, "digits")
        assert probe_frozen(encoder, part, images) == {"backbone": {}, "projector": {}}
    assert accuracies({}) == {}


def test_a_probe_that_cannot_be_fitted_raises_or_is_left_out():
    labels = torch.arange(20) % 2
    good, bad = torch.eye(2)[labels], torch.full((20, 2), torch.nan)
    layers = {"early": good, "late": bad}
    with pytest.raises(ValueError, match="NaN"):
        probe_layers(layers, labels, layers, labels)
    with pytest.warns(UserWarning, match="_late is left out"):
        probes = probe_layers(layers, labels, layers, labels, skip_failures=True)
    assert (sorted(probes["early"]), probes["late"]) == (["knn", "linear"], {})
