"""What alignment does to memorisation: training with a penalty, ``sslsim memorization-penalty``.

The keys of ``penalty.json`` are explained in ``experiments/docs/removal.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from experiments.studies.memorization.encoders import Trained, encoder_losses, trained_encoder
from experiments.studies.memorization.evaluation import ProbeData, probe_data
from experiments.studies.memorization.image_sets import FAMILIES, scored_views, trained_on
from experiments.studies.memorization.options import PenaltyOptions
from experiments.studies.memorization.removal import accuracy_measures, read_accuracies
from experiments.studies.memorization.source_study import Finished, finished_study, retraining_seeds
from experiments.studies.memorization.tables import penalty_rows
from sslsim.core.files import write_json
from sslsim.data.datasets import Images
from sslsim.memorization import FORMS, most_memorized, remaining_points, ssl_mem
from sslsim.memorization.penalty import AlignmentPenalty, check_strength
from sslsim.methods.learner import Learner
from sslsim.runs.cache import digest_of, measured_cell, training_identity
from sslsim.runs.folder import check_folder, new_results
from sslsim.runs.setup import initial_learner

_RESULTS = ("penalty.json", "penalty.png")
_OTHERS = ("shared", "external")  # that candidates are compared with


@dataclass(frozen=True)
class Penalty:
    """What pays in a training.

    Attributes
    ----------
    strength : float
        Weight of the mean distance.
    chosen : Tensor of int64 or None
        Numbers of the images that pay; None for all.
    """

    strength: float
    chosen: torch.Tensor | None


def memorization_penalty(options: PenaltyOptions) -> Path:
    """Train what is not yet trained, measure what is not yet measured, and sum it up."""
    check_folder(options.out, "memorization-penalty", _RESULTS)
    study = finished_study(options, ("split",), "whose candidates one encoder of a pair has seen")
    strengths = _checked(options, study)
    # What does not fit is told before anything is written.
    learner = initial_learner(study.options, study.points.data)
    views = study.options.views or learner.views
    layer, known = study.options.layers[0], ("backbone", "projector", *learner.encoder.layers)
    if layer not in known:
        raise ValueError(
            f"{options.scores} scored {layer}, which {study.options.encoder} lacks; expected a "
            f"study of one of {', '.join(known)}"
        )
    kind = scored_views(study.options, views)
    probes = probe_data(
        study, _rows(study, "f"), options.transfer, options.transfer_limit
    )  # the same for all strengths
    with new_results(
        options.out, "memorization-penalty", options, results=_RESULTS, resumes=True
    ) as folder:
        targets = options.targeted or ("all",)
        cells = _cells(options, study, targets, strengths, kind, probes)
        result = {
            "scores": options.scores,
            "method": study.options.method,
            "encoder": study.options.encoder,
            "data": study.options.data,
            "steps": study.options.steps,
            "fine_tune": options.fine_tune,
            "targets": targets,
            "count": options.count if options.targeted else None,
            "strengths": strengths,
            "seeds": retraining_seeds(study, options.seeds),
            "interval_level": options.interval_level,
            "rows": penalty_rows(cells, options.interval_level),
            "cells": cells,
        }
        write_json(folder / "penalty.json", result)
    return options.out


def _cells(
    options: PenaltyOptions,
    study: Finished,
    targets: Sequence[str],
    strengths: Sequence[float],
    kind: str,
    probes: list[ProbeData],
) -> list[dict[str, Any]]:
    """Measures of pairs of encoders trained with a penalty, each as kept or measured now."""
    seeds, sets = retraining_seeds(study, options.seeds), study.points.sets
    work = [(seed, target, s) for seed in seeds for target in targets for s in strengths]
    cells = []
    for seed, target, strength in tqdm(
        work, desc="cells", disable=not sys.stderr.isatty(), file=sys.stderr
    ):
        rows = chosen_candidates(study, target, options.count, seed)
        chosen = None if rows is None else study.points.numbers[rows]
        f = _encoder(options, study, "f", seed, Penalty(strength, chosen), kind, probes)
        # Chosen candidates are none of g's images.
        of_g = Penalty(strength if chosen is None else 0.0, None)
        g = _encoder(options, study, "g", seed, of_g, kind, [])
        of_f, of_other = (torch.tensor(one["alignment"], dtype=torch.float64) for one in (f, g))
        measures = memorization_measures(of_f, of_other, sets, rows)
        measures |= {f"{name}: {of}": value for (name, of), value in read_accuracies(f).items()}
        cells.append({"target": target, "strength": strength, "seed": seed, "measures": measures})
    return cells


def chosen_candidates(study: Finished, target: str, count: int, seed: int) -> torch.Tensor | None:
    """Candidates that pay."""
    if target == "all":
        return None
    candidates = study.points.sets["candidate"]
    scores = study.scores[candidates.numpy()]
    if target == "most":
        return candidates[most_memorized(scores, count)]
    left = remaining_points(scores, count, "random", seed=seed)
    chosen = torch.ones(len(candidates), dtype=torch.bool)
    chosen[left] = False
    return candidates[chosen]


def memorization_measures(
    f: torch.Tensor,
    g: torch.Tensor,
    sets: dict[str, torch.Tensor],
    chosen: torch.Tensor | None = None,
) -> dict[str, float]:
    """How far a pair of encoders memorises candidates, and how far it aligns all images."""
    found = {}
    for form in FORMS:
        scores = ssl_mem(f[None], g[None], form).scores
        mean = {name: float(scores[places].mean()) for name, places in sets.items()}
        for other in _OTHERS:
            found[f"{form}_above_{other}"] = mean["candidate"] - mean[other]
        if chosen is not None:
            found[f"{form}_chosen"] = float(scores[chosen].mean()) - mean["shared"]
    groups = sets if chosen is None else {**sets, "chosen": chosen}
    return found | {f"alignment_{name}": float(f[rows].mean()) for name, rows in groups.items()}


def _checked(options: PenaltyOptions, study: Finished) -> list[float]:
    """Strengths in ascending order, 0 among them; raises where something does not fit."""
    if not options.strengths:
        raise ValueError("strengths is empty; expected some, such as 0 0.1 1 10")
    for strength in options.strengths:
        check_strength(strength)
    strengths = sorted({0.0, *options.strengths})
    if len(set(options.targeted)) < len(options.targeted):
        raise ValueError(f"targeted is {' '.join(options.targeted)}; expected each once")
    candidates = len(study.points.sets["candidate"])
    if not options.targeted and options.count != PenaltyOptions.count:
        raise ValueError(
            f"count is {options.count} without targeted; expected it with --targeted only"
        )
    if options.targeted and not 1 <= options.count <= candidates:
        raise ValueError(
            f"count is {options.count}; expected 1 to {candidates}, the candidates of the study"
        )
    if study.options.method in ("mae", "supervised"):
        raise ValueError(
            f"method is {study.options.method}, which sees one view of an image; expected one of "
            "two views"
        )
    return strengths


def _rows(study: Finished, family: str) -> torch.Tensor:
    return torch.cat([study.points.sets[name] for name in FAMILIES[family]])


def _encoder(
    options: PenaltyOptions,
    study: Finished,
    family: str,
    seed: int,
    penalty: Penalty,
    kind: str,
    probes: list[ProbeData],
) -> dict[str, Any]:
    """Alignment losses of all images scored, and accuracies, of one encoder."""
    rows = _rows(study, family)
    data = trained_on(study.points, rows)
    pays: dict[str, Any] | None = None
    wrap: Callable[[Learner], Learner] | None = None
    handed = data
    if penalty.strength:  # without, training is the same whoever was to pay
        chosen = penalty.chosen
        pays = {"strength": penalty.strength, "chosen": None}
        if chosen is not None:
            numbers = study.points.numbers[rows].sort().values  # in the order of the data
            handed = replace(data, labels=torch.isin(numbers, chosen))
            pays["chosen"] = sorted(chosen.tolist())
        wrap = partial(AlignmentPenalty, strength=penalty.strength, chosen=chosen is not None)
    measures = {
        "alignment": (_scoring(study, kind), _aligning(study, kind)),
        **accuracy_measures(options, study, probes, seed),
    }
    return measured_cell(
        options.out / "cells",
        training_identity(
            study.options, data, seed, checkpoint_every=study.options.checkpoint_every, penalty=pays
        ),
        lambda folder: trained_encoder(study.options, handed, seed, folder, wrap=wrap),
        measures,
    )


def _scoring(study: Finished, kind: str) -> dict[str, Any]:
    """All that alignment losses depend on beside the encoder."""
    names = ("augmentations", "against", "distance", "normalise", "draw_seed")
    images = digest_of(Images(study.points.images, None, ""))
    held = {name: getattr(study.options, name) for name in names}
    return held | {"views": kind, "layer": study.options.layers[0], "images": images}


def _aligning(study: Finished, kind: str) -> Callable[[Trained, Path], Any]:
    first = replace(study.options, layers=study.options.layers[:1])
    points = study.points

    def losses(trained: Trained, folder: Path) -> Any:
        return encoder_losses([trained], points.images, points.numbers, kind, first)[0, 0]

    return losses
