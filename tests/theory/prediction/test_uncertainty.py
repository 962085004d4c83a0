"""Intervals of eigenvalues and step times: calibration on planted populations, and their parts."""

from statistics import NormalDist

import numpy as np
import pytest
from scipy.special import ndtri

from experiments.studies.linear.coverage import digits, measure_coverage, planted
from theory.linear.closed_form import step_times
from theory.pairs.gamma import read_pairs
from theory.pairs.moments import Moments, pair_moments
from theory.pairs.planted import SPECTRA, planted_pairs, planted_spectrum
from theory.pairs.spectrum import spectrum
from theory.prediction.held_out import HeldOut, held_out_eigenvalues
from theory.prediction.uncertainty import EigenvalueEstimate, estimate_eigenvalues, step_intervals

TRIALS = 200
NORMAL_CDF = NormalDist().cdf


@pytest.mark.slow
@pytest.mark.parametrize(("n", "m"), [(100, 100), (600, 60)])
@pytest.mark.parametrize("name", SPECTRA)
def test_intervals_cover_the_population(name, n, m):
    found = measure_coverage(planted(name, m), n, 10, TRIALS)
    exists = np.isfinite(found.truth[1])
    # The last mode may have no gap to the next one, which is not asked for.
    apart = exists & (np.arange(10) < 9)
    for covered in found.covered:
        # With heavy tails 86 % are covered; a share of 200 samples has a standard error of 2.5 %.
        assert np.all(covered[:, apart].mean(axis=0) >= 0.86 - 4 * 0.025)
        assert 0.82 <= covered[found.resolved].mean() <= 0.99
    assert found.resolved[:, 0].mean() > 0.5
    if not exists.all():
        assert np.isinf(found.high[:, ~exists]).mean() >= 0.95


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_both_kinds_of_intervals_have_their_level(level):
    """Between nominal 80 and 90 % lie four standard errors of the mean over modes and samples."""
    found = measure_coverage(planted("geometric", 20), 400, 4, 200, level=level)
    assert found.resolved.mean() > 0.9
    error = np.sqrt(level * (1 - level) / 800)
    for covered in found.covered:
        assert abs(covered.mean() - level) < 3 * error
    missed = [(found.low > found.truth[1]).mean(), (found.high < found.truth[1]).mean()]
    side = (1 - level) / 2
    assert np.all(np.abs(np.subtract(missed, side)) < 4 * np.sqrt(side * (1 - side) / 800))


def test_real_images_are_covered_where_views_disagree():
    """View noise makes modes that stand out by chance: misses were late, by factors of three."""
    found = measure_coverage(digits(), 100, 10, 60)
    assert found.covered.mean(axis=1).min() >= 0.8
    late = found.high < found.truth[1]
    assert late.mean() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", ["power", "spiked", "geometric"])
def test_the_bias_that_is_removed_is_most_of_it(name):
    """Relative errors of 14 % at n = m = 100: their mean over 200 samples is known to 1 %."""
    gamma, errors = planted_spectrum(name, 100)[:3], []
    for r in range(TRIALS):
        pairs = read_pairs(*planted_pairs(name, 100, 100, np.random.default_rng(r)))
        found = spectrum(pairs, 3)
        values = estimate_eigenvalues(pair_moments(pairs, found, 3)).values
        errors.append([found.eigenvalues[:3] / gamma - 1, values / gamma - 1])
    raw, corrected = np.abs(np.mean(errors, axis=0)).max(axis=1)
    assert corrected < 0.05
    assert raw > 2 * corrected


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
        held_out = held_out_eigenvalues(pairs, found, dim)
        assert estimate.separated[0]
        assert held_out.learned[0]
        found_bounds = step_intervals(moments, estimate, held_out, w0[:dim], np.eye(100))
        bounds.append((found_bounds.eigenvalue_low[0], found_bounds.eigenvalue_high[0]))
        early, late = found_bounds.step_time_low[0], found_bounds.step_time_high[0]
        assert late / early < 3
    np.testing.assert_allclose(bounds[0], bounds[1], rtol=0.05)  # quantiles of 1000 draws


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
    held_out = held_out_eigenvalues(pairs, found, 30)
    estimate = estimate_eigenvalues(moments)
    bounds = step_intervals(moments, estimate, held_out, 1e-3 * np.eye(30), found.eigenvectors)
    assert not held_out.learned.any()
    assert np.isinf(bounds.step_time_high).all()
    assert np.all(bounds.eigenvalue_low <= 0)


