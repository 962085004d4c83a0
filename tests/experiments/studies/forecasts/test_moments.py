"""When forecasts are made, and which mode is next in line."""

import numpy as np
import pytest
from forecasts import planted

from experiments.studies.forecasts.moments import ahead_moved, crossings, mode_ahead, modes_left


def test_a_mode_is_forecast_where_it_first_passes_a_size():
    rise = planted([[3e-5], [2e-4], [5e-4], [2e-3], [4e-4], [3e-3], [0.05], [0.3], [0.9]])
    assert crossings(rise) == [(1, 0, 1e-4), (3, 0, 1e-3), (6, 0, 1e-2), (7, 0, 1e-1)]
    assert crossings(rise, until=6) == [(1, 0, 1e-4), (3, 0, 1e-3)]
    assert crossings(rise, until=0) == []
    assert crossings(planted([[2e-3], [5e-3], [2e-2]])) == [(2, 0, 1e-2)]  # above 1e-3 at the start
    assert crossings(planted([[0.0], [2e-2], [0.7]])) == [(1, 0, 1e-2)]  # sizes were jumped over
    assert crossings(planted([[0.05], [0.6], [1.1]])) == []  # learned at once
    two = planted([[1e-5, 1e-6], [2e-4, 3e-4], [2e-3, 0.0]])
    assert crossings(two) == [(1, 0, 1e-4), (1, 1, 1e-4), (2, 0, 1e-3)]


def test_without_theory_the_ceiling_is_where_the_last_mode_was_learned():
    lam = [[4.0, 0.01], [4.0, 0.05], [4.0, 0.3], [4.0, 0.5]]
    assert crossings(planted(lam, ceiling=None)) == [(1, 1, 1e-2), (3, 1, 1e-1)]
    assert crossings(planted(lam, ceiling=1.0)) == [(2, 1, 1e-1)]
    # Where it is at that moment, not where it will be.
    lam[3] = [8.0, 0.5]
    assert crossings(planted(lam, ceiling=None)) == [(1, 1, 1e-2)]
    lam[3] = [4.0, 0.5]
    # As long as none is learned, it is taken to be 1.
    assert crossings(planted(np.array(lam) / 40, ceiling=None)) == [(1, 1, 1e-3), (3, 1, 1e-2)]


def test_a_mode_waits_for_all_before_it():
    lam = planted([[0.9, 0.1, 0.01], [0.9, 0.3, 0.01]])
    assert [mode_ahead(lam, 0, mode) for mode in range(3)] == [None, None, 1]
    assert [mode_ahead(lam, 1, mode) for mode in range(3)] == [None, None, None]


def test_the_mode_ahead_must_stand_still_over_ten_updates():
    steps = [0, 5, 10, 15, 20]
    lam = planted(np.stack([[0.1, 0.2, 0.5, 0.9, 0.99], np.full(5, 0.01)], axis=1))
    lam.steps[:] = steps
    assert ahead_moved(lam, 3, 1) == pytest.approx(np.log(0.9 / 0.2))
    assert ahead_moved(lam, 1, 1) == pytest.approx(2 * np.log(2))  # of five updates
    assert ahead_moved(lam, 3, 0) == 0.0


def test_modes_left_are_those_below_half_their_ceiling():
    assert modes_left(planted([[0.6, 0.4, 1e-14]]), 0) == [(0, 1, None)]
