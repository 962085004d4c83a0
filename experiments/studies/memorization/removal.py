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

from experiments.studies.memorization.encoders import Trained, trained_encoder
from experiments.studies.memorization.evaluation import (
    ProbeData,
    fine_tuned_accuracies,
    linear_accuracies,
    probe_data,
)
from experiments.studies.memorization.image_sets import trained_on
from experiments.studies.memorization.options import (
    MemorizationOptions,
    RemovalOptions,
    RetrainOptions,
)
from experiments.studies.memorization.source_study import Finished, finished_study, retraining_seeds
from experiments.studies.memorization.tables import NONE, removal_curves
from sslsim.core.files import write_json
from sslsim.memorization import remaining_points
from sslsim.runs.cache import Measures, digest_of, measured_cell, training_identity
from sslsim.runs.folder import check_folder, new_results
from sslsim.runs.setup import initial_learner

_RESULTS = ("removal.json", "removal.png")


def memorization_removal(options: RemovalOptions) -> Path:
    """Train what is not yet trained, measure what is not yet measured, and sum it up."""
    check_folder(options.out, "memorization-removal", _RESULTS)
    study = finished_study(
        options, ("subsample", "closed-form"), "which score all that encoders are trained on"
    )
    pool = len(study.scores)
    sizes = removed_counts(options, pool)
    probes = probe_data(study, torch.arange(pool), options.transfer, options.transfer_limit)
    initial_learner(study.options, study.points.data)  # what does not fit is told by now
    with new_results(
        options.out, "memorization-removal", options, results=_RESULTS, resumes=True
    ) as folder:
        seeds = retraining_seeds(study, options.seeds)
        cells = _cells(options, study, sizes, probes, seeds)
        result = {
            "scores": options.scores,
            "method": study.options.method,
            "encoder": study.options.encoder,
            "data": study.options.data,
            "steps": study.options.steps,
            "fine_tune": options.fine_tune,
            "pool": pool,
            "probe_images": {one.name: len(one.fitted.images) for one in probes},
            "test_images": {
                name: len(of.images) for one in probes for name, of in one.read.items()
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
    study: Finished,
    sizes: Sequence[tuple[float, int]],
    probes: list[ProbeData],
    seeds: Sequence[int],
) -> list[dict[str, Any]]:
    """Accuracies of encoders trained without some images, each as kept or measured now."""
    work: list[tuple[int, str, float, int]] = []
    for seed in seeds:
        work.append((seed, NONE, 0.0, 0))
        work += [(seed, which, *size) for which in options.which for size in sizes]
    cells = []
    for seed, which, share, removed in tqdm(
        work, desc="cells", disable=not sys.stderr.isatty(), file=sys.stderr
    ):
        kept = kept_images(study, which, removed, seed)
        data = trained_on(study.points, kept)
        found = measured_cell(
            options.out / "cells",
            training_identity(
                study.options, data, seed, checkpoint_every=study.options.checkpoint_every
            ),
            partial(trained_encoder, study.options, data, seed, classes=study.points.classes),
            accuracy_measures(options, study, probes, seed),
        )
        own = {"which": which, "removed": removed, "share": share, "seed": seed}
        for (measure, of), accuracy in read_accuracies(found).items():
            cells.append({**own, "data": of, "measure": measure, "accuracy": accuracy})
    return cells


def removed_counts(options: RemovalOptions, pool: int) -> list[tuple[float, int]]:
    """Shares to remove, ascending, and how many images they are."""
    if not options.which or len(set(options.which)) < len(options.which):
        raise ValueError(
            f"which is {' '.join(options.which) or 'empty'}; expected some of most, random, least, "
            "each once"
        )
    if not options.remove:
        raise ValueError("remove is empty; expected shares of the pool, such as 0.02 0.08 0.32")
    counts: list[tuple[float, int]] = []
    for share in sorted(options.remove):
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


def kept_images(study: Finished, which: str, removed: int, seed: int) -> torch.Tensor:
    """Images of the pool that an encoder is trained on."""
    if which == NONE:
        return torch.arange(len(study.scores))
    return remaining_points(study.scores, removed, which, seed=seed)


def accuracy_measures(
    options: RetrainOptions, study: Finished, probes: list[ProbeData], seed: int
) -> Measures:
    """What is read of every encoder, on every data set."""
    found: dict[str, Any] = {}
    for data in probes:
        of = {"data": data.name, "images": digest_of(data.fitted, *data.read.values())}
        found[f"linear: {data.name}"] = (of, _probing(data))
        if options.fine_tune:
            how = replace(
                study.options,
                steps=options.fine_tune,
                lr=study.options.lr if options.fine_tune_lr is None else options.fine_tune_lr,
                warmup=min(study.options.warmup, options.fine_tune // 10),
                seed=seed,
            )
            own = {**of, "steps": how.steps, "lr": how.lr}
            found[f"fine-tuned: {data.name}"] = (own, _fine_tuning(data, how))
    return found


def read_accuracies(found: dict[str, Any]) -> dict[tuple[str, str], float]:
    """Accuracies among the measures of a cell.

    >>> read_accuracies({"alignment": [0.5], "linear: digits": {"digits": 0.75}})
    {('linear', 'digits'): 0.75}
    """
    return {
        (name.partition(": ")[0], of): accuracy
        for name, accuracies in found.items()
        if ": " in name
        for of, accuracy in accuracies.items()
    }


def _probing(data: ProbeData) -> Callable[[Trained, Path], dict[str, float]]:
    return lambda trained, folder: linear_accuracies(trained, data)


def _fine_tuning(
    data: ProbeData, how: MemorizationOptions
) -> Callable[[Trained, Path], dict[str, float]]:
    return lambda trained, folder: fine_tuned_accuracies(trained, data, how, folder)
