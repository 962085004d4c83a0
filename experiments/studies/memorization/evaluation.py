"""What an encoder's features are worth: linear probes, also on other data, and fine-tuning."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from experiments.studies.memorization.encoders import Trained
from experiments.studies.memorization.image_sets import ScoredImages
from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.source_study import Finished
from sslsim.core.seeds import derived_seed, seeded
from sslsim.data.datasets import Images, part_of
from sslsim.data.pixels import pixel_statistics
from sslsim.data.views import crop_to_input
from sslsim.encoders.build import Encoder
from sslsim.encoders.features import features
from sslsim.measures.frozen import FrozenEncoder
from sslsim.measures.layers import probe_frozen
from sslsim.measures.probes import linear_probe
from sslsim.methods.learner import SupervisedLearner
from sslsim.runs.options import LearnerOptions, TrainOptions, training_options
from sslsim.runs.setup import chosen_device, split_data
from sslsim.training.loop import train

_HEAD = 17  # purpose of the draw of a head for the classes
_GREY = (0.299, 0.587, 0.114)  # luminance of red, green, blue (ITU-R BT.601)


@dataclass(frozen=True, eq=False)
class ProbeData:
    """Labelled images to read an encoder by.

    Attributes
    ----------
    name : str
        Of the data set.
    fitted : Images
        What probes are fitted on.
    read : dict of str to Images
        What they are read on, by name.
    """

    name: str
    fitted: Images
    read: dict[str, Images]


def probe_data(
    study: Finished, fitted: torch.Tensor, transfer: tuple[str, ...], limit: int | None
) -> list[ProbeData]:
    """Data that encoders of a study are probed on.

    >>> from experiments.studies.memorization.options import MemorizationOptions
    >>> from experiments.studies.memorization.image_sets import draw_points
    >>> options = MemorizationOptions(protocol="subsample", pool=40, limit=40)
    >>> points = draw_points(options)
    >>> study = Finished(options, points, points.numbers.numpy())
    >>> [one.name for one in probe_data(study, torch.arange(40), (), None)]
    ['digits']
    """
    options, points = study.options, study.points
    found = []
    data = part_of(points.data, points.numbers[fitted])
    _, held_out = split_data(options)  # without outliers
    if data.labels is not None and held_out.labels is not None:
        read = {options.data: held_out}
        planted = (points.held_out.images != held_out.images).flatten(1).any(dim=1)
        if int(planted.sum()) > 1:
            read[f"{options.data}, outliers"] = part_of(points.held_out, planted)
        found.append(ProbeData(options.data, data, read))
    shape = tuple(points.images.shape[1:])
    for name in transfer:
        if name in [one.name for one in found]:
            raise ValueError(f"transfer holds {name}, which is there already; expected other data")
        square = shape[1] if shape[1] == shape[2] else None
        other = TrainOptions(data=name, root=options.root, size=square, limit=limit)
        fit, held = (brought_to(part, shape) for part in split_data(other))
        if fit.labels is None or held.labels is None:
            raise ValueError(f"{name} has no labels; expected some to probe")
        found.append(ProbeData(name, fit, {name: held}))
    if not found:
        raise ValueError(f"{options.data} has no labels; expected some, or --transfer DATA")
    return found


def brought_to(data: Images, shape: tuple[int, ...]) -> Images:
    """Images at the shape that a network takes."""
    images = data.images
    if tuple(images.shape[1:]) == shape:
        return data
    changed = images.float()
    if images.shape[1] == 3 and shape[0] == 1:
        changed = (changed * torch.tensor(_GREY).reshape(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    elif images.shape[1] != shape[0]:
        changed = changed.expand(-1, shape[0], -1, -1)
    if tuple(images.shape[2:]) != shape[1:]:
        changed = nn.functional.interpolate(changed, shape[1:], mode="bilinear", antialias=True)
    return replace(data, images=changed.round().clamp(0, 255).to(torch.uint8))


def linear_accuracies(trained: Trained, data: ProbeData) -> dict[str, float]:
    """Accuracies of a linear probe of the representation."""

    def represented(part: Images) -> tuple[torch.Tensor, torch.Tensor]:
        images = crop_to_input(part, trained.views).images.float() / 255
        fed = images if trained.pixels is None else trained.pixels.standardise(images)
        assert part.labels is not None
        return features(trained.encoder, fed, ["backbone"])["backbone"].cpu(), part.labels

    fitted = represented(data.fitted)
    with warnings.catch_warnings():
        # Of the solver's convergence: the accuracy is reported as it is.
        warnings.simplefilter("ignore")
        return {
            name: linear_probe(*fitted, *represented(part)).accuracy
            for name, part in data.read.items()
        }


def fine_tuned_accuracies(
    trained: Trained, data: ProbeData, options: LearnerOptions, folder: Path
) -> dict[str, float]:
    """Accuracies after all weights were trained further with labels."""
    fitted = crop_to_input(data.fitted, trained.views)
    assert fitted.labels is not None
    classes = int(fitted.labels.max()) + 1
    backbone, width = copy.deepcopy(trained.encoder.backbone), trained.encoder.feature_dim
    with seeded(derived_seed(options.seed, _HEAD, 0) >> 1):
        head = nn.Linear(width, classes)
    encoder = Encoder(backbone, head, width, classes, trained.encoder.layers)
    training = training_options(options, fixed_views=False, checkpoints_kept=1)
    device = chosen_device(options.device)
    train(SupervisedLearner(encoder), fitted, "weak", training, folder, device=device)
    # As the training fed them.
    pixels = pixel_statistics(fitted.images) if options.standardise else None
    found = {}
    for name, part in data.read.items():
        images = crop_to_input(part, trained.views).images.float() / 255
        images = images if pixels is None else pixels.standardise(images)
        logits = features(encoder, images, ["projector"])["projector"].cpu()
        assert part.labels is not None
        found[name] = float((logits.argmax(dim=1) == part.labels).double().mean())
    return found


def probed_families(
    families: Mapping[str, Sequence[Trained]], points: ScoredImages, options: MemorizationOptions
) -> dict[str, dict[str, list[float]]]:
    """Accuracies of linear probes of every encoder."""
    if points.data.labels is None or points.held_out.labels is None:
        raise ValueError(f"{options.data} has no labels; expected some, or no --evaluate")
    found: dict[str, dict[str, list[float]]] = {}
    for name, encoders in families.items():
        accuracies = found[name] = {layer: [] for layer in options.layers}
        for one in encoders:
            frozen = FrozenEncoder(one.encoder, one.pixels, one.views)
            probes = probe_frozen(frozen, points.data, points.held_out, layers=options.layers)
            for layer in options.layers:
                probe = probes[layer].get("linear")
                accuracies[layer].append(math.nan if probe is None else probe.accuracy)
    return found
