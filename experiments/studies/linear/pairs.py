"""The pairs and the linear model that options describe."""

from __future__ import annotations

import math
from typing import Any

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
        views_per_image=2 if options.views_per_image is None else options.views_per_image,
        pairs=options.pairs,
        seed=seed,
    )


def all_views(pairs: PairSet, in_memory: int = 2**30) -> Any:
    """All views of every image: an array (n, k, m), or a stream of such chunks if it is large."""
    assert pairs.stream is not None
    views = pairs.stream.views()
    return views if pairs.array_bytes > in_memory else views.arrays()


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
