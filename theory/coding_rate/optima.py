r"""Configurations of embeddings whose coding rate reduction is known, and the best of them.

All have samples of unit norm: the reduction grows with the scale of embeddings, and scaling them
by c is dividing eps by c.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import finite_array, positive_number, whole_number


def subspaces_reduction(groups: int, rank: int, size: int, d: int, eps: float) -> float:
    """Coding rate reduction of groups that fill orthogonal subspaces evenly.

    Parameters
    ----------
    groups : int
        Number of groups K.
    rank : int
        Dimension p of the subspace of each.
    size : int
        Samples n_k of each, at least p.
    d : int
        Dimension of the embedding, at least K p.
    eps : float
        Distortion.

    Returns
    -------
    float
        ``K p / 2 log(1 + d / (K p eps^2)) - p / 2 log(1 + d / (p eps^2))``, whatever the size: the
        p singular values of a group are sqrt(n_k / p). The greatest reduction of such groups for
        small eps only; for large eps one that puts the energy of each group into one direction is
        greater.

    Raises
    ------
    ValueError
        If a number is below 1, ``size`` below ``rank``, ``d`` below K p, or ``eps`` not a finite
        number above zero.

    Notes
    -----
    arXiv 2006.08558, section 2, says for which eps it is the greatest.

    Examples
    --------
    >>> round(subspaces_reduction(2, 1, 2, d=2, eps=1.0), 4)  # log 2 less 1/2 log 3
    0.1438
    """
    groups, rank = whole_number("groups", groups, 1), whole_number("rank", rank, 1)
    whole_number("size", size, rank)
    each = whole_number("d", d, groups * rank) / positive_number("eps", eps) ** 2
    whole = groups * rank / 2 * np.log1p(each / (groups * rank))
    return float(whole - rank / 2 * np.log1p(each / rank))


def singleton_rate(d: int, eps: float) -> float:
    """Mean coding rate of groups that are one sample of unit norm each.

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
        greatest where the coding rate is. Identical views of an image count as one sample.

    Raises
    ------
    ValueError
        If ``d`` is below 1 or ``eps`` not a finite number above zero.

    Examples
    --------
    >>> round(singleton_rate(3, eps=1.0), 4)  # 1/2 log 4
    0.6931
    """
    return float(0.5 * np.log1p(whole_number("d", d, 1) / positive_number("eps", eps) ** 2))


def two_view_rate(cosines: ArrayLike, d: int, eps: float) -> float:
    """Mean coding rate of groups that are two views of an image, of unit norm.

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
        Mean of ``1/2 log[(1 + b)^2 - b^2 cos^2]`` with ``b = d / (2 eps^2)``. Least for a cosine of
        1 and of -1 alike: it aligns views up to sign only.

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
    """Greatest coding rate reduction of images coded apart, views identical and of unit norm.

    Parameters
    ----------
    instances : int
        Number of images n; their number of views does not matter.
    d : int
        Dimension of the embedding.
    eps : float
        Distortion.

    Returns
    -------
    float
        ``q / 2 log(1 + a F / q) - 1/2 log(1 + d / eps^2)`` with ``q = min(n, d)``, one view of
        every image in ``a = d / (n eps^2)`` and in ``F = ||Z||_F^2 = n``. Reached iff all q
        singular values are equal: by orthonormal samples, or a tight frame where n > d. Images of
        another norm c are those of unit norm at a distortion of ``eps / c``.

    Raises
    ------
    ValueError
        If a number is below 1 or ``eps`` not a finite number above zero.

    Notes
    -----
    The mean rate of the groups is :func:`singleton_rate`, so that what is left is to maximise the
    coding rate at given energy (:func:`theory.coding_rate.bounds.energy_bounds`).

    Examples
    --------
    >>> round(best_instance_reduction(2, 2, eps=1.0), 4)  # log 2 less 1/2 log 3
    0.1438
    """
    q = min(whole_number("instances", instances, 1), whole_number("d", d, 1))
    scaled = d / positive_number("eps", eps) ** 2  # a F
    return float(q / 2 * np.log1p(scaled / q) - singleton_rate(d, eps))
