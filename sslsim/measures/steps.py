"""Steps found in recorded learning curves: when, how high, how fast, how surely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solveh_banded
from scipy.optimize import least_squares
from scipy.special import expit, logit

from sslsim.core.checks import real_array

Array = NDArray[np.float64]

# Normalised curves have range 1 and run over times 0 to 1.
WIDEST = 0.1  # width of a step as a share of the run: nine tenths of the rise take 0.6 of it
NARROWEST = 0.2  # width in gaps between records below which it cannot be told from 0
FINEST_NOISE = 0.01  # share of a curve's range below which no shape is told from another
SLOW = 0.3  # drift over a run, in heights, that is as likely as one standard deviation
EVIDENCE = 7.0  # gain in log likelihood, in nats, that a step has to show over no step

_PLACES, _WIDTHS = 120, 16  # first search for the step
_WANDER = np.append(
    0.0, np.geomspace(1e-3, 1e3, 13)
)  # random walk against noise, variance a record
_UNEVEN = np.append(0.0, np.geomspace(0.3, 100.0, 9))  # noise on the plateau against the floor's
_SATURATIONS = np.geomspace(0.02, 1.0, 9)
_POWERS = np.array([0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0])


@dataclass(frozen=True)
class Steps:
    """One step a curve, where there is one.

    Parameters
    ----------
    times : ndarray, shape (k,)
        Half-rise times in the unit of the records' times; infinite where no step was found.
    standard_errors : ndarray, shape (k,)
        Standard errors of the times, in the same unit; infinite if no step was found.
    heights : ndarray, shape (k,)
        From floor to plateau, in the unit of the curves; 0 where no step was found.
    widths : ndarray, shape (k,)
        ``w`` of the logistic rise ``1 / (1 + exp(-(t - time) / w))``, which goes from a tenth to
        nine tenths in 4.4 ``w``; infinite where no step was found. Of a rise that falls between
        two records it is only known to be shorter than their distance.
    detected : ndarray of bool, shape (k,)
        Where a step was found.
    """

    times: Array
    standard_errors: Array
    heights: Array
    widths: Array
    detected: NDArray[np.bool_]


def detect_steps(times: ArrayLike, curves: ArrayLike, *, evidence: float = EVIDENCE) -> Steps:
    """Time of the step in each of k recorded curves, none for a curve that grows without one.

    Parameters
    ----------
    times : array_like, shape (T,)
        Times of at least 5 records, strictly ascending, at any spacing.
    curves : array_like, shape (T, k)
        The k curves, for instance the sorted eigenvalues of an embedding cross-correlation.
    evidence : float
        Gain in log likelihood, in nats, over the best account without a step. Default 7.

    Returns
    -------
    Steps
        Times, standard errors, heights and widths, each of shape (k,).

    Raises
    ------
    ValueError
        If shapes do not fit, there are fewer than 5 records, a value is not finite, times do not
        ascend or ``evidence`` is not a finite number.

    Notes
    -----
    Near its step a mode of gradient flow is logistic (2303.15438, section 4). The account with a
    step is ``floor + (height + drift (t - tau)) / (1 + exp(-(t - tau) / width))`` with a positive
    height, a drift that over the rest of the run does not exceed it, and a width of at most a
    tenth of the run; two records at least have to lie below a quarter and above three quarters of
    the rise. The accounts without are a constant plus a power of time or an exponential approach
    or decay. To each come white noise and a random walk from record to record, at the ratio that
    suits it best, so that a curve which wanders is no step. White noise of a hundredth of the
    curve's range is assumed in any curve, so that a tiny difference between two shapes does not
    decide. A step is found where its account is likelier than each of the others by
    ``evidence``.

    The random walk takes steps of equal variance from record to record. One that goes on at an even
    pace in time looks, at logarithmic spacing, more like late steps: some 6 % of such are taken for
    one.

    The time is that of a soft-L1 fit whose noise has one variance on the floor and another on the
    plateau; its standard error takes in the residuals' autocorrelation and, for a rise between two
    records, their distance. A curve with several steps is given the time of one, the one that
    accounts for most of its change.

    Examples
    --------
    >>> import numpy as np
    >>> times = np.linspace(0, 20, 81)
    >>> step = 0.8 / (1 + np.exp(-2 * (times - 7.1)))
    >>> steps = detect_steps(times, np.stack([step, times / 20], axis=1))
    >>> steps.detected
    array([ True, False])
    >>> steps.times.round(3), steps.heights.round(3), steps.widths.round(3)
    (array([7.1, inf]), array([0.8, 0. ]), array([0.5, inf]))
    """
    times, curves = real_array("times", times), real_array("curves", curves)
    _check(times, curves, evidence)
    steps = _fits(times, curves)
    return _only(steps, _gains(times, curves, steps) > evidence)


def _fits(times: Array, curves: Array) -> Steps:
    """Best admissible step of each curve, likely or not."""
    k = curves.shape[1]
    run = times[-1] - times[0]
    clock = (times - times[0]) / run
    lowest = curves.min(axis=0)
    span = curves.max(axis=0) - lowest
    moving = np.flatnonzero(span > 1e-12 * np.abs(curves).max(axis=0, initial=0))
    unit = (curves[:, moving] - lowest[moving]) / span[moving]  # (T, moving)

    middle, width, admissible = _search(clock, unit)
    steps = Steps(
        times=np.full(k, np.inf),
        standard_errors=np.full(k, np.inf),
        heights=np.zeros(k),
        widths=np.full(k, np.inf),
        detected=np.zeros(k, dtype=bool),
    )
    for j in np.flatnonzero(admissible):
        tau, w, height, drift, error = _fit(clock, unit[:, j], middle[j], width[j])
        rise = expit((clock - tau) / w)
        complete = (rise < 0.25).sum() >= 2 and (rise > 0.75).sum() >= 2
        if complete and w <= WIDEST and 0 <= abs(drift) * (1 - tau) <= height:
            at = moving[j]
            steps.detected[at] = True
            steps.times[at] = times[0] + run * tau
            steps.standard_errors[at] = run * error
            steps.heights[at] = span[at] * height
            steps.widths[at] = run * w
    return steps


def _gains(times: Array, curves: Array, steps: Steps, logarithm: bool = False) -> Array:
    """Log likelihood of each step, less that of the best account without; -inf without a step.

    With ``logarithm`` steps are those of the curves' square roots.
    """
    gains = np.full(curves.shape[1], -np.inf)
    shown = np.flatnonzero(steps.detected)
    if len(shown):
        run = times[-1] - times[0]
        seen = curves[:, shown]
        if logarithm:
            unit = _logarithm(seen)
        else:
            unit = (seen - seen.min(axis=0)) / (seen.max(axis=0) - seen.min(axis=0))
        place, width = (steps.times[shown] - times[0]) / run, steps.widths[shown] / run
        gains[shown] = _gain((times - times[0]) / run, unit, place, width, logarithm)
    return gains


def _only(steps: Steps, chosen: NDArray[np.bool_]) -> Steps:
    """Steps of some curves; the others have none."""
    chosen = steps.detected & chosen
    return Steps(
        times=np.where(chosen, steps.times, np.inf),
        standard_errors=np.where(chosen, steps.standard_errors, np.inf),
        heights=np.where(chosen, steps.heights, 0.0),
        widths=np.where(chosen, steps.widths, np.inf),
        detected=chosen,
    )


def _check(times: Array, curves: Array, evidence: float) -> None:
    if times.ndim != 1 or curves.ndim != 2 or len(times) != len(curves):
        raise ValueError(
            f"times has shape {times.shape} and curves {curves.shape}; expected (T,) and (T, k)"
        )
    if len(times) < 5:
        raise ValueError(f"{len(times)} records given; expected at least 5")
    if not (np.all(np.isfinite(times)) and np.all(np.isfinite(curves))):
        raise ValueError("times or curves hold NaN or infinite values; expected finite numbers")
    if np.any(np.diff(times) <= 0):
        raise ValueError("times do not ascend; expected every record later than the one before")
    if not np.isfinite(evidence):
        raise ValueError(f"evidence is {evidence}; expected a finite number of nats")


def _gap(clock: Array, tau: Array | float) -> Array:
    """Distance of the two records around each time."""
    after = np.clip(np.searchsorted(clock, tau), 1, len(clock) - 1)
    return clock[after] - clock[after - 1]


def _search(clock: Array, curves: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Place and width of the best admissible step of each curve, from a grid; and if any is.

    For a given place and width the model is linear, so that its least squares are closed.
    """
    # Places follow the records, so that any spacing of theirs is searched at its own resolution.
    T = len(clock)
    place = np.interp(np.linspace(0.5, T - 1.5, min(_PLACES, 2 * T)), np.arange(T), clock)
    gap = _gap(clock, place)
    share = np.linspace(0, 1, _WIDTHS)
    narrow = np.minimum(1.5 * NARROWEST * gap, 0.5 * WIDEST)
    width = narrow[:, None] ** (1 - share) * WIDEST**share
    tau, w = np.repeat(place, _WIDTHS), width.ravel()
    rise = expit((clock - tau[:, None]) / w[:, None])  # (candidates, T)
    enough = ((rise < 0.25).sum(axis=1) >= 2) & ((rise > 0.75).sum(axis=1) >= 2)
    tau, w, rise = tau[enough], w[enough], rise[enough]
    if len(tau) == 0:
        return np.zeros(0), np.zeros(0), np.zeros(curves.shape[1], dtype=bool)
    climb = (clock - tau[:, None]) * rise
    # Removing the mean of every column fits the floor.
    rise = rise - rise.mean(axis=1, keepdims=True)
    climb = climb - climb.mean(axis=1, keepdims=True)
    rr, rc = (rise**2).sum(1)[:, None], (rise * climb).sum(1)[:, None]
    # Slow drifts are expected: where few records follow a step, they cannot tell it from one.
    noise = np.median(np.abs(np.diff(curves, axis=0)), axis=0) / (0.6745 * 2**0.5)
    cc = (climb**2).sum(1)[:, None] + np.maximum(noise, 1e-9) ** 2 / SLOW**2  # (candidates, k)
    ry, cy = rise @ curves, climb @ curves  # (candidates, k)
    determinant = np.maximum(rr * cc - rc**2, 1e-14 * rr * cc)
    height = (cc * ry - rc * cy) / determinant
    drift = (rr * cy - rc * ry) / determinant
    explained = height * ry + drift * cy
    fair = (height > 0) & (np.abs(drift) * (1 - tau[:, None]) <= height)
    explained = np.where(fair, explained, -np.inf)
    best = explained.argmax(axis=0)
    return tau[best], w[best], fair.any(axis=0)


