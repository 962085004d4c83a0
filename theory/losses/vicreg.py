r"""VICReg near the origin: its operator, and the time until which it holds.

As long as the variance of every embedding dimension is far below the eps under its square root,
sqrt(var + eps) = sqrt(eps) + var / (2 sqrt(eps)), and VICReg is quadratic in the weights,

    L = const - Tr(W cM W^T) + O(W^4),      dW/dt = 2 W cM,

for f(x) = W x and t = learning rate x step: see :mod:`theory.losses.near_origin`. When a variance
exceeds eps, its standard deviation dominates and the hinge pulls it to 1 at a different rate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from theory.arrays import Array, non_negative_number, paired_views, positive_number, whole_number
from theory.losses.near_origin import in_eigenbasis


def vicreg_operator(
    x: ArrayLike, x_prime: ArrayLike, dim: int, mu: float, lam: float, eps: float = 1e-4
) -> Array:
    """Operator of VICReg, ``mu (S + S') / (4 d sqrt(eps)) - lam Delta / d``.

    It is valid only as long as the variance of every embedding dimension is far below ``eps``; see
    :func:`vicreg_valid_until`.

    Parameters
    ----------
    x, x_prime : array_like, shape (n, m)
        Two views, samples in rows.
    dim : int
        Embedding dimension d, over which the loss averages.
    mu : float
        Weight of the variance term ``mean(relu(1 - std)) / 2`` summed over both views.
    lam : float
        Weight of the invariance term, the mean square over all n x d entries.
    eps : float
        Number added to each variance under the square root, below 1, where the hinge is active.

    Returns
    -------
    ndarray, shape (m, m)
        Operator, where S and S' are the unbiased centred covariances of the two views and Delta is
        the mean of ``(x - x')(x - x')^T``. The covariance term is of fourth order and is left out.

    Raises
    ------
    ValueError
        If the views are not valid, ``dim`` is below 1, a weight is negative or not finite, or
        ``eps`` is not between 0 and 1.

    Notes
    -----
    arXiv 2105.04906, section 4, with the normalisation of its published code.

    Examples
    --------
    >>> x = [[1.0], [-1.0]]
    >>> vicreg_operator(x, x, dim=1, mu=25.0, lam=25.0).round(6).tolist()
    [[2500.0]]
    """
    x, x_prime = paired_views(x, x_prime)
    dim = whole_number("dim", dim, 1)
    eps = positive_number("eps", eps)
    if eps >= 1.0:
        raise ValueError(f"eps is {eps}; expected a number below 1, where the hinge is active")
    for name, weight in (("mu", mu), ("lam", lam)):
        non_negative_number(name, weight)
    spread = _covariance(x) + _covariance(x_prime)
    gap = x - x_prime
    delta = gap.T @ gap / x.shape[0]
    return mu * spread / (4.0 * dim * np.sqrt(eps)) - lam * delta / dim


def vicreg_valid_until(
    operator: ArrayLike,
    w0: ArrayLike,
    x: ArrayLike,
    x_prime: ArrayLike,
    eps: float = 1e-4,
    fraction: float = 0.1,
) -> float:
    """Flow time until which VICReg's operator is accurate.

    Parameters
    ----------
    operator : array_like, shape (m, m)
        Result of :func:`vicreg_operator`.
    w0 : array_like, shape (d, m)
        Weights at t = 0.
    x, x_prime : array_like, shape (n, m)
        Views that the operator was computed from.
    eps : float
        Number eps of the loss.
    fraction : float
        Largest accepted variance, as a fraction of eps; the relative size of the neglected terms is
        about this.

    Returns
    -------
    float
        Time before which no embedding dimension has a variance above ``fraction * eps``; 0 if one
        may exceed it at the start, infinite if none reaches it.

    Raises
    ------
    ValueError
        If shapes do not fit or a number is not above zero.

    Notes
    -----
    The time is a bound: the variance of dimension i is at most the largest eigenvalue of S and S'
    times ``||w_i(t)||^2``, a sum of exponentials. Its logarithm is convex, so it crosses the limit
    upwards once.

    Examples
    --------
    >>> x = [[1.0], [-1.0]]
    >>> operator = vicreg_operator(x, x, dim=1, mu=25.0, lam=25.0)
    >>> round(vicreg_valid_until(operator, [[1e-6]], x, x), 6)
    0.001542
    """
    nu, _, projected = in_eigenbasis(operator, w0)
    x, x_prime = paired_views(x, x_prime)
    if x.shape[1] != len(nu):
        raise ValueError(f"x has shape {x.shape}; expected (n, {len(nu)}) as the operator has")
    limit = positive_number("fraction", fraction) * positive_number("eps", eps)
    spread = max(np.linalg.norm(_covariance(view), ord=2) for view in (x, x_prime))
    with np.errstate(divide="ignore"):  # the logarithm of an absent component is minus infinity
        log_power = 2.0 * np.log(np.abs(projected))
        log_room = np.log(limit) - np.log(spread)

    def excess(t: float) -> float:
        return float(np.logaddexp.reduce(log_power + 4.0 * nu * t, axis=1).max() - log_room)

    if excess(0.0) >= 0:
        return 0.0
    growing = (nu > 0) & (log_power > -np.inf)
    if not np.any(growing) or spread == 0:
        return np.inf
    # The first component that would reach the limit on its own gives an upper bound.
    latest = float(np.min(((log_room - log_power) / (4.0 * np.where(nu > 0, nu, 1.0)))[growing]))
    if excess(latest) <= 0:  # alone in its dimension, up to rounding
        return latest
    return float(brentq(excess, 0.0, latest, xtol=1e-300, rtol=1e-12))


def _covariance(x: Array) -> Array:
    centred = x - x.mean(axis=0)
    return centred.T @ centred / (x.shape[0] - 1)
