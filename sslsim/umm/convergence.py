"""Diagnosis of the convergence of a bi-level iteration, from its records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WINDOW = 50
LEAST_RECORDS = 20

_GROWTH = 3.0
_ERRORS = 3.0


@dataclass(frozen=True)
class Convergence:
    """Three signs that an iteration does not converge, the result of :func:`diagnose`.

    Attributes
    ----------
    inner_rises : bool
        The inner steps raised the inner loss in more than half of the last window: their learning
        rate is too large, or the inner problem has no minimum nearby.
    gradient_grows : bool
        The median norm of the hypergradient in the last window is more than three times that of
        the first.
    outer_falls : bool
        The mean of the outer objective, which is maximised, is lower in the last window than in
        the first by more than three standard errors of the difference.
    window : int
        Number of records in a window.
    """

    inner_rises: bool
    gradient_grows: bool
    outer_falls: bool
    window: int

    @property
    def converges(self) -> bool:
        """True if none of the three signs is present."""
        return not (self.inner_rises or self.gradient_grows or self.outer_falls)


def diagnose(records: Sequence[Mapping[str, Any]], window: int = WINDOW) -> Convergence:
    """Look for the three signs that a bi-level iteration does not converge.

    Parameters
    ----------
    records : sequence of mapping
        One record for each outer step, in order, with ``gradient_norm``, ``objective``,
        ``inner_start`` and ``inner_end`` (the last two are None if there is one level only). A
        value that is not finite counts as the worst possible value.
    window : int
        Records in the first and in the last window, at least 10: with fewer a standard error means
        little. If there are fewer than two windows of records, each window has half of them.

    Returns
    -------
    Convergence
        The three signs.

    Raises
    ------
    ValueError
        If there are fewer than 20 records or the window is too small.

    Examples
    --------
    >>> records = [
    ...     {"inner_start": 2.0, "inner_end": 1.0, "gradient_norm": 1.2**k, "objective": 0.0}
    ...     for k in range(20)
    ... ]
    >>> diagnose(records, window=10)
    Convergence(inner_rises=False, gradient_grows=True, outer_falls=False, window=10)
    """
    if len(records) < LEAST_RECORDS or window < LEAST_RECORDS // 2:
        raise ValueError(
            f"there are {len(records)} records and a window of {window}; expected at least "
            f"{LEAST_RECORDS} and {LEAST_RECORDS // 2}"
        )
    window = min(window, len(records) // 2)
    first, last = records[:window], records[-window:]
    rises = sum(
        _number(line["inner_end"], math.inf) > _number(line["inner_start"], -math.inf)
        for line in last
        if line["inner_end"] is not None
    )
    norms = [
        float(np.median([_number(line["gradient_norm"], math.inf) for line in part]))
        for part in (first, last)
    ]
    before, after = (
        np.array([_number(line["objective"], -math.inf) for line in part]) for part in (first, last)
    )
    falls = not np.isfinite(after).all()
    if not falls and np.isfinite(before).all():
        error = math.sqrt((before.var(ddof=1) + after.var(ddof=1)) / window)
        falls = before.mean() - after.mean() > _ERRORS * error
    return Convergence(
        inner_rises=rises > window / 2,
        gradient_grows=norms[1] > _GROWTH * norms[0] or not math.isfinite(norms[1]),
        outer_falls=bool(falls),
        window=window,
    )


def _number(value: float | None, worst: float) -> float:
    return worst if value is None or not math.isfinite(value) else value
