"""Half-rise times of recorded curves."""

import numpy as np
import pytest

from sslsim.measures.steps import half_rise_times


def test_a_curve_that_never_rises_has_an_infinite_time():
    times = np.arange(4.0)
    curves = np.stack([[0, 0.1, 0.2, 0.49], [-1, -0.5, -0.2, 0], [0.1, 0.2, 0.3, 0.6]], axis=1)
    found = half_rise_times(times, curves)
    assert np.isinf(found[:2]).all()
    assert 2 < found[2] < 3


def test_a_curve_that_starts_above_has_the_first_time():
    assert half_rise_times([3.0, 4.0], [[0.5, 0.7], [0.2, 0.9]]).tolist() == [3.0, 3.0]


def test_the_first_of_several_passages_counts():
    curve = [[0.25], [0.75], [0.25], [0.75]]
    assert half_rise_times([0, 1, 2, 3], curve) == pytest.approx([0.5], abs=1e-15)


def test_a_record_at_the_level_is_the_passage():
    assert half_rise_times([0, 1, 2], [[0.1], [0.5], [0.9]]) == pytest.approx([1.0], abs=1e-15)


@pytest.mark.parametrize(("before", "after"), [(-0.5, 1.5), (0.0, 0.8), (0.2, 1.0)])
def test_beyond_the_range_of_a_logistic_the_curve_is_interpolated_linearly(before, after):
    expected = 10 + 2 * (0.5 - before) / (after - before)
    assert half_rise_times([10, 12], [[before], [after]]) == pytest.approx([expected], abs=1e-12)


def test_every_curve_may_have_its_own_height():
    times = np.linspace(0, 10, 41)
    shape = 1 / (1 + np.exp(-2 * (times - 4.1)))
    found = half_rise_times(times, np.stack([shape, 0.25 * shape, 7 * shape], 1), top=[1, 0.25, 7])
    assert found == pytest.approx([4.1] * 3, abs=1e-12)


def test_one_record_is_enough():
    assert half_rise_times([1.0], [[0.2, 0.7]]).tolist() == [np.inf, 1.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 0], [[0], [1]]), "ascend"),
        (([0, 0], [[0], [1]]), "ascend"),
        (([0, 1], [[0], [np.nan]]), "NaN"),
        (([0, np.inf], [[0], [1]]), "infinite"),
        (([0, 1], [0, 1]), r"shape \(2,\)"),
        (([0, 1, 2], [[0], [1]]), r"shape \(3,\)"),
        (([], np.zeros((0, 1))), r"shape \(0,\)"),
        (([0, 1], [[0], [1]], 1.0), "level is 1.0"),
        (([0, 1], [[0], [1]], 0.5, 0.0), "top is 0.0"),
        (([0, 1], [[0], [1]], 0.5, [1, 1]), "each of the 1 curves"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        half_rise_times(*arguments)
