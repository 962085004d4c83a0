"""Rates of growth are derivatives of eigenvalues: by differences and by whole Jacobians."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.func import functional_call, jacrev

from sslsim.encoders.build import build_encoder
from sslsim.measures.growth import gradient_flow_step, growth
from sslsim.measures.snapshots import HeldOutPairs, batch_statistics
from sslsim.measures.spectra import covariance_spectrum, cross_spectrum
from sslsim.objectives import barlow_twins, simclr, spectral_contrastive, vicreg

OBJECTIVES = {
    "barlow_twins": barlow_twins,
    "published": partial(barlow_twins, form="published"),
    "simclr": partial(simclr, similarity="dot"),
    "vicreg": vicreg,
    "spectral": spectral_contrastive,
}


def pairs_of(count, shape, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
    return HeldOutPairs(x, x + 0.3 * torch.randn(x.shape, generator=generator, dtype=torch.float64))


def eigenvalues(encoder, pairs, spectrum):
    with torch.no_grad(), batch_statistics(encoder):
        z, z_prime = encoder(pairs.x), encoder(pairs.x_prime)
    if spectrum == "cross":
        return cross_spectrum(z, z_prime).numpy()
    return covariance_spectrum(torch.cat([z, z_prime])).numpy()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("convnet", {"widths": (3, 4)}),
        ("mlp", {"widths": (5,)}),
        ("mlp", {"widths": (5,), "projector": "mlp", "projector_widths": (4,)}),
        ("resnet18", {"widths": (2,), "norm": "batch"}),
    ],
    ids=["convnet", "mlp", "projector with BatchNorm", "ResNet with BatchNorm"],
)
@pytest.mark.parametrize("spectrum", ["cross", "covariance"])
@pytest.mark.parametrize("method", OBJECTIVES)
def test_rates_are_derivatives_along_the_flow(name, options, spectrum, method):
    encoder = build_encoder(name, (1, 6, 6), 3, seed=1, **options).double()
    pairs, objective = pairs_of(10, (1, 6, 6), seed=0), OBJECTIVES[method]
    now = growth(encoder, pairs, objective, range(3), spectrum=spectrum)
    lam, rates = now.lam.numpy(), now.rates.numpy()
    np.testing.assert_allclose(lam, eigenvalues(encoder, pairs, spectrum), atol=1e-12 * lam[0])
    _, slope = gradient_flow_step(encoder, pairs, objective, 0.0)
    # So short that no parameter crosses a kink: gradients change by a part in a thousand.
    time = 1e-4 / max(np.sqrt(slope), abs(rates).max())

    def difference(time):
        ahead, behind = (
            eigenvalues(
                gradient_flow_step(encoder, pairs, objective, way * time)[0], pairs, spectrum
            )
            for way in (1, -1)
        )
        return (ahead - behind) / (2 * time)

    found = (4 * difference(time / 2) - difference(time)) / 3  # to fourth order
    # Rounding: machine epsilon of the largest eigenvalue over the distance.
    rounding = 1e-14 * np.abs(lam).max() / time
    np.testing.assert_allclose(lam * rates, found, rtol=1e-6, atol=rounding)


@pytest.mark.parametrize("method", ["barlow_twins", "simclr", "vicreg"])
@settings(max_examples=8)
@given(st.integers(0, 2**31), st.sampled_from(["cross", "covariance"]))
def test_rates_and_their_parts_by_jacobians_as_they_stand(method, seed, spectrum):
    encoder = build_encoder("mlp", (1, 2, 3), 3, seed=seed % 1000, widths=(4, 4)).double()
    pairs, objective = pairs_of(6, (1, 2, 3), seed), OBJECTIVES[method]
    now = growth(encoder, pairs, objective, [2, 0], spectrum=spectrum)
    assume(bool((now.lam[[2, 0]] > 1e-9).all()))  # not a dead one
    names = [name for name, _ in encoder.named_parameters()]
    values = dict(encoder.named_parameters())
    views = torch.cat([pairs.x, pairs.x_prime])

    def flat(jacobians):
        return torch.cat([jacobians[name].flatten(2) for name in names], dim=2)

    jacobian = flat(jacrev(lambda p: functional_call(encoder, p, (views,)))(values)).detach()
    z = encoder(views).detach().requires_grad_()
    loss = objective(*z.chunk(2))
    (pull,) = torch.autograd.grad(loss, z)  # (2n, d)
    assert now.loss == pytest.approx(loss.item(), rel=1e-12)
    for place, mode in enumerate((2, 0)):
        u = now.directions[:, mode]
        f = (z @ u).detach()
        # d lambda / d f, at fixed u
        weight = f.roll(6) / 6 if spectrum == "cross" else (f - f.mean()) / 6
        uphill = weight @ torch.einsum("ndp,d->np", jacobian, u)
        whole = -uphill @ torch.einsum("nd,ndp->p", pull, jacobian)
        alone_pull = pull @ u
        if spectrum == "covariance":  # the mode is what varies
            alone_pull = alone_pull - alone_pull.mean()
        alone = -uphill * torch.einsum("n,d,ndp->p", alone_pull, u, jacobian)
        scale = float(alone.abs().sum() + whole.abs())
        lam = now.lam[mode]
        shares = alone.split([values[name].numel() for name in names])
        expected = torch.stack([whole, alone.sum(), *(share.sum() for share in shares)])
        found = torch.cat([now.rates[place : place + 1], now.own[place : place + 1]])
        found = torch.cat([found, now.shares[place]]) * lam
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-11 * scale)
    assert now.names == tuple(names)


@settings(max_examples=15)
@given(st.integers(0, 2**31))
def test_of_barlow_twins_modes_pull_on_each_other_by_their_gradients(seed):
    """The whole rate is the sum over modes v of 2 (1 - lambda_v) grad lambda_u . grad lambda_v."""
    encoder = build_encoder("mlp", (1, 2, 3), 3, seed=seed % 1000, widths=(4,)).double()
    pairs = pairs_of(6, (1, 2, 3), seed)
    now = growth(encoder, pairs, barlow_twins, range(3))

    def spectrum(values):
        z, z_prime = (functional_call(encoder, values, (x,)) for x in (pairs.x, pairs.x_prime))
        return torch.linalg.eigvalsh((z.T @ z_prime + z_prime.T @ z) / 12).flip(0)

    slopes = jacrev(spectrum)(dict(encoder.named_parameters()))
    slopes = torch.cat([slope.flatten(1) for slope in slopes.values()], dim=1).detach()
    overlap = slopes @ slopes.T
    pulls = 2 * overlap * (1 - now.lam)
    scale = float(pulls.abs().max())
    torch.testing.assert_close(now.rates * now.lam, pulls.sum(dim=1), rtol=0, atol=1e-9 * scale)
    torch.testing.assert_close(now.own * now.lam, pulls.diagonal(), rtol=0, atol=1e-9 * scale)
    # Below its ceiling a mode's own pull can only lift it, through whatever parameter.
    assert ((now.shares * now.lam[:, None])[now.lam < 1] >= 0).all()


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.lists(st.floats(0.01, 0.98), min_size=3, max_size=3, unique=True))
def test_an_aligned_linear_map_grows_as_the_closed_form(seed, lam):
    """Every mode at 8 gamma (1 - lambda)."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((8, 4))
    x_prime = x + 0.1 * rng.standard_normal((8, 4))
    gamma, v = np.linalg.eigh((x.T @ x_prime + x_prime.T @ x) / 16)
    gamma, v, lam = gamma[:0:-1], v[:, :0:-1], np.sort(lam)[::-1]
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    layer = torch.nn.Linear(4, 3, bias=False).double()
    layer.weight.data.copy_(torch.from_numpy(turn * np.sqrt(lam / gamma) @ v.T))
    pairs = HeldOutPairs(torch.from_numpy(x), torch.from_numpy(x_prime))
    now = growth(layer, pairs, barlow_twins, range(3))
    np.testing.assert_allclose(now.lam, lam, rtol=1e-9)
    gap = np.min(np.abs(np.diff(lam)))
    for found in (now.rates, now.own):
        np.testing.assert_allclose(found, 8 * gamma * (1 - lam), rtol=1e-10 / gap, atol=1e-9)
