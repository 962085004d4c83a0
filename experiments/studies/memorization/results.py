"""What the scores of a study show: ``memorization.json`` and ``scores.npz``.

Their keys and arrays are explained in ``experiments/docs/memorization.md``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.studies.memorization.analysis.forms import (
    by_form,
    layer_agreement,
    outlier_kinds,
    scored_sets,
    scores_by_form,
)
from experiments.studies.memorization.analysis.stored_scores import agreement_with
from experiments.studies.memorization.options import MemorizationOptions
from sslsim.core.files import write_arrays, write_json
from sslsim.measures.frozen import FrozenEncoder
from sslsim.measures.intervals import mean_interval
from sslsim.measures.layers import probe_frozen
from sslsim.memorization import rank_points
from sslsim.memorization.image_sets import ScoredImages, image_hashes
from sslsim.memorization.losses import ImageScores
from sslsim.memorization.outliers import outlier_auc
from sslsim.memorization.statistics import agreement_of_pairs, split_tests
from sslsim.runs.options import network_name

_SHOWN = 24  # images at either end of the ranking that are stored for the picture
_LEVEL = 0.9


def write_results(
    folder: Path,
    options: MemorizationOptions,
    images: ScoredImages,
    scores: ImageScores,
    details: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    untrained: NDArray[Any] | None = None,
) -> dict[str, Any]:
    """Write ``scores.npz`` and ``memorization.json``.

    ``details`` and ``arrays`` go there as they are; ``untrained`` are scores under pairs of
    encoders at their initialisation, (layers, pairs, n).
    """
    first = scores.scores[0]
    ranked = np.flatnonzero(images.ranked())
    orders = np.array([ranked[rank_points(of[ranked]).numpy()] for of in scores.scores])
    order = orders[0]
    shown = min(_SHOWN, len(order) // 2)
    layers = details.get("layers", options.layers)
    forms = by_form(
        scores_by_form(scores, options.form, options.protocol), images, layers, options.atypical > 0
    )
    result = {
        "protocol": options.protocol,
        "method": options.method,
        "encoder": network_name(options),
        "data": options.data,
        "points": len(first),
        "form": options.form,
        "distance": options.distance,
        "normalise": options.normalise,
        "layers": options.layers,
        "atypicality": None,
        "unit_memorization": None,
        "predictors": None,
        **details,
        "mean": scores.scores.mean(axis=1),
        "deviation": scores.scores.std(axis=1),
        "sets": [
            {
                **forms[options.form]["sets"][layer],
                **_agreements(units, images, None if untrained is None else untrained[layer]),
            }
            for layer, units in enumerate(scores.units)
        ]
        if images.sets
        else None,
        "atypical": _outlier_aucs(scores, images) if options.atypical else None,
        "forms": forms,
        "layer_agreement": layer_agreement(scores, images, layers, options.top),
        "agreement": [
            agreement_with(other, images, scores, layers, options.top) for other in options.compare
        ],
    }
    write_arrays(
        folder / "scores.npz",
        scores=scores.scores,
        standard_error=scores.standard_error,
        units=scores.units,
        losses=scores.losses,
        members=scores.members,
        numbers=images.numbers.numpy(),
        hashes=image_hashes(images.images),
        sets=images.set_codes(),
        atypical=images.atypical.numpy(),
        order=order,
        orders=orders,
        most=images.images[order[:shown]].numpy(),
        least=images.images[order[::-1][:shown].copy()].numpy(),
        **arrays,
    )
    write_json(folder / "memorization.json", result)
    return result


def probe_accuracies(
    families: Mapping[str, Sequence[FrozenEncoder]], images: ScoredImages, layers: Sequence[str]
) -> dict[str, dict[str, list[float]]]:
    """Accuracies of linear probes of every encoder, by family and layer."""
    by_family: dict[str, dict[str, list[float]]] = {}
    for name, encoders in families.items():
        accuracies = by_family[name] = {layer: [] for layer in layers}
        for each in encoders:
            probes = probe_frozen(each, images.data, images.held_out, layers=layers)
            for layer in layers:
                probe = probes[layer].get("linear")
                accuracies[layer].append(math.nan if probe is None else probe.accuracy)
    return by_family


def curve_point(step: int, scores: ImageScores, images: ScoredImages) -> dict[str, Any]:
    """How far the sets are apart after some updates, by the first layer."""
    tests = split_tests(scores.units[0], images.sets)
    return {
        "step": step,
        "means": tests.means,
        "comparisons": [asdict(test) for test in tests.comparisons],
    }


def _agreements(
    units: NDArray[Any], images: ScoredImages, untrained: NDArray[Any] | None
) -> dict[str, Any]:
    """How far pairs of encoders agree on single images in a layer.

    On external images, and before any training, they agree only by what they share.
    """
    split_tests(units, images.sets)  # warns of sets exchanged
    candidates, external = (images.sets[name].numpy() for name in ("candidate", "external"))
    return {
        "agreement_of_pairs": agreement_of_pairs(units[:, candidates]),
        "agreement_of_pairs_external": agreement_of_pairs(units[:, external]),
        "agreement_of_pairs_untrained": None
        if untrained is None
        else agreement_of_pairs(untrained[:, candidates]),
    }


def _outlier_aucs(scores: ImageScores, images: ScoredImages) -> dict[str, Any]:
    """How well scores of the first layer tell outliers, set by set: areas under ROC curves."""
    by_set: dict[str, Any] = {}
    kinds = images.atypical.numpy()
    for name, rows in scored_sets(images).items():
        by_set[name] = {}
        for kind, outliers, ordinary in outlier_kinds(kinds, rows):
            units = [outlier_auc(unit, outliers, ordinary) for unit in scores.units[0]]
            by_set[name][kind] = {
                "points": int(outliers.sum()),
                "auc": outlier_auc(scores.scores[0], outliers, ordinary),
                **_interval(units),
            }
    return by_set


def _interval(units: list[float]) -> dict[str, Any]:
    """Mean over pairs of encoders and its Student interval."""
    if len(units) < 2:
        return {"units": np.asarray(units), "mean": None, "low": None, "high": None}
    mean, low, high, *_ = mean_interval(units, _LEVEL)
    return {"units": np.asarray(units), "mean": mean, "low": low, "high": high}
