r"""Coding rate: the number of nats that code an embedding at a distortion (arXiv 2006.08558).

    R(Z)     = 1/2 logdet(I + a Z^T Z) = 1/2 sum_i log(1 + a sigma_i^2),      a = d / (n eps^2),
    R^c(Z)   = sum_k n_k / n R(Z_k),      Z_k = diag(w_k)^{1/2} Z,      n_k = sum_i w_ik,
    Delta R  = R - R^c,

with sigma_i the singular values of Z, (n, d), samples in rows, and w_ik the share of sample i in
group k; R(Z_k) has n_k in place of n. The computation uses the sum, which is accurate even if the
determinant overflows or its matrix is ill-conditioned.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, finite_array, positive_number

_SHARES_ERROR = 1e-5  # error of a sum of shares, which may come from single precision


def coding_rate(z: ArrayLike, eps: float) -> float:
    """Coding rate of embeddings, ``1/2 sum log(1 + d / (n eps^2) sigma_i^2)``.

    Parameters
    ----------
    z : array_like, shape (n, d)
        Embeddings, samples in rows.
    eps : float
        Distortion in the unit of the embeddings; it is squared here, not by the caller.

    Returns
    -------
    float
        Coding rate in nats; zero for an embedding of zeros.

    Raises
    ------
    ValueError
        If ``z`` is not a finite matrix, or ``eps`` is not a finite number above zero.

    Notes
    -----
    arXiv 2006.08558, equation 1 (there with samples in columns).

    Examples
    --------
    >>> round(coding_rate([[1.0, 0.0], [0.0, 1.0]], eps=1.0), 4)  # twice 1/2 log(1 + 1)
    0.6931
    """
    z = embeddings(z, rows=1)
    return _rate(z, len(z), positive_number("eps", eps))


def coding_rate_gradient(z: ArrayLike, eps: float) -> Array:
    """Derivative of the coding rate with respect to embeddings, ``a Z (I + a Z^T Z)^-1``.

    Parameters
    ----------
    z : array_like, shape (n, d)
        Embeddings, samples in rows.
    eps : float
        Distortion in the unit of the embeddings.

    Returns
    -------
    ndarray, shape (n, d)
        Gradient. Its spectral norm is at most ``sqrt(a) / 2``, attained if a singular value is
        1/sqrt(a).

    Raises
    ------
    ValueError
        As in :func:`coding_rate`.

    Examples
    --------
    >>> coding_rate_gradient([[1.0, 0.0], [0.0, 1.0]], eps=1.0).tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    z = embeddings(z, rows=1)
    return _gradient(z, len(z), positive_number("eps", eps))


def coding_rate_reduction(z: ArrayLike, groups: ArrayLike, eps: float) -> float:
    """Coding rate of embeddings minus the mean rate of their groups, coded separately.

    Parameters
    ----------
    z : array_like, shape (n, d)
        Embeddings, samples in rows.
    groups : array_like of int, shape (n,), or of float, shape (n, k)
        Labels or shares, as in :func:`group_shares`.
    eps : float
        Distortion in the unit of the embeddings; it is squared here, not by the caller.

    Returns
    -------
    float
        Reduction in nats, at least 0 up to rounding; it is 0 iff all groups have the same second
        moment.

    Raises
    ------
    ValueError
        If ``z`` is not a finite matrix of at least two samples or ``eps`` is not a finite number
        above zero, and as in :func:`group_shares`.

    Notes
    -----
    arXiv 2006.08558, section 2.

    Examples
    --------
    >>> z = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    >>> round(coding_rate_reduction(z, [0, 0, 1, 1], eps=1.0), 4)  # log 2 - 1/2 log 3
    0.1438
    """
    z, eps = embeddings(z, rows=2), positive_number("eps", eps)
    rate, n = _rate(z, len(z), eps), len(z)
    for share in group_shares(groups, n).T:
        size, rows = share.sum(), share > 0
        rate -= size / n * _rate(np.sqrt(share[rows, None]) * z[rows], size, eps)
    return float(rate)