def test_equal_eigenvalues_are_covered_together():
    """Two equal eigenvalues: neither is told from the other, and both intervals hold both."""
    rng = np.random.default_rng(8)
    z = np.linalg.qr(rng.standard_normal((400, 3)))[0] * [20.0, 20.0, 6.0]  # 1, 1 and 0.09
    pairs = read_pairs(z, z)
    found = spectrum(pairs, 2)
    moments = pair_moments(pairs, found, 2)
    estimate = estimate_eigenvalues(moments)
    assert not estimate.separated.any()
    bounds = step_intervals(
        moments, estimate, held_out_eigenvalues(pairs, found, 2), 1e-3 * np.eye(2, 3),
        found.eigenvectors,
    )  # fmt: skip
    assert np.all(bounds.eigenvalue_low < 1)
    assert np.all(bounds.eigenvalue_high > 1)


def known_eigenvectors(level, draws, gamma=(1.0, 0.25), spread=(0.1, 0.02)):
    """Intervals of modes that do not mix with one another, at singular values 0.01 and 0.02."""
    gamma, spread = np.array(gamma), np.array(spread)
    moments = Moments(gamma, np.zeros((2, 2)), spread**2, False, 10)
    measured = HeldOut(0.9 * gamma, 2 * spread, np.ones(2, dtype=bool))
    bounds = step_intervals(
        moments, estimate_eigenvalues(moments), measured, np.diag([0.01, 0.02]), np.eye(2),
        level=level, draws=draws,
    )  # fmt: skip
    return gamma, spread, measured, bounds


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.99])
def test_intervals_have_the_level_that_was_asked(level):
    """Upper ends are quantiles of the formula, lower ones of it and what was held out by halves."""
    draws = 20_000
    gamma, spread, measured, bounds = known_eigenvectors(level, draws)
    tail = (1 - level) / 2
    error = 4 * np.sqrt(tail * (1 - tail) / draws)
    for j in range(2):
        high = NORMAL_CDF(np.log(bounds.eigenvalue_high[j] / gamma[j]) / (spread / gamma)[j])
        assert high == pytest.approx(1 - tail, abs=error)
        low = NORMAL_CDF(np.log(bounds.eigenvalue_low[j] / gamma[j]) / (spread / gamma)[j])
        low += NORMAL_CDF((bounds.eigenvalue_low[j] - measured.values[j]) / measured.errors[j])
        assert low / 2 == pytest.approx(tail, abs=error)
    # Initial singular values are known, so that times are those of the ends of eigenvalues.
    singular = np.array([0.01, 0.02])
    early, late = (
        step_times(end, singular) for end in (bounds.eigenvalue_high, bounds.eigenvalue_low)
    )
    np.testing.assert_allclose(bounds.step_time_low, early, rtol=5e-3)
    np.testing.assert_allclose(bounds.step_time_high, late, rtol=5e-3)


def drawn_singular_values(w0, angles, level=0.9, draws=20_000, tail=False):
    """Ends of the initial singular values, read off the step times of eigenvalues known exactly."""
    dim = len(w0)
    gamma = np.array([1.0, 0.5, 0.25, 0.125][: dim + 1])
    if tail:
        gamma[-1] = 0.0
    moments = Moments(gamma, np.zeros((dim, dim + 1)), np.zeros(dim), tail, 10)
    values = gamma[:dim]
    estimate = EigenvalueEstimate(
        values, 0 * values, 0 * values, np.array(angles), np.ones(dim, bool)
    )
    vectors = np.eye(w0.shape[1])[:, : dim + 1 - tail]
    exact = HeldOut(values, 0 * values, np.ones(dim, bool))
    bounds = step_intervals(moments, estimate, exact, w0, vectors, level=level, draws=draws)
    # lambda(0) = gamma s^2, and a mode steps at log(1 / lambda(0) - 1) / (8 gamma).
    return [
        np.sqrt(1 / (values * (np.exp(8 * values * time) + 1)))
        for time in (bounds.step_time_high, bounds.step_time_low)
    ]


