"""Rank correlations and falls against literal transcriptions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from sslsim.runs.layers.curves import falls_by_other_peaks, rank_correlation

# Few values, so that ties are common.
values = st.integers(4, 12).flatmap(
    lambda k: st.tuples(*[arrays(np.int64, k, elements=st.integers(-5, 5))] * 2)
)


def ranks(x):
    """Share of pairs won, ties for half."""
    return np.array([sum((a > b) + 0.5 * (a == b) for b in x) for a in x])


@given(values)
def test_rank_correlation_is_the_correlation_of_ranks(pair):
    x, y = pair
    found = rank_correlation(x, y)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert np.isnan(found)
        return
    assert found == pytest.approx(np.corrcoef(ranks(x), ranks(y))[0, 1], abs=1e-12)
    assert found == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert -1 - 1e-12 <= found <= 1 + 1e-12
    assert rank_correlation(y, x) == found
    # Blind to increasing maps, turned by decreasing ones.
    assert rank_correlation(np.exp(x), y**3) == pytest.approx(found, abs=1e-12)
    assert rank_correlation(-x, y) == pytest.approx(-found, abs=1e-12)


def test_three_points_correlate_with_nothing():
    assert np.isnan(rank_correlation([1, 2, 3], [1, 2, 3]))


@given(st.integers(2, 5), st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_falls_are_read_where_the_others_peak(runs, count, seed):
    accuracy = np.random.default_rng(seed).random((runs, count))
    found = falls_by_other_peaks(accuracy)
    for run in range(runs):
        others = np.delete(accuracy, run, axis=0).mean(axis=0)
        assert found[run] == accuracy[run, others.argmax()] - accuracy[run, -1]
        assert found[run] <= accuracy[run].max() - accuracy[run, -1]
    # Level and order of the runs are of no account.
    moved = falls_by_other_peaks(accuracy[::-1] + np.arange(runs)[:, None])
    np.testing.assert_allclose(moved[::-1], found, atol=1e-12)


def test_noise_does_not_fall_from_the_peaks_of_others():
    rng = np.random.default_rng(0)
    own, by_others = [], []
    for _ in range(2000):
        accuracy = rng.standard_normal((3, 12))
        own.append((accuracy.max(axis=1) - accuracy[:, -1]).mean())
        by_others.append(falls_by_other_peaks(accuracy).mean())
    error = np.std(by_others) / np.sqrt(len(by_others))
    # Where the others peak at the end, the fall is zero: nothing pulls it to one side but the end's
    # own noise, which they do not share.
    assert abs(np.mean(by_others)) < 4 * error
    assert np.mean(own) > 1  # the expected highest of twelve, 1.63, less zero
