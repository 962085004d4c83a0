"""Objectives of two views against literal transcriptions, finite differences and planted minima."""

import importlib
import math

import numpy as np
import pytest
import torch
from forward_mode import FORWARD

from sslsim.objectives import barlow_twins, simclr, spectral_contrastive, supervised, vicreg
from sslsim.objectives._common import off_diagonal

# The functions carry the names of their modules.
BARLOW = importlib.import_module("sslsim.objectives._barlow_twins")
VICREG = importlib.import_module("sslsim.objectives._vicreg")

SHAPES = [(5, 3), (3, 5), (3, 8), (2, 1), (2, 2), (2, 7), (4, 4)]
PAIRS = {
    "barlow theory": barlow_twins,
    "barlow theory lam": lambda a, b: barlow_twins(a, b, lam=0.3),
    "barlow published": lambda a, b: barlow_twins(a, b, form="published"),
    "vicreg": vicreg,
    "vicreg halved": lambda a, b: vicreg(a, b, halve_variance=True, cov=4.0),
    "simclr cosine": lambda a, b: simclr(a, b, temperature=0.3),
    "simclr dot": lambda a, b: simclr(a, b, similarity="dot", temperature=2.0),
    "spectral": spectral_contrastive,
    "spectral include": lambda a, b: spectral_contrastive(a, b, diagonal="include"),
}


def views(n, d, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, d, generator=generator, dtype=torch.float64)
    other = z + 0.5 * torch.randn(n, d, generator=generator, dtype=torch.float64)
    return scale * z, scale * other


def literal_barlow(z, z_prime, form, lam):
    n, d = z.shape
    if form == "published":
        z = (z - z.mean(0)) / z.std(0)  # numpy's is the biased one
        z_prime = (z_prime - z_prime.mean(0)) / z_prime.std(0)
    loss = 0.0
    for i in range(d):
        for j in range(d):
            c = sum(z[b, i] * z_prime[b, j] for b in range(n)) / n
            if form == "theory":
                c = (c + sum(z_prime[b, i] * z[b, j] for b in range(n)) / n) / 2
            loss += (1 - c) ** 2 if i == j else lam * c**2
    return loss


def literal_vicreg(z, z_prime, sim=25.0, std=25.0, cov=1.0, eps=1e-4):
    n, d = z.shape
    loss = sim * sum(np.sum((z[b] - z_prime[b]) ** 2) for b in range(n)) / (n * d)
    for view in (z, z_prime):
        for j in range(d):
            loss += std / d * max(0.0, 1 - math.sqrt(np.var(view[:, j], ddof=1) + eps))
        covariance = np.cov(view.T, ddof=1).reshape(d, d)
        for i in range(d):
            for j in range(d):
                loss += cov / d * covariance[i, j] ** 2 * (i != j)
    return loss


def literal_simclr(z, z_prime, similarity, temperature):
    both = np.concatenate([z, z_prime])
    n = len(z)

    def sim(a, b):
        return a @ b / (np.linalg.norm(a) * np.linalg.norm(b) if similarity == "cosine" else 1)

    loss = 0.0
    for i in range(2 * n):
        j = i + n if i < n else i - n
        below = sum(math.exp(sim(both[i], both[k]) / temperature) for k in range(2 * n) if k != i)
        loss -= math.log(math.exp(sim(both[i], both[j]) / temperature) / below)
    return loss / (2 * n)


def literal_spectral(z, z_prime, diagonal):
    n = len(z)
    attract = sum(z[i] @ z_prime[i] for i in range(n)) / n
    pairs = [(i, j) for i in range(n) for j in range(n) if diagonal == "include" or i != j]
    return -2 * attract + sum((z[i] @ z_prime[j]) ** 2 for i, j in pairs) / len(pairs)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_losses_are_their_literal_transcriptions(n, d):
    z, z_prime = views(n, d, seed=n + 10 * d)
    a, b = z.numpy(), z_prime.numpy()
    cases = [
        (barlow_twins(z, z_prime), literal_barlow(a, b, "theory", 1.0)),
        (barlow_twins(z, z_prime, lam=0.3), literal_barlow(a, b, "theory", 0.3)),
        (barlow_twins(z, z_prime, form="published"), literal_barlow(a, b, "published", 5e-3)),
        (barlow_twins(z, z_prime, form="published", lam=2), literal_barlow(a, b, "published", 2)),
        (vicreg(z, z_prime), literal_vicreg(a, b)),
        (vicreg(z, z_prime, sim=1, std=2, cov=3, eps=0.1), literal_vicreg(a, b, 1, 2, 3, 0.1)),
        (vicreg(z, z_prime, halve_variance=True), literal_vicreg(a, b, std=12.5)),
        (simclr(z, z_prime), literal_simclr(a, b, "cosine", 0.5)),
        (simclr(z, z_prime, similarity="dot"), literal_simclr(a, b, "dot", 0.5)),
        (spectral_contrastive(z, z_prime), literal_spectral(a, b, "exclude")),
        (
            spectral_contrastive(z, z_prime, diagonal="include"),
            literal_spectral(a, b, "include"),
        ),
    ]
    for index, (found, exact) in enumerate(cases):
        assert abs(float(found) - exact) < 1e-12 * (1 + abs(exact)), index


