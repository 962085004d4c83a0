"""Rank correlations of scores with another property of the images, with one held fixed or not."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sslsim.memorization.statistics.resampling import Statistic

Array = NDArray[np.float64]


def rank_correlations(
    scores: ArrayLike, values: ArrayLike, given: ArrayLike | None = None
) -> Statistic:
    r"""Spearman correlation of scores with values of the images, for :func:`two_way_interval`.

    Parameters
    ----------
    scores : array_like, shape (pairs, n)
        Scores of n images under every pair of encoders.
    values : array_like, shape (n,)
        The other property.
    given : array_like, shape (pairs, n), optional
        A third one, which is held fixed: the partial correlation is returned.

    Returns
    -------
    callable
        Ranks are those of the resampled images. A correlation is NaN if all images of a resample
        have one score, one value, or a perfect correlation with what is held fixed.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Notes
    -----
    The partial rank correlation (Kendall 1942, of Spearman's coefficients) is
    :math:`(r_{xy} - r_{xz} r_{yz}) / \sqrt{(1 - r_{xz}^2)(1 - r_{yz}^2)}`.

    Examples
    --------
    >>> weights = np.full((1, 4), 0.25)
    >>> rank_correlations([[1.0, 2.0, 3.0, 4.0]], [1.0, 2.0, 4.0, 3.0])(weights).round(9)
    array([[0.8]])
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(values, dtype=np.float64)
    z = None if given is None else np.asarray(given, dtype=np.float64)
    if x.ndim != 2 or y.shape != x.shape[1:] or (z is not None and z.shape != x.shape):
        raise ValueError(
            f"scores has shape {x.shape}, values {y.shape} and given "
            f"{None if z is None else z.shape}; expected (pairs, n), (n,) and (pairs, n)"
        )

    def statistic(weights: Array) -> Array:
        of_values = _standardised_ranks(y, weights)
        columns = []
        for pair, row in enumerate(x):
            of_scores = _standardised_ranks(row, weights)
            correlation = _correlation(of_scores, of_values, weights)
            if z is not None:
                fixed = _standardised_ranks(z[pair], weights)
                first, second = (
                    _correlation(part, fixed, weights) for part in (of_scores, of_values)
                )
                rest = np.sqrt(np.maximum(1 - first**2, 0) * np.maximum(1 - second**2, 0))
                with np.errstate(invalid="ignore", divide="ignore"):
                    partial = (correlation - first * second) / rest
                # What rounding leaves of a perfect correlation is no correlation.
                correlation = np.where(rest > 1e-9, partial, np.nan)
            columns.append(correlation)
        return np.stack(columns, axis=1)

    return statistic


def _standardised_ranks(values: Array, weights: Array) -> Array:
    """Middle ranks of the values in every weighted sample (b, n), of mean 0 and variance 1."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    below = np.zeros((len(weights), len(values) + 1))
    np.cumsum(weights[:, order], axis=1, out=below[:, 1:])
    first, last = (np.searchsorted(ordered, ordered, side) for side in ("left", "right"))
    ranks = np.empty_like(weights)
    ranks[:, order] = (below[:, first] + below[:, last]) / 2
    ranks -= (weights * ranks).sum(axis=1, keepdims=True)
    variance = (weights * ranks**2).sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        # A constant has the rank 1/2 everywhere, up to rounding.
        return np.where(variance > 1e-20, ranks / np.sqrt(variance), np.nan)


def _correlation(first: Array, second: Array, weights: Array) -> Array:
    return np.asarray((weights * first * second).sum(axis=1))
