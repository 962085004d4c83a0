r"""Bounds and limits of the coding rate and its reduction, with a = d / (n eps^2).

Bounds hold for every embedding, limits for a distortion far above or far below all singular values.
An obvious bound is wrong: d/2 times the entropy of the proportions of the groups does not depend on
eps, while the reduction grows without limit as eps tends to zero, unless every group has the rank
of the whole (:func:`small_eps_slope`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, non_negative_number, positive_number, whole_number
from theory.coding_rate.rate import embeddings, group_shares


def energy_bounds(energy: float, n: int, d: int, eps: float) -> tuple[float, float]:
    """Smallest and largest coding rate of embeddings with a given energy.

    Parameters
    ----------
    energy : float
        Energy ``F = ||Z||_F^2``; n for samples of unit norm.
    n, d : int
        Numbers of samples and dimensions.
    eps : float
        Distortion.

    Returns
    -------
    low, high : float
        ``1/2 log(1 + a F)``, attained iff the rank is at most 1, and ``q/2 log(1 + a F / q)`` with
        ``q = min(n, d)``, attained iff the q singular values are equal. The second is below
        ``a F / 2``.

    Raises
    ------
    ValueError
        If the energy is negative, a size is below 1, or ``eps`` is not a finite number above zero.

    Examples
    --------
    >>> [round(bound, 4) for bound in energy_bounds(2.0, 2, 2, eps=1.0)]
    [0.5493, 0.6931]
    """
    energy = non_negative_number("energy", energy)
    q = min(whole_number("n", n, 1), whole_number("d", d, 1))
    scaled = d / n * energy / positive_number("eps", eps) ** 2
    return float(0.5 * np.log1p(scaled)), float(q / 2 * np.log1p(scaled / q))


def hadamard_bound(z: ArrayLike, eps: float) -> float:
    """Hadamard's bound on the coding rate from the norms of samples or of dimensions.

    Parameters
    ----------
    z : array_like, shape (n, d)
        Embeddings, samples in rows.
    eps : float
        Distortion.

    Returns
    -------
    float
        Smaller of ``1/2 sum_i log(1 + a ||z_i||^2)`` over rows and over columns of Z; each is
        attained iff they are orthogonal.

    Raises
    ------
    ValueError
        If ``z`` is not a finite matrix, or ``eps`` is not a finite number above zero.

    Examples
    --------
    >>> round(hadamard_bound([[1.0, 0.0], [0.0, 1.0]], eps=1.0), 4)
    0.6931
    """
    z = embeddings(z, rows=1)
    scaled = (z * (np.sqrt(z.shape[1] / z.shape[0]) / positive_number("eps", eps))) ** 2
    return float(min(0.5 * np.log1p(scaled.sum(axis=axis)).sum() for axis in (0, 1)))


def gradient_norm_bound(n: int, d: int, eps: float) -> float:
    """Largest spectral norm of the derivative of a coding rate, ``sqrt(a) / 2``.

    Parameters
    ----------
    n, d : int
        Samples and dimensions.
    eps : float
        Distortion.

    Returns
    -------
    float
        Bound. It is attained by an embedding with a singular value of ``1 / sqrt(a)``, the maximum
        of ``a s / (1 + a s^2)``.

    Raises
    ------
    ValueError
        If a size is below 1 or ``eps`` is not a finite number above zero.

    Examples
    --------
    >>> gradient_norm_bound(4, 1, eps=0.5)
    0.5
    """
    n, d = whole_number("n", n, 1), whole_number("d", d, 1)
    return float(np.sqrt(d / n) / positive_number("eps", eps) / 2)


def large_eps_reduction(z: ArrayLike, groups: ArrayLike, eps: float) -> float:
    """Coding rate reduction to leading order in 1 / eps, an upper bound for every eps.

    Parameters
    ----------
    z : array_like, shape (n, d)
        Embeddings, samples in rows.
    groups : array_like of int, shape (n,), or of float, shape (n, k)
        Labels or shares, as in :func:`theory.coding_rate.rate.group_shares`.
    eps : float
        Distortion, large in comparison with all singular values.

    Returns
    -------
    float
        ``1/4 (d / eps^2)^2 sum_k p_k ||S_k - S||_F^2`` with ``p_k = n_k / n``, S the uncentred
        second moment of all samples and S_k that of group k.

    Raises
    ------
    ValueError
        As in :func:`theory.coding_rate.rate.coding_rate_reduction`.

    Notes
    -----
    The reduction is the loss of the concave ``f(S) = 1/2 logdet(I + c S)``, ``c = d / eps^2``, by
    averaging. Its curvature ``1/2 c^2 ||(I + c S)^-1/2 H (I + c S)^-1/2||_F^2`` along H is between
    ``1/2 c^2 ||H||_F^2`` and that divided by ``(1 + c mu)^2``, mu the largest eigenvalue of any
    S_k. The reduction is therefore between the result and the result divided by ``(1 + c mu)^2``.

    Examples
    --------
    >>> z = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    >>> large_eps_reduction(z, [0, 0, 1, 1], eps=1.0)
    0.5
    """
    z, eps = embeddings(z, rows=2), positive_number("eps", eps)
    n, d = z.shape
    shares, moment = group_shares(groups, n), z.T @ z / n
    spread = 0.0
    for share in shares.T:
        group_moment = (share[:, None] * z).T @ z / share.sum()
        spread += share.sum() / n * np.sum((group_moment - moment) ** 2)
    return float(0.25 * (d / eps**2) ** 2 * spread)


def small_eps_slope(z: ArrayLike, groups: ArrayLike) -> float:
    """Growth of the coding rate reduction as the distortion tends to zero.

    Parameters
    ----------
    z : array_like, shape (n, d)
        Embeddings, samples in rows.
    groups : array_like of int, shape (n,), or of float, shape (n, k)
        Labels or shares, as in :func:`theory.coding_rate.rate.group_shares`.

    Returns
    -------
    float
        Limit of the derivative of the reduction in log(1 / eps^2),
        ``1/2 (rank Z - sum_k p_k rank Z_k)``. Ranks are those of ``numpy.linalg.matrix_rank``.

    Raises
    ------
    ValueError
        As in :func:`theory.coding_rate.rate.coding_rate_reduction`.

    Examples
    --------
    >>> small_eps_slope([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], [0, 0, 1, 1])
    0.5
    """
    z = embeddings(z, rows=2)
    shares = group_shares(groups, len(z))
    proportions: Array = shares.mean(axis=0)
    ranks = [np.linalg.matrix_rank(z[share > 0]) for share in shares.T]
    return float(0.5 * (np.linalg.matrix_rank(z) - proportions @ ranks))
