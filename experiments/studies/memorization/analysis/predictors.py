"""How well influence, and simpler numbers, predict the scores that retraining gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.studies.memorization.analysis.forms import correlation_interval, scores_by_form
from experiments.studies.memorization.analysis.stored_scores import (
    common_images,
    compared_layers,
    read_scores,
)
from sslsim.memorization.image_sets import ScoredImages
from sslsim.memorization.losses import ImageScores
from sslsim.memorization.statistics import rank_agreement

Array = NDArray[np.float64]


def predictor_results(
    folders: Sequence[Path],
    images: ScoredImages,
    scores: ImageScores,
    layers: Sequence[str],
    top: int,
) -> list[dict[str, Any]]:
    """Agreement of influence, gradient norms and losses with studies, by study, layer and form."""
    assert scores.gradient_norms is not None
    predictors = {
        "influence": scores.scores,
        "gradient_norm": scores.gradient_norms.mean(axis=0),
        "loss": scores.losses.mean(axis=0),
    }
    results = []
    for folder in folders:
        result, _ = read_scores(folder)
        rows, columns = common_images(folder, images)
        k = min(top, len(rows) // 2)
        for layer, other_layer in compared_layers(layers, result["layers"]):
            place, other = list(layers).index(layer), result["layers"].index(other_layer)
            own = {name: values[place][rows] for name, values in predictors.items()}
            forms = {
                form: {
                    name: _predicted(values, theirs, None if name == "loss" else own["loss"], k)
                    for name, values in own.items()
                }
                for form, theirs in _their_scores(folder, columns, other).items()
            }
            results.append(
                {
                    "run": folder,
                    "layer": layer,
                    "other_layer": other_layer,
                    "points": len(rows),
                    "top": k,
                    "forms": forms,
                }
            )
    return results


def _predicted(values: Array, scores: Array, loss: Array | None, top: int) -> dict[str, Any]:
    """How far a predictor ranks images as their scores do, also beyond the alignment loss."""
    return {
        **asdict(rank_agreement(values, scores, top)),
        "spearman": correlation_interval(values[None], scores),
        "given_loss": None
        if loss is None
        else correlation_interval(values[None], scores, loss[None]),
    }


def _their_scores(folder: Path, columns: NDArray[np.int64], layer: int) -> dict[str, Array]:
    """Scores that a study stored of some images in a layer, in both forms if it has losses."""
    result, arrays = read_scores(folder)
    form, protocol = str(result.get("form", "raw")), result["protocol"]
    found = {form: arrays["scores"][layer][columns]}
    losses, members = arrays.get("losses"), arrays.get("members")
    if protocol not in ("split", "subsample") or losses is None or members is None:
        return found
    count = len(arrays["numbers"])
    if losses.shape[1:] != arrays["scores"].shape or members.shape != (len(losses), count):
        return found
    whole = ImageScores(arrays["scores"], arrays["scores"], arrays["scores"], losses, members)
    by_form = scores_by_form(whole, form, protocol)
    return found | {name: each.scores[layer][columns] for name, each in by_form.items()}
