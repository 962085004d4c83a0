"""Streams of positive pairs of views, drawn chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sslsim.core.seeds import derived_generator, derived_seed
from sslsim.data.single_view import (
    NOISE,
    draw_view,
    placed_view,
    view_shape,
)

CHUNK_BYTES = 64 * 2**20  # size of the two views of a chunk, counted in float64


@dataclass(frozen=True, eq=False)
class PairStream:
    """Positive pairs drawn chunk by chunk, with the same bits at every iteration.

    It is the result of :func:`draw_pairs`. An iteration yields ``(x, x_prime)``, two arrays of
    shape (n_chunk, m) with flattened views in rows; all chunks have ``n_pairs`` rows in total.

    Attributes
    ----------
    images : Tensor of uint8, shape (k, c, h, w)
        Images drawn from the data set, on the device that draws the views.
    kind : str
        Kind of the views, one of ``VIEWS``.
    groups : ndarray of int, shape (n_pairs,)
        Index of each pair's image in the data set; pairs of one image are adjacent.
    pairs_per_image : int
        Number of disjoint pairs of every image; the last image may have fewer.
    images_per_chunk : int
        Number of images in a chunk.
    seed : int
        Seed; the generator of a chunk depends on it and on the number of the chunk.
    dtype : torch.dtype
        Type of the arrays.
    noise : float
        Standard deviation of the noise, as in :func:`draw_view`.
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
        """Total number of pairs."""
        return len(self.groups)

    @property
    def dim(self) -> int:
        """Length m of a flattened view."""
        return math.prod(view_shape(self.kind, self.images.shape[1:]))

    def __iter__(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        left = self.n_pairs
        for number, chunk in enumerate(self.images.split(self.images_per_chunk)):
            generator = derived_generator(self.seed, 1, number, self.images.device)
            repeated = chunk.repeat_interleave(self.pairs_per_image, dim=0)
            x, x_prime = (
                placed_view(
                    repeated,
                    self.kind,
                    generator,
                    which=which,
                    dtype=self.dtype,
                    noise=self.noise,
                    rows=slice(left),
                )[0]
                .flatten(1)
                .cpu()
                .numpy()
                for which in range(2)
            )
            left -= len(x)
            yield x, x_prime

    def views(self) -> ViewStream:
        """All views of every image, the two of each of its pairs.

        Raises
        ------
        ValueError
            If the last image has fewer pairs than the others.
        """
        if self.n_pairs != len(self.images) * self.pairs_per_image:
            raise ValueError(
                f"{self.n_pairs} pairs are not {self.pairs_per_image} of each of "
                f"{len(self.images)} images; expected whole images"
            )
        return ViewStream(self)

    def fresh(
        self, number: int, rows: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One new pair of views of every image.

        Parameters
        ----------
        number : int
            Number of the draw, at least 0; draws depend on the seed and on it.
        rows : Tensor of int64, shape (k,), optional
            Numbers of the images. Default: all images.

        Returns
        -------
        x, x_prime : Tensor, shape (k, m)
            Flattened views of the k images, in order.
        """
        generator = derived_generator(self.seed, 2, number, self.images.device)
        images = self.images if rows is None else self.images[rows.to(self.images.device)]
        x, x_prime = (
            placed_view(
                images,
                self.kind,
                generator,
                which=which,
                dtype=self.dtype,
                noise=self.noise,
            )[0]
            .flatten(1)
            .cpu()
            for which in range(2)
        )
        return x, x_prime

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """All pairs at once.

        Returns
        -------
        x, x_prime : ndarray of float64, shape (n_pairs, m)
            All chunks in order.
        """
        x = np.empty((self.n_pairs, self.dim))
        x_prime = np.empty_like(x)
        start = 0
        for first, second in self:
            rows = slice(start, start + len(first))
            x[rows], x_prime[rows] = first, second
            start += len(first)
        return x, x_prime


@dataclass(frozen=True, eq=False)
class ViewStream:
    """All views of the images of a :class:`PairStream`, chunk by chunk.

    An iteration yields arrays of shape (images, k, m): the first views of the k/2 pairs of each
    image, then the second ones.

    Attributes
    ----------
    pairs : PairStream
        The pairs whose views these are.
    """

    pairs: PairStream

    def __iter__(self) -> Iterator[NDArray[Any]]:
        each, m = self.pairs.pairs_per_image, self.pairs.dim
        for x, x_prime in self.pairs:
            yield np.concatenate([x.reshape(-1, each, m), x_prime.reshape(-1, each, m)], axis=1)

    def arrays(self) -> NDArray[np.float64]:
        """All views at once, shape (n, k, m)."""
        return np.concatenate(list(self))


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
    """Draw positive pairs of views from images that are drawn without replacement.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        The data set, for instance ``load_images(...).images``.
    kind : str
        Kind of the views, one of ``VIEWS``, see :func:`draw_view`.
    pairs : int
        Total number of pairs, from ``ceil(2 pairs / views_per_image)`` images.
    views_per_image : int
        Even number V of views of every image; they form V/2 disjoint pairs.
    seed : int
        Seed of the choice of images and of all views, at least 0.
    noise : float
        Standard deviation of the noise, as in :func:`draw_view`.
    dtype : torch.dtype
        Type of the chunks: torch.float64 or torch.float32.
    chunk_bytes : int
        Upper bound on the size of the two views of a chunk, counted in float64; a chunk has at
        least one image. Views depend on it, since every chunk has its own generator.

    Returns
    -------
    PairStream
        Stream, which can be iterated any number of times.

    Raises
    ------
    ValueError
        If there are too few images or an option is out of range, and as in :func:`draw_view`.

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
            f"or views per image raised to {-(-pairs // max(1, len(images))) * 2}"
        )
    draw_view(images[:1], kind, torch.Generator(images.device), dtype=dtype, noise=noise)  # checks
    row = 2 * 8 * math.prod(view_shape(kind, images.shape[1:]))
    chosen = np.random.default_rng(derived_seed(seed, 0, 0)).permutation(len(images))[:needed]
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
