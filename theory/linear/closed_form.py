r"""Linear Barlow Twins from an aligned initialisation, solved in closed form.

The model is f(x) = W x with W in R^{d x m}, trained by gradient flow on

    L = ||W Gamma W^T - I_d||_F^2,      dW/dt = -4 (W Gamma W^T - I) W Gamma,

where Gamma is the symmetric cross-correlation of the two views (:mod:`theory.pairs.gamma`) and t is
learning rate x step. If W(0) = U diag(s(0)) V_d^T with V_d eigenvectors of Gamma, the modes
decouple into scalar logistic equations (arXiv 2303.15438, section 4):

    ds/dt = 4 gamma s (1 - gamma s^2),
    dlambda/dt = 8 gamma lambda (1 - lambda)    with lambda = gamma s^2.

Every function is vectorised over modes: ``gamma`` and ``s0`` are (k,), and times ``t`` of shape
(...) give (..., k). All hold for positive, zero and negative gamma, and do not overflow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, finite_array, real_array


@dataclass(frozen=True)
class Plateau:
    """A stretch of training with nearly constant loss.

    Attributes
    ----------
    modes : int
        Number of embedding dimensions learned before it.
    loss : float
        Height of the plateau, ``dim - modes`` in plain training.
    start, end : float
        Flow times (learning rate x step) at which the last rise has reached 90 % and the next one
        10 %; ``end`` of the last plateau is infinite.
    """

    modes: int
    loss: float
    start: float
    end: float


def mode_arrays(gamma: ArrayLike, s0: ArrayLike) -> tuple[Array, Array]:
    """Check eigenvalues and the initial singular values of their modes.

    Parameters
    ----------
    gamma : array_like, shape (k,)
        Eigenvalues of Gamma, of any sign.
    s0 : array_like, shape (k,)
        Singular values of the map at t = 0, not negative.

    Returns
    -------
    gamma, s0 : ndarray, shape (k,)
        The values as float64.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, or a singular value is negative.

    Examples
    --------
    >>> mode_arrays([1.0, 0.5], [1e-3, 1e-3])[0]
    array([1. , 0.5])
    """
    gamma, s0 = finite_array("gamma", gamma, 1), finite_array("s0", s0, 1)
    if gamma.shape != s0.shape:
        raise ValueError(f"gamma has shape {gamma.shape} and s0 {s0.shape}; expected equal shapes")
    if np.any(s0 < 0):
        raise ValueError(f"s0 has a smallest value of {s0.min()}; expected none below zero")
    return gamma, s0


def flow_times(t: ArrayLike) -> Array:
    """Check flow times.

    Parameters
    ----------
    t : array_like, shape (...)
        Flow times, learning rate x step; infinity is the end of training.

    Returns
    -------
    ndarray, shape (...)
        The times as float64.

    Raises
    ------
    ValueError
        If a time is negative or NaN.

    Examples
    --------
    >>> flow_times([0, 1])
    array([0., 1.])
    """
    t = real_array("t", t)
    if not np.all(t >= 0):  # NaN fails here too
        raise ValueError("t holds a negative or NaN value; expected flow times of at least zero")
    return t


def level_logits(level: ArrayLike) -> Array:
    """Logits of levels of lambda.

    Parameters
    ----------
    level : array_like, shape (...)
        Levels between 0 and 1, both excluded.

    Returns
    -------
    ndarray, shape (...)
        ``log(level / (1 - level))``.

    Raises
    ------
    ValueError
        If a level is not between 0 and 1.

    Examples
    --------
    >>> level_logits([0.5, 0.9]).round(4).tolist()
    [0.0, 2.1972]
    """
    levels = real_array("level", level)
    if not np.all((levels > 0) & (levels < 1)):  # NaN fails here too
        raise ValueError("level holds a value outside (0, 1); expected levels between 0 and 1")
    return np.asarray(np.log(levels) - np.log1p(-levels))


def singular_values(t: ArrayLike, gamma: ArrayLike, s0: ArrayLike) -> Array:
    """Singular values of the map along the flow.

    Parameters
    ----------
    t : array_like, shape (...)
        Flow times, learning rate x step, not negative; infinity is allowed.
    gamma : array_like, shape (k,)
        Eigenvalues of Gamma.
    s0 : array_like, shape (k,)
        Singular values at t = 0.

    Returns
    -------
    ndarray, shape (..., k)
        ``1 / sqrt(gamma + (s0**-2 - gamma) exp(-8 gamma t))``; a mode with gamma = 0 is constant,
        one with gamma < 0 decays to zero.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, or a time is negative.

    Notes
    -----
    arXiv 2303.15438, section 4. The computation uses the decaying exponential for each sign of
    gamma, and ``hypot``, so that large times and small initial values do not over- or underflow.

    Examples
    --------
    >>> singular_values([0.0, 1e4], [0.25], [1e-6]).ravel().tolist()
    [1e-06, 2.0]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    t = flow_times(t)[..., None]
    with np.errstate(over="ignore", invalid="ignore"):
        # A mode with gamma = 0 is constant: 0 * inf is 0 here.
        exponent = np.where(gamma == 0, 0.0, 4.0 * np.abs(gamma) * t)
    decay = np.exp(-exponent)  # (..., k), in [0, 1]
    grown = np.sqrt(-np.abs(gamma) * np.expm1(-2.0 * exponent))
    numerator = np.where(gamma > 0, s0, s0 * decay)
    denominator = np.hypot(s0 * grown, np.where(gamma > 0, decay, 1.0))
    # Both vanish only for s0 = 0 where the decay has underflowed: the mode stays at 0.
    return np.divide(numerator, denominator, out=np.zeros_like(denominator), where=denominator > 0)


