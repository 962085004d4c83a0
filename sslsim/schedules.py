"""Learning rates over training: pure functions of the step, so that a resume needs no state."""

from __future__ import annotations

import math

from sslsim.names import SCHEDULES

_MILESTONES = (0.6, 0.8)
_LAST = 0.01  # where the exponential schedule ends


def learning_rate_factor(schedule: str, step: int, steps: int, warmup: int = 0) -> float:
    """Factor on the base learning rate for one update.

    Parameters
    ----------
    schedule : {"constant", "cosine", "step", "exponential"}
        See ``SCHEDULES``.
    step : int
        Number of the update, from 0.
    steps : int
        Updates in all.
    warmup : int
        Updates over which the rate first rises linearly: the first has 1/warmup of it, the last
        all of it. The schedule runs over what is left.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ValueError
        If the schedule is unknown or a number out of range.

    Examples
    --------
    >>> [learning_rate_factor("cosine", step, 6, warmup=2) for step in (0, 1, 2, 4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}; expected one of {', '.join(SCHEDULES)}")
    if not 0 <= warmup <= steps:
        raise ValueError(f"warmup is {warmup}; expected from 0 to {steps}, all steps")
    if not 0 <= step < steps:
        raise ValueError(f"step is {step}; expected from 0 to below {steps}, all steps")
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / (steps - warmup)
    if schedule == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    if schedule == "step":
        return 0.1 ** sum(done >= milestone for milestone in _MILESTONES)
    if schedule == "exponential":
        return _LAST**done
    return 1.0
