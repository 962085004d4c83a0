"""Encoders of a study: trained once, kept in its folder, and how far they align every image."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from experiments.memorization.options import MemorizationOptions
from experiments.train_options import training_options
from experiments.train_setup import chosen_device, initial_learner
from sslsim.checkpoints import load_checkpoint
from sslsim.data import Images
from sslsim.encoders.encoder import Encoder
from sslsim.encoders.features import features
from sslsim.memorization import AlignmentLoss, alignment_losses
from sslsim.methods.learner import Learner
from sslsim.pixels import PixelStatistics, pixel_statistics
from sslsim.training import train


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
    learner = initial_learner(seeded, data)
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
        learner.load_state_dict(load_checkpoint(path, device)["learner"])
        learner.to(device)
    pixels = pixel_statistics(data.images) if options.standardise else None
    return Trained(learner.eval().encoder, pixels, kind)


def encoder_losses(
    encoders: Sequence[Trained],
    images: torch.Tensor,
    numbers: torch.Tensor,
    kind: str,
    options: MemorizationOptions,
) -> list[list[AlignmentLoss]]:
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
    list of list of AlignmentLoss
        By encoder, then by layer, on the CPU.

    Raises
    ------
    ValueError
        As :func:`sslsim.memorization.alignment_losses`, or if a layer is unknown.

    Examples
    --------
    >>> from sslsim.encoders.encoder import build_encoder
    >>> encoder = Trained(build_encoder("linear", (1, 8, 8), 2, seed=0), None, "noise")
    >>> images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    >>> found = encoder_losses([encoder], images, torch.arange(3), "noise", MemorizationOptions())
    >>> len(found), len(found[0]), found[0][0].losses.shape
    (1, 1, torch.Size([3, 10]))
    """
    names = list(options.layers)
    known = ("backbone", "projector", *encoders[0].encoder.layers)
    if not names or len(set(names)) < len(names) or not set(names) <= set(known):
        given = ", ".join(names) or "nothing"
        raise ValueError(f"layers is {given}; expected some of {', '.join(known)}, each once")

    def represent(views: torch.Tensor) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        for one in encoders:
            fed = views if one.pixels is None else one.pixels.standardise(views)
            held = features(one.encoder, fed, names, batch_size=len(views))
            found += [held[name] for name in names]
        return found

    losses = alignment_losses(
        represent,
        images.to(next(encoders[0].encoder.parameters()).device),
        kind,
        pairs=options.augmentations,
        distance=options.distance,
        normalise=options.normalise,
        against=options.against,
        seed=options.draw_seed,
        numbers=numbers,
    )
    count = len(names)
    on_cpu = [AlignmentLoss(x.mean.cpu(), x.standard_error.cpu(), x.losses.cpu()) for x in losses]
    return [on_cpu[place : place + count] for place in range(0, len(on_cpu), count)]
