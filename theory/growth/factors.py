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
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, finite_array, real_array

Pull = Callable[[Array], Array]
"""Pull g of a loss at eigenvalues (n,) -> (n,), in any unit."""

_PANEL = 0.25  # width of a panel of the quadrature, in the logarithm of the largest factor squared
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)


def growth_rate(shares: ArrayLike, pull: Pull, start: float, lam: ArrayLike) -> Array:
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
        Eigenvalues above 0.

    Returns
    -------
    ndarray
        Rates of gradient flow, of the shape of ``lam``; the sum of the shares at ``start``.

    Raises
    ------
    ValueError
        If a share is negative or not finite, an eigenvalue is not positive, or the pull at
        ``start`` is not.

    Examples
    --------
    >>> float(growth_rate([1.0, 1.0], lambda lam: 1 - lam, 0.5, 0.5))
    2.0
    """
    shares, first = _checked(shares, pull, start)
    lam = _positive("lam", lam)
    if not shares.any():
        return np.zeros(lam.shape)
    log_factor = _log_factor(shares, np.log(lam / start).ravel())
    return _rate(shares, pull, start, first, log_factor)[0].reshape(lam.shape)


def growth_time(
    shares: ArrayLike,
    pull: Pull,
    start: float,
    end: ArrayLike,
    lag: Callable[[Array], Array] | None = None,
) -> Array:
    r"""Flow time of a mode from one eigenvalue to another.

    Parameters
    ----------
    shares, pull, start
        As in :func:`growth_rate`.
    end : array_like
        Eigenvalues at the end, above 0; those below ``start`` give negative times.
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
    of the factor that grows most. With ``lag`` it takes the rate to follow rho at once; where
    growth is faster than the lag, iterate :func:`theory.growth.heavy_ball.heavy_ball_time`.

    Examples
    --------
    The rise of a fixed kernel is logistic:

    >>> time = growth_time([2.0 * 0.9], lambda lam: 1 - lam, 0.1, 0.5)
    >>> bool(np.isclose(time, np.log(9) / 2))
    True
    """
    shares, first = _checked(shares, pull, start)
    end = _positive("end", end)
    times = np.empty(end.shape)
    for place, value in np.ndenumerate(end):
        times[place] = _time(shares, pull, start, first, float(value), lag)
    return times


def _time(
    shares: Array,
    pull: Pull,
    start: float,
    first: float,
    end: float,
    lag: Callable[[Array], Array] | None,
) -> float:
    if end == start:
        return 0.0
    if not shares.any():
        return float(np.copysign(np.inf, end - start))
    last = float(_log_factor(shares, np.log([end / start]))[0])
    edges = np.linspace(0.0, last, int(np.ceil(abs(last) / _PANEL)) + 1)
    half, middle = np.diff(edges)[:, None] / 2, (edges[1:] + edges[:-1])[:, None] / 2
    nodes, weights = (middle + half * _NODES).ravel(), (half * _WEIGHTS).ravel()
    rate, slope = _rate(shares, pull, start, first, nodes)
    if not (rate > 0).all():
        return float(np.copysign(np.inf, end - start))
    return float(weights @ (slope / (rate if lag is None else lag(rate))))


def _log_factor(shares: Array, log_growth: Array) -> Array:
    """``ln(1 + A tau)`` of the greatest share A where ln(lambda) has grown by some amounts.

    ln(lambda) is a convex function of it with slopes from 1 to p, so that Newton's method converges
    from the right without a bracket.
    """
    log_factor = log_growth.copy()
    for _ in range(100):
        value, slope = _log_lambda(shares, log_factor)
        step = (value - log_growth) / slope
        log_factor = log_factor - step
        if (np.abs(step) <= 1e-15 * np.abs(log_factor)).all():
            break
    return log_factor


def _log_lambda(shares: Array, log_factor: Array) -> tuple[Array, Array]:
    """ln(lambda / lambda_0) and its derivative after the greatest factor."""
    part = (shares / shares.max())[:, None]
    grown = part * np.expm1(log_factor)
    slope = (part * np.exp(log_factor) / (1.0 + grown)).sum(axis=0)
    return np.log1p(grown).sum(axis=0), slope


def _rate(
    shares: Array, pull: Pull, start: float, first: float, log_factor: Array
) -> tuple[Array, Array]:
    """The rate, and the derivative of ln(lambda) after the logarithm of the greatest factor."""
    value, slope = _log_lambda(shares, log_factor)
    strength = np.asarray(pull(start * np.exp(value)), dtype=float) / first
    return strength * shares.max() * slope * np.exp(value - log_factor), slope


def _checked(shares: ArrayLike, pull: Pull, start: float) -> tuple[Array, float]:
    shares = finite_array("shares", shares, 1)
    if not len(shares) or (shares < 0).any():
        raise ValueError(f"shares is {shares.tolist()}; expected one or more of at least 0")
    (start,) = _positive("start", [start])
    first = float(np.asarray(pull(np.array([start])), dtype=float)[0])
    if not (np.isfinite(first) and first > 0):
        raise ValueError(f"pull is {first} at lambda = {start}; expected a positive number there")
    return shares, first


def _positive(name: str, value: ArrayLike) -> Array:
    values = real_array(name, value)
    bad = values[~((values > 0) & np.isfinite(values))]
    if bad.size:
        raise ValueError(f"{name} is {bad[0]}; expected a finite eigenvalue above 0")
    return values
