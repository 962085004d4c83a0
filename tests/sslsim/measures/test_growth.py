"""Rates of growth against tangent kernels, training and the two-factor law; Hessian products."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from sslsim.encoders.build import build_encoder
from sslsim.measures.growth import gradient_flow_step, growth, hessian_product
from sslsim.measures.snapshots import HeldOutPairs
from sslsim.ntk import layer_ntks, pair_ntk
from sslsim.objectives import barlow_twins, simclr, vicreg
from theory.growth.two_factor import growth_rate, growth_time, two_factor_law


def pairs_of(count, shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
    return HeldOutPairs(x, x + 0.3 * torch.randn(x.shape, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize(("name", "widths"), [("convnet", (3, 4)), ("mlp", (5, 4))])
def test_a_modes_own_part_is_that_of_its_tangent_kernel(name, widths):
    """(4 / n) (1 - lambda) f'P K_u P f / (f'P f); parameters share by their kernels."""
    encoder = build_encoder(name, (1, 5, 5), 3, seed=0, widths=widths).double()
    pairs = pairs_of(7, (1, 5, 5))
    now = growth(encoder, pairs, barlow_twins, [0, 1, 2])
    views = torch.cat([pairs.x, pairs.x_prime])
    for mode in range(3):
        u = now.directions[:, mode : mode + 1]
        f = now.functions[:, mode]
        swapped = f.roll(7)
        lam = f @ swapped / 14
        torch.testing.assert_close(now.lam[mode], lam, rtol=1e-12, atol=0)
        factor = 4 / 7 * (1 - lam) / (f @ swapped)
        kernel = pair_ntk(encoder.eval(), pairs.x, pairs.x_prime, output=u)
        expected = factor * (swapped @ kernel @ swapped)
        torch.testing.assert_close(now.own[mode], expected, rtol=1e-10, atol=0)
        parts = layer_ntks(encoder, views, output=u)
        assert tuple(parts) == now.names
        for share, part in zip(now.shares[mode], parts.values(), strict=True):
            expected = factor * (swapped @ part @ swapped)
            torch.testing.assert_close(share, expected, rtol=1e-9, atol=1e-15)
        torch.testing.assert_close(now.shares[mode].sum(), now.own[mode], rtol=1e-12, atol=0)


def test_what_does_not_move_has_no_share():
    encoder = build_encoder("mlp", (1, 2, 3), 2, seed=0, widths=(4,))
    pairs = pairs_of(6, (1, 2, 3))
    free = growth(encoder, pairs, barlow_twins, [0])
    encoder.backbone.requires_grad_(False)
    frozen = growth(encoder, pairs, barlow_twins, [0])
    assert frozen.names == free.names[-1:] == ("projector.0.weight",)
    torch.testing.assert_close(frozen.own, free.shares[:, -1], rtol=1e-12, atol=0)
    assert growth(encoder, pairs, lambda z, z_prime: 0 * z.sum(), [0]).rates == 0


@pytest.mark.parametrize("spectrum", ["cross", "covariance"])
def test_the_network_is_left_as_it_was(spectrum):
    encoder = build_encoder("resnet18", (1, 6, 6), 2, seed=0, widths=(2,)).train()
    pairs = pairs_of(6, (1, 6, 6))
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    now = growth(encoder, pairs, vicreg, [0], spectrum=spectrum)
    gradient_flow_step(encoder, pairs, vicreg, 1.0)
    product, size = hessian_product(encoder, [pairs], vicreg)
    product(torch.ones(size, dtype=torch.float64))
    assert encoder.training
    assert all(parameter.grad is None for parameter in encoder.parameters())
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(
        found.requires_grad for found in (now.lam, now.directions, now.functions, now.rates)
    )
    # Functions are u . f, of unit directions, and their eigenvalues those of the embedding.
    torch.testing.assert_close(
        now.directions.T @ now.directions, torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-12
    )
    if spectrum == "covariance":
        torch.testing.assert_close(now.functions.square().mean(dim=0), now.lam)


def test_a_step_down_the_gradient_lowers_the_loss_by_the_slope():
    encoder = build_encoder("mlp", (1, 2, 3), 2, seed=3, widths=(4,))
    pairs = pairs_of(6, (1, 2, 3))
    losses = []
    for time in (1e-5, -1e-5):
        later, slope = gradient_flow_step(encoder, pairs, simclr, time)
        losses.append(float(simclr(later(pairs.x), later(pairs.x_prime)).detach()))
    assert (losses[1] - losses[0]) / 2e-5 == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("objective", [barlow_twins, simclr, vicreg])
def test_products_are_those_of_the_hessian(objective):
    encoder = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2, bias=False)).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in encoder.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    batches = [pairs_of(5, (3,), seed) for seed in (0, 1)]
    values = torch.cat([parameter.detach().flatten() for parameter in encoder.parameters()])
    sizes = [parameter.numel() for parameter in encoder.parameters()]

    def loss(flat):
        parts = {
            name: part.view_as(parameter)
            for (name, parameter), part in zip(
                encoder.named_parameters(), flat.split(sizes), strict=True
            )
        }
        return sum(
            objective(*(functional_call(encoder, parts, (x,)) for x in (pair.x, pair.x_prime)))
            for pair in batches
        ) / len(batches)

    expected = torch.autograd.functional.hessian(loss, values)
    product, size = hessian_product(encoder, batches, objective)
    assert size == len(values)
    found = torch.stack([product(e) for e in torch.eye(size, dtype=torch.float64)])
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * scale)
    torch.testing.assert_close(found, found.T, rtol=0, atol=1e-12 * scale)


def test_the_hessian_of_a_loss_without_curvature_is_zero():
    layer = nn.Linear(2, 2, bias=False)
    product, size = hessian_product(layer, [pairs_of(3, (2,))], lambda z, w: z.sum() + w.sum())
    assert product(torch.ones(size, dtype=torch.float64)).tolist() == [0.0] * 4


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [0.05, 1.0, 20.0])
def test_a_two_layer_linear_network_in_training_follows_the_law_of_its_start(ratio):
    """The two witnesses: shares by gradients here, the whole rise by the law there."""
    pairs = pairs_of(16, (4,))
    gamma, v = torch.linalg.eigh(
        (pairs.x.T @ pairs.x_prime + pairs.x_prime.T @ pairs.x) / (2 * len(pairs.x))
    )
    gamma, v = gamma.flip(0)[:2], v.flip(1)[:, :2]
    sizes = torch.tensor([0.08, 0.07], dtype=torch.float64)
    turn, middle = (
        torch.linalg.qr(
            torch.randn(2, 2, generator=torch.Generator().manual_seed(i), dtype=torch.float64)
        )[0]
        for i in (0, 1)
    )
    network = nn.Sequential(
        OrderedDict(features=nn.Linear(4, 2, bias=False), projector=nn.Linear(2, 2, bias=False))
    ).double()
    network.features.weight.data = (middle * sizes * ratio**0.5) @ v.T
    network.projector.weight.data = (turn * sizes / ratio**0.5) @ middle.T
    start = growth(network, pairs, barlow_twins, [0, 1])
    torch.testing.assert_close(start.lam, gamma * sizes**4, rtol=1e-9, atol=0)
    laws = [
        two_factor_law(float(lam), late=float(share[1]), early=float(share[0]))
        for lam, share in zip(start.lam, start.shares, strict=True)
    ]
    told = [
        float(growth_time(law, float(lam), 0.5)) for law, lam in zip(laws, start.lam, strict=True)
    ]
    step = max(told) / 1200
    optimizer = torch.optim.SGD(network.parameters(), lr=step)
    times, curves, late = [], [], [None, None]
    for count in range(1300):
        loss = barlow_twins(network(pairs.x), network(pairs.x_prime))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if count % 10 == 9:
            z, z_prime = network(pairs.x).detach(), network(pairs.x_prime).detach()
            lam = torch.linalg.eigvalsh((z.T @ z_prime + z_prime.T @ z) / 32).flip(0)
            times.append(step * (count + 1))
            curves.append(lam.numpy())
            for mode in range(2):
                if late[mode] is None and lam[mode] > 0.1:
                    late[mode] = growth(network, pairs, barlow_twins, [mode])
    for mode, (law, expected) in enumerate(zip(laws, told, strict=True)):
        measured = np.interp(0.0, np.log(np.array(curves)[:, mode] / 0.5), times)
        # Explicit steps of size h are late by about h times the logarithm of the rise.
        assert measured == pytest.approx(expected, rel=0.02)
        # The law told from the start how much faster the mode grows later on.
        rate = float(growth_rate(law, float(late[mode].lam[mode])))
        assert float(late[mode].rates) == pytest.approx(rate, rel=1e-2)
        assert rate > 2 * float(start.rates[mode])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modes": [2]}, r"modes is \[2\]; expected numbers from 0 to 1"),
        ({"modes": [-1]}, r"modes is \[-1\]; expected numbers from 0 to 1"),
        ({"spectrum": "own"}, "spectrum is 'own'; expected one of cross, covariance"),
        ({"encoder": nn.Flatten()}, "the encoder has no parameter that requires a gradient"),
    ],
)
def test_bad_input_is_refused(options, message):
    given = {"encoder": nn.Linear(3, 2), "modes": [0], "spectrum": "cross"} | options
    encoder, modes = given.pop("encoder"), given.pop("modes")
    with pytest.raises(ValueError, match=message) as caught:
        growth(encoder, pairs_of(4, (3,)), barlow_twins, modes, **given)
    assert "\n" not in str(caught.value)


def test_without_modes_there_are_no_rates():
    now = growth(nn.Linear(3, 2), pairs_of(4, (3,)), barlow_twins, [])
    assert now.rates.shape == now.own.shape == (0,)
    assert now.lam.shape == (2,)
