"""Views of images: pure functions of the images and a generator, and streams of pairs of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sslsim.augment import simclr_view

VIEWS = ("crops", "noise", "simclr")

NOISE = 0.1  # standard deviation of the noise view, pixels in [0, 1]
CHUNK_BYTES = 64 * 2**20  # of the two views of a chunk, counted in float64


def view_shape(kind: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Shape of one view of an image.

    Parameters
    ----------
    kind : str
        One of ``VIEWS``.
    shape : tuple of int or torch.Size, length 3
        Channels, height and width of the image.

    Returns
    -------
    tuple of int
        Channels, height and width of the view.

    Raises
    ------
    ValueError
        If the kind is unknown or the image is too small to crop.

    Examples
    --------
    >>> view_shape("crops", (3, 32, 32))
    (3, 24, 24)
    """
    if kind not in VIEWS:
        raise ValueError(f"unknown views {kind!r}; expected one of {', '.join(VIEWS)}")
    channels, height, width = shape
    if kind != "crops":
        return channels, height, width
    edge = 3 * min(height, width) // 4
    if edge < 1:
        raise ValueError(f"images are {height} x {width}; expected at least 2 x 2 to crop")
    return channels, edge, edge


def draw_view(
    images: torch.Tensor,
    kind: str,
    generator: torch.Generator,
    *,
    dtype: torch.dtype = torch.float32,
    noise: float = NOISE,
) -> torch.Tensor:
    """Draw one view of every image.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        The images; views are drawn on their device, in one batch.
    kind : {"crops", "noise", "simclr"}
        ``crops``: a square of 3/4 of the shorter edge (24 of 32 pixels) at a uniform place,
        mirrored left to right with probability 1/2. ``noise``: the image plus independent normal
        noise on every pixel, not clamped. ``simclr``: :func:`sslsim.augment.simclr_view`.
    generator : torch.Generator
        On the device of the images; advanced.
    dtype : torch.dtype
        Floating type of the result. The draws do not depend on it.
    noise : float
        Standard deviation of ``noise``, in units of the full range of a pixel.

    Returns
    -------
    Tensor, shape (n, c, h', w')
        Pixels in [0, 1], of noise views around it; the shape is that of :func:`view_shape`.

    Raises
    ------
    ValueError
        If the images are not uint8 of that shape, the kind is unknown, or the noise is negative.

    Notes
    -----
    Draws belong to places in the batch: sample i of the result depends on the state of the
    generator, the batch size, i and image i, and on no other image.

    Examples
    --------
    >>> images = torch.full((2, 1, 8, 8), 51, dtype=torch.uint8)
    >>> view = draw_view(images, "crops", torch.Generator().manual_seed(0))
    >>> tuple(view.shape), view.unique().tolist()
    ((2, 1, 6, 6), [0.20000000298023224])
    """
    if images.ndim != 4 or images.dtype != torch.uint8 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"images is {images.dtype} of shape {tuple(images.shape)}; "
            "expected uint8 of shape (n, c, h, w) with c of 1 or 3"
        )
    shape = view_shape(kind, images.shape[1:])
    if not 0 <= noise < float("inf"):
        raise ValueError(f"noise is {noise}; expected a finite number of at least 0")
    if kind == "crops":
        return _crops(images, shape[-1], generator).to(dtype).div_(255)
    pixels = images.to(dtype).div_(255)
    if kind == "simclr":
        return simclr_view(pixels, generator)
    normal = torch.randn(images.shape, generator=generator, device=images.device)
    return pixels.add_(normal.to(dtype), alpha=noise)


def _crops(images: torch.Tensor, edge: int, generator: torch.Generator) -> torch.Tensor:
    n, _, height, width = images.shape
    device = images.device
    top = torch.randint(height - edge + 1, (n, 1), generator=generator, device=device)
    left = torch.randint(width - edge + 1, (n, 1), generator=generator, device=device)
    mirrored = torch.randint(2, (n, 1), generator=generator, device=device).bool()
    along = torch.arange(edge, device=device)
    rows = (top + along)[:, :, None]  # (n, e, 1)
    columns = (left + torch.where(mirrored, along.flip(0), along))[:, None, :]  # (n, 1, e)
    places = torch.arange(n, device=device)[:, None, None]
    return images[places, :, rows, columns].permute(0, 3, 1, 2)


