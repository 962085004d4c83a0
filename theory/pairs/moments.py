r"""Moments of the pairs in the eigenbasis of their Gamma: the noise of each entry of Gamma.

With a_ij = v_j . x_i and b_ij = v_j . x'_i in the eigenbasis of the sample, entry (j, k) of the
sampling error of Gamma has mean zero and variance

    v_jk = w_jk / n,   w_jk = mean_i [(a_ij b_ik + b_ij a_ik) / 2]^2,   v_jj = var_i(a_ij b_ij) / n.

If an image has several pairs or views, w_jk is the mean over images of the square of the image's
mean entry. :mod:`theory.prediction.uncertainty` computes intervals from them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theory.arrays import Array
from theory.pairs.gamma import Pairs
from theory.pairs.spectrum import Spectrum

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Moments:
    """Moments of the pairs that the intervals need, in the eigenbasis of their Gamma.

    Attributes
    ----------
    gamma : ndarray, shape (K,)
        Sample eigenvalues; the first ``d`` belong to the modes of interest. A last entry of zero
        stands for all directions that were not computed, if there are any.
    noise : ndarray, shape (d, K)
        Variances v_jk of the entries of E (off the diagonal; v_jj is in ``own``).
    own : ndarray, shape (d,)
        Variances v_jj.
    tail : bool
        Whether the last column stands for the directions that were not computed.
    units : int
        Number of independent units: pairs, or images if several pairs share one.
    floor : float
        Size of the most negative eigenvalue of the sample, a measure of its noise.
    views : ndarray, shape (d,), or None
        Part of ``own`` that comes from the choice of views; the rest comes from the choice of
        images. NaN if the pairs do not tell: one pair of an image, or two views. None if not given.
    """

    gamma: Array
    noise: Array
    own: Array
    tail: bool
    units: int
    floor: float = 0.0
    views: Array | None = None

    def deviations(self) -> tuple[Array, Array]:
        """Standard deviations (d,) of eigenvalues over the choice of images and of views.

        Examples
        --------
        >>> zero = np.zeros((1, 1))
        >>> moments = Moments(zero[0], zero, np.array([25.0]), False, 9, views=np.array([9.0]))
        >>> [part.tolist() for part in moments.deviations()]
        [[4.0], [3.0]]
        """
        views = np.full(self.own.shape, np.nan) if self.views is None else self.views
        return np.sqrt(self.own - views), np.sqrt(views)


def pair_moments(
    pairs: Pairs, spectrum: Spectrum, dim: int, groups: NDArray[np.int64] | None = None
) -> Moments:
    """Variances of the entries of the sample's Gamma, in one pass over the pairs.

    Parameters
    ----------
    pairs : Pairs
        From :func:`theory.pairs.gamma.read_pairs`.
    spectrum : Spectrum
        Spectrum of their Gamma, with at least ``dim`` modes.
    dim : int
        Number d of modes of interest.
    groups : ndarray of int, shape (n,), optional
        Unit of every pair, for example its image: pairs of one image are not independent. Default:
        each pair is a unit. If the pairs are k views of each image, images are the units anyway.

    Returns
    -------
    Moments
        Moments. They cost O(n m K) floating-point operations and 16 n K bytes for K computed modes.
        k views of each image are summed image by image: 8 k bytes x (m + 2 K + k) for each image of
        a chunk, and 8 (d + 1) bytes for each image.

    Raises
    ------
    ValueError
        If ``groups`` does not have one entry for each pair, or has fewer than two units.

    Examples
    --------
    >>> from theory.pairs.gamma import read_pairs
    >>> from theory.pairs.spectrum import spectrum
    >>> x = np.random.default_rng(0).standard_normal((400, 3))
    >>> pairs = read_pairs(x, x)
    >>> pair_moments(pairs, spectrum(pairs, 1), 1).own.round(3).tolist()
    [0.005]
    """
    n, vectors = pairs.n, spectrum.eigenvectors
    if pairs.views is not None:
        return _moments_of_views(pairs, spectrum, dim, pairs.views)
    if groups is not None and np.shape(groups) != (n,):
        raise ValueError(f"groups has shape {np.shape(groups)}; expected one unit a pair, ({n},)")
    a, b = np.empty((n, vectors.shape[1])), np.empty((n, vectors.shape[1]))
    rest = np.empty((n, 3))  # |x|^2, |x'|^2 and x.x' outside the computed modes
    row = 0
    for x, x_prime in pairs:
        rows = slice(row, row + len(x))
        np.matmul(x, vectors, out=a[rows])
        np.matmul(x_prime, vectors, out=b[rows])
        for column, (p, q, p_in, q_in) in enumerate(
            [(x, x, a, a), (x_prime, x_prime, b, b), (x, x_prime, a, b)]
        ):
            rest[rows, column] = np.einsum("ij,ij->i", p, q)
            rest[rows, column] -= np.einsum("ij,ij->i", p_in[rows], q_in[rows])
        row += len(x)
    if groups is None:
        return _moments(spectrum, *_ungrouped(a, b, rest, dim))
    return _moments(spectrum, *_grouped(a, b, rest, dim, groups))


def _moments(spectrum: Spectrum, noise: Array, own: Array, views: Array, units: int) -> Moments:
    """Moments from variances whose last column is of all directions that were not computed."""
    tail, modes = not spectrum.complete, np.arange(len(own))
    gamma = np.append(spectrum.eigenvalues, 0.0) if tail else spectrum.eigenvalues
    noise = noise if tail else noise[:, :-1]
    noise[modes, modes] = 0.0
    floor = max(-spectrum.lowest, 0.0)
    return Moments(gamma, noise, own, tail, units, floor, np.minimum(views, own))


def _moments_of_views(pairs: Pairs, spectrum: Spectrum, dim: int, k: int) -> Moments:
    """Moments of all pairs of k views, with images as units, summed chunk by chunk.

    An image's entry (j, l) is sum_a q_aj p_al / k, where p_a is view a in the eigenbasis and q_a
    the mean of the others. Outside the computed modes its square is q^T G q / k^2 with the Gram
    matrix G of the views there. The part of the views is their jackknife variance in each image.
    """
    units, vectors = pairs.n // k, spectrum.eigenvectors
    noise = np.zeros((dim, vectors.shape[1] + 1))
    diagonal = np.empty((units, dim))
    within = np.zeros(dim)
    row = 0
    for x, others in pairs:
        rows = slice(row, row + len(x) // k)
        views = x.reshape(-1, k, pairs.m)
        p = views @ vectors
        q = (others @ vectors[:, :dim]).reshape(-1, k, dim)
        outside = views @ views.transpose(0, 2, 1) - p @ p.transpose(0, 2, 1)
        for j in range(dim):
            entries = np.einsum("ca,cal->cl", q[:, :, j], p) / k
            noise[j, :-1] += np.sum(entries**2, axis=0)
            noise[j, -1] += np.einsum("ca,cab,cb->", q[:, :, j], outside, q[:, :, j]) / k**2
            diagonal[rows, j] = entries[:, j]
        if k > 2:
            # Without view a, an image's entry is (sum of all entries - 2 those of a) / less.
            alone = p[:, :, :dim] * q
            without = (k * diagonal[rows, None] - 2.0 * alone) / (k - 2)
            within += (k - 1) * without.var(axis=1).sum(axis=0)
        row = rows.stop
    own = diagonal.var(axis=0) / units
    views_part = within / units**2 if k > 2 else np.full(dim, np.nan)
    return _moments(spectrum, noise / units**2, own, views_part, units)


def _ungrouped(a: Array, b: Array, rest: Array, dim: int) -> tuple[Array, Array, Array, int]:
    """Moments if every pair is a unit: matrix products without an (n, d, K) array."""
    n = len(a)
    top_a, top_b = a[:, :dim], b[:, :dim]
    both = top_a * top_b
    squares_a = np.hstack([a**2, rest[:, :1]])
    squares_b = np.hstack([b**2, rest[:, 1:2]])
    products = np.hstack([a * b, rest[:, 2:]])
    second = (top_a**2).T @ squares_b + (top_b**2).T @ squares_a + 2.0 * both.T @ products
    return second / (4.0 * n * n), both.var(axis=0) / n, np.full(dim, np.nan), n


def _grouped(
    a: Array, b: Array, rest: Array, dim: int, groups: NDArray[np.int64]
) -> tuple[Array, Array, Array, int]:
    """Moments if pairs share images: products are summed within a unit before squaring."""
    n = len(a)
    order, starts = unit_order(n, groups)
    units = len(starts)
    if units < 2:
        raise ValueError(f"groups holds {units} unit(s); expected at least 2")
    a, b, rest = a[order], b[order], rest[order]
    noise, own, views = np.empty((dim, a.shape[1] + 1)), np.empty(dim), np.empty(dim)
    for j in range(dim):
        entries = np.add.reduceat(0.5 * (a[:, j, None] * b + b[:, j, None] * a), starts) / n
        noise[j, :-1] = np.sum(entries**2, axis=0)
        product = a[:, j] * b[:, j]
        own[j], views[j] = variance_of_mean(product, starts), _variance_within(product, starts)
        # In the other directions, pairs of one image are treated as independent.
        outside = a[:, j] ** 2 * rest[:, 1] + b[:, j] ** 2 * rest[:, 0]
        outside += 2.0 * a[:, j] * b[:, j] * rest[:, 2]
        noise[j, -1] = outside.sum() / (4.0 * n * n)
    return noise, own, views, units


def unit_order(n: int, groups: NDArray[np.int64] | None) -> tuple[Indices, Indices]:
    """Order in which pairs of a unit are adjacent, and the start of each unit.

    Parameters
    ----------
    n : int
        Number of pairs.
    groups : ndarray of int, shape (n,), optional
        Unit of every pair. Default: each pair is a unit.

    Returns
    -------
    order : ndarray of int, shape (n,)
        Pairs in order of units.
    starts : ndarray of int, shape (units,)
        Place in ``order`` of the first pair of each unit.

    Examples
    --------
    >>> order, starts = unit_order(4, np.array([7, 2, 7, 2]))
    >>> order.tolist(), starts.tolist()
    ([1, 3, 0, 2], [0, 2])
    """
    if groups is None:
        return np.arange(n), np.arange(n)
    order = np.argsort(groups, kind="stable")
    return order, np.flatnonzero(np.r_[True, np.diff(np.asarray(groups)[order]) != 0])


def variance_of_mean(products: Array, starts: Indices) -> float:
    """Variance of the mean of numbers that are independent between units.

    Parameters
    ----------
    products : ndarray, shape (n,)
        Numbers in order of units.
    starts : ndarray of int, shape (units,)
        Place of the first number of each unit.

    Returns
    -------
    float
        The variance.

    Examples
    --------
    >>> variance_of_mean(np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 2]))
    0.5
    """
    n = len(products)
    weight = np.diff(np.r_[starts, n]) / n  # share of a unit in the mean
    deviation = np.add.reduceat(products, starts) / n - weight * products.mean()
    return float(np.sum(deviation**2))


def _variance_within(products: Array, starts: Indices) -> float:
    """Part of the variance of the mean that comes from numbers of the same unit; NaN if none do.

    Pairs of an image are taken as independent draws: their variance is pooled over images.
    """
    n, sizes = len(products), np.diff(np.r_[starts, len(products)])
    if n == len(sizes):
        return float("nan")
    means = np.repeat(np.add.reduceat(products, starts) / sizes, sizes)
    return float(np.sum((products - means) ** 2)) / (n - len(sizes)) / n
