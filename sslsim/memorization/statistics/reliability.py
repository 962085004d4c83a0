"""Rank correlations between studies, corrected for the noise of their scores.

Scores of single images are noisy: those of two pairs of encoders of one study agree imperfectly.
This noise lowers the correlation with another study, and would do so if both measured the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]

_UNRELIABLE = 0.01  # share of resamples without a correction from which on there is no interval


@dataclass(frozen=True)
class CorrectedCorrelation:
    """Correlation of two studies' scores, as it is and without their noise.

    Attributes
    ----------
    correlation : float
        Mean Spearman correlation between a pair of encoders of one study and one of the other.
    reliability, other_reliability : float
        Mean Spearman correlation between two pairs of encoders of one study, and of the other.
    corrected : float
        ``correlation`` over the root of the product of the reliabilities; NaN if one is not above
        zero. It is not cut off at 1.
    low, high : float
        Interval of ``corrected`` over images; NaN if it has none.
    """

    correlation: float
    reliability: float
    other_reliability: float
    corrected: float
    low: float
    high: float


def corrected_correlation(
    units: ArrayLike,
    others: ArrayLike,
    level: float = 0.9,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> CorrectedCorrelation:
    r"""Spearman's correction for attenuation, with an interval over images.

    Parameters
    ----------
    units, others : array_like, shape (pairs, n) and (other pairs, n)
        Scores of the same n images under two or more pairs of encoders of either study.
    level : float
        Confidence level, between 0 and 1.
    draws : int
        Number of resamples of the images, at least 10.
    seed : int
        Seed of the draws.

    Returns
    -------
    CorrectedCorrelation

    Raises
    ------
    ValueError
        If shapes do not fit, a study has one pair of encoders only, there are fewer than four
        images, or a number is not finite or out of range.

    Notes
    -----
    Spearman 1904: with scores that are a true part and independent noise, the correlation of the
    true parts is :math:`r_{ab} / \sqrt{r_{aa} r_{bb}}`. It holds exactly for products of moments,
    and nearly so for ranks. What both pairs of a study share, such as the views that are scored,
    counts as true; noise that the two studies share must not exist: give them other seeds.
    The interval is the percentile interval of resampled images.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> true = rng.standard_normal(2000)
    >>> units, others = (true + rng.standard_normal((2, 2000)) for _ in range(2))
    >>> found = corrected_correlation(units, others, draws=50)
    >>> round(found.correlation, 1), round(found.reliability, 1), round(found.corrected, 1)
    (0.5, 0.5, 1.0)
    """
    first, second = np.asarray(units, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1:] != second.shape[1:]:
        raise ValueError(
            f"units has shape {first.shape} and others {second.shape}; expected (pairs, n) and "
            "(pairs, n) with equal n"
        )
    if min(len(first), len(second)) < 2 or first.shape[1] < 4:
        raise ValueError(
            f"units has shape {first.shape} and others {second.shape}; expected at least 2 pairs "
            "of encoders and 4 images"
        )
    table = np.concatenate([first, second])
    if not np.all(np.isfinite(table)):
        raise ValueError("units or others hold NaN or infinite values; expected finite numbers")
    if not 0 < level < 1 or draws < 10:
        raise ValueError(
            f"level is {level} and draws is {draws}; expected a level between 0 and 1, and at "
            "least 10 draws"
        )
    correlation, reliability, other = _correlations(table, len(first))
    rng, n = np.random.default_rng(seed), table.shape[1]
    drawn = np.array(
        [
            _corrected(*_correlations(table[:, rng.integers(n, size=n)], len(first)))
            for _ in range(draws)
        ]
    )
    corrected, low, high = _corrected(correlation, reliability, other), np.nan, np.nan
    known = drawn[np.isfinite(drawn)]
    if np.isfinite(corrected) and len(known) >= (1 - _UNRELIABLE) * draws:
        low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return CorrectedCorrelation(correlation, reliability, other, corrected, float(low), float(high))


def _correlations(table: Array, pairs: int) -> tuple[float, float, float]:
    """Mean rank correlations between the studies, within the first and within the second."""
    ranks = rankdata(table, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(ranks, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = ranks / norms  # NaN where all scores are equal
    both = unit @ unit.T
    return (
        float(both[:pairs, pairs:].mean()),
        _off_diagonal(both[:pairs, :pairs]),
        _off_diagonal(both[pairs:, pairs:]),
    )


def _off_diagonal(correlations: Array) -> float:
    return float(correlations[~np.eye(len(correlations), dtype=bool)].mean())


def _corrected(correlation: float, reliability: float, other: float) -> float:
    if not (reliability > 0 and other > 0):
        return float("nan")
    return correlation / float(np.sqrt(reliability * other))
