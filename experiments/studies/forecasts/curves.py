"""Forecasts from recorded curves alone: no checkpoint, no network, no gradients.

The rates of gradient flow behind the recorded ones, and how they grew with the eigenvalue, give the
two constants of the two-factor law: rho^2 = (1 - lambda)^2 (delta^2 + kappa lambda).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from experiments.studies.forecasts.moments import Array
from sslsim.core.files import read_npz
from theory.growth.heavy_ball import momentum_growth_time
from theory.growth.lag import gradient_rate

_REACH = 30.0  # the law is fitted to the rise by at most this factor before the forecast
_LEAST = 3  # points; with fewer, the last rate is kept


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


def curve_shares(times: Array, lam: Array, rate: float, momentum: float) -> Array:
    """Shares of two factors at the end of a rise (t,), in units of its ceiling; zeros if it falls.

    ``rate`` is the learning rate.
    """
    rising = _last_rise(lam)
    times, lam = times[rising], lam[rising]
    if len(lam) < 2:
        return np.zeros(2)
    measured = np.diff(np.log(lam)) / np.diff(times)
    rho = gradient_rate(measured, rate, momentum)
    middle = np.sqrt(lam[1:] * lam[:-1])
    squares = np.square(rho / (1.0 - middle))
    if len(squares) < _LEAST:
        delta2, kappa = float(squares[-1]), 0.0
    else:
        # Relative errors count: rows are divided by what they should give.
        rows = np.stack([np.ones(len(middle)), middle], axis=1) / squares[:, None]
        (delta2, kappa), _ = nnls(rows, np.ones(len(middle)))
    now = float(lam[-1])
    total = (1.0 - now) * np.sqrt(delta2 + kappa * now)
    gap = (1.0 - now) * np.sqrt(delta2)
    return np.array([total + gap, total - gap]) / 2


def curve_time(times: Array, lam: Array, end: float, rate: float, momentum: float) -> float:
    """Remaining flow time of a mode to an eigenvalue, by its curve (t,) in units of its ceiling."""
    shares = curve_shares(times, lam, rate, momentum)
    now = float(lam[-1])
    if not (shares.any() and 0 < now < 1):
        return np.inf
    return momentum_growth_time(
        shares, lambda at: np.maximum(1.0 - at, 1e-4), now, max(end, now), rate, momentum
    )


def _last_rise(lam: Array) -> slice:
    """The points up to the last one over which an eigenvalue below its ceiling only grew."""
    first = len(lam) - 1
    while first > 0 and lam[-1] / _REACH < lam[first - 1] < lam[first] < 1:
        first -= 1
    return slice(first, None)