def coding_rate_reduction_gradient(z: ArrayLike, groups: ArrayLike, eps: float) -> Array:
    """Derivative of the coding rate reduction with respect to embeddings.

    Parameters
    ----------
    z : array_like, shape (n, d)
        Embeddings, samples in rows.
    groups : array_like of int, shape (n,), or of float, shape (n, k)
        Labels or shares, as in :func:`group_shares`.
    eps : float
        Distortion in the unit of the embeddings.

    Returns
    -------
    ndarray, shape (n, d)
        Gradient. In general it is not zero if the reduction is zero, which is the minimum over
        groups, not over embeddings.

    Raises
    ------
    ValueError
        As in :func:`coding_rate_reduction`.

    Examples
    --------
    >>> coding_rate_reduction_gradient([[1.0, 0.0], [0.0, 1.0]], [0, 1], eps=1.0).round(4).tolist()
    [[0.1667, 0.0], [0.0, 0.1667]]
    """
    z, eps = embeddings(z, rows=2), positive_number("eps", eps)
    gradient, n = _gradient(z, len(z), eps), len(z)
    for share in group_shares(groups, n).T:
        size, rows = share.sum(), share > 0
        root = np.sqrt(share[rows, None])
        gradient[rows] -= size / n * root * _gradient(root * z[rows], size, eps)
    return gradient


def group_shares(groups: ArrayLike, n: int) -> Array:
    """Shares of samples in groups.

    Parameters
    ----------
    groups : array_like of int, shape (n,), or of float, shape (n, k)
        A label for each sample: equal integers form a group. Or the shares of the samples in k
        groups: not negative, each row with sum 1.
    n : int
        Number of samples.

    Returns
    -------
    ndarray, shape (n, k)
        Shares; the groups of labels are in ascending order.

    Raises
    ------
    ValueError
        If the shape does not fit, labels are not integers, a share is negative or not finite, a row
        of shares does not sum to 1, or a group is empty.

    Examples
    --------
    >>> group_shares([7, 3, 7], 3).tolist()
    [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    """
    labels = np.asarray(groups)
    if labels.ndim == 1:
        if labels.shape != (n,) or labels.dtype.kind not in "iub":
            raise ValueError(
                f"groups has shape {labels.shape} and type {labels.dtype}; expected {n} integer "
                f"labels, one a row of z, or shares of shape ({n}, k)"
            )
        return (labels[:, None] == np.unique(labels)).astype(np.float64)
    shares = finite_array("groups", labels, 2)
    if shares.shape[0] != n or shares.shape[1] < 1:
        raise ValueError(f"groups has shape {shares.shape}; expected ({n}, k), one row a row of z")
    if np.any(shares < 0):
        raise ValueError(f"groups holds a share of {shares.min()}; expected none below zero")
    off = np.max(np.abs(shares.sum(axis=1) - 1))
    if off > _SHARES_ERROR:
        raise ValueError(f"groups has a row whose sum is {off:.3g} off 1; expected rows of sum 1")
    empty = np.flatnonzero(shares.sum(axis=0) == 0)
    if len(empty):
        raise ValueError(f"groups has no member in column {empty[0]}; expected none empty")
    return shares


def embeddings(z: ArrayLike, rows: int) -> Array:
    """Check embeddings.

    Parameters
    ----------
    z : array_like, shape (n, d)
        Embeddings, samples in rows.
    rows : int
        Minimum number of samples.

    Returns
    -------
    ndarray, shape (n, d)
        Embeddings as float64.

    Raises
    ------
    ValueError
        If ``z`` is not a finite matrix with enough rows and at least one column.

    Examples
    --------
    >>> embeddings([[1, 2]], rows=1)
    array([[1., 2.]])
    """
    z = finite_array("z", z, 2)
    if z.shape[0] < rows or z.shape[1] < 1:
        raise ValueError(
            f"z has shape {z.shape}; expected (n, d) with n of at least {rows} and d of at least 1"
        )
    return z


def _rate(z: Array, size: float, eps: float) -> float:
    peak = np.abs(z).max()
    if peak == 0:
        return 0.0
    values = np.linalg.svd(z / peak, compute_uv=False)
    with np.errstate(divide="ignore"):  # log 0 is -inf, of which exp is 0
        log_scaled = np.log(values) + np.log(peak) + 0.5 * np.log(z.shape[1] / size) - np.log(eps)
    return float(0.5 * np.logaddexp(0.0, 2.0 * log_scaled).sum())  # sum of log(1 + scaled^2)


def _gradient(z: Array, size: float, eps: float) -> Array:
    root = np.sqrt(z.shape[1] / size) / eps
    peak = np.abs(z).max() or 1.0
    left, values, right = np.linalg.svd(z / peak, full_matrices=False)
    # a s / (1 + a s^2) = 1 / (s (1 + 1 / (a s^2))): each form is used where its square is small.
    with np.errstate(all="ignore"):
        values = peak * values
        scaled = root * values
        factor = np.where(
            scaled > 1, 1 / (values * (1 + scaled**-2.0)), root * scaled / (1 + scaled**2)
        )
    return np.asarray((left * factor) @ right)
