"""Intervals of eigenvalues and step times: calibration on planted populations, and their parts."""

import numpy as np
import pytest

from theory.closed_form import step_times
from theory.gamma import read_pairs
from theory.initialization import equivalent_initialization
from theory.moments import pair_moments
from theory.planted import SPECTRA, planted_pairs, planted_spectrum
from theory.spectrum import spectrum
from theory.uncertainty import estimate_eigenvalues, step_intervals

DIM, REPLICATIONS = 10, 200


@pytest.mark.slow
@pytest.mark.parametrize(("n", "m"), [(100, 100), (600, 60)])
@pytest.mark.parametrize("name", SPECTRA)
def test_intervals_cover_the_population_where_the_mode_is_resolved(name, n, m):
    gamma = planted_spectrum(name, m)[:DIM]
    covered = np.zeros((REPLICATIONS, DIM), dtype=bool)
    resolved = np.zeros_like(covered)
    bias = np.zeros((2, REPLICATIONS, DIM))
    for r in range(REPLICATIONS):
        rng = np.random.default_rng([r, n, m])
        w0 = 1e-3 * rng.standard_normal((DIM, m))
        truth = step_times(gamma, equivalent_initialization(w0, np.eye(m, DIM))[1])
        pairs = read_pairs(*planted_pairs(name, n, m, rng))
        found = spectrum(pairs, DIM)
        moments = pair_moments(pairs, found, DIM)
        estimate = estimate_eigenvalues(moments)
        bounds = step_intervals(moments, estimate, w0, found.eigenvectors, draws=200, rng=rng)
        covered[r] = (bounds.step_time_low <= truth) & (truth <= bounds.step_time_high)
        resolved[r] = estimate.resolved
        bias[:, r] = found.eigenvalues[:DIM] / gamma - 1, estimate.values / gamma - 1
    # Modes resolved in most samples, so that the flag does not pick lucky ones; a binomial
    # share of 200 has a standard error of 2.1 % and ten modes are read at once.
    often = resolved.mean(axis=0) > 0.5
    assert often[0]
    assert 0.85 <= covered[resolved].mean() <= 0.95
    assert np.all(covered[:, often].mean(axis=0) >= 0.82)  # sixty such shares are read
    assert np.all(covered[:, ~often].mean(axis=0) >= 0.85)
    raw, corrected = np.abs(bias[:, :, often].mean(axis=1)).max(axis=1)
    assert corrected < 0.05  # relative errors of 14 % at n = 100: their mean is known to 1 %
    if n == m:
        assert raw > 4 * corrected


@pytest.mark.slow
def test_bias_is_what_fresh_samples_show():
    """Second order: the mean excess of the sample's eigenvalues at n >> m."""
    gamma = planted_spectrum("geometric", 20)
    excess, stated = [], []
    for r in range(200):
        pairs = read_pairs(*planted_pairs("geometric", 800, 20, np.random.default_rng(r)))
        found = spectrum(pairs, 5)
        excess.append(found.eigenvalues[:5] - gamma[:5])
        stated.append(estimate_eigenvalues(pair_moments(pairs, found, 5)).bias)
    error = np.std(excess, axis=0) / np.sqrt(200)
    assert np.all(np.abs(np.mean(excess, axis=0) - np.mean(stated, axis=0)) < 3 * error)


def test_moments_equal_a_literal_transcription():
    x, x_prime = planted_pairs("power", 40, 7, np.random.default_rng(1))
    pairs = read_pairs(x, x_prime)
    found = spectrum(pairs, 3)
    moments = pair_moments(pairs, found, 3)
    for j in range(3):
        for k in range(7):
            u, v = found.eigenvectors[:, j], found.eigenvectors[:, k]
            entries = [
                (u @ p * (v @ q) + u @ q * (v @ p)) / 2 for p, q in zip(x, x_prime, strict=True)
            ]
            expected = np.mean(np.square(entries)) / 40 if j != k else 0.0
            np.testing.assert_allclose(moments.noise[j, k], expected, rtol=1e-10, atol=1e-15)
            if j == k:
                np.testing.assert_allclose(moments.own[j], np.var(entries) / 40, rtol=1e-10)


