"""What the features of an encoder are worth: linear probes, also on other data, and fine-tuning."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from sslsim.core.seeds import derived_seed, seeded
from sslsim.data.datasets import Images, part_of
from sslsim.data.pixels import pixel_statistics, to_shape
from sslsim.data.views import crop_to_input
from sslsim.encoders.build import Encoder
from sslsim.measures.frozen import EvaluationData, FrozenEncoder, linear_accuracies
from sslsim.memorization.image_sets import ScoredImages
from sslsim.memorization.losses import Scoring, encoder_losses
from sslsim.methods.learner import SupervisedLearner
from sslsim.runs.cache import Measures, digest_of
from sslsim.runs.options import LearnerOptions, TrainOptions, training_options
from sslsim.runs.setup import chosen_device, split_data
from sslsim.training.loop import train

_HEAD = 17  # purpose of the draw of a head for the classes


def evaluation_data(
    options: LearnerOptions,
    train: Images,
    held_out: Images,
    transfer: Sequence[str] = (),
    limit: int | None = None,
) -> list[EvaluationData]:
    """Labelled images of a training, and those of other data sets brought to their shape.

    Parameters
    ----------
    options : LearnerOptions
        Name the data set of the training and the folder of data sets.
    train, held_out : Images
        Its training images and held-out ones; those of the latter that were changed, as outliers
        are, are read apart.
    transfer : sequence of str
        Other data sets.
    limit : int, optional
        Keep at most so many training images of each.

    Returns
    -------
    list of EvaluationData
        The training's own first, where its images have labels.

    Raises
    ------
    ValueError
        If a data set is named twice, cannot be loaded or has no labels, or there is none.

    Examples
    --------
    >>> options = LearnerOptions(limit=40)
    >>> [data.name for data in evaluation_data(options, *split_data(options))]
    ['digits']
    """
    data_sets = {}
    name, shape = options.data, tuple(train.images.shape[1:])
    _, plain = split_data(options)
    if train.labels is not None and plain.labels is not None:
        test = {name: plain}
        changed = (held_out.images != plain.images).flatten(1).any(dim=1)
        if int(changed.sum()) > 1:
            test[f"{name}, outliers"] = part_of(held_out, changed)
        data_sets[name] = EvaluationData(name, train, test)
    for other in transfer:
        if other in data_sets:
            raise ValueError(f"transfer holds {other}, which is there already; expected other data")
        square = shape[1] if shape[1] == shape[2] else None
        source = TrainOptions(data=other, root=options.root, size=square, limit=limit)
        parts = [replace(part, images=to_shape(part.images, shape)) for part in split_data(source)]
        if any(part.labels is None for part in parts):
            raise ValueError(f"{other} has no labels; expected some to probe")
        data_sets[other] = EvaluationData(other, parts[0], {other: parts[1]})
    if not data_sets:
        raise ValueError(f"{name} has no labels; expected some, or --transfer DATA")
    return list(data_sets.values())


def accuracy_measures(
    data_sets: Sequence[EvaluationData],
    training: LearnerOptions,
    updates: int = 0,
    lr: float | None = None,
) -> Measures[FrozenEncoder]:
    """Measures of an encoder for :func:`sslsim.runs.cache.measured_cell`: accuracies on all data.

    Parameters
    ----------
    data_sets : sequence of EvaluationData
        Labelled images.
    training : LearnerOptions
        How the encoder was trained, and the seed.
    updates : int
        Updates of fine-tuning; 0 for linear probes alone.
    lr : float, optional
        Learning rate of fine-tuning. Default: that of the training.

    Returns
    -------
    dict
        ``linear: NAME`` and ``fine-tuned: NAME`` for every data set.

    Examples
    --------
    >>> from sslsim.data.datasets import load_images
    >>> data = EvaluationData("digits", load_images(limit=40), {})
    >>> list(accuracy_measures([data], LearnerOptions(), updates=2))
    ['linear: digits', 'fine-tuned: digits']
    """
    tuning = replace(
        training,
        steps=updates,
        lr=training.lr if lr is None else lr,
        warmup=min(training.warmup, updates // 10),
    )
    measures: dict[str, Any] = {}
    for data in data_sets:
        images = {"data": data.name, "images": digest_of(data.train, *data.test.values())}
        measures[f"linear: {data.name}"] = (images, partial(_linear, data))
        if updates:
            how = {**images, "steps": tuning.steps, "lr": tuning.lr}
            measures[f"fine-tuned: {data.name}"] = (how, partial(_fine_tuned, data, tuning))
    return measures


def alignment_measure(
    images: ScoredImages, scoring: Scoring
) -> tuple[dict[str, Any], Callable[[FrozenEncoder, Path], Any]]:
    """Measure of an encoder for :func:`sslsim.runs.cache.measured_cell`: its alignment losses.

    Parameters
    ----------
    images : ScoredImages
        Images that are scored, n of them.
    scoring : Scoring
        Views and distance; the first layer is measured.

    Returns
    -------
    identity : dict
        All that the losses depend on beside the encoder.
    measure : callable
        Encoder, folder -> losses, Tensor of float64, shape (n,).

    Examples
    --------
    >>> from sslsim.data.datasets import load_images
    >>> from sslsim.memorization.image_sets import pool_images
    >>> images = pool_images(load_images(limit=20), load_images(split="test"), 4)
    >>> alignment_measure(images, Scoring("weak"))[0]["views"]
    'weak'
    """
    first = replace(scoring, layers=scoring.layers[:1])

    def losses(encoder: FrozenEncoder, folder: Path) -> Any:
        return encoder_losses([encoder], images.images, first, numbers=images.numbers)[0, 0]

    return {
        "augmentations": scoring.pairs,
        "against": scoring.against,
        "distance": scoring.distance,
        "normalise": scoring.normalise,
        "draw_seed": scoring.seed,
        "views": scoring.views,
        "layer": scoring.layers[0],
        "images": digest_of(Images(images.images, None, "")),
    }, losses


def accuracies_of(measures: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Accuracies among the measures of a cell.

    Parameters
    ----------
    measures : mapping
        Of :func:`sslsim.runs.cache.measured_cell`.

    Returns
    -------
    dict of (str, str) to float
        By measure and test images.

    Examples
    --------
    >>> accuracies_of({"alignment": [0.5], "linear: digits": {"digits": 0.75}})
    {('linear', 'digits'): 0.75}
    """
    return {
        (name.partition(": ")[0], data): accuracy
        for name, accuracies in measures.items()
        if ": " in name
        for data, accuracy in accuracies.items()
    }


