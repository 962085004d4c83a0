"""The images of a study: the four sets of the split protocol, or a pool, with planted outliers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sslsim.core.files import read_arrays
from sslsim.core.seeds import derived_generator
from sslsim.data.datasets import Images, part_of
from sslsim.memorization.outliers import plant_atypical
from sslsim.memorization.statistics import SETS

FAMILIES = {"f": ("shared", "candidate"), "g": ("shared", "independent")}
"""Sets that the encoders f and g of a pair are trained on."""

_SETS = 16  # purpose of the draw of the sets
_RANKED = (-1, SETS.index("candidate"))  # of the four sets candidates alone can be memorised


@dataclass(frozen=True, eq=False)
class ScoredImages:
    """Images that are scored, and the data set they are of.

    Attributes
    ----------
    data, held_out : Images
        Training images, of which encoders see a part each, and held-out ones, outliers included.
    numbers : Tensor of int64, shape (n,)
        Places of the images scored in ``data``, and of external ones in ``held_out`` after them.
        Draws of views go by these numbers.
    images : Tensor of uint8, shape (n, c, h, w)
        The images scored.
    sets : dict of str to Tensor of int64
        Places among the n of every set of the split protocol; empty for a pool.
    atypical : Tensor of int64, shape (n,)
        Kinds of planted outliers, places in ``sslsim.memorization.outliers.KINDS``.
    natural : Tensor of int64
        Places in ``data`` of the training images that are as they were, not planted outliers.
    """

    data: Images
    held_out: Images
    numbers: torch.Tensor
    images: torch.Tensor
    sets: dict[str, torch.Tensor]
    atypical: torch.Tensor
    natural: torch.Tensor

    @property
    def classes(self) -> int | None:
        """Classes of the training images, of which parts may lack some; None without labels."""
        labels = self.data.labels
        return None if labels is None else int(labels.max()) + 1

    def part(self, rows: torch.Tensor) -> Images:
        """Training images at these places among the n, in the order of the data."""
        return part_of(self.data, self.numbers[rows].sort().values)

    def rows(self, family: str) -> torch.Tensor:
        """Places of the images that encoders f or g are trained on."""
        return torch.cat([self.sets[name] for name in FAMILIES[family]])

    def set_codes(self) -> NDArray[np.int64]:
        """Set of every image, a place in ``SETS``; -1 in a pool."""
        codes = np.full(len(self.images), -1)
        for code, name in enumerate(SETS):
            if name in self.sets:
                codes[self.sets[name].numpy()] = code
        return codes

    def ranked(self) -> NDArray[np.bool_]:
        """Which images a study ranks: the pool, or the candidates."""
        return is_ranked(self.set_codes())


def is_ranked(codes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which images a study ranks, by their sets.

    Parameters
    ----------
    codes : ndarray of int, shape (n,)
        As :meth:`ScoredImages.set_codes` gives them.

    Returns
    -------
    ndarray of bool, shape (n,)

    Examples
    --------
    >>> is_ranked(np.array([-1, 0, 1, 2])).tolist()
    [True, True, False, False]
    """
    return np.isin(codes, _RANKED)


