"""Which statistics of images the modes of an embedding follow, beyond chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc

Array = NDArray[np.float64]

_CONSTANT = 1e-10  # singular values below this share of the largest are rounding


@dataclass(frozen=True, eq=False)
class Meaning:
    """Correlations of k modes with S statistics.

    Attributes
    ----------
    statistics : tuple of str
        Names of the statistics.
    correlation : ndarray, shape (k, S)
        Pearson's correlation with a statistic of one column; with one of several columns the
        multiple correlation, zero or above: the root of the R^2 of a linear regression of the mode
        on them. For cosine and sine of an angle this is the circular-linear correlation, for
        classes the root of eta^2.
    low, high : ndarray, shape (k, S)
        Percentile interval by resampling images. A multiple correlation is never below zero:
        whether it differs from zero is what the p-value says.
    p_value : ndarray, shape (k, S)
        By permutation of the images, corrected for all modes and statistics.
    """

    statistics: tuple[str, ...]
    correlation: Array
    low: Array
    high: Array
    p_value: Array


def mode_meaning(
    modes: Array,
    statistics: Mapping[str, Array],
    *,
    permutations: int = 999,
    resamples: int = 200,
    level: float = 0.9,
    rng: np.random.Generator | int = 0,
) -> Meaning:
    """Correlate modes with statistics of images, with intervals and a corrected test.

    Parameters
    ----------
    modes : ndarray, shape (n, k)
        Values of k modes on n images.
    statistics : mapping of str to ndarray, shape (n, p)
        Columns of every statistic.
    permutations, resamples : int
        Number of permutations of the test, and of bootstrap samples of the intervals.
    level : float
        Level of the intervals.
    rng : numpy.random.Generator or int
        Generator or seed of both.

    Returns
    -------
    Meaning

    Raises
    ------
    ValueError
        If there are no statistics or no rows, the rows do not fit, values are not finite, or a
        number is out of its range.

    Notes
    -----
    Every permutation exchanges the images of all statistics alike, which keeps their relations to
    each other and those of the modes. Correlations with statistics of different numbers of columns
    are compared by the p-value of their F-test. The corrected p-value of a pair is the share of
    permutations whose smallest such p-value, over all modes and statistics, is at most its own
    (Westfall and Young): under the null the chance of any false finding is at most the level. A
    statistic of n - 1 independent columns fits anything, and is never a finding.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> brightness, noise = rng.standard_normal((2, 300, 1))
    >>> found = mode_meaning(np.hstack([-brightness, noise]), {"brightness": brightness})
    >>> found.correlation.round(2).tolist(), (found.p_value < 0.05).tolist()
    ([[-1.0], [0.04]], [[True], [False]])
    """
    n = len(modes)
    _check_values(modes, statistics)
    if not statistics:
        raise ValueError("no statistics are given; expected at least one")
    for name, number in (("permutations", permutations), ("resamples", resamples)):
        if number < 1:
            raise ValueError(f"{name} is {number}; expected at least 1")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a number between 0 and 1")
    rng = np.random.default_rng(rng)
    blocks = list(statistics.values())
    unit = _unit_columns(modes)
    bases = [orthonormal_basis(block) for block in blocks]
    squares = _r_squared(unit, bases)
    ranks = np.array([basis.shape[1] for basis in bases])
    score = _log_p(squares, ranks, n)
    beaten = np.zeros(score.shape, dtype=np.int64)
    for _ in range(permutations):
        permuted = _r_squared(unit[rng.permutation(n)], bases)
        beaten += _log_p(permuted, ranks, n).min() <= score
    drawn = []
    for _ in range(resamples):
        rows = rng.integers(n, size=n)
        drawn.append(_correlations(modes[rows], [block[rows] for block in blocks]))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Meaning(
        tuple(statistics),
        _correlations(modes, blocks),
        low,
        high,
        (1 + beaten) / (1 + permutations),
    )


def explained(modes: Array, statistics: Mapping[str, Array]) -> Array:
    """Share of every statistic that modes explain jointly, whatever basis they are given in.

    Parameters
    ----------
    modes : ndarray, shape (n, k)
        Values of the modes.
    statistics : mapping of str to ndarray, shape (n, p)
        Columns of every statistic.

    Returns
    -------
    ndarray, shape (S,)
        Mean squared canonical correlation between the columns of a statistic and the modes: for
        one column the R^2 of its regression on the modes. About k / n by chance. 0 for a statistic
        that is the same for all images.

    Raises
    ------
    ValueError
        If there are no rows, the rows do not fit, or values are not finite.

    Examples
    --------
    >>> modes = np.random.default_rng(0).standard_normal((50, 2))
    >>> explained(modes, {"sum": modes.sum(axis=1, keepdims=True)}).round(6).tolist()
    [1.0]
    """
    _check_values(modes, statistics)
    span = orthonormal_basis(modes)
    bases = [orthonormal_basis(columns) for columns in statistics.values()]
    shares = [np.sum((span.T @ basis) ** 2) / max(basis.shape[1], 1) for basis in bases]
    return np.array(shares, dtype=np.float64)


def orthonormal_basis(columns: Array) -> Array:
    """Orthonormal basis of the centred columns, without directions that are rounding.

    Parameters
    ----------
    columns : ndarray, shape (n, p)
        Values on n samples.

    Returns
    -------
    ndarray, shape (n, r)
        r is the rank.

    Examples
    --------
    >>> orthonormal_basis(np.array([[1.0, 1.0, 5.0], [0.0, 0.0, 5.0]])).shape
    (2, 1)
    """
    centred = columns - columns.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    scale = np.abs(columns).max(initial=0.0) * len(columns) ** 0.5
    return np.asarray(left[:, values > _CONSTANT * scale], dtype=np.float64)


def _check_values(modes: Array, statistics: Mapping[str, Array]) -> None:
    """Refuse modes and statistics that are not finite matrices of the same rows."""
    if modes.ndim != 2 or not len(modes):
        raise ValueError(f"modes have shape {modes.shape}; expected (n, k) with at least one row")
    for name, columns in statistics.items():
        if columns.ndim != 2 or len(columns) != len(modes):
            raise ValueError(
                f"{name} has shape {columns.shape}; expected ({len(modes)}, p), rows as modes"
            )
    for name, columns in (("modes", modes), *statistics.items()):
        if not np.isfinite(columns).all():
            raise ValueError(f"values of {name} are NaN or infinite; expected finite numbers")


def _unit_columns(modes: Array) -> Array:
    """Modes centred and of unit norm; a constant one is zero."""
    centred = modes - modes.mean(axis=0)
    norms = np.linalg.norm(centred, axis=0)
    return np.asarray(np.divide(centred, norms, out=np.zeros_like(centred), where=norms > 0))


def _r_squared(unit: Array, bases: list[Array]) -> Array:
    """R^2 of every mode on every statistic, (k, S)."""
    squares = (unit.T @ np.hstack(bases)) ** 2
    ends = np.cumsum([basis.shape[1] for basis in bases])[:-1]
    return np.stack([part.sum(axis=1) for part in np.split(squares, ends, axis=1)], axis=1)


def _correlations(modes: Array, blocks: list[Array]) -> Array:
    """Correlations, with a sign where a statistic has one column."""
    unit = _unit_columns(modes)
    size = np.sqrt(
        np.minimum(_r_squared(unit, [orthonormal_basis(block) for block in blocks]), 1.0)
    )
    for place, block in enumerate(blocks):
        if block.shape[1] == 1:
            size[:, place] *= np.sign(unit.T @ (block[:, 0] - block.mean()))
    return np.asarray(size)


def _log_p(squares: Array, ranks: NDArray[np.int64], n: int) -> Array:
    """Logarithm of the p-value of every F-test; 0 if a statistic never varies or fits anything."""
    rest = n - 1 - ranks
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = squares / np.maximum(1 - squares, 1e-300) * rest / ranks
        logarithm = np.log(fdtrc(ranks, rest, ratio))
    return np.where((ranks > 0) & (rest > 0), logarithm, 0.0)
