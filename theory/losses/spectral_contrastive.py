r"""Spectral contrastive learning on whitened inputs, solved exactly from any initialisation.

For f(x) = W x with W in R^{d x m}, inputs whose second moment over all views is the identity, and

    L = -2 E[f(x) . f(x')] + ||E[f f^T]||_F^2 = -2 Tr(W Gamma W^T) + ||W W^T||_F^2,

gradient flow (t is learning rate x step) is dW/dt = 4 W Gamma - 4 W W^T W. The Gram matrix
M = W^T W then obeys a matrix Riccati equation. It is known at every time from *every* W(0), not
only from a small or aligned one:

    dM/dt = 4 (Gamma M + M Gamma) - 8 M^2,
    M(t)  = e^{4 Gamma t} W0^T [I + 8 W0 (int_0^t e^{8 Gamma s} ds) W0^T]^{-1} W0 e^{4 Gamma t}.

The loss is that of arXiv 2106.04156 (section 3); the solution is that of Oja's flow, rescaled.
Along an eigenvector of Gamma, d(s^2)/dt = 8 s^2 (gamma - s^2): a logistic of rate 8 gamma and
height gamma. Whitening bounds every gamma to [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, finite_array, paired_views, symmetric_matrix
from theory.linear.closed_form import flow_times, mode_arrays
from theory.linear.closed_form import step_times as barlow_twins_step_times
from theory.pairs.gamma import cross_correlation, read_pairs


@dataclass(frozen=True)
class WhitenedPairs:
    """Two views whose pooled second moment is the identity.

    Attributes
    ----------
    x, x_prime : ndarray, shape (n, k)
        Whitened views, ``x @ transform``.
    transform : ndarray, shape (m, k)
        Whitening map; k is the rank of the pooled second moment, at most m.
    gamma : ndarray, shape (k, k)
        Cross-correlation of the whitened views; its eigenvalues lie in [-1, 1].
    """

    x: Array
    x_prime: Array
    transform: Array
    gamma: Array


def whiten(x: ArrayLike, x_prime: ArrayLike) -> WhitenedPairs:
    """Whiten two views by their pooled second moment.

    Parameters
    ----------
    x, x_prime : array_like, shape (n, m)
        Two views, samples in rows; as in the loss, they are not centred.

    Returns
    -------
    WhitenedPairs
        Views in the principal axes of the pooled views, largest variance first. Axes whose singular
        value is below machine epsilon times max(2n, m) of the largest are left out.

    Raises
    ------
    ValueError
        If the views are not valid or all zero.

    Notes
    -----
    If there are no more views than axes (2n <= k), every eigenvalue of gamma becomes +1, -1 or 0,
    and the spectrum has no information about the population.

    Examples
    --------
    >>> pairs = whiten([[2.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, -1.0]])
    >>> pairs.gamma.round(12).tolist()
    [[1.0, 0.0], [0.0, -1.0]]
    """
    views = np.concatenate(paired_views(x, x_prime))
    _, size, axes = np.linalg.svd(views, full_matrices=False)
    present = size > np.finfo(np.float64).eps * max(views.shape) * size[0]
    if not np.any(present):
        raise ValueError("x and x_prime are all zero; expected views with variance")
    transform = axes[present].T * (np.sqrt(len(views)) / size[present])
    first, second = np.split(views @ transform, 2)
    return WhitenedPairs(first, second, transform, cross_correlation(read_pairs(first, second)))


def gram_matrix(t: ArrayLike, gamma: ArrayLike, w0: ArrayLike) -> Array:
    """Gram matrix ``M(t) = W^T W`` of the weights along the flow, exact for every W(0).

    Parameters
    ----------
    t : array_like, shape (...)
        Finite flow times, learning rate x step, not negative.
    gamma : array_like, shape (m, m)
        Cross-correlation of whitened views, symmetric.
    w0 : array_like, shape (d, m)
        Weights at t = 0, of any size, rank and shape.

    Returns
    -------
    ndarray, shape (..., m, m)
        M(t), positive semi-definite of rank at most d. From a generic W(0) it converges to the best
        positive approximation of Gamma of rank d.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, gamma is not symmetric, or a time is negative
        or infinite.

    Notes
    -----
    This is the equation of the module's docstring, in the stable form of :func:`weights_factor`. A
    direction in which W(0) is below rounding, relative to its norm, is treated as absent: float64
    does not determine its growth.

    Examples
    --------
    >>> gram_matrix([0.0, 1e4], [[0.5, 0.0], [0.0, -0.5]], [[1e-6, 2e-6]]).round(6)[1].tolist()
    [[0.5, 0.0], [0.0, 0.0]]
    """
    factor = weights_factor(t, gamma, w0)
    return factor @ np.swapaxes(factor, -1, -2)


def embedding_eigenvalues(t: ArrayLike, gamma: ArrayLike, w0: ArrayLike) -> Array:
    """Eigenvalues of the embedding second moment ``W W^T`` along the flow.

    Parameters
    ----------
    t : array_like, shape (...)
        Finite flow times.
    gamma : array_like, shape (m, m)
        Cross-correlation of whitened views.
    w0 : array_like, shape (d, m)
        Weights at t = 0.

    Returns
    -------
    ndarray, shape (..., d)
        Eigenvalues, descending at each time.

    Raises
    ------
    ValueError
        As in :func:`gram_matrix`.

    Examples
    --------
    >>> gamma, w0 = [[0.5, 0.0], [0.0, 0.25]], [[1e-3, 0.0], [0.0, 1e-3]]
    >>> embedding_eigenvalues(1e4, gamma, w0).round(12).tolist()
    [0.5, 0.25]
    """
    factor = weights_factor(t, gamma, w0)
    values = np.zeros((*factor.shape[:-2], len(np.asarray(w0))))
    values[..., : factor.shape[-1]] = np.linalg.svd(factor, compute_uv=False) ** 2
    return values


def weights_factor(t: ArrayLike, gamma: ArrayLike, w0: ArrayLike) -> Array:
    r"""Transposed weights, up to a rotation of the embedding: a factor F with M = F F^T.

    Parameters
    ----------
    t : array_like, shape (...)
        Finite flow times.
    gamma : array_like, shape (m, m)
        Cross-correlation of whitened views.
    w0 : array_like, shape (d, m)
        Weights at t = 0.

    Returns
    -------
    ndarray, shape (..., m, r)
        F(t), with r the rank of W(0).

    Raises
    ------
    ValueError
        As in :func:`gram_matrix`.

    Notes
    -----
    Let W(0) V = Q R be the QR factorisation in the eigenbasis of Gamma (R in echelon form, pivot
    columns p), g_j^2 = (e^{8 gamma_j t} - 1) / gamma_j and rho_j = e^{4 gamma_j t} / g_j. Then
    V^T M V = rho P rho with

        P = G R^T (I + R G^2 R^T)^{-1} R G = Q2 Q2^T,    [I; G R^T] = [Q1; Q2] T  (thin QR).

    Only the range of [I; G R^T] matters: if R_ii g_i exceeds 1, column i is divided by it, and then
    contains only ratios g_j / g_i of slower to faster modes. These decay, and the limit is the
    aligned solution with s_i(0) = R_ii. This proves the equivalence of
    :mod:`theory.linear.initialization`.

    Examples
    --------
    >>> (weights_factor([0.0, 1e4], [[0.25]], [[3.0]]) ** 2).round(12).ravel().tolist()
    [9.0, 0.25]
    """
    t = flow_times(t)
    if not np.all(np.isfinite(t)):
        raise ValueError("t holds an infinite value; expected finite flow times")
    gamma, w0 = symmetric_matrix("gamma", gamma), finite_array("w0", w0, 2)
    if len(w0) < 1 or w0.shape[1] != len(gamma):
        raise ValueError(
            f"w0 has shape {w0.shape} and gamma {gamma.shape}; expected (d, m) and (m, m)"
        )
    values, basis = np.linalg.eigh(gamma)
    values, basis = values[::-1], basis[:, ::-1]
    upper, pivots = _echelon(w0 @ basis)
    log_pivot = np.log(upper[np.arange(len(pivots)), pivots])

    started = t > 0
    log_g, log_rho = _log_gain(np.where(started, t, 1.0), values)  # (..., m)
    log_size = log_pivot + log_g[..., pivots]  # (..., r)
    scale = -np.maximum(log_size, 0.0)[..., None, :]
    top = np.exp(scale) * np.eye(len(pivots))
    with np.errstate(divide="ignore"):  # the zeros of R meet gains beyond the largest float64
        log_upper = np.log(np.abs(upper.T))
    bottom = np.sign(upper.T) * np.exp(log_g[..., :, None] + scale + log_upper)
    q2 = np.linalg.qr(np.concatenate([top, bottom], axis=-2))[0][..., len(pivots) :, :]
    factor = np.exp(log_rho)[..., None] * q2
    return basis @ np.where(started[..., None, None], factor, upper.T)


def eigenvalue_curves(t: ArrayLike, gamma: ArrayLike, s0: ArrayLike) -> Array:
    """Squared singular values from an aligned (or QR-equivalent) initialisation.

    Parameters
    ----------
    t : array_like, shape (...)
        Finite flow times.
    gamma : array_like, shape (k,)
        Eigenvalues of Gamma.
    s0 : array_like, shape (k,)
        Singular values at t = 0, not negative.

    Returns
    -------
    ndarray, shape (..., k)
        ``s^2 = gamma / (1 + (gamma / s0^2 - 1) exp(-8 gamma t))``, the eigenvalues of the
        embedding second moment: logistic curves of rate 8 gamma and height gamma. A mode with
        gamma = 0 decays as ``s0^2 / (1 + 8 s0^2 t)``, one with gamma < 0 exponentially.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, or a time is negative or infinite.

    Examples
    --------
    >>> eigenvalue_curves(step_times([0.5], [1e-3]), [0.5], [1e-3]).round(12).ravel().tolist()
    [0.25]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    t = flow_times(t)
    if not np.all(np.isfinite(t)):
        raise ValueError("t holds an infinite value; expected finite flow times")
    started = t > 0
    log_g, log_rho = _log_gain(np.where(started, t, 1.0), gamma)
    with np.errstate(divide="ignore"):  # a mode that starts at zero stays there
        log_size = 2.0 * (np.log(s0) + log_g)
    curves = np.exp(2.0 * log_rho + log_size - np.logaddexp(0.0, log_size))
    return np.where(started[..., None], curves, s0**2)


