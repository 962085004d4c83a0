"""Alignment losses: how far apart an encoder maps two augmentations of one image.

Encoders that are compared see the same views (common random numbers), whatever the batch size and
whichever images are scored beside one: see :mod:`sslsim.memorization.views`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain

import torch

from sslsim.data.own_views import Kind
from sslsim.data.single_view import NOISE, check_images, view_shape
from sslsim.encoders.checks import check_count
from sslsim.memorization.represent import DISTANCES, Represent, distances, representations
from sslsim.memorization.views import number_blocks, view_batches


@dataclass(frozen=True, eq=False)
class AlignmentLoss:
    """Alignment losses of n images under one representation.

    Attributes
    ----------
    mean : Tensor of float64, shape (n,)
        Mean distance over the pairs of views of each image.
    standard_error : Tensor of float64, shape (n,)
        Of that mean, from the spread over its pairs; NaN with one pair.
    losses : Tensor of float64, shape (n, pairs)
        Distance of every pair.
    """

    mean: torch.Tensor
    standard_error: torch.Tensor
    losses: torch.Tensor


def alignment_loss(
    encoder: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    kind: Kind,
    *,
    layer: str | None = None,
    pairs: int = 10,
    distance: str = "l2",
    normalise: bool = True,
    against: str = "view",
    noise: float = NOISE,
    seed: int = 0,
    numbers: torch.Tensor | None = None,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
) -> AlignmentLoss:
    """Alignment loss of every image under one encoder.

    Parameters
    ----------
    encoder : callable
        As for :func:`sslsim.memorization.represent.representations`.
    images, kind, pairs, distance, normalise, against, noise, seed, numbers, batch_size, dtype
        As for :func:`alignment_losses`.
    layer : str, optional
        As an entry of its ``layers``.

    Returns
    -------
    AlignmentLoss

    Raises
    ------
    ValueError
        As :func:`alignment_losses`, or if a layer is named of something that is no ``Encoder``.

    Notes
    -----
    arXiv 2401.12233, section 3: L_align(f, x) = E ||f(x') - f(x'')||, x' and x'' from Aug(x).

    Examples
    --------
    >>> images = torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8)
    >>> loss = alignment_loss(torch.nn.Flatten(), images, "crops")
    >>> loss.mean.shape, loss.losses.shape
    (torch.Size([5]), torch.Size([5, 10]))
    """
    (loss,) = alignment_losses(
        representations([encoder], None if layer is None else [layer]),
        images,
        kind,
        pairs=pairs,
        distance=distance,
        normalise=normalise,
        against=against,
        noise=noise,
        seed=seed,
        numbers=numbers,
        batch_size=batch_size,
        dtype=dtype,
    )
    return loss


@torch.no_grad()
def alignment_losses(
    represent: Represent,
    images: torch.Tensor,
    kind: Kind,
    *,
    pairs: int = 10,
    distance: str = "l2",
    normalise: bool = True,
    against: str = "view",
    noise: float = NOISE,
    seed: int = 0,
    numbers: torch.Tensor | None = None,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
) -> tuple[AlignmentLoss, ...]:
    """Alignment losses of every image under several representations of the same views.

    Parameters
    ----------
    represent : callable
        Views (b, c, h, w) -> sequence of representations (b, d), for instance those of
        :func:`sslsim.memorization.represent.representations`. Views are drawn once for all.
    images : Tensor of uint8, shape (n, c, h, w)
        What to score; views are drawn on their device.
    kind : str
        One of ``sslsim.data.views.VIEWS``: the augmentation used in training.
    pairs : int
        Pairs of views an image, at least 1; the mean has a standard error from 2 on.
    distance, normalise
        Of :func:`sslsim.memorization.represent.distances`; computed in float64.
    against : {"view", "original"}
        Compare two augmentations, as the definition does, or the image itself with one, as the
        published code does.
    noise : float
        Of :func:`sslsim.data.views.draw_view`.
    seed : int
        Seed of the draws, at least 0.
    numbers : Tensor of int64, shape (n,), optional
        Number of every image, all different and not negative: its place in the data set, where
        ``images`` are a part of it. Default 0 to n - 1.
    batch_size : int
        Views at a time through the encoders. Memory holds so many views beside the representations
        of 64 images; results depend on it by the rounding of the encoders only.
    dtype : torch.dtype
        Floating type of the views.

    Returns
    -------
    tuple of AlignmentLoss
        One a representation, on the device of the images.

    Raises
    ------
    ValueError
        If the images, numbers or an option are not as described, ``kind`` changes the size of the
        image that ``against="original"`` compares it with, or representations are no finite
        matrices of one row a view.

    Examples
    --------
    >>> images = torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8)
    >>> represent = representations([torch.nn.Flatten(), torch.nn.Flatten()])
    >>> f, g = alignment_losses(represent, images, "weak", pairs=3)
    >>> torch.equal(f.losses, g.losses)
    True
    """
    numbers = _check(images, kind, pairs, distance, against, seed, numbers, batch_size)
    originals = against == "original"
    by_representation: list[torch.Tensor] = []
    for _, rows in number_blocks(numbers):
        block = images[rows]
        batches = view_batches(
            block,
            numbers[rows],
            kind,
            pairs if originals else 2 * pairs,
            # Against the original it is the first view of a pair, else the two in turn.
            in_turn=not originals,
            noise=noise,
            seed=seed,
            batch_size=batch_size,
            dtype=dtype,
        )
        if originals:
            batches = chain((block.to(dtype) / 255).split(batch_size), batches)
        for i, z in enumerate(_represented(represent, batches)):
            if i == len(by_representation):
                by_representation.append(images.new_empty(len(images), pairs, dtype=torch.float64))
            distances_of_pairs = _pair_distances(z, len(rows), originals, distance, normalise)
            by_representation[i][rows] = distances_of_pairs.to(images.device)
    return tuple(
        AlignmentLoss(losses.mean(dim=1), _standard_error(losses), losses)
        for losses in by_representation
    )


def _represented(represent: Represent, batches: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    outputs: list[list[torch.Tensor]] = []
    for batch in batches:
        for i, z in enumerate(represent(batch)):
            if i == len(outputs):
                outputs.append([])
            if z.ndim != 2 or len(z) != len(batch):
                raise ValueError(
                    f"an encoder gives shape {tuple(z.shape)} for {len(batch)} views; "
                    f"expected ({len(batch)}, d)"
                )
            outputs[i].append(z)
    whole = [torch.cat(parts) for parts in outputs]
    # Once a block and not once a batch: it waits for the device.
    if not all(bool(torch.isfinite(z).all()) for z in whole):
        raise ValueError("an encoder gives NaN or infinite values; expected finite")
    return whole


def _pair_distances(
    z: torch.Tensor, rows: int, originals: bool, distance: str, normalise: bool
) -> torch.Tensor:
    each = z.double().reshape(-1, rows, z.shape[1])  # (views, rows, d)
    first, second = (
        (each[:1].expand(len(each) - 1, -1, -1), each[1:])
        if originals
        else (each[0::2], each[1::2])
    )
    flat = distances(first.flatten(0, 1), second.flatten(0, 1), distance, normalise=normalise)
    return flat.reshape(-1, rows).T


def _standard_error(losses: torch.Tensor) -> torch.Tensor:
    pairs = losses.shape[1]
    if pairs == 1:
        return torch.full_like(losses[:, 0], torch.nan)
    return losses.std(dim=1) / pairs**0.5


def _check(
    images: torch.Tensor,
    kind: Kind,
    pairs: int,
    distance: str,
    against: str,
    seed: int,
    numbers: torch.Tensor | None,
    batch_size: int,
) -> torch.Tensor:
    check_images(images)
    if len(images) == 0:
        raise ValueError(f"images has shape {tuple(images.shape)}; expected at least one image")
    check_count("pairs", pairs)
    check_count("batch_size", batch_size)
    if distance not in DISTANCES:
        raise ValueError(f"distance is {distance!r}; expected one of {', '.join(DISTANCES)}")
    if against not in ("view", "original"):
        raise ValueError(f"against is {against!r}; expected 'view' or 'original'")
    shape = tuple(images.shape[1:])
    if view_shape(kind, shape) != shape and against == "original":
        raise ValueError(
            f"views {kind!r} of images of shape {shape} have shape {view_shape(kind, shape)}; "
            "expected views of the size of the images to compare with the original"
        )
    if type(seed) is not int or seed < 0:
        raise ValueError(f"seed is {seed!r}; expected a whole number of at least 0")
    if numbers is None:
        return torch.arange(len(images), device=images.device)
    if numbers.shape != (len(images),) or numbers.dtype != torch.int64:
        raise ValueError(
            f"numbers is {numbers.dtype} of shape {tuple(numbers.shape)}; "
            f"expected int64 of shape ({len(images)},)"
        )
    if numbers.min() < 0 or len(numbers.unique()) < len(numbers):
        raise ValueError("numbers holds negative or repeated ones; expected one an image from 0 on")
    return numbers.to(images.device)