def split_images(
    data: Images,
    held_out: Images,
    sets: Mapping[str, int] | Path,
    *,
    atypical: float = 0.0,
    seed: int = 0,
) -> ScoredImages:
    """Images of the split protocol: four sets, outliers planted before anything is trained.

    Parameters
    ----------
    data, held_out : Images
        Training images, and those of the external set.
    sets : mapping of str to int, or Path
        Size of every one of ``SETS``, drawn at random; or an .npz file with their places.
    atypical : float
        Share of outliers in every set, from 0 to 1.
    seed : int
        Seed of the sets and of the outliers.

    Returns
    -------
    ScoredImages
        In the order of ``SETS``.

    Raises
    ------
    ValueError
        If there are not enough images, or the sets of a file are not disjoint sets of two images at
        least.

    Notes
    -----
    The sets of arXiv 2401.12233, section 4.

    Examples
    --------
    >>> from sslsim.data.datasets import load_images
    >>> sizes = {"candidate": 4, "independent": 3, "shared": 10, "external": 2}
    >>> data, held_out = load_images(limit=40), load_images(split="test", limit=20)
    >>> split_images(data, held_out, sizes).images.shape
    torch.Size([19, 1, 8, 8])
    """
    data, kinds = _planted(data, atypical, 2 * seed)
    held_out, held_out_kinds = _planted(held_out, atypical, 2 * seed + 1)
    if isinstance(sets, Path):
        places = read_sets(sets)
    else:
        places = draw_sets(sets, kinds, held_out_kinds, atypical=atypical, seed=seed)
    _check_sets(places, len(data.images), len(held_out.images))
    numbers = torch.cat(
        [places[name] + (len(data.images) if name == "external" else 0) for name in SETS]
    )
    parts = torch.arange(len(numbers)).split([len(places[name]) for name in SETS])
    rows = dict(zip(SETS, parts, strict=True))
    return _scored_images(data, held_out, numbers, rows, torch.cat([kinds, held_out_kinds]))


def pool_images(
    data: Images, held_out: Images, size: int, *, atypical: float = 0.0, seed: int = 0
) -> ScoredImages:
    """A pool of training images, spread evenly over the data set, with planted outliers.

    Parameters
    ----------
    data, held_out : Images
        Training images and held-out ones.
    size : int
        Images of the pool, at least 4.
    atypical, seed
        As for :func:`split_images`.

    Returns
    -------
    ScoredImages

    Raises
    ------
    ValueError
        If the size is out of range.

    Examples
    --------
    >>> from sslsim.data.datasets import load_images
    >>> pool_images(load_images(limit=20), load_images(split="test"), 4).numbers.tolist()
    [0, 5, 10, 15]
    """
    data, kinds = _planted(data, atypical, 2 * seed)
    held_out, held_out_kinds = _planted(held_out, atypical, 2 * seed + 1)
    count = len(data.images)
    if not 4 <= size <= count:
        raise ValueError(f"pool is {size}; expected 4 to {count}, the training images")
    numbers = torch.arange(size) * count // size
    return _scored_images(data, held_out, numbers, {}, torch.cat([kinds, held_out_kinds]))


def draw_sets(
    sizes: Mapping[str, int],
    kinds: torch.Tensor,
    held_out_kinds: torch.Tensor,
    *,
    atypical: float = 0.0,
    seed: int = 0,
) -> dict[str, torch.Tensor]:
    """Draw the four sets, each with its share of the planted outliers.

    Parameters
    ----------
    sizes : mapping of str to int
        Size of every one of ``SETS``, at least 2.
    kinds, held_out_kinds : Tensor of int64, shape (n,)
        Kind of outlier of every training image and held-out one, 0 for none.
    atypical : float
        Share of outliers in every set.
    seed : int
        Seed of the draw.

    Returns
    -------
    dict of str to Tensor of int64
        Places of each set; of external images among the held-out ones.

    Raises
    ------
    ValueError
        If a set is too small, or there are not enough images.

    Examples
    --------
    >>> sizes = {"candidate": 2, "independent": 2, "shared": 3, "external": 2}
    >>> sets = draw_sets(sizes, torch.zeros(7), torch.zeros(2))
    >>> sorted(torch.cat([sets[name] for name in SETS[:3]]).tolist())
    [0, 1, 2, 3, 4, 5, 6]
    """
    for name in SETS:
        if sizes[name] < 2:
            raise ValueError(
                f"the {name} set is to have {sizes[name]} point(s); expected at least 2"
            )
    inside = sum(sizes[name] for name in SETS if name != "external")
    if inside > len(kinds) or sizes["external"] > len(held_out_kinds):
        raise ValueError(
            f"shared, candidates and independent come to {inside} and external to "
            f"{sizes['external']}; expected at most {len(kinds)} training images and "
            f"{len(held_out_kinds)} held-out ones"
        )
    generator = derived_generator(seed, _SETS, 0)
    queues = {False: _queues(kinds, generator), True: _queues(held_out_kinds, generator)}
    sets = {}
    for name in SETS:
        outliers, ordinary = queues[name == "external"]
        count = min(round(atypical * sizes[name]), len(outliers))
        count += max(0, sizes[name] - count - len(ordinary))
        rest = sizes[name] - count
        sets[name] = torch.cat([outliers[:count], ordinary[:rest]])
        queues[name == "external"] = outliers[count:], ordinary[rest:]
    return sets


