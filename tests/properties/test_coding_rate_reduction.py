"""Coding rate reduction: what always holds, in both rooms, and what only seems to."""

import math
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st

from sslsim.coding_rate import coding_rate_reduction
from theory.coding_rate.bounds import large_eps_reduction, small_eps_slope
from theory.coding_rate.optima import (
    best_instance_reduction,
    singleton_rate,
    subspaces_reduction,
    two_view_rate,
)
from theory.coding_rate.rate import coding_rate, coding_rate_reduction_gradient, group_shares
from theory.coding_rate.rate import coding_rate_reduction as twin

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.tuples(st.integers(2, 12), st.integers(1, 8)) | st.just((4, 30)) | st.just((40, 3))
EPS = st.floats(-3, 1).map(lambda power: 10**power)


def torch_reduction(z, groups, eps):
    return coding_rate_reduction(torch.from_numpy(z), torch.from_numpy(groups), eps).item()


def torch_gradient(z, groups, eps):
    z = torch.from_numpy(z).requires_grad_()
    rate = coding_rate_reduction(z, torch.from_numpy(groups), eps)
    return torch.autograd.grad(rate, z)[0].numpy()


BOTH = pytest.mark.parametrize("reduction", [torch_reduction, twin], ids=["sslsim", "theory"])
GRADIENTS = pytest.mark.parametrize(
    "gradient", [torch_gradient, coding_rate_reduction_gradient], ids=["sslsim", "theory"]
)


def drawn(seed, shape, soft):
    """Embeddings, and labels or shares in up to four groups, some of them exactly zero."""
    rng = np.random.default_rng(seed)
    n = shape[0]
    k = int(rng.integers(1, min(n, 4) + 1))
    labels = rng.permutation(np.arange(n) % k)
    if not soft:
        return rng.standard_normal(shape), 7 - 3 * labels, rng
    shares = rng.dirichlet(np.ones(k), n) * (rng.random((n, k)) < 0.7)
    shares[np.arange(n), labels] += 0.1  # no group is empty and no row without a group
    return rng.standard_normal(shape), shares / shares.sum(axis=1, keepdims=True), rng


def bound(z, groups, eps):
    """Rounding: 1e-16 of each matrix where that is formed, else of its square root."""
    n, d = z.shape
    shares = np.column_stack([np.ones(n), group_shares(groups, n)])
    energies = d / (shares.sum(axis=0) * eps**2) * (shares.T @ (z**2).sum(axis=1))
    formed = 2e-16 * energies
    each = np.where(formed < 1e-10, formed, 2e-16 * np.sqrt(energies)) + 1e-16
    return 200 * min(n, d) * each.max() + 1e-14 * coding_rate(z, eps)


@given(SEEDS, SHAPES, EPS, st.booleans(), st.sampled_from([np.float32, np.float64]))
def test_both_rooms_agree(seed, shape, eps, soft, dtype):
    z, groups, _ = drawn(seed, shape, soft)
    z = z.astype(dtype)
    exact, close = twin(z, groups, eps), bound(z.astype(float), groups, eps)
    assert abs(torch_reduction(z, groups, eps) - exact) < close
    if dtype == np.float64:
        gradient = coding_rate_reduction_gradient(z, groups, eps)
        # B is off by that part of itself, and G = a Z B: of a norm of at most sqrt(a) / 2.
        root = math.sqrt(shape[1]) / eps
        assert np.abs(torch_gradient(z, groups, eps) - gradient).max() < 1e-9 * root


@given(SEEDS, SHAPES, st.floats(-1, 1).map(lambda power: 10**power), st.booleans())
def test_determinants_with_a_membership_matrix_a_group(seed, shape, eps, soft):
    z, groups, _ = drawn(seed, shape, soft)
    n, d = shape
    exact = np.linalg.slogdet(np.eye(d) + d / (n * eps**2) * z.T @ z)[1] / 2
    for share in group_shares(groups, n).T:
        membership, size = np.diag(share), np.trace(np.diag(share))
        matrix = np.eye(d) + d / (size * eps**2) * z.T @ membership @ z
        exact -= size / (2 * n) * np.linalg.slogdet(matrix)[1]
    close = bound(z, groups, eps) + 1e-14 * d * (z**2).sum() / eps**2
    assert abs(torch_reduction(z, groups, eps) - exact) < close


@BOTH
@given(SEEDS, SHAPES, EPS, st.booleans())
def test_never_negative_and_never_lower_for_finer_groups(reduction, seed, shape, eps, soft):
    z, groups, rng = drawn(seed, shape, soft)
    close = 2 * bound(z, groups, eps)
    found = reduction(z, groups, eps)
    assert found >= -close
    if soft:
        part = rng.random(groups.shape) * (rng.random(groups.shape) < 0.7)
        finer = np.column_stack([part * groups, (1 - part) * groups])
        finer = finer[:, finer.sum(axis=0) > 0]
    else:
        finer = 2 * groups + rng.integers(0, 2, len(groups))
    assert reduction(z, finer, eps) >= found - close - 2 * bound(z, finer, eps)