def _fit(clock: Array, curve: Array, tau: float, width: float) -> tuple[float, ...]:
    """Robust fit from a first guess: middle, width, height, drift and the middle's error."""
    T = len(clock)
    narrow = min(NARROWEST * float(_gap(clock, tau)), 0.25 * WIDEST)
    wide = 1.5 * WIDEST
    weight = np.ones(T)

    def model(p: Array) -> Array:
        u = clock - p[0]
        return p[2] + (p[3] + p[4] * u) * expit(u / np.exp(p[1]))

    def misfit(p: Array, scale: float) -> Array:
        return np.append(weight * (model(p) - curve) / scale, p[4] / likely)

    def slopes(p: Array, scale: float) -> Array:
        u, w = clock - p[0], np.exp(p[1])
        s = expit(u / w)
        bend = (p[3] + p[4] * u) * s * (1 - s) / w
        columns = [-bend - p[4] * s, -bend * u, np.ones(T), s, u * s]
        expected = [[0.0, 0.0, 0.0, 0.0, 1 / likely]]
        return np.append(weight[:, None] * np.stack(columns, axis=1) / scale, expected, axis=0)

    rise = expit((clock - tau) / width)
    design = np.stack([np.ones(T), rise], axis=1)
    linear = np.linalg.lstsq(design, curve)[0]
    p = np.array([tau, np.log(np.clip(width, 1.01 * narrow, wide)), linear[0], linear[1], 0.0])
    likely = SLOW * min(max(abs(linear[1]), 0.1), 1.0)
    around = 4 * max(width, float(_gap(clock, tau)))
    lower = [tau - around, np.log(narrow), -np.inf, -np.inf, -np.inf]
    upper = [tau + around, np.log(wide), np.inf, np.inf, np.inf]
    for _ in range(2):  # with the noise's variance equal, then as the first fit shows it
        residual = weight * (curve - model(p))
        scale = max(1.4826 * float(np.median(np.abs(residual))), 1e-9)
        fit = least_squares(
            misfit,
            p,
            slopes,
            args=(scale,),
            bounds=(lower, upper),
            loss="soft_l1",
            f_scale=3.0,
            x_scale=[width, 1.0, 1.0, 1.0, 1.0],
            max_nfev=50,
        )
        p = fit.x
        residual = curve - model(p)
        weight = _weights(residual, expit((clock - p[0]) / np.exp(p[1])))
    residual = weight * residual
    scale = max(float(np.sqrt(residual @ residual / max(T - 4, 1))), 1e-12)
    jacobian = slopes(p, scale)
    # A rise between two records leaves the width, and then the middle, without a slope.
    free = jacobian if p[1] > np.log(narrow) + 1e-3 else np.delete(jacobian, 1, axis=1)
    covariance = np.linalg.pinv(free.T @ free, rcond=1e-13)
    power = max(float(residual @ residual), 1e-300)
    follow = min(max(float(residual[1:] @ residual[:-1]) / power + 1.0 / T, 0.0), 0.95)
    error = covariance[0, 0] * (1 + follow) / (1 - follow)
    gap = float(_gap(clock, p[0]))
    if np.exp(p[1]) < 0.5 * gap:
        error += gap**2 / 12
    return float(p[0]), float(np.exp(p[1])), float(p[3]), float(p[4]), float(np.sqrt(error))


