"""The images of a study: what encoders are trained on, what is scored, and in which sets it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.memorization.atypical import plant_atypical
from experiments.memorization.options import MemorizationOptions
from experiments.memorization.sets import check_sets, drawn_sets, given_sets
from experiments.memorization.statistics import SETS
from experiments.train_setup import part_of, split_data
from sslsim.data import Images
from sslsim.single_view import VIEWS

FAMILIES = {"f": ("shared", "candidate"), "g": ("shared", "independent")}  # trained on what


@dataclass(frozen=True, eq=False)
class Points:
    """What is scored.

    Attributes
    ----------
    data, held_out : Images
        Training images, of which encoders see a part each, and held-out ones, outliers included.
    numbers : Tensor of int64, shape (n,)
        Of the images scored: places in ``data``, and of external ones that of ``held_out`` after
        them. Draws of views go by these numbers.
    images : Tensor of uint8, shape (n, c, h, w)
        The images scored.
    sets : dict of str to Tensor of int64
        Places among the n of every set of the split protocol; empty for the others.
    atypical : Tensor of int64, shape (n,)
        Kinds of planted outliers, places in ``experiments.memorization.atypical.KINDS``.
    """

    data: Images
    held_out: Images
    numbers: torch.Tensor
    images: torch.Tensor
    sets: dict[str, torch.Tensor]
    atypical: torch.Tensor

    @property
    def classes(self) -> int | None:
        """Classes of the training images, of which parts may lack some; None without labels."""
        labels = self.data.labels
        return None if labels is None else int(labels.max()) + 1


def draw_points(options: MemorizationOptions) -> Points:
    """Load the data set, plant outliers and draw what is scored.

    Parameters
    ----------
    options : MemorizationOptions
        Data, protocol, sizes and the seed of the draws.

    Returns
    -------
    Points
        The same for all methods, networks and seeds of training.

    Raises
    ------
    ValueError
        If there are too few images for the sets, the sets of a file overlap or lie outside the
        data, or a size is below two.

    Examples
    --------
    >>> found = draw_points(MemorizationOptions(shared=10, candidates=4, independent=3, external=2))
    >>> {name: len(places) for name, places in found.sets.items()}, len(found.images)
    ({'candidate': 4, 'independent': 3, 'shared': 10, 'external': 2}, 19)
    """
    data, held_out = split_data(options)
    data, kinds = _planted(data, options, 0)
    held_out, held_out_kinds = _planted(held_out, options, 1)
    if options.protocol == "split":
        sets = (
            given_sets(options.sets) if options.sets else drawn_sets(options, kinds, held_out_kinds)
        )
        check_sets(sets, len(data.images), len(held_out.images))
        numbers = torch.cat(
            [sets[name] + (len(data.images) if name == "external" else 0) for name in SETS]
        )
    else:
        count = len(data.images)
        if not 4 <= options.pool <= count:
            raise ValueError(f"pool is {options.pool}; expected 4 to {count}, the training images")
        sets, numbers = {}, torch.arange(options.pool) * count // options.pool
    ends = np.cumsum([len(sets[name]) for name in SETS]) if sets else ()
    return Points(
        data=data,
        held_out=held_out,
        numbers=numbers,
        images=torch.cat([data.images, held_out.images])[numbers],
        sets={
            name: torch.arange(end - len(sets[name]), end)
            for name, end in zip(SETS, map(int, ends), strict=False)
        },
        atypical=torch.cat([kinds, held_out_kinds])[numbers],
    )


def trained_on(points: Points, rows: torch.Tensor) -> Images:
    """Images to train an encoder on.

    Parameters
    ----------
    points : Points
        Of the study.
    rows : Tensor of int64
        Places among the scored images, none of them external.

    Returns
    -------
    Images
        In ascending order of their numbers, with their labels.

    Examples
    --------
    >>> points = draw_points(MemorizationOptions(protocol="subsample", pool=6, limit=6))
    >>> torch.equal(trained_on(points, torch.tensor([2, 0])).images, points.images[[0, 2]])
    True
    """
    return part_of(points.data, points.numbers[rows].sort().values)


def sets_of(points: Points) -> NDArray[np.int64]:
    """Set of every image scored.

    Parameters
    ----------
    points : Points
        Of the study.

    Returns
    -------
    ndarray of int, shape (n,)
        Places in ``SETS``; -1 where there are no sets.

    Examples
    --------
    >>> sets_of(draw_points(MemorizationOptions(protocol="subsample", pool=4, limit=20))).tolist()
    [-1, -1, -1, -1]
    """
    sets = np.full(len(points.images), -1)
    for code, name in enumerate(SETS):
        if name in points.sets:
            sets[points.sets[name].numpy()] = code
    return sets


def scored_views(options: MemorizationOptions, kind: str) -> str:
    """Kind of the views that are compared.

    Parameters
    ----------
    options : MemorizationOptions
        May say so.
    kind : str
        Of the views in training.

    Returns
    -------
    str
        One of ``sslsim.single_view.VIEWS``.

    Raises
    ------
    ValueError
        If the option names views that are no single pictures.

    Examples
    --------
    >>> [scored_views(MemorizationOptions(), kind) for kind in ("multicrop", "mask")]
    ['strong', 'mask']
    """
    if options.score_views is not None and options.score_views not in VIEWS:
        raise ValueError(
            f"score_views is {options.score_views!r}; expected one of {', '.join(VIEWS)}"
        )
    return options.score_views or (kind if kind in VIEWS else "strong")


def _planted(data: Images, options: MemorizationOptions, part: int) -> tuple[Images, torch.Tensor]:
    images, kinds = plant_atypical(data.images, options.atypical, seed=2 * options.draw_seed + part)
    return replace(data, images=images), kinds
