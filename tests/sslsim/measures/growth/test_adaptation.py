"""How much a rate grows with its mode, against closed forms of planted networks."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, jacrev

from sslsim.encoders.build import build_encoder
from sslsim.measures.growth import adaptation, growth, pull_curve
from sslsim.measures.snapshots import HeldOutPairs
from sslsim.objectives import barlow_twins, spectral_contrastive, vicreg
from theory.growth.adaptation import adaptation_of

SEED = st.integers(0, 2**31)
FACTOR = st.floats(0.3, 0.9)
WIDTH = 3


def pairs_of(seed, count=8, dim=4):
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.standard_normal((count, dim)))
    return HeldOutPairs(x, x + 0.1 * torch.from_numpy(rng.standard_normal(x.shape)))


def linear_network(pairs, factors, seed):
    """Linear layers whose singular values are ``factors``, a row for each layer, aligned.

    The modes are the first eigenvectors of the data, and lambda = gamma x the squares of a column.
    """
    rng = np.random.default_rng(seed)
    x, x_prime = pairs.x.numpy(), pairs.x_prime.numpy()
    gamma, v = np.linalg.eigh((x.T @ x_prime + x_prime.T @ x) / (2 * len(x)))
    gamma, v = gamma[::-1][:WIDTH], v[:, ::-1][:, :WIDTH]
    turns = [v, *(np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0] for _ in factors)]
    weights = [
        (after * values) @ before.T
        for (before, after), values in zip(pairwise(turns), factors, strict=True)
    ]
    layers = [nn.Linear(*weight.T.shape, bias=False).double() for weight in weights]
    for layer, weight in zip(layers, weights, strict=True):
        layer.weight.data.copy_(torch.from_numpy(weight))
    lam = gamma * np.prod(np.square(factors), axis=0)
    return nn.Sequential(*layers), lam


def centred_adaptation(*args, step=1e-3, **options):
    """Mean of a small step up and one down: what is left is of second order in the step."""
    return sum(adaptation(*args, growth_by=way * step, **options) for way in (1, -1)) / 2


def below_the_ceiling(pairs, factors, seed, most=0.8):
    """The same network, with the last layer so small that no eigenvalue is above ``most``."""
    factors = np.array(factors, dtype=float)
    _, lam = linear_network(pairs, factors, seed)
    factors[-1] *= min(1.0, np.sqrt(most / lam.max()))
    return factors, *linear_network(pairs, factors, seed)


def assume_clear_modes(lam):
    """Modes of nearly one eigenvalue mix, and those of far smaller ones are lost in rounding."""
    assume(lam.min() > 1e-6 * lam.max())
    assume(np.diff(np.log(np.sort(lam))).min() > 0.05)


@settings(max_examples=6)
@given(SEED, st.lists(FACTOR, min_size=WIDTH, max_size=WIDTH))
def test_an_aligned_linear_layer_does_not_adapt(seed, values):
    pairs = pairs_of(seed)
    _, network, lam = below_the_ceiling(pairs, [values], seed)
    assume_clear_modes(lam)
    for mode in range(WIDTH):
        # Exactly: f only grows, and with it nothing of its rate but the pull.
        assert adaptation(network, pairs, barlow_twins, mode) == pytest.approx(0, abs=1e-9)


@settings(max_examples=10)
@given(SEED)
def test_of_a_fixed_kernel_a_mode_that_still_turns_adapts_by_the_spread_of_what_it_mixes(seed):
    """By w G w, w G^2 w and w G^3 w: Rayleigh quotients grow on the way to an eigenvector."""
    pairs = pairs_of(seed)
    gamma = ((pairs.x.T @ pairs.x_prime + pairs.x_prime.T @ pairs.x) / (2 * len(pairs.x))).numpy()
    w = np.random.default_rng(seed + 1).standard_normal(len(gamma))
    assume(w @ gamma @ w > 0.1 * (w @ w))
    w *= np.sqrt(0.1 / (w @ gamma @ w))
    first, second, third = (w @ np.linalg.matrix_power(gamma, power) @ w for power in (1, 2, 3))
    layer = nn.Linear(len(gamma), 1, bias=False).double()
    layer.weight.data.copy_(torch.from_numpy(w[None]))
    found = centred_adaptation(layer, pairs, barlow_twins, 0)
    assert found == pytest.approx(first * third / second**2 - 1, abs=1e-5)


@settings(max_examples=6)
@given(
    SEED,
    st.integers(2, 5),
    st.lists(FACTOR, min_size=WIDTH, max_size=WIDTH),
    st.sampled_from([0.02, -0.05]),
)
def test_balanced_layers_adapt_by_one_less_their_inverse_number(seed, depth, values, step):
    pairs = pairs_of(seed)
    # Singular values of all layers alike, up to 0.8 of the ceiling.
    _, lam = linear_network(pairs, [values] * depth, seed)
    values = np.array(values) * min(1.0, 0.8 / lam.max()) ** (0.5 / depth)
    network, lam = linear_network(pairs, [values] * depth, seed)
    assume_clear_modes(lam)
    for mode in range(WIDTH):
        # Whatever the step: they stay balanced.
        found = adaptation(network, pairs, barlow_twins, mode, growth_by=step)
        assert found == pytest.approx(1 - 1 / depth, abs=1e-7)


@settings(max_examples=6)
@given(SEED, st.integers(1, 4), st.data())
def test_layers_adapt_by_their_shares(seed, depth, data):
    """By 2 A B / (A + B)^2 for two, which is kappa lambda / (2 rate^2), and alike for more."""
    layer = st.lists(FACTOR, min_size=WIDTH, max_size=WIDTH)
    planted = [data.draw(layer) for _ in range(depth)]
    pairs = pairs_of(seed)
    factors, network, lam = below_the_ceiling(pairs, planted, seed)
    assume_clear_modes(lam)
    order = np.argsort(-lam)
    for mode, place in enumerate(order):
        # A layer's share is the rest of the product, squared; g and gamma are common to all.
        shares = 1 / np.square(factors[:, place])
        found = centred_adaptation(network, pairs, barlow_twins, mode)
        assert found == pytest.approx(adaptation_of(shares), abs=1e-5)
        if depth == 2:
            product, total = shares.prod(), shares.sum()
            assert found == pytest.approx(2 * product / total**2, abs=1e-5)


@settings(max_examples=6)
@given(SEED, st.integers(1, 5), st.floats(0.1, 10.0))
def test_weights_at_an_angle_to_the_features_adapt_less_than_their_shares_say(seed, width, ratio):
    """By 2 (w . phi)^2 / (|w|^2 + |phi|^2)^2, where w . phi is the amplitude."""
    pairs = pairs_of(seed, dim=1)
    rng = np.random.default_rng(seed)
    phi, w = rng.standard_normal((2, width))
    w *= ratio
    strength = float((pairs.x * pairs.x_prime).mean())  # gamma
    w, phi = np.array([w, phi]) * (0.3 / (abs(w @ phi) ** 2 * strength)) ** 0.25
    network = nn.Sequential(nn.Linear(1, width, bias=False), nn.Linear(width, 1, bias=False))
    network.double()
    network[0].weight.data.copy_(torch.from_numpy(phi[:, None]))
    network[1].weight.data.copy_(torch.from_numpy(w[None]))
    found = centred_adaptation(network, pairs, barlow_twins, 0, step=1e-4)
    expected = 2 * (w @ phi) ** 2 / (w @ w + phi @ phi) ** 2
    assert found == pytest.approx(expected, abs=1e-6)
    # kappa lambda / (2 rate^2), with kappa = 4 A B cos^2 / lambda
    now = growth(network, pairs, barlow_twins, [0])
    assert float(now.lam[0]) == pytest.approx(0.3, rel=1e-9)
    early, late = now.shares[0].tolist()
    cosine = (w @ phi) ** 2 / ((w @ w) * (phi @ phi))
    kappa = 4 * early * late * cosine / 0.3
    assert found == pytest.approx(kappa * 0.3 / (2 * float(now.own[0]) ** 2), abs=1e-6)


@pytest.mark.parametrize(
    ("objective", "spectrum"), [(spectral_contrastive, "cross"), (vicreg, "covariance")]
)
def test_the_pull_of_any_loss_is_divided_out(objective, spectrum):
    """A layer adapts to no loss, and two balanced ones to each alike."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, 1))
    x = torch.from_numpy((x - x.mean()) / x.std())
    pairs = HeldOutPairs(x, x)
    for depth in (1, 2, 3):
        network = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(depth))).double()
        for layer in network:
            layer.weight.data.fill_(0.4 ** (1 / depth))
        found = centred_adaptation(network, pairs, objective, 0, spectrum=spectrum, step=1e-4)
        assert found == pytest.approx(1 - 1 / depth, abs=1e-6)


