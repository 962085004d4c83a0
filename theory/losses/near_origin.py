r"""Growth of a linear model near the origin, for losses other than linear Barlow Twins.

For f(x) = W x with W in R^{d x m} small, each of these losses is

    L = const - c Tr(W M W^T) + O(W^4),      dW/dt = 2 W cM,

with cM a symmetric m x m matrix, here called the operator of the loss, and t learning rate x step.
The singular values along its eigenvectors grow as exp(2 nu_j t), nu_j the eigenvalues of cM. This
gives the order of the modes and the times of their rise from a small initialisation, as long as
terms of fourth order are small (arXiv 2303.15438, the small-initialisation limit for Barlow Twins,
SimCLR and VICReg; the operator of LeJEPA is ours).

VICReg has a separate module (:mod:`theory.losses.vicreg`), because its operator holds only for a
short time. Losses of scale-free embeddings (cosine similarity, batch-normalised embeddings) have no
saddle at the origin and no operator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import (
    Array,
    finite_array,
    paired_views,
    positive_number,
    real_array,
    symmetric_matrix,
    whole_number,
)
from theory.linear.closed_form import flow_times
from theory.pairs.gamma import cross_correlation, read_pairs

# Integrals of exp(-t^2/2) times t^2, and times t^2 (1 - exp(-t^2/2)), over the real line.
_MEAN_PULL = float(np.sqrt(2.0 * np.pi))
_SPREAD_PULL = float(np.sqrt(2.0 * np.pi) - np.sqrt(np.pi) / 2.0)

_LOG_MAX = float(np.log(np.finfo(np.float64).max))


@dataclass(frozen=True)
class GrowthModes:
    """Fastest growing directions of the input near the origin.

    Attributes
    ----------
    rates : ndarray, shape (k,)
        Growth rates ``2 nu_j`` of the singular values, per unit of flow time (learning rate x
        step), descending; negative for directions that shrink.
    basis : ndarray, shape (m, k)
        Unit eigenvectors of the operator in columns, in the same order: the argument ``right`` of
        :func:`theory.linear.initialization.equivalent_initialization`.
    """

    rates: Array
    basis: Array


def barlow_twins_operator(x: ArrayLike, x_prime: ArrayLike) -> Array:
    """Operator ``2 Gamma`` of linear Barlow Twins, L = ||C - I||_F^2.

    Parameters
    ----------
    x, x_prime : array_like, shape (n, m)
        Two views, samples in rows; they are not centred.

    Returns
    -------
    ndarray, shape (m, m)
        ``(1/n) sum_i (x_i x'_i^T + x'_i x_i^T)``. The spectral contrastive loss of
        :mod:`theory.losses.spectral_contrastive` has the same operator on whitened inputs.

    Raises
    ------
    ValueError
        As in :func:`theory.pairs.gamma.read_pairs`.

    Notes
    -----
    arXiv 2303.15438, section 4: unnormalised embeddings, off-diagonal weight 1.

    Examples
    --------
    >>> barlow_twins_operator([[1.0, 0.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]]).tolist()
    [[1.0, 0.0], [0.0, 2.0]]
    """
    return 2.0 * cross_correlation(read_pairs(x, x_prime))


def simclr_operator(x: ArrayLike, x_prime: ArrayLike, temperature: float) -> Array:
    """Operator ``(Gamma - Nbar) / T`` of SimCLR's NT-Xent with dot products.

    Parameters
    ----------
    x, x_prime : array_like, shape (n, m)
        Two views, samples in rows; all n pairs form one batch.
    temperature : float
        Temperature T that divides the dot products.

    Returns
    -------
    ndarray, shape (m, m)
        Operator, with ``Nbar = sum_{i != k} z_i z_k^T / (2n (2n - 1))`` over the 2n stacked views
        z. The loss is the mean over the 2n anchors.

    Raises
    ------
    ValueError
        If the views are not valid or the temperature is not above zero.

    Notes
    -----
    arXiv 2002.05709, equation 1, without the division by norms. ``Gamma - Nbar`` does not change if
    the mean of all views is subtracted. It is computed from centred views, where a large mean
    causes no cancellation: there Nbar = -(second moment of the views) / (2n - 1).

    Examples
    --------
    >>> simclr_operator([[1.0], [-1.0]], [[1.0], [-1.0]], temperature=0.5).round(4).tolist()
    [[2.6667]]
    """
    first, second = paired_views(x, x_prime)
    temperature = positive_number("temperature", temperature)
    mean = (first.mean(axis=0) + second.mean(axis=0)) / 2.0
    first, second = first - mean, second - mean
    views = 2 * len(first)
    pushed = -(first.T @ first + second.T @ second) / (views * (views - 1))
    return (cross_correlation(read_pairs(first, second)) - pushed) / temperature


def lejepa_operator(
    x: ArrayLike, x_prime: ArrayLike, dim: int, lam: float = 0.05, batch: int | None = None
) -> Array:
    r"""Operator of LeJEPA with SIGReg, for two views.

    Parameters
    ----------
    x, x_prime : array_like, shape (n, m)
        Two views, samples in rows; they are not centred.
    dim : int
        Embedding dimension d.
    lam : float
        Weight of the regularisation, from 0 to 1.
    batch : int, optional
        Number N of pairs in a batch, drawn without replacement. Default: all n pairs.

    Returns
    -------
    ndarray, shape (m, m)
        ``lam (N/d) (a S - b Q) - (1 - lam) D / (4 d)``. S is the second moment of the views, Q the
        expected square ``xbar xbar^T`` of the mean of a batch, both averaged over the two views,
        and D the second moment of the differences ``x_i - x'_i``. The numbers are
        b = sqrt(2 pi) and a = b - sqrt(pi) / 2.

    Raises
    ------
    ValueError
        If the views are not valid or a number is out of range.

    Notes
    -----
    arXiv 2511.08544, algorithm 2; the expansion is ours. For projections p_i = a^T z_i of small
    embeddings the integrand of the Epps-Pulley statistic, without its weight exp(-t^2/2), is

    .. math:: (1 - e^{-t^2/2})^2 - t^2 (1 - e^{-t^2/2}) \frac1n \sum_i p_i^2
        + t^2 (\frac1n \sum_i p_i)^2 + O(p^4),

    and the mean of a a^T over directions is I / d. A covariance grows (a > 0), a mean decays
    (a < b). The expansion holds while variances are far below 1. The quadrature of the loss, with
    17 points from -5 to 5, changes a and b by less than 1e-4 of their size.

    Examples
    --------
    >>> x = [[1.0, 1.0], [-1.0, 1.0]]  # a spread in the first direction, a mean in the second
    >>> lejepa_operator(x, x, dim=1, lam=1.0).round(4).tolist()
    [[3.2408, 0.0], [0.0, -1.7725]]
    """
    first, second = paired_views(x, x_prime)
    dim = whole_number("dim", dim, 1)
    n = len(first)
    batch = n if batch is None else whole_number("batch", batch, 2)
    if not 0.0 <= lam <= 1.0:
        raise ValueError(f"lam is {lam}; expected a number from 0 to 1")
    gap = first - second
    operator = -(1.0 - lam) * (gap.T @ gap) / (4.0 * dim * n)
    for view in (first, second):
        mean = view.mean(axis=0)
        centred = view - mean
        covariance, square = centred.T @ centred / n, np.outer(mean, mean)
        of_batch = square + covariance * max(n - batch, 0) / ((n - 1) * batch)
        pull = _SPREAD_PULL * (covariance + square) - _MEAN_PULL * of_batch
        operator += lam * batch / (2.0 * dim) * pull
    return operator


def in_eigenbasis(operator: ArrayLike, w0: ArrayLike) -> tuple[Array, Array, Array]:
    """Eigenvalues of an operator and the weights in its eigenbasis.

    Parameters
    ----------
    operator : array_like, shape (m, m)
        Symmetric operator cM of a loss.
    w0 : array_like, shape (d, m)
        Weights.

    Returns
    -------
    nu : ndarray, shape (m,)
        Eigenvalues, descending.
    basis : ndarray, shape (m, m)
        Unit eigenvectors in columns.
    projected : ndarray, shape (d, m)
        ``w0 @ basis``.

    Raises
    ------
    ValueError
        If the operator is not symmetric, shapes do not fit or a value is not finite.

    Examples
    --------
    >>> in_eigenbasis([[1.0, 0.0], [0.0, 2.0]], [[3.0, 4.0]])[0].tolist()
    [2.0, 1.0]
    """
    operator, w0 = symmetric_matrix("operator", operator), finite_array("w0", w0, 2)
    if w0.shape[0] < 1 or w0.shape[1] != len(operator):
        raise ValueError(f"w0 has shape {w0.shape}; expected (d, {len(operator)}) with d >= 1")
    nu, basis = np.linalg.eigh(operator)
    nu, basis = nu[::-1], basis[:, ::-1]
    return nu, basis, w0 @ basis


def growth(operator: ArrayLike, w0: ArrayLike, t: ArrayLike) -> Array:
    """Weights ``W(0) expm(2 cM t)`` of the linearised flow.

    Parameters
    ----------
    operator : array_like, shape (m, m)
        Symmetric operator cM of a loss.
    w0 : array_like, shape (d, m)
        Weights at t = 0.
    t : array_like, shape (...)
        Flow times, not negative.

    Returns
    -------
    ndarray, shape (..., d, m)
        Weights W(t).

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, a time is negative, or the weights would
        exceed the largest float64 (the linearisation fails long before).

    Notes
    -----
    arXiv 2303.15438, the small-initialisation limit.

    Examples
    --------
    >>> growth([[1.0]], [[1e-3]], np.log(10.0) / 2.0).round(6).tolist()
    [[0.01]]
    """
    nu, basis, projected = in_eigenbasis(operator, w0)
    t = flow_times(t)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_size = np.log(np.abs(projected)) + 2.0 * nu * t[..., None, None]
    # One order below the largest float, because of the sum over modes. An infinite time gives NaN
    # for modes that are absent or constant, and is refused too.
    if not np.all(log_size <= _LOG_MAX - np.log(10.0 * len(nu))):
        raise ValueError(
            f"t reaches {t.max():.6g}, where the linearised weights exceed the largest float64;"
            " expected times at which the weights are still small"
        )
    return (np.sign(projected) * np.exp(log_size)) @ basis.T


def growth_modes(operator: ArrayLike, dim: int) -> GrowthModes:
    """Fastest growing modes, in the order in which they rise from a small initialisation.

    Parameters
    ----------
    operator : array_like, shape (m, m)
        Symmetric operator cM of a loss.
    dim : int
        Number of modes, the embedding dimension d.

    Returns
    -------
    GrowthModes
        Rates and directions, fastest first.

    Raises
    ------
    ValueError
        If the operator is not valid or ``dim`` is not from 1 to m.

    Notes
    -----
    arXiv 2303.15438: from a generic small W(0) mode j grows as ``R_jj exp(rates[j] t)`` with R of
    :func:`theory.linear.initialization.equivalent_initialization` on ``basis``.

    Examples
    --------
    >>> growth_modes([[1.0, 0.0], [0.0, 2.0]], dim=2).rates.tolist()
    [4.0, 2.0]
    """
    operator = symmetric_matrix("operator", operator)
    dim = whole_number("dim", dim, 1, len(operator))
    nu, basis = np.linalg.eigh(operator)
    return GrowthModes(2.0 * nu[::-1][:dim], basis[:, ::-1][:, :dim])


def amplitude_times(rates: ArrayLike, s0: ArrayLike, amplitude: ArrayLike) -> Array:
    """Flow time at which each mode has grown to an amplitude.

    Parameters
    ----------
    rates : array_like, shape (k,)
        Growth rates of the singular values, from :func:`growth_modes`.
    s0 : array_like, shape (k,)
        Singular values at t = 0, not negative.
    amplitude : array_like, shape (k,) or scalar
        Singular value to reach, above zero.

    Returns
    -------
    ndarray, shape (k,)
        ``log(amplitude / s0) / rates``; 0 for a mode that starts at or above the amplitude,
        infinite for one that does not grow or starts at zero. Its ``argsort`` is the predicted
        order of the steps.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, ``s0`` is negative or ``amplitude`` is not
        above zero.

    Examples
    --------
    >>> amplitude_times([4.0, 2.0, -1.0], [1e-6, 1e-6, 1e-6], 1e-2).round(4).tolist()
    [2.3026, 4.6052, inf]
    """
    rates, s0 = finite_array("rates", rates, 1), finite_array("s0", s0, 1)
    amplitude = real_array("amplitude", amplitude)
    if s0.shape != rates.shape or amplitude.shape not in ((), rates.shape):
        raise ValueError(
            f"rates has shape {rates.shape}, s0 {s0.shape} and amplitude {amplitude.shape};"
            " expected equal shapes"
        )
    if np.any(s0 < 0) or not np.all((amplitude > 0) & np.isfinite(amplitude)):
        raise ValueError(
            f"s0 is {s0} and amplitude {amplitude}; expected s0 >= 0 and finite amplitude > 0"
        )
    amplitude = np.broadcast_to(amplitude, rates.shape)
    times = np.where(s0 >= amplitude, 0.0, np.inf)
    grows = (s0 > 0) & (s0 < amplitude) & (rates > 0)
    times[grows] = (np.log(amplitude[grows]) - np.log(s0[grows])) / rates[grows]
    return times
