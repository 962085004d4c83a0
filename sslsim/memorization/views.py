"""The views that images are scored by, in batches.

Images share a generator by blocks of numbers, and draws are made for whole blocks: what is drawn
for an image depends on the seed, its number and the kind of views alone, not on the images beside
it, and the first views stay the same when more are drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sslsim.core.seeds import derived_generator
from sslsim.data.augmentation import Changes, Recipe, change_images, draw_changes, take_rows
from sslsim.data.own_views import Kind
from sslsim.data.pixels import PixelStatistics
from sslsim.data.single_view import NOISE, RECIPES, check_images, draw_view, view_shape
from sslsim.encoders.checks import check_count

_VIEWS = 12  # purpose of the draws
_BLOCK = 64  # numbers that share a generator


def number_blocks(numbers: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Blocks that images belong to by their numbers.

    Parameters
    ----------
    numbers : Tensor of int64, shape (n,)
        Number of each image.

    Yields
    ------
    int
        A block.
    Tensor of int64, shape (r,)
        Places of its images.

    Examples
    --------
    >>> [(block, rows.tolist()) for block, rows in number_blocks(torch.tensor([70, 1, 64]))]
    [(0, [1]), (1, [0, 2])]
    """
    of = numbers // _BLOCK
    for block in of.unique().tolist():
        yield block, (of == block).nonzero()[:, 0]


