r"""VICReg's rise: the standard deviation of a mode obeys a linear equation.

The hinge of VICReg (arXiv 2105.04906, eq. 1) pulls dimension j of the embedding with the inverse
of its standard deviation. Where one mode with direction u makes up the variance of the dimensions
that it uses and eps is small, its pull is

    g(lambda) = c sum_j u_j^2 / sqrt(u_j^2 lambda)  proportional to  lambda^(-1/2).

For two factors with the shares A and B of the rate at lambda_0 (:mod:`theory.growth.factors`), the
factors in units of their start then obey dw/dt = (A/2) phi, dphi/dt = (B/2) w, which is linear, and
the standard deviation sigma = sqrt(lambda) = sigma_0 w phi is

    sigma(t) / sigma_0 = cosh(x) + (A + B) / (2 sqrt(A B)) sinh(x),    x = sqrt(A B) t.

Balanced factors grow at a constant rate; with one of them fixed, sigma grows along a line.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, non_negative_number, positive_number, real_array


def standard_deviation_curve(t: ArrayLike, sigma: float, late: float, early: float) -> Array:
    """Standard deviation of a mode under the hinge of VICReg.

    Parameters
    ----------
    t : array_like
        Flow times from the moment of the shares, at least 0.
    sigma : float
        Standard deviation at that moment.
    late, early : float
        Shares A and B of d ln(lambda)/dt = 2 d ln(sigma)/dt at that moment, at least 0.

    Returns
    -------
    ndarray
        Standard deviations, of the shape of ``t``.

    Raises
    ------
    ValueError
        If a number is negative or not finite, or sigma is not positive.

    Examples
    --------
    Balanced factors grow exponentially, at half the rate of lambda:

    >>> round(float(standard_deviation_curve(2.0, 0.1, late=0.5, early=0.5)), 4)
    0.2718
    """
    sigma, late, early = _checked(sigma, late, early)
    t = real_array("t", t)
    if not ((t >= 0) & np.isfinite(t)).all():
        raise ValueError(f"t goes from {t.min()} to {t.max()}; expected finite times from 0")
    x = np.sqrt(late * early) * t
    ratio = np.sinh(x) / np.where(x > 0, x, 1.0)
    return np.asarray(sigma * (np.cosh(x) + (late + early) / 2 * t * np.where(x > 0, ratio, 1.0)))


def standard_deviation_time(sigma: float, end: ArrayLike, late: float, early: float) -> Array:
    r"""Flow time until a mode's standard deviation reaches a value.

    Parameters
    ----------
    sigma, late, early
        As in :func:`standard_deviation_curve`.
    end : array_like
        Standard deviations, at least ``sigma``.

    Returns
    -------
    ndarray
        Flow times, of the shape of ``end``; infinite if both shares are zero.

    Raises
    ------
    ValueError
        As in :func:`standard_deviation_curve`, and if an end is below ``sigma``.

    Notes
    -----
    With s = end / sigma the time is

        (A B)^(-1/2) {asinh[2 s sqrt(A B) / |A - B|] - asinh[2 sqrt(A B) / |A - B|]}
        = (A B)^(-1/2) asinh{sqrt(A B) (s^2 - 1) / [s (A + B)/2 + sqrt(A B s^2 + (A - B)^2/4)]},

    of which the second form has no difference that cancels and holds for A = B and A B = 0.

    Examples
    --------
    >>> standard_deviation_time(0.1, [0.1, 0.2718], late=0.5, early=0.5).round(3)
    array([0., 2.])
    """
    sigma, late, early = _checked(sigma, late, early)
    end = real_array("end", end)
    if not ((end >= sigma) & np.isfinite(end)).all():
        raise ValueError(
            f"end is {end.tolist()}; expected finite standard deviations of at least {sigma}"
        )
    if late + early == 0:
        return np.where(end == sigma, 0.0, np.inf)
    s, root = end / sigma, np.sqrt(late) * np.sqrt(early)
    below = s * (late + early) / 2 + np.hypot(root * s, (late - early) / 2)
    y = (s - 1) * (s + 1) / below
    return np.asarray(np.arcsinh(root * y) / root if root > 0 else y)


def _checked(sigma: float, late: float, early: float) -> tuple[float, float, float]:
    return (
        positive_number("sigma", sigma),
        non_negative_number("late", late),
        non_negative_number("early", early),
    )
