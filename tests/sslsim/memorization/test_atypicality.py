"""Natural atypicality: distances to neighbours under a third encoder, and rank correlations."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from sslsim.data.pixels import pixel_statistics
from sslsim.encoders.build import Encoder
from sslsim.measures.frozen import FrozenEncoder
from sslsim.memorization.one_encoder.atypicality import atypicality, neighbour_distances
from sslsim.memorization.statistics import rank_correlations, two_way_interval


def literal(points, population, k, own):
    """One point after another, in plain numpy."""
    unit = [v / np.linalg.norm(v) for v in population]
    means = []
    for point, place in zip(points, own, strict=True):
        point = point / np.linalg.norm(point)
        gaps = [np.linalg.norm(point - other) for i, other in enumerate(unit) if i != place]
        means.append(np.mean(sorted(gaps)[:k]))
    return np.array(means)


@pytest.mark.parametrize("k", [1, 4, 10])
def test_distances_are_those_of_a_literal_search(k, monkeypatch):
    monkeypatch.setattr("sslsim.memorization.one_encoder.atypicality._AT_ONCE", 50)  # chunks
    generator = torch.Generator().manual_seed(0)
    population = torch.randn(30, 5, generator=generator, dtype=torch.float64)
    points = torch.cat([population[3:9], torch.randn(4, 5, generator=generator)])
    own = torch.tensor([*range(3, 9), -1, -1, -1, -1])
    found = neighbour_distances(points, population, k, own=own)
    expected = literal(points.numpy(), population.numpy(), k, own.tolist())
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    # The size of a representation does not matter; that a point is not its own neighbour does.
    np.testing.assert_allclose(
        neighbour_distances(7 * points, population, k, own=own), expected, rtol=1e-10
    )
    alone = neighbour_distances(points, population, k)
    assert (alone[:6] < found[:6] - 1e-3).all()
    np.testing.assert_allclose(alone[6:], expected[6:], rtol=1e-10)


def bright_or_dark(views="weak"):
    """An encoder made by hand: it sees how bright the two halves of an image are."""
    halves = torch.zeros(2, 64)
    halves[0, :32] = halves[1, 32:] = 1 / 32
    layer = nn.Linear(64, 2, bias=False)
    layer.weight.data = halves
    backbone = nn.Sequential(nn.Flatten(), layer)
    return FrozenEncoder(Encoder(backbone, nn.Identity(), 2, 2), None, views)


def planted():
    """Images with a bright upper half, and three that are dark there."""
    images = torch.full((40, 1, 8, 8), 10, dtype=torch.uint8)
    images[:, :, :4] = 200
    images[:, 0, 0, 0] = torch.arange(40)  # no two are the same
    images[[5, 17, 30]] = 210 - images[[5, 17, 30]]
    return images


def test_images_far_from_the_rest_in_the_encoder_are_atypical():
    images = planted()
    values = atypicality(bright_or_dark(), images, images, own=torch.arange(40))
    # Two of its ten neighbours are like it, and the other eight far away.
    assert set(values.argsort(descending=True)[:3].tolist()) == {5, 17, 30}
    assert values[[5, 17, 30]].min() > 0.5 > 0.1 > values[[0, 1, 2]].max()
    # By the encoder alone: one that sees nothing of it tells nothing.
    blind = bright_or_dark()
    next(blind.encoder.parameters()).data.fill_(1 / 64)
    assert atypicality(blind, images, images, own=torch.arange(40)).max() < 1e-3


def test_images_are_fed_as_the_encoder_was_trained():
    images = planted()
    plain = bright_or_dark()
    pixels = FrozenEncoder(plain.encoder, pixel_statistics(images), "weak")
    assert not torch.equal(atypicality(plain, images, images), atypicality(pixels, images, images))
    # An encoder of crops takes the centre.
    layer = nn.Linear(36, 2)
    backbone = nn.Sequential(nn.Flatten(), layer)
    crops = FrozenEncoder(Encoder(backbone, nn.Identity(), 2, 2), None, "crops")
    border = images.clone()
    border[:, :, 0] = border[:, :, -1] = 99
    assert torch.equal(atypicality(crops, images, images), atypicality(crops, border, border))


@pytest.mark.parametrize(
    ("points", "population", "options", "message"),
    [
        (torch.ones(3, 2), torch.ones(4, 3), {}, "points has shape .3, 2. and population .4, 3."),
        (torch.ones(3), torch.ones(4, 3), {}, "points has shape .3,."),
        (torch.ones(3, 2), torch.ones(4, 2), {"k": 5}, "k is 5; expected at most 4"),
        (torch.ones(3, 2), torch.ones(4, 2), {"k": 0}, "k is 0"),
        (torch.ones(3, 2), torch.ones(3, 2), {"k": 3, "own": torch.arange(3)}, "at most 2"),
        (torch.ones(3, 2), torch.ones(3, 2), {"own": torch.arange(2)}, "own has shape"),
        (torch.full((3, 2), torch.nan), torch.ones(20, 2), {}, "NaN or infinite"),
    ],
)
def test_bad_neighbours_are_refused(points, population, options, message):
    with pytest.raises(ValueError, match=message):
        neighbour_distances(points, population, **options)


def test_rank_correlations_of_weights_are_those_of_repeated_images():
    rng = np.random.default_rng(0)
    scores, given = rng.integers(0, 8, (2, 2, 25)).astype(float)  # with ties
    values = rng.standard_normal(25)
    counts = rng.multinomial(24, np.full(25, 1 / 25), size=6)
    found = rank_correlations(scores, values)(counts / 24)
    partial = rank_correlations(scores, values, given)(counts / 24)
    for draw, count in enumerate(counts):
        rows = np.repeat(np.arange(25), count)
        for pair in range(2):
            x, y, z = scores[pair, rows], values[rows], given[pair, rows]
            assert found[draw, pair] == pytest.approx(stats.spearmanr(x, y).statistic)
            # What is left of the ranks after a regression on those held fixed.
            ranks = [stats.rankdata(part) for part in (x, y, z)]
            rest = [part - np.polyval(np.polyfit(ranks[2], part, 1), ranks[2]) for part in ranks]
            expected = np.corrcoef(rest[0], rest[1])[0, 1]
            assert partial[draw, pair] == pytest.approx(expected)


def test_what_has_no_ranks_has_no_correlation():
    values, weights = np.arange(5.0), np.full((1, 5), 0.2)
    assert np.isnan(rank_correlations(np.ones((1, 5)), values)(weights)).all()
    # Scores that are the loss itself have nothing left once it is held fixed.
    assert np.isnan(rank_correlations(values[None], values, values[None])(weights)).all()
    with pytest.raises(ValueError, match="scores has shape"):
        rank_correlations(np.ones((1, 5)), np.ones(4))


def test_a_planted_relation_is_found_beyond_the_loss_and_none_where_there_is_none():
    rng = np.random.default_rng(1)
    loss, atypical = rng.random((4, 300)), rng.random(300)
    bounded = loss * 0.5  # the score follows the loss alone, which is related to nothing
    related = loss * (0.5 + atypical)
    for scores, present in ((bounded + 1e-3 * rng.random((4, 300)), False), (related, True)):
        found = two_way_interval(rank_correlations(scores, atypical, loss), 4, (300,))
        assert (found.low > 0) is present, found
    # Atypical images with a high loss: the plain correlation is of the loss.
    loss = atypical + 0.1 * rng.random((4, 300))
    scores = loss + 0.1 * rng.random((4, 300))
    plain = two_way_interval(rank_correlations(scores, atypical), 4, (300,))
    given = two_way_interval(rank_correlations(scores, atypical, loss), 4, (300,))
    assert plain.low > 0.8
    assert abs(given.mean) < 0.1
