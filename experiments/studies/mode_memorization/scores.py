"""Memorisation by mode from mean distances of views, and which modes are removed by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]

FORMS = ("absolute", "relative", "ratio")
SEEN, NEW = "seen", "new"
BANDS = 8


def mode_scores(
    distances: Mapping[str, Mapping[str, Mapping[str, ArrayLike]]],
    variance: Mapping[str, ArrayLike],
    views: str = NEW,
    other: str = "g",
    above: str = "candidate",
) -> dict[str, Array]:
    """Memorisation of every mode: mean score of candidates above that of external images.

    ``distances`` has mean squared distances (k,) by kind of views, encoder and set; external images
    have new views only. ``absolute`` is g's distance less f's; ``relative`` is the same in units of
    the distance of two different images, twice the variance along the mode; ``ratio`` is the
    difference over the sum.

    >>> f, g = {"candidate": [1.0], "external": [2.0]}, {"candidate": [3.0], "external": [2.0]}
    >>> scores = mode_scores({"new": {"f": f, "g": g}}, {"f": [1.0], "g": [1.0]})
    >>> {form: float(score[0]) for form, score in scores.items()}
    {'absolute': 2.0, 'relative': 1.0, 'ratio': 0.5}
    """

    def of_set(name: str, kind: str) -> tuple[Array, Array]:
        f, g = (np.asarray(distances[kind][each][name], dtype=np.float64) for each in ("f", other))
        return f, g

    scales = [2.0 * np.asarray(variance[each], dtype=np.float64) for each in ("f", other)]
    scores = {form: np.zeros_like(scales[0]) for form in FORMS}
    for sign, (f, g) in ((1.0, of_set(above, views)), (-1.0, of_set("external", NEW))):
        scores["absolute"] += sign * (g - f)
        scores["relative"] += sign * (_over(g, scales[1]) - _over(f, scales[0]))
        scores["ratio"] += sign * _over(g - f, g + f)
    return scores


def _over(values: Array, scale: Array) -> Array:
    return np.divide(values, scale, out=np.zeros_like(values), where=scale > 0)


def bands(size: int, count: int = BANDS) -> list[slice]:
    """Neighbouring modes in groups of nearly equal size.

    >>> bands(5, 2), len(bands(3, 8))
    ([slice(0, 2, None), slice(2, 5, None)], 3)
    """
    edges = np.linspace(0, size, min(count, size) + 1).astype(int).tolist()
    return [slice(*ends) for ends in pairwise(edges)]


def removed_modes(
    scores: Mapping[str, Array], shares: Sequence[float], random: int, seed: int
) -> dict[str, dict[str, list[list[int]]]]:
    """Modes to remove, by share and choice; a choice has several draws if it is random.

    ``most`` and ``least`` go by the relative score, ``most_absolute`` and ``least_absolute`` by the
    absolute one, ``first`` and ``last`` by rank. Of every two neighbouring modes, ``more`` has the
    one that memorises more by the relative score, ``less`` the other one: two halves of equal
    variance, nearly. Of one mode alone none can be removed.

    >>> scores = {"relative": np.array([0.0, 2.0, 1.0, 3.0]), "absolute": np.arange(4.0)}
    >>> chosen = removed_modes(scores, [0.5], 1, 0)
    >>> chosen["0.5"]["most"], chosen["0.5"]["last"], chosen["neighbours"]
    ([[1, 3]], [[2, 3]], {'more': [[1, 3]], 'less': [[0, 2]]})
    """
    size, rng = len(scores["relative"]), np.random.default_rng(seed)
    if size < 2:
        return {}
    orders = {
        "most": np.argsort(-scores["relative"], kind="stable"),
        "least": np.argsort(scores["relative"], kind="stable"),
        "most_absolute": np.argsort(-scores["absolute"], kind="stable"),
        "least_absolute": np.argsort(scores["absolute"], kind="stable"),
        "first": np.arange(size),
        "last": np.arange(size)[::-1],
    }
    chosen: dict[str, dict[str, list[list[int]]]] = {}
    for share in shares:
        count = min(max(round(share * size), 1), size - 1)
        sets = {name: [sorted(order[:count].tolist())] for name, order in orders.items()}
        sets["random"] = [sorted(rng.permutation(size)[:count].tolist()) for _ in range(random)]
        chosen[f"{share:g}"] = sets
    couples = [(i, i + 1) for i in range(0, size - 1, 2)]
    halves: dict[str, list[int]] = {"more": [], "less": []}
    for couple in couples:
        low, high = sorted(couple, key=lambda mode: scores["relative"][mode])
        halves["more"].append(high)
        halves["less"].append(low)
    chosen["neighbours"] = {name: [modes] for name, modes in halves.items()}
    return chosen


def correlation(x: ArrayLike, y: ArrayLike, given: ArrayLike | None = None) -> float:
    """Spearman correlation over modes, with a third quantity held fixed if there is one.

    NaN for fewer than two modes, and if a quantity is the same for all of them.

    >>> correlation([1, 2, 3, 4], [1, 2, 4, 3]), correlation([1, 2, 3], [5, 5, 5])
    (0.8, nan)
    """
    ranks = [_ranks(each) for each in (x, y, *(() if given is None else (given,)))]
    if len(ranks[0]) < 2 or any(np.ptp(each) == 0 for each in ranks):
        return float("nan")
    found: Any = np.corrcoef(ranks)
    if given is None:
        return round(float(found[0, 1]), 12)
    rest = np.sqrt((1 - found[0, 2] ** 2) * (1 - found[1, 2] ** 2))
    return float((found[0, 1] - found[0, 2] * found[1, 2]) / rest) if rest > 1e-9 else float("nan")


def _ranks(values: ArrayLike) -> Array:
    return np.asarray(rankdata(np.asarray(values, dtype=np.float64)), dtype=np.float64)
