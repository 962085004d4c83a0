"""UnitMem against a literal transcription of its definition, and on units made by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from sslsim.encoders.build import Encoder, build_encoder
from sslsim.encoders.features import features
from sslsim.measures.frozen import FrozenEncoder
from sslsim.memorization.losses import Scoring
from sslsim.memorization.one_encoder.units import mean_activations, unit_memorization
from sslsim.memorization.views import ViewPairs


def literal_unit_mem(mu):
    """Word by word: the largest mean activation, the mean of all others, and their contrast."""
    scores, images = [], []
    for unit in range(mu.shape[1]):
        column = [float(value) for value in mu[:, unit]]
        place = max(range(len(column)), key=lambda i: column[i])
        others = [value for i, value in enumerate(column) if i != place]
        largest, rest = column[place], sum(others) / len(others)
        scores.append((largest - rest) / (largest + rest))
        images.append(place)
    return scores, images


def test_unit_mem_is_its_definition():
    mu = np.random.default_rng(0).exponential(size=(20, 7))
    found = unit_memorization(torch.as_tensor(mu))
    scores, images = literal_unit_mem(mu)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-12)
    assert found.images.tolist() == images
    # Free of the unit of an activation, and independent of the order of the images.
    order = np.random.default_rng(1).permutation(20)
    other = unit_memorization(torch.as_tensor(3.0 * mu[order]))
    np.testing.assert_allclose(other.scores, scores, rtol=1e-12)
    assert order[other.images.numpy()].tolist() == images


def test_its_ends_are_one_image_alone_and_all_alike():
    mu = torch.zeros(5, 4)
    mu[3, 0] = 7.0  # one image alone
    mu[:, 1] = 2.0  # all alike
    mu[:, 2] = torch.tensor([1.0, 3.0, 1.0, 3.0, 1.0])  # two of the largest
    found = unit_memorization(mu)
    assert found.scores[:3].tolist() == pytest.approx([1.0, 0.0, (3 - 1.5) / (3 + 1.5)])
    assert found.images[:3].tolist() == [3, 0, 1]
    assert found.scores[3].isnan()  # never active: nothing is known


@pytest.mark.parametrize(
    ("mu", "message"),
    [
        (torch.ones(1, 3), "n of at least 2"),
        (torch.ones(3), "expected .n, u."),
        (-torch.ones(3, 2), "negative or infinite"),
        (torch.full((3, 2), torch.nan), "negative or infinite"),
    ],
)
def test_bad_activations_are_refused(mu, message):
    with pytest.raises(ValueError, match=message):
        unit_memorization(mu)


def test_mean_activations_are_those_of_every_view_one_by_one():
    images = torch.randint(
        256, (70, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    numbers = torch.randperm(90, generator=torch.Generator().manual_seed(1))[:70]  # two blocks
    encoders = [
        FrozenEncoder(build_encoder("convnet", (1, 6, 6), 3, seed=seed), None, "crops")
        for seed in range(2)
    ]
    scoring = Scoring("crops", ("layer1", "projector"), pairs=3, seed=5)
    found = mean_activations(encoders, images, scoring, numbers=numbers)
    pairs = ViewPairs(images, numbers, "crops", 3, 5, dtype=torch.float32).stacked()
    for encoder, layers in zip(encoders, found, strict=True):
        for layer in scoring.layers:
            for image in range(0, 70, 9):
                views = pairs[image].flatten(0, 1)
                units = features(encoder.encoder, views, [layer])[layer]
                # Negative activations, which embeddings have, are rectified view by view.
                expected = np.maximum(units.numpy().astype(float), 0).mean(axis=0)
                np.testing.assert_allclose(layers[layer][image], expected, rtol=1e-4, atol=1e-6)
        assert (
            features(encoder.encoder, pairs.flatten(0, 2), ["projector"])["projector"] < 0
        ).any()
        assert all((values >= 0).all() for values in layers.values())


def test_a_unit_that_knows_one_image_by_heart_is_found():
    images = torch.randint(
        100, (30, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    images[:, 0, 0, 0] = torch.arange(30, dtype=torch.uint8)
    images[11] = 255 - images[11]
    first, last = nn.Linear(64, 3), nn.ReLU()
    first.weight.data.zero_()
    first.bias.data.zero_()
    first.weight.data[0] = 1 / 64  # brightness, of all images
    first.weight.data[1] = 1 / 64  # brightness above what any other image has
    first.bias.data[1] = -0.4
    backbone = nn.Sequential(nn.Flatten(), first, last)
    encoder = FrozenEncoder(Encoder(backbone, nn.Identity(), 3, 3), None, "noise")
    (found,) = mean_activations([encoder], images, Scoring("noise", pairs=4))
    units = unit_memorization(found["backbone"])
    assert units.scores[1] == 1.0
    assert 0 < units.scores[0] < 0.9
    assert units.images[:2].tolist() == [11, 11]
    assert units.scores[2].isnan()
