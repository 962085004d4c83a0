"""What memorisation scores say about sets of points.

The unit of replication is the pair of encoders (f, g): the scores of one pair share the training
runs of its two encoders, and their points are no independent draws of anything.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from sslsim.memorization.scores import looks_swapped

Array = NDArray[np.float64]

SETS = ("candidate", "independent", "shared", "external")  # S_C, S_I, S_S, S_E
COMPARISONS = (  # the first is expected above the second (2401.12233, section 4)
    ("candidate", "shared"),
    ("candidate", "external"),
    ("shared", "independent"),
    ("external", "independent"),
)


@dataclass(frozen=True)
class Comparison:
    """One set of points against another, over pairs of encoders.

    Attributes
    ----------
    above, below : str
        The sets; the alternative is that scores are higher in the first.
    difference, standard_error : float
        Mean over the pairs of the difference of the two sets' mean scores, and its standard error.
    t, p : float
        Student's t of the paired test and its one-sided p, pairs - 1 degrees of freedom.
    effect : float
        ``difference`` over its standard deviation from pair to pair (Cohen's d of paired data).
    point_effect : float
        Mean over the pairs of the difference over the pooled standard deviation of the points.
    """

    above: str
    below: str
    difference: float
    standard_error: float
    t: float
    p: float
    effect: float
    point_effect: float


@dataclass(frozen=True)
class SplitTests:
    """The four sets of the protocol, compared.

    Attributes
    ----------
    comparisons : tuple of Comparison
        In the order of ``COMPARISONS``.
    means : dict of str to ndarray, shape (pairs,)
        Mean score of every set under every pair of encoders.
    offset, offset_error : float
        Mean score of the shared points over the pairs, and its standard error: what f and g differ
        by on points that say nothing of memorisation. It drops out of every comparison.
    """

    comparisons: tuple[Comparison, ...]
    means: dict[str, Array]
    offset: float
    offset_error: float


def split_tests(scores: ArrayLike, splits: Mapping[str, ArrayLike]) -> SplitTests:
    """Test that candidates lie above, and independent points below, what tells nothing.

    Parameters
    ----------
    scores : array_like, shape (pairs, n)
        Memorisation scores of n points under two or more pairs of encoders.
    splits : mapping of str to array_like of int
        Places of the points of each of ``SETS``, disjoint, two at least: those only f was trained
        on, only g, both, neither.

    Returns
    -------
    SplitTests

    Raises
    ------
    ValueError
        If there is one pair only, a score is not finite, a set is missing or unknown, has fewer
        than two points, or shares some with another.

    Warns
    -----
    UserWarning
        If candidates lie so far below independent points that f and g must have been swapped.

    Notes
    -----
    The sets of 2401.12233, section 4, which compares points; differences between sets of one pair
    of encoders are the units here.

    Examples
    --------
    >>> scores = np.repeat([[0.5, 0.0, 0.1, 0.1], [0.6, 0.1, 0.1, 0.2]], 2, axis=1)
    >>> places = {name: [2 * i, 2 * i + 1] for i, name in enumerate(SETS)}
    >>> found = split_tests(scores, places)
    >>> [round(test.difference, 3) for test in found.comparisons], round(found.offset, 3)
    ([0.45, 0.4, 0.05, 0.1], 0.1)
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or len(table) < 2:
        raise ValueError(
            f"scores has shape {table.shape}; expected (pairs, n) with 2 pairs of encoders or more"
        )
    if not np.all(np.isfinite(table)):
        raise ValueError("scores holds NaN or infinite values; expected finite numbers")
    places = _check_splits(splits, table.shape[1])
    parts = {name: table[:, chosen] for name, chosen in places.items()}
    if looks_swapped(table, places["candidate"], places["independent"]):
        warnings.warn(
            "candidates score below independent points under every pair of encoders; f is the "
            "encoder trained on the candidates and g the one trained on the independent points: "
            "they seem to be swapped",
            UserWarning,
            stacklevel=2,
        )
    means = {name: part.mean(axis=1) for name, part in parts.items()}
    offset = means["shared"]
    return SplitTests(
        comparisons=tuple(_compare(parts, above, below) for above, below in COMPARISONS),
        means=means,
        offset=float(offset.mean()),
        offset_error=float(stats.sem(offset)),
    )


def _check_splits(splits: Mapping[str, ArrayLike], n: int) -> dict[str, NDArray[np.int64]]:
    if set(splits) != set(SETS):
        raise ValueError(f"splits holds {sorted(splits)}; expected {', '.join(SETS)}")
    places = {name: np.asarray(splits[name]) for name in SETS}
    for name, chosen in places.items():
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or len(chosen) < 2:
            raise ValueError(
                f"{name} has shape {chosen.shape} and type {chosen.dtype}; "
                "expected places of at least 2 points"
            )
        if chosen.min() < 0 or chosen.max() >= n:
            raise ValueError(
                f"{name} holds places from {chosen.min()} to {chosen.max()}; "
                f"expected some of 0 to {n - 1}"
            )
    taken, counts = np.unique(np.concatenate(list(places.values())), return_counts=True)
    if np.any(counts > 1):
        raise ValueError(
            f"point {taken[counts > 1][0]} is in the sets twice; expected disjoint ones"
        )
    return places


def _compare(parts: Mapping[str, Array], above: str, below: str) -> Comparison:
    upper, lower = parts[above], parts[below]
    differences = upper.mean(axis=1) - lower.mean(axis=1)
    pairs, mean = len(differences), float(differences.mean())
    deviation = float(differences.std(ddof=1))
    # Scores equal in every pair are evidence of nothing, equal differences of everything.
    effect = mean / deviation if deviation > 0 else float(np.sign(mean)) * np.inf if mean else 0.0
    t = effect * np.sqrt(pairs)
    freedom = upper.shape[1] + lower.shape[1] - 2
    pooled = np.sqrt(
        (
            (upper.shape[1] - 1) * upper.var(axis=1, ddof=1)
            + (lower.shape[1] - 1) * lower.var(axis=1, ddof=1)
        )
        / freedom
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        point_effects = np.where(differences == 0, 0.0, differences / pooled)
    return Comparison(
        above=above,
        below=below,
        difference=mean,
        standard_error=deviation / np.sqrt(pairs),
        t=float(t),
        p=float(stats.t.sf(t, pairs - 1)),
        effect=float(effect),
        point_effect=float(point_effects.mean()),
    )
