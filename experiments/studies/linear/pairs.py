"""The pairs and the linear model that options describe."""

from __future__ import annotations

import math

from experiments.options import DataOptions, ModelOptions
from sslsim.data.pair_sets import PairSet, load_pair_set


def gather_pairs(options: DataOptions, seed: int) -> PairSet:
    """Load the data set and draw its pairs."""
    return load_pair_set(
        options.data,
        options.root,
        split=options.split,
        size=options.size,
        limit=options.limit,
        views=options.views,
        views_per_image=options.views_per_image,
        pairs=options.pairs,
        seed=seed,
    )


def image_shape(pairs: PairSet, options: DataOptions) -> tuple[int, ...]:
    """Channels, height and width of a view, for convolutions."""
    if pairs.stream is None:
        raise ValueError(f"{options.data} holds pairs of vectors; expected images for convolutions")
    from sslsim.data.single_view import view_shape

    return tuple(view_shape(pairs.stream.kind, pairs.stream.images.shape[1:]))


def check_model(options: ModelOptions, m: int) -> None:
    """Check the options of the linear model against the data.

    >>> check_model(ModelOptions(dim=9), m=4)
    Traceback (most recent call last):
    ValueError: dim is 9; expected from 1 to the 4 features of a view
    """
    if not 1 <= options.dim <= m:
        raise ValueError(f"dim is {options.dim}; expected from 1 to the {m} features of a view")
    if not 0 < options.init_scale < math.inf:
        raise ValueError(f"init-scale is {options.init_scale}; expected a finite number above zero")
    if options.lr is not None and not 0 < options.lr < math.inf:
        raise ValueError(f"lr is {options.lr}; expected a finite number above zero")
    if not 0 < options.interval_level < 1:
        raise ValueError(f"interval-level is {options.interval_level}; expected between 0 and 1")
