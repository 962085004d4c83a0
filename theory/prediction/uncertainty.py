r"""Intervals for the population's eigenvalues and step times, from a sample of n pairs.

The Gamma of a finite sample is Gamma + E. In the eigenbasis of the sample, the noise E_jk has mean
zero and the variances v_jk of :mod:`theory.pairs.moments`.

This has three effects, all of which matter if n is of the order of m:

Bias
    Every other direction repels mode j, so that top eigenvalues are too large. Exact elimination of
    the other directions (a Schur complement) gives gamma-hat_j - gamma_j = E_jj +
    sum_k E_jk^2 / (gamma-hat_j - gamma-hat_k), with eigenvalues of the *sample* in the
    denominators. Its mean is the bias that is removed here; for x = x' this is the consistent
    estimator of spiked covariance models. Two levels at a distance D move by at most D/2 each; the
    exact two-level formula (D - sqrt(D^2 - 4 v)) / 2 replaces v / D, so that the bias of close
    levels stays finite.
Spread
    E_jj and the fluctuation of the sum above; their variances are corrected for the same overfit.
Rotation
    v_j is rotated by angles sqrt(v_jk) / gap_jk. This changes the part of W(0) along it, and so the
    initial singular value s_j(0). Rotations are drawn, and W(0) V is factorised for each draw:
    intervals hold for the given W(0).

If an angle is not small, the sample cannot separate mode j from its neighbours: the mode is marked
as unresolved, and its interval is widened to cover theirs. The order of the eigenvalues is used:
the j-th is not smaller than those after it, so a mode in the noise is still known to be learned if
a later one is. If both views of a pair have the same distribution, the population's Gamma has no
negative eigenvalue. The most negative eigenvalue of the sample is then noise, and a mode that
exceeds it neither in size nor in standard deviations may be noise too.

:mod:`theory.prediction.bootstrap` is a slower alternative by resampling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from theory.arrays import Array, whole_number
from theory.linear.closed_form import step_times
from theory.pairs.moments import Moments

RESOLVED_ANGLE = 0.7
"""Largest rotation of a resolved mode towards one other mode, sqrt(v_jk) / gap_jk."""


@dataclass(frozen=True)
class EigenvalueEstimate:
    """Estimates of the population's eigenvalues.

    Attributes
    ----------
    values : ndarray, shape (d,)
        Sample eigenvalues minus their bias.
    bias : ndarray, shape (d,)
        Upward bias of the sample eigenvalues.
    spread : ndarray, shape (d,)
        Standard deviation of ``values``.
    angles : ndarray, shape (d, K)
        Standard deviation of the rotation towards every other direction (radians, small angles).
    resolved : ndarray of bool, shape (d,)
        Whether no angle exceeds ``RESOLVED_ANGLE`` and the value is above its own noise and that of
        the sample.
    """

    values: Array
    bias: Array
    spread: Array
    angles: Array
    resolved: NDArray[np.bool_]


@dataclass(frozen=True)
class StepIntervals:
    """Intervals that cover the population's eigenvalues and step times.

    Attributes
    ----------
    eigenvalue_low, eigenvalue_high : ndarray, shape (d,)
        Bounds of the eigenvalues of Gamma.
    step_time_low, step_time_high : ndarray, shape (d,)
        Bounds of the flow times; infinite if the mode may never be learned.
    """

    eigenvalue_low: Array
    eigenvalue_high: Array
    step_time_low: Array
    step_time_high: Array


def estimate_eigenvalues(moments: Moments) -> EigenvalueEstimate:
    """Remove the bias of the top eigenvalues; estimate their spread and rotation.

    Parameters
    ----------
    moments : Moments
        From :func:`pair_moments`.

    Returns
    -------
    EigenvalueEstimate
        Estimates, with the formulas of the module's docstring.

    Examples
    --------
    >>> moments = Moments(np.array([1.0, 0.0]), np.array([[0.0, 0.01]]), np.array([1e-4]), False, 9)
    >>> estimate = estimate_eigenvalues(moments)
    >>> estimate.values.round(4).tolist(), estimate.angles.round(4).tolist()
    ([0.9899], [[0.0, 0.0995]])
    """
    sample = moments.gamma[: len(moments.own)]
    gap = sample[:, None] - moments.gamma  # (d, K)
    bias = _repulsion(moments, gap, moments.noise).sum(axis=1)
    values = sample - bias
    own, noise = _without_overfit(moments, values)
    # A level moves by no more than half the gap; uniform there, its variance is D^2/48.
    wobble = np.minimum(2.0 * _repulsion(moments, gap, noise) ** 2, gap**2 / 48.0)
    angles = np.sqrt(np.divide(noise, gap**2 + noise, out=np.zeros_like(noise), where=noise > 0))
    # Angles are sines: sqrt(v / (gap^2 + v)); the bound is on the tangent.
    mixed = angles > RESOLVED_ANGLE / np.hypot(1.0, RESOLVED_ANGLE)
    if moments.tail:
        # A sum over many directions: none of them mixes, and fluctuations cancel.
        mixed[:, -1], wobble[:, -1] = False, 0.0
    # If levels mix, the observed gap is mostly noise, and so is the bias computed from it.
    doubt = np.max(np.where(mixed, noise, 0.0), axis=1, initial=0.0)
    spread = np.sqrt(own + wobble.sum(axis=1) + doubt)
    resolved = ~mixed.any(axis=1) & (values > 2.0 * spread) & ~_lost(moments)
    return EigenvalueEstimate(values, bias, spread, angles, resolved)


def step_intervals(
    moments: Moments,
    estimate: EigenvalueEstimate,
    w0: Array,
    eigenvectors: Array,
    *,
    level: float = 0.9,
    draws: int = 1000,
    rng: np.random.Generator | int = 0,
) -> StepIntervals:
    """Intervals of the population's eigenvalues and step times at a given W(0).

    Parameters
    ----------
    moments : Moments
        From :func:`pair_moments`.
    estimate : EigenvalueEstimate
        From :func:`estimate_eigenvalues`.
    w0 : ndarray, shape (d, m)
        Initial weights.
    eigenvectors : ndarray, shape (m, K')
        Eigenvectors that the moments belong to; K' = K or, with a tail, K - 1.
    level : float
        Coverage probability of the interval of each mode.
    draws : int
        Number of simulated populations.
    rng : numpy.random.Generator or int
        Generator, or seed, of the simulation.

    Returns
    -------
    StepIntervals
        Central intervals: both sides miss with equal probability.

    Raises
    ------
    ValueError
        If ``level`` is not between 0 and 1, or ``draws`` is below 100.

    Examples
    --------
    >>> moments = Moments(np.array([1.0, 0.1]), np.array([[0.0, 1e-4]]), np.array([1e-4]), False, 9)
    >>> estimate = estimate_eigenvalues(moments)
    >>> bounds = step_intervals(moments, estimate, np.array([[1e-3, 1e-3]]), np.eye(2))
    >>> bool(bounds.step_time_low[0] < 1.7269 < bounds.step_time_high[0])
    True
    """
    draws = whole_number("draws", draws, 100)
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level}; expected a probability between 0 and 1")
    rng = np.random.default_rng(rng)
    values, spread = estimate.values, estimate.spread
    learned = values > 0
    # The noise of an eigenvalue is proportional to it, so its logarithm is closer to normal.
    relative = np.where(learned, spread / np.where(learned, values, 1.0), 0.0)
    relative = np.minimum(relative, 5.0)
    z = float(ndtri(0.5 + level / 2.0))
    # Eigenvalues descend: one is above zero if it or any later one is.
    lost = _lost(moments)
    above_zero = _at_least_later(np.where(lost, -np.inf, values - z * spread)) > 0
    low = np.where(above_zero, values * np.exp(-z * relative), np.minimum(values - z * spread, 0.0))
    high = np.where(learned, values * np.exp(z * relative), values + z * spread)
    own_low, low, high = low, _at_least_later(low), np.minimum.accumulate(high)
    singular = _rotated_singular_values(estimate, moments, w0, eigenvectors, draws, rng)
    noise = rng.standard_normal((draws, len(values)))
    simulated = np.where(learned, values * np.exp(relative * noise), values + spread * noise)
    simulated = np.where(low > own_low, np.maximum(simulated, low), simulated)
    tau = step_times(simulated.ravel(), singular.ravel()).reshape(simulated.shape)
    # Inverted quantiles select draws and do not interpolate, so infinite times are allowed.
    tails = [(1.0 - level) / 2.0, (1.0 + level) / 2.0]
    early, late = np.quantile(tau, tails, axis=0, method="inverted_cdf")
    late[~above_zero] = np.inf
    if lost.any():
        high[lost] = np.maximum(high[lost], moments.floor)
        at_floor = step_times(np.full(singular.size, moments.floor), singular.ravel())
        at_floor = np.quantile(at_floor.reshape(singular.shape), tails[0], 0, method="inverted_cdf")
        early = np.where(lost, np.minimum(early, at_floor), early)
    low, high, early, late = _widen(estimate, low, high, early, late)
    return StepIntervals(low, high, early, late)


def _lost(moments: Moments) -> NDArray[np.bool_]:
    """Modes that are neither larger nor more certain than the noise floor."""
    sample = moments.gamma[: len(moments.own)]
    surer = sample * moments.floor_spread > moments.floor * np.sqrt(moments.own)
    return (sample <= moments.floor) & ~surer


def _repulsion(moments: Moments, gap: Array, noise: Array) -> Array:
    """Mean upward shift of each mode by each direction, shape (d, K)."""
    shift = 0.5 * np.sign(gap) * (np.abs(gap) - np.sqrt(np.maximum(gap**2 - 4.0 * noise, 0.0)))
    if moments.tail:
        # The last column is a sum over many weakly coupled directions, without a two-level limit.
        last, repelled = noise[:, -1], (gap[:, -1] > 0) & (noise[:, -1] > 0)
        shift[:, -1] = np.divide(last, gap[:, -1], out=np.zeros(len(last)), where=repelled)
    return shift


def _without_overfit(moments: Moments, values: Array) -> tuple[Array, Array]:
    """Variances ``own`` and ``noise`` of the population, given its eigenvalues.

    The second moments s_j = E a_j^2 of the sample along its eigenvectors are too large, by the same
    overfit as its eigenvalues. For normal data var(a_j b_j) = s_j^2 + gamma_j^2, where both terms
    lose the bias, and w_jk is about s_j s_k / 2, where each factor of a top mode does.
    """
    sample = moments.gamma[: len(values)]
    bias = sample - values
    second = np.sqrt(np.maximum(moments.own * moments.units - sample**2, 0.0))
    rest = np.maximum(second - bias, 0.0)
    shrunk = np.divide(rest, second, out=np.ones_like(bias), where=(second > 0) & (bias > 0))
    before = second**2 + sample**2
    share = np.divide(
        rest**2 + values**2, before, out=np.ones_like(bias), where=(before > 0) & (bias > 0)
    )
    noise = moments.noise * shrunk[:, None]
    noise[:, : len(shrunk)] *= shrunk
    return moments.own * np.minimum(share, 1.0), noise


def _at_least_later(bounds: Array) -> Array:
    return np.maximum.accumulate(bounds[::-1])[::-1]


def _rotated_singular_values(
    estimate: EigenvalueEstimate,
    moments: Moments,
    w0: Array,
    eigenvectors: Array,
    draws: int,
    rng: np.random.Generator,
) -> Array:
    """Initial singular values of populations whose eigenvectors are rotated by random angles."""
    dim = len(estimate.values)
    sine = estimate.angles
    projected = w0 @ eigenvectors  # (d, K')
    inside = np.triu(rng.standard_normal((draws, dim, dim)), 1)
    inside = (inside - inside.transpose(0, 2, 1)) * sine[
        :, :dim
    ]  # E_jk rotates j to k and k from j
    turned = projected[:, :dim].T + inside @ projected[:, :dim].T  # (draws, d modes, d)
    outer = projected[:, dim:]
    for j in range(dim):
        weighted = outer * sine[j, dim : dim + outer.shape[1]]
        covariance = weighted @ weighted.T
        if moments.tail:
            # Directions that were not computed are treated as isotropic.
            left = w0 @ w0.T - projected @ projected.T
            share = sine[j, -1] ** 2 / max(w0.shape[1] - projected.shape[1], 1)
            covariance = covariance + share * left
        root = _square_root(covariance)
        turned[:, j] += rng.standard_normal((draws, len(root))) @ root.T
    length = 1.0 + np.sum(inside**2, axis=2) + np.sum(sine[:, dim:] ** 2, axis=1)
    turned /= np.sqrt(length)[..., None]
    upper = np.linalg.qr(turned.transpose(0, 2, 1), mode="r")
    return np.abs(np.diagonal(upper, axis1=1, axis2=2))


def _square_root(covariance: Array) -> Array:
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def _widen(
    estimate: EigenvalueEstimate, low: Array, high: Array, early: Array, late: Array
) -> tuple[Array, Array, Array, Array]:
    """Extend the intervals of unresolved modes over those of the modes that they mix with."""
    dim = len(low)
    bound = RESOLVED_ANGLE / np.hypot(1.0, RESOLVED_ANGLE)
    mixes = estimate.angles[:, :dim] > bound
    np.fill_diagonal(mixes, True)
    wide = [
        reduce(np.where(mixes, bounds, neutral), axis=1)
        for bounds, reduce, neutral in [
            (low, np.min, np.inf),
            (high, np.max, -np.inf),
            (early, np.min, np.inf),
            (late, np.max, -np.inf),
        ]
    ]
    return wide[0], wide[1], wide[2], wide[3]
