"""The pull of a loss on a mode, against differences of the loss with the mode written out."""

from fractions import Fraction
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from sslsim.measures.growth import pull_curve, zero_of_pull
from sslsim.objectives import barlow_twins, simclr, spectral_contrastive, vicreg

OBJECTIVES = {
    "barlow_twins": barlow_twins,
    "simclr": partial(simclr, similarity="dot"),
    "vicreg": vicreg,
    "spectral": spectral_contrastive,
}
SEED = st.integers(0, 2**31)
FACTOR = st.floats(1e-3, 1e3)
SPECTRUM = st.sampled_from(["cross", "covariance"])


def embeddings(seed, count=7, dim=3):
    """Two views with means, that differ, and a unit direction that is no eigenvector."""
    rng = np.random.default_rng(seed)
    z = 0.5 * rng.standard_normal((count, dim)) + 0.3 * rng.standard_normal(dim)
    direction = rng.standard_normal(dim)
    return z, z + 0.2 * rng.standard_normal(z.shape), direction / np.linalg.norm(direction)


def scaled(z, z_prime, direction, scale, spectrum):
    """Both views with the function of the mode ``scale`` times as large, sample by sample."""
    views = np.concatenate([z, z_prime])
    mode = np.array([row @ direction for row in views])
    if spectrum == "covariance":
        mode -= mode.mean()
    views = views + np.outer((scale - 1) * mode, direction)
    return views[: len(z)], views[len(z) :]


def near_a_kink(views, width):
    """Whether a dimension is about to reach, or has just left, the hinge of VICReg."""
    deviations = [np.sqrt(view.var(axis=0, ddof=1) + 1e-4) for view in views]
    return bool((np.abs(np.array(deviations) - 1) < width).any())


@pytest.mark.parametrize("method", OBJECTIVES)
@given(seed=SEED, factor=st.floats(0.1, 10.0), spectrum=SPECTRUM)
def test_the_pull_is_the_slope_of_the_loss_as_the_mode_is_scaled(method, seed, factor, spectrum):
    z, z_prime, u = embeddings(seed)
    scale = np.sqrt(factor)
    assume(method != "vicreg" or not near_a_kink(scaled(z, z_prime, u, scale, spectrum), 0.02))

    def loss(at):
        views = scaled(z, z_prime, u, at, spectrum)
        return float(OBJECTIVES[method](*map(torch.from_numpy, views)))

    def slope(width):
        return (loss(scale + width) - loss(scale - width)) / (2 * width)

    width = 1e-3 * scale
    expected = -(4 * slope(width / 2) - slope(width)) / 3 / scale  # to fourth order
    found = pull_curve(
        *map(torch.from_numpy, (z, z_prime, u)), OBJECTIVES[method], [factor], spectrum=spectrum
    )
    assert found.shape == (1,)
    # Rounding of the loss over the width, and what the fourth order leaves.
    size = abs(loss(scale)) / factor
    np.testing.assert_allclose(found.item(), expected, rtol=1e-7, atol=1e-9 * size)


@given(SEED, st.lists(FACTOR, min_size=1, max_size=5))
def test_barlow_twins_pulls_on_its_modes_by_one_minus_lambda(seed, growth):
    """||C - I||^2 has the slope -4 a (1 - a^2) on a mode of the amplitude a, whatever the rest."""
    z, z_prime, _ = embeddings(seed)
    values, vectors = np.linalg.eigh((z.T @ z_prime + z_prime.T @ z) / (2 * len(z)))
    for lam, u in zip(values, vectors.T, strict=True):
        found = pull_curve(*map(torch.from_numpy, (z, z_prime, u.copy())), barlow_twins, growth)
        expected = 4 * lam * (1 - lam * np.array(growth))
        # C is a sum of squares of all embeddings, and rounded by their size.
        size = np.square(z).mean() * (1 + max(growth)) ** 2
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * size)


