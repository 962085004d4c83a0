r"""All pairs of k views of each image.

With k views of each of n images, every ordered pair of different views of an image counts:

    Gamma = (S^T S - sum_a V_a^T V_a) / (n k (k - 1)),     S = sum_a V_a     (samples in rows).

This is the mean of Gamma over all ways to choose two of the k views. It estimates the Gamma of
training that draws new views of the same images, with less noise than k/2 disjoint pairs of the
same views and at no more cost. It is also the Gamma of n k pairs (view, mean of the other views of
its image), which is how :func:`theory.pairs.gamma.read_pairs` reads views.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, real_array


def view_pairs(views: ArrayLike) -> tuple[Array, Array]:
    """Each view, and the mean of the other views of its image.

    Parameters
    ----------
    views : array_like, shape (n, k, m)
        k views of each image.

    Returns
    -------
    x, others : ndarray, shape (n k, m)
        Views in order of images, and the mean of the k - 1 others of the same image.

    Raises
    ------
    ValueError
        If the views do not have three dimensions with k >= 2 and m >= 1.

    Examples
    --------
    >>> x, others = view_pairs([[[1.0], [2.0], [6.0]]])
    >>> x.ravel().tolist(), others.ravel().tolist()
    ([1.0, 2.0, 6.0], [4.0, 3.5, 1.5])
    """
    array = real_array("views", views)
    if array.ndim != 3 or array.shape[1] < 2 or array.shape[2] < 1:
        raise ValueError(
            f"views have shape {array.shape}; expected (n, k, m) with k >= 2 views of each image"
        )
    k, m = array.shape[1:]
    others = array.sum(axis=1, keepdims=True) - array
    others /= k - 1
    return array.reshape(-1, m), others.reshape(-1, m)


def views_gamma(views: Array | Iterable[Array], *, center: bool = False) -> Array:
    """Gamma over all ordered pairs of views, as a matrix.

    Parameters
    ----------
    views : ndarray, shape (n, k, m), or iterable of such arrays
        k views of each image; or chunks of images, which can be iterated over more than once.
    center : bool
        Subtract the mean over all views.

    Returns
    -------
    ndarray, shape (m, m)
        Gamma. Beyond a chunk and its sums it takes 8 m^2 bytes, and (k + 1) n m^2 multiplications.

    Raises
    ------
    ValueError
        If the chunks are not all of shape (n, k, m) with equal k >= 2 and m.

    Examples
    --------
    >>> views = np.array([[[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [2.0, 0.0]]])
    >>> views_gamma(views).tolist()
    [[2.0, 0.25], [0.25, 0.0]]
    """
    chunks = [views] if isinstance(views, np.ndarray) and views.ndim == 3 else views
    total, mean, weight = np.zeros((0, 0)), np.zeros(0), 0
    for chunk in chunks:
        flat, _ = view_pairs(chunk)
        k = np.shape(chunk)[1]
        sums = flat.reshape(-1, k, flat.shape[1]).sum(axis=1)
        product = (sums.T @ sums - flat.T @ flat) / (k - 1)
        total = product if weight == 0 else total + product
        mean = sums.sum(axis=0) if weight == 0 else mean + sums.sum(axis=0)
        weight += len(flat)
    if weight == 0:
        raise ValueError("no views are given; expected at least one image")
    gamma = total / weight
    return gamma - np.outer(mean, mean) / weight**2 if center else gamma
