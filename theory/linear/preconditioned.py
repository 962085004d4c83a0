r"""Preconditioned gradient flow: shorter step times for small directions.

Preconditioners of linear Barlow Twins (:mod:`theory.linear.closed_form`), with C = W Gamma W^T:

* on the embedding side, ``dW/dt = -4 (C + rho I)^-p (C - I) W Gamma``, with

      dlambda/dt = 8 gamma lambda (1 - lambda) (lambda + rho)^-p.

  It removes most of the factor log(1 / initialisation) of a step time, but not 1/gamma. It also
  holds for a generic small initialisation, with the singular values of
  :func:`theory.linear.initialization.equivalent_initialization`.
* on the input side, ``dW/dt = -4 (C - I) W Gamma (|Gamma| + delta I)^-q``, with logistic curves of
  rate ``8 gamma (|gamma| + delta)^-q``. It reduces the factor 1/gamma. The plain power
  ``Gamma^-q`` is not possible if Gamma has negative eigenvalues: at q = 1 it drives their modes to
  minus infinity in finite time. A pseudo-inverse on the eigenvalues above delta is possible.
* on both sides, ``dW/dt = -4 (C + rho I)^-p (C - I) W Gamma (|Gamma| + delta I)^-q``: the equation
  of the embedding side with ``gamma (|gamma| + delta)^-q`` in place of gamma, so that

      t = integral of (expit u + rho)^p du / (8 gamma (|gamma| + delta)^-q),   u = logit(lambda),

  and both factors of a step time become smaller (derived here).

At q >= 1 on the input side the modes lose their order: at q = 1 all grow at the same rate, the map
never leaves the row space of a generic W(0), and no equivalent aligned initialisation exists. Such
an exponent therefore requires ``aligned=True``, by which the caller states that W(0) is aligned.

The equations follow from the flow of arXiv 2303.15438, section 4. The embedding side is the
authors' suggestion to focus the gradient on small embedding directions.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import quad, solve_ivp
from scipy.special import expit

from theory.arrays import Array, finite_array, non_negative_number, positive_number
from theory.linear import closed_form
from theory.linear.closed_form import level_logits, mode_arrays

# If log(lambda) is this far below log(rho), (lambda + rho)^p is rho^p up to rounding.
_FAR = 40.0
_RISEN = 40.0  # logit at which lambda is 1 up to rounding


def embedding_side_step_times(gamma: ArrayLike, s0: ArrayLike, power: float, ridge: float) -> Array:
    """Flow time at which each mode has half risen under ``(C + rho I)^-p``.

    Parameters
    ----------
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and (equivalent) singular values at t = 0.
    power : float
        Exponent p, zero or above; 0 is no preconditioning.
    ridge : float
        Regulariser rho, above zero.

    Returns
    -------
    ndarray, shape (k,)
        Times; infinite for gamma <= 0 or s0 = 0, zero for a mode that starts above one half.

    Raises
    ------
    ValueError
        As in :func:`embedding_side_level_times`.

    Examples
    --------
    >>> embedding_side_step_times([1.0, -1.0], [1e-3, 1e-3], 1.0, 1e-3).round(4).tolist()
    [0.0884, inf]
    """
    return embedding_side_level_times(0.5, gamma, s0, power, ridge)


def embedding_side_level_times(
    level: ArrayLike, gamma: ArrayLike, s0: ArrayLike, power: float, ridge: float
) -> Array:
    """Flow time at which each mode rises through given levels of lambda under ``(C + rho I)^-p``.

    Parameters
    ----------
    level : array_like, shape (...)
        Levels between 0 and 1, both excluded.
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and (equivalent) singular values at t = 0.
    power : float
        Exponent p, zero or above; 0 is no preconditioning.
    ridge : float
        Regulariser rho, above zero.

    Returns
    -------
    ndarray, shape (..., k)
        Times; infinite for gamma <= 0 or s0 = 0, zero for a mode that starts above the level.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, the power is negative, the ridge is not
        positive, or a level is not between 0 and 1.

    Notes
    -----
    In u = logit(lambda) the flow is ``du/dt = 8 gamma (lambda + rho)^-p``, so t is 1/(8 gamma)
    times the integral of ``(expit(u) + rho)^p``, which is smooth.

    Examples
    --------
    >>> embedding_side_level_times([0.1, 0.9], [1.0], [1e-3], 1.0, 1e-3).round(4).ravel().tolist()
    [0.0146, 0.2898]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    power, ridge = non_negative_number("power", power), positive_number("ridge", ridge)
    target = level_logits(level)
    times = np.full((*target.shape, len(gamma)), np.inf)
    for j in np.flatnonzero((gamma > 0) & (s0 > 0)):
        log_lam = float(np.log(gamma[j]) + 2.0 * np.log(s0[j]))
        start = log_lam - math.log(-math.expm1(log_lam)) if log_lam < 0 else math.inf
        later = [_clock(start, end, power, ridge) for end in target.ravel().tolist()]
        times[..., j] = np.reshape(later, target.shape) / (8.0 * gamma[j])
    return times


