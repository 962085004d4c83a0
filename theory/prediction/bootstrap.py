r"""Intervals of eigenvalues and step times by resampling pairs.

This is a second way to the intervals of :mod:`theory.prediction.uncertainty`, without a formula for
the noise. Each resample has its own Gamma*, top modes and, with the given W(0), step times tau*.
The top eigenvalues of a sample are above those of the population, and those of a resample are above
the sample's by about as much, so percentiles of the resamples would be biased twice. The pivotal
(basic) bootstrap reflects them about the sample instead, on a logarithmic scale, since noise is
relative:

    low = tau^2 / quantile(tau*, (1 + level)/2),   high = tau^2 / quantile(tau*, (1 - level)/2).

Limits, on the spectra of :mod:`theory.pairs.planted` with 100 resamples: nominal 90 % intervals
cover about 85 % at n = 20 m, and less the closer n is to m, above all for lower modes (50 to 85 %
at n = m): resamples repeat pairs, and spread farther than new samples. Use
:func:`theory.prediction.uncertainty.step_intervals` there. Intervals of modes that the sample
cannot separate are not widened here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, finite_array, whole_number
from theory.linear.closed_form import step_times
from theory.linear.initialization import equivalent_initialization
from theory.pairs.gamma import read_pairs
from theory.pairs.spectrum import spectrum
from theory.prediction.uncertainty import StepIntervals


def bootstrap_intervals(
    x: ArrayLike,
    x_prime: ArrayLike,
    w0: ArrayLike,
    *,
    center: bool = False,
    groups: ArrayLike | None = None,
    level: float = 0.9,
    draws: int = 200,
    rng: np.random.Generator | int = 0,
) -> StepIntervals:
    """Intervals of the population's eigenvalues and step times by the pivotal bootstrap.

    Parameters
    ----------
    x, x_prime : array_like, shape (n, m)
        The pairs.
    w0 : array_like, shape (d, m)
        Initial weights.
    center : bool
        Subtract each resample's mean over both views.
    groups : array_like of int, shape (n,), optional
        Image of each pair: images are resampled with all their pairs.
    level : float
        Coverage probability of the interval of each mode.
    draws : int
        Number of resamples, at least 100. Each costs one spectrum, O(n m min(n, m)) operations.
    rng : numpy.random.Generator or int
        Generator, or seed, of the resampling.

    Returns
    -------
    StepIntervals
        Intervals. If more than (1 - level)/2 of the resamples have no such positive mode, it is
        unknown whether the mode is ever learned: its eigenvalue interval is from minus to plus
        infinity, its time interval from zero to infinity.

    Raises
    ------
    ValueError
        If the pairs or W(0) are not valid, ``groups`` does not have one entry for each pair,
        ``level`` is not between 0 and 1, or ``draws`` is below 100.

    Notes
    -----
    Davison and Hinkley, Bootstrap Methods and their Application, section 5.2.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> z = rng.standard_normal((500, 2)) * [1.0, 0.6]
    >>> bounds = bootstrap_intervals(z, z, [[1e-3, 0.0], [0.0, 1e-3]])
    >>> np.all(bounds.eigenvalue_low < [1.0, 0.36]), np.all(bounds.eigenvalue_high > [1.0, 0.36])
    (np.True_, np.True_)
    """
    x, x_prime, w0 = (
        finite_array(name, value, 2) for name, value in [("x", x), ("x_prime", x_prime), ("w0", w0)]
    )
    draws = whole_number("draws", draws, 100)
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level}; expected a probability between 0 and 1")
    members = _members(len(x), groups)
    gamma, tau = _modes(x, x_prime, w0, center)
    rng = np.random.default_rng(rng)
    again = np.empty((2, draws, len(gamma)))
    for draw in range(draws):
        units = rng.integers(len(members), size=len(members))
        rows = units if groups is None else np.concatenate([members[unit] for unit in units])
        again[:, draw] = _modes(x[rows], x_prime[rows], w0, center)
    tails = [(1.0 - level) / 2.0, (1.0 + level) / 2.0]
    # Inverted quantiles select a draw and do not interpolate, so infinite times are allowed.
    lower, upper = np.quantile(again, tails, axis=1, method="inverted_cdf")  # (2, d) each
    known = (gamma > 0) & (lower[0] > 0)
    value = np.where(known, [gamma, tau], 1.0)
    low = np.where(known, value**2 / np.where(known, upper, 1.0), [[-np.inf], [0.0]])
    high = np.where(known, value**2 / np.where(known, lower, 1.0), np.inf)
    return StepIntervals(low[0], high[0], low[1], high[1])


def _members(n: int, groups: ArrayLike | None) -> list[Array]:
    """Rows of each resampling unit."""
    if groups is None:
        return list(np.arange(n)[:, None])
    groups = np.asarray(groups)
    if groups.shape != (n,):
        raise ValueError(f"groups has shape {groups.shape}; expected one unit a pair, ({n},)")
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)


def _modes(x: Array, x_prime: Array, w0: Array, center: bool) -> tuple[Array, Array]:
    """Eigenvalues and step times of the top modes; zero and infinity beyond the data's span."""
    dim = len(w0)
    top = spectrum(read_pairs(x, x_prime, center=center), dim)
    count = min(dim, len(top.eigenvalues))
    gamma = top.eigenvalues[:count]
    _, s0 = equivalent_initialization(w0, top.eigenvectors[:, :count])
    missing = (0, dim - count)
    return np.pad(gamma, missing), np.pad(step_times(gamma, s0), missing, constant_values=np.inf)
