"""Positive pairs for a study, as its options describe them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from experiments.options import DataOptions, ModelOptions
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
    held : tuple of two ndarrays, or None
        The pairs as arrays, of a file of pairs.
    groups : ndarray of int, shape (n_pairs,), or None
        Image each pair was drawn from; None where the pairs are independent.
    n_pairs, m : int
        Number of pairs and length of a view.
    n_images : int or None
        Number of images drawn from; None for a file of pairs.
    views : str or None
        Kind of the views; None for a file of pairs.
    """

    stream: PairStream | None
    held: tuple[NDArray[Any], NDArray[Any]] | None
    groups: NDArray[np.int64] | None
    n_pairs: int
    m: int
    n_images: int | None
    views: str | None

    @property
    def array_bytes(self) -> int:
        """Memory that both views take as float64 arrays."""
        return 16 * self.n_pairs * self.m

    def arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Both views of all pairs in memory."""
        if self.held is not None:
            return self.held
        assert self.stream is not None
        return self.stream.arrays()


def gather_pairs(options: DataOptions, seed: int) -> PairSet:
    """Load the data set and draw its pairs.

    >>> pairs = gather_pairs(DataOptions(pairs=20), seed=0)
    >>> pairs.n_pairs, pairs.m, pairs.arrays()[0].shape
    (20, 64, (20, 64))
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected a whole number, zero or above")
    if holds_pairs(options.data):
        x, x_prime = load_pairs(options.data)
        for field in ("split", "size", "limit", "views_per_image"):
            if getattr(options, field) != getattr(DataOptions, field):
                name = field.replace("_", "-")
                raise ValueError(
                    f"{name} is {getattr(options, field)}, but {options.data} holds pairs, which "
                    f"are taken as they are; expected no --{name}"
                )
        count = len(x) if options.pairs is None else options.pairs
        if not 2 <= count <= len(x):
            raise ValueError(
                f"pairs is {count}; expected from 2 to the {len(x)} pairs of {options.data}"
            )
        held = (x[:count], x_prime[:count])
        return PairSet(None, held, None, count, x.shape[1], None, None)
    from sslsim.data.pairs import draw_pairs

    images = load_images(
        options.data, options.root, split=options.split, size=options.size, limit=options.limit
    ).images
    if len(images) < 2:
        raise ValueError(f"{options.data} gives {len(images)} image(s); expected at least 2")
    if options.pairs is not None and options.pairs < 2:
        raise ValueError(f"pairs is {options.pairs}; expected at least 2")
    most = len(images) * (options.views_per_image // 2)
    count = min(DEFAULT_PAIRS, most) if options.pairs is None else options.pairs
    stream = draw_pairs(
        images, options.views, count, views_per_image=options.views_per_image, seed=seed
    )
    groups = stream.groups if options.views_per_image > 2 else None
    return PairSet(stream, None, groups, count, stream.dim, len(stream.images), options.views)


def check_model(options: ModelOptions, m: int) -> None:
    """Check the options of the linear model against the data.

    >>> check_model(ModelOptions(dim=9), m=4)
    Traceback (most recent call last):
    ValueError: dim is 9; expected from 1 to the 4 features of a view
    """
    if not 1 <= options.dim <= m:
        raise ValueError(f"dim is {options.dim}; expected from 1 to the {m} features of a view")
    if not 0 < options.init_scale < np.inf:
        raise ValueError(f"init-scale is {options.init_scale}; expected a finite number above zero")
    if options.lr is not None and not 0 < options.lr < np.inf:
        raise ValueError(f"lr is {options.lr}; expected a finite number above zero")
    if not 0 < options.interval_level < 1:
        raise ValueError(f"interval-level is {options.interval_level}; expected between 0 and 1")