@BOTH
@given(SEEDS, SHAPES, EPS, st.booleans())
def test_order_names_rotation_and_copies_do_not_matter(reduction, seed, shape, eps, soft):
    z, groups, rng = drawn(seed, shape, soft)
    close, found = 3 * bound(z, groups, eps), reduction(z, groups, eps)
    order = rng.permutation(len(z))
    assert abs(reduction(z[order], groups[order], eps) - found) < close
    turn = np.linalg.qr(rng.standard_normal((shape[1], shape[1])))[0]
    assert abs(reduction(z @ turn, groups, eps) - found) < close
    copies = reduction(np.concatenate([z, z]), np.concatenate([groups, groups]), eps)
    assert abs(copies - found) < close
    shares = group_shares(groups, len(z))  # of labels: the same groups, written as shares
    assert abs(reduction(z, shares[:, ::-1].copy(), eps) - found) < close
    assert abs(reduction(3 * z, groups, 3 * eps) - found) < close


@BOTH
@given(SEEDS, st.integers(1, 6), st.integers(1, 6), st.integers(2, 4), EPS)
def test_zero_iff_all_groups_have_one_second_moment(reduction, seed, size, d, k, eps):
    rng = np.random.default_rng(seed)
    one = rng.standard_normal((size, d))
    turns = [np.linalg.qr(rng.standard_normal((size, size)))[0] for _ in range(k)]
    z, groups = np.concatenate([turn @ one for turn in turns]), np.repeat(np.arange(k), size)
    assert abs(reduction(z, groups, eps)) < bound(z, groups, eps)
    alike = np.full((k * size, k), 1 / k)
    assert abs(reduction(rng.standard_normal((k * size, d)), alike, eps)) < bound(z, alike, eps)
    z[0] *= 2  # one group differs: the reduction is bounded below by how much
    least, _ = curvature_bounds(z, groups, eps)
    assert least > 0
    assert reduction(z, groups, eps) >= least - bound(z, groups, eps)


def curvature_bounds(z, groups, eps):
    """Between which the reduction lies, by the curvature of logdet; they meet for large eps."""
    high, c = large_eps_reduction(z, groups, eps), z.shape[1] / eps**2
    shares = group_shares(groups, len(z))
    moments = [(s[:, None] * z).T @ z / s.sum() for s in shares.T]
    largest = max(np.linalg.norm(moment, 2) for moment in moments)
    return high / (1 + c * largest) ** 2, high


@BOTH
@given(SEEDS, SHAPES, st.floats(-1, 3).map(lambda power: 10**power), st.booleans())
def test_large_eps_spread_of_second_moments(reduction, seed, shape, eps, soft):
    z, groups, _ = drawn(seed, shape, soft)
    least, most = curvature_bounds(z, groups, eps)
    close, found = bound(z, groups, eps), reduction(z, groups, eps)
    assert least - close <= found <= most + close


@GRADIENTS
@given(SEEDS, SHAPES, st.booleans(), st.booleans())
def test_small_eps_slope_is_a_difference_of_ranks(gradient, seed, shape, soft, deficient):
    z, groups, _ = drawn(seed, shape, soft)
    n, d = shape
    if deficient:
        z[:, d // 2 + 1 :] = 0
    eps = 1e-6
    # As R(cZ; c eps) = R(Z; eps), the derivative in log(1 / eps^2) is <Z, dR/dZ> / 2.
    slope = np.sum(z * gradient(z, groups, eps)) / 2
    shares = np.column_stack([np.ones(n), group_shares(groups, n)])
    left_out = 0.0  # of each direction, what keeps x / (1 + x) from 1
    for share in shares.T:
        s = np.linalg.svd(np.sqrt(share[:, None]) * z, compute_uv=False)
        x = d / (share.sum() * eps**2) * s[s > 1e-12 * s[0]] ** 2
        left_out += share.sum() / (2 * n) * np.sum(1 / x)
    assert abs(slope - small_eps_slope(z, groups)) < left_out + 1e-7


PLANES = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3))


def planes(rng, k, p, times, spare):
    """K groups of unit norm that fill orthogonal subspaces of dimension p evenly."""
    d = k * p + spare
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    frames = [
        np.concatenate([np.linalg.qr(rng.standard_normal((p, p)))[0] for _ in range(times)])
        @ turn[p * group : p * (group + 1)]
        for group in range(k)
    ]
    return np.concatenate(frames), np.repeat(np.arange(k), p * times)


@BOTH
@given(SEEDS, PLANES, EPS)
def test_orthogonal_subspaces_have_the_closed_form(reduction, seed, sizes, eps):
    k, p, times, _ = sizes
    z, groups = planes(np.random.default_rng(seed), *sizes)
    if len(z) > 1:
        exact = subspaces_reduction(k, p, p * times, z.shape[1], eps)
        assert abs(reduction(z, groups, eps) - exact) < bound(z, groups, eps)


