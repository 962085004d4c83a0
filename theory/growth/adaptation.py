r"""Factors from a measured adaptation: how much the rate of a mode grows with the mode.

The shares of early and late layers in a rate do not tell how fast it will rise. Let the amplitude
be a product of vectors, a = w . phi in R^h, of the late weights and the early features. Gradient
flow is dw/dt = g a phi, dphi/dt = g a w, so that

    d ln(lambda)/dt = A + B = 2 g (|phi|^2 + |w|^2),    A = 2 g |phi|^2,    B = 2 g |w|^2,
    [(A + B) / g]^2 - 16 lambda = conserved.

So the law is that of two factors, but with the coupling kappa = 16 g^2 = 4 A B cos^2 / lambda,
where cos is that of the angle between w and phi: wide random layers have large shares that do not
belong to the mode, and 4 A B / lambda is an upper bound (Cauchy-Schwarz). The adaptation

    beta = d ln(rate / g) / d ln(lambda) = kappa lambda / (2 rate^2)    for g = const

can be measured by a small step of the network along its own flow. It is 0 for a fixed kernel, 1/2
for two balanced factors, 1 - 1/N for N, and negative where features are used up
(:mod:`theory.growth.factors`); of shares A_l it is 1 - sum_l A_l^2 / (sum_l A_l)^2. This module
finds the shares that have a given rate and adaptation; derived here.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, finite_array, non_negative_number

_MOST = 0.95  # of the adaptation: twenty balanced factors


def adaptation_of(shares: ArrayLike) -> float:
    """Adaptation of factors by their shares, ``1 - sum(A^2) / sum(A)^2``.

    Parameters
    ----------
    shares : array_like, shape (p,)
        Shares of factors without limited room, at least 0 and not all 0.

    Returns
    -------
    float
        d ln(rate / g) / d ln(lambda), from 0 to 1 - 1/p.

    Raises
    ------
    ValueError
        If a share is negative or not finite, or none is positive.

    Examples
    --------
    >>> adaptation_of([3.0, 3.0]), adaptation_of([3.0])
    (0.5, 0.0)
    """
    shares = finite_array("shares", shares, 1)
    if (shares < 0).any() or not shares.any():
        raise ValueError(f"shares is {shares.tolist()}; expected numbers from 0, one of them above")
    part = shares / shares.sum()
    return float(1.0 - np.square(part).sum())


def factors_with(rate: float, adaptation: float) -> tuple[Array, Array]:
    """Fewest factors with a given rate and adaptation.

    Parameters
    ----------
    rate : float
        Rate d ln(lambda)/dt, at least 0.
    adaptation : float
        d ln(rate / g) / d ln(lambda), below 1; more than 0.95 counts as 0.95.

    Returns
    -------
    shares, rooms : ndarray, shape (p,)
        Arguments of :func:`theory.growth.factors.growth_time`: p - 1 equal factors and a smaller
        one, or a single one with the room -1/adaptation where the adaptation is negative.

    Raises
    ------
    ValueError
        If the rate is negative or a number is not finite.

    Notes
    -----
    p - 1 shares x and one 1 - (p - 1) x of the rate have the adaptation beta if
    ``p (p - 1) x^2 - 2 (p - 1) x + beta = 0``; the fewest are p = ceil(1 / (1 - beta)).

    Examples
    --------
    >>> factors_with(2.0, 0.5)
    (array([1., 1.]), array([inf, inf]))
    >>> factors_with(2.0, -0.1)
    (array([2.]), array([10.]))
    """
    rate = non_negative_number("rate", rate)
    if not math.isfinite(adaptation):
        raise ValueError(f"adaptation is {adaptation}; expected a finite number")
    if adaptation <= 0:
        room = -1.0 / adaptation if adaptation < 0 else math.inf
        return np.array([rate]), np.array([room])
    beta = min(adaptation, _MOST)
    count = max(math.ceil(1.0 / (1.0 - beta) - 1e-9), 2)
    others = count - 1
    root = math.sqrt(max(others**2 - others * count * beta, 0.0))
    equal = (others + root) / (count * others)
    parts = np.full(count, equal)
    parts[-1] = max(1.0 - others * equal, 0.0)
    return rate * parts, np.full(count, np.inf)
