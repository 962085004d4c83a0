"""Distances, coding rates and memorisation by mode: sums, invariances, and theory as a witness."""

import numpy as np
import pytest
import torch
from torch import nn

from sslsim.coding_rate import coding_rate, coding_rate_reduction, instance_groups
from sslsim.core.unit_rows import unit_rows
from sslsim.data.datasets import load_images
from sslsim.encoders.build import build_encoder
from sslsim.measures.frozen import FrozenEncoder
from sslsim.memorization.losses import Scoring, encoder_losses
from sslsim.memorization.one_encoder import mode_rates
from sslsim.memorization.one_encoder.mode_rates import (
    coding_rate_by_mode,
    coding_rate_reduction_by_mode,
)
from sslsim.memorization.one_encoder.modes import (
    Modes,
    aligned_modes,
    class_shares,
    covariance_modes,
    distances_by_mode,
    mode_distances,
)
from sslsim.memorization.views import ViewPairs
from theory.memorization.by_mode import leave_one_out_by_mode, losses_by_mode
from theory.memorization.first_order import linear_points

SCORING = Scoring("crops", ("projector",), pairs=5, distance="sqeuclidean")


def rotation(size, seed=0):
    """Random orthogonal matrix."""
    drawn = np.random.default_rng(seed).standard_normal((size, size))
    return torch.as_tensor(np.linalg.qr(drawn)[0])


def normal(*shape, seed=0):
    return torch.as_tensor(np.random.default_rng(seed).standard_normal(shape))


def frozen(seed=0, dim=6):
    encoder = build_encoder("convnet", (1, 8, 8), dim, seed=seed, widths=(8, 8))
    return FrozenEncoder(encoder, None, "crops")


@pytest.mark.parametrize("basis", [torch.eye(6, dtype=torch.float64), rotation(6)])
@pytest.mark.parametrize("normalise", [True, False])
def test_distances_sum_to_the_alignment_losses(basis, normalise):
    images, numbers = load_images(limit=70).images, torch.arange(70) + 40
    scoring = Scoring(
        "crops", ("projector",), pairs=5, distance="sqeuclidean", normalise=normalise
    )  # fmt: skip
    found = distances_by_mode(frozen(), images, scoring, [basis], numbers=numbers)[0]
    expected = encoder_losses([frozen()], images, scoring, numbers=numbers)[0, 0]
    assert found.shape == (70, 6)
    assert float((found >= 0).double().min()) == 1
    torch.testing.assert_close(found.sum(dim=1), expected, rtol=1e-10, atol=1e-12)


def test_rates_sum_to_the_whole_and_no_part_is_negative():
    z = unit_rows(normal(120, 8) * torch.linspace(2.0, 0.1, 8))
    pairs = torch.cat([z, unit_rows(z + 0.2 * normal(120, 8, seed=1))])
    unequal = torch.as_tensor(np.random.default_rng(2).integers(0, 5, 240))
    for basis in (covariance_modes(pairs).basis, rotation(8)):
        rate = coding_rate_by_mode(pairs, basis, 0.3)
        torch.testing.assert_close(rate.sum(), coding_rate(pairs, 0.3), rtol=1e-10, atol=0)
        for groups in (instance_groups(120, views=2), unequal):
            parts = coding_rate_reduction_by_mode(pairs, groups, basis, 0.3)
            whole = coding_rate_reduction(pairs, groups, 0.3)
            torch.testing.assert_close(parts.sum(), whole, rtol=1e-10, atol=1e-12)
            assert float(parts.min()) > -1e-12


def test_groups_are_taken_within_a_limit_of_memory(monkeypatch):
    z, groups, held = normal(320, 400), instance_groups(160, views=2), []
    factorised = torch.linalg.cholesky

    def noted(moments):
        held.append(moments.numel() * moments.element_size())
        return factorised(moments)

    monkeypatch.setattr(torch.linalg, "cholesky", noted)
    basis = torch.eye(400, dtype=torch.float64)
    parts = coding_rate_reduction_by_mode(z, groups, basis, 0.5)
    assert max(held) <= 2**26
    monkeypatch.setattr(mode_rates, "_BYTES", 1)  # a group at a time, however large
    held.clear()
    alone = coding_rate_reduction_by_mode(z, groups, basis, 0.5)
    assert len(held) == 161
    torch.testing.assert_close(alone, parts, rtol=1e-9, atol=1e-12)


def test_rates_of_eigenvectors_are_logarithms_of_eigenvalues():
    z = normal(50, 5) * torch.linspace(1.5, 0.2, 5)
    values, vectors = torch.linalg.eigh(z.T @ z)
    found = coding_rate_by_mode(z, vectors.flip(1), 0.4)
    expected = 0.5 * torch.log1p(5 / (50 * 0.4**2) * values.flip(0))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_a_mode_that_tells_no_group_apart_adds_nothing():
    """Views of an image differ along the second mode alone; all images are alike along it."""
    z = torch.cat([normal(40, 1), torch.ones(40, 1)], dim=1)
    both = torch.cat([z, z * torch.tensor([1.0, -1.0])])
    parts = coding_rate_reduction_by_mode(both, instance_groups(40, views=2), torch.eye(2), 0.5)
    assert parts[0] > 0.1
    # Given the first mode the second is the same for all images, up to the chance of the draw.
    assert parts[1] < 0.2 * parts[0]


