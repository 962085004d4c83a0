"""What memorisation scores promise for all encoders, losses and data, in both rooms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import rounding
from torch import nn

from sslsim.memorization import (
    DISTANCES,
    alignment_loss,
    distances,
    most_memorized,
    rank_points,
    remaining_points,
    score_encoders,
    ssl_mem,
)
from theory.memorization.first_order import alignment_losses, first_order_scores, linear_points
from theory.memorization.leave_one_out import leave_one_out_scores

seeds = st.integers(0, 2**32 - 1)
names = st.sampled_from(DISTANCES)
loss = st.floats(0, 1e6, allow_subnormal=False) | st.just(0.0)
table = st.lists(st.tuples(loss, loss), min_size=1, max_size=8).map(
    lambda rows: torch.tensor(rows, dtype=torch.float64).T
)
score = st.integers(-3, 3).map(float)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def normal(seed, *shape):
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def encoder(weight):
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False).double()
    layer.weight.data = weight
    return nn.Sequential(nn.Flatten(), layer)


def rotation(seed, dim):
    return torch.linalg.qr(normal(seed, dim, dim))[0]


@given(table, st.sampled_from(["raw", "ratio"]))
def test_exchanging_f_and_g_changes_the_sign_and_f_with_itself_gives_zero(losses, form):
    f, g = losses
    found = ssl_mem(f, g, form).scores
    assert torch.equal(found, -ssl_mem(g, f, form).scores)
    assert not ssl_mem(f, f, form).scores.any()


@given(table, st.floats(1e-3, 1e3))
def test_the_ratio_is_bounded_and_free_of_scale(losses, scale):
    f, g = losses
    found = ssl_mem(f, g, "ratio").scores
    assert found.abs().max() <= 1
    scaled = ssl_mem(scale * f, scale * g, "ratio").scores
    # Of nearly equal losses the difference keeps the rounding of either, relative to their sum.
    torch.testing.assert_close(scaled, found, rtol=0, atol=1e-15)
    raw = ssl_mem(scale * f, scale * g).scores
    assert (raw - scale * (g - f)).abs().max() <= 1e-15 * scale * (f + g).max()
    assert (found[f + g > 0].sign() == (g - f)[f + g > 0].sign()).all()
    assert not found[f + g == 0].any()


@given(table, seeds, st.sampled_from(["raw", "ratio"]))
def test_permuting_points_permutes_scores_and_their_order(losses, seed, form):
    f, g = losses
    order = torch.randperm(len(f), generator=generator(seed))
    found = ssl_mem(f, g, form).scores
    assert torch.equal(ssl_mem(f[order], g[order], form).scores, found[order])


@given(table, st.integers(1, 4), seeds)
def test_copies_of_an_encoder_change_no_score(losses, copies, seed):
    f, g = losses
    found = ssl_mem(f.expand(copies, -1), g)
    torch.testing.assert_close(found.scores, g - f, rtol=0, atol=1e-14 * float((f + g).max()))
    if copies > 1:
        both = ssl_mem(f.expand(copies, -1), g.expand(2, -1))
        assert both.standard_error.max() <= 1e-14 * (f + g).max()


@given(seeds, names, st.booleans(), st.integers(1, 6), st.integers(1, 5))
def test_distances_are_symmetric_and_blind_to_orthogonal_maps(seed, name, normalise, n, dim):
    z, other = normal(seed, 2, n, dim)
    found = distances(z, other, name, normalise=normalise)
    assert found.min() >= 0
    assert torch.equal(found, distances(other, z, name, normalise=normalise))
    assert not distances(z, z, name, normalise=normalise).any()
    if name != "l1":
        turn = rotation(seed + 1, dim)
        turned = distances(z @ turn.T, other @ turn.T, name, normalise=normalise)
        torch.testing.assert_close(turned, found, rtol=1e-10, atol=1e-12)
    scaled = distances(3 * z, 3 * other, name, normalise=normalise)
    power = {"sqeuclidean": 2, "cosine": 0, "angular": 0}.get(name, 1)
    expected = found if normalise else found * 3.0**power
    torch.testing.assert_close(scaled, expected, rtol=1e-10, atol=1e-12)


@given(seeds, st.integers(1, 6), st.integers(1, 5))
def test_distances_of_unit_rows_are_functions_of_one_another(seed, n, dim):
    z, other = normal(seed, 2, n, dim)
    l2, l1, cosine, angular, squares = (distances(z, other, name) for name in DISTANCES)
    torch.testing.assert_close(squares, l2**2, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(cosine, squares / 2, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(l2, 2 * (angular / 2).sin(), rtol=1e-10, atol=1e-12)
    similarity = torch.cosine_similarity(z, other)
    torch.testing.assert_close(cosine, 1 - similarity, rtol=0, atol=1e-14)
    assert (l1 <= math.sqrt(dim) * l2 + 1e-12).all()
    assert (l1 >= l2 - 1e-12).all()


@pytest.mark.slow
@given(seeds, st.sampled_from(["l2", "cosine", "angular", "sqeuclidean"]), st.booleans())
def test_scores_are_blind_to_orthogonal_maps_of_the_output(seed, name, normalise):
    images = torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8, generator=generator(seed))
    f, g = normal(seed, 2, 5, 36)
    options = {
        "kind": "crops", "distance": name, "normalise": normalise,
        "pairs": 3, "dtype": torch.float64, "seed": seed,
    }  # fmt: skip
    found = score_encoders([encoder(f)], [encoder(g)], images, **options)
    turned = score_encoders(
        [encoder(rotation(seed, 5) @ f)], [encoder(rotation(seed + 1, 5) @ g)], images, **options
    )
    size = float((found.f_mean + found.g_mean).max())
    torch.testing.assert_close(turned.scores, found.scores, rtol=0, atol=1e-10 * size)
    swapped = score_encoders([encoder(g)], [encoder(f)], images, **options)
    assert torch.equal(swapped.scores, -found.scores)
    same = score_encoders([encoder(f)], [encoder(f)], images, **options)
    assert not same.scores.any()


@pytest.mark.machine
@given(seeds, names, st.sampled_from(["weak", "noise"]))
def test_permuting_images_permutes_losses(seed, name, kind):
    images = torch.randint(256, (7, 1, 6, 6), dtype=torch.uint8, generator=generator(seed))
    order = torch.randperm(7, generator=generator(seed))
    options = {"pairs": 2, "distance": name, "seed": seed}
    whole = alignment_loss(nn.Flatten(), images, kind, **options).losses
    permuted = alignment_loss(nn.Flatten(), images[order], kind, numbers=order, **options).losses
    # A distance sums 36 squares or fewer, of unit rows.
    tolerance = rounding(torch.float64, 36, scale=2 if name != "l1" else 12)
    torch.testing.assert_close(permuted, whole[order], rtol=0, atol=tolerance)


@given(st.lists(score, min_size=1, max_size=12), st.data())
def test_ranks_and_removals(scores, data):
    n = len(scores)
    order = rank_points(scores).tolist()
    assert sorted(order) == list(range(n))
    keys = [(-scores[place], place) for place in order]
    assert keys == sorted(keys)  # ties by place
    k = data.draw(st.integers(0, n))
    assert most_memorized(scores, k).tolist() == order[:k]
    for which in ("most", "least", "random"):
        left = remaining_points(scores, k, which).tolist()
        assert left == sorted(set(left))
        assert len(left) == n - k
        removed = [scores[place] for place in range(n) if place not in left]
        kept = [scores[place] for place in left]
        if removed and kept and which != "random":
            ends = (min(removed), max(kept)) if which == "most" else (min(kept), max(removed))
            assert ends[0] >= ends[1]
    assert remaining_points(scores, 0).tolist() == list(range(n))


def model(seed, n, m, views=4):
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal((n, 1, m)) * np.arange(1, m + 1) ** -1.0
    drawn = centre + rng.uniform(0.05, 0.3, (n, 1, m)) * rng.standard_normal((n, views + 2, m))
    return rng, drawn[:, 0], drawn[:, 1], drawn[:, 2:]


def all_scores(x, x_prime, augmentations, dim):
    points = linear_points(x, x_prime, dim, augmentations=augmentations)
    gap = (points.gamma[dim - 1] - points.gamma[dim]) / points.gamma[0]
    exact = leave_one_out_scores(points, 1e-9).scores
    return np.stack([alignment_losses(points), first_order_scores(points), exact]), gap


def close(found, expected, gap):
    # Modes are known to rounding over the gap; first order divides by it once more.
    size = np.abs(expected).max(axis=1, keepdims=True) + np.abs(expected[:1]).max() / len(expected)
    assert np.all(np.abs(found - expected) <= (1e-8 + 1e-12 / gap**2) * size)


shapes = st.tuples(st.integers(8, 20), st.integers(4, 8))


@given(seeds, shapes)
def test_linear_scores_are_permuted_with_the_points(seed, shape):
    rng, x, x_prime, augmentations = model(seed, *shape)
    order = rng.permutation(len(x))
    expected, gap = all_scores(x, x_prime, augmentations, 2)
    found, _ = all_scores(x[order], x_prime[order], augmentations[order], 2)
    close(found, expected[:, order], gap)
    # Which view comes first, and in which order further ones do, is nothing to a point.
    found, _ = all_scores(x_prime, x, augmentations[:, ::-1], 2)
    close(found, expected, gap)


@given(seeds, shapes, st.floats(0.01, 100))
def test_linear_scores_are_free_of_rotations_and_scales_of_the_inputs(seed, shape, scale):
    rng, x, x_prime, augmentations = model(seed, *shape)
    turn = scale * np.linalg.qr(rng.standard_normal((shape[1],) * 2))[0]
    expected, gap = all_scores(x, x_prime, augmentations, 2)
    found, _ = all_scores(x @ turn, x_prime @ turn, augmentations @ turn, 2)
    close(found, expected, gap)


@given(seeds, shapes, st.floats(0.1, 10))
def test_linear_scores_grow_with_the_covariance_and_vanish_without_augmentation(
    seed, shape, strength
):
    _, x, x_prime, augmentations = model(seed, *shape)
    expected, gap = all_scores(x, x_prime, augmentations, 2)
    mean = augmentations.mean(axis=1, keepdims=True)
    found, _ = all_scores(x, x_prime, mean + strength * (augmentations - mean), 2)
    close(found, strength**2 * expected, gap)
    still = np.repeat(x[:, None], 3, axis=1)
    found, _ = all_scores(x, x_prime, still, 2)
    assert np.abs(found).max() <= 1e-25 * np.abs(x).max() ** 2 / gap**2 + 1e-20
