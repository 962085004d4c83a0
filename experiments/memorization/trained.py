"""Encoders of a study: trained once, kept in its folder, and how far they align every image."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from experiments.memorization.options import MemorizationOptions
from experiments.networks import load_weights
from experiments.train_options import training_options
from experiments.train_setup import chosen_device, initial_learner
from sslsim.data import Images
from sslsim.encoders.encoder import Encoder
from sslsim.encoders.features import features
from sslsim.memorization import alignment_losses
from sslsim.memorization.scored_views import number_blocks
from sslsim.methods.learner import Learner
from sslsim.pixels import PixelStatistics, pixel_statistics
from sslsim.training import train

_BLOCKS = 64  # of 64 images: as many are scored before distances give way to their means


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

    Parameters
    ----------
    options : MemorizationOptions
        Method, network and training.
    data : Images
        To train on.
    seed : int
        Of the training, in place of that of the options.
    folder : Path
        Of this encoder alone.
    classes : int, optional
        Of :func:`experiments.train_setup.initial_learner`.
    checkpoint : int, optional
        Updates after which to take it, of a training that is done and kept its checkpoints.
    wrap : callable, optional
        Learner -> what to train instead, around the same encoder.

    Returns
    -------
    Trained

    Raises
    ------
    ValueError
        If options do not fit together, the folder holds a training of others or on other images, or
        the loss diverges.
    sslsim.training.Interrupted
        If the process was interrupted; the state is saved.

    Examples
    --------
    >>> import tempfile
    >>> from experiments.train_setup import split_data
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

    Parameters
    ----------
    encoders : sequence of Trained
        Each is fed with views standardised as its own training images were.
    images : Tensor of uint8, shape (n, c, h, w)
        What to score.
    numbers : Tensor of int64, shape (n,)
        Of the images, by which views are drawn.
    kind : str
        Of the views.
    options : MemorizationOptions
        Layers, distance, and how many views.

    Returns
    -------
    Tensor of float64, shape (encoders, layers, n)
        On the CPU: means over the pairs of views. With R encoders x layers, memory holds 8 R n
        bytes of them; of 4096 images at a time, 32 R KiB for every pair; of 64 images at a time
        their representations, R x 128 x ``augmentations`` vectors; and all encoders.

    Raises
    ------
    ValueError
        As :func:`sslsim.memorization.alignment_losses`, or if a layer is unknown.

    Examples
    --------
    >>> from sslsim.encoders.encoder import build_encoder
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