def input_side_rates(
    gamma: ArrayLike,
    power: float,
    delta: float,
    *,
    pseudo_inverse: bool = False,
    aligned: bool = False,
) -> Array:
    """Effective eigenvalues ``gamma (|gamma| + delta)^-q`` under input-side preconditioning.

    Parameters
    ----------
    gamma : array_like, shape (k,)
        Eigenvalues of Gamma.
    power : float
        Exponent q, zero or above.
    delta : float
        Regulariser, above zero; with ``pseudo_inverse`` it is the threshold.
    pseudo_inverse : bool, optional
        Use ``gamma^(1-q)`` for gamma > delta and 0 otherwise, instead of the regularised power.
    aligned : bool, optional
        Statement that W(0) is aligned with Gamma; required for q >= 1.

    Returns
    -------
    ndarray, shape (k,)
        Rates of the logistic curves divided by 8; they replace gamma in the time dependence.

    Raises
    ------
    ValueError
        If a value is not finite, the power is negative, delta is not positive, or q >= 1 without
        ``aligned``.

    Examples
    --------
    >>> input_side_rates([0.75, -0.25], 0.5, 0.25).round(4).tolist()
    [0.75, -0.3536]
    >>> input_side_rates([0.75, -0.25], 1.0, 0.1, pseudo_inverse=True, aligned=True).tolist()
    [1.0, 0.0]
    """
    gamma = finite_array("gamma", gamma, 1)
    power, delta = non_negative_number("power", power), positive_number("delta", delta)
    if power >= 1 and not aligned:
        raise ValueError(
            f"power is {power} on the input side; expected below 1: from a generic initialisation "
            "modes then tie and no aligned initialisation is equivalent (pass aligned=True if W(0) "
            "is aligned with Gamma)"
        )
    if not pseudo_inverse:
        return gamma * (np.abs(gamma) + delta) ** -power
    above = gamma > delta
    return np.where(above, np.where(above, gamma, 1.0) ** (1.0 - power), 0.0)


def input_side_curves(
    t: ArrayLike,
    gamma: ArrayLike,
    s0: ArrayLike,
    power: float,
    delta: float,
    *,
    pseudo_inverse: bool = False,
    aligned: bool = False,
) -> Array:
    """Eigenvalues lambda = gamma s^2 along the flow with input-side preconditioning.

    Parameters
    ----------
    t : array_like, shape (...)
        Flow times, not negative; infinity is allowed.
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and singular values at t = 0.
    power, delta, pseudo_inverse, aligned
        As in :func:`input_side_rates`.

    Returns
    -------
    ndarray, shape (..., k)
        Logistic curves of rate 8 times :func:`input_side_rates`; a mode that the pseudo-inverse
        leaves out is constant.

    Raises
    ------
    ValueError
        As in :func:`input_side_rates` and :func:`theory.linear.closed_form.singular_values`.

    Examples
    --------
    >>> tau = input_side_step_times([1.0, 0.1], [1e-3, 1e-3], 0.5, 0.01)
    >>> input_side_curves(tau, [1.0, 0.1], [1e-3, 1e-3], 0.5, 0.01).diagonal().round(9).tolist()
    [0.5, 0.5]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    rates = input_side_rates(gamma, power, delta, pseudo_inverse=pseudo_inverse, aligned=aligned)
    moving = rates != 0
    curves = closed_form.eigenvalue_curves(t, rates, _scaled(gamma, s0, rates))
    return np.where(moving, curves, gamma * s0**2)


def input_side_step_times(
    gamma: ArrayLike,
    s0: ArrayLike,
    power: float,
    delta: float,
    *,
    pseudo_inverse: bool = False,
    aligned: bool = False,
) -> Array:
    """Flow time at which each mode has half risen with input-side preconditioning.

    Parameters
    ----------
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and singular values at t = 0.
    power, delta, pseudo_inverse, aligned
        As in :func:`input_side_rates`.

    Returns
    -------
    ndarray, shape (k,)
        ``log(1/lambda(0) - 1) / (8 gamma (|gamma| + delta)^-q)``; infinite for modes that are never
        learned, zero for a mode that starts above one half.

    Raises
    ------
    ValueError
        As in :func:`input_side_rates` and :func:`theory.linear.closed_form.mode_arrays`.

    Examples
    --------
    >>> s0 = [1e-3, 1e-3 * 10**0.5]
    >>> options = {"pseudo_inverse": True, "aligned": True}
    >>> input_side_step_times([1.0, 0.1], s0, 1.0, 0.01, **options).round(4).tolist()
    [1.7269, 1.7269]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    rates = input_side_rates(gamma, power, delta, pseudo_inverse=pseudo_inverse, aligned=aligned)
    return closed_form.step_times(rates, _scaled(gamma, s0, rates))


