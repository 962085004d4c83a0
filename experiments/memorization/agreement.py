"""How far the rankings of two studies of the same images agree."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.memorization.points import Points, sets_of
from experiments.memorization.statistics import SETS, rank_agreement
from experiments.stored import stored_arrays, stored_result

Array = NDArray[np.float64]

_NEEDED = 4  # images in common
_RANKED = (-1, SETS.index("candidate"))  # of the four sets candidates alone can be memorised


def agreement_with(
    other: Path, points: Points, scores: Array, layers: Sequence[str], top: int
) -> dict[str, Any]:
    """How far the ranking of another study of the same images agrees with this one.

    Parameters
    ----------
    other : Path
        Its run folder.
    points : Points
        What this study scored.
    scores : ndarray, shape (layers, n)
        Of this study.
    layers : sequence of str
        Their names. The first that both studies scored is compared; where there is none, the first
        of either.
    top : int
        Images of the highest scores to compare; at most half of them are.

    Returns
    -------
    dict
        ``run``, ``method``, ``encoder``, ``protocol``, ``layer`` (of this study), ``other_layer``
        (of the other), ``points``, ``top`` and what
        :func:`experiments.memorization.statistics.rank_agreement` gives, of all images that both
        scored; of the split protocol the candidates alone, which alone can be memorised.

    Raises
    ------
    ValueError
        If the folder holds no study, or one of other images.
    """
    kept, _ = read_study(other)
    rows, theirs = common_points(other, points)
    both = [name for name in layers if name in kept["layers"]]
    layer, their = (both[0], both[0]) if both else (layers[0], kept["layers"][0])
    k = min(top, len(rows) // 2)
    found = rank_agreement(
        scores[list(layers).index(layer)][rows], theirs[kept["layers"].index(their)], k
    )
    same = {name: kept[name] for name in ("method", "encoder", "protocol")}
    compared = {"layer": layer, "other_layer": their, "points": len(rows), "top": k}
    return {"run": other, **same, **compared, **asdict(found)}


def read_study(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What a finished study left.

    Parameters
    ----------
    folder : Path
        Of its run.

    Returns
    -------
    result : dict
        Content of ``memorization.json``; a study that has not ended has none.
    arrays : dict of str to ndarray
        Of ``scores.npz``.

    Raises
    ------
    ValueError
        If a file cannot be read, lacks something or does not fit the other.

    Examples
    --------
    >>> read_study(Path("nowhere"))
    Traceback (most recent call last):
    ValueError: nowhere/memorization.json cannot be read: No such file or directory
    """
    kept = stored_result(
        folder / "memorization.json",
        {"method": str, "encoder": str, "protocol": str, "layers": list},
    )
    arrays = stored_arrays(
        folder / "scores.npz", {"numbers": 1, "hashes": 1, "scores": 2, "sets": 1}
    )
    count = len(arrays["numbers"])
    for name, shape in (
        ("scores", (len(kept["layers"]), count)),
        ("hashes", (count,)),
        ("sets", (count,)),
    ):
        if arrays[name].shape != shape:
            raise ValueError(
                f"{folder}/scores.npz holds {name} of shape {arrays[name].shape}; expected "
                f"{shape}, for {len(kept['layers'])} layer(s) and {count} images"
            )
    return kept, arrays


def common_points(other: Path, points: Points) -> tuple[NDArray[np.int64], Array]:
    """Images that another study scored too, by their numbers and their pixels.

    Parameters
    ----------
    other : Path
        Its run folder.
    points : Points
        What this study scores.

    Returns
    -------
    rows : ndarray of int64, shape (r,)
        Places among the images of this study; of the split protocol candidates alone.
    scores : ndarray, shape (layers, r)
        Their scores in the other study.

    Raises
    ------
    ValueError
        If the folder holds no study, or fewer than four images are in common.
    """
    kept, arrays = read_study(other)
    columns = (arrays["numbers"], arrays["hashes"], arrays["sets"])
    theirs = {
        (number, digest): place
        for place, (number, digest, code) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True)
        )
        if code in _RANKED
    }
    here = np.isin(sets_of(points), _RANKED)
    own = list(zip(points.numbers.tolist(), image_hashes(points.images).tolist(), strict=True))
    rows = np.array([row for row, key in enumerate(own) if key in theirs and here[row]], dtype=int)
    if len(rows) < _NEEDED:
        raise ValueError(
            f"{other} scored {kept.get('points')} images of {kept.get('data')}, {len(rows)} of "
            "them scored here too; expected a study of the same images (data, limit, sizes, "
            "atypical, draw-seed)"
        )
    return rows, arrays["scores"][:, [theirs[own[row]] for row in rows]]


def image_hashes(images: torch.Tensor) -> NDArray[np.int64]:
    """A number for every image that tells it from others.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        On the CPU.

    Returns
    -------
    ndarray of int64, shape (n,)
        63 bits of a digest of shape and pixels.

    Examples
    --------
    >>> found = image_hashes(torch.tensor([0, 1, 0], dtype=torch.uint8).reshape(3, 1, 1, 1))
    >>> bool(found[0] == found[2]), bool(found[0] == found[1])
    (True, False)
    """
    shape = str(tuple(images.shape[1:])).encode()
    digests = [
        hashlib.blake2b(shape + image.tobytes(), digest_size=8).digest()
        for image in images.contiguous().numpy()
    ]
    return np.array([int.from_bytes(digest, "big") >> 1 for digest in digests], dtype=np.int64)
