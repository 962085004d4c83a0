r"""The lag of momentum: a mode grows more slowly than gradient flow says.

SGD with momentum mu and learning rate eta is, in flow time t = eta n / (1 - mu), a ball with mass:

    m theta'' + theta' = -grad L,      m = mu eta / (1 - mu)^2.

Let an eigenvalue lambda = a^2 grow at the constant rate rho under gradient flow, a' = (rho/2) a.
With mass, a grows as exp(r t / 2) with m r^2 / 4 + r / 2 = rho / 2, so that

    r = (sqrt(1 + 2 m rho) - 1) / m.

The updates themselves multiply a by the larger root x of

    x^2 - (1 + mu + eta rho / 2) x + mu = 0,      r = 2 ln(x) (1 - mu) / eta,

which is exact, and tends to the flow's r as eta goes to 0 at fixed m. Without momentum it is the
rate of plain gradient descent, 2 ln(1 + eta rho / 2) / eta.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, non_negative_number, positive_number, real_array
from theory.linear.momentum import momentum_coefficient


def momentum_mass(learning_rate: float, momentum: float) -> float:
    """Mass of the ball in flow time, ``mu eta / (1 - mu)^2``.

    Parameters
    ----------
    learning_rate : float
        Step size eta.
    momentum : float
        Coefficient mu, from 0 to below 1.

    Returns
    -------
    float
        Mass m, a flow time: growth at rates above 1/m is slowed down a lot.

    Raises
    ------
    ValueError
        If the learning rate is not positive or the momentum is out of range.

    Examples
    --------
    >>> round(momentum_mass(0.002, 0.9), 12)
    0.18
    """
    mu = momentum_coefficient(momentum)
    return mu * positive_number("learning_rate", learning_rate) / (1.0 - mu) ** 2


def lagged_rate(rate: ArrayLike, learning_rate: float, momentum: float) -> Array:
    """Rate at which an eigenvalue grows under momentum, where gradient flow has ``rate``.

    Parameters
    ----------
    rate : array_like
        Rates rho = d ln(lambda)/dt of gradient flow, at least 0.
    learning_rate, momentum : float
        As in :func:`momentum_mass`.

    Returns
    -------
    ndarray
        Rates r in inverse flow time, of the updates themselves; below ``rate``.

    Raises
    ------
    ValueError
        If a rate is negative or NaN, and as in :func:`momentum_mass`.

    Examples
    --------
    >>> round(float(lagged_rate(4.3, 0.002, 0.9)), 2)
    3.28
    """
    rate = _rates("rate", rate)
    eta = positive_number("learning_rate", learning_rate)
    mu = momentum_coefficient(momentum)
    half = eta * rate / 2
    gap = 1.0 - mu - half
    # x - 1, the larger root of y^2 + (1 - mu - half) y - half = 0, written so that nothing cancels.
    root = np.hypot(gap, 2 * np.sqrt(half))
    small = np.where(gap > 0, 2 * half / (np.abs(gap) + root), (np.abs(gap) + root) / 2)
    return np.asarray(2 * np.log1p(small) * (1.0 - mu) / eta)


def flow_lagged_rate(rate: ArrayLike, mass: float) -> Array:
    """Rate at which an eigenvalue grows in the flow with mass, ``(sqrt(1 + 2 m rho) - 1) / m``.

    Parameters
    ----------
    rate : array_like
        Rates rho of gradient flow, at least 0.
    mass : float
        Mass m, at least 0.

    Returns
    -------
    ndarray
        Rates r; ``rate`` itself without mass.

    Raises
    ------
    ValueError
        If a rate or the mass is negative or NaN.

    Examples
    --------
    >>> flow_lagged_rate([4.3, 0.0], 0.18).round(2)
    array([3.31, 0.  ])
    """
    rate, mass = _rates("rate", rate), non_negative_number("mass", mass)
    return np.asarray(2 * rate / (1 + np.sqrt(1 + 2 * mass * rate)))


def gradient_rate(measured: ArrayLike, learning_rate: float, momentum: float) -> Array:
    """Rate of gradient flow behind a rate measured under momentum: undoes :func:`lagged_rate`.

    Parameters
    ----------
    measured : array_like
        Rates r of a run, at least 0.
    learning_rate, momentum : float
        As in :func:`momentum_mass`.

    Returns
    -------
    ndarray
        Rates rho.

    Raises
    ------
    ValueError
        As in :func:`lagged_rate`.

    Examples
    --------
    >>> round(float(gradient_rate(lagged_rate(4.3, 0.002, 0.9), 0.002, 0.9)), 9)
    4.3
    """
    measured = _rates("measured", measured)
    eta = positive_number("learning_rate", learning_rate)
    mu = momentum_coefficient(momentum)
    small = np.expm1(measured * eta / (2 * (1.0 - mu)))  # x - 1
    return np.asarray(2 / eta * small * (1.0 - mu + small) / (1.0 + small))


def _rates(name: str, rates: ArrayLike) -> Array:
    values = real_array(name, rates)
    if not (values >= 0).all():
        raise ValueError(f"{name} holds {values.min()}; expected rates of at least 0")
    return values
