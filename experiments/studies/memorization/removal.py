"""What memorised images are good for: training without them, ``sslsim memorization-removal``.

The keys of ``removal.json`` are explained in ``experiments/docs/removal.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from experiments.campaign.parts import make_parts
from experiments.studies.memorization.options import RemovalOptions
from experiments.studies.memorization.settings import pixels_of
from experiments.studies.memorization.source_study import (
    SourceStudy,
    load_study,
    pixels_identity,
    probe_data,
    retraining_seeds,
    retraining_settings,
)
from experiments.studies.memorization.tables import NONE, removal_curves
from sslsim.core.files import write_json
from sslsim.measures.frozen import EvaluationData
from sslsim.memorization import remaining_points
from sslsim.runs.cache import measured_cell, training_identity
from sslsim.runs.encoders import train_encoder
from sslsim.runs.folder import check_folder, new_results
from sslsim.runs.layers.evaluation import accuracies_of, accuracy_measures
from sslsim.runs.setup import initial_learner

_RESULTS = ("removal.json", "removal.png")


def memorization_removal(options: RemovalOptions) -> Path:
    """Train what is not yet trained, measure what is not yet measured, and sum it up."""
    check_folder(options.out, "memorization-removal", _RESULTS)
    study, sizes, data_sets = _planned(options)
    with new_results(
        options.out, "memorization-removal", options, results=_RESULTS, resumes=True
    ) as folder:
        seeds = retraining_seeds(study, options.seeds)
        make_parts(folder, options.workers, len(_work(options, sizes, seeds)))
        cells = _cells(options, study, sizes, data_sets, seeds)
        result = {
            **retraining_settings(options, study),
            "pool": len(study.scores),
            "probe_images": {data.name: len(data.train.images) for data in data_sets},
            "test_images": {
                name: len(part.images) for data in data_sets for name, part in data.test.items()
            },
            "seeds": seeds,
            "interval_level": options.interval_level,
            "results": removal_curves(cells, options.interval_level),
            "cells": cells,
        }
        write_json(folder / "removal.json", result)
    return options.out


def _cells(
    options: RemovalOptions,
    study: SourceStudy,
    sizes: Sequence[tuple[float, int]],
    data_sets: Sequence[EvaluationData],
    seeds: Sequence[int],
) -> list[dict[str, Any]]:
    """Accuracies of encoders trained without some images, each as stored or measured now."""
    cells = []
    for seed, which, share, removed in tqdm(
        _work(options, sizes, seeds), desc="cells", disable=not sys.stderr.isatty(), file=sys.stderr
    ):
        measures = _cell(options, study, data_sets, seed, _remaining(study, which, removed, seed))
        own = {"which": which, "removed": removed, "share": share, "seed": seed}
        for (measure, name), accuracy in accuracies_of(measures).items():
            cells.append({**own, "data": name, "measure": measure, "accuracy": accuracy})
    return cells


def removal_parts(options: RemovalOptions) -> dict[Any, Callable[[], object]]:
    """Cells that several processes may make, by seed and images."""
    study, sizes, data_sets = _planned(options)
    parts: dict[Any, Callable[[], object]] = {}
    for seed, which, _, removed in _work(options, sizes, retraining_seeds(study, options.seeds)):
        rows = _remaining(study, which, removed, seed)
        key = (seed, *sorted(rows.tolist()))  # different choices may leave the same images
        parts[key] = partial(_cell, options, study, data_sets, seed, rows)
    return parts


def _planned(
    options: RemovalOptions,
) -> tuple[SourceStudy, list[tuple[float, int]], list[EvaluationData]]:
    """The study, the shares to remove and the images of the probes; refuses what does not fit."""
    study = load_study(
        options,
        ("subsample", "closed-form", "influence"),
        "which score all that encoders are trained on",
    )
    sizes = removed_counts(options.which, options.remove, len(study.scores))
    data_sets = probe_data(study, study.images.numbers, options)
    initial_learner(study.options, study.images.data)  # raises if options do not fit together
    return study, sizes, data_sets


def _work(
    options: RemovalOptions, sizes: Sequence[tuple[float, int]], seeds: Sequence[int]
) -> list[tuple[int, str, float, int]]:
    """Seed, choice, share and number of the images removed of every cell."""
    removals = [(which, *size) for which in options.which for size in sizes]
    return [(seed, *removal) for seed in seeds for removal in [(NONE, 0.0, 0), *removals]]


def _remaining(study: SourceStudy, which: str, removed: int, seed: int) -> torch.Tensor:
    return remaining_points(study.scores, removed, "most" if which == NONE else which, seed=seed)


def _cell(
    options: RemovalOptions,
    study: SourceStudy,
    data_sets: Sequence[EvaluationData],
    seed: int,
    rows: torch.Tensor,
) -> dict[str, Any]:
    """Accuracies of an encoder trained on some images."""
    every, data = study.options.checkpoint_every, study.images.part(rows)
    training = replace(study.options, seed=seed)
    return measured_cell(
        options.out / "cells",
        training_identity(
            study.options, data, seed, checkpoint_every=every, **pixels_identity(study)
        ),
        partial(
            train_encoder,
            training,
            data,
            classes=study.images.classes,
            checkpoint_every=every,
            pixels=pixels_of(study.options, study.images),
        ),
        accuracy_measures(data_sets, training, options.fine_tune, options.fine_tune_lr),
    )


def removed_counts(
    which: Sequence[str], shares: Sequence[float], pool: int
) -> list[tuple[float, int]]:
    """Shares to remove, ascending, and how many images of the pool they are.

    >>> removed_counts(("most",), (0.3, 0.1), 50)
    [(0.1, 5), (0.3, 15)]
    """
    if not which or len(set(which)) < len(which):
        raise ValueError(
            f"which is {' '.join(which) or 'empty'}; expected some of most, random, least, "
            "each once"
        )
    if not shares:
        raise ValueError("remove is empty; expected shares of the pool, such as 0.02 0.08 0.32")
    counts: list[tuple[float, int]] = []
    for share in sorted(shares):
        if not 0 < share < 1:
            raise ValueError(f"remove holds {share}; expected shares between 0 and 1")
        removed = round(share * pool)
        if not 1 <= removed <= pool - 2 or removed in [count for _, count in counts]:
            raise ValueError(
                f"remove holds {share}, {removed} of {pool} images; expected shares of 1 to "
                f"{pool - 2} images, each once"
            )
        counts.append((share, removed))
    return counts
