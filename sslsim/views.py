"""Views for training, sliceable by rows, and streams of pairs of views."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sslsim.augment import STRONG
from sslsim.encoders.patches import default_patch_size
from sslsim.masking import mask_patches
from sslsim.seeds import derived_generator, derived_seed
from sslsim.single_view import (
    NOISE,
    VIEWS,
    check_images,
    draw_view,
    placed_view,
    recipe_view,
    view_shape,
)

__all__ = [
    "NOISE",
    "TRAINING_VIEWS",
    "VIEWS",
    "PairStream",
    "Views",
    "draw_pairs",
    "draw_view",
    "draw_views",
    "view_shape",
]

TRAINING_VIEWS = (*VIEWS, "multicrop")
LOCAL_VIEWS = 6
LOCAL_SHARE = 3 / 7  # of the side of an image: 96 of 224 pixels
MASKED_SHARE = 0.75  # of the patches (2111.06377, section 3)

CHUNK_BYTES = 64 * 2**20  # of the two views of a chunk, counted in float64

_LEAST_AREA = 0.05  # of a local crop


@dataclass(frozen=True, eq=False)
class Views:
    """Views of the rows of a batch. Made by :func:`draw_views`.

    Attributes
    ----------
    views : tuple of Tensor, each of shape (r, c, h', w')
        Two of a pair, one of ``mask``; of ``multicrop`` the two global ones, then the local ones,
        which are smaller.
    boxes : Tensor of float32, shape (r, v, 5), or None
        Where view v lies in its image: top, left, height and width in pixels of the image, and 1
        where it is mirrored, else 0. None for noise, which moves nothing.
    kept, masked : Tensor of int64, shape (r, k) and (r, p - k), or None
        Which patches of a view of ``mask`` to see and which to hide, three quarters of them, as
        :func:`sslsim.masking.mask_patches` draws them; patches are squares of
        ``sslsim.encoders.patches.default_patch_size``. None of other kinds, and where patches do
        not tile the image or are no more than one.
    """

    views: tuple[torch.Tensor, ...]
    boxes: torch.Tensor | None
    kept: torch.Tensor | None = None
    masked: torch.Tensor | None = None

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Views:
        """Change every tensor, for instance take rows or move to a device."""
        boxes, kept, masked = (
            None if held is None else change(held) for held in (self.boxes, self.kept, self.masked)
        )
        return Views(tuple(map(change, self.views)), boxes, kept, masked)


def draw_views(
    images: torch.Tensor,
    kind: str,
    generator: torch.Generator,
    *,
    dtype: torch.dtype = torch.float32,
    noise: float = NOISE,
    rows: slice = slice(None),
    local_views: int = LOCAL_VIEWS,
    local_size: tuple[int, int] | None = None,
    split: float = 0.4,
) -> Views:
    """Draw the views of a training step.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        The images of the whole batch.
    kind : str
        One of ``TRAINING_VIEWS``: those described at :func:`draw_view`, and ``multicrop``, two
        global views at the size of the images and several local ones at a smaller size, with the
        colour changes of ``strong``, local ones blurred in half of the cases (2006.09882, section
        3; 2104.14294, section 3.1).
    generator : torch.Generator
        On the device of the images; advanced by the same draws whatever the rows.
    dtype : torch.dtype
        Floating type of the views. The draws do not depend on it.
    noise : float
        Of :func:`draw_view`.
    rows : slice
        Which rows of the batch to compute: on the CPU the views have the bits of these rows of the
        views of the whole batch. Pixels of other rows are not computed; only noise, whose draws are
        as many as the pixels, is drawn for all.
    local_views : int
        Number of local views of ``multicrop``, at least 0.
    local_size : tuple of int
        Their height and width. Default: 3/7 of the images', rounded, at least 1.
    split : float
        Area of the smallest global and the greatest local crop, as a share of the image's; local
        ones start at 0.05.

    Returns
    -------
    Views

    Raises
    ------
    ValueError
        If the images are not uint8 of that shape, the kind is unknown, or an option out of range.

    Examples
    --------
    >>> images = torch.zeros(4, 3, 14, 14, dtype=torch.uint8)
    >>> found = draw_views(images, "multicrop", torch.Generator(), rows=slice(0, 2), local_views=1)
    >>> [tuple(view.shape) for view in found.views], tuple(found.boxes.shape)
    ([(2, 3, 14, 14), (2, 3, 14, 14), (2, 3, 6, 6)], (2, 3, 5))
    """
    if kind not in TRAINING_VIEWS:
        raise ValueError(f"unknown views {kind!r}; expected one of {', '.join(TRAINING_VIEWS)}")
    if kind != "multicrop":
        drawn = [
            placed_view(images, kind, generator, which=i, dtype=dtype, noise=noise, rows=rows)
            for i in range(1 if kind == "mask" else 2)
        ]
        found = _gather(drawn)
        return _mask(found, images, generator, rows) if kind == "mask" else found
    check_images(images)
    height, width = images.shape[2:]
    small = local_size or (max(1, round(LOCAL_SHARE * height)), max(1, round(LOCAL_SHARE * width)))
    if local_views < 0 or len(small) != 2 or min(small) < 1:
        raise ValueError(
            f"local_views is {local_views} and local_size {small}; "
            "expected a count of at least 0 and two sides of at least 1"
        )
    if not _LEAST_AREA < split < 1:
        raise ValueError(f"split is {split}; expected a share between {_LEAST_AREA} and 1")
    recipes = [replace(recipe, area=(split, 1.0)) for recipe in STRONG]
    local = replace(STRONG[0], area=(_LEAST_AREA, split), blur_share=0.5)
    return _gather(
        [recipe_view(images, r, generator, dtype=dtype, rows=rows) for r in recipes]
        + [
            recipe_view(images, local, generator, size=small, dtype=dtype, rows=rows)
            for _ in range(local_views)
        ]
    )


def _mask(found: Views, images: torch.Tensor, generator: torch.Generator, rows: slice) -> Views:
    n, _, height, width = images.shape
    size = default_patch_size(height, width)
    if height % size or width % size or height * width == size**2:
        return found
    kept, masked = mask_patches(n, height * width // size**2, MASKED_SHARE, generator)
    return replace(found, kept=kept[rows], masked=masked[rows])


def _gather(drawn: Sequence[tuple[torch.Tensor, torch.Tensor | None]]) -> Views:
    boxes = [box for _, box in drawn if box is not None]
    return Views(tuple(view for view, _ in drawn), torch.stack(boxes, dim=1) if boxes else None)


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
    kind : str
        One of ``VIEWS``, described at :func:`draw_view`.
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
