r"""Linear Barlow Twins with weight decay, solved in closed form.

Adding ``b ||W||_F^2`` to the loss of :mod:`theory.linear.closed_form` adds 2 b W to its gradient.
From an aligned initialisation the modes still decouple,

    ds/dt = 4 gamma s (lambda* - gamma s^2),      lambda* = 1 - b / (2 gamma),

so that lambda = gamma s^2 is a logistic curve of rate 8 gamma - 4 b and height lambda*. A mode is
learned if gamma > b/2 and decays to zero otherwise: exponentially below, like 1/t at gamma = b/2
exactly (derived from the flow of arXiv 2303.15438, section 4).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, finite_array, non_negative_number
from theory.linear.closed_form import flow_times, mode_arrays


def from_torch(weight_decay: float) -> float:
    """Coefficient b of ``b ||W||_F^2`` that is equivalent to torch's ``weight_decay``.

    Parameters
    ----------
    weight_decay : float
        Option of ``torch.optim.SGD``, which adds ``weight_decay * W`` to the gradient.

    Returns
    -------
    float
        ``weight_decay / 2``.

    Raises
    ------
    ValueError
        If ``weight_decay`` is negative or not finite.

    Examples
    --------
    >>> from_torch(0.01)
    0.005
    """
    return non_negative_number("weight_decay", weight_decay) / 2.0


def final_eigenvalues(gamma: ArrayLike, penalty: float) -> Array:
    """Final height lambda* of each eigenvalue of the embedding.

    Parameters
    ----------
    gamma : array_like, shape (k,)
        Eigenvalues of Gamma.
    penalty : float
        Coefficient b of ``b ||W||_F^2``; see :func:`from_torch`.

    Returns
    -------
    ndarray, shape (k,)
        ``1 - b / (2 gamma)`` for gamma > b/2, zero otherwise (not learned).

    Raises
    ------
    ValueError
        If a value is not finite or the penalty is negative.

    Examples
    --------
    >>> final_eigenvalues([1.0, 0.5, 0.05, -1.0], 0.2).tolist()
    [0.9, 0.8, 0.0, 0.0]
    """
    gamma = finite_array("gamma", gamma, 1)
    b = non_negative_number("penalty", penalty)
    learned = gamma > b / 2.0
    return np.divide(gamma - b / 2.0, gamma, out=np.zeros_like(gamma), where=learned)


def singular_values(t: ArrayLike, gamma: ArrayLike, s0: ArrayLike, penalty: float) -> Array:
    """Singular values of the map along the flow with weight decay.

    Parameters
    ----------
    t : array_like, shape (...)
        Flow times, learning rate x step, not negative; infinity is allowed.
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma, of any sign, and singular values at t = 0.
    penalty : float
        Coefficient b of ``b ||W||_F^2``; see :func:`from_torch`.

    Returns
    -------
    ndarray, shape (..., k)
        ``s = [s0^-2 exp(-a t) + 8 gamma^2 (1 - exp(-a t)) / a]^(-1/2)`` with a = 8 gamma - 4 b; at
        a = 0 the fraction is t and s decays like 1 / sqrt(8 gamma^2 t).

    Raises
    ------
    ValueError
        As in :func:`theory.linear.closed_form.singular_values`, or if the penalty is negative.

    Notes
    -----
    With p = s^-2 the flow in the module's docstring is linear, ``dp/dt = -a p + 8 gamma^2``. The
    computation uses the decaying exponential for each sign of a, so that nothing overflows.

    Examples
    --------
    >>> singular_values([0.0, 1e4], [0.25], [1e-3], 0.32).round(6).ravel().tolist()
    [0.001, 1.2]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    a = 8.0 * (gamma - non_negative_number("penalty", penalty) / 2.0)
    t = flow_times(t)[..., None]
    with np.errstate(over="ignore", invalid="ignore"):
        exponent = np.where(a == 0, 0.0, np.abs(a) * t)
    decay = np.exp(-exponent / 2.0)
    # (1 - exp(-|a| t)) / |a|, which is t at a = 0.
    span = np.divide(
        -np.expm1(-exponent), np.abs(a), out=np.broadcast_to(t, exponent.shape).copy(), where=a != 0
    )
    with np.errstate(invalid="ignore"):
        # At gamma = 0 there is no nonlinear term at any time.
        bent = np.where(gamma == 0, 0.0, np.abs(gamma) * s0 * np.sqrt(8.0 * span))
        bent = np.where(s0 == 0, 0.0, bent)
    numerator = np.where(a > 0, s0, s0 * decay)
    denominator = np.hypot(bent, np.where(a > 0, decay, 1.0))
    return np.divide(numerator, denominator, out=np.zeros_like(denominator), where=denominator > 0)


def eigenvalue_curves(t: ArrayLike, gamma: ArrayLike, s0: ArrayLike, penalty: float) -> Array:
    """Eigenvalues lambda = gamma s^2 of the embedding cross-correlation with weight decay.

    Parameters
    ----------
    t : array_like, shape (...)
        Flow times.
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and singular values at t = 0.
    penalty : float
        Coefficient b of ``b ||W||_F^2``.

    Returns
    -------
    ndarray, shape (..., k)
        For gamma > b/2 the logistic
        ``lambda* / (1 + (lambda*/lambda(0) - 1) exp(-8 gamma lambda* t))``.

    Raises
    ------
    ValueError
        As in :func:`singular_values`.

    Examples
    --------
    >>> tau = step_times([0.5], [1e-3], 0.2)
    >>> eigenvalue_curves(tau, [0.5], [1e-3], 0.2).round(12).ravel().tolist()
    [0.4]
    """
    return np.asarray(gamma, dtype=np.float64) * singular_values(t, gamma, s0, penalty) ** 2


def step_times(gamma: ArrayLike, s0: ArrayLike, penalty: float) -> Array:
    """Flow time at which each mode reaches half of its final height, lambda = lambda*/2.

    Parameters
    ----------
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and singular values at t = 0.
    penalty : float
        Coefficient b of ``b ||W||_F^2``.

    Returns
    -------
    ndarray, shape (k,)
        ``log(lambda*/lambda(0) - 1) / (8 gamma - 4 b)``; infinite for gamma <= b/2 or s0 = 0
        (never learned), zero for a mode that starts above half of its height.

    Raises
    ------
    ValueError
        As in :func:`singular_values`.

    Examples
    --------
    >>> step_times([1.0, 0.1], [1e-3, 1e-3], 0.2).round(4).tolist()
    [1.9042, inf]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    excess = gamma - non_negative_number("penalty", penalty) / 2.0
    tau = np.full(gamma.shape, np.inf)
    learned = (excess > 0) & (s0 > 0)
    # lambda(0) / lambda* = gamma^2 s0^2 / (gamma - b/2), at most 1/2 for a mode that still rises.
    log_part = 2.0 * (np.log(gamma[learned]) + np.log(s0[learned])) - np.log(excess[learned])
    log_part = np.minimum(log_part, -np.log(2.0))
    tau[learned] = (np.log1p(-np.exp(log_part)) - log_part) / (8.0 * excess[learned])
    return tau
