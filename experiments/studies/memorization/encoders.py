"""Encoders of a study: trained once, kept in its folder, and how far they align every image."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.studies.memorization.image_sets import FAMILIES, ScoredImages
from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.source_study import image_hashes
from sslsim.data.datasets import Images
from sslsim.data.pixels import PixelStatistics, pixel_statistics
from sslsim.encoders.build import Encoder
from sslsim.encoders.features import features
from sslsim.memorization import alignment_losses, same_architecture
from sslsim.memorization.views import number_blocks
from sslsim.methods.learner import Learner
from sslsim.runs.networks import load_weights
from sslsim.runs.options import training_options
from sslsim.runs.setup import chosen_device, initial_learner
from sslsim.runs.trained_run import TrainedRun
from sslsim.training.loop import train

_BLOCKS = 64  # of 64 images: as many are scored before distances give way to their means

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Trained:
    """An encoder, and what belongs to feeding it.

    Attributes
    ----------
    encoder : Encoder
        In evaluation mode.
    pixels : PixelStatistics or None
        By which its training images were standardised.
    views : str
        Kind of the views that it was trained on.
    """

    encoder: Encoder
    pixels: PixelStatistics | None
    views: str


def trained_encoder(
    options: MemorizationOptions,
    data: Images,
    seed: int,
    folder: Path,
    *,
    classes: int | None = None,
    checkpoint: int | None = None,
    wrap: Callable[[Learner], Learner] | None = None,
) -> Trained:
    """Train an encoder, go on where it was interrupted, or load it where it is done.

    >>> import tempfile
    >>> from sslsim.runs.setup import split_data
    >>> options = MemorizationOptions(limit=20, steps=2, batch=10)
    >>> data, _ = split_data(options)
    >>> trained_encoder(options, data, 0, Path(tempfile.mkdtemp())).views
    'simclr'
    """
    seeded = replace(options, seed=seed)
    learner = initial_learner(seeded, data, classes)
    if wrap is not None:
        learner = wrap(learner)
    kind = options.views or learner.views
    every = max(1, options.steps // options.curve) if options.curve else options.checkpoint_every
    device = chosen_device(options.device)
    training = training_options(
        seeded, checkpoint_every=every, checkpoints_kept=0 if options.curve else 1
    )
    if checkpoint is None:
        train(learner, data, kind, training, folder, device=device, progress=sys.stderr.isatty())
    elif checkpoint:
        path = folder / "checkpoints" / f"checkpoint-{checkpoint:09d}.pt"
        load_weights(learner, path)
    pixels = pixel_statistics(data.images) if options.standardise else None
    return Trained(learner.to(device).eval().encoder, pixels, kind)


def encoder_losses(
    encoders: Sequence[Trained],
    images: torch.Tensor,
    numbers: torch.Tensor,
    kind: str,
    options: MemorizationOptions,
) -> torch.Tensor:
    """Alignment losses of all images under every encoder and layer, on the same views.

    >>> from sslsim.encoders.build import build_encoder
    >>> encoder = Trained(build_encoder("linear", (1, 8, 8), 2, seed=0), None, "noise")
    >>> images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    >>> encoder_losses(
    ...     [encoder], images, torch.arange(3), "noise", MemorizationOptions()
    ... ).shape
    torch.Size([1, 1, 3])
    """
    names = list(options.layers)
    known = ("backbone", "projector", *encoders[0].encoder.layers)
    if not names or len(set(names)) < len(names) or not set(names) <= set(known):
        given = ", ".join(names) or "nothing"
        raise ValueError(f"layers is {given}; expected some of {', '.join(known)}, each once")
    device = next(encoders[0].encoder.parameters()).device

    def represent(views: torch.Tensor) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        for one in encoders:
            fed = views if one.pixels is None else one.pixels.standardise(views)
            held = features(one.encoder, fed, names, batch_size=len(views))
            found += [held[name] for name in names]
        return found

    means = torch.empty(len(encoders) * len(names), len(images), dtype=torch.float64)
    blocks = [rows for _, rows in number_blocks(numbers)]
    for first in range(0, len(blocks), _BLOCKS):
        rows = torch.cat(blocks[first : first + _BLOCKS])
        losses = alignment_losses(
            represent,
            images[rows].to(device),
            kind,
            pairs=options.augmentations,
            distance=options.distance,
            normalise=options.normalise,
            against=options.against,
            seed=options.draw_seed,
            numbers=numbers[rows],
        )
        for mean, loss in zip(means, losses, strict=True):
            mean[rows] = loss.mean.cpu()
    return means.unflatten(0, (len(encoders), len(names)))


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of n images.

    Attributes
    ----------
    scores, standard_error : ndarray, shape (layers, n)
        By layer as the options name them, high for memorised images; errors are NaN where one
        encoder (or none, in closed form) stands behind a score.
    units : ndarray, shape (layers, pairs, n)
        Scores under every pair of encoders of the split protocol; no pairs for the others.
    losses : ndarray, shape (encoders, layers, n)
        Alignment losses.
    members : ndarray of bool, shape (encoders, n)
        Which images every encoder was trained on.
    details : dict
        What else goes to ``memorization.json``.
    """

    scores: Array
    standard_error: Array
    units: Array
    losses: Array
    members: NDArray[np.bool_]
    details: dict[str, Any]


