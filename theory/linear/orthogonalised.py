r"""Orthogonalised descent (Muon): every singular value of the map grows at the same speed.

Muon replaces the gradient G of a matrix by its polar factor U V^T, where G = U S V^T is the
singular value decomposition. Linear Barlow Twins (:mod:`theory.linear.closed_form`) then follows

    dW/dt = polar(-G),      -G = 4 (I - C) W Gamma,      C = W Gamma W^T,

with t the sum of the learning rates. From an aligned W(0) the modes decouple,

    ds/dt = sign(gamma (1 - gamma s^2)),      lambda(t) = gamma s^2 = min(1, gamma (s(0) + t)^2),

so that lambda = 1/2 at ``t = 1/sqrt(2 gamma) - s(0)`` (derived here). Against plain descent the
factor log(1 / initialisation) is gone, and 1/gamma has become 1/sqrt(gamma).

* A mode with gamma < 0 shrinks at unit speed to zero, and one with gamma = 0 does not change: the
  polar factor has no part in the directions where G is zero.
* There is no staircase any more unless eigenvalues differ by a factor of nine: the rise from 10 %
  to 90 % takes 0.63/sqrt(gamma), twice as long as the wait before it.
* Factors on G and a momentum buffer change nothing while the singular vectors of G stay: a sum of
  gradients has the same polar factor. Time is learning rate x updates, with momentum as well.
* A learned mode oscillates: an update has a size of the learning rate however small G is. See
  :func:`largest_deviation`.

Generic small W(0)
    Write ``W(0) V Gamma = Q H``, the polar decomposition with V the eigenvectors. While C is small,
    ``W(t) V = W(0) V + t Q`` is a solution if W(0) lies in the span of V, because
    ``W(t) V Gamma = Q (H + t Gamma)`` has the polar factor Q as long as H + t Gamma is positive.
    So U = Q and, to first order, ``s_j(0) = (Q^T W(0) V)_jj = H_jj / gamma_j``: see
    :func:`equivalent_initialization`. Parts of W(0) along other eigenvectors change like
    ``t^(gamma_k / gamma_j)`` against t, so they fade if gamma_k < 0. They shift a step by a share
    of order ``(s sqrt(gamma_j))^p``, where p is the smaller of 1 and 2 (1 - gamma_k / gamma_j), and
    s the size of W(0), or the learning rate if that is larger: the first update gives W its size.

The unit speed is that of a map with d <= m, which the "original" scale of Muon leaves as it is; for
d > m it multiplies learning rates by sqrt(d/m).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, finite_array, positive_number
from theory.linear.closed_form import (
    Plateau,
    flow_times,
    level_logits,
    mode_arrays,
    plateaus_between,
)
from theory.linear.momentum import momentum_coefficient


def polar_factor(matrix: ArrayLike) -> Array:
    """Nearest matrix whose singular values are 1, or 0 where those of the matrix are.

    Parameters
    ----------
    matrix : array_like, shape (d, m)
        Matrix U S V^T.

    Returns
    -------
    ndarray, shape (d, m)
        ``U V^T``, without the singular values that are zero up to rounding.

    Raises
    ------
    ValueError
        If the matrix does not have two dimensions or a value is not finite.

    Examples
    --------
    >>> (polar_factor([[0.0, -3.0], [0.1, 0.0]]) + 0.0).tolist()
    [[0.0, -1.0], [1.0, 0.0]]
    >>> polar_factor(np.zeros((1, 2))).tolist()
    [[0.0, 0.0]]
    """
    matrix = finite_array("matrix", matrix, 2)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    least = max(matrix.shape) * np.finfo(np.float64).eps * values.max(initial=0.0)
    return np.asarray((left * (values > least)) @ right)


def equivalent_initialization(
    w0: ArrayLike, gamma: ArrayLike, right: ArrayLike
) -> tuple[Array, Array]:
    """Aligned initialisation that is equivalent to a generic small one.

    Parameters
    ----------
    w0 : array_like, shape (d, m)
        Weights at t = 0.
    gamma : array_like, shape (k,)
        Eigenvalues of Gamma.
    right : array_like, shape (m, k)
        Their eigenvectors in columns, k <= d.

    Returns
    -------
    left : ndarray, shape (d, k)
        Equivalent left singular vectors U; for positive eigenvalues the polar factor Q of
        ``W(0) V Gamma``.
    s0 : ndarray, shape (k,)
        Equivalent singular values ``|(Q^T W(0) V)_jj|``. For gamma = 0 they are those of the part
        of W(0) that is orthogonal to the other modes.

    Raises
    ------
    ValueError
        If the shapes do not fit or a value is not finite.

    Notes
    -----
    For eigenvalues that differ by large factors Q is that of the QR factorisation in
    :func:`theory.linear.initialization.equivalent_initialization`.

    Examples
    --------
    >>> w0 = [[0.0, -2.0], [3.0, 0.0]]
    >>> left, s0 = equivalent_initialization(w0, [1.0, 0.5], np.eye(2))
    >>> (left + 0.0).tolist(), s0.tolist()
    ([[0.0, -1.0], [1.0, 0.0]], [3.0, 2.0])
    """
    w0, right = finite_array("w0", w0, 2), finite_array("right", right, 2)
    gamma = finite_array("gamma", gamma, 1)
    if w0.shape[1] != right.shape[0] or not len(gamma) == right.shape[1] <= w0.shape[0]:
        raise ValueError(
            f"w0 has shape {w0.shape}, gamma {gamma.shape} and right {right.shape}; "
            "expected (d, m), (k,) and (m, k), k <= d"
        )
    start = w0 @ right
    left = np.zeros_like(start)
    moving = gamma != 0
    left[:, moving] = polar_factor(start[:, moving] * gamma[moving]) * np.sign(gamma[moving])
    rest = start[:, ~moving]
    left[:, ~moving] = np.linalg.qr(rest - left @ (left.T @ rest))[0]
    overlap = np.sum(left * start, axis=0)
    return left * np.where(overlap < 0, -1.0, 1.0) + 0.0, np.abs(overlap)


def singular_values(t: ArrayLike, gamma: ArrayLike, s0: ArrayLike) -> Array:
    """Singular values of the map along orthogonalised descent with small steps.

    Parameters
    ----------
    t : array_like, shape (...)
        Sums of learning rates, not negative; infinity is allowed.
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma, of any sign, and singular values at t = 0.

    Returns
    -------
    ndarray, shape (..., k)
        ``s0 + t`` up to ``gamma^-1/2``, or ``s0 - t`` down to it (to 0 for gamma < 0); constant for
        gamma = 0 or s0 = 0.

    Raises
    ------
    ValueError
        As in :func:`theory.linear.closed_form.singular_values`.

    Examples
    --------
    >>> singular_values([0.0, 1.5, np.inf], [0.25, -1.0], [0.1, 1.0]).tolist()
    [[0.1, 1.0], [1.6, 0.0], [2.0, 0.0]]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    t = flow_times(t)[..., None]
    goal = np.zeros_like(gamma)
    goal[gamma > 0] = gamma[gamma > 0] ** -0.5
    goal = np.where((gamma == 0) | (s0 == 0), s0, goal)
    return np.where(s0 < goal, np.minimum(s0 + t, goal), np.maximum(s0 - t, goal))


