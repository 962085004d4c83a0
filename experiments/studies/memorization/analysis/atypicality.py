"""Whether images that are atypical by nature are memorised more, by a measure fixed beforehand.

The measure is :func:`sslsim.memorization.one_encoder.atypicality.atypicality` under a reference
encoder, a run of ``sslsim train`` that is in neither family. It knows no labels and no scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.studies.memorization.analysis.forms import correlation_interval, losses_without
from experiments.studies.memorization.options import MemorizationOptions
from sslsim.measures.frozen import FrozenEncoder
from sslsim.memorization.image_sets import ScoredImages, image_hashes
from sslsim.memorization.losses import ImageScores
from sslsim.memorization.one_encoder.atypicality import atypicality
from sslsim.runs.encoders import encoder_of_run
from sslsim.runs.networks import check_different
from sslsim.runs.options import network_name
from sslsim.runs.trained_run import TrainedRun

Array = NDArray[np.float64]

NEIGHBOURS = 10


@dataclass(frozen=True, eq=False)
class Reference:
    """The encoder that says how atypical images are, and the run that it is of."""

    run: TrainedRun
    encoder: FrozenEncoder


def open_reference(options: MemorizationOptions, images: ScoredImages) -> Reference | None:
    """The reference encoder, if one is given; refused where it cannot represent the images."""
    if options.reference is None:
        return None
    run = TrainedRun.open(options.reference, options.root)
    check_different("f, g or reference", (*options.f, *options.g, options.reference))
    shape, own = tuple(images.images.shape[1:]), tuple(run.images.images.shape[1:])
    if own != shape:
        raise ValueError(
            f"{run.folder} was trained on images of shape {own}; expected {shape}, that of the "
            "images scored"
        )
    if len(images.natural) <= NEIGHBOURS:
        raise ValueError(
            f"reference is given with {len(images.natural)} training images that are no outliers; "
            f"expected more than {NEIGHBOURS}, the neighbours of an image"
        )
    return Reference(run, encoder_of_run(run, options.device))


def image_atypicality(reference: Reference, images: ScoredImages) -> Array:
    """Atypicality of all scored images among the training images that are no planted outliers."""
    place = torch.full((len(images.data.images) + len(images.held_out.images),), -1)
    place[images.natural] = torch.arange(len(images.natural))
    values = atypicality(
        reference.encoder,
        images.images,
        images.data.images[images.natural],
        NEIGHBOURS,
        own=place[images.numbers],
    )
    return np.asarray(values.numpy())


def atypicality_results(
    reference: Reference,
    values: Array,
    forms: Mapping[str, ImageScores],
    images: ScoredImages,
) -> dict[str, Any]:
    """Rank correlations of scores with atypicality, by form and layer, over the ranked images."""
    ranked = np.flatnonzero(images.ranked())
    natural = ranked[images.atypical.numpy()[ranked] == 0]
    seen = np.isin(
        image_hashes(images.images[ranked]), image_hashes(reference.run.images.images)
    ).mean()
    return {
        "run": reference.run.folder,
        "method": reference.run.options.method,
        "encoder": network_name(reference.run.options),
        "neighbours": NEIGHBOURS,
        "population": len(images.natural),
        "seen": float(seen),
        "mean": float(values[ranked].mean()),
        "forms": {
            form: [
                {
                    "all": _correlations(scores, layer, values, ranked),
                    "natural": _correlations(scores, layer, values, natural)
                    if 0 < len(natural) < len(ranked)
                    else None,
                }
                for layer in range(len(scores.scores))
            ]
            for form, scores in forms.items()
        },
    }


def _correlations(
    scores: ImageScores, layer: int, values: Array, rows: NDArray[np.int64]
) -> dict[str, Any]:
    """Correlations of the scores and of the losses that bound them, over some images."""
    units = scores.units[layer] if scores.units.shape[1] else scores.scores[layer][None]
    units, of_rows = units[:, rows], values[rows]
    without = losses_without(scores, layer, rows)
    return {
        "points": len(rows),
        "spearman": correlation_interval(units, of_rows),
        "given_loss": None if without is None else correlation_interval(units, of_rows, without),
        "loss": None if without is None else correlation_interval(without, of_rows),
    }
