"""Planted outliers: images made unlike all others, to see whether scores find them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import stats

from sslsim.core.seeds import derived_generator

KINDS = ("none", "inverted", "noise", "collage", "colours")

_PLANTED = 15  # purpose of the draws
_NOISE = 0.6  # share of noise in a blend


def plant_atypical(
    images: torch.Tensor, share: float, *, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make a share of the images outliers, without regard to any label.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        Grey or colour images.
    share : float
        Share of outliers, from 0 to 1; their number is rounded.
    seed : int
        Seed of the choice and of the noise.

    Returns
    -------
    changed : Tensor of uint8, shape (n, c, h, w)
        A copy: outliers are inverted, or blended with 60 % of uniform noise, or collages that keep
        one quadrant and have three of other images, or, where there are colours, have their
        channels exchanged in a cycle.
    kinds : Tensor of int64, shape (n,)
        Places in ``KINDS``; 0 for images left as they were. Every kind is as frequent, to one.

    Raises
    ------
    ValueError
        If the share is no number from 0 to 1.

    Examples
    --------
    >>> images = torch.zeros(10, 1, 2, 2, dtype=torch.uint8)
    >>> changed, kinds = plant_atypical(images, 0.4)
    >>> sorted(kinds.tolist()), int(changed[kinds == 1].min())
    ([0, 0, 0, 0, 0, 0, 1, 1, 2, 3], 255)
    """
    if not 0 <= share <= 1:
        raise ValueError(f"atypical is {share}; expected a share from 0 to 1")
    count = round(share * len(images))
    generator = derived_generator(seed, _PLANTED, 0)
    places = torch.randperm(len(images), generator=generator)[:count]
    kinds = torch.zeros(len(images), dtype=torch.int64)
    kinds[places] = 1 + torch.arange(count) % (4 if images.shape[1] == 3 else 3)
    changed = images.clone()
    changed[kinds == 1] = 255 - images[kinds == 1]
    blended = images[kinds == 2]
    noise = torch.rand(blended.shape, generator=generator) * 255
    changed[kinds == 2] = ((1 - _NOISE) * blended + _NOISE * noise).round().to(torch.uint8)
    changed[kinds == 3] = _collages(images, (kinds == 3).nonzero()[:, 0], generator)
    changed[kinds == 4] = images[kinds == 4].roll(1, dims=1)
    return changed, kinds


def outlier_auc(scores: ArrayLike, atypical: ArrayLike, ordinary: ArrayLike) -> float:
    """Area under the ROC curve of scores that tell outliers from other images.

    Parameters
    ----------
    scores : array_like, shape (n,)
        Memorisation scores.
    atypical, ordinary : array_like of bool, shape (n,)
        Outliers, and the images that they are compared with; one of either at least.

    Returns
    -------
    float
        Chance that an outlier scores above another image, ties counting half.

    Examples
    --------
    >>> outlier_auc([0.5, 0.5, 0.1, 0.9], [True, False, False, False], [False, True, True, True])
    0.5
    """
    table = np.asarray(scores)
    first, others = table[np.asarray(atypical)], table[np.asarray(ordinary)]
    return float(stats.mannwhitneyu(first, others).statistic / (len(first) * len(others)))


def _collages(
    images: torch.Tensor, places: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Images at these places with three quadrants of others."""
    collages = images[places]
    rows, columns = (size // 2 for size in images.shape[2:])
    upper, lower, left, right = slice(rows), slice(rows, None), slice(columns), slice(columns, None)
    for down, across in ((upper, right), (lower, left), (lower, right)):
        donors = torch.randint(len(images), (len(places),), generator=generator)
        collages[..., down, across] = images[donors][..., down, across]
    return collages