def eigenvalue_curves(t: ArrayLike, gamma: ArrayLike, s0: ArrayLike) -> Array:
    """Eigenvalues lambda = gamma s^2 of the embedding cross-correlation.

    Parameters
    ----------
    t : array_like, shape (...)
        Sums of learning rates.
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and singular values at t = 0.

    Returns
    -------
    ndarray, shape (..., k)
        ``min(1, gamma (s0 + t)^2)`` for a mode that starts below 1.

    Raises
    ------
    ValueError
        As in :func:`singular_values`.

    Examples
    --------
    >>> eigenvalue_curves([1.0, 3.0], [0.25], [0.0001]).round(3).ravel().tolist()
    [0.25, 1.0]
    """
    return np.asarray(gamma, dtype=np.float64) * singular_values(t, gamma, s0) ** 2


def loss(t: ArrayLike, gamma: ArrayLike, s0: ArrayLike, dim: int | None = None) -> Array:
    """Loss ``||C - I||_F^2`` along orthogonalised descent.

    Parameters
    ----------
    t : array_like, shape (...)
        Sums of learning rates.
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and singular values at t = 0.
    dim : int, optional
        Embedding dimension d, at least k. Default k.

    Returns
    -------
    ndarray, shape (...)
        Sum of ``(1 - lambda)^2``, plus d - k.

    Raises
    ------
    ValueError
        As in :func:`singular_values`, or if dim is below k.

    Examples
    --------
    >>> loss([0.0, 2.0], [0.25], [0.0001], dim=2).round(3).tolist()
    [2.0, 1.0]
    """
    curves = eigenvalue_curves(t, gamma, s0)
    modes = curves.shape[-1]
    if dim is not None and dim < modes:
        raise ValueError(f"dim is {dim}; expected at least the {modes} modes given")
    return np.sum((1.0 - curves) ** 2, axis=-1) + (0 if dim is None else dim - modes)