def eigenvalue_curves(t: ArrayLike, gamma: ArrayLike, s0: ArrayLike) -> Array:
    """Eigenvalues lambda = gamma s^2 of the embedding cross-correlation along the flow.

    Parameters
    ----------
    t : array_like, shape (...)
        Flow times.
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and singular values at t = 0.

    Returns
    -------
    ndarray, shape (..., k)
        Logistic curves of rate 8 gamma.

    Raises
    ------
    ValueError
        As in :func:`singular_values`.

    Notes
    -----
    arXiv 2303.15438, section 4: ``lambda(t) = 1 / (1 + (1/lambda(0) - 1) exp(-8 gamma t))``.

    Examples
    --------
    >>> tau = step_times([0.5], [1e-3])
    >>> eigenvalue_curves(tau, [0.5], [1e-3]).round(12).ravel().tolist()
    [0.5]
    """
    return np.asarray(gamma, dtype=np.float64) * singular_values(t, gamma, s0) ** 2


def loss(t: ArrayLike, gamma: ArrayLike, s0: ArrayLike, dim: int | None = None) -> Array:
    """Barlow Twins loss ``sum_j (1 - lambda_j)^2`` along the flow.

    Parameters
    ----------
    t : array_like, shape (...)
        Flow times.
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and singular values at t = 0.
    dim : int, optional
        Embedding dimension d; each dimension beyond the k modes adds 1. Default k.

    Returns
    -------
    ndarray, shape (...)
        Loss, between 0 and d for a small initialisation.

    Raises
    ------
    ValueError
        As in :func:`singular_values`, and if ``dim`` is below k.

    Examples
    --------
    >>> float(loss(1e4, [1.0, 0.5, -0.5], [1e-3] * 3))
    1.0
    """
    curves = eigenvalue_curves(t, gamma, s0)
    modes = curves.shape[-1]
    if dim is not None and dim < modes:
        raise ValueError(f"dim is {dim}; expected at least the {modes} modes given")
    return np.sum((1.0 - curves) ** 2, axis=-1) + (0 if dim is None else dim - modes)


