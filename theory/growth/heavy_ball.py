r"""The law of N factors under momentum: the run's own updates, iterated on the factors.

The rate under momentum follows the rate of gradient flow with a delay of the mass
m = mu eta / (1 - mu)^2 (:mod:`theory.growth.lag`). Where the rate itself changes within that delay,
the quadrature of :mod:`theory.growth.factors` is not enough. The updates are few, and on the
factors they cost microseconds each. In units of the factors at the start,

    v_l <- mu v_l + eta (A_l / 2) (lambda / lambda_0) (g / g_0) / w_l,    w_l <- w_l + v_l,

with lambda = lambda_0 prod_l w_l^2: SGD with momentum in torch's convention. A factor that is free
of scale is sin(theta), and the same is done with its angle.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, positive_number
from theory.growth.factors import Pull, growth_rate, growth_time
from theory.growth.lag import lagged_rate, momentum_mass
from theory.linear.momentum import momentum_coefficient

# Below this product of mass and rate the quadrature is within a per cent of the updates.
_SLOW = 0.1
_SMALL_SHARE = 1e-6  # of the rate: such factors do not grow
_UPDATES = 300_000


def heavy_ball_time(
    shares: ArrayLike,
    pull: Pull,
    start: float,
    end: float,
    learning_rate: float,
    momentum: float,
    *,
    rooms: ArrayLike | None = None,
    velocity: float | None = None,
    updates: int = _UPDATES,
) -> float:
    """Flow time of a mode from one eigenvalue to a higher one, by the updates themselves.

    Parameters
    ----------
    shares, pull, start, rooms
        As in :func:`theory.growth.factors.growth_rate`.
    end : float
        Eigenvalue at the end, at least ``start``.
    learning_rate : float
        Step size eta.
    momentum : float
        Coefficient mu, from 0 to below 1.
    velocity : float, optional
        Actual rate d ln(lambda)/dt at the start, which the factors share as they share the rate of
        gradient flow. Default: the rate with its lag, as after constant growth.
    updates : int
        Largest number of updates.

    Returns
    -------
    float
        Flow time, with exponential growth between two updates; infinite if the eigenvalue turns
        round or does not arrive within ``updates``.

    Raises
    ------
    ValueError
        As in :func:`theory.growth.factors.growth_rate`, and if ``end`` is below ``start`` or the
        learning rate or the momentum is out of range.

    Examples
    --------
    One factor at a constant rate grows by the root of :func:`theory.growth.lag.lagged_rate`:

    >>> time = heavy_ball_time([4.3], lambda lam: np.ones_like(lam), 1e-3, 0.1, 0.002, 0.9)
    >>> round(float(np.log(100) / time), 2)
    3.28
    """
    rate = float(growth_rate(shares, pull, start, start, rooms))
    eta = positive_number("learning_rate", learning_rate)
    mu = momentum_coefficient(momentum)
    if not start <= end < math.inf:
        raise ValueError(f"end is {end}; expected a finite eigenvalue of at least {start}")
    if end == start:
        return 0.0
    if rate == 0:
        return math.inf
    unit = eta / (1.0 - mu)
    # The velocity after constant growth is that which multiplies a factor by its root.
    own = float(lagged_rate(rate, eta, mu)) if velocity is None else velocity
    balls = [
        _Ball(float(share), float(room), own / rate * unit)
        for share, room in zip(
            np.asarray(shares, dtype=float),
            np.full(len(np.asarray(shares)), np.inf) if rooms is None else np.asarray(rooms),
            strict=True,
        )
        if share > _SMALL_SHARE * rate
    ]
    first = float(pull(np.array([start]))[0])
    at, lam = np.array([start]), start
    for update in range(1, updates + 1):
        at[0] = lam
        force = eta * lam / start * float(pull(at)[0]) / first
        before, lam = lam, start * math.prod(ball.moved(force, mu) for ball in balls) ** 2
        if lam >= end:
            return unit * (update - 1 + math.log(end / before) / math.log(lam / before))
        if not lam > 0 or (lam <= before and update * (1.0 - mu) > 50):
            return math.inf
    return math.inf


class _Ball:
    """One factor in units of its start: w itself, or sin(theta) where it is free of scale."""

    def __init__(self, share: float, room: float, unit: float) -> None:
        self.free = math.isinf(room)
        self.place = 1.0 if self.free else math.atan2(1.0, math.sqrt(room))
        self.scale = 1.0 if self.free else math.sin(self.place)
        self.push = share / 2 if self.free else share / (2 * room)
        self.speed = unit * self.push * self._slope()

    def _slope(self) -> float:
        """Derivative of ln(w) after the place."""
        return 1.0 / self.place if self.free else 1.0 / math.tan(self.place)

    def moved(self, force: float, mu: float) -> float:
        """The factor after one update."""
        self.speed = mu * self.speed + force * self.push * self._slope()
        self.place += self.speed
        return self.place if self.free else math.sin(self.place) / self.scale


def momentum_growth_time(
    shares: ArrayLike,
    pull: Pull,
    start: float,
    end: float,
    learning_rate: float,
    momentum: float,
    rooms: ArrayLike | None = None,
    velocity: float | None = None,
) -> float:
    """Flow time under momentum: by quadrature where growth is slow, else by the updates.

    Parameters
    ----------
    shares, pull, start, end, learning_rate, momentum, rooms, velocity
        As in :func:`heavy_ball_time`; given a velocity, it is always by the updates.

    Returns
    -------
    float
        Flow time; infinite if the mode does not arrive.

    Raises
    ------
    ValueError
        As in :func:`heavy_ball_time`.

    Examples
    --------
    >>> round(momentum_growth_time([1.0, 1.0], lambda lam: 1 - lam, 0.01, 0.5, 0.002, 0.9), 2)
    1.23
    """
    mass = momentum_mass(learning_rate, momentum)
    if not start <= end < math.inf:
        raise ValueError(f"end is {end}; expected a finite eigenvalue of at least {start}")
    lam = np.maximum(np.geomspace(start, end, 33), start)  # which it may miss by rounding
    rates = growth_rate(shares, pull, start, lam, rooms)
    if velocity is not None or mass * rates.max() > _SLOW:
        return heavy_ball_time(
            shares, pull, start, end, learning_rate, momentum, rooms=rooms, velocity=velocity
        )

    def lag(rate: Array) -> Array:
        return lagged_rate(rate, learning_rate, momentum)

    return float(growth_time(shares, pull, start, end, lag, rooms))
