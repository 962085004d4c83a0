"""A finished study of memorisation, to train further encoders as its own were trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.studies.memorization.analysis.stored_scores import read_scores
from experiments.studies.memorization.options import MemorizationOptions, RetrainOptions
from experiments.studies.memorization.settings import encoder_count, pixels_of, scored_images
from sslsim.data.datasets import part_of
from sslsim.measures.frozen import EvaluationData
from sslsim.memorization.image_sets import ScoredImages, image_hashes
from sslsim.runs.layers.evaluation import evaluation_data
from sslsim.runs.options import network_name
from sslsim.runs.setup import chosen_device
from sslsim.runs.stored import stored_options

# Options that belong to one method or one network.
_OF_METHOD = (
    "views", "barlow_form", "similarity", "temperature", "prototypes", "teacher_momentum"
)  # fmt: skip
_OWN_DIM = {"supervised", "mae"}  # classes, and the representation: of no other method
_OF_ENCODER = ("widths", "norm", "module", "weights", "output")


@dataclass(frozen=True, eq=False)
class SourceStudy:
    """A finished study to start from.

    Attributes
    ----------
    options : MemorizationOptions
        How its encoders were trained, with what is to change.
    images : ScoredImages
        The images it scored.
    scores : ndarray, shape (n,)
        Scores of its first layer, high for memorised images.
    """

    options: MemorizationOptions
    images: ScoredImages
    scores: NDArray[np.float64]


def load_study(options: RetrainOptions, protocols: Sequence[str], why: str) -> SourceStudy:
    """Load a study and draw its images again.

    >>> load_study(RetrainOptions(), ("split",), "")
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
    _, arrays = read_scores(folder)
    if options.root is not None:
        study = replace(study, root=options.root)
    images = scored_images(study)
    same = np.array_equal(arrays["numbers"], images.numbers.numpy())
    if not same or not np.array_equal(arrays["hashes"], image_hashes(images.images)):
        raise ValueError(
            f"{study.data} is no longer what {folder} scored; expected the same images"
        )
    return SourceStudy(_changed(study, options), images, arrays["scores"][0])


def retraining_settings(options: RetrainOptions, study: SourceStudy) -> dict[str, Any]:
    """What a result says of the encoders trained anew."""
    return {
        "scores": options.scores,
        "method": study.options.method,
        "encoder": network_name(study.options),
        "data": study.options.data,
        "steps": study.options.steps,
        "fine_tune": options.fine_tune,
    }


def pixels_identity(study: SourceStudy) -> dict[str, Any]:
    """Statistics of pixels that an encoder depends on beside those of its own images."""
    pixels = pixels_of(study.options, study.images)
    if pixels is None:  # named only where there are some: cells of earlier versions are found
        return {}
    return {"pixels": [pixels.mean.tolist(), pixels.std.tolist()]}


def retraining_seeds(study: SourceStudy, count: int) -> list[int]:
    """Seeds of the encoders trained anew: those that follow the study's own.

    Images are chosen by scores that hold the chance of the trainings behind them. In the same
    trainings the images chosen would stand out by that chance too, in any others less: a difference
    between the two would be taken for what the others do differently.

    >>> options = MemorizationOptions(protocol="subsample", pool=4, encoders=4, seed=1, limit=20)
    >>> retraining_seeds(SourceStudy(options, scored_images(options), np.zeros(4)), 2)
    [5, 6]
    """
    pooled = encoder_count(study.options)
    own = {"split": study.options.encoder_pairs, "subsample": pooled, "influence": pooled}
    first = study.options.seed + own.get(study.options.protocol, 1)
    return [first + i for i in range(count)]


def probe_data(
    study: SourceStudy, numbers: torch.Tensor, options: RetrainOptions
) -> list[EvaluationData]:
    """Images by which encoders are evaluated: some of the study's own, and other data sets."""
    train, held_out = part_of(study.images.data, numbers), study.images.held_out
    limit = options.transfer_limit
    return evaluation_data(study.options, train, held_out, options.transfer, limit)


def _check(options: RetrainOptions) -> None:
    if options.scores is None:
        raise ValueError(
            "no study is given; expected --scores DIR, a folder of sslsim memorization"
        )
    chosen_device(options.device)
    for name in ("seeds", "workers"):
        if getattr(options, name) < 1:
            raise ValueError(f"{name} is {getattr(options, name)}; expected at least 1")
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
    # Further encoders depend neither on other studies nor on scores over training.
    return replace(study, compare=(), reference=None, units=False, curve=0)


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
