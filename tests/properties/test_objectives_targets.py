"""What objectives with targets are blind to, their bounds and their limits."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslsim.objectives import (
    byol,
    dino,
    dino_center,
    lejepa,
    mae,
    moco_v3,
    sigreg,
    simsiam,
    sinkhorn,
    swav,
    vicregl,
)

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.tuples(st.integers(2, 7), st.integers(1, 8))


def normal(seed, *shape):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape))


def close(a, b, tolerance=1e-11):
    return bool(abs(a - b) <= tolerance * (1 + abs(a) + abs(b)))


@given(SIZES, SEEDS, st.floats(1e-2, 1e2))
def test_byol_is_bounded_symmetric_and_blind_to_lengths_and_rotations(size, seed, scale):
    p, q, t, u = normal(seed, 4, *size)
    loss = byol(p, q, t, u)
    assert -1e-12 <= loss <= 8 + 1e-12
    assert close(loss, byol(q, p, u, t))
    assert close(loss, byol(scale * p, q, t, u / scale))
    rotation = torch.linalg.qr(normal(seed + 1, size[1], size[1]))[0]
    assert close(loss, byol(*(v @ rotation for v in (p, q, t, u))))
    order = torch.tensor(np.random.default_rng(seed).permutation(size[0]))
    assert close(loss, byol(p[order], q[order], t[order], u[order]))
    assert abs(byol(p, q, scale * q, scale * p)) < 1e-13
    assert close(byol(p, q, -q, -p), 8.0)


@given(SIZES, SEEDS, st.floats(1e-2, 1e2))
def test_simsiam_is_bounded_symmetric_and_blind_to_lengths_and_rotations(size, seed, scale):
    p, q, t, u = normal(seed, 4, *size)
    loss = simsiam(p, q, t, u)
    assert abs(loss) <= 1 + 1e-12
    assert close(loss, simsiam(q, p, u, t))
    assert close(loss, simsiam(scale * p, q, t, u / scale))
    rotation = torch.linalg.qr(normal(seed + 1, size[1], size[1]))[0]
    assert close(loss, simsiam(*(v @ rotation for v in (p, q, t, u))))
    assert close(loss, -simsiam(p, q, -t, -u))
    assert close(simsiam(p, q, scale * q, scale * p), -1.0)


@given(SIZES, SEEDS, st.floats(1e-2, 1e2), st.floats(0.05, 2))
def test_moco_v3_is_bounded_symmetric_and_blind_to_lengths_and_rotations(
    size, seed, scale, temperature
):
    p, q, t, u = normal(seed, 4, *size)
    loss = moco_v3(p, q, t, u, temperature=temperature)
    # Logits lie in [-1, 1] / T.
    assert -1e-12 <= loss <= 4 * temperature * np.log(size[0]) + 8 + 1e-12
    assert close(loss, moco_v3(q, p, u, t, temperature=temperature))
    assert close(loss, moco_v3(scale * p, q, t, u / scale, temperature=temperature))
    rotation = torch.linalg.qr(normal(seed + 1, size[1], size[1]))[0]
    turned = (v @ rotation for v in (p, q, t, u))
    assert close(loss, moco_v3(*turned, temperature=temperature))
    order = torch.tensor(np.random.default_rng(seed).permutation(size[0]))
    assert close(loss, moco_v3(*(v[order] for v in (p, q, t, u)), temperature=temperature))


@given(SIZES, SEEDS, st.integers(1, 5), st.floats(0, 3))
def test_sigreg_is_bounded_and_turns_with_its_directions(size, seed, m, scale):
    n, d = size
    z, directions = scale * normal(seed, n, d), normal(seed + 1, d, m)
    directions = directions / directions.norm(dim=0)
    loss = sigreg(z, directions)
    assert 0 <= loss <= 4 * n * np.sqrt(2 * np.pi)  # two functions of size 1, squared
    rotation = torch.linalg.qr(normal(seed + 2, d, d))[0]
    assert close(loss, sigreg(z @ rotation, rotation.T @ directions))
    assert close(loss, sigreg(-z, directions))
    assert close(loss, sigreg(z, -directions))
    order = torch.tensor(np.random.default_rng(seed).permutation(n))
    assert close(loss, sigreg(z[order], directions))


@given(SIZES, SEEDS, st.integers(2, 5), st.floats(0, 1))
def test_lejepa_is_blind_to_the_order_of_full_views_and_of_crops(size, seed, count, lam):
    embeddings = list(normal(seed, count, *size))
    directions = normal(seed + 1, size[1], 3)
    directions = directions / directions.norm(dim=0)
    loss = lejepa(embeddings, directions, lam=lam)
    first, second, *crops = embeddings
    assert close(loss, lejepa([second, first, *reversed(crops)], directions, lam=lam))
    same = lejepa([first] * count, directions, lam=lam)
    assert close(same, lam * sigreg(first, directions))


@given(SIZES, SEEDS, st.floats(0.05, 2), st.integers(1, 5))
def test_codes_are_distributions_blind_to_shifts_of_prototypes(size, seed, eps, iterations):
    scores = normal(seed, *size)
    codes = sinkhorn(scores, eps=eps, iterations=iterations)
    assert (codes >= 0).all()
    assert (codes.sum(1) - 1).abs().max() < 1e-12
    shifted = sinkhorn(scores + normal(seed + 1, size[1]), eps=eps, iterations=iterations)
    assert (shifted - codes).abs().max() < 1e-12 / eps


@given(SIZES, SEEDS)
def test_codes_use_prototypes_equally_after_many_iterations(size, seed):
    # Smooth codes: the iteration contracts by tanh^2 of a quarter of the scores' diameter.
    scores = torch.tanh(normal(seed, *size))
    codes = sinkhorn(scores, eps=1.0, iterations=100)
    assert (codes.sum(0) - size[0] / size[1]).abs().max() < 1e-9
    shifted = sinkhorn(scores + normal(seed + 1, size[0], 1), eps=1.0, iterations=100)
    assert (shifted - codes).abs().max() < 1e-9


@given(SIZES, SEEDS, st.integers(2, 5), st.randoms(use_true_random=False))
def test_swav_is_blind_to_the_order_of_full_views_crops_samples_and_prototypes(
    size, seed, count, random
):
    scores = list(torch.tanh(normal(seed, count, *size)))
    loss = swav(scores)
    assert loss >= 0
    crops = scores[2:]
    random.shuffle(crops)
    assert close(loss, swav([scores[1], scores[0], *crops]))
    rows, columns = list(range(size[0])), list(range(size[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    assert close(loss, swav([s[rows][:, columns] for s in scores]))


@given(SIZES, SEEDS, st.integers(2, 4), st.floats(-5, 5))
def test_dino_is_blind_to_shifts_and_the_order_of_views(size, seed, count, shift):
    student, teacher = list(normal(seed, count, *size)), list(normal(seed + 1, 2, *size))
    center = normal(seed + 2, size[1])
    loss = dino(student, teacher, center)
    assert loss >= 0
    assert close(loss, dino([s + shift for s in student], teacher, center))
    moved = [t + center for t in teacher]
    assert close(loss, dino(student, moved, 2 * center))
    exchanged = [student[1], student[0], *student[2:]]
    assert close(loss, dino(exchanged, teacher[::-1], center))


@given(SIZES, SEEDS)
def test_dino_is_least_where_the_student_is_the_teacher(size, seed):
    output, center = normal(seed, *size), normal(seed + 1, size[1])
    options = {"student_temperature": 1.0, "teacher_temperature": 1.0}
    entropy = torch.distributions.Categorical(logits=output - center).entropy().mean()
    matched = dino([output - center] * 2, [output] * 2, center, **options)
    assert close(matched, entropy)
    other = normal(seed + 2, *size)
    assert dino([other] * 2, [output] * 2, center, **options) >= entropy - 1e-12


@given(SIZES, SEEDS, st.floats(0, 1))
def test_the_centre_follows_a_shift_of_the_teacher(size, seed, momentum):
    teacher, center = list(normal(seed, 2, *size)), normal(seed + 1, size[1])
    found = dino_center(center, teacher, momentum=momentum)
    moved = dino_center(center + 2, [t + 2 for t in teacher], momentum=momentum)
    assert (moved - found - 2).abs().max() < 1e-13
    assert (
        dino_center(center, [center.expand(size)] * 2, momentum=momentum) - center
    ).abs().max() < 1e-14


@given(st.integers(1, 4), st.integers(1, 6), st.integers(2, 5), SEEDS, st.floats(1, 5))
def test_mae_of_normalised_targets_is_blind_to_their_shift_and_scale(n, length, p, seed, scale):
    prediction, patches = normal(seed, 2, n, length, p)
    patches = patches + torch.linspace(0, 3, p).double()
    rng = np.random.default_rng(seed)
    share = rng.integers(1, length + 1)
    masked = torch.tensor(np.stack([rng.permutation(length)[:share] for _ in range(n)]))
    loss = mae(prediction, patches, masked, eps=1e-12)
    shift = normal(seed + 1, n, length, 1)
    smallest = float(patches.var(2).min())
    moved = mae(prediction, scale * patches + shift, masked, eps=1e-12)
    assert close(loss, moved, 1e-11 + 1e-11 / smallest)
    order = rng.permutation(share)
    assert close(loss, mae(prediction, patches, masked[:, order], eps=1e-12))
    assert mae(patches, patches, masked, normalize=False) == 0


@given(st.integers(2, 5), st.integers(1, 4), st.integers(1, 6), SEEDS)
def test_vicregl_is_blind_to_the_order_of_views_and_samples_and_to_where_the_origin_is(
    n, c, matches, seed
):
    z, maps = normal(seed, 2, n, 3), normal(seed + 1, 2, n, c, 2, 2)
    places = 10 * normal(seed + 2, 2, n, 2, 2, 2)
    loss = vicregl(tuple(z), tuple(maps), tuple(places), matches=matches)
    assert close(loss, vicregl(*(tuple(v.flip(0)) for v in (z, maps, places)), matches=matches))
    order = torch.tensor(np.random.default_rng(seed).permutation(n))
    permuted = [tuple(v[:, order]) for v in (z, maps, places)]
    assert close(loss, vicregl(*permuted, matches=matches))
    assert close(loss, vicregl(tuple(z), tuple(maps), tuple(3 * places + 7), matches=matches))
