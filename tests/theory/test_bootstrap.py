"""Bootstrap intervals: coverage where they are meant to hold, and against the perturbative ones."""

import numpy as np
import pytest

from theory.bootstrap import bootstrap_intervals
from theory.closed_form import step_times
from theory.gamma import read_pairs
from theory.initialization import equivalent_initialization
from theory.moments import pair_moments
from theory.planted import planted_pairs, planted_spectrum
from theory.spectrum import spectrum
from theory.uncertainty import estimate_eigenvalues, step_intervals

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
    formula = step_intervals(moments, estimate_eigenvalues(moments), w0, found.eigenvectors)
    for low, high in [BOUNDS[:2], BOUNDS[2:]]:
        width = getattr(formula, high) - getattr(formula, low)
        for bound in (low, high):
            difference = getattr(resampled, bound) - getattr(formula, bound)
            assert np.all(np.abs(difference) < 0.25 * width), bound


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
