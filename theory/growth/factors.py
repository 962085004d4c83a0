r"""The law of N factors, with any pull: the growth of a mode whose features adapt.

Let the amplitude of a mode be a product of factors, a = prod_l w_l with lambda = a^2, and let the
loss act on it with the pull g(lambda) = -(1/a) dL/da. Gradient flow on the factors gives each a
share A_l of the rate,

    d ln(lambda)/dt = sum_l A_l,    A_l = 2 g(lambda) lambda / w_l^2,

and all differences of squares w_l^2 - w_k^2 are conserved. In a clock tau with
d tau/dt = g(lambda) lambda / (g(lambda_0) lambda_0), every squared factor grows along a line,

    w_l^2(tau) = w_l^2(0) (1 + A_l tau),    lambda(tau) = lambda_0 prod_l (1 + A_l tau),

with the shares A_l at lambda_0. So the shares at one moment and the pull determine the whole rise.
Two factors and g proportional to 1 - lambda are :mod:`theory.growth.two_factor`, where
d ln(lambda)/dt = [g(lambda)/g(lambda_0)] sqrt(delta^2 + kappa lambda); one factor is the growth of
a fixed kernel. Derived here from the flow of arXiv 2303.15438 with factors for the amplitude.

Weights in front of a normalisation are free of scale: their direction counts, at an angle theta
with a = sin(theta) x (other factors), and gradient flow keeps their norm R. Such a factor turns,
d theta/dt = (g lambda / R^2) cot(theta), and its square can grow by its room q = cot^2(theta) only,

    sin^2 theta(tau) / sin^2 theta(0) = 1 + q (1 - exp(-A tau / q)),    A = 2 g lambda q / R^2,

which is the line 1 + A tau of any other factor for q to infinity. The room follows from the
gradient: R |d ln(a)/dW| = cot(theta).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from theory.arrays import Array, finite_array, positive_number, real_array

Pull = Callable[[Array], Array]
"""Pull g of a loss at eigenvalues (n,) -> (n,), in any unit."""

_PANEL = 0.25  # width of a panel of the quadrature, in the clock
_LAST_CLOCK = 500.0  # beyond it, factors without room have been at their ends for long
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)


def growth_rate(
    shares: ArrayLike, pull: Pull, start: float, lam: ArrayLike, rooms: ArrayLike | None = None
) -> Array:
    """Rate ``d ln(lambda) / dt`` of the law.

    Parameters
    ----------
    shares : array_like, shape (p,)
        Shares A_l of the factors in the rate at ``start``, in inverse flow time, at least 0.
    pull : callable
        Pull g at eigenvalues (n,) -> (n,), in any unit; positive at ``start``.
    start : float
        Eigenvalue at which the shares were measured, above 0.
    lam : array_like
        Eigenvalues of at least ``start``.
    rooms : array_like, shape (p,), optional
        Rooms q_l of factors that are free of scale, above 0; infinite for others. Default: all are.

    Returns
    -------
    ndarray
        Rates of gradient flow, of the shape of ``lam``; the sum of the shares at ``start``, and 0
        where the factors have no room to go.

    Raises
    ------
    ValueError
        If a share is negative or not finite, a room is not positive, an eigenvalue is below
        ``start`` or not finite, or the pull at ``start`` is not positive.

    Examples
    --------
    >>> float(growth_rate([1.0, 1.0], lambda lam: 1 - lam, 0.5, 0.5))
    2.0
    """
    factors, first = _checked(shares, rooms, pull, start)
    lam = _from(start, "lam", lam)
    if not factors.shares.any():
        return np.zeros(lam.shape)
    clocks = np.array([factors.clock_at(float(np.log(value / start))) for value in lam.flat])
    rates = np.zeros(clocks.shape)
    reached = np.isfinite(clocks)
    rates[reached] = _rate(factors, pull, start, first, clocks[reached])[0]
    return rates.reshape(lam.shape)


def growth_time(
    shares: ArrayLike,
    pull: Pull,
    start: float,
    end: ArrayLike,
    lag: Callable[[Array], Array] | None = None,
    rooms: ArrayLike | None = None,
) -> Array:
    r"""Flow time of a mode from one eigenvalue to a higher one.

    Parameters
    ----------
    shares, pull, start, rooms
        As in :func:`growth_rate`.
    end : array_like
        Eigenvalues at the end, of at least ``start``.
    lag : callable, optional
        Rates of gradient flow (n,) -> rates of the run (n,), such as
        :func:`theory.growth.lag.lagged_rate`. Default: gradient flow.

    Returns
    -------
    ndarray
        Flow times, of the shape of ``end``; infinite if the rate or the pull vanishes on the way.

    Raises
    ------
    ValueError
        As in :func:`growth_rate`.

    Notes
    -----
    The integral of ``d ln(lambda) / r(rho(lambda))``, by Gauss-Legendre quadrature in the logarithm
    of the factor with the greatest share. With ``lag`` it takes the rate to follow rho at once;
    where growth is faster than the lag, iterate :func:`theory.growth.heavy_ball.heavy_ball_time`.

    Examples
    --------
    The rise of a fixed kernel is logistic:

    >>> time = growth_time([2.0 * 0.9], lambda lam: 1 - lam, 0.1, 0.5)
    >>> bool(np.isclose(time, np.log(9) / 2))
    True
    """
    factors, first = _checked(shares, rooms, pull, start)
    end = _from(start, "end", end)
    times = np.empty(end.shape)
    for place, value in np.ndenumerate(end):
        times[place] = _time(factors, pull, start, first, float(value), lag)
    return times


@dataclass(frozen=True)
class _Factors:
    """Shares and rooms of factors (p,); clocks are ln(1 + A tau) of the greatest share A."""

    shares: Array
    rooms: Array

    def log_lambda(self, clock: Array) -> tuple[Array, Array]:
        """ln(lambda / lambda_0) and its derivative after the clock."""
        part = (self.shares / self.shares.max())[:, None]
        line = part * np.expm1(clock)
        limited = np.isfinite(self.rooms)[:, None]
        room = np.where(limited, self.rooms[:, None], 1.0)
        turned = np.where(limited, line / room, 0.0)
        left = np.exp(-turned)
        square = 1.0 + np.where(limited, -room * np.expm1(-turned), line)
        slope = (part * left / square).sum(axis=0) * np.exp(clock)
        return np.log(square).sum(axis=0), slope

    def clock_at(self, growth: float) -> float:
        """Clock at which ln(lambda) has grown by some amount; infinite if it never has."""
        if growth == 0:
            return 0.0

        def missing(clock: float) -> float:
            return float(self.log_lambda(np.array([clock]))[0][0]) - growth

        high = growth  # reached there if the greatest factor has room
        while missing(high) < 0:
            high *= 2
            if high > _LAST_CLOCK:
                return math.inf
        return float(brentq(missing, 0.0, high, xtol=1e-15, rtol=1e-14))


def _time(
    factors: _Factors,
    pull: Pull,
    start: float,
    first: float,
    end: float,
    lag: Callable[[Array], Array] | None,
) -> float:
    if end == start:
        return 0.0
    if not factors.shares.any():
        return math.inf
    last = factors.clock_at(math.log(end / start))
    if not math.isfinite(last):
        return math.inf
    edges = np.linspace(0.0, last, math.ceil(last / _PANEL) + 1)
    half, middle = np.diff(edges)[:, None] / 2, (edges[1:] + edges[:-1])[:, None] / 2
    nodes, weights = (middle + half * _NODES).ravel(), (half * _WEIGHTS).ravel()
    rate, slope = _rate(factors, pull, start, first, nodes)
    if not (rate > 0).all():
        return math.inf
    return float(weights @ (slope / (rate if lag is None else lag(rate))))


def _rate(
    factors: _Factors, pull: Pull, start: float, first: float, clock: Array
) -> tuple[Array, Array]:
    """The rate, and the derivative of ln(lambda) after the clock."""
    value, slope = factors.log_lambda(clock)
    strength = np.asarray(pull(start * np.exp(value)), dtype=float) / first
    return strength * factors.shares.max() * slope * np.exp(value - clock), slope


def _checked(
    shares: ArrayLike, rooms: ArrayLike | None, pull: Pull, start: float
) -> tuple[_Factors, float]:
    shares = finite_array("shares", shares, 1)
    if not len(shares) or (shares < 0).any():
        raise ValueError(f"shares is {shares.tolist()}; expected one or more of at least 0")
    rooms = np.full(len(shares), np.inf) if rooms is None else real_array("rooms", rooms)
    if rooms.shape != shares.shape or not (rooms > 0).all():
        raise ValueError(
            f"rooms is {rooms.tolist()} for {len(shares)} shares; expected as many, above 0"
        )
    start = positive_number("start", start)
    first = float(np.asarray(pull(np.array([start])), dtype=float)[0])
    if not (np.isfinite(first) and first > 0):
        raise ValueError(f"pull is {first} at lambda = {start}; expected a positive number there")
    return _Factors(shares, rooms), first


def _from(start: float, name: str, value: ArrayLike) -> Array:
    values = real_array(name, value)
    bad = values[~((values >= start) & np.isfinite(values))]
    if bad.size:
        raise ValueError(f"{name} is {bad[0]}; expected a finite eigenvalue of at least {start}")
    return values