def _weights(residual: Array, rise: Array) -> Array:
    """One over the noise's standard deviation, of which the plateau may have another share."""
    variance = 1 + _UNEVEN[:, None] * rise**2
    scale = np.mean(residual**2 / variance, axis=1)
    cost = len(rise) * np.log(np.maximum(scale, 1e-300)) + np.log(variance).sum(axis=1)
    return variance[cost.argmin()] ** -0.5


def _gain(clock: Array, curves: Array, tau: Array, width: Array, logarithm: bool = False) -> Array:
    """Log likelihood of each curve with its step, less that of the best account without."""
    T, k = curves.shape
    rise = expit((clock[:, None] - tau) / width)  # (T, k)
    climb = (clock[:, None] - tau) * rise
    plain = np.concatenate(
        [
            clock[:, None] ** _POWERS,
            1 - np.exp(-clock[:, None] / _SATURATIONS),
        ],
        axis=1,
    )
    if logarithm:  # of squared rises, and of growth that goes on to the end
        growth = np.exp((clock[:, None] - 1) / _SATURATIONS)
        rise = _logarithm(rise**2)
        plain = np.concatenate([plain, _logarithm(plain), _logarithm(growth)], axis=1)
    columns = np.concatenate([np.ones((T, 1)), curves, rise, climb, plain], axis=1)
    moved = np.diff(columns, axis=0, prepend=0)  # a random walk's increments are independent
    step, none = np.full(k, -np.inf), np.full(k, -np.inf)
    # The covariance is 1 + q L L', L the lower triangle of ones; eigenvalues are of (L L')^-1.
    eigenvalues = 4 * np.sin(np.pi * (np.arange(T) + 0.5) / (2 * T + 1)) ** 2
    for q in _WANDER:
        band = np.full((2, T), -1.0)
        band[1] = 2.0 + q
        band[1, 0] -= 1.0
        gram = moved.T @ solveh_banded(band, moved)
        gram -= np.outer(gram[0], gram[0]) / gram[0, 0]  # fits the constant
        yy = np.diag(gram)[1 : k + 1]
        noise = FINEST_NOISE**2 * np.sum(eigenvalues / (eigenvalues + q))
        offset = 0.5 * np.log1p(q / eigenvalues).sum()

        def likelihood(rest: Array, noise: float = noise, offset: float = offset) -> Array:
            return -0.5 * T * np.log((np.maximum(rest, 0) + noise) / T) - offset

        shapes = np.diag(gram)[3 * k + 1 :]
        share = gram[1 : k + 1, 3 * k + 1 :] ** 2 / shapes
        none = np.maximum(none, likelihood(yy - share.max(axis=1)))
        for j in range(k):
            y, r, c = 1 + j, 1 + k + j, 1 + 2 * k + j
            ridge = 1e-12 * np.diag(gram[[r, c], [r, c]])
            block = gram[np.ix_([r, c], [r, c])] + ridge
            side = gram[[r, c], y]
            left = likelihood(gram[y, y] - side @ np.linalg.solve(block, side))
            step[j] = max(step[j], float(left))
    return step - none