def view_batches(
    images: torch.Tensor,
    numbers: torch.Tensor,
    kind: Kind,
    views: int,
    *,
    in_turn: bool = True,
    noise: float = NOISE,
    seed: int = 0,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
) -> Iterator[torch.Tensor]:
    """Views of the images of one block.

    Parameters
    ----------
    images : Tensor of uint8, shape (r, c, h, w)
        Images of one of :func:`number_blocks`.
    numbers : Tensor of int64, shape (r,)
        Their numbers, all different.
    kind : str
        One of ``sslsim.data.views.VIEWS``.
    views : int
        Views of each image.
    in_turn : bool
        Draw the first and the second view of a pair in turn; else the first only.
    noise : float
        Of :func:`sslsim.data.single_view.draw_view`.
    seed : int
        Seed of the draws.
    batch_size : int
        Views at a time. The views do not depend on it, on the CPU in no bit.
    dtype : torch.dtype
        Floating type of the views.

    Yields
    ------
    Tensor, shape (b, c, h', w')
        The first view of all images, then the second, and so on; b of ``batch_size`` but for the
        last.

    Examples
    --------
    >>> images = torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8)
    >>> found = view_batches(images, torch.arange(5), "weak", 3, batch_size=8)
    >>> [tuple(batch.shape) for batch in found]
    [(8, 1, 8, 8), (7, 1, 8, 8)]
    """
    generator = derived_generator(seed, _VIEWS, int(numbers[0]) // _BLOCK, images.device)
    places = numbers % _BLOCK
    turns = 2 if in_turn else 1
    if kind in RECIPES:
        recipes = RECIPES[kind][:turns]
        yield from _changed(images, places, recipes, generator, views, batch_size, dtype)
        return
    block = images.new_zeros(_BLOCK, *images.shape[1:])
    block[places] = images
    waiting: list[torch.Tensor] = []
    for number in range(views):
        which = number % turns
        view = draw_view(block, kind, generator, which=which, noise=noise, dtype=dtype)
        waiting.append(view[places])
        if sum(map(len, waiting)) >= batch_size:
            *full, rest = torch.cat(waiting).split(batch_size)
            waiting = [rest] if len(rest) < batch_size else []
            yield from full if waiting else [*full, rest]
    if waiting:
        yield torch.cat(waiting)


@dataclass(frozen=True, eq=False)
class ViewPairs:
    """Pairs of views of every image, drawn anew in the same way at every pass.

    Iteration yields the first and the second views of all pairs, block by block, as two arrays
    (r * pairs, c * h * w): what the closed forms of ``theory`` read.

    Attributes
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        The images.
    numbers : Tensor of int64, shape (n,)
        Number of every image, by which its views are drawn.
    kind : str
        Kind of the views.
    pairs : int
        Pairs of every image.
    seed : int
        Seed of the draws.
    pixels : PixelStatistics or None
        Statistics by which views are standardised.
    noise : float
        As for :func:`view_batches`.
    dtype : torch.dtype
        Floating type of the views.

    Raises
    ------
    ValueError
        If the images are no such tensor, the kind is unknown, ``pairs`` or the seed is out of
        range, or numbers are not different ones from 0 on.

    Examples
    --------
    >>> images = torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8)
    >>> pairs = ViewPairs(images, torch.arange(5), "crops", 3, 0)
    >>> pairs.stacked().shape, [x.shape for x, x_prime in pairs]
    (torch.Size([5, 3, 2, 1, 6, 6]), [(15, 36)])
    """

    images: torch.Tensor
    numbers: torch.Tensor
    kind: Kind
    pairs: int
    seed: int
    pixels: PixelStatistics | None = None
    noise: float = NOISE
    dtype: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        check_images(self.images)
        view_shape(self.kind, self.images.shape[1:])
        check_count("pairs", self.pairs)
        if type(self.seed) is not int or self.seed < 0:
            raise ValueError(f"seed is {self.seed!r}; expected a whole number of at least 0")
        count, different = len(self.images), len(self.numbers.unique())
        if self.numbers.shape != (count,) or different < count or self.numbers.min() < 0:
            raise ValueError(
                f"numbers has shape {tuple(self.numbers.shape)} and {different} values; "
                f"expected {count} different ones from 0 on"
            )

    def blocks(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield places of images (r,) and their views (r, pairs, 2, c, h, w)."""
        for _, rows in number_blocks(self.numbers):
            batches = view_batches(
                self.images[rows], self.numbers[rows], self.kind, 2 * self.pairs,
                noise=self.noise, seed=self.seed, dtype=self.dtype,
            )  # fmt: skip
            views = torch.cat(list(batches))
            if self.pixels is not None:
                views = self.pixels.standardise(views)
            yield rows, views.unflatten(0, (self.pairs, 2, len(rows))).movedim(2, 0)

    def __iter__(self) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        for _, views in self.blocks():
            x, x_prime = views.flatten(3).flatten(0, 1).cpu().numpy().swapaxes(0, 1)
            yield x, x_prime

    def stacked(self) -> torch.Tensor:
        """All views at once, (n, pairs, 2, c, h, w)."""
        shape = view_shape(self.kind, self.images.shape[1:])
        whole = self.images.new_empty(len(self.images), self.pairs, 2, *shape, dtype=self.dtype)
        for rows, views in self.blocks():
            whole[rows] = views
        return whole


def _changed(
    images: torch.Tensor,
    places: torch.Tensor,
    recipes: tuple[Recipe, ...],
    generator: torch.Generator,
    views: int,
    batch_size: int,
    dtype: torch.dtype,
) -> Iterator[torch.Tensor]:
    """All changes are drawn first, a few numbers a view, then batches are changed as they come."""
    height, width = images.shape[2:]
    rows, turns = len(images), min(len(recipes), views)
    drawn = []
    for number in range(views):
        whole = draw_changes(_BLOCK, height, width, recipes[number % turns], generator)
        drawn.append(take_rows(whole, places))
    if len(set(recipes)) == 1:
        turns = 1  # all views may be changed together
    of_turn = [_joined(drawn[turn::turns]) for turn in range(turns)]
    for index in torch.arange(views * rows, device=images.device).split(batch_size):
        number, row = index // rows, index % rows
        if turns == 1:
            yield change_images(images[row], take_rows(of_turn[0], index), dtype=dtype)
            continue
        batch = torch.empty(len(index), *images.shape[1:], dtype=dtype, device=images.device)
        for turn in range(turns):
            mine = number % turns == turn
            own = number[mine] // turns * rows + row[mine]
            batch[mine] = change_images(
                images[row[mine]], take_rows(of_turn[turn], own), dtype=dtype
            )
        yield batch


def _joined(parts: list[Changes]) -> Changes:
    columns: dict[str, Any] = {}
    for field in fields(Changes):
        column = [getattr(part, field.name) for part in parts]
        columns[field.name] = None if column[0] is None else torch.cat(column)
    return Changes(**columns)
