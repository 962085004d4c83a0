"""What scores of memorisation say in both forms, layer by layer, and how layers rank images."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from sslsim.core.names import FORMS
from sslsim.memorization.image_sets import ScoredImages
from sslsim.memorization.losses import ImageScores
from sslsim.memorization.outliers import KINDS
from sslsim.memorization.split import split_scores
from sslsim.memorization.statistics import (
    Statistic,
    areas,
    differences,
    rank_agreement,
    rank_correlations,
    split_tests,
    two_way_interval,
)
from sslsim.memorization.subsampling import pool_scores

Array = NDArray[np.float64]

_LEVEL = 0.9


def scores_by_form(scores: ImageScores, form: str, protocol: str) -> dict[str, ImageScores]:
    """Scores in the form of a study and in the other, from the same alignment losses."""
    if protocol not in ("split", "subsample"):
        return {form: scores}
    scored = split_scores if protocol == "split" else pool_scores
    losses, members = torch.as_tensor(scores.losses), torch.as_tensor(scores.members)
    return {name: scores if name == form else scored(losses, members, name) for name in FORMS}


def set_tests(units: Array, images: ScoredImages) -> dict[str, Any]:
    """Mean scores of the sets in a layer, and the tests between them over pairs of encoders."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of sets exchanged: told once, by the study
        tests = split_tests(units, images.sets)
    comparisons = []
    for test in tests.comparisons:
        upper, lower = (units[:, images.sets[name].numpy()] for name in (test.above, test.below))
        interval = scores_interval(differences(upper, lower), upper, lower)
        del interval["mean"]  # the difference
        comparisons.append({**asdict(test), **interval})
    return {
        "means": tests.means,
        "offset": tests.offset,
        "offset_error": tests.offset_error,
        "comparisons": comparisons,
    }


def outlier_areas(scores: ImageScores, layer: int, images: ScoredImages) -> dict[str, Any]:
    """How well scores of a layer tell outliers, by set and kind, with intervals over both."""
    by_set: dict[str, Any] = {}
    kinds = images.atypical.numpy()
    # Without pairs of encoders there is one ranking, of the mean scores.
    units = scores.units[layer] if scores.units.shape[1] else scores.scores[layer][None]
    for name, rows in scored_sets(images).items():
        by_set[name] = {}
        for kind, outliers, ordinary in outlier_kinds(kinds, rows):
            parts = units[:, outliers], units[:, ordinary]
            interval = scores_interval(areas(*parts), *parts)
            interval["low"], interval["high"] = np.clip([interval["low"], interval["high"]], 0, 1)
            by_set[name][kind] = {"points": int(outliers.sum()), **interval}
    return by_set


def scored_sets(images: ScoredImages) -> dict[str, NDArray[np.bool_]]:
    """Images of every set; all of a pool."""
    places = np.arange(len(images.images))
    inside = {name: np.isin(places, rows.numpy()) for name, rows in images.sets.items()}
    return inside or {"all": np.ones(len(places), dtype=bool)}


def outlier_kinds(
    kinds: NDArray[np.int64], rows: NDArray[np.bool_]
) -> list[tuple[str, NDArray[np.bool_], NDArray[np.bool_]]]:
    """Kinds of outliers among some images, those of each kind, and the images left as they were."""
    ordinary = rows & (kinds == 0)
    found = [
        (kind, rows & (kinds == code if code else kinds > 0), ordinary)
        for code, kind in enumerate(("any", *KINDS[1:]))
    ]
    return [part for part in found if part[1].any() and part[2].any()]


def by_form(
    forms: Mapping[str, ImageScores], images: ScoredImages, layers: Sequence[str], atypical: bool
) -> dict[str, Any]:
    """All that is told in both forms: means, tests of sets, areas of outliers, by layer."""
    found: dict[str, Any] = {}
    for form, scores in forms.items():
        places = range(len(layers))
        found[form] = {
            "mean": scores.scores.mean(axis=1),
            "deviation": scores.scores.std(axis=1),
            "loss_correlation": [_loss_correlation(scores, place, images) for place in places],
            "sets": [set_tests(units, images) for units in scores.units] if images.sets else None,
            "atypical": [outlier_areas(scores, place, images) for place in places]
            if atypical
            else None,
        }
    return found


def layer_agreement(
    scores: ImageScores, images: ScoredImages, layers: Sequence[str], top: int
) -> list[dict[str, Any]]:
    """How far the rankings by different layers agree."""
    ranked = images.ranked()
    k = min(top, int(ranked.sum()) // 2)
    return [
        {
            "layer": layers[one],
            "other_layer": layers[other],
            "points": int(ranked.sum()),
            "top": k,
            **asdict(rank_agreement(scores.scores[one][ranked], scores.scores[other][ranked], k)),
        }
        for one, other in combinations(range(len(layers)), 2)
    ]


def scores_interval(statistic: Statistic, *scores: Array) -> dict[str, float]:
    """Interval over images and pairs, by the names of results.

    ``scores`` are those of every set of images, (pairs, n).
    """
    sizes = [part.shape[1] for part in scores]
    if max(sizes) < 2:
        return dict.fromkeys(_NAMES.values(), float("nan"))
    found = asdict(two_way_interval(statistic, len(scores[0]), sizes, _LEVEL))
    return {name: found[key] for key, name in _NAMES.items()}


def correlation_interval(
    units: Array, values: Array, given: Array | None = None
) -> dict[str, float]:
    """Spearman correlation of scores (pairs, n) with values (n,), over images and pairs.

    ``given`` (pairs, n) is held fixed, if it is given.
    """
    found = scores_interval(rank_correlations(units, values, given), units)
    for end in ("low", "high"):
        found[end] = float(np.clip(found[end], -1, 1))
    return found


_NAMES = {
    "mean": "mean",
    "low": "low",
    "high": "high",
    "standard_error": "two_way_error",
    "pair_error": "pair_error",
    "image_error": "image_error",
}


def losses_without(
    scores: ImageScores, layer: int, rows: NDArray[np.bool_] | NDArray[np.int64]
) -> Array | None:
    """Alignment losses of ranked images under encoders that did not see them: what can be lost.

    Under encoder g of every pair, (pairs, m), or without pairs their mean, (1, m); None where an
    image was in the training of all encoders.
    """
    outside, losses = ~scores.members[:, rows], scores.losses[:, layer][:, rows]
    counts = outside.sum(axis=0)
    if len(outside) == 0 or counts.min() == 0:
        return None
    if pairs := scores.units.shape[1]:
        return np.asarray(losses[pairs:])
    return np.asarray(np.where(outside, losses, 0.0).sum(axis=0)[None] / counts)


def _loss_correlation(scores: ImageScores, layer: int, images: ScoredImages) -> float:
    """Spearman correlation of the scores that are ranked with the losses of encoders without."""
    ranked = images.ranked()
    without = losses_without(scores, layer, ranked)
    values = scores.scores[layer][ranked]
    if without is None or len(values) < 3:
        return float("nan")
    mean = without.mean(axis=0)
    if np.ptp(values) == 0 or np.ptp(mean) == 0:
        return float("nan")
    return float(stats.spearmanr(values, mean).statistic)
