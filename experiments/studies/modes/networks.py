"""The modes of one trained network: their values on images, their meaning, their use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from experiments.studies.modes.options import ModesOptions
from sslsim.data.datasets import Images, part_of, spread_over
from sslsim.data.views import crop_to_input
from sslsim.encoders.build import Encoder
from sslsim.encoders.features import features
from sslsim.measures.modes.accuracy import Embedded, accuracy_by_modes, first_modes_accuracy
from sslsim.measures.modes.directions import (
    Array,
    Spectrum,
    counts_of_modes,
    mode_directions,
    random_directions,
)
from sslsim.measures.modes.meaning import explained, mode_meaning
from sslsim.measures.modes.statistics import class_columns, image_statistics, is_grey
from sslsim.runs.trained_run import TrainedRun

_DRAWS = 3  # of random directions
_ENDS = 8  # images at either end of a mode
_SHOWN = 6  # modes


@dataclass(frozen=True, eq=False)
class NetworkModes:
    """What is measured of the modes of a run, and their values on the held-out images.

    Attributes
    ----------
    result : dict
        The run's entry in ``modes.json``.
    values, untrained : ndarray, shape (n, k); untrained may be None
        Values of the first k modes of the network and of its initialisation.
    ends : ndarray of uint8, shape (shown, 2, 8, c, h, w)
        Images of the lowest and the highest values of the first modes.
    """

    result: dict[str, Any]
    values: Array
    untrained: Array | None
    ends: np.ndarray[Any, Any]


def held_out_images(run: TrainedRun, samples: int) -> tuple[Images, int]:
    """Held-out images that are measured, and how many grey ones among colour images are left out.

    Grey images have no hue. If all are grey, all are taken and there are no statistics of colour.
    """
    images = spread_over(run.held_out, samples)
    grey = is_grey(images.images)
    if grey.all():
        return images, 0
    return part_of(images, torch.from_numpy(~grey)), int(grey.sum())


def statistics_of(images: Images) -> dict[str, Array]:
    """Statistics of images and, if they have several classes, membership in these."""
    found = image_statistics(images.images)
    if images.images.shape[1] == 3 and is_grey(images.images).all():
        found = {k: v for k, v in found.items() if k not in ("hue", "saturation", "colour")}
    if _several_classes(images):
        found["class"] = class_columns(images.labels)  # type: ignore[arg-type]
    return found


def network_modes(run: TrainedRun, held_out: Images, options: ModesOptions) -> NetworkModes:
    """Measure the modes of a run on held-out images."""
    step = run.step_at(options.checkpoint)
    spectrum = options.spectrum or run.spectrum.removesuffix("_spectrum")
    matrix = cast(Spectrum, spectrum)
    shown = crop_to_input(held_out, run.views)
    statistics = statistics_of(shown)
    pairs = run.held_out_pairs(options.samples)
    encoder = run.learner(step).encoder
    z_pairs = embeddings(encoder, pairs[0]), embeddings(encoder, pairs[1])
    eigenvalues, directions = mode_directions(z_pairs[0], z_pairs[1], matrix)
    counts = counts_of_modes(directions.shape[1], options.modes)
    modes = max(counts)
    z = _embedded(run, encoder, shown)
    values = z @ directions[:, :modes]
    # Brighter images are at the high end: the sign of a mode is arbitrary.
    sign = np.sign((values - values.mean(axis=0)).T @ statistics["brightness"][:, 0])
    signed = np.where(sign < 0, -1.0, 1.0)
    values = values * signed
    found = mode_meaning(values, statistics, level=options.interval_level, rng=options.seed)
    rng = np.random.default_rng([options.seed, 1])
    random = [random_directions(len(directions), modes, rng) for _ in range(_DRAWS)]
    shares = {
        "first": _explained(values, statistics, counts),
        "random": np.mean([_explained(z @ some, statistics, counts) for some in random], axis=0),
    }
    train = crop_to_input(spread_over(run.images, options.probed), run.views)
    labelled = _several_classes(train) and _several_classes(shown)
    accuracy: dict[str, Array] | None = None
    if labelled:
        z_train = _embedded(run, encoder, train)
        known, asked = _labelled(z_train, train), _labelled(z, shown)
        accuracy = accuracy_by_modes(
            known, asked, directions, counts, draws=_DRAWS, rng=options.seed
        )
    untrained = None
    if 0 in run.steps:
        start = run.learner(0).encoder
        z_start = _embedded(run, start, shown)
        views = embeddings(start, pairs[0]), embeddings(start, pairs[1])
        _, at_start = mode_directions(views[0], views[1], matrix)
        untrained = z_start @ at_start[:, :modes]
        shares["untrained"] = _explained(untrained, statistics, counts)
        if accuracy is not None:
            known = _labelled(_embedded(run, start, train), train)
            asked = _labelled(z_start, shown)
            accuracy["untrained"] = first_modes_accuracy(known, asked, at_start, counts)
    result = {
        "run": run.folder,
        "seed": run.options.seed,
        "step": step,
        "views": run.views,
        "spectrum": spectrum,
        "dim": directions.shape[1],
        "counts": counts,
        "eigenvalues": eigenvalues[:modes],
        "stability": _stability(z_pairs, z, matrix, modes),
        "statistics": found.statistics,
        "correlation": found.correlation,
        "low": found.low,
        "high": found.high,
        "p_value": found.p_value,
        "explained": shares,
        "accuracy": accuracy,
        "probe_images": len(train.images) if labelled else None,
    }
    return NetworkModes(result, values, untrained, _ends(values, shown.images))


def embeddings(encoder: Encoder, inputs: torch.Tensor) -> torch.Tensor:
    """Embeddings of standardised images, in evaluation mode."""
    return features(encoder, inputs, ["projector"])["projector"].double().cpu()


def _embedded(run: TrainedRun, encoder: Encoder, images: Images) -> Array:
    found = embeddings(encoder, run.standardised(images.images.float() / 255)).numpy()
    return np.asarray(found, dtype=np.float64)


def _labelled(z: Array, images: Images) -> Embedded:
    assert images.labels is not None
    return z, images.labels.cpu().numpy()


def _several_classes(images: Images) -> bool:
    return images.labels is not None and len(images.labels.unique()) > 1


def _explained(values: Array, statistics: dict[str, Array], counts: list[int]) -> Array:
    """Shares of the statistics that the first modes explain, (counts, S)."""
    return np.array([explained(values[:, :k], statistics) for k in counts])


def _stability(
    pairs: tuple[torch.Tensor, torch.Tensor], z: Array, matrix: Spectrum, modes: int
) -> Array:
    """Correlation of every mode with itself, measured on either half of the pairs."""
    halves = []
    for start in range(2):
        _, directions = mode_directions(pairs[0][start::2], pairs[1][start::2], matrix)
        values = z @ directions[:, :modes]
        values = values - values.mean(axis=0)
        norms = np.linalg.norm(values, axis=0)
        halves.append(values / np.where(norms > 0, norms, 1.0))
    return np.abs(np.sum(halves[0] * halves[1], axis=0))


def _ends(values: Array, images: torch.Tensor) -> np.ndarray[Any, Any]:
    order = np.argsort(values[:, :_SHOWN], axis=0, kind="stable")
    places = np.stack([order[:_ENDS], order[::-1][:_ENDS]])  # (2, 8, shown)
    return images.numpy()[places.transpose(2, 0, 1)]
