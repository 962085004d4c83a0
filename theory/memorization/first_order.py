r"""Memorisation scores of a linear model to first order, without training.

The map that linear Barlow Twins learns has M = W^T W = sum_{j<=d} v_j v_j^T / gamma_j over the top
modes of Gamma (arXiv 2303.15438, section 4). The mean squared distance between two independent
augmentations of a point x is

    E ||W x' - W x''||^2 = 2 tr(M S_x),        S_x the covariance of the augmentations of x.

This is its alignment loss for squared, unnormalised distances. The memorisation score of SSLMem
(arXiv 2401.12233) for leaving x out is the difference 2 tr[(M_{-x} - M) S_x]. Without the k pairs
of a point among N, Gamma changes by a matrix of rank 2k and a factor:

    Gamma_{-x} = N/(N - k) (Gamma - B/N),   B = sum_pairs (p p^T - q q^T),  p, q = (x +- x')/2.

:func:`first_order_scores` uses the derivative of M along that change;
:mod:`theory.memorization.leave_one_out` solves the changed problem, with a bound on the error. Both
work in the eigenbasis of Gamma, which is computed once: :func:`linear_points` for inputs,
:func:`kernel_points` for any kernel. With the tangent kernel of a trained network on its pairs, the
scores estimate the memorisation of the network without training another one. Data may be centred
before; the mean then does not change when a point is left out.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.arrays import Array, finite_array, paired_views, symmetric_matrix, whole_number

Indices = NDArray[np.int64]

_EPS = float(np.finfo(np.float64).eps)
CHUNK_BYTES = 64 * 2**20
"""Default size of the arrays of points that are treated together, in bytes."""

_ASYMMETRY = 1e-5  # asymmetry of a kernel matrix in float32


@dataclass(frozen=True, eq=False)
class Points:
    """Points of a linear model in the eigenbasis of its Gamma, from :func:`linear_points`.

    Attributes
    ----------
    gamma : ndarray, shape (r,)
        Eigenvalues of Gamma, descending; with fewer pairs than inputs, zeros outside the span of
        the pairs are left out.
    dim : int
        Number d of learned modes, all with a positive eigenvalue.
    n_pairs : int
        Number N of pairs.
    counts : ndarray of int, shape (n,)
        Number of pairs of each point.
    sums, differences : ndarray, shape (n, k, r)
        p = (x + x')/2 and q = (x - x')/2 of the pairs of each point, padded with zeros to the
        largest count.
    factors : ndarray, shape (n, V, r)
        Matrices A with ``S_x = A^T A``.
    """

    gamma: Array
    dim: int
    n_pairs: int
    counts: Indices
    sums: Array
    differences: Array
    factors: Array


def linear_points(
    x: ArrayLike,
    x_prime: ArrayLike,
    dim: int,
    *,
    augmentations: ArrayLike | None = None,
    every: bool = False,
    groups: ArrayLike | None = None,
) -> Points:
    """Prepare the points of a linear model.

    Parameters
    ----------
    x, x_prime : array_like, shape (N, m)
        Views of all training pairs, samples in rows. With new augmentations in every epoch, both
        are the mean over the augmentations of a point.
    dim : int
        Number of learned modes, the embedding dimension d.
    augmentations : array_like, shape (n, V, m), optional
        V >= 2 further augmentations of each point, in the order of the values of ``groups``.
        Default: S_x from the pairs, the mean of ``(x - x')(x - x')^T / 2`` over those of a point;
        scores then include the fit to these views, not only to the point.
    every : bool
        Whether ``augmentations`` are all possible ones, equally likely, so that S_x is exact. If
        not, they are a sample, and S_x is its unbiased estimate.
    groups : array_like of int, shape (N,), optional
        Point of each pair. Default: every pair is a separate point.

    Returns
    -------
    Points
        Points. They cost an eigenproblem of size min(m, 2N), and 2 n V m r operations.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, there are fewer than three points or two
        augmentations, or no mode has a positive eigenvalue.

    Warns
    -----
    UserWarning
        If ``dim`` exceeds the number of positive modes: the other modes are never learned.

    Examples
    --------
    >>> x = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> points = linear_points(x, x, 1, augmentations=np.stack([x, -x], axis=1), every=True)
    >>> points.gamma.round(4).tolist(), points.factors.shape
    ([1.7676, 0.5657], (3, 2, 2))
    """
    a, b = paired_views(x, x_prime)
    n_pairs, m = a.shape
    basis = None
    if 2 * n_pairs < m:  # the range of Gamma is in the span of the views
        basis = np.linalg.qr(np.vstack([a, b]).T)[0]
        a, b = a @ basis, b @ basis
    sampled = None
    if augmentations is not None:
        sampled = _deviations(finite_array("augmentations", augmentations, 3), m, every)
        sampled = sampled if basis is None else sampled @ basis
    return _points(a, b, dim, sampled, groups)


def kernel_points(
    kernel: ArrayLike,
    dim: int,
    *,
    cross_kernel: ArrayLike | None = None,
    every: bool = False,
    groups: ArrayLike | None = None,
) -> Points:
    """Prepare the points of a linear model in the feature space of a kernel.

    Parameters
    ----------
    kernel : array_like, shape (2N, 2N)
        Kernel matrix of the stacked views, first views before second ones, as in
        :func:`theory.kernels.modes.kernel_modes`; for instance the tangent kernel of a network.
    dim : int
        Number of learned modes.
    cross_kernel : array_like, shape (n, V, 2N), optional
        Kernel between V >= 2 further augmentations of each point and the stacked views.
    every, groups
        As in :func:`linear_points`, like the default without ``cross_kernel``.

    Returns
    -------
    Points
        Points. The features of a view are ``kappa^-1/2 Q^T k(X, x)`` with K = Q diag(kappa) Q^T;
        eigenvalues of K within rounding of zero are dropped. They cost two eigenproblems of size 2N
        and 8 n V N^2 operations.

    Raises
    ------
    ValueError
        If the kernel is not symmetric, of odd size or has no positive eigenvalue, or as
        :func:`linear_points`.

    Warns
    -----
    UserWarning
        As in :func:`linear_points`.

    Examples
    --------
    >>> x = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> kernel_points(np.tile(x @ x.T, (2, 2)), 1).gamma.round(4).tolist()
    [1.7676, 0.5657]
    """
    kernel = symmetric_matrix("kernel", kernel, tolerance=_ASYMMETRY)
    size = len(kernel)
    if size % 2:
        raise ValueError(f"kernel has shape {kernel.shape}; expected (2N, 2N) for N pairs")
    kappa, axes = np.linalg.eigh(kernel)
    above = kappa > max(_EPS * size * kappa[-1], -kappa[0], 0.0)
    if not np.any(above):
        raise ValueError(
            f"kernel has a largest eigenvalue of {kappa[-1]:.3g}; expected a positive one"
        )
    root, axes = np.sqrt(kappa[above]), axes[:, above]
    views = axes * root
    sampled = None
    if cross_kernel is not None:
        cross = _deviations(finite_array("cross_kernel", cross_kernel, 3), size, every)
        sampled = cross @ (axes / root)
    return _points(views[: size // 2], views[size // 2 :], dim, sampled, groups)


def alignment_losses(points: Points) -> Array:
    """Alignment losses of the points for the map trained on all points.

    Parameters
    ----------
    points : Points
        From :func:`linear_points` or :func:`kernel_points`.

    Returns
    -------
    ndarray, shape (n,)
        Losses ``2 tr(M S_x)``, squared distances of embeddings without normalisation.

    Examples
    --------
    >>> x = np.array([[2.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    >>> points = linear_points(x, x, 1, augmentations=np.stack([x, -x], axis=1), every=True)
    >>> alignment_losses(points).round(4).tolist()
    [3.0, 0.0, 3.0]
    """
    top = points.factors[:, :, : points.dim]
    return 2.0 * np.sum(top**2 / points.gamma[: points.dim], axis=(1, 2))


def first_order_scores(points: Points, *, chunk_bytes: int = CHUNK_BYTES) -> Array:
    r"""Memorisation scores to first order in the share of a point.

    Parameters
    ----------
    points : Points
        From :func:`linear_points` or :func:`kernel_points`.
    chunk_bytes : int
        Memory limit: bytes of the arrays of points that are treated together (one at least).

    Returns
    -------
    ndarray, shape (n,)
        Derivatives of ``2 tr(M S_x)`` along Gamma_{-x} - Gamma, without an eigenproblem for each
        point. They cost 2 n d r (V + 2k) operations.

    Raises
    ------
    ValueError
        If the eigenvalues of mode d and the next one are equal up to rounding: a single point would
        then decide which of them is learned.

    Notes
    -----
    The derivative of M along D is sum_jk F_jk (v_j^T D v_k) v_j v_k^T, with F_jk the divided
    difference of the function that is 1/gamma on learned modes and 0 on the others:
    -1/(gamma_j gamma_k) within, 1/(gamma_j (gamma_j - gamma_k)) across, 0 outside.

    Examples
    --------
    >>> x = np.array([[2.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    >>> points = linear_points(x, x, 1, augmentations=np.stack([x, -x], axis=1), every=True)
    >>> first_order_scores(points)[[0, 2]].round(4).tolist()
    [0.75, 0.75]
    """
    gamma, dim, n_pairs = points.gamma, points.dim, points.n_pairs
    top, rest = gamma[:dim, None], gamma[dim:]
    if len(rest) and top[-1, 0] - rest[0] <= _EPS * len(gamma) * np.abs(gamma).max():
        raise ValueError(
            f"modes {dim} and {dim + 1} both have gamma {rest[0]:.6g}; expected a dim at a gap"
        )
    weights = np.hstack([-1.0 / (top * top.T), 2.0 / (top * (top - rest))])  # (d, r)
    scores = np.empty(len(points.counts))
    for part in chunks_of_points(len(scores), 3 * dim * len(gamma), chunk_bytes):
        a, p, q = points.factors[part], points.sums[part], points.differences[part]
        spread = a[:, :, :dim].swapaxes(1, 2) @ a  # rows j <= d of S_x
        removed = p[:, :, :dim].swapaxes(1, 2) @ p - q[:, :, :dim].swapaxes(1, 2) @ q
        shrink = points.counts[part] * np.einsum("njj,j->n", spread[:, :, :dim], 1.0 / gamma[:dim])
        change = -shrink - np.einsum("jk,njk,njk->n", weights, removed, spread)
        scores[part] = 2.0 * change / (n_pairs - points.counts[part])
    return scores


def _points(
    a: Array, b: Array, dim: int, sampled: Array | None, groups: ArrayLike | None
) -> Points:
    """Rotate all arrays into the eigenbasis of Gamma, and sort pairs by point."""
    n_pairs = len(a)
    dim = whole_number("dim", dim, 1)
    labels = np.arange(n_pairs) if groups is None else np.asarray(groups)
    if labels.shape != (n_pairs,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"groups has shape {labels.shape} and type {labels.dtype}; "
            f"expected whole numbers of shape ({n_pairs},)"
        )
    _, point, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(counts) < 3:
        raise ValueError(f"{len(counts)} point(s) given; expected at least 3")
    if sampled is not None and len(sampled) != len(counts):
        raise ValueError(
            f"augmentations of {len(sampled)} points for {len(counts)}; expected as many"
        )
    cross = a.T @ b
    gamma, vectors = np.linalg.eigh((cross + cross.T) / (2 * n_pairs))
    gamma, vectors = gamma[::-1], vectors[:, ::-1]
    positive = int(np.count_nonzero(gamma > _EPS * 2 * n_pairs * np.abs(gamma).max()))
    if positive == 0:
        raise ValueError(
            f"the largest eigenvalue of Gamma is {gamma[0]:.3g}; expected a positive one"
        )
    if dim > positive:
        warnings.warn(
            f"dim is {dim} but only {positive} modes have a positive eigenvalue; the other"
            f" {dim - positive} are never learned",
            UserWarning,
            stacklevel=3,
        )
        dim = positive
    a, b = a @ vectors, b @ vectors
    order = np.argsort(point, kind="stable")
    place = np.arange(n_pairs) - np.repeat(np.cumsum(counts) - counts, counts)
    sums = np.zeros((len(counts), counts.max(), len(gamma)))
    differences = np.zeros_like(sums)
    sums[point[order], place] = (a + b)[order] / 2.0
    differences[point[order], place] = (a - b)[order] / 2.0
    # (x - x')(x - x')^T / 2 is 2 q q^T.
    factors = (
        differences * np.sqrt(2.0 / counts)[:, None, None] if sampled is None else sampled @ vectors
    )
    return Points(gamma, dim, n_pairs, counts, sums, differences, factors)


def _deviations(views: Array, columns: int, every: bool) -> Array:
    """Deviations from the mean of each point; the sum of their products is the covariance."""
    if views.shape[1] < 2 or views.shape[2] != columns:
        raise ValueError(
            f"augmentations have shape {views.shape}; "
            f"expected (n, V, {columns}) with V of at least 2"
        )
    spread = views - views.mean(axis=1, keepdims=True)
    return spread / np.sqrt(views.shape[1] - (0 if every else 1))


def chunks_of_points(count: int, numbers: int, chunk_bytes: int = CHUNK_BYTES) -> list[slice]:
    """Slices of points that are few enough to treat together.

    Parameters
    ----------
    count : int
        Number of points.
    numbers : int
        Number of float64 values for each point.
    chunk_bytes : int
        Largest size of a slice in bytes.

    Returns
    -------
    list of slice
        Slices of as many points as fit, or of one.

    Raises
    ------
    ValueError
        If ``chunk_bytes`` is below 1.

    Examples
    --------
    >>> chunks_of_points(3, 2**22)
    [slice(0, 2, None), slice(2, 4, None)]
    """
    rows = max(1, whole_number("chunk_bytes", chunk_bytes, 1) // (8 * numbers))
    return [slice(start, start + rows) for start in range(0, count, rows)]
