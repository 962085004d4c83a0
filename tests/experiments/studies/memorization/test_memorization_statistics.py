"""Tests of sets of points over pairs of encoders, and agreement of rankings."""

import itertools
import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.results import write_results
from experiments.studies.memorization.settings import scored_images
from sslsim.memorization.losses import ImageScores
from sslsim.memorization.statistics import COMPARISONS, SETS, rank_agreement, split_tests

PLACES = {name: np.arange(10 * i, 10 * i + 10) for i, name in enumerate(SETS)}
SWAPPED = {
    "candidate": PLACES["independent"],
    "independent": PLACES["candidate"],
    "shared": PLACES["shared"],
    "external": PLACES["external"],
}


def draw(pairs=6, memorised=0.5, offset=0.0, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((pairs, 40)) + rng.standard_normal((pairs, 1)) + offset
    scores[:, PLACES["candidate"]] += memorised
    scores[:, PLACES["independent"]] -= memorised
    return scores


def test_comparisons_are_paired_one_sided_tests_over_pairs_of_encoders():
    scores = draw()
    found = split_tests(scores, PLACES)
    for test, (above, below) in zip(found.comparisons, COMPARISONS, strict=True):
        one, other = scores[:, PLACES[above]], scores[:, PLACES[below]]
        expected = stats.ttest_rel(one.mean(axis=1), other.mean(axis=1), alternative="greater")
        assert (test.above, test.below) == (above, below)
        assert test.t == pytest.approx(expected.statistic)
        assert test.p == pytest.approx(expected.pvalue)
        assert test.effect == pytest.approx(test.t / np.sqrt(6))
        assert test.difference / test.standard_error == pytest.approx(test.t)
        effects = [
            (a.mean() - b.mean()) / np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
            for a, b in zip(one, other, strict=True)
        ]
        assert test.point_effect == pytest.approx(np.mean(effects))


def test_sets_of_unequal_size_are_pooled_by_their_points():
    scores, ends = draw(), (0, 3, 10, 30, 40)
    sets = {name: np.arange(*ends[i : i + 2]) for i, name in enumerate(SETS)}
    found = split_tests(scores, sets)
    for test in found.comparisons:
        effects = []
        for one, other in zip(
            scores[:, sets[test.above]], scores[:, sets[test.below]], strict=True
        ):
            squares = sum(np.square(part - part.mean()).sum() for part in (one, other))
            pooled = np.sqrt(squares / (len(one) + len(other) - 2))
            effects.append((one.mean() - other.mean()) / pooled)
        assert test.point_effect == pytest.approx(np.mean(effects))
    shared = scores[:, 10:30].mean(axis=1)
    squares = np.square(shared - shared.mean()).sum()
    assert found.offset == pytest.approx(shared.mean())
    assert found.offset_error == pytest.approx(np.sqrt(squares / 5 / 6))  # of six pairs


def test_an_offset_of_every_pair_of_encoders_is_reported_and_drops_out():
    plain, moved = (split_tests(draw(offset=offset), PLACES) for offset in (0.0, 7.0))
    assert moved.offset - plain.offset == pytest.approx(7)
    assert moved.offset_error == pytest.approx(plain.offset_error)
    for one, other in zip(plain.comparisons, moved.comparisons, strict=True):
        assert one.p == pytest.approx(other.p)
        assert one.difference == pytest.approx(other.difference)


def test_independent_points_are_the_candidates_of_the_exchanged_pair():
    scores = draw(memorised=1.0)
    found, exchanged = split_tests(scores, PLACES), split_tests(-scores, SWAPPED)
    # S_C over S_S of (f, g) is S_S over S_I of (g, f), and so on.
    for i, j in ((0, 2), (1, 3), (2, 0), (3, 1)):
        assert found.comparisons[i].p == pytest.approx(exchanged.comparisons[j].p)
        assert found.comparisons[i].difference == pytest.approx(exchanged.comparisons[j].difference)
    assert exchanged.offset == pytest.approx(-found.offset)


def test_encoders_exchanged_by_mistake_are_warned_of():
    with pytest.warns(UserWarning, match="they seem to be swapped"):
        split_tests(-draw(memorised=1.0), PLACES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split_tests(draw(memorised=0.0), PLACES)


def test_p_values_are_uniform_where_nothing_is_memorised():
    found = [split_tests(draw(5, 0.0, seed=seed), PLACES).comparisons for seed in range(200)]
    for i in range(4):
        assert stats.kstest([tests[i].p for tests in found], "uniform").pvalue > 0.001


def test_equal_scores_are_evidence_of_nothing():
    found = split_tests(np.zeros((3, 40)), PLACES)
    assert all(
        (test.p, test.effect, test.point_effect) == (0.5, 0, 0) for test in found.comparisons
    )
    planted = np.zeros((3, 40))
    planted[:, PLACES["candidate"]] = 1.0
    assert split_tests(planted, PLACES).comparisons[0].p == 0


def test_kendall_s_tau_counts_pairs():
    rng = np.random.default_rng(0)
    one, other = rng.permutation(15.0 * np.ones(15).cumsum()), rng.standard_normal(15)
    signs = [
        np.sign(one[i] - one[j]) * np.sign(other[i] - other[j])
        for i, j in itertools.combinations(range(15), 2)
    ]
    assert rank_agreement(one, other, 3).tau == pytest.approx(np.mean(signs))
    assert rank_agreement(one, 3 * one - 1, 4).tau == pytest.approx(1)
    assert rank_agreement(one, -one, 4).tau == pytest.approx(-1)


def test_overlap_of_random_rankings_is_that_of_chance():
    rng = np.random.default_rng(0)
    found = [rank_agreement(*rng.standard_normal((2, 30)), 6) for _ in range(400)]
    overlaps = np.array([each.overlap for each in found])
    assert {each.chance for each in found} == {0.2}
    assert abs(overlaps.mean() - 0.2) < 4 * overlaps.std() / 20
    # The probability of reaching what was found is at most the level as often as the level says.
    p = np.array([each.chance_p for each in found])
    for level in (0.05, 0.3):
        assert np.mean(p <= level) <= level + 4 * np.sqrt(level / 400)


@pytest.mark.parametrize("common", [0, 1, 2, 3])
def test_chance_reaches_an_overlap_as_often_as_sets_of_three_out_of_seven_do(common):
    one, other = np.arange(7.0), np.zeros(7)
    other[[*range(6, 6 - common, -1), *range(3 - common)]] = 1.0  # some of the top, then others
    sets = itertools.combinations(range(7), 3)
    reached = [len({4, 5, 6} & set(drawn)) >= common for drawn in sets]
    found = rank_agreement(one, other + 0.01 * one, 3)
    assert found.overlap == pytest.approx(common / 3)
    assert found.chance_p == pytest.approx(np.mean(reached))


def test_the_overlap_of_ties_is_the_same_every_time():
    tied = np.zeros(6)
    found = rank_agreement(tied, [0, 0, 0, 1, 1, 1], 3)
    assert found.overlap == 0
    assert np.isnan(found.tau)
    assert rank_agreement(tied, tied, 3).overlap == 1


def test_results_of_planted_scores_are_those_of_their_pairs_and_kinds(tmp_path):
    """Agreement of pairs is between different ones; outliers are told by how often they win."""
    options = MemorizationOptions(
        shared=8, candidates=12, independent=6, external=5, limit=60, atypical=0.5, encoder_pairs=3
    )
    images, rng = scored_images(options), np.random.default_rng(0)
    n = len(images.images)
    units = rng.standard_normal((1, 3, n)).round(1)  # some ties
    scored = ImageScores(
        units.mean(axis=1), units.std(axis=1), units, np.zeros((6, 1, n)), np.ones((6, n), bool)
    )
    found = write_results(tmp_path, replace(options, layers=("projector",)), images, scored, {}, {})
    candidates = units[0][:, images.sets["candidate"].numpy()]
    taus = [
        rank_agreement(candidates[i], candidates[j], 1).tau
        for i, j in itertools.combinations(range(3), 2)
    ]
    assert found["sets"][0]["agreement_of_pairs"] == pytest.approx(np.mean(taus))
    assert max(taus) < 0.9
    sets, kinds = images.set_codes(), images.atypical.numpy()
    for code, name in enumerate(SETS):
        told = found["atypical"][name]["any"]
        planted, others = (sets == code) & (kinds > 0), (sets == code) & (kinds == 0)
        assert told["points"] == planted.sum()

        def auc(scores, planted=planted, others=others):
            gaps = scores[planted][:, None] - scores[others]
            return np.mean((gaps > 0) + 0.5 * (gaps == 0))

        assert told["auc"] == pytest.approx(auc(scored.scores[0]))
        aucs = np.array([auc(unit) for unit in units[0]])
        np.testing.assert_allclose(told["units"], aucs)
        low, high = stats.t.interval(0.9, 2, loc=aucs.mean(), scale=stats.sem(aucs))
        told = [told[key] for key in ("mean", "low", "high")]
        np.testing.assert_allclose(told, [aucs.mean(), low, high])


SCORES = draw()
BAD = [
    ({"scores": SCORES[:1]}, "expected .pairs, n. with 2 pairs of encoders or more"),
    ({"scores": SCORES[0]}, r"scores has shape \(40,\)"),
    ({"scores": SCORES * np.nan}, "NaN or infinite"),
    ({"splits": {"candidate": [0, 1]}}, "expected candidate, independent, shared, external"),
    ({"splits": {**PLACES, "shared": [20]}}, r"shared has shape \(1,\)"),
    ({"splits": {**PLACES, "shared": [0.5, 1.5]}}, "type float64"),
    ({"splits": {**PLACES, "shared": [20, 40]}}, "places from 20 to 40; expected some of 0 to 39"),
    ({"splits": {**PLACES, "shared": [20, 5]}}, "point 5 is in the sets twice"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message for _, message in BAD])
def test_split_tests_refuse(change, message):
    with pytest.raises(ValueError, match=message) as error:
        split_tests(**{"scores": SCORES, "splits": PLACES, **change})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("scores", "others", "k", "message"),
    [
        ([1.0, 2.0], [1.0], 1, "expected equal shapes"),
        ([1.0], [1.0], 1, "n of at least 2"),
        ([1.0, 2.0], [1.0, 2.0], 0, "k is 0; expected a whole number from 1 to 2"),
        ([1.0, np.nan], [1.0, 2.0], 1, "NaN or infinite"),
    ],
)
def test_rank_agreement_refuses(scores, others, k, message):
    with pytest.raises(ValueError, match=message):
        rank_agreement(scores, others, k)