@BOTH
@given(SEEDS, PLANES, st.floats(-3, -1).map(lambda power: 10**power))
def test_orthogonal_subspaces_are_the_best_of_their_ranks_for_small_eps(
    reduction, seed, sizes, eps
):
    rng = np.random.default_rng(seed)
    (k, p, times, _), (z, groups) = sizes, planes(rng, *sizes)
    other = rng.standard_normal((k, p * times, p)) @ rng.standard_normal((k, p, z.shape[1]))
    other = other.reshape(z.shape)
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    if len(z) > 1:
        best = subspaces_reduction(k, p, p * times, z.shape[1], eps)
        assert reduction(other, groups, eps) <= best + bound(other, groups, eps)


def test_energy_concentrates_for_large_eps():
    """Three groups in six dimensions: one direction each is worse, then better, than two."""
    assert subspaces_reduction(3, 2, 2, 6, 0.1) > subspaces_reduction(3, 1, 2, 6, 0.1)
    assert subspaces_reduction(3, 2, 2, 6, 5.0) < subspaces_reduction(3, 1, 2, 6, 5.0)


def normed(rng, n, d):
    z = rng.standard_normal((n, d))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


@BOTH
@given(SEEDS, SHAPES, EPS)
def test_singletons_and_pairs_of_unit_norm(reduction, seed, shape, eps):
    rng = np.random.default_rng(seed)
    n, d = shape
    z, z_prime = normed(rng, n, d), normed(rng, n, d)
    singles = coding_rate(z, eps) - reduction(z, np.arange(n), eps)
    assert abs(singles - singleton_rate(d, eps)) < bound(z, np.arange(n), eps)
    views, images = np.concatenate([z, z_prime]), np.tile(np.arange(n), 2)
    close, cosines = bound(views, images, eps), (z * z_prime).sum(axis=1)
    pairs = coding_rate(views, eps) - reduction(views, images, eps)
    # sin^2 is off by 1e-16 or so, and the logarithm by that over sin^2 + (1 + 2b) / b^2.
    b = d / (2 * eps**2)
    rounding = 1e-15 / np.min(1 - np.abs(cosines) + (1 + 2 * b) / b**2)
    assert abs(pairs - two_view_rate(cosines, d, eps)) < close + rounding
    flipped = reduction(np.concatenate([z, -z]), images, eps)  # aligned only up to sign
    assert abs(flipped - reduction(np.concatenate([z, z]), images, eps)) < 2 * close
    least = two_view_rate([1.0, -1.0], d, eps)
    assert abs(least - singleton_rate(d, eps)) < 1e-14 * least
    assert pairs >= least - close


@BOTH
@given(SEEDS, st.integers(2, 8), st.integers(1, 8), st.integers(1, 3), EPS)
def test_no_identical_views_exceed_the_analytic_optimum(reduction, seed, n, d, views, eps):
    rng = np.random.default_rng(seed)
    images, best = np.tile(np.arange(n), views), best_instance_reduction(n, d, eps)
    z = np.tile(normed(rng, n, d), (views, 1))
    assert reduction(z, images, eps) <= best + bound(z, images, eps)
    if n <= d:  # orthonormal samples
        frame = np.linalg.qr(rng.standard_normal((d, n)))[0].T
    elif n % d == 0:  # a tight frame of several bases
        bases = [np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(n // d)]
        frame = np.concatenate(bases)
    else:
        return
    z = np.tile(frame, (views, 1))
    assert abs(reduction(z, images, eps) - best) < bound(z, images, eps)


def test_half_the_dimension_times_entropy_is_no_bound():
    """Hypothesis finds embeddings, even of unit norm, that refute Delta R <= d/2 H(n_k / n)."""

    def exceeds(drawn):
        angles, labels, power = drawn
        z = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        labels = np.array(labels)
        return twin(z, labels, 10.0**power) > entropy_bound(labels) + 1e-6

    def entropy_bound(labels):
        proportions = np.bincount(labels) / len(labels)
        proportions = proportions[proportions > 0]
        return -2 / 2 * np.sum(proportions * np.log(proportions))

    cases = st.tuples(
        st.lists(st.floats(0, 3), min_size=4, max_size=4),
        st.lists(st.integers(0, 1), min_size=4, max_size=4),
        st.integers(-4, 0),
    )
    quiet = settings(database=None, max_examples=500, deadline=None)
    angles, labels, power = find(cases, exceeds, settings=quiet, random=Random(0))
    z = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = torch_reduction(z, np.array(labels), 10.0**power)
    assert found > entropy_bound(np.array(labels))
    # The shortest there is: orthogonal groups, whose reduction grows as 1/2 log(1 / eps^2).
    z, labels = np.eye(2), np.array([0, 1])
    for reduction in (torch_reduction, twin):
        assert reduction(z, labels, 1e-2) > entropy_bound(labels)
        assert reduction(z, labels, 1.0) < entropy_bound(labels)