@given(SEED, FACTOR)
def test_in_the_covariance_a_mode_is_what_varies_about_the_mean_of_both_views(seed, factor):
    z, z_prime, u = embeddings(seed)
    seen = []

    def watched(z, z_prime):
        seen.append(torch.cat([z, z_prime]).detach().numpy())
        return (z.mean(dim=0) + z_prime.mean(dim=0)).square().sum()

    given = [torch.from_numpy(part) for part in (z, z_prime, u)]
    before = np.concatenate([z, z_prime])
    pull = pull_curve(*given, watched, [factor], spectrum="covariance")
    (after,) = seen
    size = np.abs(before).max() * (1 + np.sqrt(factor))
    np.testing.assert_allclose(after.mean(axis=0), before.mean(axis=0), atol=1e-13 * size)
    np.testing.assert_allclose((after @ u).var(), factor * (before @ u).var(), rtol=1e-9)
    # Across the mode nothing changes, and a loss of the mean alone does not pull.
    across = np.eye(3) - np.outer(u, u)
    np.testing.assert_allclose(after @ across, before @ across, atol=1e-13 * size)
    assert abs(pull.item()) <= 1e-12 * size**2 / factor
    assert abs(pull_curve(*given, watched, [1.0]).item()) > 1e-3 * abs(before.mean(axis=0) @ u) ** 2


def test_a_loss_of_one_view_pulls_on_that_one_alone():
    z, z_prime, u = map(torch.from_numpy, embeddings(0))
    found = pull_curve(z, z_prime, u, lambda z, _: z.square().sum(), [0.25, 4.0])
    # Half the slope of s^2 |f|^2 after s^2, twice.
    expected = -2 * (z @ u).square().sum()
    torch.testing.assert_close(found, expected.expand(2), rtol=1e-12, atol=0)
    assert not any(part.requires_grad for part in (found, z, z_prime))


@pytest.mark.parametrize("factor", [0.0, -1.0, float("inf"), float("nan")])
def test_factors_that_are_no_growth_are_refused(factor):
    z, z_prime, u = map(torch.from_numpy, embeddings(0))
    with pytest.raises(ValueError, match=f"growth holds {factor}; expected finite factors above 0"):
        pull_curve(z, z_prime, u, barlow_twins, [1.0, factor])


def test_an_unknown_spectrum_is_refused():
    z, z_prime, u = map(torch.from_numpy, embeddings(0))
    with pytest.raises(ValueError, match="spectrum is 'own'; expected one of cross, covariance"):
        pull_curve(z, z_prime, u, barlow_twins, [1.0], spectrum="own")


LAM = st.lists(st.integers(1, 10**6), min_size=1, max_size=8, unique=True).map(sorted)
PULL = st.integers(-20, 20)


def roots(lam, pull):
    """All eigenvalues at which a line through the points is zero, exactly and in order."""
    found = [Fraction(at) for at, value in zip(lam, pull, strict=True) if value == 0]
    for (left, right), (first, last) in zip(pairwise(lam), pairwise(pull), strict=True):
        if first * last < 0:
            found.append(Fraction(left) - Fraction(first * (right - left), last - first))
    return sorted(found)


@given(LAM, st.data())
def test_the_zero_of_a_pull_is_the_first_root_of_the_line_through_it(lam, data):
    pull = data.draw(st.lists(PULL, min_size=len(lam), max_size=len(lam)))
    found = zero_of_pull(lam, pull)
    assert isinstance(found, float)
    if pull[0] <= 0:
        assert found == lam[0]
    elif min(pull) > 0:
        assert found == np.inf
        assert roots(lam, pull) == []
    else:
        assert found == pytest.approx(float(roots(lam, pull)[0]), rel=1e-14)


def test_a_pull_that_never_falls_or_is_nowhere_has_no_zero():
    assert zero_of_pull([0.1, 0.5], [1.0, 1e-9]) == np.inf
    assert zero_of_pull([], []) == np.inf
    assert zero_of_pull([0.1, 0.5], [0.0, 1.0]) == 0.1
    assert zero_of_pull([0.1, 0.5, 0.9], [1.0, 0.0, 1.0]) == 0.5


def test_the_zero_of_the_pull_of_barlow_twins_is_one():
    z, z_prime, _ = map(torch.from_numpy, embeddings(0))
    values, vectors = torch.linalg.eigh((z.T @ z_prime + z_prime.T @ z) / (2 * len(z)))
    grid = torch.linspace(1.0, 3.0 / float(values[-1]), 8, dtype=torch.float64).tolist()
    pull = pull_curve(z, z_prime, vectors[:, -1], barlow_twins, grid)
    lam = [float(values[-1]) * factor for factor in grid]
    assert zero_of_pull(lam, pull.tolist()) == pytest.approx(1.0, rel=1e-12)