def within_quantiles(found, simulated, level=0.9, draws=20_000):
    """Whether ends are quantiles of what was simulated, but for the draws of the intervals."""
    for end, tail in zip(found, ((1 - level) / 2, (1 + level) / 2), strict=True):
        error = 4 * np.sqrt(tail * (1 - tail) / draws)
        low, high = np.quantile(simulated, [tail - error, tail + error])
        # Where the distribution has an end of its own, both bounds lie there.
        assert low * (1 - 1e-6) <= end <= high * (1 + 1e-6)


NORMAL = ndtri((np.arange(100_000) + 0.5) / 100_000)  # a standard normal, evenly spread


@pytest.mark.parametrize("second", [[0.0, 0.03], [0.02, 0.03], [-0.02, 0.01]])
def test_two_modes_turn_into_each_other_as_a_rotation_does(second):
    """A rotation of two eigenvectors leaves the area that W(0) spans on them as it was."""
    w0 = np.column_stack([[0.01, 0.005], second, [0.0, 0.0]])
    low, high = drawn_singular_values(w0, [[0.0, 0.5, 0.0], [0.5, 0.0, 0.0]])
    turn = np.arctan(0.5 * NORMAL)
    first = np.linalg.norm(
        np.cos(turn)[:, None] * w0[:, 0] + np.sin(turn)[:, None] * w0[:, 1], axis=1
    )
    area = abs(np.linalg.det(w0[:, :2]))
    within_quantiles((low[0], high[0]), first)
    within_quantiles((low[1], high[1]), area / first)


def test_a_mode_picks_up_the_weights_of_the_directions_it_turns_to():
    angle = 0.3
    w0 = np.array([[0.01, 0.05]])
    found = drawn_singular_values(w0, [[0.0, angle]])
    picked = np.abs(w0[0, 0] + angle * NORMAL * w0[0, 1]) / np.sqrt(1 + angle**2)
    within_quantiles(np.ravel(found), picked)
    # Directions that were not computed share an angle: each has a tenth of its variance.
    rest = 0.01 * np.arange(1, 11)
    found = drawn_singular_values(np.array([[0.01, *rest]]), [[0.0, angle]], tail=True)
    spread = angle * np.sqrt(np.mean(rest**2))
    picked = np.abs(0.01 + spread * NORMAL) / np.sqrt(1 + angle**2)
    within_quantiles(np.ravel(found), picked)


def apart(values, spread, learned, floor=0.0):
    """Intervals of modes that do not mix, whose held-out values agree with the formula's."""
    values, spread = np.array(values), np.array(spread)
    nothing = np.zeros((len(values), len(values)))
    estimate = EigenvalueEstimate(values, 0 * values, spread, nothing, np.ones(len(values), bool))
    moments = Moments(values, nothing, spread**2, False, 10, floor=floor)
    measured = HeldOut(values, spread, np.array(learned))
    w0 = 0.01 * np.eye(len(values))
    return step_intervals(moments, estimate, measured, w0, np.eye(len(values)), draws=2000)


