"""Student's interval of a mean. Imports no PyTorch: reports and pictures use it too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


class MeanInterval(NamedTuple):
    """A mean and its interval, one entry for each position off the axis of the samples.

    Attributes
    ----------
    mean : ndarray
        Mean of the samples that are counted; NaN of none.
    low, high : ndarray
        Ends of the interval; NaN of fewer than two samples.
    deviation : ndarray
        Standard deviation of the samples (n - 1 in the denominator); NaN of fewer than two.
    n : ndarray of int
        Number of samples that are counted.
    """

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    deviation: NDArray[np.float64]
    n: NDArray[np.int64]


def mean_interval(
    values: ArrayLike, level: float, axis: int = 0, *, omit_missing: bool = False
) -> MeanInterval:
    """Mean of independent samples, and Student's interval of it.

    Parameters
    ----------
    values : array_like
        Samples along ``axis``. None counts as NaN.
    level : float
        Confidence level, between 0 and 1.
    axis : int
        Axis of the samples.
    omit_missing : bool
        Leave out samples that are NaN or infinite. Default: a mean of one of them is NaN or
        infinite, and its interval NaN.

    Returns
    -------
    MeanInterval
        Arrays of the shape of ``values`` without ``axis``.

    Raises
    ------
    ValueError
        If the level is not between 0 and 1, or the values are not numbers.

    Notes
    -----
    The ends are mean -+ t sd / sqrt(n), with t the quantile of Student's distribution of n - 1
    degrees of freedom. Their coverage is exact for normal samples.

    Examples
    --------
    >>> mean, low, high, deviation, n = mean_interval([1.0, 2.0, 3.0], level=0.9)
    >>> float(mean), round(float(low), 3), round(float(high), 3), float(deviation), int(n)
    (2.0, 0.314, 3.686, 1.0, 3)
    >>> mean_interval([[1.0, 2.0], [3.0, None]], 0.9, axis=1, omit_missing=True).mean.tolist()
    [1.5, 3.0]
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a number between 0 and 1")
    try:
        samples = np.moveaxis(np.asarray(values, dtype=np.float64), axis, 0)
    except (TypeError, ValueError) as error:
        raise ValueError(f"values are not an array of numbers ({error}); expected one") from error
    counted = np.isfinite(samples) if omit_missing else np.ones(samples.shape, dtype=bool)
    n = counted.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = np.where(counted, samples, 0.0).sum(axis=0) / n
        squares = np.where(counted, (samples - mean) ** 2, 0.0).sum(axis=0)
        deviation = np.where(n > 1, np.sqrt(squares / (n - 1)), np.nan)
        _, quantile = stats.t.interval(level, n - 1)  # NaN without a degree of freedom
        half = quantile * deviation / np.sqrt(n)
        return MeanInterval(mean, mean - half, mean + half, deviation, n)


def interval_summary(values: Sequence[float], level: float) -> dict[str, Any]:
    """Mean over seeds with its interval, as results store it.

    Parameters
    ----------
    values : sequence of float
        One value per seed.
    level : float
        Level of the interval, between 0 and 1.

    Returns
    -------
    dict
        ``mean``, ``low`` and ``high`` of :func:`mean_interval`; ``effect``, the mean in standard
        deviations; ``values`` as an array.

    Examples
    --------
    >>> found = interval_summary([1.0, 2.0, 3.0], 0.9)
    >>> found["mean"], round(found["low"], 3), round(found["high"], 3), found["effect"]
    (2.0, 0.314, 3.686, 2.0)
    """
    over = mean_interval(values, level)
    return {
        "mean": float(over.mean),
        "low": float(over.low),
        "high": float(over.high),
        "effect": float(over.mean / over.deviation) if over.deviation > 0 else math.nan,
        "values": np.asarray(values, dtype=np.float64),
    }
