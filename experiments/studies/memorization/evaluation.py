"""What the features of a study's encoders are worth to linear probes, also on other data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from experiments.studies.memorization.source_study import SourceStudy
from experiments.studies.training.train import probed_features
from sslsim.data.datasets import part_of
from sslsim.data.pixels import to_shape
from sslsim.data.views import as_fed
from sslsim.measures.frozen import EvaluationData, FrozenEncoder
from sslsim.memorization.image_sets import ScoredImages
from sslsim.methods.learner import Learner
from sslsim.runs.options import TrainOptions
from sslsim.runs.setup import split_data


def probe_accuracies(
    families: Mapping[str, Sequence[FrozenEncoder]], images: ScoredImages, layers: Sequence[str]
) -> dict[str, dict[str, list[float]]]:
    """Accuracies of linear probes of every encoder, by family and layer."""
    by_family: dict[str, dict[str, list[float]]] = {}
    for name, encoders in families.items():
        accuracies = by_family[name] = {layer: [] for layer in layers}
        for each in encoders:
            data, held_out = (as_fed(part, each.views) for part in (images.data, images.held_out))
            probes = probed_features(
                Learner(each.encoder), data, held_out, each.pixels, layers=layers, seed=0
            )
            for layer in layers:
                probe = probes.get(f"linear_{layer}")
                accuracies[layer].append(math.nan if probe is None else probe.accuracy)
    return by_family


def evaluation_data(
    study: SourceStudy, rows: torch.Tensor, transfer: Sequence[str], limit: int | None
) -> list[EvaluationData]:
    """The study's own labelled images and those of other data sets, brought to their shape.

    >>> from experiments.studies.memorization.options import MemorizationOptions
    >>> from experiments.studies.memorization.settings import scored_images
    >>> options = MemorizationOptions(protocol="subsample", pool=40, limit=40)
    >>> images = scored_images(options)
    >>> study = SourceStudy(options, images, images.numbers.numpy())
    >>> [data.name for data in evaluation_data(study, torch.arange(40), (), None)]
    ['digits']
    """
    name, images = study.options.data, study.images
    data_sets = {}
    train = part_of(images.data, images.numbers[rows])  # probes depend on the order
    _, held_out = split_data(study.options)  # without outliers
    if train.labels is not None and held_out.labels is not None:
        test = {name: held_out}
        outliers = (images.held_out.images != held_out.images).flatten(1).any(dim=1)
        if int(outliers.sum()) > 1:
            test[f"{name}, outliers"] = part_of(images.held_out, outliers)
        data_sets[name] = EvaluationData(name, train, test)
    shape = tuple(images.images.shape[1:])
    for other in transfer:
        if other in data_sets:
            raise ValueError(f"transfer holds {other}, which is there already; expected other data")
        square = shape[1] if shape[1] == shape[2] else None
        source = TrainOptions(data=other, root=study.options.root, size=square, limit=limit)
        train, held_out = (
            replace(part, images=to_shape(part.images, shape)) for part in split_data(source)
        )
        if train.labels is None or held_out.labels is None:
            raise ValueError(f"{other} has no labels; expected some to probe")
        data_sets[other] = EvaluationData(other, train, {other: held_out})
    if not data_sets:
        raise ValueError(f"{name} has no labels; expected some, or --transfer DATA")
    return list(data_sets.values())
