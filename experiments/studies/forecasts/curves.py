"""Forecasts from recorded curves alone: no checkpoint, no network, no gradients.

The rate of gradient flow is the one behind the last recorded rise, less the lag of momentum. How
much features adapt is not to be seen in a curve: it is taken to be what trained networks show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.studies.forecasts.intervals import interval_factor
from experiments.studies.forecasts.moments import LATEST, STEP, Array
from experiments.studies.forecasts.rest import LEARNED, QUEUED
from sslsim.core.files import read_npz
from theory.growth.adaptation import factors_with
from theory.growth.heavy_ball import momentum_growth_time
from theory.growth.lag import gradient_rate

NEXT = "next in line"
"""State of a mode with a forecast by its curve, which does not tell whether it is at rest."""

_REACH = 1.3  # factor of the rise from which the rate is read
_ADAPTATION = 0.35  # of the features, as networks of the calibration show it
_LEAST = 3  # points of a file


def read_curves(path: Path) -> tuple[Array, Array]:
    """Times (t,) and eigenvalues (t, d) of a file.

    ``.npz`` with ``times`` and ``eigenvalues`` or a recorded spectrum, ``.npy`` or ``.csv`` with
    times in the first column. Raises ValueError if they are not there or are not finite numbers.
    """
    if path.suffix == ".npz":
        arrays = read_npz(path)
        names = ("eigenvalues", "cross_spectrum", "covariance_spectrum")
        name = next((name for name in names if name in arrays), None)
        if "times" not in arrays or name is None:
            raise ValueError(
                f"{path} holds {', '.join(arrays) or 'nothing'}; expected times and eigenvalues"
            )
        times, lam = arrays["times"], arrays[name]
    else:
        table = _table(path)
        times, lam = table[:, 0], table[:, 1:]
    lam = lam[:, None] if lam.ndim == 1 else lam
    if times.ndim != 1 or lam.ndim != 2 or len(times) != len(lam) or not lam.size:
        raise ValueError(
            f"{path}: times have the shape {times.shape} and eigenvalues {lam.shape}; expected "
            "(t,) and (t, d)"
        )
    try:
        times, lam = times.astype(float), lam.astype(float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds something else than numbers: {error}") from error
    if not (np.isfinite(times).all() and np.isfinite(lam).all() and (np.diff(times) > 0).all()):
        raise ValueError(f"{path}: expected finite eigenvalues at finite, ascending times")
    if len(times) < _LEAST:
        raise ValueError(f"{path} holds {len(times)} times; expected at least {_LEAST}")
    return times, -np.sort(-lam, axis=1)


def _table(path: Path) -> Array:
    try:
        if path.suffix == ".npy":
            table = np.load(path, allow_pickle=False)
        elif path.suffix == ".csv":
            table = np.genfromtxt(path, delimiter=",", ndmin=2)
            if len(table) and np.isnan(table[0]).all():  # names of the columns
                table = table[1:]
        else:
            raise ValueError("expected .npz, .npy or .csv")
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"curves {path} cannot be read: {reason}") from error
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(
            f"{path} has the shape {table.shape}; expected times and one eigenvalue or more in "
            "columns"
        )
    return np.asarray(table)


def curve_shares(times: Array, lam: Array, rate: float, momentum: float) -> tuple[Array, float]:
    """Shares of two factors at the end of a curve (t,), and how fast it rises there.

    The eigenvalues are in units of their ceiling, ``rate`` is the learning rate. Shares are zero
    and the velocity NaN if the last eigenvalue is not above the one before.
    """
    rising = _last_rise(lam)
    times, lam = times[rising], lam[rising]
    if len(lam) < 2:
        return np.zeros(2), np.nan
    # The mean rate over the rise is that of its middle; it grew on the way to its end.
    mean = float(np.log(lam[-1] / lam[0]) / (times[-1] - times[0]))
    velocity = mean * float(lam[-1] / lam[0]) ** (_ADAPTATION / 2)
    shares, _ = factors_with(float(gradient_rate(velocity, rate, momentum)), _ADAPTATION)
    return shares, velocity


def curve_time(
    times: Array,
    lam: Array,
    end: float,
    rate: float,
    momentum: float,
    method: str = "barlow_twins",
) -> float:
    """Remaining flow time of a mode to an eigenvalue, by its curve (t,) in units of its ceiling."""
    shares, velocity = curve_shares(times, lam, rate, momentum)
    now = float(lam[-1])
    if not (shares.any() and 0 < now < 1):
        return np.inf
    pull = _hinge if method == "vicreg" else _line
    return momentum_growth_time(shares, pull, now, max(end, now), rate, momentum, velocity=velocity)


@dataclass(frozen=True)
class CurveForecast:
    """A mode by its recorded curve alone.

    Attributes
    ----------
    mode : int
        From 1.
    state : str
        Learned, next in line, or queued behind mode k.
    lam, ceiling : float
        Eigenvalue in units of the ceiling, and the ceiling.
    shares : ndarray, shape (2,)
        Rates of the two factors; zeros where the mode does not rise.
    step : float
        Forecast flow time of the step; NaN of a learned or queued mode, infinite without growth.
    low, high : float
        Its interval; of a queued mode a lower bound.
    """

    mode: int
    state: str
    lam: float
    ceiling: float
    shares: Array
    step: float
    low: float
    high: float


def curve_forecasts(
    times: Array,
    lam: Array,
    rate: float,
    momentum: float,
    method: str,
    scores: Sequence[float],
    level: float,
    ceiling: float | None = None,
) -> list[CurveForecast]:
    """Forecasts of all modes at the end of their curves (t, d).

    ``scores`` are those of such forecasts in other runs, ``level`` is that of the intervals. The
    ceiling is by default that of the mode learned last, or 1.
    """
    now, factor = float(times[-1]), interval_factor(scores, [], level)
    bound, forecasts = now, []
    for mode, last in enumerate(lam[-1]):
        learned = [float(value) for value in lam[-1, :mode] if value >= LATEST]
        unit = ceiling or (learned[-1] if learned else 1.0)
        ahead = [other for other in range(mode) if lam[-1, other] < LATEST * unit]
        shares, step, low, high = np.zeros(2), np.nan, bound, np.inf
        if last >= STEP * unit:
            state = LEARNED
        elif ahead:
            state = f"{QUEUED} {ahead[-1] + 1}"
        else:
            state, curve = NEXT, lam[:, mode] / unit
            shares, _ = curve_shares(times, curve, rate, momentum)
            left = curve_time(times, curve, STEP, rate, momentum, method)
            step = now + left
            if np.isfinite(left):
                low, high = now + left / factor, now + left * factor
        if state != LEARNED:
            bound = max(bound, low)
        forecasts.append(
            CurveForecast(mode + 1, state, float(last) / unit, unit, shares, step, low, high)
        )
    return forecasts


def _line(lam: Array) -> Array:
    return np.maximum(1.0 - lam, 1e-4)


def _hinge(lam: Array) -> Array:
    return np.power(lam, -0.5)


def _last_rise(lam: Array) -> slice:
    """The points of the last rise, by as small a factor as the rate can be read from."""
    last = len(lam) - 1
    first = last
    while first > 0 and 0 < lam[first - 1] < lam[first] and lam[last] < _REACH * lam[first]:
        first -= 1
    return slice(first, None)