def test_what_the_order_of_eigenvalues_gives_away_is_used():
    """The first is lost in its noise, but the second, no larger, is known to be learned."""
    bounds = apart([1.0, 0.9], [1.0, 0.009], [False, True])
    assert bounds.eigenvalue_low[0] > 0.85
    assert bounds.step_time_high[0] < 1.1 * step_times([0.9], [0.01])[0]
    # Nor is the second larger than the first.
    bounds = apart([1.0, 0.9], [0.01, 0.5], [True, True])
    assert bounds.eigenvalue_high[1] < 1.05
    # If neither is known to be learned, both may never be, and so may all after the last known.
    assert np.isinf(apart([1.0, 0.5], [0.1, 0.1], [False, False]).step_time_high).all()
    bounds = apart([1.0, 0.5, 0.2], [0.01] * 3, [True, False, False])
    assert np.isinf(bounds.step_time_high).tolist() == [False, True, True]
    assert np.all(bounds.eigenvalue_low[1:] <= 0)


def test_what_is_not_learned_may_be_as_large_as_the_noise_and_as_early():
    """A fifth of the size of the most negative eigenvalue."""
    bounds = apart([1.0, 0.04], [0.01, 0.002], [True, False], floor=0.2)
    assert bounds.eigenvalue_high[0] < 1.1
    assert bounds.eigenvalue_high[1] == 0.2
    assert bounds.step_time_low[1] == pytest.approx(step_times([0.2], [0.01])[0])


def test_two_levels_that_repelled_each_other_are_put_back():
    """Eigenvalues of a matrix with a known coupling give back its diagonal."""
    for diagonal, coupling in (([1.0, 0.5], 0.2), ([1.0, 0.1], 0.01), ([3.0, 2.9], 0.5)):
        matrix = np.diag(diagonal) + coupling * (1 - np.eye(2))
        levels = np.linalg.eigvalsh(matrix)[::-1]
        noise = coupling**2 * (1 - np.eye(2))
        found = estimate_eigenvalues(Moments(levels, noise, np.full(2, 1e-4), False, 9))
        np.testing.assert_allclose(found.values, diagonal, rtol=1e-9)
        np.testing.assert_allclose(found.bias, levels - diagonal, rtol=1e-9)


def literal_spread(levels, noise, own, units):
    """The docstrings of the estimate and of its overfit, entry by entry."""

    def shift(gap, v):
        return np.sign(gap) * (abs(gap) - np.sqrt(max(gap**2 - 4 * v, 0.0))) / 2

    dim, kept, owns = len(own), [], []
    for j in range(dim):
        bias = sum(shift(levels[j] - levels[k], noise[j][k]) for k in range(len(levels)) if k != j)
        moment = np.sqrt(own[j] * units - levels[j] ** 2)  # s_j, var(a b) = s_j^2 + gamma_j^2
        less = max(moment - bias, 0.0) if bias > 0 else moment
        kept.append(less / moment)
        value = levels[j] - bias
        ratio = (less**2 + value**2) / (moment**2 + levels[j] ** 2) if bias > 0 else 1.0
        owns.append(own[j] * min(ratio, 1.0))
    for j in range(dim):
        total, doubt = owns[j], 0.0
        for k in range(len(levels)):
            gap = levels[j] - levels[k]
            v = noise[j][k] * kept[j] * (kept[k] if k < dim else 1.0)
            # Uniform over half of the gap at most: (D / 2)^2 / 12.
            total += min(2 * shift(gap, v) ** 2, (gap / 2) ** 2 / 12)
            if v > 0 and np.sqrt(v) > 0.7 * abs(gap):
                doubt = max(doubt, v)
        yield np.sqrt(total + doubt)


@pytest.mark.parametrize("coupling", [0.01, 0.1, 0.3])
def test_the_spread_of_an_eigenvalue_is_its_own_noise_and_that_of_its_bias(coupling):
    levels, own, units = np.array([1.0, 0.6, 0.3, 0.1]), np.array([0.05, 0.02, 0.01]), 50
    noise = coupling**2 * np.array([[0, 1, 2, 3], [1, 0, 4, 1], [2, 4, 0, 1.5]])
    found = estimate_eigenvalues(Moments(levels, noise, own, False, units))
    expected = list(literal_spread(levels, noise, own, units))
    np.testing.assert_allclose(found.spread, expected, rtol=1e-9)