@pytest.mark.parametrize("spectrum", ["cross", "covariance"])
@pytest.mark.parametrize("objective", [barlow_twins, spectral_contrastive, vicreg])
@settings(max_examples=3)
@given(seed=SEED, mode=st.integers(0, 1))
def test_any_network_adapts_by_its_own_rate_after_a_step_by_jacobians(
    objective, spectrum, seed, mode
):
    """The step is the part of the flow by the pull on the mode alone, at full Jacobians."""
    generator, pairs = torch.Generator().manual_seed(seed), pairs_of(seed)
    network = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    now = growth(network, pairs, objective, [mode], spectrum=spectrum)
    own = float(now.own[0])
    assume(own > 1e-3 and float(now.lam[1]) > 0.05 * float(now.lam[0]))
    assume(float(now.lam[0]) > 1.2 * float(now.lam[1]))
    values, views = dict(network.named_parameters()), torch.cat([pairs.x, pairs.x_prime])
    jacobian = jacrev(lambda values: functional_call(network, values, (views,)))(values)
    z, u = network(views).detach().requires_grad_(), now.directions[:, mode]
    pull = torch.autograd.grad(objective(*z.chunk(2)), z)[0] @ u
    if spectrum == "covariance":
        pull = pull - pull.mean()
    later = copy.deepcopy(network)
    for name, parameter in later.named_parameters():
        step = -torch.einsum("n,d,nd...->...", pull, u, jacobian[name].detach())
        parameter.data += 0.02 / own * step
    then = growth(later, pairs, objective, [mode], spectrum=spectrum)
    grown = float((then.lam[mode] / now.lam[mode]).log())
    strength = pull_curve(now.z, now.z_prime, u, objective, [1.0, np.exp(grown)], spectrum=spectrum)
    ratio = float(then.own[0]) / own * float(strength[0] / strength[1])
    found = adaptation(network, pairs, objective, mode, spectrum=spectrum, growth_by=0.02)
    expected = np.log(ratio) / grown if ratio > 0 else np.nan
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("growth_by", [0.01, -0.5])
def test_the_encoder_is_left_as_it_was(growth_by):
    encoder = build_encoder("resnet18", (1, 6, 6), 2, seed=0, widths=(2,), norm="batch").train()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 1, 6, 6, generator=generator)
    pairs = HeldOutPairs(x, x.flip(3))
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    adaptation(encoder, pairs, barlow_twins, 0, growth_by=growth_by)
    assert encoder.training
    assert all(parameter.grad is None for parameter in encoder.parameters())
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_mode_that_the_loss_pulls_down_has_no_adaptation():
    pairs = pairs_of(0)
    network, lam = linear_network(pairs, [[2.0, 1.9, 1.8]], 0)
    assert lam.max() > 1
    assert np.isnan(adaptation(network, pairs, barlow_twins, 0))


@pytest.mark.parametrize("growth_by", [0.0, float("nan"), float("inf")])
def test_steps_that_lead_nowhere_are_refused(growth_by):
    message = f"growth_by is {growth_by}; expected a finite number other than 0"
    with pytest.raises(ValueError, match=message):
        adaptation(nn.Linear(4, 2), pairs_of(0), barlow_twins, 0, growth_by=growth_by)
