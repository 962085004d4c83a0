"""A finished study of memorisation, to train further encoders as its own were trained."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.studies.memorization.image_sets import ScoredImages, draw_points, sets_of
from experiments.studies.memorization.options import MemorizationOptions, RetrainOptions
from sslsim.memorization.statistics import SETS, rank_agreement
from sslsim.runs.setup import chosen_device
from sslsim.runs.stored import stored_arrays, stored_options, stored_result

Array = NDArray[np.float64]

_NEEDED = 4  # images in common
_RANKED = (-1, SETS.index("candidate"))  # of the four sets candidates alone can be memorised


def agreement_with(
    other: Path, points: ScoredImages, scores: Array, layers: Sequence[str], top: int
) -> dict[str, Any]:
    """How far the ranking of another study of the same images agrees with this one."""
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


def common_points(other: Path, points: ScoredImages) -> tuple[NDArray[np.int64], Array]:
    """Images that another study scored too, by their numbers and their pixels."""
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


# Options that belong to one method or one network.
_OF_METHOD = (
    "views", "barlow_form", "similarity", "temperature", "prototypes", "teacher_momentum"
)  # fmt: skip
_OWN_DIM = {"supervised", "mae"}  # classes, and the representation: of no other method
_OF_ENCODER = ("widths", "norm")


@dataclass(frozen=True, eq=False)
class Finished:
    """What a study left.

    Attributes
    ----------
    options : MemorizationOptions
        How its encoders were trained, with what is to change.
    points : ScoredImages
        The images it scored.
    scores : ndarray, shape (n,)
        Of its first layer, high for memorised images.
    """

    options: MemorizationOptions
    points: ScoredImages
    scores: NDArray[np.float64]


def finished_study(options: RetrainOptions, protocols: Sequence[str], why: str) -> Finished:
    """Load a study and draw its images again.

    >>> finished_study(RetrainOptions(), ("split",), "")
    Traceback (most recent call last):
    ValueError: no study is given; expected --scores DIR, a folder of sslsim memorization
    """
    _check(options)
    folder = options.scores
    assert folder is not None
    study = _study_options(folder)
    if study.protocol not in protocols:
        raise ValueError(
            f"{folder} holds a study of protocol {study.protocol}; expected "
            f"{' or '.join(protocols)}, {why}"
        )
    _, arrays = read_study(folder)
    if options.root is not None:
        study = replace(study, root=options.root)
    points = draw_points(study)
    same = np.array_equal(arrays["numbers"], points.numbers.numpy())
    if not same or not np.array_equal(arrays["hashes"], image_hashes(points.images)):
        raise ValueError(
            f"{study.data} is no longer what {folder} scored; expected the same images"
        )
    return Finished(_changed(study, options), points, arrays["scores"][0])


def retraining_seeds(study: Finished, count: int) -> list[int]:
    """Seeds of the encoders trained anew: those that follow the study's own.

    Images are chosen by scores that hold the chance of the trainings behind them. In the same
    trainings the images chosen would stand out by that chance too, in any others less: a difference
    between the two would be taken for what the others do differently.

    >>> from experiments.studies.memorization.image_sets import draw_points
    >>> options = MemorizationOptions(protocol="subsample", pool=4, encoders=4, seed=1, limit=20)
    >>> retraining_seeds(Finished(options, draw_points(options), np.zeros(4)), 2)
    [5, 6]
    """
    own = {"split": study.options.encoder_pairs, "subsample": study.options.encoders}
    first = study.options.seed + own.get(study.options.protocol, 1)
    return [first + i for i in range(count)]


def _check(options: RetrainOptions) -> None:
    if options.scores is None:
        raise ValueError(
            "no study is given; expected --scores DIR, a folder of sslsim memorization"
        )
    chosen_device(options.device)
    if options.seeds < 1:
        raise ValueError(f"seeds is {options.seeds}; expected at least 1")
    if options.fine_tune < 0:
        raise ValueError(
            f"fine_tune is {options.fine_tune}; expected a number of updates, or 0 for none"
        )
    for name in ("steps", "transfer_limit"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; expected at least 1, or none given")
    if options.fine_tune_lr is not None:
        if not 0 < options.fine_tune_lr < math.inf:
            raise ValueError(
                f"fine_tune_lr is {options.fine_tune_lr}; expected a finite number above zero"
            )
        if not options.fine_tune:
            raise ValueError(
                f"fine-tune-lr is {options.fine_tune_lr} without fine-tune; expected both, or none"
            )
    if not 0 < options.interval_level < 1:
        raise ValueError(f"interval_level is {options.interval_level}; expected between 0 and 1")


def _study_options(folder: Path) -> MemorizationOptions:
    study = stored_options(folder, "memorization", MemorizationOptions)
    if study.f:
        raise ValueError(
            f"{folder} scored encoders that were given to it; expected a study that trained its own"
        )
    # Of no account to further encoders: other studies, a course over training.
    return replace(study, compare=(), curve=0)


def _changed(study: MemorizationOptions, options: RetrainOptions) -> MemorizationOptions:
    """The study's options with those that the command changes."""
    own = MemorizationOptions()
    reset: dict[str, Any] = {}
    if options.method not in (None, study.method):
        reset |= {name: getattr(own, name) for name in _OF_METHOD} | {"method": options.method}
        if {options.method, study.method} & _OWN_DIM:
            reset["dim"] = own.dim
    if options.encoder not in (None, study.encoder):
        reset |= {name: getattr(own, name) for name in _OF_ENCODER} | {"encoder": options.encoder}
    if options.steps is not None:
        reset["steps"] = options.steps
    return replace(study, **reset, device=options.device)