def test_rotations_of_the_output_change_nothing():
    z, z_prime, labels = normal(60, 5), normal(60, 5, seed=1), torch.arange(60) % 3
    z, z_prime = z * torch.linspace(2.0, 0.5, 5), z_prime * torch.linspace(2.0, 0.5, 5)
    turn = rotation(5, seed=3)
    plain, turned = covariance_modes(z), covariance_modes(z @ turn)
    torch.testing.assert_close(plain.variance, turned.variance, rtol=1e-10, atol=1e-12)
    for measure in (
        lambda a, b, modes: mode_distances(a, b, modes.basis),
        lambda a, b, modes: coding_rate_by_mode(a, modes.basis, 0.3),
        lambda a, b, modes: coding_rate_reduction_by_mode(a, labels, modes.basis, 0.3),
        lambda a, b, modes: class_shares(a @ modes.basis, labels),
        lambda a, b, modes: aligned_modes(modes, a, b).variance,
    ):
        torch.testing.assert_close(
            measure(z, z_prime, plain), measure(z @ turn, z_prime @ turn, turned),
            rtol=1e-9, atol=1e-10,
        )  # fmt: skip


def test_a_rotated_copy_is_aligned_mode_by_mode():
    z = normal(60, 5) * torch.linspace(2.0, 0.5, 5)
    turn, modes = rotation(5, seed=3), covariance_modes(normal(60, 5))
    aligned = aligned_modes(modes, z, z @ turn)
    torch.testing.assert_close(z @ turn @ aligned.basis, z @ modes.basis, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(aligned_modes(modes, z, z).basis, modes.basis, rtol=0, atol=1e-10)


class Pixels(nn.Module):
    """A linear map of the pixels."""

    layers = ()

    def __init__(self, matrix):
        super().__init__()
        linear = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False, dtype=torch.float64)
        linear.weight = nn.Parameter(torch.as_tensor(matrix.copy()))
        self.backbone = nn.Sequential(nn.Flatten(), linear)
        self.projector = nn.Identity()
        self.forward = self.backbone.forward


def test_scores_of_a_linear_encoder_are_those_of_theory():
    """The encoder of theory, trained with and without an image, scored through the networks."""
    images = load_images(limit=12).images
    trained = ViewPairs(images, torch.arange(12), "crops", 2, 1)
    compared = ViewPairs(images, torch.arange(12), "crops", 4, 0)
    x, x_prime = (np.concatenate(part) for part in zip(*trained, strict=True))
    groups, dim = np.repeat(np.arange(12), 2), 4
    gaps = compared.stacked().flatten(3).numpy()
    # S_x is the mean of (x' - x'')(x' - x'')^T / 2 over the pairs compared: two views, exactly.
    views = np.concatenate([gaps[:, :, 0] - gaps[:, :, 1], gaps[:, :, 1] - gaps[:, :, 0]], axis=1)
    views = views / 2**0.5
    points = linear_points(x, x_prime, dim, augmentations=views, every=True, groups=groups)

    def encoder_of(rows):
        moment = x[rows].T @ x_prime[rows]
        gamma, vectors = np.linalg.eigh((moment + moment.T) / (2 * len(x[rows])))
        learned = (vectors[:, ::-1] / np.sqrt(np.abs(gamma[::-1])))[:, :dim].T
        return FrozenEncoder(Pixels(learned), None, "crops")

    scoring = Scoring("crops", ("backbone",), pairs=4, normalise=False, seed=0)

    def losses(encoder):
        basis = torch.eye(dim, dtype=torch.float64)
        return distances_by_mode(encoder, images, scoring, [basis], dtype=torch.float64)[0].numpy()

    f = losses(encoder_of(np.arange(24)))
    np.testing.assert_allclose(f, losses_by_mode(points), rtol=1e-9)
    exact = leave_one_out_by_mode(points)
    for image in range(12):
        g = losses(encoder_of(np.flatnonzero(groups != image)))
        np.testing.assert_allclose((g - f)[image], exact[image], rtol=1e-7, atol=1e-9)


def test_class_shares_are_those_of_an_analysis_of_variance():
    z, labels = normal(90, 3) + torch.arange(90)[:, None] % 3, torch.arange(90) % 3
    means = torch.stack([z[labels == label].mean(dim=0) for label in range(3)])
    expected = means.var(dim=0, correction=0) / z.var(dim=0, correction=0)
    torch.testing.assert_close(class_shares(z, labels), expected, rtol=1e-10, atol=0)
    assert class_shares(torch.ones(4, 1), torch.arange(4)).tolist() == [0.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mode_distances(torch.ones(2, 3), torch.ones(2, 3), torch.eye(2)), "has shape"),
        (lambda: mode_distances(torch.ones(2, 2), torch.ones(3, 2), torch.eye(2)), "equal ones"),
        (lambda: mode_distances(torch.ones(2, 2), torch.ones(2, 2), torch.ones(2, 2)), "2 off"),
        (lambda: covariance_modes(torch.full((2, 2), torch.nan)), "z"),
        (lambda: coding_rate_by_mode(torch.eye(2), torch.eye(2), 0.0), "eps is 0.0"),
        (
            lambda: coding_rate_reduction_by_mode(
                torch.eye(2), torch.arange(3), torch.eye(2), 1.0
            ),
            "expected 2 whole numbers",
        ),
        (
            lambda: aligned_modes(
                Modes(torch.eye(2), torch.ones(2)), torch.eye(2), torch.ones(3, 2)
            ),
            "z_other",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
