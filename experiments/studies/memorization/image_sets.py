"""The four sets of the split protocol: drawn by lot, or of a file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.studies.memorization.options import MemorizationOptions
from sslsim.core.files import read_arrays
from sslsim.core.seeds import derived_generator
from sslsim.data.datasets import Images, part_of
from sslsim.data.single_view import VIEWS
from sslsim.memorization.outliers import plant_atypical
from sslsim.memorization.statistics import SETS
from sslsim.runs.setup import split_data

_SETS = 16  # purpose of the draw of the sets


def drawn_sets(
    options: MemorizationOptions, kinds: torch.Tensor, held_out_kinds: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Draw the sets by lot, each with its share of the planted outliers."""
    counts = (options.candidates, options.independent, options.shared, options.external)
    sizes = dict(zip(SETS, counts, strict=True))
    for name, size in sizes.items():
        if size < 2:
            raise ValueError(f"the {name} set is to have {size} point(s); expected at least 2")
    inside = sum(sizes[name] for name in SETS if name != "external")
    if inside > len(kinds) or sizes["external"] > len(held_out_kinds):
        raise ValueError(
            f"shared, candidates and independent come to {inside} and external to "
            f"{sizes['external']}; expected at most {len(kinds)} training images and "
            f"{len(held_out_kinds)} held-out ones"
        )
    generator = derived_generator(options.draw_seed, _SETS, 0)
    queues = {False: _queues(kinds, generator), True: _queues(held_out_kinds, generator)}
    sets = {}
    for name, size in sizes.items():
        outliers, ordinary = queues[name == "external"]
        count = min(round(options.atypical * size), len(outliers))
        count += max(0, size - count - len(ordinary))
        sets[name] = torch.cat([outliers[:count], ordinary[: size - count]])
        queues[name == "external"] = outliers[count:], ordinary[size - count :]
    return sets


def _queues(kinds: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Places of outliers, their kinds in turn, and of all others, in an order by lot."""
    order = torch.randperm(len(kinds), generator=generator)
    outliers = order[kinds[order] > 0]
    if len(outliers):
        turns = torch.zeros_like(kinds)
        for kind in kinds[outliers].unique():
            turns[order[kinds[order] == kind]] = torch.arange(int((kinds == kind).sum()))
        outliers = outliers[turns[outliers].argsort(stable=True)]
    return outliers, order[kinds[order] == 0]


def given_sets(path: Path) -> dict[str, torch.Tensor]:
    """Sets of a file."""
    arrays = read_arrays(path)
    if missing := [name for name in SETS if name not in arrays]:
        raise ValueError(f"{path} lacks {missing[0]!r}; expected {', '.join(SETS)}")
    sets = {}
    for name in SETS:
        if arrays[name].ndim != 1 or arrays[name].dtype.kind not in "iu" or len(arrays[name]) < 2:
            raise ValueError(
                f"{path}: {name} is {arrays[name].dtype} of shape {arrays[name].shape}; expected "
                "places of at least 2 images"
            )
        sets[name] = torch.as_tensor(arrays[name].astype(np.int64))
    return sets


def check_sets(sets: dict[str, torch.Tensor], count: int, held_out: int) -> None:
    """Refuse sets that are no four-way split."""
    for name, places in sets.items():
        images = held_out if name == "external" else count
        if places.min() < 0 or places.max() >= images:
            raise ValueError(
                f"the {name} set holds places from {int(places.min())} to {int(places.max())}; "
                f"expected some of 0 to {images - 1}"
            )
        if len(places.unique()) < len(places):
            raise ValueError(f"the {name} set holds an image twice; expected different ones")
    inside = [name for name in SETS if name != "external"]
    for i, one in enumerate(inside):
        for other in inside[i + 1 :]:
            common = sets[one][torch.isin(sets[one], sets[other])]
            if len(common):
                raise ValueError(
                    f"image {int(common[0])} is in the sets {one} and {other}; expected disjoint "
                    "ones: an encoder trained on it would count as one trained without it"
                )


FAMILIES = {"f": ("shared", "candidate"), "g": ("shared", "independent")}  # trained on what


@dataclass(frozen=True, eq=False)
class ScoredImages:
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
        Kinds of planted outliers, places in ``sslsim.memorization.outliers.KINDS``.
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


def draw_points(options: MemorizationOptions) -> ScoredImages:
    """Load the data set, plant outliers and draw what is scored.

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
    return ScoredImages(
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


def trained_on(points: ScoredImages, rows: torch.Tensor) -> Images:
    """Images to train an encoder on.

    >>> points = draw_points(MemorizationOptions(protocol="subsample", pool=6, limit=6))
    >>> torch.equal(trained_on(points, torch.tensor([2, 0])).images, points.images[[0, 2]])
    True
    """
    return part_of(points.data, points.numbers[rows].sort().values)


def sets_of(points: ScoredImages) -> NDArray[np.int64]:
    """Set of every image scored.

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
