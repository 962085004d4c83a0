"""Student's intervals against a literal transcription, and how often they cover the truth."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from sslsim.measures.intervals import mean_interval


@given(
    arrays(np.float64, st.tuples(st.integers(2, 6), st.integers(1, 3)), elements=st.floats(-9, 9)),
    st.floats(0.5, 0.99),
)
def test_intervals_are_students(sample, level):
    over = mean_interval(sample, level)
    for place, column in enumerate(sample.T):
        assert over.mean[place] == pytest.approx(column.mean(), abs=1e-12)
        assert over.deviation[place] == pytest.approx(column.std(ddof=1), abs=1e-12)
        error = column.std(ddof=1) / np.sqrt(len(column))
        factor = stats.t.ppf(0.5 + level / 2, len(column) - 1)
        assert (over.low[place], over.high[place]) == pytest.approx(
            (column.mean() - factor * error, column.mean() + factor * error), abs=1e-9
        )
    for other in (sample.T, sample.T[None]):
        for name, expected in zip(over._fields, over, strict=True):
            along = np.reshape(getattr(mean_interval(other, level, axis=-1), name), expected.shape)
            np.testing.assert_allclose(along, expected, rtol=1e-12, atol=1e-12)
    # Samples that are missing count for nothing, if they are to be left out.
    for hole in (np.nan, np.inf, -np.inf):
        holed = np.vstack([sample, np.full(sample.shape[1:], hole)])
        for found, expected in zip(
            mean_interval(holed, level, omit_missing=True), over, strict=True
        ):
            np.testing.assert_array_equal(found, expected)
        assert np.isnan(mean_interval(holed, level).low).all()


def test_one_value_has_no_interval_and_none_no_mean():
    over = mean_interval([[1.0, None], [np.nan, np.nan]], 0.9, omit_missing=True)
    assert over.mean.tolist()[0] == 1.0
    assert np.isnan(over.mean[1])
    assert np.isnan([over.low, over.high, over.deviation]).all()
    assert over.n.tolist() == [1, 0]
    assert np.isnan(mean_interval([], 0.9)[:4]).all()


@pytest.mark.parametrize("count", [2, 3, 10])
def test_planted_means_are_covered_as_often_as_the_level_says(count):
    samples = np.random.default_rng(count).normal(3.0, 2.0, size=(count, 20_000))
    for level in (0.5, 0.9):
        over = mean_interval(samples, level)
        covered = np.mean((over.low <= 3.0) & (over.high >= 3.0))
        assert abs(covered - level) < 4 * np.sqrt(level * (1 - level) / 20_000)


@pytest.mark.parametrize("level", [0.0, 1.0, np.nan])
def test_levels_lie_between_zero_and_one(level):
    with pytest.raises(ValueError, match="expected a number between 0 and 1"):
        mean_interval([1.0, 2.0], level)


def test_values_are_numbers():
    with pytest.raises(ValueError, match="values are not an array of numbers"):
        mean_interval(["a"], 0.9)


def test_intervals_cost_no_torch():
    text = "import sys, sslsim.measures.intervals; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == 0
