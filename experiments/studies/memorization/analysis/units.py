"""Which units of encoders memorise single images, and whether these are the memorised images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from sslsim.measures.frozen import FrozenEncoder
from sslsim.measures.intervals import interval_summary
from sslsim.memorization import most_memorized
from sslsim.memorization.image_sets import ScoredImages
from sslsim.memorization.losses import ImageScores, Scoring
from sslsim.memorization.one_encoder.units import (
    UnitMemorization,
    mean_activations,
    unit_memorization,
)

Array = NDArray[Any]

_LEVEL = 0.9
_SETS = ("candidate", "external")


def unit_results(
    families: Mapping[str, Sequence[FrozenEncoder]],
    images: ScoredImages,
    scores: ImageScores,
    scoring: Scoring,
    top: int,
) -> tuple[list[dict[str, Any]], dict[str, Array]]:
    """UnitMem by layer of f and g on as many candidates and external images; arrays of units."""
    places = {name: _spread(images.sets[name], _size(images)) for name in _SETS}
    rows = torch.cat(list(places.values()))
    encoders = [*families["f"], *families["g"]]
    activations = mean_activations(
        encoders, images.images[rows], scoring, numbers=images.numbers[rows]
    )
    results, columns = [], []
    for layer, name in enumerate(scoring.layers):
        by_set = [
            [unit_memorization(part) for part in of_encoder[name].split(_size(images))]
            for of_encoder in activations
        ]
        f, g = by_set[: len(families["f"])], by_set[len(families["f"]) :]
        candidates = places["candidate"].numpy()
        highest = scores.scores[layer][candidates]
        results.append(_layer(f, g, highest, min(top, len(candidates) // 2)))
        columns.append(
            (
                np.array([[found.scores.numpy() for found in sets] for sets in by_set]),
                np.array([candidates[sets[0].images.numpy()] for sets in by_set]),
            )
        )
    widths = [values.shape[2] for values, _ in columns]
    return results, {
        "unit_memorization": np.concatenate([values for values, _ in columns], axis=2),
        "unit_images": np.concatenate([maxima for _, maxima in columns], axis=1),
        "unit_layers": np.repeat(np.arange(len(widths)), widths),
    }


def _size(images: ScoredImages) -> int:
    """Images of a set: the maximum over images grows with their number."""
    return min(len(images.sets[name]) for name in _SETS)


def _spread(places: torch.Tensor, count: int) -> torch.Tensor:
    """Places spread evenly over a set, whose outliers come first."""
    return places[torch.arange(count) * len(places) // count]


def _layer(
    f: Sequence[Sequence[UnitMemorization]],
    g: Sequence[Sequence[UnitMemorization]],
    scores: Array,
    top: int,
) -> dict[str, Any]:
    """Means over units, their differences over encoder pairs, and the images of the maxima."""
    means = {
        f"{family}_{name}": np.array(
            [float(torch.nanmean(sets[place].scores)) for sets in encoders]
        )
        for family, encoders in (("f", f), ("g", g))
        for place, name in enumerate(_SETS)
    }
    above = {name: means[f"f_{name}"] - means[f"g_{name}"] for name in _SETS}
    contrasts = {
        "above_external": means["f_candidate"] - means["f_external"],
        "above_g": above["candidate"],
        "contrast": above["candidate"] - above["external"],
    }
    highest = set(most_memorized(scores, top).tolist())
    silent = [float(sets[0].scores.isnan().double().mean()) for sets in f]
    return {
        "unit_count": len(f[0][0].scores),
        "silent": float(np.mean(silent)),
        "points": len(scores),
        "top": top,
        **{
            name: interval_summary(values.tolist(), _LEVEL)
            for name, values in {**means, **contrasts}.items()
        },
        "maxima_f": _maxima([sets[0] for sets in f], highest, len(scores)),
        "maxima_g": _maxima([sets[0] for sets in g], highest, len(scores)),
    }


def _maxima(units: Sequence[UnitMemorization], highest: set[int], count: int) -> dict[str, Any]:
    """How many of the images at which units are largest are among those of the highest scores."""
    different = [set(found.images[~found.scores.isnan()].tolist()) for found in units]
    common = [len(images & highest) for images in different]
    shares = [both / max(len(images), 1) for both, images in zip(common, different, strict=True)]
    return {
        "images": [len(images) for images in different],
        "overlap": interval_summary(shares, _LEVEL),
        "chance": len(highest) / count,
        "chance_p": [
            float(stats.hypergeom.sf(both - 1, count, len(highest), len(images)))
            for both, images in zip(common, different, strict=True)
        ],
    }