def step_times(gamma: ArrayLike, s0: ArrayLike) -> Array:
    """Flow time at which each mode has half risen, lambda = 1/2.

    Parameters
    ----------
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and singular values at t = 0.

    Returns
    -------
    ndarray, shape (k,)
        ``log(1/lambda(0) - 1) / (8 gamma)``; infinite for gamma <= 0 or s0 = 0 (never learned),
        zero for a mode that starts above one half.

    Raises
    ------
    ValueError
        As in :func:`mode_arrays`.

    Examples
    --------
    >>> step_times([1.0, 0.0, -1.0], [1e-3, 1e-3, 1e-3]).round(4).tolist()
    [1.7269, inf, inf]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    tau = np.full(gamma.shape, np.inf)
    learned = (gamma > 0) & (s0 > 0)
    log_lam0 = np.log(gamma[learned]) + 2.0 * np.log(s0[learned])
    # Clipping at 1/2 maps modes that start above it to tau = 0.
    log_lam0 = np.minimum(log_lam0, -np.log(2.0))
    tau[learned] = (np.log1p(-np.exp(log_lam0)) - log_lam0) / (8.0 * gamma[learned])
    return tau


def approximate_step_times(gamma: ArrayLike, s0: ArrayLike) -> Array:
    """Step times of the small-initialisation limit, ``-log(gamma s0^2) / (8 gamma)``.

    Parameters
    ----------
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and singular values at t = 0.

    Returns
    -------
    ndarray, shape (k,)
        Critical times of arXiv 2303.15438, which exceed :func:`step_times` by about
        ``lambda(0) / (8 gamma)``. They are infinite for gamma <= 0 or s0 = 0.

    Raises
    ------
    ValueError
        As in :func:`mode_arrays`.

    Examples
    --------
    >>> approximate_step_times([1.0], [1e-3]).round(4).tolist()
    [1.7269]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    tau = np.full(gamma.shape, np.inf)
    learned = (gamma > 0) & (s0 > 0)
    tau[learned] = -(np.log(gamma[learned]) + 2.0 * np.log(s0[learned])) / (8.0 * gamma[learned])
    return tau


def rise_widths(gamma: ArrayLike) -> Array:
    """Flow time of each mode from 10 % to 90 % of its height, ``log(9) / (4 gamma)``.

    Parameters
    ----------
    gamma : array_like, shape (k,)
        Eigenvalues of Gamma.

    Returns
    -------
    ndarray, shape (k,)
        Widths; infinite for gamma <= 0. They do not depend on the initialisation: a smaller one
        makes plateaus longer, but not rises steeper.

    Raises
    ------
    ValueError
        If a value is not finite.

    Examples
    --------
    >>> rise_widths([1.0]).round(4).tolist()
    [0.5493]
    """
    gamma = finite_array("gamma", gamma, 1)
    widths = np.full(gamma.shape, np.inf)
    np.divide(np.log(9.0), 4.0 * gamma, out=widths, where=gamma > 0)
    return widths


def plateaus(gamma: ArrayLike, s0: ArrayLike, dim: int | None = None) -> tuple[Plateau, ...]:
    """Plateaus of the loss between two steps.

    Parameters
    ----------
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and singular values at t = 0.
    dim : int, optional
        Embedding dimension d. Default k.

    Returns
    -------
    tuple of Plateau
        Plateaus in order of time. There is no plateau between two rises that overlap.

    Raises
    ------
    ValueError
        As in :func:`mode_arrays`.

    Examples
    --------
    >>> for p in plateaus([1.0, 0.1], [1e-3, 1e-3]):
    ...     print(p.modes, p.loss, round(p.start, 2), round(p.end, 2))
    0 2.0 0.0 1.45
    1 1.0 2.0 17.4
    2 0.0 22.89 inf
    """
    tau, half = step_times(gamma, s0), rise_widths(gamma) / 2.0
    half[~np.isfinite(tau)] = 0.0
    return plateaus_between(tau, tau - half, tau + half, None, dim)