def step_times(gamma: ArrayLike, s0: ArrayLike) -> Array:
    """Flow time at which each eigenvalue s^2 has half risen, s^2 = gamma / 2.

    Parameters
    ----------
    gamma : array_like, shape (k,)
        Eigenvalues of Gamma.
    s0 : array_like, shape (k,)
        Singular values at t = 0; from a generic small W(0), those of
        :func:`theory.linear.initialization.equivalent_initialization`.

    Returns
    -------
    ndarray, shape (k,)
        ``log(gamma / s0^2 - 1) / (8 gamma)``, the time of linear Barlow Twins from s0 / gamma. It
        is infinite for gamma <= 0 or s0 = 0, zero for a mode that starts above one half.

    Raises
    ------
    ValueError
        As in :func:`theory.linear.closed_form.mode_arrays`.

    Examples
    --------
    >>> step_times([1.0, 0.5, -0.5], [1e-3, 1e-3, 1e-3]).round(4).tolist()
    [1.7269, 3.2806, inf]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    scaled = np.divide(s0, gamma, out=np.zeros_like(s0), where=gamma > 0)
    return barlow_twins_step_times(gamma, scaled)


def _log_gain(t: Array, gamma: Array) -> tuple[Array, Array]:
    """Logarithms of g and rho of :func:`weights_factor`, (..., m) each, for t > 0."""
    exponent = 8.0 * gamma * t[..., None]
    size = np.abs(exponent)
    # g^2 = 8 t phi e^max(x, 0) and rho^2 = e^min(x, 0) / (8 t phi), phi = (1 - e^-|x|) / |x|.
    phi = np.divide(-np.expm1(-size), size, out=np.ones_like(size), where=size > 0)
    log_base = np.log(8.0 * t)[..., None] + np.log(phi)
    log_g2, log_rho2 = log_base + np.maximum(exponent, 0.0), np.minimum(exponent, 0.0) - log_base
    return 0.5 * log_g2, 0.5 * log_rho2


def _echelon(matrix: Array) -> tuple[Array, list[int]]:
    """R of the QR factorisation, (r, m) in echelon form with positive pivots, and their columns."""
    unit = np.abs(matrix).max()  # squares of very small weights would underflow
    matrix = matrix / (unit if unit > 0 else 1.0)
    left = np.zeros((matrix.shape[0], 0))
    pivots: list[int] = []
    rounding = max(matrix.shape) * np.finfo(np.float64).eps * np.linalg.norm(matrix)
    for j in range(matrix.shape[1]):
        rest = matrix[:, j]
        for _ in range(2):  # the second pass restores orthogonality after the first
            rest = rest - left @ (left.T @ rest)
        size = np.linalg.norm(rest)
        if size > rounding:
            left = np.column_stack([left, rest / size])
            pivots.append(j)
        if len(pivots) == min(matrix.shape):
            break
    upper = left.T @ matrix
    for i, j in enumerate(pivots):
        upper[i, :j] = 0.0
    return upper * unit, pivots
