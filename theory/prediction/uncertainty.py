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

These formulas see the sample that chose the modes, and trust a mode that stands out by chance. The
early end of an interval (the upper end of an eigenvalue) is theirs. For the late end, half of the
draws come from eigenvalues measured on held-out images instead (:mod:`theory.prediction.held_out`),
which are too small where those of the sample are too large. A mode that neither is learned there
nor precedes one that is may be noise: its interval ends at "never". The order of the eigenvalues is
used: every draw is sorted.

If an angle is not small, the sample cannot separate mode j from its neighbours: the mode is marked
as unresolved.

:mod:`theory.prediction.bootstrap` is a slower alternative by resampling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theory.arrays import Array, whole_number
from theory.linear.closed_form import step_times
from theory.pairs.moments import Moments
from theory.prediction.held_out import HeldOut

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
    separated : ndarray of bool, shape (d,)
        Whether no angle exceeds ``RESOLVED_ANGLE``.
    """

    values: Array
    bias: Array
    spread: Array
    angles: Array
    separated: NDArray[np.bool_]


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
    return EigenvalueEstimate(values, bias, spread, angles, ~mixed.any(axis=1))


def step_intervals(
    moments: Moments,
    estimate: EigenvalueEstimate,
    held_out: HeldOut,
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
    held_out : HeldOut
        From :func:`theory.prediction.held_out.held_out_eigenvalues`.
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
    >>> held_out = HeldOut(np.array([0.99]), np.array([0.01]), np.array([True]))
    >>> bounds = step_intervals(moments, estimate, held_out, np.array([[1e-3, 1e-3]]), np.eye(2))
    >>> bool(bounds.step_time_low[0] < 1.7269 < bounds.step_time_high[0])
    True
    """
    draws = whole_number("draws", draws, 100)
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level}; expected a probability between 0 and 1")
    rng = np.random.default_rng(rng)
    singular = _rotated_singular_values(estimate, moments, w0, eigenvectors, draws, rng)
    known = np.flatnonzero(estimate.spread < estimate.values)
    first = int(known[-1]) + 1 if len(known) else 0  # modes up to the last that is not all noise
    formula = _descending(_drawn_eigenvalues(estimate, draws, rng), first)
    noise = rng.standard_normal(formula.shape)
    measured = _descending(held_out.values + held_out.errors * noise, first)
    tails = [(1.0 - level) / 2.0, (1.0 + level) / 2.0]

    def quantile(values: Array, at: float) -> Array:
        # Inverted quantiles select draws and do not interpolate, so infinite times are allowed.
        return np.quantile(values, at, axis=0, method="inverted_cdf")

    def times(eigenvalues: Array) -> Array:
        return step_times(eigenvalues.ravel(), singular.ravel()).reshape(singular.shape)

    both = np.concatenate([formula, measured])
    low, high = quantile(both, tails[0]), quantile(formula, tails[1])
    late = quantile(np.concatenate([times(formula), times(measured)]), tails[1])
    early = quantile(times(formula), tails[0])
    unknown = ~np.logical_or.accumulate(held_out.learned[::-1])[::-1]
    low[unknown], late[unknown] = np.minimum(low[unknown], 0.0), np.inf
    # What may be noise may be as large as the noise is known to be.
    noisy = ~held_out.learned
    at_floor = quantile(times(np.full(singular.shape, moments.floor)), tails[0])
    high = np.where(noisy, np.maximum(high, moments.floor), high)
    early = np.where(noisy, np.minimum(early, at_floor), early)
    return StepIntervals(low, high, early, late)


def _drawn_eigenvalues(estimate: EigenvalueEstimate, draws: int, rng: np.random.Generator) -> Array:
    """Eigenvalues (draws, d) of populations from which the sample may come, by the formulas."""
    values, spread = estimate.values, estimate.spread
    noise = rng.standard_normal((draws, len(values)))
    learned = values > 0
    # The noise of an eigenvalue is proportional to it, so its logarithm is closer to normal.
    relative = np.where(learned, spread / np.where(learned, values, 1.0), 0.0)
    relative = np.minimum(relative, 5.0)
    return np.where(learned, values * np.exp(relative * noise), values + spread * noise)


def _descending(draws: Array, first: int) -> Array:
    """Sorted draws; those after the first modes, which may be wild, stay below these."""
    if 0 < first < draws.shape[1]:
        top, rest = draws[:, :first], draws[:, first:]
        draws = np.hstack([top, np.minimum(rest, top.min(axis=1, keepdims=True))])
    return -np.sort(-draws, axis=1)


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
