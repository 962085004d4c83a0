"""Distances of early and late features: what always holds, literal forms, gradients."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from sslsim.umm.alignment import (
    cka_distance,
    gradient_logits,
    jensen_shannon,
    reduction_distance,
    uniform_divergence,
    volume_logits,
)

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(1, 30)
SCALES = st.floats(-6, 3).map(lambda power: 10**power)


def normal(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def literal(p, q):
    """Mean of the divergences of Kullback and Leibler to the middle."""
    middle = (p + q) / 2
    terms = [x * torch.log(x / middle) for x in (p, q)]
    return sum(torch.where(x > 0, t, 0.0).sum() / 2 for x, t in zip((p, q), terms, strict=True))


@given(SEEDS, SIZES, SCALES, SCALES)
def test_jensen_shannon_lies_between_0_and_log_2_and_is_symmetric(seed, m, scale, other):
    p, q = scale * normal(seed, m), other * normal(seed + 1, m)
    found = jensen_shannon(p, q).item()
    assert 0 <= found <= math.log(2) + 1e-14 * m
    assert abs(jensen_shannon(q, p).item() - found) <= 1e-15 + 1e-14 * found
    exact = literal(p.softmax(0), q.softmax(0)).item()
    # The literal form cancels: 1e-16 a term.
    assert abs(found - exact) < 1e-14


@given(SEEDS, SIZES, SCALES, st.floats(-100, 100))
def test_jensen_shannon_is_zero_for_equal_distributions_only(seed, m, scale, shift):
    """The published code calls KL with probabilities for log-probabilities and finds -0.065."""
    p = scale * normal(seed, m)
    assert jensen_shannon(p, p).item() == 0
    # A shift of logits rounds them by 1e-14, which enters squared.
    assert 0 <= jensen_shannon(p, p + shift).item() < 1e-25
    if m > 1:
        apart = p.clone()
        apart[0] += 1e-9
        assert jensen_shannon(p, apart).item() > 0 or p.softmax(0)[0] in (0, 1)


def test_small_divergences_keep_their_digits_and_both_branches_meet():
    """For two draws with logits (0, 0) and (d, -d): exact to second order, d^2 / 8 + O(d^4)."""
    for d in (1e-3, 1e-6, 1e-9):
        p, q = torch.zeros(2).double(), torch.tensor([d, -d]).double()
        assert jensen_shannon(p, q).item() == pytest.approx(d**2 / 8, rel=d**2 + 1e-9)
    below, above = (
        jensen_shannon(torch.zeros(2).double(), torch.tensor([d, 0.0]).double()).item() / d**2
        for d in (0.05999, 0.06001)  # differences of log-probabilities of about 0.03
    )
    assert below == pytest.approx(above, rel=1e-6)


def test_disjoint_distributions_are_log_2_apart_and_gradients_stay_finite():
    p = torch.tensor([0.0, -800.0], dtype=torch.float64, requires_grad=True)
    found = jensen_shannon(p, -p.detach() - 800)
    assert found.item() == pytest.approx(math.log(2), rel=1e-15)
    (gradient,) = torch.autograd.grad(found, p)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("scale", [1e-3, 1.0])  # the series, the closed form
def test_gradients_of_jensen_shannon_of_both_orders(scale):
    p, q = ((scale * normal(seed, 4)).requires_grad_() for seed in (0, 1))
    assert torch.autograd.gradcheck(jensen_shannon, (p, q))
    assert torch.autograd.gradgradcheck(jensen_shannon, (p, q))


@pytest.mark.parametrize(
    ("p", "q", "message"),
    [
        (torch.zeros(2), torch.zeros(3), r"logits have shapes \(2,\) and \(3,\)"),
        (torch.zeros(2, 2), torch.zeros(2, 2), r"expected \(m,\)"),
        (torch.zeros(0), torch.zeros(0), r"expected \(m,\)"),
        (torch.tensor([0.0, -math.inf]), torch.zeros(2), "NaN or infinite"),
    ],
)
def test_unfit_logits_are_refused(p, q, message):
    with pytest.raises(ValueError, match=message):
        jensen_shannon(p, q)


@given(SEEDS, st.integers(2, 10), st.sampled_from([1e-30, 1e-3, 7.0, 1e20]))
def test_the_distribution_of_gradients_does_not_see_the_scale_of_the_loss(seed, m, scale):
    z = normal(seed, m, 3).requires_grad_()
    weights = normal(seed + 1, m, 3)

    def loss():
        return (z.square() * weights).sum()

    one, other = gradient_logits(loss(), [z]), gradient_logits(scale * loss(), [z])
    torch.testing.assert_close(one.softmax(0), other.softmax(0), rtol=1e-12, atol=1e-15)
    squares = (2 * z * weights).square().sum(dim=1)
    inverse = (squares + 1e-6 * squares.mean()).rsqrt()
    torch.testing.assert_close(one.softmax(0), inverse / inverse.sum(), rtol=1e-10, atol=1e-12)


def test_views_without_a_gradient_and_losses_without_any():
    z = torch.ones(3, 2, requires_grad=True)
    dead = gradient_logits((z * torch.tensor([[0.0], [1.0], [1.0]])).square().sum(), [z])
    assert dead.isfinite().all()
    assert 0.99 < dead.softmax(0)[0] < 0.999
    none = gradient_logits(torch.zeros((), requires_grad=True) * 1, [z])
    assert uniform_divergence(none).item() == 0
    flat = gradient_logits((0 * z).square().sum(), [z])
    (slope,) = torch.autograd.grad(uniform_divergence(flat), z, materialize_grads=True)
    assert not slope.any()


def test_several_calls_are_one_batch():
    z = normal(0, 6, 3)
    parts = [part.clone().requires_grad_() for part in z.split([4, 2])]
    whole = z.clone().requires_grad_()
    apart = gradient_logits(torch.cat(parts).square().sum() ** 2, parts)
    torch.testing.assert_close(apart, gradient_logits(whole.square().sum() ** 2, [whole]))


@given(SEEDS, st.integers(1, 5), st.integers(1, 5), st.sampled_from([1e-3, 1.0, 50.0]))
def test_the_volume_of_an_affine_map_and_of_its_multiples(seed, p, q, scale):
    """One Jacobian everywhere is uniform; a bent map has the singular values of its Jacobians."""
    a = normal(seed, q, p)
    z = normal(seed + 1, 4, p)
    assert uniform_divergence(volume_logits(lambda x: scale * x @ a.T + 1, z)).item() < 1e-20

    def bent(x):
        return torch.sin(x @ a.T) * scale

    logits = volume_logits(bent, z)
    jacobians = [scale * torch.cos(a @ row)[:, None] * a for row in z]
    sizes = [torch.linalg.svdvals(j) for j in jacobians]
    ridge = 1e-8 * torch.stack([s.square() for s in sizes]).mean()
    exact = torch.stack([-0.5 * (s.square() + ridge).log().sum() for s in sizes])
    # Singular values at the ridge are known to 1e-16 / 1e-8 of themselves, squared.
    torch.testing.assert_close(logits, exact, rtol=1e-6, atol=1e-6)


def test_the_volume_of_dead_units_is_finite():
    z = torch.tensor([[1.0, 2.0], [-1.0, -1.0]])
    logits = volume_logits(torch.relu, z)
    assert logits.isfinite().all()
    assert logits[1] > logits[0]
    assert uniform_divergence(volume_logits(lambda x: 0 * x, z)).item() == 0


def small():
    """Late part of one view's early features and its loss on a batch, float64."""
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    with torch.no_grad():
        for k, p in enumerate(net.parameters()):
            p.copy_(normal(k, *p.shape))
    return net, normal(7, 6, 3)


