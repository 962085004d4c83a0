"""Intervals that count both images and pairs of encoders as drawn at random.

A statistic is a mean over pairs of encoders of a number that the images give under each pair, such
as the difference of two sets' mean scores. The images are the same under all pairs: the two factors
are crossed. Resampling one of them alone leaves the chance of the other out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]
Statistic = Callable[..., Array]
"""Weights (b, n) of the images of every set -> values (b, pairs); rows of weights sum to one."""

_CHUNK = 100  # draws at a time


@dataclass(frozen=True)
class TwoWayInterval:
    """A mean over pairs of encoders and images, and its interval over both.

    Attributes
    ----------
    mean : float
        The statistic.
    low, high : float
        Student's interval, with the degrees of freedom of Satterthwaite; those of the images are
        one less than the smallest set.
    standard_error : float
        Of the statistic, over images and pairs together.
    pair_error, image_error : float
        Standard errors over pairs alone (NaN of one pair), and over images alone.
    """

    mean: float
    low: float
    high: float
    standard_error: float
    pair_error: float
    image_error: float


def two_way_interval(
    statistic: Statistic,
    pairs: int,
    images: Sequence[int],
    level: float = 0.9,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> TwoWayInterval:
    r"""Bootstrap of images and pairs of encoders at once.

    Parameters
    ----------
    statistic : callable
        Weights of the images of every set, each (b, n), to values (b, pairs), for instance
        :func:`differences` or :func:`areas`.
    pairs : int
        Number of pairs of encoders, at least 1. With one, the interval is over images alone.
    images : sequence of int
        Number of images in every set, at least 2 in one of them.
    level : float
        Confidence level, between 0 and 1.
    draws : int
        Number of resamples, at least 10.
    seed : int
        Seed of the draws.

    Returns
    -------
    TwoWayInterval

    Raises
    ------
    ValueError
        If a number is out of range.

    Notes
    -----
    A resample of n has n - 1 draws with replacement, so that variances of means are not too small
    by (n - 1) / n. With :math:`V_p` and :math:`V_i` the variances over pairs and over images, each
    of which holds the interaction of a pair with an image once, and :math:`V_e` that of what a
    joint resample of both has beyond the sum of the two, the variance is
    :math:`V_p + V_i - V_e`: without bias for a statistic that is linear in either (McCullagh 2000
    shows that the plain joint resample counts the interaction three times). It is not taken to be
    less than :math:`V_p` or :math:`V_i`, and so errs on the safe side where both are all
    interaction.

    Examples
    --------
    >>> scores = np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]])
    >>> found = two_way_interval(differences(scores, 0 * scores), 2, (3, 3))
    >>> round(found.mean, 9), round(found.pair_error, 9), found.low < 2.5 < found.high
    (2.5, 0.5, True)
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a number between 0 and 1")
    if pairs < 1 or not images or min(images) < 1 or max(images) < 2:
        raise ValueError(
            f"there are {pairs} pairs of encoders and sets of {list(images)} images; expected at "
            "least 1 pair and 2 images"
        )
    if draws < 10:
        raise ValueError(f"draws is {draws}; expected at least 10")
    rng = np.random.default_rng(seed)
    plain = statistic(*(np.full((1, n), 1 / n) for n in images))[0]
    of_images, beyond = [], []
    for start in range(0, draws, _CHUNK):
        count = min(_CHUNK, draws - start)
        drawn = statistic(*(_weights(rng, count, n) for n in images))
        of_pairs = _weights(rng, count, pairs)
        of_images.append(drawn.mean(axis=1))
        both = (of_pairs * drawn).sum(axis=1)
        beyond.append(both - of_pairs @ plain - of_images[-1])
    over_images = float(np.concatenate(of_images).var(ddof=1))
    over_pairs = float(plain.var(ddof=1)) / pairs if pairs > 1 else math.nan
    variance, freedom = over_images, float(min(n for n in images if n > 1) - 1)
    if pairs > 1:
        interaction = float(np.concatenate(beyond).var(ddof=1))
        variance = max(over_pairs + over_images - interaction, over_pairs, over_images)
        parts = over_pairs**2 / (pairs - 1) + over_images**2 / freedom
        freedom = (over_pairs + over_images) ** 2 / parts if parts > 0 else freedom
    mean, error = float(plain.mean()), math.sqrt(variance)
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    return TwoWayInterval(
        mean, mean - half, mean + half, error, math.sqrt(over_pairs), math.sqrt(over_images)
    )


def differences(upper: ArrayLike, lower: ArrayLike) -> Statistic:
    """Difference of the mean scores of two sets, for :func:`two_way_interval`.

    Parameters
    ----------
    upper, lower : array_like, shape (pairs, n) and (pairs, m)
        Scores of the images of either set under every pair of encoders.

    Returns
    -------
    callable

    Examples
    --------
    >>> differences([[1.0, 3.0]], [[1.0]])(np.full((1, 2), 0.5), np.ones((1, 1)))
    array([[1.]])
    """
    first, second = np.asarray(upper, dtype=np.float64), np.asarray(lower, dtype=np.float64)

    def statistic(of_first: Array, of_second: Array) -> Array:
        return of_first @ first.T - of_second @ second.T

    return statistic


def areas(outliers: ArrayLike, ordinary: ArrayLike) -> Statistic:
    """Area under the ROC curve of scores that tell outliers, for :func:`two_way_interval`.

    Parameters
    ----------
    outliers, ordinary : array_like, shape (pairs, n) and (pairs, m)
        Scores under every pair of encoders. All n m comparisons of a pair are in memory at once.

    Returns
    -------
    callable

    Examples
    --------
    >>> areas([[0.5]], [[0.5, 0.1, 0.9]])(np.ones((1, 1)), np.full((1, 3), 1 / 3))
    array([[0.5]])
    """
    first, second = np.asarray(outliers), np.asarray(ordinary)
    wins = [
        (one[:, None] > other).astype(np.float32) + np.float32(0.5) * (one[:, None] == other)
        for one, other in zip(first, second, strict=True)
    ]

    def statistic(of_first: Array, of_second: Array) -> Array:
        return np.stack([((of_first @ won) * of_second).sum(axis=1) for won in wins], axis=1)

    return statistic


def _weights(rng: np.random.Generator, draws: int, n: int) -> Array:
    """Weights of n - 1 draws with replacement from n; of one alone, one."""
    if n == 1:
        return np.ones((draws, 1))
    return rng.multinomial(n - 1, np.full(n, 1 / n), size=draws) / (n - 1)