@dataclass(frozen=True, eq=False)
class PairStream:
    """Positive pairs drawn chunk by chunk, the same bits at every iteration.

    Made by :func:`draw_pairs`. Iterating yields ``(x, x_prime)``, two arrays of shape
    (n_chunk, m), views flattened and in rows; the chunks together are the ``n_pairs`` rows.

    Attributes
    ----------
    images : Tensor of uint8, shape (k, c, h, w)
        The images drawn from the data set, on the device that draws the views.
    kind : str
        One of ``VIEWS``.
    groups : ndarray of int, shape (n_pairs,)
        Place of each pair's image in the data set; pairs of one image follow one another.
    pairs_per_image : int
        Disjoint pairs of every image (fewer of the last one where they do not divide ``n_pairs``).
    images_per_chunk : int
        Images whose views are drawn together.
    seed : int
        Together with the number of a chunk it seeds that chunk's generator.
    dtype : torch.dtype
        Type of the arrays.
    noise : float
        Of :func:`draw_view`.
    """

    images: torch.Tensor
    kind: str
    groups: NDArray[np.int64]
    pairs_per_image: int
    images_per_chunk: int
    seed: int
    dtype: torch.dtype
    noise: float

    @property
    def n_pairs(self) -> int:
        """Number of pairs in all."""
        return len(self.groups)

    @property
    def dim(self) -> int:
        """Length m of a flattened view."""
        return math.prod(view_shape(self.kind, self.images.shape[1:]))

    def __iter__(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        left = self.n_pairs
        for number, chunk in enumerate(self.images.split(self.images_per_chunk)):
            generator = torch.Generator(self.images.device).manual_seed(_seed(self.seed, 1, number))
            repeated = chunk.repeat_interleave(self.pairs_per_image, dim=0)
            x, x_prime = (
                draw_view(repeated, self.kind, generator, dtype=self.dtype, noise=self.noise)
                .flatten(1)[:left]
                .cpu()
                .numpy()
                for _ in range(2)
            )
            left -= len(x)
            yield x, x_prime

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """All pairs at once.

        Returns
        -------
        x, x_prime : ndarray of float64, shape (n_pairs, m)
            The chunks one after another.
        """
        x = np.empty((self.n_pairs, self.dim))
        x_prime = np.empty_like(x)
        start = 0
        for one, other in self:
            rows = slice(start, start + len(one))
            x[rows], x_prime[rows] = one, other
            start += len(one)
        return x, x_prime


def draw_pairs(
    images: torch.Tensor,
    kind: str,
    pairs: int,
    *,
    views_per_image: int = 2,
    seed: int = 0,
    noise: float = NOISE,
    dtype: torch.dtype = torch.float64,
    chunk_bytes: int = CHUNK_BYTES,
) -> PairStream:
    """Draw positive pairs of views from images taken without replacement.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        The data set, for instance ``load_images(...).images``.
    kind : {"crops", "noise", "simclr"}
        Of :func:`draw_view`.
    pairs : int
        Number of pairs in all, from ``ceil(2 pairs / views_per_image)`` images.
    views_per_image : int
        Even number V of views of every image, paired into V/2 disjoint pairs.
    seed : int
        Of the choice of images and of all views, at least 0.
    noise : float
        Of :func:`draw_view`.
    dtype : torch.dtype
        Type of the chunks: torch.float64 or torch.float32.
    chunk_bytes : int
        Upper bound on the two views of a chunk, counted in float64; a chunk holds one image at
        least. Views depend on it, since every chunk has a generator of its own.

    Returns
    -------
    PairStream
        Iterable any number of times.

    Raises
    ------
    ValueError
        If there are too few images, an option is out of range, or as :func:`draw_view`.

    Examples
    --------
    >>> images = torch.arange(64, dtype=torch.uint8).reshape(4, 1, 4, 4)
    >>> stream = draw_pairs(images, "crops", 5, views_per_image=4)
    >>> stream.dim, [x.shape for x, _ in stream], len(set(stream.groups.tolist()))
    (9, [(5, 9)], 3)
    """
    if views_per_image < 2 or views_per_image % 2:
        raise ValueError(f"views_per_image is {views_per_image}; expected an even number from 2")
    if pairs < 2 or seed < 0:
        raise ValueError(f"pairs is {pairs} and seed {seed}; expected at least 2 and at least 0")
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype is {dtype}; expected torch.float32 or torch.float64")
    each = views_per_image // 2
    needed = -(-pairs // each)
    if needed > len(images):
        raise ValueError(
            f"{pairs} pairs were asked of {len(images)} images, which give {len(images) * each} "
            f"at {views_per_image} views per image; expected fewer pairs, "
            f"or views_per_image raised to {-(-pairs // max(1, len(images))) * 2}"
        )
    draw_view(images[:1], kind, torch.Generator(images.device), dtype=dtype, noise=noise)  # checks
    row = 2 * 8 * math.prod(view_shape(kind, images.shape[1:]))
    chosen = np.random.default_rng(_seed(seed, 0, 0)).permutation(len(images))[:needed]
    return PairStream(
        images=images[torch.from_numpy(chosen).to(images.device)],
        kind=kind,
        groups=np.repeat(chosen, each)[:pairs],
        pairs_per_image=each,
        images_per_chunk=max(1, chunk_bytes // (row * each)),
        seed=seed,
        dtype=dtype,
        noise=noise,
    )


def _seed(seed: int, purpose: int, number: int) -> int:
    """A seed of 64 bits of its own for every purpose and number."""
    sequence = np.random.SeedSequence(seed, spawn_key=(purpose, number))
    return int(sequence.generate_state(1, np.uint64)[0])
