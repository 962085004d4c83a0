"""When forecasts are made, which mode is next in line, and where it saturates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sslsim.runs.history import RunHistory

Array = NDArray[np.float64]
Moment = tuple[int, int, float | None]
"""Checkpoint, mode from 0, and the size whose first crossing it is."""

SIZES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Eigenvalues, in units of the ceiling, at which a backtest makes forecasts."""

JUDGED = 1e-3  # from where on the forecasts are made that are summed up
STEP = 0.5  # of the ceiling: the mode is learned
LATEST = 0.2  # of the ceiling: from here on a mode has as good as stepped

_LEARNED = {"simclr": 0.12}  # a mode above this is learned or about to be; of other methods:
_LEARNED_ELSE = 0.2
_NOISE = 1e-12  # of the largest eigenvalue: below it, float32 embeddings show nothing
_UPDATES = 10  # over which the mode ahead must have been still


def crossings(history: RunHistory, until: int | None = None) -> list[Moment]:
    """Moments at which modes first pass the sizes."""
    last = len(history.steps) if until is None else until
    moments: list[Moment] = []
    for mode in range(history.lam.shape[1]):
        lam = np.array(
            [history.lam[i, mode] / expected_ceiling(history, i, mode) for i in range(last)]
        )
        for size in SIZES:
            above = np.flatnonzero(lam >= size)
            # Above at the start, it passed nowhere; above the next size or the step, it jumped.
            if len(above) and above[0] > 0 and lam[above[0]] < min(10 * size, STEP):
                moments.append((int(above[0]), mode, size))
    return sorted(moments, key=lambda moment: moment[:2])


def modes_left(history: RunHistory, index: int) -> list[Moment]:
    """Modes not yet learned at a checkpoint."""
    lam = history.lam[index]
    return [
        (index, mode, None)
        for mode in range(len(lam))
        if _NOISE * lam.max() < lam[mode] < STEP * expected_ceiling(history, index, mode)
    ]


def learned_above(history: RunHistory) -> float:
    """Eigenvalue above which a mode of a run counts as learned."""
    method = history.run.options.method if history.run is not None else ""
    return _LEARNED.get(method, _LEARNED_ELSE)


def expected_ceiling(history: RunHistory, index: int, mode: int) -> float:
    """Where a mode will saturate: at 1 by theory, else where the last learned one did."""
    if history.ceiling is not None:
        return history.ceiling
    least = learned_above(history)
    learned = [value for value in history.lam[index, :mode] if value >= least]
    return float(learned[-1]) if learned else 1.0


def mode_ahead(history: RunHistory, index: int, mode: int) -> int | None:
    """The mode, from 0, that must be learned before this one; None if it is next in line."""
    least = learned_above(history)
    waiting = [ahead for ahead in range(mode) if history.lam[index, ahead] < least]
    return waiting[-1] if waiting else None


def ahead_moved(history: RunHistory, index: int, mode: int) -> float:
    """By how much ln(lambda) of the mode ahead changed within the last ten updates."""
    if mode == 0 or index == 0:
        return 0.0
    steps = np.array(history.steps)
    before = max(int(np.searchsorted(steps, steps[index] - _UPDATES, side="right")) - 1, 0)
    before = min(before, index - 1)
    now, then = history.lam[index, mode - 1], history.lam[before, mode - 1]
    if now <= 0 or then <= 0:
        return float("inf")
    return float(abs(np.log(now / then)) * _UPDATES / (steps[index] - steps[before]))
