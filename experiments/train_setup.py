"""What a training run starts from: device, images of both splits, and the learner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from experiments.stored import stored_options
from experiments.train_options import LearnerOptions, TrainOptions
from sslsim.batches import fixed_views
from sslsim.data import Images, load_images
from sslsim.methods.build import build_learner
from sslsim.methods.learner import Learner
from sslsim.pixels import pixel_statistics
from sslsim.seeds import derived_generator
from sslsim.single_view import VIEWS, view_shape
from sslsim.views import draw_views

_HELD_OUT = 10  # one image in so many, where a data set has no test split
_READ = 5000  # held-out images at most
_CLASSES = 1000  # that labels may name of however few images: a part of a data set may lack most
_DRAWS = 9  # purpose of views drawn after the training


def chosen_device(name: str) -> torch.device:
    """Device by its name.

    Parameters
    ----------
    name : str
        ``auto`` (cuda if there is one, else cpu) or anything torch knows.

    Returns
    -------
    torch.device
        Available on this machine.

    Raises
    ------
    ValueError
        If there is no such device.

    Examples
    --------
    >>> chosen_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device is {name!r}, which is not there; expected auto or cpu") from error
    return device


def split_data(options: LearnerOptions) -> tuple[Images, Images]:
    """Training images and held-out ones.

    Parameters
    ----------
    options : LearnerOptions
        Say the data set.

    Returns
    -------
    data, held_out : Images
        The test split where there is one; else a tenth of every class is held out, two images at
        least.

    Raises
    ------
    ValueError
        If the data cannot be loaded, there are fewer than four images, or the two splits differ in
        shape.

    Examples
    --------
    >>> data, held_out = split_data(TrainOptions(limit=100))
    >>> len(data.images), len(held_out.images)
    (100, 360)
    """
    data = load_images(
        options.data, options.root, split=options.split, size=options.size, limit=options.limit
    )
    if len(data.images) < 4:
        raise ValueError(f"{options.data} gives {len(data.images)} image(s); expected at least 4")
    if options.split in ("train", "unlabeled"):
        held_out = _test_split(options, data)
        if held_out is not None:
            return data, held_out
    count = len(data.images)
    # One in so many of every class, chosen by lot once and for all: not by the seed of the run.
    places = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    if data.labels is not None:
        places = places[data.labels[places].argsort(stable=True)]
    every = min(_HELD_OUT, count // 2)
    kept_out = torch.zeros(count, dtype=torch.bool)
    kept_out[places[every - 1 :: every]] = True
    return part_of(data, ~kept_out), part_of(data, kept_out)


def _test_split(options: LearnerOptions, data: Images) -> Images | None:
    """Test images at the size of the training images; None if there is no such split."""
    height, width = data.images.shape[2:]
    for size in (options.size, height if height == width else None):
        try:
            found = load_images(options.data, options.root, split="test", size=size, limit=_READ)
        except ValueError as error:
            if "has no split" in str(error):
                return None
            raise
        if found.images.shape[1:] == data.images.shape[1:]:
            return found
    raise ValueError(
        f"{options.data}: test images are {tuple(found.images.shape[1:])} and training images "
        f"{tuple(data.images.shape[1:])}; expected one shape (--size gives photographs one)"
    )


def as_fed(data: Images, kind: str) -> Images:
    """Plain images at the size of the views that a network was built for.

    Parameters
    ----------
    data : Images
        Of any split.
    kind : str
        Kind of the views.

    Returns
    -------
    Images
        The centre of each image where views are smaller crops, else the images.

    Examples
    --------
    >>> as_fed(split_data(TrainOptions(limit=20))[0], "crops").images.shape
    torch.Size([20, 1, 6, 6])
    """
    height, width = fed_shape(data, kind)[1:]
    top, left = (data.images.shape[2] - height) // 2, (data.images.shape[3] - width) // 2
    return replace(data, images=data.images[..., top : top + height, left : left + width])


def fed_shape(data: Images, kind: str) -> tuple[int, int, int]:
    """Shape of what a network is fed with.

    Parameters
    ----------
    data : Images
        The training images.
    kind : str
        Kind of the views.

    Returns
    -------
    tuple of int
        Channels, height and width of a view; of multi-crop those of the global ones.

    Examples
    --------
    >>> fed_shape(split_data(TrainOptions(limit=20))[0], "crops")
    (1, 6, 6)
    """
    shape = (data.images.shape[1], data.images.shape[2], data.images.shape[3])
    return view_shape(kind, shape) if kind in VIEWS else shape


def initial_learner(options: LearnerOptions, data: Images, classes: int | None = None) -> Learner:
    """The learner at its initialisation, the same at every call.

    Parameters
    ----------
    options : LearnerOptions
        Method, network and initialisation.
    data : Images
        Training images: their shape, and the classes when supervised.
    classes : int, optional
        When supervised: how many there are, where ``data`` are a part that may lack the last ones.

    Returns
    -------
    Learner
        On the CPU.

    Raises
    ------
    ValueError
        If options do not fit together.

    Examples
    --------
    >>> options = TrainOptions(limit=100)
    >>> initial_learner(options, split_data(options)[0]).encoder.dim
    8
    """
    dim = options.dim
    if options.method == "supervised":
        if data.labels is None:
            raise ValueError(f"{options.data} has no labels; expected labels when supervised")
        if data.labels.min() < 0:
            raise ValueError(f"labels go from {int(data.labels.min())}; expected classes from 0")
        dim = max(int(data.labels.max()) + 1, classes or 0)
        most = max(len(data.images), _CLASSES)
        if dim > most:
            raise ValueError(
                f"labels go up to {dim - 1} for {len(data.images)} images; expected classes from 0 "
                f"to {most - 1} at most when supervised"
            )
        if options.dim not in (None, dim):
            raise ValueError(f"dim is {options.dim}; expected the {dim} classes, or none given")
    return build_learner(
        options.method,
        fed_shape(data, options.views or "simclr"),  # no method's own views are smaller
        8 if dim is None and options.method != "mae" else dim,
        encoder=options.encoder,
        seed=options.seed,
        widths=options.widths,
        parameterization=options.parameterization,
        projector=options.projector,
        projector_widths=options.projector_widths,
        norm=options.norm,
        init_scale=options.init_scale,
        init_which=options.init_which,
        init_batch_norm=options.init_batch_norm,
        barlow_form=options.barlow_form,
        similarity=options.similarity,
        temperature=options.temperature,
        prototypes=options.prototypes,
        teacher_momentum=options.teacher_momentum,
    )


def part_of(data: Images, chosen: torch.Tensor) -> Images:
    """Some images of a data set.

    Parameters
    ----------
    data : Images
        The data set.
    chosen : Tensor
        Places, or a mask of bools.

    Returns
    -------
    Images
        With their labels.

    Examples
    --------
    >>> data = Images(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.arange(3), "x")
    >>> part_of(data, torch.tensor([2, 0])).labels.tolist()
    [2, 0]
    """
    labels = None if data.labels is None else data.labels[chosen]
    return replace(data, images=data.images[chosen], labels=labels)


def spread_over(data: Images, count: int) -> Images:
    """Some images of a data set, spread evenly over it.

    Parameters
    ----------
    data : Images
        The data set.
    count : int
        How many; all where there are fewer.

    Returns
    -------
    Images
        With their labels.

    Examples
    --------
    >>> data = Images(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), torch.arange(6), "x")
    >>> spread_over(data, 3).labels.tolist()
    [0, 2, 4]
    """
    n = len(data.images)
    return part_of(data, torch.arange(min(count, n)) * n // min(count, n))


def training_pairs(
    options: LearnerOptions, data: Images, kind: str, count: int, draw: int
) -> tuple[torch.Tensor, ...]:
    """Views as a run was trained on them, of images spread evenly over its data.

    Parameters
    ----------
    options : LearnerOptions
        Of the run.
    data : Images
        Its training images.
    kind : str
        Of the views.
    count : int
        How many images: of a run that fixed its views, which are the ones returned, at most all
        there are; else they repeat beyond that.
    draw : int
        Number of the draw, where views are fresh.

    Returns
    -------
    tuple of Tensor, shape (count, ...)
        Standardised if the run's were.

    Examples
    --------
    >>> options = TrainOptions(limit=40)
    >>> data, _ = split_data(options)
    >>> [len(view) for view in training_pairs(options, data, "crops", 5, 0)]
    [5, 5]
    """
    places = torch.arange(count) * len(data.images) // count
    if options.fixed_views:
        views = tuple(view[places] for view in fixed_views(data, kind, options.seed).views)
    else:
        generator = derived_generator(options.seed, _DRAWS, draw)
        views = draw_views(data.images[places], kind, generator).views
    if not options.standardise:
        return views
    pixels = pixel_statistics(data.images)
    return tuple(pixels.standardise(view) for view in views)


def read_train_options(folder: Path) -> TrainOptions:
    """Options that a run was trained with.

    Parameters
    ----------
    folder : Path
        Of the run.

    Returns
    -------
    TrainOptions
        Of its ``config.json``.

    Raises
    ------
    ValueError
        If the folder holds no training run, or one of options unknown here.

    Examples
    --------
    >>> read_train_options(Path("nowhere"))
    Traceback (most recent call last):
    ValueError: nowhere/config.json cannot be read: No such file or directory
    """
    return stored_options(folder, "train", TrainOptions)
