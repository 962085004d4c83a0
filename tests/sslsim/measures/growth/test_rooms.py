"""Rooms of weights that are free of scale: by turning their rows, and of a planted angle."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.linalg import null_space
from torch import nn

from sslsim.measures.growth import adaptation, growth
from sslsim.measures.snapshots import HeldOutPairs, batch_statistics
from sslsim.measures.spectra import covariance_spectrum, cross_spectrum
from sslsim.objectives import barlow_twins

SEED = st.integers(0, 2**31)


def pairs_of(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(12, *shape, generator=generator, dtype=torch.float64)
    return HeldOutPairs(x, x + 0.3 * torch.randn(x.shape, generator=generator, dtype=torch.float64))


def randomised(network, seed):
    """Parameters of all sizes, also of the gains and offsets of BatchNorm."""
    generator = torch.Generator().manual_seed(seed)
    network = network.double()
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return network


def amplitude(network, pairs, mode, spectrum):
    """Square root of an eigenvalue, of the spectrum that is measured."""
    with torch.no_grad(), batch_statistics(network):
        z, z_prime = network(pairs.x), network(pairs.x_prime)
    if spectrum == "cross":
        return float(cross_spectrum(z, z_prime)[mode]) ** 0.5
    return float(covariance_spectrum(torch.cat([z, z_prime]))[mode]) ** 0.5


def room_by_turning(network, weight, pairs, mode, spectrum):
    """Sum of (d ln(a) / d angle)^2 over all ways to turn a row of the weights, by differences."""
    rows, total, angle = weight.detach().clone(), 0.0, 1e-4
    for place, row in enumerate(rows.flatten(1)):
        for across in torch.from_numpy(null_space(row[None].numpy())).T:  # unit vectors
            logs = []
            for way in (2, 1, -1, -2):
                turned = np.cos(way * angle) * row + np.sin(way * angle) * row.norm() * across
                weight.data = rows.clone()
                weight.data[place] = turned.view_as(rows[place])
                logs.append(np.log(amplitude(network, pairs, mode, spectrum)))
            slope = (8 * (logs[1] - logs[2]) - (logs[0] - logs[3])) / (12 * angle)
            total += slope**2
    weight.data = rows
    return total


NETWORKS = {
    "linear": (
        (3,),
        lambda: nn.Sequential(
            nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Tanh(), nn.Linear(2, 2, bias=False)
        ),
    ),
    "convolution": (
        (1, 3, 3),
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 2)
        ),
    ),
}


@pytest.mark.parametrize("kind", NETWORKS)
@settings(max_examples=6)
@given(seed=SEED, spectrum=st.sampled_from(["cross", "covariance"]))
def test_rows_before_batchnorm_have_the_room_that_turning_them_shows(kind, seed, spectrum):
    shape, build = NETWORKS[kind]
    network, pairs = randomised(build(), seed), pairs_of(seed, *shape)
    now = growth(network, pairs, barlow_twins, [1, 0], spectrum=spectrum)
    assume(bool((now.lam > 0.01).all()) and float(now.lam[0] / now.lam[1]) > 1.1)
    weights = dict(network.named_parameters())
    for place, mode in enumerate((1, 0)):
        rooms = dict(zip(now.names, now.rooms[place].tolist(), strict=True))
        expected = room_by_turning(network, weights["0.weight"], pairs, mode, spectrum)
        # BatchNorm adds 1e-5 to variances, and so scale counts a little.
        assert rooms.pop("0.weight") == pytest.approx(expected, rel=1e-4)
        # Vectors, and matrices that are followed by no normalisation.
        assert set(rooms.values()) == {np.inf}


@settings(max_examples=10)
@given(SEED, st.lists(st.integers(-8, 8), min_size=2, max_size=2))
def test_the_lengths_of_rows_before_batchnorm_do_not_matter(seed, powers):
    network = nn.Sequential(nn.Linear(3, 2, bias=False), nn.BatchNorm1d(2, eps=1e-30))
    network, pairs = randomised(network, seed), pairs_of(seed, 3)
    before = growth(network, pairs, barlow_twins, [0]).rooms
    network[0].weight.data *= torch.tensor([[2.0**power] for power in powers])
    after = growth(network, pairs, barlow_twins, [0]).rooms
    torch.testing.assert_close(after, before, rtol=1e-7, atol=1e-12)
    assert bool(before[0, 0] < np.inf)


@settings(max_examples=15)
@given(st.floats(0.1, 1.4), st.floats(1e-2, 1e2))
def test_a_planted_angle_has_its_room_and_the_mode_adapts_by_what_is_used_up(angle, length):
    """With w = R (sin, cos) before BatchNorm, of which views share the first pixel alone."""
    # All signs: pixels of variance 1 that have nothing to do with each other.
    signs = torch.tensor(list(product([1.0, -1.0], repeat=3)), dtype=torch.float64)
    pairs = HeldOutPairs(signs[:, [0, 1]], signs[:, [0, 2]])
    network = nn.Sequential(
        nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1, eps=1e-30, affine=False)
    ).double()
    row = length * torch.tensor([np.sin(angle), np.cos(angle)])
    network[0].weight.data.copy_(row[None])
    now = growth(network, pairs, barlow_twins, [0])
    assert now.lam.item() == pytest.approx(np.sin(angle) ** 2, rel=1e-12)
    cotangent = 1 / np.tan(angle) ** 2
    assert now.rooms.item() == pytest.approx(cotangent, rel=1e-9)
    # Its rate is proportional to the room that is left, cos^2 = 1 - lambda, and the pull.
    steps = [adaptation(network, pairs, barlow_twins, 0, growth_by=way * 1e-4) for way in (1, -1)]
    assert np.mean(steps) == pytest.approx(-1 / cotangent, rel=1e-3)


@pytest.mark.parametrize(
    "network",
    [
        nn.Linear(3, 2),
        nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)),
        nn.Sequential(nn.Linear(3, 4, bias=False), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 2)),
    ],
    ids=["one layer", "two layers", "rows of one LayerNorm"],
)
def test_rooms_of_plain_layers_are_infinite(network):
    now = growth(randomised(network, 0), pairs_of(0, 3), barlow_twins, [0, 1])
    assert now.rooms.shape == (2, len(now.names))
    assert now.rooms.isinf().all()


def test_what_a_mode_does_not_look_at_has_no_limited_room():
    """A gradient of zeros is orthogonal to everything."""
    network = randomised(
        nn.Sequential(nn.Linear(3, 2, bias=False), nn.BatchNorm1d(2), nn.Linear(2, 1)), 0
    )
    network[2].weight.data.zero_()
    network[2].bias.data.fill_(0.5)
    now = growth(network, pairs_of(0, 3), barlow_twins, [0])
    assert now.rooms.isinf().all()