@dataclass(frozen=True, eq=False)
class GivenRun:
    """A run of ``sslsim train``.

    Attributes
    ----------
    folder : Path
        Where it lies.
    trained : Trained
        Its newest encoder.
    data : Images
        What it was trained on.
    """

    folder: Path
    trained: Trained
    data: Images


def given_families(options: MemorizationOptions, points: ScoredImages) -> dict[str, list[Trained]]:
    """Encoders f and g of the runs that the options name."""
    families = {
        name: [read_run(run, tuple(points.images.shape[1:]), options.device) for run in runs]
        for name, runs in (("f", options.f), ("g", options.g))
    }
    same_architecture(*([run.trained.encoder for run in runs] for runs in families.values()))
    hashes = image_hashes(points.images)
    everywhere = image_hashes(torch.cat([points.data.images, points.held_out.images]))
    known, counts = np.unique(everywhere, return_counts=True)
    once = np.isin(hashes, known[counts == 1])
    for name, runs in families.items():
        for run in runs:
            _check_seen(run, name, points, hashes, once)
    return {name: [run.trained for run in runs] for name, runs in families.items()}


def read_run(folder: Path, shape: tuple[int, ...], device: str = "cpu") -> GivenRun:
    """The newest encoder of a run of ``sslsim train``, and what it was trained on."""
    run = TrainedRun.open(folder)
    data = run.images
    if tuple(data.images.shape[1:]) != shape:
        raise ValueError(
            f"{folder} was trained on images of shape {tuple(data.images.shape[1:])}; expected "
            f"{shape}, that of the images to be scored"
        )
    encoder = run.learner().encoder.to(chosen_device(device))
    return GivenRun(folder, Trained(encoder, run.pixels, run.views), data)


def _check_seen(
    run: GivenRun, family: str, points: ScoredImages, hashes: np.ndarray, once: np.ndarray
) -> None:
    seen = np.isin(hashes, image_hashes(run.data.images))
    rows = {name: places.numpy() for name, places in points.sets.items()}
    held = {name: int(seen[places].sum()) for name, places in rows.items()}
    own, other = FAMILIES[family][1], FAMILIES["g" if family == "f" else "f"][1]
    if held[own] == 0 and held[other] == len(rows[other]):
        raise ValueError(
            f"{run.folder} is given as {family}, but was trained on the {other} images and on no "
            f"{own} one: f and g seem to be swapped; expected f trained on the candidates and g on "
            "the independent images"
        )
    for name in FAMILIES[family]:
        if held[name] < len(rows[name]):
            raise ValueError(
                f"{run.folder}, given as {family}, was trained on {held[name]} of the "
                f"{len(rows[name])} {name} images; expected all of them"
            )
    for name in (other, "external"):
        # Of images that the data hold twice nobody can say which was seen.
        if wrong := int((seen & once)[rows[name]].sum()):
            raise ValueError(
                f"{run.folder}, given as {family}, was trained on {wrong} of the "
                f"{len(rows[name])} {name} images; expected none of them"
            )