def test_cross_entropy_is_its_literal_transcription():
    logits, _ = views(6, 4)
    labels = torch.tensor([0, 3, 1, 1, 2, 0])
    p = np.exp(logits.numpy())
    exact = -np.mean([math.log(p[i, c] / p[i].sum()) for i, c in enumerate(labels.tolist())])
    assert abs(float(supervised(logits, labels)) - exact) < 1e-14
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: supervised(x, labels), logits)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(("n", "d"), [(4, 3), (3, 8), (3, 4), (3, 1)])
def test_gradients_are_those_of_finite_differences(name, n, d):
    # A scale at which the hinge of VICReg is active in some dimensions and none at its kink.
    z, z_prime = (v.requires_grad_() for v in views(n, d, seed=3, scale=0.8))
    assert torch.autograd.gradcheck(PAIRS[name], (z, z_prime))
    assert torch.autograd.gradgradcheck(PAIRS[name], (z, z_prime))


@FORWARD
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_simclr_has_the_derivatives_of_every_transform(similarity):
    (z, z_prime), (dz, _) = views(4, 3), views(4, 3, seed=1)

    def loss(z):
        return simclr(z, z_prime, similarity=similarity)

    first, second = torch.func.grad(loss)(z), torch.func.jacrev(torch.func.grad(loss))(z)
    _, along = torch.func.jvp(loss, (z,), (dz,))
    torch.testing.assert_close(along, (first * dz).sum(), rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.func.hessian(loss)(z), second, rtol=1e-10, atol=1e-13)
    stack = torch.stack([z, 2 * z + dz])
    each = torch.stack([torch.func.grad(loss)(one) for one in stack])
    together = torch.func.vmap(torch.func.grad(loss))(stack)
    torch.testing.assert_close(together, each, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", PAIRS)
def test_half_precision_is_lifted_and_float64_kept(name):
    z, z_prime = views(5, 4)
    exact = PAIRS[name](z, z_prime)
    assert exact.dtype == torch.float64
    single = PAIRS[name](z.float(), z_prime.float())
    assert single.dtype == torch.float32
    assert abs(single.double() - exact) < 1e-5 * (1 + abs(exact))
    for half in (torch.float16, torch.bfloat16):
        found = PAIRS[name](z.to(half), z_prime.to(half))
        assert found.dtype == torch.float32
        assert found == PAIRS[name](z.to(half).float(), z_prime.to(half).float())


def test_few_samples_in_many_dimensions_make_no_square_matrix(monkeypatch):
    def refuse(*_):
        raise AssertionError("a d x d matrix was formed")

    for module, name in [
        (BARLOW, "_theory_full"),
        (BARLOW, "_published_full"),
        (VICREG, "_covariance_full"),
    ]:
        monkeypatch.setattr(module, name, refuse)
    z, z_prime = views(3, 7)
    barlow_twins(z, z_prime)
    barlow_twins(z, z_prime, form="published")
    vicreg(z, z_prime)
    with pytest.raises(AssertionError):
        vicreg(*views(7, 7))


def test_single_precision_of_the_gram_side_at_training_size():
    z, z_prime = views(64, 1024)
    for loss in (barlow_twins, PAIRS["barlow published"], vicreg):
        exact = float(loss(z, z_prime))
        assert abs(float(loss(z.float(), z_prime.float())) - exact) < 2e-5 * abs(exact)


def test_the_minima():
    q = torch.linalg.qr(views(6, 4)[0])[0]
    white = math.sqrt(6) * q
    assert barlow_twins(white, white) < 1e-28
    assert barlow_twins(torch.zeros(3, 4), torch.zeros(3, 4)) == 4
    assert abs(spectral_contrastive(white, white, diagonal="include") + 4) < 1e-13
    centred = torch.linalg.qr(views(6, 3)[0] - views(6, 3)[0].mean(0))[0] * 3.0
    assert vicreg(centred, centred) < 1e-25
    assert barlow_twins(centred, centred, form="published") < 1e-25
    # Views opposite on the sphere and apart from all others.
    z = torch.eye(4, dtype=torch.float64)
    assert abs(simclr(z, z, temperature=1.0) - math.log(1 + 6 / math.e)) < 1e-14
    assert abs(simclr(torch.ones(4, 2), torch.ones(4, 2)) - math.log(7)) < 1e-6


def test_vicreg_terms_vanish_one_by_one():
    z, z_prime = views(6, 3)
    only = {"sim": 0.0, "std": 0.0, "cov": 0.0}
    assert vicreg(z, z, **{**only, "sim": 1.0}) == 0
    assert vicreg(10 * z, 10 * z_prime, **{**only, "std": 1.0}) == 0
    column = torch.cat([z[:, :1], torch.zeros(6, 2)], 1)
    assert vicreg(column, column, **{**only, "cov": 1.0}) == 0
    collapsed = torch.ones(6, 3).double()
    assert abs(vicreg(collapsed, collapsed, **{**only, "std": 1.0}) - 2 * 0.99) < 1e-14


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("d", [3, 40])
def test_constant_dimensions_count_as_zero_in_published_barlow_twins(dtype, d):
    z, z_prime = (v.to(dtype) for v in views(11, d))
    # Means of eleven equal square roots are off by a rounding error or two.
    constant = torch.arange(1, 30).to(dtype).sqrt().expand(11, -1)
    z = torch.cat([z, constant], 1).requires_grad_()
    z_prime = torch.cat([z_prime, z_prime[:, :1].square().expand(-1, 29)], 1)
    loss = barlow_twins(z, z_prime, form="published")
    b = (z[:, :d] - z[:, :d].mean(0)) / z[:, :d].std(0, correction=0)
    a = (z_prime - z_prime.mean(0)) / z_prime.std(0, correction=0)
    c = b.T @ a / 11
    expected = 29 + (1 - c.diagonal()).square().sum()
    expected = expected + 5e-3 * (c.square().sum() - c.diagonal().square().sum())
    assert abs(loss - expected) < 100 * torch.finfo(dtype).eps * expected
    gradient = torch.autograd.grad(loss, z)[0]
    assert (gradient[:, d:] == 0).all()
    assert torch.isfinite(gradient).all()


def test_published_barlow_twins_at_small_scale_is_that_at_unit_scale():
    z, z_prime = views(8, 3)
    small = barlow_twins(1e-6 * z, 1e-6 * z_prime, form="published")
    assert abs(small - barlow_twins(z, z_prime, form="published")) < 1e-12


def test_logits_far_apart_do_not_overflow():
    z, z_prime = (v.float() for v in views(4, 3, scale=100.0))
    assert torch.isfinite(simclr(z, z_prime, similarity="dot", temperature=0.01))
    zero = torch.zeros(4, 3, requires_grad=True)
    loss = simclr(zero, z_prime)
    assert torch.isfinite(torch.autograd.grad(loss, zero)[0]).all()


def test_an_excluded_diagonal_is_unbiased():
    # All batches of 3 out of a population of 5, whose exact loss is over different samples.
    from itertools import permutations

    z, z_prime = views(5, 2)
    losses = [spectral_contrastive(z[list(p)], z_prime[list(p)]) for p in permutations(range(5), 3)]
    assert abs(sum(losses) / len(losses) - spectral_contrastive(z, z_prime)) < 1e-13


@pytest.mark.parametrize("d", [1, 2, 5])
def test_off_diagonal_entries(d):
    m = torch.arange(2.0 * d * d).reshape(2, d, d)
    expected = [[float(m[s, i, j]) for i in range(d) for j in range(d) if i != j] for s in (0, 1)]
    assert off_diagonal(m).reshape(2, -1).tolist() == expected


@pytest.mark.parametrize("loss", [barlow_twins, vicreg, simclr, spectral_contrastive])
def test_unfit_pairs_are_refused(loss):
    z = torch.ones(3, 2)
    with pytest.raises(ValueError, match=r"z \(3, 2\), z_prime \(3, 4\); expected \(n, d\)"):
        loss(z, torch.ones(3, 4))
    with pytest.raises(ValueError, match="expected n >= 2"):
        loss(z[:1], z[:1])
    with pytest.raises(ValueError, match="d >= 1"):
        loss(z[:, :0], z[:, :0])
    with pytest.raises(ValueError, match=r"expected \(n, d\)"):
        loss(z[0], z[0])
    with pytest.raises(ValueError, match=r"torch\.int64; expected floating point"):
        loss(z.long(), z.long())


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        (barlow_twins, {"form": "centred"}, "form is 'centred'; expected one of theory, published"),
        (barlow_twins, {"lam": -1.0}, "lam is -1.0; expected"),
        (barlow_twins, {"lam": math.nan}, "lam is nan; expected"),
        (vicreg, {"sim": -1.0}, "sim is"),
        (vicreg, {"std": math.inf}, "std is"),
        (vicreg, {"cov": -2.0}, "cov is"),
        (vicreg, {"eps": 0.0}, "eps is 0.0; expected a finite number above zero"),
        (simclr, {"similarity": "l2"}, "similarity is 'l2'; expected one of cosine, dot"),
        (simclr, {"temperature": 0.0}, "temperature is 0.0"),
        (spectral_contrastive, {"diagonal": True}, "diagonal is True; expected one of"),
    ],
)
def test_unfit_options_are_refused(loss, options, message):
    with pytest.raises(ValueError, match=message):
        loss(torch.ones(3, 2), torch.ones(3, 2), **options)


def test_unfit_labels_are_refused():
    with pytest.raises(ValueError, match=r"expected int64 of shape \(3,\)"):
        supervised(torch.ones(3, 2), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected int64"):
        supervised(torch.ones(3, 2), torch.zeros(3))
    assert supervised(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64)) == math.log(2)
