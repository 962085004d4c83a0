"""Bootstrap intervals: coverage where they are meant to hold, and against the perturbative ones."""

import numpy as np
import pytest

from theory.linear.closed_form import step_times
from theory.linear.initialization import equivalent_initialization
from theory.pairs.gamma import read_pairs
from theory.pairs.moments import pair_moments
from theory.pairs.planted import planted_pairs, planted_spectrum
from theory.pairs.spectrum import spectrum
from theory.prediction.bootstrap import bootstrap_intervals
from theory.prediction.held_out import held_out_eigenvalues
from theory.prediction.uncertainty import estimate_eigenvalues, step_intervals

BOUNDS = ("eigenvalue_low", "eigenvalue_high", "step_time_low", "step_time_high")


@pytest.mark.slow
def test_intervals_cover_the_population_where_pairs_abound():
    dim, m, replications = 3, 10, 80
    gamma = planted_spectrum("spiked", m)[:dim]
    covered = np.zeros((2, replications, dim), dtype=bool)
    for r in range(replications):
        rng = np.random.default_rng(r)
        w0 = 1e-3 * rng.standard_normal((dim, m))
        truth = step_times(gamma, equivalent_initialization(w0, np.eye(m, dim))[1])
        x, x_prime = planted_pairs("spiked", 800, m, rng)
        found = bootstrap_intervals(x, x_prime, w0, draws=100, rng=rng)
        covered[0, r] = (found.eigenvalue_low <= gamma) & (gamma <= found.eigenvalue_high)
        covered[1, r] = (found.step_time_low <= truth) & (truth <= found.step_time_high)
    # 240 intervals each, standard error 1.9 %, and 100 draws place a 5 % quantile coarsely.
    assert np.all(covered.mean(axis=(1, 2)) >= 0.83)
    assert np.all(covered.mean(axis=(1, 2)) <= 0.96)


@pytest.mark.slow
def test_bootstrap_and_perturbation_agree_where_pairs_abound():
    x, x_prime = planted_pairs("geometric", 3000, 12, np.random.default_rng(0))
    w0 = 1e-3 * np.random.default_rng(1).standard_normal((3, 12))
    resampled = bootstrap_intervals(x, x_prime, w0, draws=400)
    pairs = read_pairs(x, x_prime)
    found = spectrum(pairs, 3)
    moments = pair_moments(pairs, found, 3)
    measured = held_out_eigenvalues(pairs, found, 3)
    estimate = estimate_eigenvalues(moments)
    formula = step_intervals(moments, estimate, measured, w0, found.eigenvectors)
    for low, high in [BOUNDS[:2], BOUNDS[2:]]:
        width = getattr(formula, high) - getattr(formula, low)
        for bound in (low, high):
            difference = getattr(resampled, bound) - getattr(formula, bound)
            assert np.all(np.abs(difference) < 0.25 * width), bound


def modes(x, x_prime, w0, center):
    """Eigenvalues and step times from the definitions."""
    if center:
        mean = (x.mean(axis=0) + x_prime.mean(axis=0)) / 2
        x, x_prime = x - mean, x_prime - mean
    gamma = (x.T @ x_prime + x_prime.T @ x) / (2 * len(x))
    values, vectors = np.linalg.eigh(gamma)
    values, vectors = values[::-1][: len(w0)], vectors[:, ::-1][:, : len(w0)]
    s0 = np.abs(np.diag(np.linalg.qr(w0 @ vectors)[1]))
    return values, np.log(1 / (values * s0**2) - 1) / (8 * values)


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_ends_are_the_sample_squared_over_quantiles_of_resamples(center, level):
    x, x_prime = planted_pairs("geometric", 60, 4, np.random.default_rng(7))
    x, x_prime = x + 0.5, x_prime + 0.5
    w0 = 1e-3 * np.random.default_rng(8).standard_normal((2, 4))
    found = bootstrap_intervals(x, x_prime, w0, center=center, level=level, draws=100, rng=9)
    value, rng = modes(x, x_prime, w0, center), np.random.default_rng(9)
    again = []
    for _ in range(100):
        rows = rng.integers(60, size=60)
        again.append(modes(x[rows], x_prime[rows], w0, center))
    again = np.sort(again, axis=0)
    tail = round(50 * (1 - level))  # of a hundred, so many miss the interval on either side
    low, high = again[tail - 1], again[100 - tail - 1]
    told = np.array([getattr(found, bound) for bound in BOUNDS]).reshape(2, 2, 2)
    for which in (0, 1):  # eigenvalues, times
        np.testing.assert_allclose(told[which, 0], value[which] ** 2 / high[which], rtol=1e-8)
        np.testing.assert_allclose(told[which, 1], value[which] ** 2 / low[which], rtol=1e-8)


@pytest.mark.slow
def test_images_are_drawn_with_all_their_pairs():
    """Copies of every pair leave the intervals of the images alone, and narrow those of pairs."""
    x, x_prime = planted_pairs("geometric", 150, 6, np.random.default_rng(2))
    w0 = 1e-3 * np.eye(2, 6)
    copies = np.repeat(x, 4, axis=0), np.repeat(x_prime, 4, axis=0)
    single = bootstrap_intervals(x, x_prime, w0, draws=300, rng=5)
    images = np.repeat(np.arange(150), 4)
    grouped = bootstrap_intervals(*copies, w0, groups=images, draws=300, rng=5)
    naive = bootstrap_intervals(*copies, w0, draws=300, rng=5)
    for bound in BOUNDS:
        np.testing.assert_allclose(getattr(grouped, bound), getattr(single, bound), rtol=1e-9)
    width, narrow = (found.eigenvalue_high - found.eigenvalue_low for found in (single, naive))
    assert np.all(narrow < 0.7 * width)  # half, for four times as many


def test_what_resamples_do_not_tell_is_said():
    """The second direction holds noise that agrees in half of all samples: never, perhaps."""
    rng = np.random.default_rng(3)
    x, x_prime = (rng.standard_normal((300, 1)) * [1.0, 0.0] for _ in range(2))
    x_prime[:, 0] = x[:, 0]
    x[:, 1], x_prime[:, 1] = rng.standard_normal((2, 300))
    found = bootstrap_intervals(x, x_prime, 1e-3 * np.eye(2))
    assert np.isfinite(found.step_time_high[0])
    assert (found.step_time_low[1], found.step_time_high[1]) == (0.0, np.inf)
    assert (found.eigenvalue_low[1], found.eigenvalue_high[1]) == (-np.inf, np.inf)


def test_dimensions_without_data_are_never_known():
    x = np.random.default_rng(4).standard_normal((50, 1)) * [1.0, 0.0, 0.0]
    found = bootstrap_intervals(x, x, 1e-3 * np.eye(3))
    assert np.isfinite(found.step_time_high[0])
    assert np.all(np.isinf(found.step_time_high[1:]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 1.0}, "level is 1.0; expected a probability"),
        ({"draws": 20}, "draws is 20"),
        ({"groups": [0, 1]}, r"groups has shape \(2,\)"),
    ],
)
def test_bad_options_are_refused(options, message):
    x = np.random.default_rng(0).standard_normal((30, 3))
    with pytest.raises(ValueError, match=message):
        bootstrap_intervals(x, x, np.eye(2, 3), **options)
