r"""Gradient descent with a finite learning rate, exactly and mode by mode.

Gradient descent with step eta on linear Barlow Twins from an aligned initialisation
(:mod:`theory.linear.closed_form`) does not mix modes, and each singular value follows

    s <- s + 4 eta gamma s (1 - gamma s^2).

The closed form is the limit eta -> 0 at t = eta n (arXiv 2303.15438, section 4). Flow times are too
early by a relative error of about ``2 eta gamma``; the functions here have no such error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, finite_array, non_negative_number, positive_number
from theory.linear import momentum as heavy_ball
from theory.linear.closed_form import mode_arrays


def descent_singular_values(
    iterations: ArrayLike,
    gamma: ArrayLike,
    s0: ArrayLike,
    learning_rate: float,
    *,
    momentum: float = 0.0,
    penalty: float = 0.0,
) -> Array:
    """Singular values of the map at given iterations of gradient descent.

    Parameters
    ----------
    iterations : array_like, shape (T,)
        Whole iteration numbers in any order, not negative; 0 is the initialisation.
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and singular values at iteration 0.
    learning_rate : float
        Step size eta.
    momentum : float, optional
        Heavy ball coefficient mu in the convention of ``torch.optim.SGD``, from rest.
    penalty : float, optional
        Coefficient b of a term ``b ||W||_F^2`` added to the loss; torch's ``weight_decay`` is 2 b.

    Returns
    -------
    ndarray, shape (T, k)
        Absolute values: too large a step can change the sign of a mode, but no eigenvalue. They are
        infinite after the recursion has diverged.

    Raises
    ------
    ValueError
        If iterations are not whole, shapes do not fit, or a value is out of range.

    Notes
    -----
    The recursion with gradient ``-4 gamma s (1 - gamma s^2) + 2 b s`` is iterated up to the largest
    number.

    Examples
    --------
    >>> descent_singular_values([0, 1], [1.0], [0.5], 0.1).tolist()
    [[0.5], [0.65]]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    eta = positive_number("learning_rate", learning_rate)
    mu, b = heavy_ball.momentum_coefficient(momentum), non_negative_number("penalty", penalty)
    wanted = _iteration_numbers(iterations)
    out = np.empty((len(wanted), len(gamma)))
    rows: dict[int, list[int]] = {}
    for row, n in enumerate(wanted.tolist()):
        rows.setdefault(n, []).append(row)
    s, velocity = s0.copy(), np.zeros_like(s0)
    with np.errstate(over="ignore", invalid="ignore"):
        for n in range(max(rows, default=-1) + 1):
            if n:
                velocity = mu * velocity - 4.0 * gamma * s * (1.0 - gamma * s**2) + 2.0 * b * s
                s = s - eta * velocity
            if n in rows:
                # Infinity minus infinity is a divergence too.
                out[rows[n]] = np.where(np.isfinite(s), np.abs(s), np.inf)
    return out


def descent_step_iterations(gamma: ArrayLike, s0: ArrayLike, learning_rate: float) -> Array:
    """Iteration of gradient descent at which each mode has half risen, lambda = 1/2.

    Parameters
    ----------
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and singular values at iteration 0.
    learning_rate : float
        Step size eta.

    Returns
    -------
    ndarray, shape (k,)
        Fractional iterations, interpolated linearly in the logit of lambda between the two
        iterations around the crossing. Infinite for gamma <= 0 or s0 = 0, zero for a mode that
        starts above one half.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, or the learning rate is not positive.

    Notes
    -----
    It is :func:`theory.linear.momentum.momentum_step_iterations` without momentum: iterated for
    large eta gamma, and by the expansion ``n = [T + (h/2) ln(f1/f0) + O(h^2)] / h`` for small, with
    h = 4 eta gamma, f = s (1 - gamma s^2) and T the flow time in units of 1 / (4 gamma).

    Examples
    --------
    >>> descent_step_iterations([1.0], [1e-3], 0.01).round(3).tolist()
    [175.614]
    """
    return heavy_ball.momentum_step_iterations(gamma, s0, learning_rate, 0.0)


def stable_learning_rate(gamma: ArrayLike) -> float:
    """Largest learning rate at which the learned map is stable, ``1 / (4 gamma_1)``.

    Parameters
    ----------
    gamma : array_like, shape (k,)
        Eigenvalues of Gamma.

    Returns
    -------
    float
        Bound. It is ``1 / (2 |gamma|)`` for a negative eigenvalue that is more than twice as large
        as the largest positive one.

    Raises
    ------
    ValueError
        If gamma is empty or not finite.

    Notes
    -----
    At s = gamma^-1/2 the recursion multiplies deviations by ``1 - 8 eta gamma``.

    Examples
    --------
    >>> stable_learning_rate([1.0, 0.5])
    0.25
    """
    return heavy_ball.stable_learning_rate(gamma, 0.0)


def small_signal_growth(gamma: ArrayLike, learning_rate: float) -> Array:
    """Factor by which a small eigenvalue lambda grows per iteration, ``(1 + 4 eta gamma)^2``.

    Parameters
    ----------
    gamma : array_like, shape (k,)
        Eigenvalues of Gamma.
    learning_rate : float
        Step size eta.

    Returns
    -------
    ndarray, shape (k,)
        Growth of lambda; its square root is the growth of the singular value.

    Raises
    ------
    ValueError
        If a value is not finite or the learning rate is not positive.

    Examples
    --------
    >>> small_signal_growth([1.0], 0.125).tolist()
    [2.25]
    """
    gamma = finite_array("gamma", gamma, 1)
    return (1.0 + 4.0 * positive_number("learning_rate", learning_rate) * gamma) ** 2


def flow_time_error(gamma: ArrayLike, learning_rate: float) -> Array:
    """Relative error of flow times for gradient descent, about ``2 eta gamma`` too early.

    Parameters
    ----------
    gamma : array_like, shape (k,)
        Eigenvalues of Gamma.
    learning_rate : float
        Step size eta.

    Returns
    -------
    ndarray, shape (k,)
        ``2 eta |gamma|``, the leading order for a small initialisation.

    Raises
    ------
    ValueError
        If a value is not finite or the learning rate is not positive.

    Notes
    -----
    In one iteration the flow multiplies a mode by exp(h), descent only by 1 + h, h = 4 eta gamma.
    Descent therefore needs ``h / log(1 + h) = 1 + h/2 + ...`` times as many iterations.

    Examples
    --------
    >>> flow_time_error([1.0], 0.01).tolist()
    [0.02]
    """
    gamma = finite_array("gamma", gamma, 1)
    return 2.0 * positive_number("learning_rate", learning_rate) * np.abs(gamma)


def _iteration_numbers(iterations: ArrayLike) -> np.ndarray:
    numbers = finite_array("iterations", iterations, 1)
    bad = numbers[(numbers < 0) | (numbers != np.floor(numbers))]
    if bad.size:
        raise ValueError(f"iterations holds {bad[0]}; expected whole numbers of at least zero")
    if numbers.size and numbers.max() >= 2.0**53:
        raise ValueError(f"iterations holds {numbers.max()}; expected less than 2**53")
    return numbers.astype(np.int64)