def test_groups_of_one_pair_are_pairs_and_copies_add_no_information():
    x, x_prime = planted_pairs("geometric", 60, 8, np.random.default_rng(2))
    pairs = read_pairs(x, x_prime)
    found = spectrum(pairs, 4)
    plain = pair_moments(pairs, found, 4)
    single = pair_moments(pairs, found, 4, np.arange(60)[::-1])
    np.testing.assert_allclose(single.noise, plain.noise, rtol=1e-10)
    np.testing.assert_allclose(single.own, plain.own, rtol=1e-10)
    twice = read_pairs(np.repeat(x, 2, axis=0), np.repeat(x_prime, 2, axis=0))
    copies = pair_moments(twice, found, 4, np.repeat(np.arange(60), 2))
    np.testing.assert_allclose(copies.noise, plain.noise, rtol=1e-10, atol=1e-18)
    np.testing.assert_allclose(copies.own, plain.own, rtol=1e-10)


def test_directions_not_computed_are_lumped_into_a_tail():
    """Top modes alone give nearly the bias that the whole spectrum gives."""
    pairs = read_pairs(*planted_pairs("spiked", 3000, 60, np.random.default_rng(3)))
    whole = estimate_eigenvalues(pair_moments(pairs, spectrum(pairs, 4), 4))
    part = spectrum(pairs, 12, route="krylov")
    assert not part.complete
    lumped = estimate_eigenvalues(pair_moments(pairs, part, 4))
    np.testing.assert_allclose(lumped.bias, whole.bias, rtol=0.1, atol=0.01 * whole.spread.min())


@pytest.mark.parametrize(
    ("groups", "message"),
    [(np.zeros(60, int), "holds 1 unit"), (np.arange(5), "expected one unit a pair")],
)
def test_unfit_groups_are_refused(groups, message):
    pairs = read_pairs(*planted_pairs("power", 60, 8, np.random.default_rng(4)))
    with pytest.raises(ValueError, match=message):
        pair_moments(pairs, spectrum(pairs, 2), 2, groups)


@pytest.mark.slow
def test_the_first_modes_keep_their_intervals_when_many_are_asked_for():
    """Modes lost in noise have wild draws, which must not reach those that stand out."""
    pairs = read_pairs(*planted_pairs("geometric", 100, 100, np.random.default_rng(5)))
    w0 = 1e-3 * np.random.default_rng(6).standard_normal((80, 100))
    bounds = []
    for dim in (4, 80):
        found = spectrum(pairs, dim)
        moments = pair_moments(pairs, found, dim)
        estimate = estimate_eigenvalues(moments)
        assert estimate.resolved[0]
        found_bounds = step_intervals(moments, estimate, w0[:4] if dim == 4 else w0, np.eye(100))
        bounds.append((found_bounds.eigenvalue_low[0], found_bounds.eigenvalue_high[0]))
        early, late = found_bounds.step_time_low[0], found_bounds.step_time_high[0]
        assert late / early < 3
    np.testing.assert_allclose(bounds[0], bounds[1], rtol=0.01)


def test_what_may_be_noise_is_said_to_be_perhaps_never_learned():
    """Views that have nothing in common but noise: none is resolved, any may never be learned."""
    rng = np.random.default_rng(7)
    x, x_prime = rng.standard_normal((2, 60, 30))
    pairs = read_pairs(x, x_prime)
    found = spectrum(pairs, 30)
    moments = pair_moments(pairs, found, 30)
    assert moments.floor == pytest.approx(
        -np.linalg.eigvalsh((x.T @ x_prime + x_prime.T @ x) / 120)[0]
    )
    estimate = estimate_eigenvalues(moments)
    bounds = step_intervals(moments, estimate, 1e-3 * np.eye(30), found.eigenvectors)
    top = found.eigenvalues[0] <= moments.floor
    assert np.isinf(bounds.step_time_high[1:]).mean() > 0.9
    assert top or not estimate.resolved[1:].any()


def test_unresolved_modes_share_their_bounds():
    """Two equal eigenvalues: neither is told from the other, both have one interval."""
    rng = np.random.default_rng(8)
    z = np.linalg.qr(rng.standard_normal((400, 3)))[0] * [20.0, 20.0, 6.0]  # 1, 1 and 0.09
    pairs = read_pairs(z, z)
    found = spectrum(pairs, 2)
    moments = pair_moments(pairs, found, 2)
    estimate = estimate_eigenvalues(moments)
    assert not estimate.resolved.any()
    bounds = step_intervals(moments, estimate, 1e-3 * np.eye(2, 3), found.eigenvectors)
    for name in ("eigenvalue_low", "eigenvalue_high", "step_time_low", "step_time_high"):
        assert getattr(bounds, name)[0] == getattr(bounds, name)[1], name
    assert bounds.eigenvalue_low[0] < 1 < bounds.eigenvalue_high[1]