def distance_of(kind, net, z, values):
    """The distance as a function of the parameters of a late part."""
    state = dict(zip([name for name, _ in net.named_parameters()], values, strict=True))

    def late(x):
        return functional_call(net, state, (x,))

    if kind == "volume":
        return uniform_divergence(volume_logits(late, z))
    if kind == "reduction":
        return reduction_distance(z, late(z), 0.5)
    if kind == "cka":
        return cka_distance(z, late(z))
    leaf = z.clone().requires_grad_()
    out = late(leaf)
    loss = (out[:3] - out[3:]).square().mean() + (out.T @ out / 6 - torch.eye(2)).square().sum()
    return uniform_divergence(gradient_logits(loss, [leaf]))


@pytest.mark.parametrize("kind", ["gradient", "volume", "reduction", "cka"])
def test_alignment_carries_gradient(kind):
    """The published code's has none. Both orders against finite differences."""
    net, z = small()
    values = [p.detach().clone().requires_grad_() for p in net.parameters()]
    found = distance_of(kind, net, z, values)
    assert found.item() > 1e-3
    gradients = torch.autograd.grad(found, values, materialize_grads=True, create_graph=True)
    assert sum(g.norm() for g in gradients[::2]) > 1e-3
    direction = [normal(30 + k, *v.shape) for k, v in enumerate(values)]

    def along(values):
        at = [v.detach().requires_grad_() for v in values]
        slopes = torch.autograd.grad(distance_of(kind, net, z, at), at, materialize_grads=True)
        return sum((g * d).sum() for g, d in zip(slopes, direction, strict=True))

    step = 1e-5
    moved = [
        [v.detach() + sign * step * d for v, d in zip(values, direction, strict=True)]
        for sign in (1, -1)
    ]
    ends = [distance_of(kind, net, z, at).item() for at in moved]
    slope = along(values)
    # Third derivatives are of order 100 at most: 1e-8, and rounding 1e-15 / 1e-5.
    assert slope.item() == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-7)
    first = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
    curved = torch.autograd.grad(first, values, materialize_grads=True)
    second = sum((g * d).sum() for g, d in zip(curved, direction, strict=True))
    slopes = [along(at).item() for at in moved]
    assert second.item() == pytest.approx((slopes[0] - slopes[1]) / (2 * step), rel=1e-5, abs=1e-5)


@given(SEEDS, st.integers(2, 8), st.integers(1, 6), st.integers(1, 6))
def test_distances_of_features_see_neither_rotation_nor_scale(seed, m, p, q):
    early, late = normal(seed, m, p), normal(seed + 1, m, q)
    turn = torch.linalg.qr(normal(seed + 2, q, q)).Q
    for distance in (lambda a, b: reduction_distance(a, b, 0.5), cka_distance):
        found = distance(early, late).item()
        assert found > -1e-12
        assert distance(early, 3 * late @ turn).item() == pytest.approx(found, abs=1e-10)
        assert distance(late, early).item() == pytest.approx(found, abs=1e-10)
        turned = torch.cat([late @ turn, torch.zeros(m, 2)], dim=1)
        assert abs(distance(late, turned).item()) < 1e-10


def test_features_of_other_views_are_refused():
    with pytest.raises(ValueError, match="of the same views"):
        reduction_distance(torch.ones(3, 2), torch.ones(4, 2), 0.5)
    with pytest.raises(ValueError, match="expected the same samples"):
        cka_distance(torch.ones(3, 2), torch.ones(4, 2))
