"""Half-rise times recover planted logistic curves."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, logit

from sslsim.measures.steps import half_rise_times

LOGISTIC = st.tuples(st.floats(0.05, 3.0), st.floats(1.0, 99.0), st.floats(0.1, 10.0))


@given(
    st.lists(LOGISTIC, min_size=1, max_size=4),
    st.floats(0.05, 0.95),
    st.lists(st.floats(0.01, 5.0), min_size=2, max_size=30),
)
def test_exact_on_logistic_curves_however_coarse_the_records(modes, level, gaps):
    times = 100 * np.cumsum(gaps) / np.sum(gaps)
    rate, middle, top = np.array(modes).T
    argument = rate * (times[:, None] - middle)
    found = half_rise_times(times, top * expit(argument), level, top)
    exact = middle + logit(level) / rate
    for k in range(len(rate)):
        if exact[k] < times[0] - 1e-9:
            assert found[k] == times[0]
        elif exact[k] > times[-1] + 1e-9:
            assert found[k] == np.inf
        elif times[0] + 1e-9 < exact[k] < times[-1] - 1e-9:
            after = np.searchsorted(times, exact[k])
            steepest = np.abs(argument[after - 1 : after + 1, k]).max()
            # Near its top a curve keeps no more than 1e-16 of its distance from it.
            if steepest < 25:
                assert abs(found[k] - exact[k]) < 1e-11 + 1e-15 * np.exp(steepest) / rate[k]


@given(arrays(np.float64, (6, 2), elements=st.floats(-2, 2)), st.floats(0.05, 0.95))
def test_the_time_lies_where_the_level_is_first_passed(curves, level):
    times = np.arange(6.0) + 5
    for time, curve in zip(half_rise_times(times, curves, level), curves.T, strict=True):
        before = curve[times < time]
        assert np.all(before < level)
        if np.isinf(time):
            assert curve.max() < level
        else:
            assert curve[times >= time].size == 0 or curve[np.ceil(time).astype(int) - 5] >= level


@given(arrays(np.float64, (6, 3), elements=st.floats(0, 1)), st.floats(0.1, 10), st.floats(-5, 5))
def test_times_follow_a_change_of_clock(curves, scale, shift):
    times = np.arange(6.0)
    moved = half_rise_times(scale * times + shift, curves)
    np.testing.assert_allclose(moved, scale * half_rise_times(times, curves) + shift, atol=1e-9)
