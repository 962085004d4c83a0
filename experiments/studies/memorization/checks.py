"""What is refused before anything is trained or written: options, folders, images."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

from experiments.studies.memorization.analysis.stored_scores import common_images
from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.settings import encoder_count, pool_members, scoring_of
from sslsim.core.files import plain, read_arrays
from sslsim.data.single_view import view_shape
from sslsim.encoders.checks import check_count
from sslsim.measures.frozen import FrozenEncoder
from sslsim.memorization.image_sets import ScoredImages, image_hashes
from sslsim.memorization.losses import encoder_losses
from sslsim.memorization.one_encoder.influence import LAYERS, alignment_gradients
from sslsim.runs.folder import check_folder, check_same
from sslsim.runs.networks import check_different
from sslsim.runs.options import training_options
from sslsim.runs.stored import stored_config

RESULTS = ("memorization.json", "scores.npz", "memorization.png")

# What may change between two commands that work on one folder: nothing an encoder depends on.
_FREE = (
    "out", "root", "stream", "cache", "device", "layers", "augmentations", "against", "distance",
    "normalise", "form", "score_views", "compare", "reference", "top", "units", "evaluate", "exact",
    "external", "encoder_pairs", "damping", "projection", "workers",
)  # fmt: skip
_OF_PROTOCOL = {
    "split": ("shared", "candidates", "independent", "external", "sets", "encoder_pairs", "f", "g",
              "curve", "common_pixels", "units", "workers"),
    "subsample": ("pool", "encoders", "share", "together", "common_pixels", "workers"),
    "closed-form": ("pool", "kernel", "exact"),
    "influence": ("pool", "encoders", "together", "common_pixels", "damping", "projection",
                  "workers"),
}  # fmt: skip


def check_options(options: MemorizationOptions) -> None:
    """Refuse options that are out of range or do not fit together."""
    own = _OF_PROTOCOL[options.protocol]
    for name in dict.fromkeys(name for names in _OF_PROTOCOL.values() for name in names):
        value, default = getattr(options, name), getattr(MemorizationOptions, name)
        if name not in own and value != default:
            its = " or ".join(key for key, names in _OF_PROTOCOL.items() if name in names)
            raise ValueError(
                f"{name} is {plain(value)}, an option of protocol {its}; expected it not to be "
                f"given for {options.protocol}"
            )
    if options.augmentations < 1:
        raise ValueError(
            f"augmentations is {options.augmentations}; expected at least 1 pair of views"
        )
    for name, least in (("draw_seed", 0), ("seed", 0), ("curve", 0), ("top", 1), ("batch", 2),
                        ("workers", 1)):  # fmt: skip
        if getattr(options, name) < least:
            raise ValueError(f"{name} is {getattr(options, name)}; expected at least {least}")
    check_different("compare", options.compare)
    training_options(options)
    if options.protocol == "split":
        _check_split(options)
    elif options.protocol == "subsample":
        pool_members(options)
    elif options.protocol == "influence":
        _check_influence(options)
    else:
        _check_closed_form(options)


def _check_split(options: MemorizationOptions) -> None:
    if options.f or options.g:
        if len(options.f) != len(options.g) or len(options.f) < 2:
            raise ValueError(
                f"{len(options.f)} encoder(s) f and {len(options.g)} g were given; expected as "
                "many of either, 2 pairs at least"
            )
        check_different("f", options.f)
        check_different("g", options.g)
        if options.common_pixels:
            raise ValueError(
                "common-pixels is given for encoders that are trained already; expected it for "
                "encoders trained here"
            )
        if options.curve:
            raise ValueError("curve is asked of encoders given; expected encoders trained here")
        if options.sets is None:
            raise ValueError("encoders f and g are given without --sets; expected what they saw")
    elif options.encoder_pairs < 2:
        raise ValueError(
            f"encoder_pairs is {options.encoder_pairs}; expected at least 2, the units of the tests"
        )


def _check_influence(options: MemorizationOptions) -> None:
    check_count("encoders", encoder_count(options))
    check_count("projection", options.projection)
    if not 0 <= options.damping < math.inf:
        raise ValueError(f"damping is {options.damping}; expected a finite number of at least 0")
    for name, only in (("form", "raw"), ("against", "view")):
        if getattr(options, name) != only:
            raise ValueError(
                f"{name} is {getattr(options, name)!r}; expected {only!r} with influence"
            )
    if not options.layers or not set(options.layers) <= set(LAYERS):
        raise ValueError(
            f"layers is {', '.join(options.layers) or 'nothing'}; expected some of "
            f"{', '.join(LAYERS)} with influence"
        )


def _check_closed_form(options: MemorizationOptions) -> None:
    if options.form != "raw":
        raise ValueError(f"form is {options.form!r}; expected 'raw' in closed form")
    if options.against != "view":
        raise ValueError(f"against is {options.against!r}; expected 'view' in closed form")
    if options.distance not in ("l2", "sqeuclidean"):  # the default of the other protocols
        raise ValueError(f"distance is {options.distance!r}; expected 'sqeuclidean' in closed form")
    if options.layers not in (("backbone",), ("projector",)):
        raise ValueError(
            f"layers is {', '.join(options.layers) or 'nothing'}; expected the embedding alone, "
            "projector, in closed form"
        )
    if options.evaluate and not options.kernel:
        raise ValueError("evaluate is asked without --kernel; expected a network to probe")
    if options.dim is not None and options.dim < 1:
        raise ValueError(f"dim is {options.dim}; expected at least 1")


def check_own_folder(options: MemorizationOptions) -> None:
    """Refuse a folder of something else, or whose encoders were trained with other options."""
    check_folder(options.out, "memorization", RESULTS)
    begun = (options.out / "encoders").exists()
    trains = options.protocol != "closed-form" and not options.f
    # Encoders trained beside results of other options could not be told from theirs.
    if not begun and not (trains and (options.out / RESULTS[0]).exists()):
        return
    stored = {"common_pixels": False} | stored_config(options.out)[1]  # of earlier versions
    now = {name: value for name, value in asdict(options).items() if name not in _FREE}
    check_same(options.out, stored, now, holds="encoders" if begun else "scores")


def check_images(options: MemorizationOptions, images: ScoredImages) -> None:
    """Refuse images that encoders of the folder or the studies compared do not know."""
    _check_own_images(options, images)
    for other in options.compare:
        if other.resolve() == options.out.resolve():
            raise ValueError(f"compare holds {other}, the folder of this study; expected others")
        common_images(other, images)
    if options.evaluate and (images.data.labels is None or images.held_out.labels is None):
        raise ValueError(f"{options.data} has no labels; expected some, or no --evaluate")


def _check_own_images(options: MemorizationOptions, images: ScoredImages) -> None:
    """Raise if encoders of the folder saw other images with the same options: of changed data."""
    path = options.out / "scores.npz"
    if not path.exists() or not (options.out / "encoders").exists():
        return
    try:
        stored = read_arrays(path)
        before = dict(zip(stored["numbers"].tolist(), stored["hashes"].tolist(), strict=True))
    except (ValueError, KeyError):  # damaged, and about to be written anew
        return
    hashes = image_hashes(images.images).tolist()
    for place, digest in zip(images.numbers.tolist(), hashes, strict=True):
        if before.get(place, digest) != digest:
            raise ValueError(
                f"{options.out} holds encoders of a study whose image {place} of {options.data} "
                "was another; expected the same images, or another folder"
            )


def check_scoring(
    options: MemorizationOptions, images: ScoredImages, encoder: FrozenEncoder | None, dim: int
) -> None:
    """Score two images by an encoder; without one, compare the modes with the pixels of a view."""
    if encoder is not None:
        scoring = replace(scoring_of(options, encoder.views), pairs=1)
        two = images.images[:2]
        encoder_losses([encoder], two, scoring, numbers=images.numbers[:2])
        if options.protocol == "influence":
            alignment_gradients(encoder, two, scoring, options.layers[0], projection=1)
        return
    views = scoring_of(options, options.views or "simclr").views
    pixels = math.prod(view_shape(views, tuple(images.images.shape[1:])))
    if dim > pixels:
        raise ValueError(f"dim is {dim}; expected at most {pixels}, the pixels of a view")
