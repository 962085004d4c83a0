"""Positive pairs of a data set, drawn from images or read from a file of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sslsim.data.datasets import holds_pairs, load_images, load_pairs

if TYPE_CHECKING:
    from sslsim.data.pairs import PairStream

DEFAULT_PAIRS = 1500


@dataclass(frozen=True, eq=False)
class PairSet:
    """Positive pairs and where they come from.

    Attributes
    ----------
    stream : PairStream or None
        The pairs as a stream of chunks; None where they came from a file of pairs.
    rows : tuple of two ndarrays, or None
        The pairs as arrays, of a file of pairs.
    groups : ndarray of int, shape (n_pairs,), or None
        Image each pair was drawn from; None where the pairs are independent.
    n_pairs, m : int
        Number of pairs and length of a view.
    n_images : int or None
        Number of images drawn from; None for a file of pairs.
    n_available : int or None
        Number of images of the data set; None for a file of pairs.
    views : str or None
        Kind of the views; None for a file of pairs.
    """

    stream: PairStream | None
    rows: tuple[NDArray[Any], NDArray[Any]] | None
    groups: NDArray[np.int64] | None
    n_pairs: int
    m: int
    n_images: int | None
    n_available: int | None
    views: str | None

    @property
    def views_per_image(self) -> int:
        """Number of views drawn of every image."""
        return 2 if self.stream is None else 2 * self.stream.pairs_per_image

    @property
    def array_bytes(self) -> int:
        """Memory that both views take as float64 arrays."""
        return 16 * self.n_pairs * self.m

    def arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Both views of all pairs in memory."""
        if self.rows is not None:
            return self.rows
        assert self.stream is not None
        return self.stream.arrays()


def load_pair_set(
    data: str,
    root: Path | None = None,
    *,
    split: str = "train",
    size: int | None = None,
    limit: int | None = None,
    views: str = "simclr",
    views_per_image: int = 2,
    pairs: int | None = None,
    seed: int = 0,
) -> PairSet:
    """Draw positive pairs from the images of a data set, or read them from a file of pairs.

    Parameters
    ----------
    data : str
        Data set as for :func:`sslsim.data.datasets.load_images`, or an ``.npz`` file with pairs
        ``x`` and ``x_prime`` of shape (n, m), which are used as they are.
    root : Path, optional
        Folder of the torchvision data sets.
    split, size, limit
        As for :func:`sslsim.data.datasets.load_images`; not for a file of pairs.
    views : str
        Kind of the views, see :func:`sslsim.data.pairs.draw_pairs`.
    views_per_image : int
        Views drawn of every image, an even number; they make disjoint pairs. Not for a file of
        pairs.
    pairs : int, optional
        Number of pairs; with more than two views of an image, of all pairs of the images that they
        need. Default: one an image, at most 1500; with more than two views, all of every image;
        every row of a file of pairs.
    seed : int
        Seed of the choice of images and of their views.

    Returns
    -------
    PairSet

    Raises
    ------
    ValueError
        If the data cannot be loaded, there are fewer than two pairs or images, or an option of
        images is given for a file of pairs.

    Examples
    --------
    >>> pairs = load_pair_set("digits", pairs=20)
    >>> pairs.n_pairs, pairs.m, pairs.arrays()[0].shape
    (20, 64, (20, 64))
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected a whole number, zero or above")
    if holds_pairs(data):
        options = {
            "split": (split, "train"),
            "size": (size, None),
            "limit": (limit, None),
            "views-per-image": (views_per_image, 2),
        }
        for name, (value, default) in options.items():
            if value != default:
                raise ValueError(
                    f"{name} is {value}, but {data} holds pairs, which are taken as they are; "
                    f"expected no --{name}"
                )
        x, x_prime = load_pairs(data)
        count = len(x) if pairs is None else pairs
        if not 2 <= count <= len(x):
            raise ValueError(f"pairs is {count}; expected from 2 to the {len(x)} pairs of {data}")
        rows = (x[:count], x_prime[:count])
        return PairSet(None, rows, None, count, x.shape[1], None, None, None)
    from sslsim.data.pairs import draw_pairs

    images = load_images(data, root, split=split, size=size, limit=limit).images
    if len(images) < 2:
        raise ValueError(f"{data} gives {len(images)} image(s); expected at least 2")
    if pairs is not None and pairs < 2:
        raise ValueError(f"pairs is {pairs}; expected at least 2")
    each = max(views_per_image // 2, 1)
    if pairs is None:
        count = min(DEFAULT_PAIRS, len(images)) if each == 1 else len(images) * each
    else:
        count = -(-pairs // each) * each
    stream = draw_pairs(images, views, count, views_per_image=views_per_image, seed=seed)
    groups = stream.groups if views_per_image > 2 else None
    used, available = len(stream.images), len(images)
    return PairSet(stream, None, groups, count, stream.dim, used, available, views)
