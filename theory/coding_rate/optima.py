r"""Configurations of embeddings with known coding rate reduction, and the optimal ones.

All have samples of unit norm: the reduction grows with the scale of embeddings, and a factor c on
them is equivalent to a factor 1 / c on eps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import finite_array, positive_number, whole_number


def subspaces_reduction(groups: int, rank: int, size: int, d: int, eps: float) -> float:
    """Coding rate reduction of groups that fill orthogonal subspaces uniformly.

    Parameters
    ----------
    groups : int
        Number of groups K.
    rank : int
        Dimension p of the subspace of each group.
    size : int
        Number n_k of samples in each group, at least p.
    d : int
        Dimension of the embedding, at least K p.
    eps : float
        Distortion.

    Returns
    -------
    float
        ``K p / 2 log(1 + d / (K p eps^2)) - p / 2 log(1 + d / (p eps^2))`` for every size: the p
        singular values of a group are sqrt(n_k / p). This is the largest reduction of such groups
        only for small eps. For large eps it is larger if each group has a single direction.

    Raises
    ------
    ValueError
        If a number is below 1, ``size`` is below ``rank``, ``d`` is below K p, or ``eps`` is not a
        finite number above zero.

    Notes
    -----
    arXiv 2006.08558, section 2, gives the range of eps in which it is the largest.

    Examples
    --------
    >>> round(subspaces_reduction(2, 1, 2, d=2, eps=1.0), 4)  # log 2 - 1/2 log 3
    0.1438
    """
    groups, rank = whole_number("groups", groups, 1), whole_number("rank", rank, 1)
    whole_number("size", size, rank)
    each = whole_number("d", d, groups * rank) / positive_number("eps", eps) ** 2
    whole = groups * rank / 2 * np.log1p(each / (groups * rank))
    return float(whole - rank / 2 * np.log1p(each / rank))


def singleton_rate(d: int, eps: float) -> float:
    """Mean coding rate of groups with one sample of unit norm each.

    Parameters
    ----------
    d : int
        Dimension of the embedding.
    eps : float
        Distortion.

    Returns
    -------
    float
        ``1/2 log(1 + d / eps^2)``, the same for all such embeddings: the reduction of singletons is
        largest where the coding rate is. Identical views of an image count as one sample.

    Raises
    ------
    ValueError
        If ``d`` is below 1 or ``eps`` is not a finite number above zero.

    Examples
    --------
    >>> round(singleton_rate(3, eps=1.0), 4)  # 1/2 log 4
    0.6931
    """
    return float(0.5 * np.log1p(whole_number("d", d, 1) / positive_number("eps", eps) ** 2))


def two_view_rate(cosines: ArrayLike, d: int, eps: float) -> float:
    """Mean coding rate of groups of two views of an image, of unit norm.

    Parameters
    ----------
    cosines : array_like, shape (n,)
        Cosine of the angle between the two views of every image.
    d : int
        Dimension of the embedding.
    eps : float
        Distortion.

    Returns
    -------
    float
        Mean of ``1/2 log[(1 + b)^2 - b^2 cos^2]`` with ``b = d / (2 eps^2)``. The minimum is at
        cosines 1 and -1: it aligns views only up to sign.

    Raises
    ------
    ValueError
        If there is no cosine, one is not from -1 to 1 (a little rounding is allowed), ``d`` is
        below 1, or ``eps`` is not a finite number above zero.

    Examples
    --------
    >>> b = 3 / 2
    >>> round(two_view_rate([1.0, -1.0], d=3, eps=1.0), 4)  # a singleton's 1/2 log(1 + 2 b)
    0.6931
    """
    cosines = finite_array("cosines", cosines, 1)
    if len(cosines) == 0 or np.max(np.abs(cosines)) > 1 + 1e-9:
        raise ValueError(f"cosines is {cosines}; expected at least one, each from -1 to 1")
    b = whole_number("d", d, 1) / (2 * positive_number("eps", eps) ** 2)
    sines = np.maximum(0.0, (1 - cosines) * (1 + cosines))
    # (1 + b)^2 - b^2 cos^2 = 1 + 2 b + b^2 sin^2: no difference of large numbers.
    return float(0.5 * np.mean(np.log1p(2 * b + b**2 * sines)))


def best_instance_reduction(instances: int, d: int, eps: float) -> float:
    """Largest coding rate reduction with images as groups and identical views of unit norm.

    Parameters
    ----------
    instances : int
        Number n of images; their number of views has no effect.
    d : int
        Dimension of the embedding.
    eps : float
        Distortion.

    Returns
    -------
    float
        ``q / 2 log(1 + a F / q) - 1/2 log(1 + d / eps^2)`` with ``q = min(n, d)``, where
        ``a = d / (n eps^2)`` and ``F = ||Z||_F^2 = n`` count one view of every image. It is
        attained iff all q singular values are equal: by orthonormal samples, or by a tight frame if
        n > d. Images of norm c are equivalent to unit norm with distortion ``eps / c``.

    Raises
    ------
    ValueError
        If a number is below 1 or ``eps`` is not a finite number above zero.

    Notes
    -----
    The mean rate of the groups is :func:`singleton_rate`, so the coding rate at given energy is
    maximised (:func:`theory.coding_rate.bounds.energy_bounds`).

    Examples
    --------
    >>> round(best_instance_reduction(2, 2, eps=1.0), 4)  # log 2 - 1/2 log 3
    0.1438
    """
    q = min(whole_number("instances", instances, 1), whole_number("d", d, 1))
    scaled = d / positive_number("eps", eps) ** 2  # a F
    return float(q / 2 * np.log1p(scaled / q) - singleton_rate(d, eps))