def read_sets(path: Path) -> dict[str, torch.Tensor]:
    """Places of the four sets, of an .npz file.

    Parameters
    ----------
    path : Path
        A file with an array of whole numbers for each of ``SETS``.

    Returns
    -------
    dict of str to Tensor of int64

    Raises
    ------
    ValueError
        If the file cannot be read, or a set is missing or holds no places of 2 images at least.

    Examples
    --------
    >>> read_sets(Path("nowhere.npz"))
    Traceback (most recent call last):
    ValueError: nowhere.npz cannot be read: No such file or directory
    """
    arrays = read_arrays(path)
    if missing := [name for name in SETS if name not in arrays]:
        raise ValueError(f"{path} lacks {missing[0]!r}; expected {', '.join(SETS)}")
    for name in SETS:
        if arrays[name].ndim != 1 or arrays[name].dtype.kind not in "iu" or len(arrays[name]) < 2:
            raise ValueError(
                f"{path}: {name} is {arrays[name].dtype} of shape {arrays[name].shape}; expected "
                "places of at least 2 images"
            )
    return {name: torch.as_tensor(arrays[name].astype(np.int64)) for name in SETS}


def image_hashes(images: torch.Tensor) -> NDArray[np.int64]:
    """A number for every image that tells it from others.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        On the CPU.

    Returns
    -------
    ndarray of int64, shape (n,)
        Equal for equal images of one shape, different for others.

    Examples
    --------
    >>> hashes = image_hashes(torch.tensor([0, 1, 0], dtype=torch.uint8).reshape(3, 1, 1, 1))
    >>> bool(hashes[0] == hashes[2]), bool(hashes[0] == hashes[1])
    (True, False)
    """
    shape = str(tuple(images.shape[1:])).encode()
    digests = [
        hashlib.blake2b(shape + image.tobytes(), digest_size=8).digest()
        for image in images.contiguous().numpy()
    ]
    return np.array([int.from_bytes(digest, "big") >> 1 for digest in digests], dtype=np.int64)


def _scored_images(
    data: Images,
    held_out: Images,
    numbers: torch.Tensor,
    sets: dict[str, torch.Tensor],
    kinds: torch.Tensor,
) -> ScoredImages:
    images = torch.cat([data.images, held_out.images])[numbers]
    natural = (kinds[: len(data.images)] == 0).nonzero()[:, 0]
    return ScoredImages(data, held_out, numbers, images, sets, kinds[numbers], natural)


def _planted(data: Images, atypical: float, seed: int) -> tuple[Images, torch.Tensor]:
    images, kinds = plant_atypical(data.images, atypical, seed=seed)
    return replace(data, images=images), kinds


def _queues(kinds: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Places of outliers, their kinds in turn, and of all others, in random order."""
    order = torch.randperm(len(kinds), generator=generator)
    outliers = order[kinds[order] > 0]
    if len(outliers):
        turns = torch.zeros_like(kinds)
        for kind in kinds[outliers].unique():
            turns[order[kinds[order] == kind]] = torch.arange(int((kinds == kind).sum()))
        outliers = outliers[turns[outliers].argsort(stable=True)]
    return outliers, order[kinds[order] == 0]


def _check_sets(sets: Mapping[str, torch.Tensor], count: int, held_out: int) -> None:
    """Raise if the sets are no four-way split."""
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
    for i, first in enumerate(inside):
        for other in inside[i + 1 :]:
            common = sets[first][torch.isin(sets[first], sets[other])]
            if len(common):
                raise ValueError(
                    f"image {int(common[0])} is in the sets {first} and {other}; expected disjoint "
                    "ones: an encoder trained on it would count as one trained without it"
                )