def plateaus_between(
    steps: Array,
    begins: Array,
    ends: Array,
    height: Callable[[float], float] | None = None,
    dim: int | None = None,
) -> tuple[Plateau, ...]:
    """Plateaus between rises whose beginnings and ends are known.

    Parameters
    ----------
    steps : ndarray, shape (k,)
        Step times; modes with an infinite one are left out.
    begins, ends : ndarray, shape (k,)
        Times at which the rises begin and end.
    height : callable, optional
        Loss at a time, taken in the middle of a plateau. Default: ``dim`` minus the modes learned.
    dim : int, optional
        Embedding dimension d. Default k.

    Returns
    -------
    tuple of Plateau
        Plateaus in order of time.

    Examples
    --------
    >>> plateaus_between(*np.array([[2.0], [1.0], [3.0]]))[0]
    Plateau(modes=0, loss=1.0, start=0.0, end=1.0)
    """
    dim = len(steps) if dim is None else dim
    order = [j for j in np.argsort(steps, kind="stable") if np.isfinite(steps[j])]
    rising = begins[order]
    # A slow mode can start to rise before a faster one that reaches its half-rise first.
    rests = [float(np.min(rising[i:], initial=np.inf)) for i in range(len(order) + 1)]
    start, flat = 0.0, []
    for modes, end in enumerate(rests):
        if end > start:
            middle = start + 1.0 if end == np.inf else (start + end) / 2.0
            loss = float(dim - modes) if height is None else height(middle)
            flat.append(Plateau(modes, loss, start, end))
        if modes < len(order):
            # A slow early mode can still rise after a later one has finished.
            start = max(start, float(ends[order[modes]]))
    return tuple(flat)


def half_rise_share(before: float, after: float) -> float:
    """Part of an interval after which a curve passes one half.

    Parameters
    ----------
    before, after : float
        Values at its ends, below one half and not below it.

    Returns
    -------
    float
        Share from 0 to 1, by linear interpolation of the logit, which is exact for a logistic
        curve; of the value itself if the values are not between 0 and 1.

    Examples
    --------
    >>> half_rise_share(0.25, 0.75), half_rise_share(0.0, 2.0)
    (0.5, 0.25)
    """
    if before > 0.0 and after < 1.0:
        first, last = (float(np.log(share) - np.log1p(-share)) for share in (before, after))
        return -first / (last - first)
    return (0.5 - before) / (after - before)


def weights(
    t: ArrayLike, gamma: ArrayLike, s0: ArrayLike, left: ArrayLike, right: ArrayLike
) -> Array:
    """Weights ``U diag(s(t)) V^T`` along the flow.

    Parameters
    ----------
    t : array_like, shape (...)
        Flow times.
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and singular values at t = 0.
    left : array_like, shape (d, k)
        Left singular vectors U.
    right : array_like, shape (m, k)
        Eigenvectors V of Gamma.

    Returns
    -------
    ndarray, shape (..., d, m)
        Map W(t); embeddings of samples in rows are ``x @ W.T``.

    Raises
    ------
    ValueError
        As in :func:`singular_values`.

    Examples
    --------
    >>> weights(1e4, [0.25], [1e-3], [[1.0]], [[0.0], [1.0]]).tolist()
    [[0.0, 2.0]]
    """
    left, right = finite_array("left", left, 2), finite_array("right", right, 2)
    return (left * singular_values(t, gamma, s0)[..., None, :]) @ right.T


def final_weights(gamma: ArrayLike, left: ArrayLike, right: ArrayLike) -> Array:
    """Learned map ``U diag(gamma^-1/2) V^T``, of least Frobenius norm among maps of zero loss.

    Parameters
    ----------
    gamma : array_like, shape (k,)
        Eigenvalues of Gamma; modes with gamma <= 0 are never learned and are left out.
    left : array_like, shape (d, k)
        Left singular vectors U.
    right : array_like, shape (m, k)
        Eigenvectors V of Gamma.

    Returns
    -------
    ndarray, shape (d, m)
        Map; its squared Frobenius norm is the sum of 1/gamma over positive modes.

    Raises
    ------
    ValueError
        If a value is not finite or an array has the wrong number of dimensions.

    Notes
    -----
    arXiv 2303.15438, section 4.

    Examples
    --------
    >>> final_weights([0.25, -1.0], [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]).tolist()
    [[2.0, 0.0], [0.0, 0.0]]
    """
    gamma = finite_array("gamma", gamma, 1)
    left, right = finite_array("left", left, 2), finite_array("right", right, 2)
    scale = np.zeros_like(gamma)
    scale[gamma > 0] = gamma[gamma > 0] ** -0.5
    return (left * scale) @ right.T
