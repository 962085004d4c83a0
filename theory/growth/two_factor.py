r"""The two-factor law: the growth of a mode accelerates as features adapt to it.

Let the amplitude of a mode be a product of two factors, a = w phi, from the late and the early part
of the network, and lambda = a^2 its eigenvalue in units of its final value. Gradient flow on any
loss of lambda changes both factors,

    dw/dt = g(lambda) w phi^2,    dphi/dt = g(lambda) w^2 phi,    d ln(lambda)/dt = A + B,

where A = 2 g phi^2 is the share of the late layers in the rate, and B = 2 g w^2 that of the early
ones. phi^2 - w^2 is conserved, and A B is proportional to g^2 lambda. With g proportional to
1 - lambda, as for Barlow Twins (arXiv 2303.15438, equation of the linear dynamics),

    d ln(lambda)/dt = (1 - lambda) sqrt(delta^2 + kappa lambda),
    delta = |A - B| / (1 - lambda),    kappa = 4 A B / (lambda (1 - lambda)^2),

so the two shares at one moment, which follow from gradients, determine the whole rise. At small
lambda the rate is delta + kappa lambda / (2 delta), which is linear in lambda; later it is
sqrt(kappa lambda), as for two layers that grow together. kappa = 0 is the logistic curve of a fixed
kernel. The law is exact for one mode of a two-layer linear network. A deeper network must be cut in
two; at the cut with the most equal shares, A B and the adaptation are largest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.arrays import finite_array, real_array

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TwoFactorLaw:
    """Constants of the law for one mode.

    Attributes
    ----------
    imbalance : float
        Rate delta in the limit of small lambda, in inverse flow time.
    coupling : float
        Slope kappa of the squared rate over 1 - lambda, in inverse squared flow time.
    """

    imbalance: float
    coupling: float


def most_even_cut(shares: ArrayLike) -> tuple[float, float, int]:
    """Cut a network where both sides have the most equal shares in a rate.

    Parameters
    ----------
    shares : array_like, shape (p,)
        Shares of the parameter tensors in order of depth, p at least 1; negative ones count as 0.

    Returns
    -------
    early, late : float
        Sums before and after the cut; a single tensor is late.
    cut : int
        Number of tensors before the cut.

    Raises
    ------
    ValueError
        If there are no shares or they are not finite.

    Examples
    --------
    >>> most_even_cut([1.0, 2.0, 4.0, 1.0])
    (3.0, 5.0, 2)
    """
    counted = np.maximum(finite_array("shares", shares, 1), 0.0)
    if not len(counted):
        raise ValueError("shares is empty; expected those of one parameter tensor at least")
    early = np.concatenate([[0.0], np.cumsum(counted)[:-1]])
    late = np.cumsum(counted[::-1])[::-1]
    cut = int(np.argmax(early * late))
    return float(early[cut]), float(late[cut]), cut


def two_factor_law(lam: float, late: float, early: float) -> TwoFactorLaw:
    """Two-factor law from the shares at one moment of a rise.

    Parameters
    ----------
    lam : float
        Eigenvalue at this moment, in units of its final value, between 0 and 1.
    late, early : float
        Shares A and B of the layers after and before the cut in d ln(lambda)/dt, in inverse flow
        time, at least 0.

    Returns
    -------
    TwoFactorLaw
        Law whose rate at ``lam`` is A + B.

    Raises
    ------
    ValueError
        If lambda is not between 0 and 1 or a share is negative or not finite.

    Examples
    --------
    >>> two_factor_law(0.5, late=1.0, early=1.0)
    TwoFactorLaw(imbalance=0.0, coupling=32.0)
    """
    _open_unit("lam", lam)
    for name, share in (("late", late), ("early", early)):
        if not (np.isfinite(share) and share >= 0):
            raise ValueError(f"{name} is {share}; expected a finite share of at least 0")
    rest = 1.0 - lam
    return TwoFactorLaw(abs(late - early) / rest, 4 * late * early / (lam * rest**2))


def growth_rate(law: TwoFactorLaw, lam: ArrayLike) -> Array:
    """Rate ``d ln(lambda) / dt`` of the law.

    Parameters
    ----------
    law : TwoFactorLaw
        Law of the mode.
    lam : array_like
        Eigenvalues from 0, where the rate is delta, to 1, where it vanishes.

    Returns
    -------
    ndarray
        Rates in inverse flow time.

    Raises
    ------
    ValueError
        If an eigenvalue is not from 0 to 1.

    Examples
    --------
    >>> float(growth_rate(TwoFactorLaw(imbalance=2.0, coupling=0.0), 0.25))
    1.5
    """
    lam = real_array("lam", lam)
    if not ((lam >= 0) & (lam <= 1)).all():
        raise ValueError(f"lam goes from {lam.min()} to {lam.max()}; expected numbers from 0 to 1")
    rate: Array = np.asarray((1.0 - lam) * _root(law, lam))
    return rate


def growth_time(law: TwoFactorLaw, start: float, end: ArrayLike) -> Array:
    r"""Flow time of a mode from one eigenvalue to another.

    Parameters
    ----------
    law : TwoFactorLaw
        Law of the mode.
    start : float
        Eigenvalue at the start, between 0 and 1.
    end : array_like
        Eigenvalues at the end, between 0 and 1; the step is at 1/2. Eigenvalues below ``start``
        give negative times.

    Returns
    -------
    ndarray
        Flow times; infinite if the rate is zero.

    Raises
    ------
    ValueError
        If an eigenvalue is not between 0 and 1.

    Notes
    -----
    The integral of ``1 / (lambda (1 - lambda) y)``, ``y = sqrt(delta^2 + kappa lambda)``, is
    elementary. With R = y(1) and ``w = (end - start) / (y(start) + y(end))`` it is

        (2 / delta) asinh(delta w / sqrt(start end))
        + (2 / R) asinh(R w / sqrt((1 - start) (1 - end))),

    by the addition theorem of asinh. Both terms have the same sign, so nothing cancels even for
    short rises, and delta or kappa may be zero.

    Examples
    --------
    The rise of a fixed kernel is logistic:

    >>> law = TwoFactorLaw(imbalance=2.0, coupling=0.0)
    >>> bool(np.isclose(growth_time(law, 0.1, 0.5), np.log(9) / 2))
    True
    """
    _open_unit("start", start)
    end = real_array("end", end)
    for value in end.flat:
        _open_unit("end", float(value))
    low, high = _root(law, start), _root(law, end)
    ceiling = float(_root(law, 1.0))
    if ceiling == 0.0:
        return np.where(end == start, 0.0, np.copysign(np.inf, end - start))
    w = (end - start) / (low + high)
    early = _asinh_over(law.imbalance, w / (np.sqrt(start) * np.sqrt(end)))
    late = _asinh_over(ceiling, w / (np.sqrt(1.0 - start) * np.sqrt(1.0 - end)))
    time: Array = np.asarray(2 * (early + late))
    return time


def _root(law: TwoFactorLaw, lam: ArrayLike) -> Array:
    """``sqrt(delta^2 + kappa lambda)``, without overflow of the squares."""
    root: Array = np.hypot(law.imbalance, np.sqrt(law.coupling) * np.sqrt(lam))
    return root


def _asinh_over(delta: float, x: Array) -> Array:
    """``asinh(delta x) / delta``, which is x at delta = 0."""
    ratio: Array = np.arcsinh(delta * x) / delta if delta > 0 else x
    return ratio


def _open_unit(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name} is {value}; expected a number between 0 and 1")
