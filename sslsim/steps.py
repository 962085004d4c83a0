"""Step times read off recorded learning curves."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sslsim.checks import real_array


def half_rise_times(
    times: ArrayLike, curves: ArrayLike, level: float = 0.5, top: ArrayLike = 1.0
) -> NDArray[np.float64]:
    """Time at which each recorded curve first passes a given share of its height.

    Parameters
    ----------
    times : array_like, shape (T,)
        Times of the records, strictly ascending.
    curves : array_like, shape (T, k)
        The k curves, for instance the eigenvalues of an embedding cross-correlation.
    level : float
        Share of the height, between 0 and 1. Default one half.
    top : float or array_like, shape (k,)
        Final height of the curves, above zero. Default 1.

    Returns
    -------
    ndarray, shape (k,)
        In the unit of ``times``; the first time for a curve that starts at or above the level,
        infinite for one that never reaches it.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, times do not ascend, or ``level`` or ``top``
        is out of range.

    Notes
    -----
    Between the two records around the passage the logit of ``curve / top`` is interpolated
    linearly, which is exact for a logistic curve however far apart the records lie; where one of
    the two is not strictly between 0 and ``top``, the curve itself is interpolated linearly.

    Examples
    --------
    >>> import numpy as np
    >>> times = np.arange(5.0)
    >>> half_rise_times(times, 1 / (1 + np.exp(-8 * (times[:, None] - [1.25, 9.0]))))
    array([1.25,  inf])
    """
    times, curves = real_array("times", times), real_array("curves", curves)
    if times.ndim != 1 or curves.ndim != 2 or len(times) != len(curves) or len(times) == 0:
        raise ValueError(
            f"times has shape {times.shape} and curves {curves.shape}; expected (T,) and (T, k)"
        )
    if not (np.all(np.isfinite(times)) and np.all(np.isfinite(curves))):
        raise ValueError("times or curves hold NaN or infinite values; expected finite numbers")
    if np.any(np.diff(times) <= 0):
        raise ValueError("times do not ascend; expected every record later than the one before")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a share between 0 and 1")
    height = real_array("top", top)
    if height.shape not in ((), curves.shape[1:]) or not np.all((height > 0) & (height < np.inf)):
        raise ValueError(
            f"top is {height}; expected one height above zero, or one for each of the "
            f"{curves.shape[1]} curves"
        )
    return np.array([_passage(times, curve, level) for curve in (curves / height).T])


def _passage(times: NDArray[np.float64], curve: NDArray[np.float64], level: float) -> float:
    above = curve >= level
    if not above.any():
        return float("inf")
    after = int(np.argmax(above))
    if after == 0:
        return float(times[0])
    ends = curve[after - 1 : after + 1]
    target = level
    if np.all((ends > 0) & (ends < 1)):
        ends, target = np.log(ends) - np.log1p(-ends), float(np.log(level) - np.log1p(-level))
    share = (target - ends[0]) / (ends[1] - ends[0])
    return float(times[after - 1] + share * (times[after] - times[after - 1]))
