"""Intervals of eigenvalues and step times: calibration on planted populations, and their parts."""

from statistics import NormalDist

import numpy as np
import pytest
from scipy.special import ndtri

from theory.linear.closed_form import step_times
from theory.linear.initialization import equivalent_initialization
from theory.pairs.gamma import read_pairs
from theory.pairs.moments import Moments, pair_moments
from theory.pairs.planted import SPECTRA, planted_pairs, planted_spectrum
from theory.pairs.spectrum import spectrum
from theory.prediction.uncertainty import EigenvalueEstimate, estimate_eigenvalues, step_intervals

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


def known_eigenvectors(level, gamma=(1.0, 0.25), spread=(0.1, 0.05)):
    """Intervals of modes that do not mix with one another, at singular values 0.01 and 0.02."""
    gamma, spread = np.array(gamma), np.array(spread)
    moments = Moments(gamma, np.zeros((2, 2)), spread**2, False, 10)
    bounds = step_intervals(
        moments, estimate_eigenvalues(moments), np.diag([0.01, 0.02]), np.eye(2), level=level,
        draws=20_000,
    )  # fmt: skip
    return gamma, spread, bounds


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.99])
def test_intervals_have_the_level_that_was_asked(level):
    """Noise is normal on a logarithmic scale: ends are its quantiles, and times those of ends."""
    gamma, spread, bounds = known_eigenvectors(level)
    z = NormalDist().inv_cdf((1 + level) / 2)
    ends = gamma * np.exp(-z * spread / gamma), gamma * np.exp(z * spread / gamma)
    np.testing.assert_allclose(bounds.eigenvalue_low, ends[0], rtol=1e-12)
    np.testing.assert_allclose(bounds.eigenvalue_high, ends[1], rtol=1e-12)
    # An empirical quantile of 20000 is off by z-units of sqrt(p (1 - p) / 20000) / density.
    tail = (1 - level) / 2
    error = 4 * np.sqrt(tail * (1 - tail) / 20_000) / NormalDist().pdf(z)
    for bound, eigenvalue, sign in (
        (bounds.step_time_low, ends[1], 1),
        (bounds.step_time_high, ends[0], -1),
    ):
        near, far = (
            step_times(eigenvalue * np.exp(shift * spread / gamma), [0.01, 0.02])
            for shift in (sign * error, -sign * error)
        )
        assert np.all(np.minimum(near, far) <= bound)
        assert np.all(bound <= np.maximum(near, far))


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
    bounds = step_intervals(moments, estimate, w0, vectors, level=level, draws=draws)
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


def apart(values, spread):
    """Modes that do not mix, with estimates as given, and their intervals."""
    values, spread = np.array(values), np.array(spread)
    nothing = np.zeros((len(values), len(values)))
    estimate = EigenvalueEstimate(values, 0 * values, spread, nothing, np.ones(len(values), bool))
    moments = Moments(values, nothing, spread**2, False, 10)
    w0 = 0.01 * np.eye(len(values))
    return step_intervals(moments, estimate, w0, np.eye(len(values)), draws=2000)


def test_what_the_order_of_eigenvalues_gives_away_is_used():
    """The first is lost in its noise, but the second, no larger, is known to be learned."""
    z = NormalDist().inv_cdf(0.95)
    bounds = apart([1.0, 0.9], [1.0, 0.009])
    sure = 0.9 * np.exp(-z * 0.01)
    np.testing.assert_allclose(bounds.eigenvalue_low, [sure, sure], rtol=1e-12)
    assert bounds.step_time_high[0] == pytest.approx(step_times([sure], [0.01])[0], rel=1e-9)
    # Nor is the second larger than the first.
    bounds = apart([1.0, 0.9], [0.01, 0.5])
    most = np.exp(z * 0.01)
    np.testing.assert_allclose(bounds.eigenvalue_high, [most, most], rtol=1e-12)
    assert np.isinf(apart([1.0, 0.5], [1.0, 0.5]).step_time_high).all()  # neither is known


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


@pytest.mark.parametrize(("spread", "resolved"), [(0.45, True), (0.55, False)])
def test_a_mode_is_resolved_above_two_standard_deviations(spread, resolved):
    moments = Moments(np.array([1.0, 0.0]), np.zeros((1, 2)), np.array([spread**2]), False, 9)
    assert estimate_eigenvalues(moments).resolved.tolist() == [resolved]


def test_a_mode_no_larger_than_the_noise_may_be_as_large_as_it_and_as_early():
    """Half the size of the most negative eigenvalue; the other mode is above it."""
    levels, spread = np.array([1.0, 0.1]), np.array([0.01, 0.02])
    w0 = 0.01 * np.eye(2)
    for own_spread, lost in ((1e-4, True), (1.0, False)):
        moments = Moments(
            levels, np.zeros((2, 2)), spread**2, False, 9, floor=0.2, floor_spread=own_spread
        )
        # A mode is told from noise of its size if it is surer, relative to its size, than that.
        estimate = estimate_eigenvalues(moments)
        assert estimate.resolved.tolist() == [True, not lost]
        bounds = step_intervals(moments, estimate, w0, np.eye(2))
        assert np.isinf(bounds.step_time_high[1]) == lost
        if lost:
            assert bounds.eigenvalue_high[1] == 0.2
            assert bounds.step_time_low[1] == pytest.approx(step_times([0.2], [0.01])[0])
        else:
            assert bounds.eigenvalue_high[1] < 0.2
            assert bounds.step_time_low[1] > 1.1 * step_times([0.2], [0.01])[0]
