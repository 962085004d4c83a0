"""Scores that a finished ``sslsim memorization`` stored, and how far its ranking agrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslsim.memorization.image_sets import ScoredImages, image_hashes, is_ranked
from sslsim.memorization.statistics import rank_agreement
from sslsim.runs.stored import stored_arrays, stored_result

_NEEDED = 4  # images in common


def read_scores(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Result and arrays of a finished study.

    >>> import tempfile
    >>> from sslsim.core.files import write_arrays, write_json
    >>> folder, columns = Path(tempfile.mkdtemp()), np.arange(3)
    >>> result = {"method": "simclr", "encoder": "mlp", "protocol": "split", "layers": ["backbone"]}
    >>> write_json(folder / "memorization.json", result)
    >>> arrays = {"numbers": columns, "hashes": columns, "sets": columns}
    >>> write_arrays(folder / "scores.npz", scores=np.zeros((1, 3)), **arrays)
    >>> read_scores(folder)[0]["layers"]
    ['backbone']
    """
    result = stored_result(
        folder / "memorization.json",
        {"method": str, "encoder": str, "protocol": str, "layers": list},
    )
    arrays = stored_arrays(
        folder / "scores.npz", {"numbers": 1, "hashes": 1, "scores": 2, "sets": 1}
    )
    layers, count = len(result["layers"]), len(arrays["numbers"])
    for name, shape in (("scores", (layers, count)), ("hashes", (count,)), ("sets", (count,))):
        if arrays[name].shape != shape:
            raise ValueError(
                f"{folder}/scores.npz holds {name} of shape {arrays[name].shape}; expected "
                f"{shape}, for {layers} layer(s) and {count} images"
            )
    return result, arrays


def common_images(
    folder: Path, images: ScoredImages
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Images that a finished study ranks too, by their numbers and pixels.

    >>> import tempfile
    >>> from sslsim.core.files import write_arrays, write_json
    >>> from sslsim.data.datasets import load_images
    >>> from sslsim.memorization.image_sets import pool_images
    >>> images = pool_images(load_images(limit=20), load_images(split="test"), 4)
    >>> folder, scores = Path(tempfile.mkdtemp()), np.array([[3.0, 1.0, 2.0, 0.0]])
    >>> result = {"method": "simclr", "encoder": "mlp", "protocol": "subsample", "layers": ["z"]}
    >>> write_json(folder / "memorization.json", result)
    >>> arrays = {"numbers": images.numbers.numpy(), "hashes": image_hashes(images.images)}
    >>> write_arrays(folder / "scores.npz", scores=scores, sets=images.set_codes(), **arrays)
    >>> rows, others = common_images(folder, images)
    >>> rows.tolist(), others.tolist()
    ([0, 1, 2, 3], [[3.0, 1.0, 2.0, 0.0]])
    """
    result, arrays = read_scores(folder)
    keys = zip(arrays["numbers"].tolist(), arrays["hashes"].tolist(), strict=True)
    ranked = is_ranked(arrays["sets"])
    places = {key: place for place, key in enumerate(keys) if ranked[place]}
    own = list(zip(images.numbers.tolist(), image_hashes(images.images).tolist(), strict=True))
    ranked = images.ranked()
    rows = np.array([i for i, key in enumerate(own) if key in places and ranked[i]], dtype=int)
    if len(rows) < _NEEDED:
        raise ValueError(
            f"{folder} scored {result.get('points')} images of {result.get('data')}, {len(rows)} "
            "of them scored here too; expected a study of the same images (data, limit, sizes, "
            "atypical, draw-seed)"
        )
    return rows, arrays["scores"][:, [places[own[row]] for row in rows]]


def agreement_with(
    folder: Path,
    images: ScoredImages,
    scores: NDArray[np.float64],
    layers: Sequence[str],
    top: int,
) -> dict[str, Any]:
    """How far the ranking of a finished study of the same images agrees with this one.

    >>> import tempfile
    >>> from sslsim.core.files import write_arrays, write_json
    >>> from sslsim.data.datasets import load_images
    >>> from sslsim.memorization.image_sets import pool_images
    >>> images = pool_images(load_images(limit=20), load_images(split="test"), 4)
    >>> folder, scores = Path(tempfile.mkdtemp()), np.array([[3.0, 1.0, 2.0, 0.0]])
    >>> result = {"method": "simclr", "encoder": "mlp", "protocol": "subsample", "layers": ["z"]}
    >>> write_json(folder / "memorization.json", result)
    >>> arrays = {"numbers": images.numbers.numpy(), "hashes": image_hashes(images.images)}
    >>> write_arrays(folder / "scores.npz", scores=scores, sets=images.set_codes(), **arrays)
    >>> found = agreement_with(folder, images, -scores, ["z"], 2)
    >>> found["layer"], round(found["tau"], 4), found["overlap"]
    ('z', -1.0, 0.0)
    """
    result, _ = read_scores(folder)
    rows, others = common_images(folder, images)
    both = [name for name in layers if name in result["layers"]]
    layer, other_layer = (both[0], both[0]) if both else (layers[0], result["layers"][0])
    k = min(top, len(rows) // 2)
    agreement = rank_agreement(
        scores[list(layers).index(layer)][rows], others[result["layers"].index(other_layer)], k
    )
    same = {name: result[name] for name in ("method", "encoder", "protocol")}
    compared = {"layer": layer, "other_layer": other_layer, "points": len(rows), "top": k}
    return {"run": folder, **same, **compared, **asdict(agreement)}
