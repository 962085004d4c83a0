"""Intervals over images and pairs of encoders, and corrected correlations, on planted scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sslsim.measures.intervals import mean_interval
from sslsim.memorization.outliers import outlier_auc
from sslsim.memorization.statistics import (
    areas,
    corrected_correlation,
    differences,
    two_way_interval,
)

SIZES = (12, 20)


def planted(rng, pairs, of_pair, of_image, of_both):
    """Scores of two sets whose mean difference is one, with known components of variance."""
    sets = []
    for n, mean in zip(SIZES, (1.0, 0.0), strict=True):
        scores = mean + of_pair * rng.standard_normal((pairs, 1))
        scores = scores + of_image * rng.standard_normal(n)
        sets.append(scores + of_both * rng.standard_normal((pairs, n)))
    return sets


def variance(pairs, of_pair, of_image, of_both):
    images = sum(1 / n for n in SIZES)
    return 2 * of_pair**2 / pairs + images * (of_image**2 + of_both**2 / pairs)


COMPONENTS = {
    "pairs": (4, 0.5, 0.1, 0.1),
    "images": (4, 0.0, 1.0, 0.1),
    "interaction": (3, 0.0, 0.0, 1.0),
    "all": (5, 0.3, 0.7, 0.7),
}


@pytest.mark.parametrize("components", COMPONENTS.values(), ids=COMPONENTS)
def test_two_way_errors_are_those_of_planted_components(components):
    rng, pairs = np.random.default_rng(0), components[0]
    found = []
    for seed in range(300):
        scores = planted(rng, *components)
        found.append(two_way_interval(differences(*scores), pairs, SIZES, draws=100, seed=seed))
    squares = np.array([each.standard_error**2 for each in found])
    truth = variance(*components)
    # Never less than over pairs or images alone, it is too large where these are equal by the
    # interaction: by half. The plain joint bootstrap would give three times the truth there.
    floor = 1.47 if components == COMPONENTS["interaction"] else 1.0
    assert squares.mean() / truth == pytest.approx(floor, abs=0.15)
    means = np.array([each.mean for each in found])
    assert means.var() == pytest.approx(truth, rel=0.3)  # what was planted
    covered = np.mean([each.low <= 1 <= each.high for each in found])
    assert 0.86 <= covered <= 0.99


def test_pairs_alone_leave_out_the_chance_of_the_images():
    rng, both, alone = np.random.default_rng(0), [], []
    for seed in range(200):
        upper, lower = planted(rng, 4, 0.05, 1.0, 0.1)
        found = two_way_interval(differences(upper, lower), 4, SIZES, draws=100, seed=seed)
        both.append(found.low <= 1 <= found.high)
        student = mean_interval(upper.mean(axis=1) - lower.mean(axis=1), 0.9)
        alone.append(bool(student.low <= 1 <= student.high))
        assert found.pair_error < found.image_error
    assert np.mean(both) > 0.85
    assert np.mean(alone) < 0.5


@given(st.integers(1, 4), st.integers(0, 2**32 - 1), st.floats(0.1, 10), st.floats(-5, 5))
def test_intervals_move_and_stretch_with_the_scores(pairs, seed, scale, shift):
    rng = np.random.default_rng(seed)
    upper, lower = rng.standard_normal((pairs, 6)), rng.standard_normal((pairs, 5))
    found = two_way_interval(differences(upper, lower), pairs, (6, 5), draws=20)
    assert found.mean == pytest.approx(upper.mean() - lower.mean(), abs=1e-12)
    assert found.low < found.mean < found.high
    other = two_way_interval(
        differences(scale * upper + shift, scale * lower), pairs, (6, 5), draws=20
    )
    assert other.mean == pytest.approx(scale * found.mean + shift)
    assert other.standard_error == pytest.approx(scale * found.standard_error)
    assert np.isnan(found.pair_error) == (pairs == 1)
    if pairs > 1:
        over_pairs = stats.sem(upper.mean(axis=1) - lower.mean(axis=1))
        assert found.pair_error == pytest.approx(over_pairs)
        assert found.standard_error >= max(found.pair_error, found.image_error) - 1e-12


def test_scores_that_do_not_vary_have_intervals_of_no_width():
    found = two_way_interval(differences(np.ones((3, 4)), np.zeros((3, 4))), 3, (4, 4), draws=20)
    assert (found.low, found.mean, found.high) == (1, 1, 1)


@given(st.integers(0, 2**32 - 1))
def test_areas_are_the_shares_of_pairs_of_images(seed):
    rng = np.random.default_rng(seed)
    outliers, ordinary = rng.integers(0, 4, (2, 5)), rng.integers(0, 4, (2, 7))
    (found,) = areas(outliers, ordinary)(np.full((1, 5), 1 / 5), np.full((1, 7), 1 / 7))
    inside = np.arange(12) < 5
    for pair in range(2):
        scores = np.r_[outliers[pair], ordinary[pair]]
        assert found[pair] == pytest.approx(outlier_auc(scores, inside, ~inside), abs=1e-6)


def test_nine_outliers_tell_an_area_to_a_tenth():
    rng = np.random.default_rng(0)
    errors = {}
    for count in (9, 100):
        drawn = [
            two_way_interval(
                areas(rng.standard_normal((2, count)), rng.standard_normal((2, 250))),
                2,
                (count, 250),
                draws=200,
            ).image_error
            for _ in range(20)
        ]
        errors[count] = np.mean(drawn) * 2**0.5  # of one pair
        # Of the rank-sum test: 1 / 12 (1 / n + 1 / m).
        assert errors[count] == pytest.approx(np.sqrt((1 / count + 1 / 250) / 12), rel=0.15)
    assert 0.08 < errors[9] < 0.12


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"level": 1.0}, "level is 1.0"),
        ({"pairs": 0}, "there are 0 pairs"),
        ({"images": (1, 1)}, r"sets of \[1, 1\] images"),
        ({"draws": 2}, "draws is 2; expected at least 10"),
    ],
)
def test_bad_intervals_are_refused(given, message):
    options = {"pairs": 2, "images": (3, 3), **given}
    with pytest.raises(ValueError, match=message):
        two_way_interval(differences(np.zeros((2, 3)), np.zeros((2, 3))), **options)


def studies(rng, n, truth, reliability, other, pairs=2):
    """Scores under pairs of encoders of two studies whose true parts correlate as planted."""
    first = rng.standard_normal(n)
    second = truth * first + np.sqrt(1 - truth**2) * rng.standard_normal(n)
    return (
        np.sqrt(r) * true + np.sqrt(1 - r) * rng.standard_normal((pairs, n))
        for true, r in ((first, reliability), (second, other))
    )


@pytest.mark.parametrize("pairs", [2, 3])
@pytest.mark.parametrize(
    ("truth", "reliability", "other"),
    [(1.0, 0.6, 0.25), (0.5, 0.6, 0.25), (0.0, 0.4, 0.4), (-0.7, 0.8, 0.3)],
)
def test_corrected_correlations_are_those_of_the_true_parts(truth, reliability, other, pairs):
    units, others = studies(np.random.default_rng(1), 20_000, truth, reliability, other, pairs)
    found = corrected_correlation(units, others, draws=10)
    assert found.corrected == pytest.approx(truth, abs=0.05)
    assert found.reliability == pytest.approx(reliability, abs=0.04)
    assert found.other_reliability == pytest.approx(other, abs=0.04)
    weakened = truth * np.sqrt(reliability * other)
    assert found.correlation == pytest.approx(weakened, abs=0.04)


def test_intervals_of_corrected_correlations_cover_the_truth():
    rng, corrected, plain = np.random.default_rng(0), [], []
    for seed in range(100):
        units, others = studies(rng, 150, 0.7, 0.6, 0.4)
        found = corrected_correlation(units, others, draws=60, seed=seed)
        corrected.append(found.low <= 0.69 <= found.high)  # of ranks: 6 / pi asin(0.7 / 2)
        plain.append(found.correlation)
    assert 0.8 <= np.mean(corrected) <= 0.98
    assert np.mean(plain) < 0.4


@given(st.integers(0, 2**32 - 1))
def test_corrected_correlations_are_symmetric_and_blind_to_increasing_maps(seed):
    units, others = studies(np.random.default_rng(seed), 60, 0.8, 0.9, 0.9)
    found = corrected_correlation(units, others, draws=20)
    turned = corrected_correlation(others, units, draws=20)
    assert turned.corrected == pytest.approx(found.corrected)
    assert turned.other_reliability == pytest.approx(found.reliability)
    assert turned.low == pytest.approx(found.low)
    again = corrected_correlation(np.exp(units), others**3, draws=20)
    assert again.corrected == pytest.approx(found.corrected)
    assert again.high == pytest.approx(found.high)


def test_scores_without_reliability_have_no_correction():
    rng = np.random.default_rng(0)
    opposed = np.arange(30.0) * np.array([[1], [-1]])
    found = corrected_correlation(opposed, rng.standard_normal((2, 30)), draws=10)
    assert found.reliability == pytest.approx(-1)
    assert np.isnan([found.corrected, found.low, found.high]).all()
    equal = corrected_correlation(np.zeros((2, 30)), rng.standard_normal((2, 30)), draws=10)
    assert np.isnan([equal.reliability, equal.corrected, equal.low]).all()
    # A reliability that many resamples lose leaves a value without an interval.
    noise = np.random.default_rng(3).standard_normal((2, 2, 12))
    found = corrected_correlation(noise[0] + 0.5 * noise[0, 0], noise[1] + noise[1, 0], draws=200)
    assert np.isfinite(found.corrected)
    assert np.isnan(found.low)


@pytest.mark.parametrize(
    ("units", "others", "message"),
    [
        (np.zeros((1, 9)), np.zeros((2, 9)), "expected at least 2 pairs"),
        (np.zeros((2, 3)), np.zeros((2, 3)), "and 4 images"),
        (np.zeros((2, 9)), np.zeros((2, 8)), "with equal n"),
        (np.full((2, 9), np.nan), np.zeros((2, 9)), "NaN or infinite"),
    ],
)
def test_bad_correlations_are_refused(units, others, message):
    with pytest.raises(ValueError, match=message):
        corrected_correlation(units, others)
