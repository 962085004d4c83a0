"""Encoders trained for a study: trained once, stored in its folder, loaded where they are done."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from sslsim.core.seeds import derived_seed, seeded
from sslsim.data.datasets import Images, part_of
from sslsim.data.pixels import pixel_statistics
from sslsim.data.views import crop_to_input
from sslsim.encoders.build import Encoder
from sslsim.measures.frozen import EvaluationData, FrozenEncoder
from sslsim.methods.learner import Learner, SupervisedLearner
from sslsim.runs.networks import load_weights
from sslsim.runs.options import LearnerOptions, training_options
from sslsim.runs.setup import chosen_device, initial_learner
from sslsim.runs.trained_run import TrainedRun
from sslsim.training.ensemble import train_together
from sslsim.training.loop import train

_HEAD = 17  # purpose of the draw of a head for the classes
_SMALL = 64  # pixels of images on which a CPU trains many small networks faster at once


def train_encoder(
    options: LearnerOptions,
    data: Images,
    folder: Path,
    *,
    classes: int | None = None,
    checkpoint_every: int = 500,
    checkpoints_kept: int = 1,
    wrap: Callable[[Learner], Learner] | None = None,
) -> FrozenEncoder:
    """Train an encoder, go on where its training was interrupted, or load it where it is done.

    Parameters
    ----------
    options : LearnerOptions
        Method, network, training and seed.
    data : Images
        Training images.
    folder : Path
        Receives ``checkpoints/``.
    classes : int, optional
        When supervised: number of classes, where ``data`` lack the last ones.
    checkpoint_every, checkpoints_kept : int
        Updates between checkpoints, and how many of the newest stay; 0 keeps all.
    wrap : callable, optional
        Makes another learner of the initial one, for instance with a penalty in its loss.

    Returns
    -------
    FrozenEncoder
        On the device of the options.

    Raises
    ------
    ValueError
        If options do not fit together, or the folder holds the training of another encoder.
    Interrupted
        If the process was interrupted; the state is saved.

    Examples
    --------
    >>> import tempfile
    >>> from sslsim.data.datasets import load_images
    >>> options = LearnerOptions(steps=2, batch=10, device="cpu")
    >>> train_encoder(options, load_images(limit=20), Path(tempfile.mkdtemp())).views
    'simclr'
    """
    learner = initial_learner(options, data, classes)
    if wrap is not None:
        learner = wrap(learner)
    training = training_options(
        options, checkpoint_every=checkpoint_every, checkpoints_kept=checkpoints_kept
    )
    kind, device = options.views or learner.views, chosen_device(options.device)
    train(learner, data, kind, training, folder, device=device, progress=sys.stderr.isatty())
    return _frozen(learner, options, data)


def encoder_at(
    options: LearnerOptions,
    data: Images,
    folder: Path | None = None,
    step: int = 0,
    *,
    classes: int | None = None,
) -> FrozenEncoder:
    """An encoder of :func:`train_encoder` after some updates.

    Parameters
    ----------
    options, data, classes
        As for :func:`train_encoder`.
    folder : Path, optional
        Folder of the training; only the initialisation is to be had without one.
    step : int
        Updates, 0 for the initialisation.

    Returns
    -------
    FrozenEncoder

    Raises
    ------
    ValueError
        If options do not fit together, or the checkpoint cannot be read.

    Examples
    --------
    >>> from sslsim.data.datasets import load_images
    >>> encoder_at(LearnerOptions(device="cpu"), load_images(limit=20)).encoder.dim
    8
    """
    learner = initial_learner(options, data, classes)
    if step:
        assert folder is not None
        load_weights(learner, folder / "checkpoints" / f"checkpoint-{step:09d}.pt")
    return _frozen(learner, options, data)


def encoder_of_run(run: TrainedRun, device: str = "cpu") -> FrozenEncoder:
    """The newest encoder of a run of ``sslsim train``.

    Parameters
    ----------
    run : TrainedRun
        The run.
    device : str
        Name of a device, as for :func:`sslsim.runs.setup.chosen_device`.

    Returns
    -------
    FrozenEncoder

    Raises
    ------
    ValueError
        If the run has no checkpoint of its training, or a damaged one.

    Examples
    --------
    >>> encoder_of_run(TrainedRun.open("nowhere"))
    Traceback (most recent call last):
    ValueError: nowhere/config.json cannot be read: No such file or directory
    """
    learner = run.learner()
    encoder = learner.encoder.to(chosen_device(device))
    return FrozenEncoder(encoder, run.pixels, run.options.views or learner.views)


def train_ensemble(
    options: LearnerOptions,
    data: Images,
    members: torch.Tensor,
    folder: Path,
    *,
    classes: int | None = None,
    checkpoint_every: int = 500,
) -> list[FrozenEncoder]:
    """Train encoders at once, each on its part of the images, or load them where they are done.

    Parameters
    ----------
    options : LearnerOptions
        Method, network and training; encoder i has seed + i.
    data : Images
        All training images, n of them.
    members : Tensor of bool, shape (encoders, n)
        Images that each encoder is trained on.
    folder : Path
        Receives ``checkpoints/``, one file for all encoders.
    classes, checkpoint_every
        As for :func:`train_encoder`.

    Returns
    -------
    list of FrozenEncoder

    Raises
    ------
    ValueError
        As :func:`sslsim.training.ensemble.train_together`.

    Examples
    --------
    >>> import tempfile
    >>> from sslsim.data.datasets import load_images
    >>> from sslsim.memorization import draw_members
    >>> options = LearnerOptions(encoder="linear", steps=2, batch=10, device="cpu")
    >>> folder, members = Path(tempfile.mkdtemp()), draw_members(4, 40, 0.5)
    >>> len(train_ensemble(options, load_images(limit=40), members, folder))
    4
    """
    each = [replace(options, seed=options.seed + i) for i in range(len(members))]
    parts = [part_of(data, inside) for inside in members]
    learners = [initial_learner(own, part, classes) for own, part in zip(each, parts, strict=True)]
    learners = train_together(
        learners,
        data,
        members,
        options.views or learners[0].views,
        training_options(options, checkpoint_every=checkpoint_every, checkpoints_kept=1),
        folder,
        seeds=[own.seed for own in each],
        device=chosen_device(options.device),
        progress=sys.stderr.isatty(),
    )
    return [_frozen(*one) for one in zip(learners, each, parts, strict=True)]


def trains_at_once(
    options: LearnerOptions,
    data: Images,
    members: torch.Tensor,
    folders: Sequence[Path],
    wanted: bool | None = None,
) -> bool:
    """Whether encoders are trained at once: as wanted or begun, else where possible and faster.

    Parameters
    ----------
    options, members
        As for :func:`train_ensemble`.
    data : Images
        Images of the data set.
    folders : sequence of Path
        Folder of encoders trained at once, and of the first of those trained one by one: a training
        that was begun goes on in the same way, on whatever device.
    wanted : bool, optional
        True to train at once, False one by one.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If training at once is wanted and not possible.

    Examples
    --------
    >>> from sslsim.data.datasets import load_images
    >>> data, members = load_images(limit=400), torch.ones(4, 400, dtype=torch.bool)
    >>> options = LearnerOptions(method="simclr", device="cpu")
    >>> trains_at_once(options, data, members, ())
    True
    """
    if wanted is False:
        return False
    if wanted is None:
        for folder, at_once in zip(folders, (True, False), strict=False):
            if folder.exists():
                return at_once
    learner = initial_learner(options, data)
    possible = (
        type(learner).after_step is Learner.after_step  # no teacher
        and options.optimizer != "lars"  # steps depend on whole tensors
        and not (options.compile or options.channels_last)
        and options.batch <= int(members.sum(dim=1).min())
    )
    if wanted and not possible:
        raise ValueError(
            f"together is asked for with {options.method}, {options.optimizer} and batch "
            f"{options.batch}; expected a method without a teacher or prototypes, sgd or adamw, no "
            "--compile, no --channels-last, and a batch of at most an encoder's images"
        )
    small = data.images[0, 0].numel() <= _SMALL
    return possible and bool(wanted or (small and chosen_device(options.device).type == "cpu"))


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


def _frozen(learner: Learner, options: LearnerOptions, data: Images) -> FrozenEncoder:
    pixels = pixel_statistics(data.images) if options.standardise else None
    encoder = learner.to(chosen_device(options.device)).eval().encoder
    return FrozenEncoder(encoder, pixels, options.views or learner.views)
