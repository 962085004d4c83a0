"""Objectives with targets: literal transcriptions, finite differences, and stopped gradients."""

import math

import numpy as np
import pytest
import torch

from sslsim.objectives import (
    byol,
    dino,
    dino_center,
    lejepa,
    mae,
    map_places,
    moco_v3,
    sigreg,
    simsiam,
    sinkhorn,
    swav,
    vicreg,
    vicregl,
)


def normal(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def softmax(row):
    weights = [math.exp(v - max(row)) for v in row]
    return np.array(weights) / sum(weights)


def cross_entropy(target, logits):
    return float(np.mean([-(t @ np.log(softmax(x))) for t, x in zip(target, logits, strict=True)]))


def literal_codes(scores, eps, iterations):
    q = np.exp((scores - scores.max()) / eps).T  # prototypes in rows, as in the paper
    for _ in range(iterations):
        q = q / q.sum(1, keepdims=True) / len(q)
        q = q / q.sum(0, keepdims=True) / q.shape[1]
    return (q * q.shape[1]).T


@pytest.mark.parametrize(("n", "d"), [(2, 1), (5, 3), (3, 8)])
def test_byol_is_its_literal_transcription(n, d):
    outputs = [normal(n, d, seed=s) for s in range(4)]
    p, p_prime, t, t_prime = (v.numpy() for v in outputs)
    exact = 0.0
    for online, target in ((p, t_prime), (p_prime, t)):
        for a, b in zip(online, target, strict=True):
            exact += np.sum((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2) / n
    assert abs(float(byol(*outputs)) - exact) < 1e-13


@pytest.mark.parametrize(("n", "d"), [(2, 1), (5, 3), (3, 8)])
def test_simsiam_is_its_literal_transcription(n, d):
    outputs = [normal(n, d, seed=s) for s in range(4)]
    p, p_prime, t, t_prime = (v.tolist() for v in outputs)
    exact = 0.0
    for online, target in ((p, t_prime), (p_prime, t)):
        for a, b in zip(online, target, strict=True):
            product = sum(x * y for x, y in zip(a, b, strict=True))
            exact -= product / math.hypot(*a) / math.hypot(*b) / (2 * n)
    assert abs(float(simsiam(*outputs)) - exact) < 1e-13
    assert abs(float(byol(*outputs)) / 4 - 1 - exact) < 1e-13


@pytest.mark.parametrize(("n", "d"), [(2, 1), (5, 3), (3, 8)])
@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_moco_v3_is_its_literal_transcription(n, d, temperature):
    outputs = [normal(n, d, seed=s) for s in range(4)]
    p, p_prime, t, t_prime = ((v / v.norm(dim=1, keepdim=True)).numpy() for v in outputs)
    exact = 0.0
    for query, key in ((p, t_prime), (p_prime, t)):
        chosen = [softmax([q @ k / temperature for k in key])[i] for i, q in enumerate(query)]
        exact -= 2 * temperature * np.mean(np.log(chosen))
    assert abs(float(moco_v3(*outputs, temperature=temperature)) - exact) < 1e-13
    options = {"temperature": 0.2}
    assert moco_v3(*outputs) == moco_v3(*outputs, **options)


def test_moco_v3_of_equal_cosines_is_the_logarithm_of_the_batch():
    same = torch.ones(5, 3)
    for temperature in (0.2, 1.0):
        loss = moco_v3(*[same] * 4, temperature=temperature)
        assert float(loss) == pytest.approx(4 * temperature * math.log(5), rel=1e-6)


def unit_columns(d, m, seed=0):
    drawn = normal(d, m, seed=seed)
    return drawn / drawn.norm(dim=0)


def literal_sigreg(z, directions):
    """The published rule: complex exponentials, all 17 points, numpy's trapezoid."""
    t = np.linspace(-5, 5, 17)
    gaussian = np.exp(-0.5 * t**2)
    statistics = []
    for a in directions.T:
        mean = np.mean([np.exp(1j * t * (row @ a)) for row in z], axis=0)
        statistics.append(np.trapezoid(np.abs(mean - gaussian) ** 2 * gaussian, t) * len(z))
    return np.mean(statistics)


@pytest.mark.parametrize(("n", "d", "m"), [(2, 1, 1), (5, 3, 4), (3, 8, 2)])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_sigreg_is_its_literal_transcription(n, d, m, scale):
    z, directions = scale * normal(n, d), unit_columns(d, m, seed=1)
    exact = literal_sigreg(z.numpy(), directions.numpy())
    assert abs(float(sigreg(z, directions)) - exact) < 1e-12 * n


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_lejepa_is_its_literal_transcription(count, lam):
    embeddings, directions = [normal(5, 3, seed=s) for s in range(count)], unit_columns(3, 4)
    arrays = np.stack([z.numpy() for z in embeddings])
    prediction = np.mean((arrays - arrays[:2].mean(0)) ** 2)
    regularity = np.mean([literal_sigreg(z, directions.numpy()) for z in arrays])
    exact = (1 - lam) * prediction + lam * regularity
    assert abs(float(lejepa(embeddings, directions, lam=lam)) - exact) < 1e-12
    assert lejepa(embeddings, directions) == lejepa(embeddings, directions, lam=0.05)


def test_sigreg_is_small_for_a_gaussian_and_grows_with_samples_of_anything_else():
    """Of the Gaussian it has a mean that does not depend on n; of a uniform one it grows as n."""
    directions = unit_columns(3, 64)
    # The mean of n |mean - phi|^2 is 1 - phi^2: sqrt(2 pi) - sqrt(2 pi / 3).
    expected = math.sqrt(2 * math.pi) - math.sqrt(2 * math.pi / 3)
    means = {}
    for n in (50, 800):
        values = [float(sigreg(normal(n, 3, seed=s), directions)) for s in range(40)]
        error = np.std(values) / math.sqrt(len(values))
        assert abs(np.mean(values) - expected) < 4 * error + 1e-3
        flat = [torch.special.ndtr(normal(n, 3, seed=s)) * math.sqrt(12) for s in range(5)]
        means[n] = np.mean([float(sigreg(z, directions)) for z in flat])
    assert means[800] > 10 * means[50]


@pytest.mark.parametrize(("n", "k"), [(2, 1), (5, 3), (3, 8)])
@pytest.mark.parametrize("iterations", [1, 3])
def test_codes_are_the_literal_iteration(n, k, iterations):
    scores = normal(n, k)
    exact = literal_codes(scores.numpy(), 0.5, iterations)
    found = sinkhorn(scores, eps=0.5, iterations=iterations)
    assert np.abs(found.numpy() - exact).max() < 1e-13


@pytest.mark.parametrize("count", [2, 4])
def test_swav_is_its_literal_transcription(count):
    scores = [torch.tanh(normal(5, 3, seed=s)) for s in range(count)]
    arrays = [s.numpy() for s in scores]
    terms = [
        cross_entropy(literal_codes(arrays[i], 0.05, 3), arrays[v] / 0.1)
        for i in range(2)
        for v in range(count)
        if v != i
    ]
    assert abs(float(swav(scores)) - np.mean(terms)) < 1e-12


def test_codes_are_finite_where_exponentials_are_not():
    scores = 1e4 * normal(6, 4, dtype=torch.float32)
    codes = sinkhorn(scores)
    assert torch.isfinite(codes).all()
    assert (codes.sum(1) - 1).abs().max() < 1e-6
    # A prototype far below all others, and a sample far below all others.
    scores[:, 0] -= 1e6
    scores[0] -= 1e7
    assert (sinkhorn(scores).sum(1) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("count", [2, 5])
def test_dino_is_its_literal_transcription(count):
    student = [normal(4, 3, seed=s) for s in range(count)]
    teacher = [normal(4, 3, seed=10 + s) for s in range(2)]
    center = normal(3, seed=20)
    terms = []
    for i, output in enumerate(teacher):
        target = [softmax(row / 0.3) for row in (output - center).numpy()]
        terms += [cross_entropy(target, s.numpy() / 0.7) for v, s in enumerate(student) if v != i]
    found = dino(student, teacher, center, student_temperature=0.7, teacher_temperature=0.3)
    assert abs(float(found) - np.mean(terms)) < 1e-13


def test_default_temperatures_of_dino():
    student, teacher = [normal(4, 3), normal(4, 3, seed=1)], [normal(4, 3, seed=2)] * 2
    options = {"student_temperature": 0.1, "teacher_temperature": 0.04}
    center = torch.zeros(3).double()
    assert dino(student, teacher, center) == dino(student, teacher, center, **options)


def test_the_centre_is_an_exponential_mean_and_a_new_tensor():
    center, teacher = normal(3), [normal(4, 3, seed=1), normal(4, 3, seed=2)]
    before = center.clone()
    found = dino_center(center, teacher)
    exact = 0.9 * before.numpy() + 0.1 * np.concatenate([t.numpy() for t in teacher]).mean(0)
    assert np.abs(found.numpy() - exact).max() < 1e-15
    assert torch.equal(center, before)
    assert not dino_center(center, [t.requires_grad_() for t in teacher]).requires_grad
    assert dino_center(center.float(), teacher).dtype == torch.float32


@pytest.mark.parametrize("normalize", [True, False])
def test_mae_is_its_literal_transcription(normalize):
    prediction, patches = normal(2, 5, 4), 3 + 2 * normal(2, 5, 4, seed=1)
    masked = torch.tensor([[4, 0, 1], [2, 3, 0]])
    exact = []
    for i, row in enumerate(masked.tolist()):
        for place in row:
            target = patches[i, place].numpy()
            if normalize:
                target = (target - target.mean()) / math.sqrt(target.var(ddof=1) + 1e-6)
            exact += ((prediction[i, place].numpy() - target) ** 2).tolist()
    found = mae(prediction, patches, masked, normalize=normalize)
    assert abs(float(found) - np.mean(exact)) < 1e-13


def test_visible_patches_do_not_count():
    prediction, patches = normal(2, 5, 4), normal(2, 5, 4, seed=1)
    masked = torch.tensor([[0, 1], [1, 0]])
    loss = mae(prediction, patches, masked)
    prediction[:, 2:], patches[:, 2:] = torch.nan, torch.nan
    assert mae(prediction, patches, masked) == loss
    flat = torch.ones(1, 2, 3).double()
    assert mae(torch.zeros_like(flat), flat, torch.tensor([[0]])) == 0  # constant patches


def test_gradients_are_those_of_finite_differences_with_targets_held_fixed():
    a, b, c, d = (normal(4, 3, seed=s) for s in range(4))
    p, q = (v.clone().requires_grad_() for v in (a, b))
    for loss in (byol, moco_v3, simsiam):
        assert torch.autograd.gradcheck(lambda x, y, loss=loss: loss(x, y, c, d), (p, q))
    directions = unit_columns(3, 5)
    for scale in (1e-2, 1.0, 3.0):
        z, w = (scale * v.detach() for v in (p, q))
        pair = (z.requires_grad_(), w.requires_grad_())
        assert torch.autograd.gradcheck(lambda x, y: lejepa([x, y, x * y], directions), pair)
    center = normal(3, seed=9)
    assert torch.autograd.gradcheck(lambda x, y: dino([x, y, x + y], [c, d], center), (p, q))
    patches, masked = normal(2, 4, 3, seed=5), torch.tensor([[0, 2], [3, 1]])
    prediction = normal(2, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: mae(x, patches, masked), prediction)
    # Codes of the first two views stay: perturb crops by finite differences, and the full views
    # against the literal loss with codes of the unperturbed ones.
    crop = normal(4, 3, seed=7).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: swav([a, b, x, 2 * x]), crop)
    codes = sinkhorn(a), sinkhorn(b)

    def fixed(x, y):
        logs = [torch.log_softmax(s / 0.1, 1) for s in (x, y, crop.detach())]
        pairs = [(0, 1), (0, 2), (1, 0), (1, 2)]
        return -sum((codes[i] * logs[v]).sum(1).mean() for i, v in pairs) / 4

    found = torch.autograd.grad(swav([p, q, crop.detach()]), (p, q))
    for one, other in zip(found, torch.autograd.grad(fixed(p, q), (p, q)), strict=True):
        assert (one - other).abs().max() < 1e-13


def test_no_gradient_flows_into_targets():
    a, b, c, d = (normal(4, 3, seed=s).requires_grad_() for s in range(4))
    center = normal(3, seed=9).requires_grad_()
    patches = normal(2, 4, 3).requires_grad_()
    prediction = normal(2, 4, 3, seed=1).requires_grad_()
    for loss, inputs in [
        (byol(a, b, c, d), (c, d)),
        (moco_v3(a, b, c, d), (c, d)),
        (simsiam(a, b, c, d), (c, d)),
        (lejepa([a, b], c.T), (c,)),
        (dino([a, b], [c, d], center), (c, d, center)),
        (mae(prediction, patches, torch.tensor([[0], [1]])), (patches,)),
    ]:
        assert torch.autograd.grad(loss, inputs, allow_unused=True) == (None,) * len(inputs)
    assert not sinkhorn(a).requires_grad


def literal_local(maps, places, matches, sim, std, cov, eps):
    """The local part, image by image and place by place."""

    def listed(array):  # (n, c, h, w) -> for each image its places in reading order
        n, _, h, w = array.shape
        return [[array[i, :, y, x] for y in range(h) for x in range(w)] for i in range(n)]

    features = [listed(m.numpy()) for m in maps]
    where = [listed(np.moveaxis(p.numpy(), 3, 1)) for p in places]
    total = 0.0
    for one, two in ((0, 1), (1, 0)):
        for by in (where, features):
            kept = []
            for i in range(len(maps[0])):
                pairs = []
                for p, position in enumerate(by[one][i]):
                    gaps = [np.linalg.norm(position - other) for other in by[two][i]]
                    pairs.append((min(gaps), p, int(np.argmin(gaps))))
                best = sorted(pairs)[:matches]
                kept.append(sorted((p, q) for _, p, q in best))
            slots = len(kept[0])
            for s in range(slots):
                a = torch.tensor(np.array([features[one][i][k[s][0]] for i, k in enumerate(kept)]))
                b = torch.tensor(np.array([features[two][i][k[s][1]] for i, k in enumerate(kept)]))
                total += float(vicreg(a, b, sim=sim, std=std, cov=cov, eps=eps)) / slots / 2
    return total


@pytest.mark.parametrize("matches", [1, 4, 99])
@pytest.mark.parametrize(("n", "c"), [(4, 3), (3, 6)])
def test_vicregl_is_its_literal_transcription(n, c, matches):
    embeddings = normal(n, 4), normal(n, 4, seed=1)
    maps = normal(n, c, 3, 2, seed=2), normal(n, c, 2, 2, seed=3)
    places = 10 * normal(n, 3, 2, 2, seed=4), 10 * normal(n, 2, 2, 2, seed=5)
    weights = {"sim": 3.0, "std": 2.0, "cov": 0.5, "eps": 1e-2}
    found = vicregl(embeddings, maps, places, alpha=0.3, matches=matches, **weights)
    exact = 0.3 * float(vicreg(*embeddings, **weights))
    exact += 0.7 * literal_local(maps, places, matches, **weights)
    assert abs(float(found) - exact) < 1e-12 * exact
    assert vicregl(embeddings, maps, places, alpha=1.0) == vicreg(*embeddings)
    options = {"alpha": 0.75, "matches": 20}
    assert vicregl(embeddings, maps, places) == vicregl(embeddings, maps, places, **options)


def test_of_equally_near_places_the_first_are_kept():
    n, embeddings = 3, (normal(3, 4), normal(3, 4, seed=1))
    maps = normal(n, 2, 3, 4, seed=2), normal(n, 2, 3, 4, seed=3)
    places = (map_places(torch.tensor([[0.0, 0.0, 12.0, 12.0, 0.0]] * n), 3, 4).double(),) * 2
    weights = {"sim": 3.0, "std": 2.0, "cov": 0.5, "eps": 1e-2}
    found = vicregl(embeddings, maps, places, alpha=0.0, matches=5, **weights)
    exact = literal_local(maps, places, 5, **weights)
    assert abs(float(found) - exact) < 1e-12 * exact


def test_gradients_of_vicregl():
    n = 3
    places = 10 * normal(n, 2, 2, 2, seed=4), 10 * normal(n, 2, 3, 2, seed=5)
    inputs = [
        normal(n, 4),
        normal(n, 4, seed=1),
        normal(n, 2, 2, 2, seed=2),
        normal(n, 2, 2, 3, seed=3),
    ]
    inputs = [v.requires_grad_() for v in inputs]
    assert torch.autograd.gradcheck(
        lambda z, y, m, k: vicregl((z, y), (m, k), places, matches=3), inputs
    )


def test_places_of_two_crops_of_one_image_match():
    """A map that reads off coordinates: matched by place, features are equal, flipped or not."""
    boxes = torch.tensor([[2.0, 4.0, 8.0, 8.0, 0.0]]).double()
    flipped = torch.tensor([[2.0, 4.0, 8.0, 8.0, 1.0]]).double()
    one, two = map_places(boxes, 4, 4), map_places(flipped, 4, 4)
    assert torch.equal(one, two.flip(2))
    assert one[0, 0, 0].tolist() == [3.0, 5.0]
    assert one[0, 3, 3].tolist() == [9.0, 11.0]
    boxes, flipped = boxes.expand(3, 5), flipped.expand(3, 5)
    places = map_places(boxes, 4, 4), map_places(flipped, 4, 4)
    maps = tuple(p.permute(0, 3, 1, 2) for p in places)
    z = normal(3, 2)
    assert vicregl((z, z), maps, places, alpha=0.0, std=0.0, cov=0.0) == 0
    unrelated = places[0], places[0]
    half = vicregl((z, z), maps, unrelated, alpha=0.0, std=0.0, cov=0.0)
    assert half > 1  # features still match, places do not


def test_half_precision_is_lifted():
    half = [normal(4, 3, seed=s).half() for s in range(4)]
    found = [
        byol(*half),
        moco_v3(*half),
        simsiam(*half),
        lejepa(half, torch.eye(3)),
        swav(half),
        sinkhorn(half[0]),
        dino(half, half[:2], torch.zeros(3)),
        mae(half[0][None], half[1][None], torch.tensor([[0]])),
        vicregl(
            (half[0], half[1]),
            (half[0][..., None, None], half[1][..., None, None]),
            (torch.zeros(4, 1, 1, 2).half(),) * 2,
        ),
    ]
    assert all(loss.dtype == torch.float32 for loss in found)


Z = torch.ones(3, 2)
MAPS, PLACES = torch.ones(3, 4, 2, 2), torch.ones(3, 2, 2, 2)
BAD = {
    "byol shapes": (lambda: byol(Z, Z, Z, torch.ones(3, 4)), r"target_prime \(3, 4\); expected"),
    "byol one": (lambda: byol(Z[:1], Z[:1], Z[:1], Z[:1]), "n >= 2"),
    "simsiam shapes": (lambda: simsiam(Z, Z, Z, torch.ones(3, 4)), r"target_prime \(3, 4\); exp"),
    "simsiam one": (lambda: simsiam(Z[:1], Z[:1], Z[:1], Z[:1]), "n >= 2"),
    "moco shapes": (lambda: moco_v3(Z, Z, Z, torch.ones(3, 4)), r"target_prime \(3, 4\); exp"),
    "moco temperature": (lambda: moco_v3(Z, Z, Z, Z, temperature=0), "temperature is 0"),
    "sigreg directions": (
        lambda: sigreg(Z, torch.eye(3)),
        r"directions have shape \(3, 3\); expected \(2, m\)",
    ),
    "sigreg one": (lambda: sigreg(Z[:1], torch.eye(2)), "n >= 2"),
    "lejepa one view": (lambda: lejepa([Z], torch.eye(2)), "embeddings has 1 views; expected 2"),
    "lejepa weight": (lambda: lejepa([Z, Z], torch.eye(2), lam=1.5), "lam is 1.5"),
    "swav one view": (lambda: swav([Z]), "scores has 1 views; expected 2"),
    "swav shapes": (lambda: swav([Z, Z, Z[:2]]), r"scores\[2\] \(2, 2\); expected"),
    "swav temperature": (lambda: swav([Z, Z], temperature=0), "temperature is 0"),
    "sinkhorn eps": (lambda: sinkhorn(Z, eps=0), "eps is 0"),
    "sinkhorn iterations": (lambda: sinkhorn(Z, iterations=0), "iterations is 0"),
    "sinkhorn one": (lambda: sinkhorn(Z[:1]), "n >= 2"),
    "dino teacher": (lambda: dino([Z, Z], [Z], Z[0]), "teacher has 1 views; expected the two"),
    "dino student": (lambda: dino([Z], [Z, Z], Z[0]), "student has 1 views"),
    "dino shapes": (lambda: dino([Z, Z], [Z[:2], Z[:2]], Z[0]), r"teacher \(2, 2\)"),
    "dino center": (lambda: dino([Z, Z], [Z, Z], Z), r"center has shape \(3, 2\); expected \(2,\)"),
    "dino temperature": (
        lambda: dino([Z, Z], [Z, Z], Z[0], teacher_temperature=-1),
        "teacher_temperature is -1",
    ),
    "center momentum": (lambda: dino_center(Z[0], [Z, Z], momentum=1.5), "momentum is 1.5"),
    "center shape": (lambda: dino_center(Z[:, 0], [Z, Z]), r"expected \(2,\)"),
    "mae shapes": (lambda: mae(MAPS[0], MAPS[1, :2], Z.long()), r"expected \(n, l, p\)"),
    "mae type": (lambda: mae(MAPS[0], MAPS[1], torch.ones(4, 1)), r"expected int64 .* \(4, m\)"),
    "mae none": (lambda: mae(MAPS[0], MAPS[1], torch.ones(4, 0).long()), "m from 1 to 2"),
    "mae rows": (lambda: mae(MAPS[0], MAPS[1], torch.ones(3, 1).long()), r"\(4, m\)"),
    "mae one value": (
        lambda: mae(MAPS[0][..., :1], MAPS[1][..., :1], torch.zeros(4, 1).long()),
        "one value",
    ),
    "mae eps": (lambda: mae(MAPS[0], MAPS[1], torch.ones(4, 1).long(), eps=0), "eps is 0"),
    "vicregl alpha": (
        lambda: vicregl((Z, Z), (MAPS, MAPS), (PLACES, PLACES), alpha=2),
        "alpha is 2",
    ),
    "vicregl matches": (
        lambda: vicregl((Z, Z), (MAPS, MAPS), (PLACES, PLACES), matches=0),
        "matches is 0",
    ),
    "vicregl maps": (
        lambda: vicregl((Z, Z), (MAPS, MAPS[:2]), (PLACES, PLACES)),
        r"maps have shape \(2, 4, 2, 2\); expected \(3, c, h, w\)",
    ),
    "vicregl places": (
        lambda: vicregl((Z, Z), (MAPS, MAPS), (PLACES, PLACES[:, :1])),
        r"places have shape \(3, 1, 2, 2\); expected \(3, 2, 2, 2\)",
    ),
    "vicregl channels": (
        lambda: vicregl((Z, Z), (MAPS, MAPS[:, :1]), (PLACES, PLACES)),
        "maps have 4 and 1 channels",
    ),
    "boxes": (lambda: map_places(Z, 1, 1), r"boxes have shape \(3, 2\); expected \(n, 5\)"),
    "boxes type": (lambda: map_places(torch.ones(2, 5).long(), 1, 1), "floating point"),
    "map size": (lambda: map_places(torch.ones(2, 5), 0, 1), "the map is 0 x 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_unfit_arguments_are_refused(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()
