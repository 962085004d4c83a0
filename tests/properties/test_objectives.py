"""What objectives of two views are blind to, and that both ways to sum them agree."""

import importlib

import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from sslsim.objectives import barlow_twins, simclr, spectral_contrastive, vicreg

BARLOW = importlib.import_module("sslsim.objectives._barlow_twins")
VICREG = importlib.import_module("sslsim.objectives._vicreg")

LOSSES = st.sampled_from(
    [
        barlow_twins,
        lambda a, b: barlow_twins(a, b, form="published"),
        vicreg,
        simclr,
        lambda a, b: simclr(a, b, similarity="dot"),
        spectral_contrastive,
        lambda a, b: spectral_contrastive(a, b, diagonal="include"),
    ]
)
ROTATION_BLIND = st.sampled_from(
    [
        barlow_twins,
        simclr,
        lambda a, b: simclr(a, b, similarity="dot"),
        spectral_contrastive,
        lambda a, b: spectral_contrastive(a, b, diagonal="include"),
        lambda a, b: vicreg(a, b, std=0.0, cov=0.0),
    ]
)


@st.composite
def pairs(draw):
    """Two views (n, d) of entries of order one, n from 2, d from 1."""
    n, d = draw(st.integers(2, 9)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    z = rng.standard_normal((n, d))
    share = draw(st.sampled_from([0.0, 0.3, 1.0]))
    return torch.tensor(z), torch.tensor(z + share * rng.standard_normal((n, d)))


def orthogonal(d, seed):
    return torch.tensor(np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0])


def close(a, b):
    return bool(abs(a - b) <= 1e-11 * (1 + abs(a) + abs(b)))


@given(LOSSES, pairs())
def test_views_may_be_exchanged(loss, pair):
    assert close(loss(*pair), loss(*pair[::-1]))


@given(LOSSES, pairs(), st.randoms(use_true_random=False))
def test_samples_may_be_permuted(loss, pair, random):
    order = list(range(len(pair[0])))
    random.shuffle(order)
    assert close(loss(*pair), loss(*(z[order] for z in pair)))


@given(LOSSES, pairs(), st.randoms(use_true_random=False))
def test_dimensions_may_be_permuted(loss, pair, random):
    order = list(range(pair[0].shape[1]))
    random.shuffle(order)
    assert close(loss(*pair), loss(*(z[:, order] for z in pair)))


@given(ROTATION_BLIND, pairs(), st.integers(0, 2**32 - 1))
def test_embeddings_may_be_rotated(loss, pair, seed):
    q = orthogonal(pair[0].shape[1], seed)
    assert close(loss(*pair), loss(*(z @ q for z in pair)))


@given(pairs(), st.floats(-3, 3), st.floats(0.1, 10), st.floats(0.1, 10))
def test_published_barlow_twins_is_blind_to_shift_and_scale_of_a_dimension(pair, shift, a, b):
    z, z_prime = pair
    # Two samples of close values are standardised with the digits that their difference kept.
    assume(min(v.std(0, correction=0).min() for v in pair) > 1e-2)
    moved = barlow_twins(a * z + shift, b * z_prime - shift, form="published")
    loss = barlow_twins(z, z_prime, form="published")
    assert abs(moved - loss) < 1e-9 * (1 + loss)


@given(pairs(), st.floats(-3, 3), st.floats(-3, 3))
def test_vicreg_s_variance_and_covariance_are_blind_to_shifts(pair, shift, other):
    moved = vicreg(pair[0] + shift, pair[1] + other, sim=0.0)
    assert close(moved, vicreg(*pair, sim=0.0))
    assert close(vicreg(pair[0] + shift, pair[1] + shift), vicreg(*pair))


@given(pairs(), st.floats(1e-3, 1e3))
def test_cosine_simclr_is_blind_to_the_length_of_each_embedding(pair, scale):
    lengths = torch.logspace(-2, 2, len(pair[0]), dtype=torch.float64)[:, None]
    assert close(simclr(*pair), simclr(scale * pair[0], lengths * pair[1]))


@given(pairs(), st.floats(0.1, 3))
def test_a_temperature_is_a_length_in_dot_simclr(pair, temperature):
    scaled = [z / temperature**0.5 for z in pair]
    found = simclr(*pair, similarity="dot", temperature=temperature)
    assert close(found, simclr(*scaled, similarity="dot", temperature=1.0))


@given(pairs())
def test_losses_are_bounded_below(pair):
    n, d = pair[0].shape
    assert barlow_twins(*pair) >= max(0, d - 2 * n) - 1e-9
    assert barlow_twins(*pair, form="published") >= 0
    assert vicreg(*pair) >= 0
    assert simclr(*pair) > 0
    # <Z Z'^T, Z Z'^T> / n^2 - 2 Tr(Z Z'^T) / n with min(n, d) singular values.
    assert spectral_contrastive(*pair, diagonal="include") >= -min(n, d) - 1e-9


@given(pairs())
def test_equal_views_tie_spectral_contrastive_to_barlow_twins(pair):
    z, d = pair[0], pair[0].shape[1]
    spectral = spectral_contrastive(z, z, diagonal="include")
    assert close(barlow_twins(z, z), spectral + d)


@given(pairs(), st.floats(0.5, 5))
def test_excluding_the_diagonal_takes_it_out_of_the_sum(pair, scale):
    z, z_prime = (scale * v for v in pair)
    n, squares = len(z), (z * z_prime).sum(1).square().sum()
    attract = -2 * (z * z_prime).sum(1).mean()
    every = spectral_contrastive(z, z_prime, diagonal="include") - attract
    others = spectral_contrastive(z, z_prime) - attract
    assert close(n * n * every, n * (n - 1) * others + squares)


@given(pairs(), st.sampled_from(["theory", "published", "vicreg"]))
def test_the_gram_side_is_the_covariance_side_in_value_and_gradient(pair, which):
    z, z_prime = (v.clone().requires_grad_() for v in pair)
    if which == "vicreg":
        centred = z - z.mean(0)
        variance = centred.square().sum(0) / (len(z) - 1)
        sides = [
            side(centred, variance) for side in (VICREG._covariance_gram, VICREG._covariance_full)
        ]
        inputs = [z]
    else:
        a, b = (z, z_prime) if which == "theory" else map(BARLOW._standardised, (z, z_prime))
        if which == "theory":
            both = BARLOW._theory_gram(a, b), BARLOW._theory_full(a, b)
        else:
            both = BARLOW._published_gram(a, b), BARLOW._published_full(a, b)
        sides = [(1 - diagonal).square().sum() + 0.7 * off for diagonal, off in both]
        inputs = [z, z_prime]
    # Rounding of the total, of which what lies beside the diagonal may be a small part.
    total = 1 + sum(float(v.detach().square().sum()) ** 2 for v in pair) / len(z)
    assert abs(sides[0] - sides[1]) < 1e-14 * 20 * total
    assume(which != "published" or min(v.std(0, correction=0).min() for v in pair) > 1e-2)
    gradients = [torch.autograd.grad(side, inputs, retain_graph=True) for side in sides]
    for one, other in zip(*gradients, strict=True):
        assert (one - other).abs().max() < 1e-11 * total