def two_sided_step_times(
    gamma: ArrayLike,
    s0: ArrayLike,
    embedding: tuple[float, float],
    inputs: tuple[float, float],
    *,
    aligned: bool = False,
) -> Array:
    """Flow time at which each mode has half risen with preconditioners on both sides.

    Parameters
    ----------
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and (equivalent) singular values at t = 0.
    embedding, inputs, aligned
        As in :func:`two_sided_level_times`.

    Returns
    -------
    ndarray, shape (k,)
        Times; infinite for gamma <= 0 or s0 = 0, zero for a mode that starts above one half.

    Raises
    ------
    ValueError
        As in :func:`two_sided_level_times`.

    Examples
    --------
    >>> two_sided_step_times([1.0, 0.01], [1e-3, 1e-3], (1.0, 0.1), (0.5, 0.01)).round(3).tolist()
    [0.261, 4.482]
    """
    return two_sided_level_times(0.5, gamma, s0, embedding, inputs, aligned=aligned)


def two_sided_level_times(
    level: ArrayLike,
    gamma: ArrayLike,
    s0: ArrayLike,
    embedding: tuple[float, float],
    inputs: tuple[float, float],
    *,
    aligned: bool = False,
) -> Array:
    """Flow time at which each mode rises through given levels, preconditioned on both sides.

    Parameters
    ----------
    level : array_like, shape (...)
        Levels between 0 and 1, both excluded.
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and (equivalent) singular values at t = 0.
    embedding : (float, float)
        Exponent p and regulariser rho of ``(C + rho I)^-p``; p = 0 is no preconditioner.
    inputs : (float, float)
        Exponent q and regulariser delta of ``(|Gamma| + delta I)^-q``; q = 0 is none.
    aligned : bool, optional
        Statement that W(0) is aligned with Gamma; required for q >= 1.

    Returns
    -------
    ndarray, shape (..., k)
        Times; infinite for gamma <= 0 or s0 = 0, zero for a mode that starts above the level.

    Raises
    ------
    ValueError
        As in :func:`embedding_side_level_times` and :func:`input_side_rates`.

    Examples
    --------
    >>> gamma, s0 = [1.0, 0.01], [1e-3, 1e-3]
    >>> both = two_sided_level_times([0.1, 0.9], gamma, s0, (1.0, 0.1), (0.5, 0.01))
    >>> both.round(3).tolist()
    [[0.159, 3.054], [0.49, 7.715]]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    rates = input_side_rates(gamma, *inputs, aligned=aligned)
    return embedding_side_level_times(level, rates, _scaled(gamma, s0, rates), *embedding)


def two_sided_curves(
    t: ArrayLike,
    gamma: ArrayLike,
    s0: ArrayLike,
    embedding: tuple[float, float],
    inputs: tuple[float, float],
    *,
    aligned: bool = False,
) -> Array:
    """Eigenvalues lambda = gamma s^2 along the flow with preconditioners on both sides.

    Parameters
    ----------
    t : array_like, shape (...)
        Flow times, not negative; infinity is allowed.
    gamma, s0 : array_like, shape (k,)
        Eigenvalues of Gamma and (equivalent) singular values at t = 0; no mode starts above 1.
    embedding, inputs, aligned
        As in :func:`two_sided_level_times`.

    Returns
    -------
    ndarray, shape (..., k)
        The inverse of :func:`two_sided_level_times`, to a relative accuracy of about 1e-9. For
        gamma < 0, where C has no power, the regulariser alone counts, and the mode decays.

    Raises
    ------
    ValueError
        As in :func:`two_sided_level_times`, or if a time is not valid or a mode starts above 1.

    Notes
    -----
    In u = logit(lambda) and the time 8 gamma (|gamma| + delta)^-q t, all modes follow one curve,
    ``du/dc = (expit(u) + rho)^-p``, each from its own start.

    Examples
    --------
    >>> sides = (1.0, 0.1), (0.5, 0.01)
    >>> tau = two_sided_step_times([1.0, 0.01], [1e-3, 1e-3], *sides)
    >>> two_sided_curves(tau, [1.0, 0.01], [1e-3, 1e-3], *sides).diagonal().round(6).tolist()
    [0.5, 0.5]
    """
    gamma, s0 = mode_arrays(gamma, s0)
    power, ridge = (
        non_negative_number("power", embedding[0]),
        positive_number("ridge", embedding[1]),
    )
    rates = input_side_rates(gamma, *inputs, aligned=aligned)
    t = closed_form.flow_times(t)
    lam0 = gamma * s0**2
    if lam0.max(initial=0.0) > 1.0:
        raise ValueError(f"a mode starts at lambda = {lam0.max():g}; expected at most 1")
    slowed = rates * ridge**-power
    curves = closed_form.eigenvalue_curves(t, slowed, _scaled(gamma, s0, slowed))
    rising = (lam0 > 0) & (lam0 < 1)
    curves[..., lam0 == 1] = 1.0
    if rising.any():
        log_lam = np.log(gamma[rising]) + 2.0 * np.log(s0[rising])
        starts = log_lam - np.log(-np.expm1(log_lam))
        clocks = 8.0 * rates[rising] * t[..., None]
        curves[..., rising] = expit(_logits_after(clocks, starts, power, ridge))
    return curves


def _logits_after(clocks: Array, starts: Array, power: float, ridge: float) -> Array:
    """Solutions of ``du/dc = (expit(u) + ridge)^-power`` at (..., k), from starts (k,)."""
    first = float(starts.min())
    if first >= _RISEN:
        return np.broadcast_to(starts, clocks.shape)
    end = _clock(first, _RISEN, power, ridge)
    solved = solve_ivp(
        lambda _, u: (expit(u) + ridge) ** -power, (0.0, end), [first], "DOP853",
        dense_output=True, rtol=1e-11, atol=1e-11,
    )  # fmt: skip
    since = np.array([_clock(first, start, power, ridge) for start in starts.tolist()])
    return np.maximum(
        solved.sol(np.minimum(clocks + since, end).ravel())[0].reshape(clocks.shape), starts
    )


def _scaled(gamma: Array, s0: Array, rates: Array) -> Array:
    """Singular values that keep lambda(0) = gamma s0^2 if the rates replace gamma."""
    ratio = np.divide(gamma, rates, out=np.zeros_like(gamma), where=rates != 0)
    return s0 * np.sqrt(ratio)


def _clock(start: float, end: float, power: float, ridge: float) -> float:
    """Integral of (expit(u) + ridge)^power from start to end; 0 if start is beyond end."""
    if start >= end:
        return 0.0
    # The integrand is constant up to `first`; from there, pieces keep each quadrature smooth.
    middle = min(math.log(ridge), 0.0)
    first = middle - _FAR
    total = ridge**power * max(0.0, min(end, first) - start)
    for low, high in ((first, middle), (middle, 0.0), (0.0, math.inf)):
        low, high = max(low, start), min(high, end)
        if high > low:
            total += quad(
                lambda u: (expit(u) + ridge) ** power,
                low,
                high,
                epsabs=0.0,
                epsrel=1e-12,
                limit=200,
            )[0]
    return total