def level_times(level: ArrayLike, gamma: ArrayLike, s0: ArrayLike) -> Array:
    """Time at which each mode rises through given levels of lambda.

    Parameters
    ----------
    level : array_like, shape (...)
        Levels between 0 and 1, both excluded.
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and singular values at t = 0.

    Returns
    -------
    ndarray, shape (..., k)
        ``sqrt(level / gamma) - s0``; infinite for gamma <= 0 or s0 = 0, zero for a mode that starts
        above the level.

    Raises
    ------
    ValueError
        As in :func:`singular_values`, or if a level is not between 0 and 1.

    Examples
    --------
    >>> level_times([0.25, 0.64], [4.0, -1.0], [0.05, 0.05]).round(4).tolist()
    [[0.2, inf], [0.35, inf]]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    levels = 1.0 / (1.0 + np.exp(-level_logits(level)))[..., None]
    learned = (gamma > 0) & (s0 > 0)
    root = np.sqrt(np.where(learned, gamma, 1.0))
    return np.where(learned, np.maximum(np.sqrt(levels) / root - s0, 0.0), np.inf)


def step_times(gamma: ArrayLike, s0: ArrayLike) -> Array:
    """Time at which each mode has half risen, lambda = 1/2.

    Parameters
    ----------
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and (equivalent) singular values at t = 0.

    Returns
    -------
    ndarray, shape (k,)
        ``1 / sqrt(2 gamma) - s0``; infinite for gamma <= 0 or s0 = 0, zero for a mode that starts
        above one half.

    Raises
    ------
    ValueError
        As in :func:`singular_values`.

    Examples
    --------
    >>> step_times([0.5, 0.005], [0.01, 0.01]).round(6).tolist()
    [0.99, 9.99]
    """
    return level_times(0.5, gamma, s0)


def step_iterations(gamma: ArrayLike, s0: ArrayLike, learning_rate: float) -> Array:
    """Number of updates after which each mode has half risen.

    Parameters
    ----------
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and (equivalent) singular values at t = 0.
    learning_rate : float
        Size of every singular value of an update.

    Returns
    -------
    ndarray, shape (k,)
        ``step_times / learning_rate``, fractional; with any momentum. It is exact from an aligned
        W(0) if half rises come before the first oscillation.

    Raises
    ------
    ValueError
        As in :func:`step_times`, or if the learning rate is not positive.

    Examples
    --------
    >>> step_iterations([0.5, 0.005], [0.01, 0.01], 0.1).round(6).tolist()
    [9.9, 99.9]
    """
    return step_times(gamma, s0) / positive_number("learning_rate", learning_rate)


def plateaus(gamma: ArrayLike, s0: ArrayLike, dim: int | None = None) -> tuple[Plateau, ...]:
    """Plateaus of the loss: where the last rise has reached 90 % and the next one not yet 10 %.

    Parameters
    ----------
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and (equivalent) singular values at t = 0.
    dim : int, optional
        Embedding dimension d. Default k.

    Returns
    -------
    tuple of Plateau
        In order of time. There is one between two modes only if their eigenvalues differ by a
        factor of more than nine.

    Raises
    ------
    ValueError
        As in :func:`step_times`.

    Examples
    --------
    >>> [flat.modes for flat in plateaus([1.0, 0.2], [1e-3, 1e-3])]
    [0, 2]
    >>> [flat.modes for flat in plateaus([1.0, 0.1], [1e-3, 1e-3])]
    [0, 1, 2]
    """
    begins, ends = level_times([0.1, 0.9], gamma, s0)
    return plateaus_between(step_times(gamma, s0), begins, ends, dim=dim)


def largest_deviation(learning_rate: float, momentum: float = 0.0) -> float:
    """Largest distance of a learned singular value from ``gamma^-1/2`` at a constant rate.

    Parameters
    ----------
    learning_rate : float
        Size of every singular value of an update.
    momentum : float
        Coefficient mu of the buffer, from 0 to below 1.

    Returns
    -------
    float
        ``learning_rate / (1 - momentum)``.

    Raises
    ------
    ValueError
        If the learning rate is not positive or the momentum is out of range.

    Notes
    -----
    Without momentum s passes its target x = s - gamma^-1/2 = 0 by less than one update and then
    alternates between two values that differ by one. With momentum the buffer of
    g = 4 gamma s (1 - gamma s^2) still points up for a while. As g is concave, it lies below its
    tangent -8 gamma x, and the buffer is below ``-8 gamma (x - eta mu / (1 - mu)) / (1 - mu)``. So
    it has turned when x exceeds ``eta mu / (1 - mu)``, and x exceeds that by one update at most.
    For small steps the swing back is 0.59 times as large, and later ones die out down to a few
    updates. Until a mode has been learned its curve does not depend on momentum.

    Examples
    --------
    >>> round(largest_deviation(0.01, 0.9), 6)
    0.1
    """
    eta = positive_number("learning_rate", learning_rate)
    return eta / (1.0 - momentum_coefficient(momentum))


def stable_learning_rate(gamma: ArrayLike, momentum: float = 0.0) -> float:
    """Largest learning rate at which a learned mode stays above lambda = 1/2.

    Parameters
    ----------
    gamma : array_like, shape (k,)
        Eigenvalues of Gamma.
    momentum : float
        Coefficient mu of the buffer, from 0 to below 1.

    Returns
    -------
    float
        ``(1 - 1/sqrt(2)) (1 - momentum) / sqrt(gamma_1)``; infinite without a positive mode.

    Raises
    ------
    ValueError
        If a value is not finite or the momentum is out of range.

    Notes
    -----
    Nothing diverges at any rate: an update has a given size, and its direction is down. A large
    rate makes learned modes oscillate, by :func:`largest_deviation`, the largest eigenvalue first.

    Examples
    --------
    >>> round(stable_learning_rate([4.0, 1.0]), 4)
    0.1464
    """
    top = float(finite_array("gamma", gamma, 1).max(initial=0.0))
    share = (1.0 - math.sqrt(0.5)) * (1.0 - momentum_coefficient(momentum))
    return share / math.sqrt(top) if top > 0 else math.inf
