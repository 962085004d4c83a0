r"""Metrics of embeddings, each written as its definition.

They are slow counterparts of the functions of the same names in ``sslsim``: sums over pairs are
sums over pairs, LiDAR is a generalised eigenproblem, CKA an alignment of Gram matrices. Embeddings
are (n, d), samples in rows; spectra and ranks come from :mod:`theory.metrics.spectra`.

A collapsed embedding has defined values, never NaN: for a constant embedding LiDAR and CKA are 0,
and uniformity is 0, its worst value.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from theory.arrays import Array, positive_number
from theory.metrics.spectra import (
    alpha_req,
    centred,
    covariance_spectrum,
    cross_spectrum,
    effective_rank,
    rank_me,
    rows_array,
)

__all__ = [
    "alignment",
    "alpha_req",
    "covariance_spectrum",
    "cross_spectrum",
    "effective_rank",
    "lidar",
    "linear_cka",
    "rank_me",
    "subspace_alignment",
    "uniformity",
]


def lidar(z: ArrayLike, groups: ArrayLike, delta: float = 1e-4) -> float:
    """LiDAR, the effective rank of linear discriminant analysis with images as classes.

    Parameters
    ----------
    z : array_like, shape (n, d)
        Embeddings of several views of each image.
    groups : array_like of int, shape (n,)
        Image of each row.
    delta : float
        Number added to the within-image covariance, in the squared unit of the embeddings.

    Returns
    -------
    float
        LiDAR, between 1 and min(d, number of images - 1); 0 for a constant embedding.

    Raises
    ------
    ValueError
        If ``z`` is not a finite matrix, ``groups`` does not fit, there are fewer than two images,
        an image has a single view, or ``delta`` is not above zero.

    Notes
    -----
    arXiv 2312.04000, section 4: effective rank of Sw^-1/2 Sb Sw^-1/2, with Sb the covariance of the
    means of images and Sw the mean covariance about them plus ``delta``; images are weighted by
    their number of views. Shares of eigenvalues sum to one, without the paper's small constant.

    Examples
    --------
    >>> z = [[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]]
    >>> round(lidar(z, [0, 0, 1, 1]), 12)
    1.0
    """
    z, delta = centred(rows_array("z", z, 2)), positive_number("delta", delta)
    labels = np.asarray(groups)
    n, d = z.shape
    if labels.shape != (n,):
        raise ValueError(f"groups has shape {labels.shape}; expected ({n},), one a row of z")
    names, counts = np.unique(labels, return_counts=True)
    if len(names) < 2 or counts.min() < 2:
        raise ValueError(
            f"groups names {len(names)} image(s), one with {counts.min()} view(s); expected at "
            "least two images of at least two views"
        )
    sb, sw = np.zeros((d, d)), delta * np.eye(d)
    for name in names:
        views = z[labels == name]
        mean = views.mean(axis=0)
        sb += len(views) / n * np.outer(mean, mean)
        sw += (views - mean).T @ (views - mean) / n
    return effective_rank(scipy.linalg.eigh(sb, sw, eigvals_only=True).clip(min=0))


def alignment(z: ArrayLike, z_prime: ArrayLike, power: float = 2) -> float:
    """Mean distance between the two views of a sample on the unit sphere.

    Parameters
    ----------
    z, z_prime : array_like, shape (n, d)
        Embeddings of two views, scaled to unit norm here; a zero embedding stays zero.
    power : float
        Power of the distance, above zero.

    Returns
    -------
    float
        Mean of ``||z_i - z'_i||^power``, from 0 to ``2^power``; lower is better.

    Raises
    ------
    ValueError
        If a view is not a finite matrix, their shapes differ, or ``power`` is not above zero.

    Notes
    -----
    arXiv 2005.10242, section 4.1.

    Examples
    --------
    >>> round(alignment([[2.0, 0.0]], [[0.0, 3.0]]), 12)
    2.0
    """
    z, z_prime = rows_array("z", z, 1), rows_array("z_prime", z_prime, 1)
    power = positive_number("power", power)
    _equal_shapes("z", z, "z_prime", z_prime)
    pairs = zip(_on_sphere(z), _on_sphere(z_prime), strict=True)
    return float(np.mean([np.linalg.norm(a - b) ** power for a, b in pairs]))


def uniformity(z: ArrayLike, t: float = 2) -> float:
    """Logarithm of the mean Gaussian potential between samples on the unit sphere.

    Parameters
    ----------
    z : array_like, shape (n, d)
        Embeddings of at least two samples, scaled to unit norm here; a zero embedding stays zero.
    t : float
        Inverse width of the potential, above zero.

    Returns
    -------
    float
        Logarithm of the mean of ``exp(-t ||z_i - z_j||^2)`` over i < j, from ``-4t`` (two antipodal
        points) to 0 (all points equal); lower is better.

    Raises
    ------
    ValueError
        If ``z`` is not a finite matrix of at least two rows, or ``t`` is not above zero.

    Notes
    -----
    arXiv 2005.10242, section 4.1; as in its code, terms with i = j are left out.

    Examples
    --------
    >>> round(uniformity([[1.0, 0.0], [-2.0, 0.0]]), 12)
    -8.0
    """
    z, t = _on_sphere(rows_array("z", z, 2)), positive_number("t", t)
    pairs = [-t * np.sum((z[i] - z[j]) ** 2) for i in range(len(z)) for j in range(i)]
    return float(np.logaddexp.reduce(pairs) - np.log(len(pairs)))


def linear_cka(x: ArrayLike, y: ArrayLike) -> float:
    """Linear centred kernel alignment of two representations of the same samples.

    Parameters
    ----------
    x : array_like, shape (n, p)
        First representation of at least two samples.
    y : array_like, shape (n, q)
        Second representation.

    Returns
    -------
    float
        Alignment between 0 and 1. It is 1 if representations are equal up to rotation, scale and
        shift, and 0 if one is constant.

    Raises
    ------
    ValueError
        If one is not a finite matrix of at least two rows, or their numbers of rows differ.

    Notes
    -----
    arXiv 1905.00414, equations 3 and 4: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) of K = X X^T and
    L = Y Y^T.

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> round(linear_cka(x, 3 * x[:, ::-1]), 12)
    1.0
    """
    x_rows, y_rows = centred(rows_array("x", x, 2)), centred(rows_array("y", y, 2))
    if len(x_rows) != len(y_rows):
        raise ValueError(f"x has {len(x_rows)} rows and y {len(y_rows)}; expected the same samples")
    if not (x_rows.any() and y_rows.any()):
        return 0.0
    k, gram = _gram(x_rows), _gram(y_rows)
    return _hsic(k, gram) / float(np.sqrt(_hsic(k, k) * _hsic(gram, gram)))


def subspace_alignment(u: ArrayLike, v: ArrayLike) -> float:
    """Mean squared cosine of the angles between two subspaces.

    Parameters
    ----------
    u, v : array_like, shape (m, k)
        Bases in columns, linearly independent but not necessarily orthonormal.

    Returns
    -------
    float
        ``||U^T V||_F^2 / k`` for orthonormal bases, from 0 (orthogonal) to 1 (equal subspaces). Its
        mean over random subspaces is k / m.

    Raises
    ------
    ValueError
        If one is not a finite matrix, their shapes differ, or columns are linearly dependent.

    Examples
    --------
    >>> u, v = [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]
    >>> round(subspace_alignment(u, v), 12)
    0.5
    """
    u, v = rows_array("u", u, 1), rows_array("v", v, 1)
    _equal_shapes("u", u, "v", v)
    m, k = u.shape
    for name, basis in (("u", u), ("v", v)):
        values = np.linalg.svd(basis, compute_uv=False)
        if k > m or values[-1] <= m * np.finfo(np.float64).eps * values[0]:
            raise ValueError(
                f"{name} of shape {(m, k)} has linearly dependent columns; expected a basis"
            )
    return float(np.mean(np.cos(scipy.linalg.subspace_angles(u, v)) ** 2))


def _equal_shapes(name: str, first: Array, other: str, second: Array) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"{name} has shape {first.shape} and {other} {second.shape}; expected equal shapes"
        )


def _on_sphere(z: Array) -> Array:
    norm = np.linalg.norm(z, axis=1, keepdims=True)
    return z / np.where(norm > 0, norm, 1.0)


def _gram(z: Array) -> Array:
    z = z / np.abs(z).max()  # fourth powers of small features would underflow
    return z @ z.T


def _hsic(k: Array, gram: Array) -> float:
    centring = np.eye(len(k)) - 1 / len(k)
    return float(np.trace(k @ centring @ gram @ centring))
