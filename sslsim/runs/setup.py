"""What a training run starts from: device, images of both splits, and the learner."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import torch

from sslsim.core.seeds import derived_generator
from sslsim.data.datasets import Images, has_test_split, load_images, part_of
from sslsim.data.own_views import Kind, is_own
from sslsim.data.pixels import pixel_statistics
from sslsim.data.single_view import VIEWS
from sslsim.data.views import draw_views, fed_shape
from sslsim.encoders.build import Encoder
from sslsim.encoders.initialization import scale_initialization
from sslsim.encoders.own.encoder import own_encoder
from sslsim.encoders.own.factory import load_module
from sslsim.measures.steps import Steps
from sslsim.measures.trajectory import spectrum_steps
from sslsim.methods.build import build_learner
from sslsim.methods.learner import Learner
from sslsim.runs.options import LearnerOptions, TrainOptions
from sslsim.runs.stored import stored_options
from sslsim.training.batches import fixed_views

_HELD_OUT = 10  # one image in so many, where a data set has no test split
_READ = 5000  # held-out images at most
_CLASSES = 1000  # that labels may name of however few images: a part of a data set may lack most
_DRAWS = 9  # purpose of views drawn after the training

_Kind = TypeVar("_Kind", bound=Kind)


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
    apart = options.split in ("train", "unlabeled") and has_test_split(options.data)
    data = load_images(
        options.data,
        options.root,
        split=options.split,
        size=options.size,
        limit=options.limit,
        # A mapped file is then cut in two without a copy.
        order=None if apart else _held_out_last,
        stream=options.stream,
        cache=options.cache,
    )
    count = len(data.images)
    if count < 4:
        raise ValueError(f"{options.data} gives {count} image(s); expected at least 4")
    if apart:
        return data, _test_split(options, data)
    trained = count - count // _held_out_every(count)
    return part_of(data, slice(trained)), part_of(data, slice(trained, None))


def _held_out_every(count: int) -> int:
    """One image in so many is held out."""
    return min(_HELD_OUT, count // 2)


def _held_out_last(count: int, labels: torch.Tensor | None) -> torch.Tensor:
    """Order of images: those to train on, then a fixed random share of every class to hold out."""
    if count < 4:
        return torch.arange(count)
    places = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    if labels is not None:
        places = places[labels[places].argsort(stable=True)]
    every = _held_out_every(count)
    kept_out = torch.zeros(count, dtype=torch.bool)
    kept_out[places[every - 1 :: every]] = True
    return kept_out.to(torch.int8).argsort(stable=True)


def _test_split(options: LearnerOptions, data: Images) -> Images:
    """Test images at the size of the training images."""
    height, width = data.images.shape[2:]
    for size in (options.size, height if height == width else None):
        held_out = load_images(
            options.data,
            options.root,
            split="test",
            size=size,
            limit=_READ,
            stream=options.stream,
            cache=options.cache,
        )
        if held_out.images.shape[1:] == data.images.shape[1:]:
            return held_out
    raise ValueError(
        f"{options.data}: test images are {tuple(held_out.images.shape[1:])} and training images "
        f"{tuple(data.images.shape[1:])}; expected one shape (--size gives photographs one)"
    )


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
    shape = fed_shape(data, options.views or "simclr")  # no method's own views are smaller
    own = _own_network(options, shape, dim)
    return build_learner(
        options.method,
        shape,
        8 if dim is None and options.method != "mae" else dim,
        encoder=options.encoder if own is None else own,
        seed=options.seed,
        widths=options.widths,
        parameterization=options.parameterization,
        projector=options.projector,
        projector_widths=options.projector_widths,
        norm=options.norm,
        stem=options.stem,
        residual_gain=options.residual_gain,
        init_scale=1.0 if options.weights is not None else options.init_scale,
        init_which=options.init_which,
        init_batch_norm=options.init_batch_norm,
        barlow_form=options.barlow_form,
        similarity=options.similarity,
        temperature=options.temperature,
        prototypes=options.prototypes,
        teacher_momentum=options.teacher_momentum,
    )


_OF_ENCODER = ("encoder", "widths", "parameterization", "norm", "stem", "residual_gain")


def _own_network(
    options: LearnerOptions, shape: tuple[int, int, int], dim: int | None
) -> Encoder | None:
    """The user's own network as an encoder, None without one.

    Loaded weights stay as they are: ``init_scale`` then applies to a projector of ours alone.
    """
    if options.module is None:
        for name in ("weights", "output"):
            if getattr(options, name) is not None:
                raise ValueError(
                    f"{name} is {getattr(options, name)} without module; expected both, or none"
                )
        return None
    for name in _OF_ENCODER:
        if getattr(options, name) != getattr(LearnerOptions, name):
            raise ValueError(
                f"{name} is {getattr(options, name)} with module {options.module}; expected one "
                "of them"
            )
    if options.method == "mae":
        raise ValueError(
            "method is mae with module, whose patches it does not know; expected another method"
        )
    network = load_module(options.module, options.weights, options.output, seed=options.seed)
    encoder = own_encoder(
        network,
        shape,
        dim,
        projector=options.projector,
        projector_widths=options.projector_widths,
        seed=options.seed,
    )
    if options.weights is not None and encoder.backbone is network and options.projector != "none":
        scale_initialization(
            encoder.projector, options.init_scale, options.init_which, options.init_batch_norm
        )
    return encoder


def training_pairs(
    options: LearnerOptions, data: Images, kind: Kind, count: int, draw: int
) -> tuple[torch.Tensor, ...]:
    """Views as a run was trained on them, of images spread evenly over its data.

    Parameters
    ----------
    options : LearnerOptions
        Options of the run.
    data : Images
        Its training images.
    kind : str
        Kind of the views.
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


