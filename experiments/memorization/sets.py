"""The four sets of the split protocol: drawn by lot, or of a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from experiments.memorization.options import MemorizationOptions
from experiments.memorization.statistics import SETS
from experiments.runs import read_arrays
from sslsim.seeds import derived_generator

_SETS = 16  # purpose of the draw of the sets


def drawn_sets(
    options: MemorizationOptions, kinds: torch.Tensor, held_out_kinds: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Draw the sets by lot, each with its share of the planted outliers.

    Parameters
    ----------
    options : MemorizationOptions
        Sizes, the share of outliers and the seed of the draw.
    kinds, held_out_kinds : Tensor of int64, shape (count,)
        Kinds of the outliers among training images and held-out ones; 0 for others.

    Returns
    -------
    dict of str to Tensor of int64
        Places of the images of every set of ``SETS``, among the held-out ones of ``external``. The
        number of outliers is the set's size times the share, to one, their kinds are equally
        frequent, to one.

    Raises
    ------
    ValueError
        If a set is to have fewer than two points, or there are too few images.

    Examples
    --------
    >>> options = MemorizationOptions(shared=4, candidates=2, independent=2, external=2)
    >>> found = drawn_sets(options, torch.zeros(9, dtype=torch.int64), torch.zeros(2))
    >>> {name: len(places) for name, places in found.items()}
    {'candidate': 2, 'independent': 2, 'shared': 4, 'external': 2}
    """
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
    """Sets of a file.

    Parameters
    ----------
    path : Path
        An .npz file with an array of places for every set of ``SETS``.

    Returns
    -------
    dict of str to Tensor of int64
        Places of the images of every set.

    Raises
    ------
    ValueError
        If the file cannot be read, or lacks a set of two whole numbers or more.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "sets.npz"
    >>> np.savez(path, candidate=[0, 1], independent=[2, 3], shared=[4, 5], external=[0, 1])
    >>> given_sets(path)["shared"]
    tensor([4, 5])
    """
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
    """Refuse sets that are no four-way split.

    Parameters
    ----------
    sets : dict of str to Tensor of int64
        Places of the images of every set.
    count, held_out : int
        Number of training images, and of held-out ones.

    Raises
    ------
    ValueError
        If a place is out of range, a set holds an image twice, or two sets of training images
        overlap.

    Examples
    --------
    >>> places = torch.arange(2)
    >>> check_sets({name: places for name in SETS}, 9, 9)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: image 0 is in the sets candidate and independent; expected disjoint ones: ...
    """
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
