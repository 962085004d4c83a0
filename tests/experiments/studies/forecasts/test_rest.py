"""States of modes, each by a planted history and planted rates."""

from math import exp, log1p, nan, nextafter

import pytest
import torch
from forecasts import planted
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.studies.forecasts import rest
from experiments.studies.forecasts.rest import may_be_at_rest, mode_state
from sslsim.measures.growth import Growth

RATE = 0.01  # learning rate
STILL = [[0.9, 0.01]] * 12  # the first mode is learned, the second on its plateau


def rates(total=1.0, own=1.0, actual=nan):
    """Rates of one mode, and nothing else."""
    empty = torch.zeros(0)
    total, own, actual = (
        torch.tensor([value], dtype=torch.float64) for value in (total, own, actual)
    )
    return Growth(empty, empty, empty, total, own, empty, (), 0.0, actual, empty, empty, empty)


def state(lam=STILL, mode=1, index=-1, ceiling=1.0, momentum=0.0, **rates_of):
    history = planted(lam)
    index %= len(lam)
    return mode_state(history, index, mode, rates(**rates_of), ceiling, RATE, momentum)


def lagged(own, momentum):
    """Rate of an eigenvalue in flow time, by the updates of its amplitude."""
    change = 0.0  # in units of the amplitude
    for _ in range(2000):
        grown = momentum * change + RATE * own / 2
        change = grown / (1 + grown)
    return 2 * log1p(grown) * (1 - momentum) / RATE


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_a_mode_whose_rates_agree_is_at_rest(momentum):
    assert state(momentum=momentum) == rest.AT_REST
    actual = lagged(2.0, momentum)
    assert state(own=2.0, total=2.0, actual=actual, momentum=momentum) == rest.AT_REST


@pytest.mark.parametrize("ceiling", [1.0, 0.6, 4.0])
def test_a_mode_is_learned_from_half_its_ceiling_on(ceiling):
    half = ceiling / 2
    worst = {"total": -1.0, "own": -1.0, "actual": -1.0}
    assert state([[half]], 0, ceiling=ceiling, **worst) == rest.LEARNED
    assert state([[nextafter(half, 0)]], 0, ceiling=ceiling, **worst) == rest.COLLAPSING
    # Also if one before it is not.
    assert state([[0.1, half]], 1, ceiling=ceiling) == rest.LEARNED


@pytest.mark.parametrize(
    ("total", "actual", "expected"),
    [
        (-1e-9, nan, rest.COLLAPSING),
        (-1e-9, -1.0, rest.COLLAPSING),
        (-1e-9, 0.0, rest.COLLAPSING),
        (-1e-9, 1.0, rest.NOT_SETTLED),  # the loss pulls it down, but momentum still lifts it
        (0.0, nan, rest.NOT_SETTLED),
        (0.0, -1.0, rest.NOT_SETTLED),
    ],
)
def test_a_mode_collapses_if_neither_the_loss_nor_momentum_lifts_it(total, actual, expected):
    assert state(total=total, actual=actual) == expected


def test_a_mode_that_collapses_does_not_queue():
    lam = [[0.1, 0.01]] * 12
    assert state(lam, total=-1.0) == rest.COLLAPSING
    assert state(lam, total=-1.0, actual=1.0) == "queued behind mode 1"


def test_a_mode_queues_behind_the_last_one_before_it_that_is_not_learned():
    learned, below = 0.2, nextafter(0.2, 0)
    for before, expected in (
        ([learned, learned], rest.AT_REST),
        ([learned, below], "queued behind mode 2"),
        ([below, below], "queued behind mode 2"),
        ([below, learned], "queued behind mode 1"),
    ):
        lam = [[*before, 0.01]] * 12
        assert state(lam, mode=2) == expected
        assert may_be_at_rest(planted(lam), 11, 2) == (expected == rest.AT_REST)
    # Whatever its rates, as long as they rise.
    assert state([[0.1, 0.01]], total=9.0, own=0.1, actual=5.0) == "queued behind mode 1"


@pytest.mark.parametrize("way", [1, -1])
@pytest.mark.parametrize("log_ratio", [0.0, 0.399, 0.401, 3.0])
@settings(max_examples=10)
@given(own=st.floats(1e-3, 1e3))
def test_a_mode_is_settled_while_other_modes_change_its_rate_little(way, log_ratio, own):
    expected = rest.AT_REST if log_ratio < 0.4 else rest.NOT_SETTLED
    assert state(own=own, total=own * exp(way * log_ratio)) == expected


@pytest.mark.parametrize(("own", "total"), [(0.0, 1.0), (-1.0, 1.0), (-1.0, 0.0), (1.0, 0.0)])
def test_a_mode_that_is_not_lifted_by_itself_and_in_all_is_not_settled(own, total):
    assert state(own=own, total=total) == rest.NOT_SETTLED


@pytest.mark.parametrize("way", [1, -1])
@pytest.mark.parametrize("log_ratio", [0.0, 0.499, 0.501, 3.0])
@settings(max_examples=10)
@given(own=st.floats(1e-3, 1e2), momentum=st.sampled_from([0.0, 0.5, 0.9]))
def test_a_mode_is_settled_while_momentum_swings_little_about_its_own_rate(
    way, log_ratio, own, momentum
):
    expected = rest.AT_REST if log_ratio < 0.5 else rest.NOT_SETTLED
    actual = lagged(own, momentum) * exp(way * log_ratio)
    assert state(own=own, total=1.2 * own, actual=actual, momentum=momentum) == expected


@pytest.mark.parametrize("actual", [0.0, -1.0])
def test_a_mode_that_momentum_still_lowers_is_not_settled(actual):
    assert state(actual=actual) == rest.NOT_SETTLED


@pytest.mark.parametrize("way", [1, -1])
@pytest.mark.parametrize("log_change", [0.0, 0.49, 0.51, 2.0])
def test_a_mode_is_settled_once_the_one_ahead_stands_still_over_ten_updates(way, log_change):
    """A checkpoint an update; what the mode ahead did before the last ten does not matter."""
    first = 0.9 * exp(-way * log_change)
    ahead = [0.01, *(first * exp(way * log_change * place / 10) for place in range(11))]
    assert ahead[-1] == pytest.approx(0.9)
    lam = [[value, 0.01] for value in ahead]
    expected = log_change < 0.5
    assert may_be_at_rest(planted(lam), 11, 1) == expected
    assert state(lam) == (rest.AT_REST if expected else rest.NOT_SETTLED)
    # Its own rise and that of modes behind it do not count.
    turned = [[0.9, value, 0.1 * value] for value in ahead]
    assert may_be_at_rest(planted(turned), 11, 1)


def test_the_first_mode_and_the_first_checkpoint_have_nothing_that_moved():
    lam = [[0.01, 0.001], [0.4, 0.002]]
    assert may_be_at_rest(planted(lam), 1, 0)
    assert state(lam, mode=0) == rest.AT_REST
    assert state([[0.4, 0.002]]) == rest.AT_REST
    # One that appears from nothing moved by all there is.
    assert not may_be_at_rest(planted([[0.0, 0.0], [0.4, 0.002]]), 1, 1)