def pair_views(kind: _Kind) -> _Kind | str:
    """Kind of the pairs of views that a network is measured on.

    Parameters
    ----------
    kind : str
        Kind of the views that it was trained on.

    Returns
    -------
    str
        The same where one view of that kind can be drawn of an image, else ``simclr``.

    Examples
    --------
    >>> pair_views("crops"), pair_views("mask"), pair_views("multicrop")
    ('crops', 'simclr', 'simclr')
    """
    return kind if is_own(kind) or (kind in VIEWS and kind != "mask") else "simclr"


def read_train_options(folder: Path) -> TrainOptions:
    """Options that a run was trained with.

    Parameters
    ----------
    folder : Path
        Folder of the run.

    Returns
    -------
    TrainOptions
        Options in its ``config.json``.

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


def recorded_spectrum(options: TrainOptions) -> str:
    """Which of the recorded spectra a method learns step by step.

    Parameters
    ----------
    options : TrainOptions
        Name the method.

    Returns
    -------
    str
        ``covariance_spectrum`` for methods that do not learn the mean of the embeddings (they are
        blind to it, as SimCLR with dot products near the origin do not pull at it, or, as LeJEPA,
        remove it), so that its change is no step; else ``cross_spectrum``, the theory's lambda.

    Examples
    --------
    >>> recorded_spectrum(TrainOptions()), recorded_spectrum(TrainOptions(method="vicreg"))
    ('cross_spectrum', 'covariance_spectrum')
    >>> recorded_spectrum(TrainOptions(method="simclr", similarity="dot"))
    'covariance_spectrum'
    >>> recorded_spectrum(TrainOptions(method="simclr", similarity="cosine"))
    'cross_spectrum'
    """
    return spectrum_of_method(options.method, options.barlow_form, options.similarity)


def spectrum_of_method(
    method: str, barlow_form: str | None = None, similarity: str | None = None
) -> str:
    """The same by the name of the method, the form of Barlow Twins and the similarity of SimCLR."""
    blind = method in ("vicreg", "vicregl", "lejepa") or barlow_form == "published"
    centred = method == "simclr" and similarity == "dot"
    return "covariance_spectrum" if blind or centred else "cross_spectrum"


def recorded_steps(records: dict[str, Any], spectrum: str) -> Steps:
    """Steps of the recorded eigenvalues.

    Parameters
    ----------
    records : dict
        Of ``records.npz``.
    spectrum : str
        Which spectrum to watch, see :func:`recorded_spectrum`.

    Returns
    -------
    Steps
        One entry for each of the first 64 eigenvalues, by
        :func:`sslsim.measures.steps.detect_eigenvalue_steps`; none in fewer than 5 records.

    Examples
    --------
    >>> import numpy as np
    >>> times = np.arange(50.0)
    >>> curve = 1 / (1 + np.exp(-(times - 20) / 2))
    >>> records = {"times": times, "cross_spectrum": curve[:, None]}
    >>> recorded_steps(records, "cross_spectrum").times.round(1).tolist()
    [20.0]
    """
    return spectrum_steps(records["times"], records[spectrum])