def _logarithm(curves: Array) -> Array:
    """Logarithm of curves down to a fiftieth of their maximum, from 0 to 1."""
    floor = np.log(_QUIET)
    top = np.maximum(curves.max(axis=0), np.finfo(np.float64).tiny)
    values: Array = 1 - np.log(np.maximum(curves, 0) / top + _QUIET) / floor
    return values


_ECHO = 1 / 50  # of the highest step
_QUIET = 0.02  # of the maximum: what the logarithm tells from zero


def detect_eigenvalue_steps(times: ArrayLike, curves: ArrayLike) -> Steps:
    """Time of the step in each of k recorded eigenvalues.

    An eigenvalue that has opened goes on to fluctuate, and often to grow, by a share of itself,
    while it was quiet near zero before. Where no step is found in the curve as it is, it is looked
    for in its square root, which evens such noise out (as for counts) and leaves less of the drift.
    A step of the root that is not likelier than the accounts without one may still be so in the
    logarithm (down to a fiftieth of the maximum), where noise in proportion is even: it counts if
    it is likelier there by the same evidence than these accounts, their logarithms and exponential
    growth that goes on to the end.

    Parameters
    ----------
    times : array_like, shape (T,)
        Times of at least 5 records, strictly ascending.
    curves : array_like, shape (T, k)
        Eigenvalues, for instance sorted ones of an embedding cross-correlation; what is negative
        counts as zero under the root.

    Returns
    -------
    Steps
        As of :func:`sslsim.measures.steps.detect_steps`. Times are half-rises of the eigenvalue
        itself; of steps found under the root heights are those before any drift. Steps less than a
        fiftieth as high as the highest are echoes of other modes' and left out.

    Raises
    ------
    ValueError
        As :func:`sslsim.measures.steps.detect_steps`.

    Examples
    --------
    >>> times = np.linspace(0, 20, 81)
    >>> noise = 1 + 0.2 * np.random.default_rng(0).standard_normal(81)
    >>> step = noise * (0.4 + 0.03 * times) / (1 + np.exp(-4 * (times - 3)))
    >>> detect_eigenvalue_steps(times, step[:, None]).times.round()
    array([3.])
    """
    times, curves = real_array("times", times), real_array("curves", curves)
    steps = detect_steps(times, curves)
    missed = np.flatnonzero(~steps.detected)
    roots = np.sqrt(np.maximum(curves[:, missed], 0.0))
    rooted = _fits(times, roots)
    gains = np.maximum(
        _gains(times, roots, rooted),
        _gains(times, curves[:, missed], rooted, logarithm=True),
    )
    for column in np.flatnonzero(gains > EVIDENCE):
        at = missed[column]
        tau, width, height = (
            float(values[column]) for values in (rooted.times, rooted.widths, rooted.heights)
        )
        before = roots[times < tau - 2 * width, column]
        floor = float(np.median(before)) if before.size else 0.0
        # With y = floor + height s under the root, y^2 is half way up at this share s.
        share = (np.sqrt(((floor + height) ** 2 + floor**2) / 2) - floor) / height
        steps.detected[at] = True
        steps.times[at] = tau + width * logit(share)
        steps.standard_errors[at] = rooted.standard_errors[column]
        steps.heights[at] = height * (height + 2 * floor)
        steps.widths[at] = width
    return _only(steps, steps.heights >= _ECHO * steps.heights.max(initial=0.0))


