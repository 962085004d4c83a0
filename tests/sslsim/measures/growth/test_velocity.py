"""Rates by the velocity of the parameters, against differences along it."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from sslsim.measures.growth import growth
from sslsim.measures.snapshots import HeldOutPairs, batch_statistics
from sslsim.measures.spectra import covariance_spectrum, cross_spectrum
from sslsim.objectives import barlow_twins, simclr, vicreg

SEED = st.integers(0, 2**31)


def network_of(seed):
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3, bias=False)
    ).double()
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    x = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    velocity = [
        torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        for parameter in network.parameters()
    ]
    return network, HeldOutPairs(x, x + 0.3 * noise), velocity


def eigenvalues(network, pairs, spectrum):
    with torch.no_grad(), batch_statistics(network):
        z, z_prime = network(pairs.x), network(pairs.x_prime)
    if spectrum == "cross":
        return cross_spectrum(z, z_prime).numpy()
    return covariance_spectrum(torch.cat([z, z_prime])).numpy()


@settings(max_examples=15)
@given(SEED, st.sampled_from(["cross", "covariance"]), st.sampled_from([barlow_twins, vicreg]))
def test_the_actual_rate_is_that_of_the_eigenvalue_along_the_velocity(seed, spectrum, objective):
    network, pairs, velocity = network_of(seed)
    modes = [2, 0, 1]
    now = growth(network, pairs, objective, modes, spectrum=spectrum, velocity=velocity)
    lam = now.lam.numpy()
    assume(lam[-1] > 1e-3 * lam[0] and (lam[:-1] / lam[1:]).min() > 1.05)
    start, moves = parameters_to_vector(network.parameters()), parameters_to_vector(velocity)

    def logs(time):
        vector_to_parameters(start + time * moves, network.parameters())
        return np.log(eigenvalues(network, pairs, spectrum))

    def slope(time):
        return (logs(time) - logs(-time)) / (2 * time)

    time = 1e-4
    expected = (4 * slope(time / 2) - slope(time)) / 3
    np.testing.assert_allclose(now.actual, expected[modes], rtol=1e-5, atol=1e-6)


@settings(max_examples=10)
@given(SEED, st.sampled_from(["cross", "covariance"]), st.floats(-3.0, 3.0))
def test_rates_are_those_of_the_velocity_down_the_gradient(seed, spectrum, factor):
    network, pairs, velocity = network_of(seed)
    with batch_statistics(network):
        loss = simclr(network(pairs.x), network(pairs.x_prime), similarity="dot")
    downhill = [-slope for slope in torch.autograd.grad(loss, list(network.parameters()))]

    def measured(velocity):
        def objective(z, z_prime):
            return simclr(z, z_prime, similarity="dot")

        return growth(network, pairs, objective, [0, 1, 2], spectrum=spectrum, velocity=velocity)

    now = measured(downhill)
    torch.testing.assert_close(now.actual, now.rates, rtol=1e-9, atol=1e-12)
    # It is linear in the velocity, and the other rates know nothing of it.
    mixed = measured([factor * v + d for v, d in zip(velocity, downhill, strict=True)])
    parts = factor * measured(velocity).actual + now.actual
    size = float(parts.abs().max() + mixed.actual.abs().max())
    torch.testing.assert_close(mixed.actual, parts, rtol=1e-9, atol=1e-11 * size)
    assert torch.equal(mixed.rates, now.rates)
    assert torch.equal(mixed.shares, now.shares)


def test_velocities_are_those_of_the_parameters_that_move():
    network, pairs, velocity = network_of(0)
    whole = growth(network, pairs, barlow_twins, [0], velocity=velocity)
    rest = [torch.zeros_like(velocity[0]), torch.zeros_like(velocity[1]), *velocity[2:]]
    still = growth(network, pairs, barlow_twins, [0], velocity=rest)
    network[0].requires_grad_(False)
    frozen = growth(network, pairs, barlow_twins, [0], velocity=velocity[2:])
    torch.testing.assert_close(frozen.actual, still.actual, rtol=1e-12, atol=0)
    assert not torch.isclose(frozen.actual, whole.actual, rtol=1e-3)
    assert not frozen.actual.requires_grad
    # Velocities of a network in float32 are as good.
    single = [part.float() for part in velocity[2:]]
    found = growth(network, pairs, barlow_twins, [0], velocity=single)
    assert found.actual.dtype == torch.float64
    torch.testing.assert_close(found.actual, frozen.actual, rtol=1e-4, atol=1e-5)


def test_without_a_velocity_there_is_no_actual_rate():
    network, pairs, _ = network_of(0)
    now = growth(network, pairs, barlow_twins, [0, 2])
    assert now.actual.shape == (2,)
    assert now.actual.isnan().all()
    assert growth(network, pairs, barlow_twins, []).actual.shape == (0,)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda parts: parts[:-1],
        lambda parts: [*parts, parts[-1]],
        lambda parts: [parts[0].T, *parts[1:]],
        lambda parts: [part.flatten() for part in parts],
        lambda parts: [*parts[:3], parts[4], parts[3]],
        lambda parts: [],
    ],
    ids=["too few", "too many", "transposed", "flat", "swapped", "none"],
)
def test_velocities_of_other_shapes_are_refused(spoil):
    network, pairs, velocity = network_of(0)
    spoiled = spoil(velocity)
    message = (
        f"velocity has {len(spoiled)} tensors of other shapes than the 5 parameters; "
        "expected one for each"
    )
    with pytest.raises(ValueError, match=message):
        growth(network, pairs, barlow_twins, [0], velocity=spoiled)
