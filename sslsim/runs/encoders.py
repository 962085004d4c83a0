"""Encoders trained for a study: trained once, stored in its folder, loaded where they are done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from sslsim.core.locks import only_writer
from sslsim.data.datasets import Images, part_of
from sslsim.data.pixels import PixelStatistics, pixel_statistics
from sslsim.measures.frozen import FrozenEncoder
from sslsim.memorization.image_sets import ScoredImages
from sslsim.memorization.scores import same_architecture
from sslsim.memorization.split import check_training_sets
from sslsim.methods.learner import Learner
from sslsim.runs.networks import load_weights
from sslsim.runs.options import LearnerOptions, training_options
from sslsim.runs.setup import chosen_device, initial_learner
from sslsim.runs.trained_run import TrainedRun
from sslsim.training.ensemble import train_together
from sslsim.training.loop import train
from sslsim.training.optimizers import OF_TENSORS

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
    pixels: PixelStatistics | None = None,
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
    pixels : PixelStatistics, optional
        Statistics by which pixels are standardised. Default: those of ``data``.

    Returns
    -------
    FrozenEncoder
        On the device of the options.

    Raises
    ------
    ValueError
        If options do not fit together, the folder holds the training of another encoder, or another
        process trains there.
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
    with only_writer(folder):
        train(
            learner,
            data,
            kind,
            training,
            folder,
            pixels=pixels,
            device=device,
            progress=sys.stderr.isatty(),
        )
    return _frozen(learner, options, data, pixels)


def encoder_at(
    options: LearnerOptions,
    data: Images,
    folder: Path | None = None,
    step: int = 0,
    *,
    classes: int | None = None,
    pixels: PixelStatistics | None = None,
) -> FrozenEncoder:
    """An encoder of :func:`train_encoder` after some updates.

    Parameters
    ----------
    options, data, classes, pixels
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
    learner = initial_learner(replace(options, weights=None) if step else options, data, classes)
    if step:
        assert folder is not None
        load_weights(learner, folder / "checkpoints" / f"checkpoint-{step:09d}.pt")
    return _frozen(learner, options, data, pixels)


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
    >>> import tempfile
    >>> from sslsim.core.files import write_json
    >>> folder, options = Path(tempfile.mkdtemp()), {"limit": 20, "steps": 1, "batch": 10}
    >>> write_json(folder / "config.json", {"command": "train", "options": options})
    >>> run = TrainedRun.open(folder)
    >>> encoder = train_encoder(run.options, run.images, folder)
    >>> same = encoder_of_run(run)
    >>> torch.equal(*(next(each.encoder.parameters()) for each in (encoder, same)))
    True
    """
    learner = run.learner()
    encoder = learner.encoder.to(chosen_device(device))
    return FrozenEncoder(encoder, run.pixels, run.options.views or learner.views)


def encoders_of_runs(
    f: Sequence[Path], g: Sequence[Path], images: ScoredImages, device: str = "cpu"
) -> dict[str, list[FrozenEncoder]]:
    """Encoders f and g of runs of ``sslsim train``, which have seen what the sets say.

    Parameters
    ----------
    f, g : sequence of Path
        Run folders, as many of either.
    images : ScoredImages
        Images of a split.
    device : str
        As for :func:`encoder_of_run`.

    Returns
    -------
    dict
        Encoders by family, ``f`` and ``g``.

    Raises
    ------
    ValueError
        If shapes or architectures differ, or an encoder was trained on other images than those of
        its sets.

    Examples
    --------
    >>> from sslsim.data.datasets import load_images
    >>> from sslsim.memorization import split_images
    >>> sizes = {"candidate": 4, "independent": 3, "shared": 10, "external": 2}
    >>> images = split_images(load_images(limit=40), load_images(split="test", limit=20), sizes)
    >>> encoders_of_runs([], [], images)
    Traceback (most recent call last):
    ValueError: 0 encoders f and 0 g were given; expected at least one
    """
    shape = tuple(images.images.shape[1:])
    runs = {"f": list(map(TrainedRun.open, f)), "g": list(map(TrainedRun.open, g))}
    families: dict[str, list[FrozenEncoder]] = {"f": [], "g": []}
    for name, of_family in runs.items():
        for run in of_family:
            if tuple(run.images.images.shape[1:]) != shape:
                raise ValueError(
                    f"{run.folder} was trained on images of shape "
                    f"{tuple(run.images.images.shape[1:])}; expected {shape}, that of the images "
                    "to be scored"
                )
            families[name].append(encoder_of_run(run, device))
    same_architecture(*([each.encoder for each in family] for family in families.values()))
    for name, of_family in runs.items():
        for run in of_family:
            check_training_sets(run.images.images, name, images, run.folder)
    return families


def untrained_encoders(
    f: Sequence[Path], g: Sequence[Path], device: str = "cpu"
) -> dict[str, list[FrozenEncoder]]:
    """Encoders of :func:`encoders_of_runs` at their initialisation.

    Parameters
    ----------
    f, g, device
        As for :func:`encoders_of_runs`.

    Returns
    -------
    dict
        Encoders by family, ``f`` and ``g``.

    Examples
    --------
    >>> untrained_encoders([], [])
    {'f': [], 'g': []}
    """
    families: dict[str, list[FrozenEncoder]] = {}
    for name, folders in (("f", f), ("g", g)):
        runs = map(TrainedRun.open, folders)
        families[name] = [
            _frozen(run.learner(0), replace(run.options, device=device), run.images) for run in runs
        ]
    return families


def own_encoders(
    options: LearnerOptions, f: Sequence[Path], g: Sequence[Path], images: ScoredImages
) -> dict[str, list[FrozenEncoder]]:
    """Encoders f and g that the user has trained, by files with their weights.

    Parameters
    ----------
    options : LearnerOptions
        Name the module, its output, the views and the device, and whether images are standardised,
        by the statistics of all training images.
    f, g : sequence of Path
        Files with weights. What the encoders have seen is taken on trust.
    images : ScoredImages
        Images of a split.

    Returns
    -------
    dict
        Encoders by family, ``f`` and ``g``.

    Raises
    ------
    ValueError
        If weights do not fit the module.

    Examples
    --------
    >>> own_encoders(LearnerOptions(module="mine:net"), [], [], None)
    {'f': [], 'g': []}
    """

    def loaded(path: Path) -> FrozenEncoder:
        own = replace(options, weights=path, projector="none")
        return _frozen(initial_learner(own, images.data), own, images.data)

    return {"f": [loaded(path) for path in f], "g": [loaded(path) for path in g]}


def train_ensemble(
    options: LearnerOptions,
    data: Images,
    members: torch.Tensor,
    folder: Path,
    *,
    classes: int | None = None,
    checkpoint_every: int = 500,
    pixels: PixelStatistics | None = None,
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
    classes, checkpoint_every, pixels
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
        pixels=pixels,
        device=chosen_device(options.device),
        progress=sys.stderr.isatty(),
    )
    return [
        _frozen(learner, own, part, pixels)
        for learner, own, part in zip(learners, each, parts, strict=True)
    ]


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
        and options.module is None  # of which anything may be expected
        and options.optimizer not in OF_TENSORS
        and options.clip_norm is None
        and options.precondition_embedding == options.precondition_inputs == "none"
        and not (options.compile or options.channels_last)
        and options.batch <= int(members.sum(dim=1).min())
    )
    if wanted and not possible:
        raise ValueError(
            f"together is asked for with {options.method}, {options.optimizer} and batch "
            f"{options.batch}; expected a method without a teacher or prototypes, no --module, sgd "
            "or adamw, no --compile, no --channels-last, and a batch of at most an encoder's images"
        )
    small = data.images[0, 0].numel() <= _SMALL
    return possible and bool(wanted or (small and chosen_device(options.device).type == "cpu"))


def _frozen(
    learner: Learner,
    options: LearnerOptions,
    data: Images,
    pixels: PixelStatistics | None = None,
) -> FrozenEncoder:
    pixels = (pixels or pixel_statistics(data.images)) if options.standardise else None
    encoder = learner.to(chosen_device(options.device)).eval().encoder
    return FrozenEncoder(encoder, pixels, options.views or learner.views)