def half_rise_times(
    times: ArrayLike, curves: ArrayLike, level: float = 0.5, top: ArrayLike = 1.0
) -> NDArray[np.float64]:
    """Time at which each recorded curve first passes a given share of its height.

    Parameters
    ----------
    times : array_like, shape (T,)
        Times of the records, strictly ascending.
    curves : array_like, shape (T, k)
        The k curves, for instance the eigenvalues of an embedding cross-correlation.
    level : float
        Share of the height, between 0 and 1. Default one half.
    top : float or array_like, shape (k,)
        Final height of the curves, above zero. Default 1.

    Returns
    -------
    ndarray, shape (k,)
        In the unit of ``times``; the first time for a curve that starts at or above the level,
        infinite for one that never reaches it.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, times do not ascend, or ``level`` or ``top``
        is out of range.

    Notes
    -----
    Between the two records around the passage the logit of ``curve / top`` is interpolated
    linearly, which is exact for a logistic curve however far apart the records lie; where one of
    the two is not strictly between 0 and ``top``, the curve itself is interpolated linearly.

    Examples
    --------
    >>> import numpy as np
    >>> times = np.arange(5.0)
    >>> half_rise_times(times, 1 / (1 + np.exp(-8 * (times[:, None] - [1.25, 9.0]))))
    array([1.25,  inf])
    """
    times, curves = real_array("times", times), real_array("curves", curves)
    if times.ndim != 1 or curves.ndim != 2 or len(times) != len(curves) or len(times) == 0:
        raise ValueError(
            f"times has shape {times.shape} and curves {curves.shape}; expected (T,) and (T, k)"
        )
    if not (np.all(np.isfinite(times)) and np.all(np.isfinite(curves))):
        raise ValueError("times or curves hold NaN or infinite values; expected finite numbers")
    if np.any(np.diff(times) <= 0):
        raise ValueError("times do not ascend; expected every record later than the one before")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a share between 0 and 1")
    height = real_array("top", top)
    if height.shape not in ((), curves.shape[1:]) or not np.all((height > 0) & (height < np.inf)):
        raise ValueError(
            f"top is {height}; expected one height above zero, or one for each of the "
            f"{curves.shape[1]} curves"
        )
    return np.array([_passage(times, curve, level) for curve in (curves / height).T])


def _passage(times: NDArray[np.float64], curve: NDArray[np.float64], level: float) -> float:
    above = curve >= level
    if not above.any():
        return float("inf")
    after = int(np.argmax(above))
    if after == 0:
        return float(times[0])
    ends = curve[after - 1 : after + 1]
    target = level
    if np.all((ends > 0) & (ends < 1)):
        ends, target = np.log(ends) - np.log1p(-ends), float(np.log(level) - np.log1p(-level))
    share = (target - ends[0]) / (ends[1] - ends[0])
    return float(times[after - 1] + share * (times[after] - times[after - 1]))
