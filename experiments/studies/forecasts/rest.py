"""Whether a checkpoint can be trusted: the state of a mode, by its rates and the mode ahead.

A mode rises by its law on a plateau. During and after a step the learned modes still swing, by
momentum and by what their pull does to shared features, and rates are not those of the plateau.
"""

from __future__ import annotations

import math

from experiments.studies.forecasts.moments import STEP, ahead_moved, mode_ahead
from sslsim.measures.growth import Growth
from sslsim.runs.history import RunHistory
from theory.growth.lag import lagged_rate

AT_REST = "at rest"
NOT_SETTLED = "not settled"
LEARNED = "learned"
COLLAPSING = "collapsing"
QUEUED = "queued behind mode"  # followed by its number, from 1

_RATES = 0.4  # |ln| of the whole rate over the mode's own
_VELOCITIES = 0.5  # |ln| of the actual rate over the own one with its lag
_AHEAD = 0.5  # |ln| by which the mode ahead changed in ten updates


def mode_state(
    history: RunHistory,
    index: int,
    mode: int,
    now: Growth,
    ceiling: float,
    rate: float,
    momentum: float,
) -> str:
    """State of a mode; ``now`` is of this mode alone, the rate is the learning rate."""
    if history.lam[index, mode] >= STEP * ceiling:
        return LEARNED
    total, own, actual = (float(part[0]) for part in (now.rates, now.own, now.actual))
    if total < 0 and not actual > 0:
        return COLLAPSING
    ahead = mode_ahead(history, index, mode)
    if ahead is not None:
        return f"{QUEUED} {ahead + 1}"
    settled = own > 0 and total > 0 and abs(math.log(total / own)) < _RATES
    if settled and not math.isnan(actual):
        expected = float(lagged_rate(own, rate, momentum))
        settled = actual > 0 and abs(math.log(actual / expected)) < _VELOCITIES
    return AT_REST if settled and ahead_moved(history, index, mode) < _AHEAD else NOT_SETTLED


def may_be_at_rest(history: RunHistory, index: int, mode: int) -> bool:
    """Whether the curves alone leave it open that a mode is at rest; costs nothing."""
    return mode_ahead(history, index, mode) is None and ahead_moved(history, index, mode) < _AHEAD