def fine_tuned_accuracies(
    encoder: FrozenEncoder, data: EvaluationData, options: LearnerOptions, folder: Path
) -> dict[str, float]:
    """Accuracies after all weights of a copy were trained further with labels.

    Parameters
    ----------
    encoder : FrozenEncoder
        Left as it is.
    data : EvaluationData
        All with labels, of the shape that the encoder takes.
    options : LearnerOptions
        How to train, and the seed.
    folder : Path
        Receives ``checkpoints/``.

    Returns
    -------
    dict of str to float
        Accuracy on every set of test images, from 0 to 1.

    Raises
    ------
    ValueError
        As :func:`sslsim.training.loop.train`.

    Examples
    --------
    >>> import tempfile
    >>> from sslsim.data.datasets import load_images
    >>> from sslsim.runs.encoders import encoder_at
    >>> images, options = load_images(limit=40), LearnerOptions(steps=2, batch=20, device="cpu")
    >>> data = EvaluationData("digits", images, {"digits": images})
    >>> found = fine_tuned_accuracies(
    ...     encoder_at(options, images), data, options, Path(tempfile.mkdtemp())
    ... )
    >>> 0 <= found["digits"] <= 1
    True
    """
    images = crop_to_input(data.train, encoder.views)
    assert images.labels is not None
    classes = int(images.labels.max()) + 1
    backbone, width = copy.deepcopy(encoder.encoder.backbone), encoder.encoder.feature_dim
    with seeded(derived_seed(options.seed, _HEAD, 0) >> 1):
        head = nn.Linear(width, classes)
    classifier = Encoder(backbone, head, width, classes, encoder.encoder.layers)
    training = training_options(options, fixed_views=False, checkpoints_kept=1)
    device = chosen_device(options.device)
    train(SupervisedLearner(classifier), images, "weak", training, folder, device=device)
    # As the training fed them.
    pixels = pixel_statistics(images.images) if options.standardise else None
    tuned = FrozenEncoder(classifier, pixels, encoder.views)
    accuracies = {}
    for name, part in data.test.items():
        fed = crop_to_input(part, encoder.views).images.float() / 255
        logits = tuned.features(fed, ["projector"])["projector"].cpu()
        assert part.labels is not None
        accuracies[name] = float((logits.argmax(dim=1) == part.labels).double().mean())
    return accuracies


def _linear(data: EvaluationData, encoder: FrozenEncoder, folder: Path) -> dict[str, float]:
    return linear_accuracies(encoder, data)


def _fine_tuned(
    data: EvaluationData, tuning: LearnerOptions, encoder: FrozenEncoder, folder: Path
) -> dict[str, float]:
    return fine_tuned_accuracies(encoder, data, tuning, folder)
