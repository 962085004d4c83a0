"""Scores that a finished ``sslsim memorization`` stored, and how far its ranking agrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslsim.memorization.image_sets import ScoredImages, image_hashes, is_ranked
from sslsim.memorization.losses import ImageScores
from sslsim.memorization.statistics import corrected_correlation, rank_agreement
from sslsim.runs.stored import stored_arrays, stored_result

_NEEDED = 4  # images in common
_LEVEL = 0.9


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
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Images that a finished study ranks too, by their numbers and pixels: places here and there.

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
    >>> rows, columns = common_images(folder, images)
    >>> rows.tolist(), columns.tolist()
    ([0, 1, 2, 3], [0, 1, 2, 3])
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
    return rows, np.array([places[own[row]] for row in rows], dtype=int)


def compared_layers(layers: Sequence[str], others: Sequence[str]) -> list[tuple[str, str]]:
    """Layers of two studies whose rankings are compared: those of both, else the first of each.

    >>> compared_layers(["z", "y"], ["y", "x"]), compared_layers(["z"], ["x"])
    ([('y', 'y')], [('z', 'x')])
    """
    both = [name for name in layers if name in others]
    return [(name, name) for name in both] or [(layers[0], others[0])]


def agreement_with(
    folder: Path,
    images: ScoredImages,
    scores: ImageScores,
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
    >>> none = np.empty((1, 0, 4))
    >>> own = ImageScores(-scores, scores, none, none, np.empty((0, 4), bool))
    >>> found = agreement_with(folder, images, own, ["z"], 2)
    >>> found["layer"], round(found["tau"], 4), found["overlap"], found["corrected"]
    ('z', -1.0, 0.0, None)
    """
    result, arrays = read_scores(folder)
    rows, columns = common_images(folder, images)
    others, units = arrays["scores"][:, columns], _units(arrays, columns)
    k = min(top, len(rows) // 2)
    by_layer = []
    for layer, other_layer in compared_layers(layers, result["layers"]):
        place, other = list(layers).index(layer), result["layers"].index(other_layer)
        by_layer.append(
            {
                "layer": layer,
                "other_layer": other_layer,
                **asdict(rank_agreement(scores.scores[place][rows], others[other], k)),
                **_corrected(scores.units[place][:, rows], units, other),
            }
        )
    same = {name: result[name] for name in ("method", "encoder", "protocol")}
    counts = {"points": len(rows), "top": k}
    return {"run": folder, **same, **counts, **by_layer[0], "by_layer": by_layer}


def _units(
    arrays: dict[str, NDArray[Any]], columns: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Scores of images under every pair of a stored study, by layer; None where it has none."""
    units = arrays.get("units")
    shape = (len(arrays["scores"]), len(arrays["numbers"]))
    if units is None or units.ndim != 3 or (units.shape[0], units.shape[2]) != shape:
        return None
    return np.asarray(units[:, :, columns])


def _corrected(
    own: NDArray[np.float64], others: NDArray[np.float64] | None, layer: int
) -> dict[str, float | None]:
    """Correlation corrected for the noise of both studies, where both have pairs of encoders."""
    names = ("correlation", "reliability", "other_reliability", "corrected")
    if others is None or min(len(own), others.shape[1]) < 2:
        return dict.fromkeys((*names, "corrected_low", "corrected_high"))
    found = corrected_correlation(own, others[layer], _LEVEL)
    return {
        **{name: getattr(found, name) for name in names},
        "corrected_low": found.low,
        "corrected_high": found.high,
    }
