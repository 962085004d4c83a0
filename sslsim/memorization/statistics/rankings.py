"""How far rankings of the same points agree: of two studies, and of pairs of encoders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sslsim.memorization.ranking import most_memorized


@dataclass(frozen=True)
class RankAgreement:
    """How far two scorings of the same points agree.

    Attributes
    ----------
    tau, tau_p : float
        Kendall's tau-b and its two-sided p; NaN if all scores of one are equal.
    overlap : float
        Share of the k highest points of one that are among those of the other.
    chance, chance_p : float
        That share for rankings at random, k / n, and how likely such ones reach it (one-sided,
        hypergeometric).
    """

    tau: float
    tau_p: float
    overlap: float
    chance: float
    chance_p: float


def rank_agreement(scores: ArrayLike, others: ArrayLike, k: int) -> RankAgreement:
    """Kendall's tau of two scorings, and the overlap of their k highest points.

    Parameters
    ----------
    scores, others : array_like, shape (n,)
        Two scores of the same n points.
    k : int
        Size of the sets compared, from 1 to n. Ties go to earlier places in both.

    Returns
    -------
    RankAgreement

    Raises
    ------
    ValueError
        If the shapes differ, there are fewer than two points, a score is not finite, or k is out
        of range.

    Examples
    --------
    >>> found = rank_agreement([4.0, 3.0, 2.0, 1.0], [3.0, 4.0, 2.0, 1.0], 2)
    >>> round(found.tau, 4), found.overlap, found.chance, round(found.chance_p, 4)
    (0.6667, 1.0, 0.5, 0.1667)
    """
    first, second = np.asarray(scores, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or len(first) < 2:
        raise ValueError(
            f"scores has shape {first.shape} and others {second.shape}; "
            "expected equal shapes (n,) with n of at least 2"
        )
    n = len(first)
    if type(k) is not int or not 1 <= k <= n:
        raise ValueError(f"k is {k!r}; expected a whole number from 1 to {n}")
    tops = [set(most_memorized(values, k).tolist()) for values in (first, second)]
    common = len(tops[0] & tops[1])
    tau = stats.kendalltau(first, second)
    return RankAgreement(
        tau=float(tau.statistic),
        tau_p=float(tau.pvalue),
        overlap=common / k,
        chance=k / n,
        chance_p=float(stats.hypergeom.sf(common - 1, n, k, k)),
    )


def agreement_of_pairs(units: ArrayLike) -> float:
    """Mean Kendall's tau between the scores under different pairs of encoders.

    Parameters
    ----------
    units : array_like, shape (pairs, n)
        Scores of n points under two or more pairs of encoders.

    Returns
    -------
    float
        From -1 to 1; NaN if all scores of a pair are equal.

    Examples
    --------
    >>> round(agreement_of_pairs([[1.0, 2.0, 3.0], [1.0, 3.0, 2.0], [3.0, 2.0, 1.0]]), 4)
    -0.3333
    """
    table = np.asarray(units, dtype=np.float64)
    taus = [
        stats.kendalltau(table[i], table[j]).statistic for i in range(len(table)) for j in range(i)
    ]
    return float(np.mean(taus))
