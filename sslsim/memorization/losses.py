"""Alignment losses and scores of many images under many frozen encoders, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sslsim.measures.frozen import FrozenEncoder
from sslsim.memorization.alignment import alignment_losses
from sslsim.memorization.views import number_blocks

_BLOCKS = 64  # of 64 images each: as many are scored before distances give way to their means


@dataclass(frozen=True)
class Scoring:
    """How images are scored.

    Attributes
    ----------
    views : str
        Kind of the views that are compared.
    layers : tuple of str
        Layers whose features are compared, as for :func:`sslsim.encoders.features.features`.
    pairs : int
        Pairs of views of every image.
    against : {"view", "original"}
        Compare two views, or the image with a view.
    distance : str
        Distance of two representations, one of ``DISTANCES``.
    normalise : bool
        Bring representations to unit norm first.
    form : {"raw", "ratio"}
        Form of the scores, as for :func:`sslsim.memorization.ssl_mem`.
    seed : int
        Seed of the views.
    """

    views: str
    layers: tuple[str, ...] = ("backbone",)
    pairs: int = 10
    against: str = "view"
    distance: str = "l2"
    normalise: bool = True
    form: str = "raw"
    seed: int = 0


@dataclass(frozen=True, eq=False)
class ImageScores:
    """Scores of n images under the encoders of a study.

    Attributes
    ----------
    scores, standard_error : ndarray, shape (layers, n)
        By layer, high for memorised images; errors are NaN where one encoder (or none, in closed
        form) stands behind a score.
    units : ndarray, shape (layers, pairs, n)
        Scores under every pair of encoders of the split protocol, under every encoder by
        influence; none for the others.
    losses : ndarray, shape (encoders, layers, n)
        Alignment losses.
    members : ndarray of bool, shape (encoders, n)
        Images that every encoder was trained on.
    gradient_norms : ndarray, shape (encoders, layers, n), optional
        Squared norms of the gradients of the alignment losses, of scores by influence.
    """

    scores: NDArray[Any]
    standard_error: NDArray[Any]
    units: NDArray[Any]
    losses: NDArray[Any]
    members: NDArray[np.bool_]
    gradient_norms: NDArray[Any] | None = None


def encoder_losses(
    encoders: Sequence[FrozenEncoder],
    images: torch.Tensor,
    scoring: Scoring,
    *,
    numbers: torch.Tensor | None = None,
    blocks: int = _BLOCKS,
) -> torch.Tensor:
    """Alignment losses of all images under every encoder and layer, on the same views.

    Parameters
    ----------
    encoders : sequence of FrozenEncoder
        Encoders of one architecture.
    images : Tensor of uint8, shape (n, c, h, w)
        Images to score.
    scoring : Scoring
        Views, layers and distance.
    numbers : Tensor of int64, shape (n,), optional
        Number of every image, by which its views are drawn. Default 0 to n - 1.
    blocks : int
        Blocks of images whose distances are held at once.

    Returns
    -------
    Tensor of float64, shape (encoders, layers, n)
        On the CPU.

    Raises
    ------
    ValueError
        If a layer is unknown or named twice, or as
        :func:`sslsim.memorization.alignment.alignment_losses`.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> encoder = FrozenEncoder(build_encoder("linear", (1, 8, 8), 2, seed=0), None, "noise")
    >>> images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    >>> encoder_losses([encoder], images, Scoring("noise")).shape
    torch.Size([1, 1, 3])
    """
    layers = scoring.layers
    known = ("backbone", "projector", *encoders[0].encoder.layers)
    if not layers or len(set(layers)) < len(layers) or not set(layers) <= set(known):
        named = ", ".join(layers) or "nothing"
        raise ValueError(f"layers is {named}; expected some of {', '.join(known)}, each once")
    device = next(encoders[0].encoder.parameters()).device
    numbers = torch.arange(len(images)) if numbers is None else numbers

    def represent(views: torch.Tensor) -> list[torch.Tensor]:
        by_encoder = (each.features(views, layers, batch_size=len(views)) for each in encoders)
        return [outputs[layer] for outputs in by_encoder for layer in layers]

    means = torch.empty(len(encoders) * len(layers), len(images), dtype=torch.float64)
    places = [rows for _, rows in number_blocks(numbers)]
    for first in range(0, len(places), blocks):
        rows = torch.cat(places[first : first + blocks])
        losses = alignment_losses(
            represent,
            images[rows].to(device),
            scoring.views,
            pairs=scoring.pairs,
            distance=scoring.distance,
            normalise=scoring.normalise,
            against=scoring.against,
            seed=scoring.seed,
            numbers=numbers[rows],
        )
        for mean, loss in zip(means, losses, strict=True):
            mean[rows] = loss.mean.cpu()
    return means.unflatten(0, (len(encoders), len(layers)))
