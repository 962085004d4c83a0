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

from experiments.campaign.parts import make_parts
from experiments.studies.memorization.options import PenaltyOptions
from experiments.studies.memorization.settings import pixels_of, scoring_of
from experiments.studies.memorization.source_study import (
    SourceStudy,
    load_study,
    pixels_identity,
    probe_data,
    retraining_seeds,
    retraining_settings,
)
from experiments.studies.memorization.tables import penalty_rows
from sslsim.core.files import write_json
from sslsim.measures.frozen import EvaluationData, FrozenEncoder
from sslsim.memorization.losses import Scoring
from sslsim.memorization.ranking import chosen_points
from sslsim.memorization.split import memorization_by_set
from sslsim.methods.learner import Learner
from sslsim.methods.penalty import AlignmentPenalty, check_strength
from sslsim.runs.cache import Measures, measured_cell, training_identity
from sslsim.runs.encoders import train_encoder
from sslsim.runs.folder import check_folder, new_results
from sslsim.runs.layers.evaluation import accuracies_of, accuracy_measures, alignment_measure
from sslsim.runs.options import network_name
from sslsim.runs.setup import initial_learner

_RESULTS = ("penalty.json", "penalty.png")
_ALL = ("all",)  # targets where none is named


@dataclass(frozen=True)
class Penalty:
    """A penalty in a training.

    Attributes
    ----------
    strength : float
        Weight of the mean distance.
    chosen : Tensor of int64 or None
        Numbers of the images that pay; None for all.
    """

    strength: float
    chosen: torch.Tensor | None


@dataclass(frozen=True, eq=False)
class Plan:
    """What a command trains and measures.

    Attributes
    ----------
    study : SourceStudy
        The study to start from.
    strengths : list of float
        In ascending order, 0 among them.
    scoring : Scoring
        How images are scored.
    data_sets : list of EvaluationData
        What accuracies are measured on, the same for all strengths.
    """

    study: SourceStudy
    strengths: list[float]
    scoring: Scoring
    data_sets: list[EvaluationData]


def memorization_penalty(options: PenaltyOptions) -> Path:
    """Train what is not yet trained, measure what is not yet measured, and sum it up."""
    check_folder(options.out, "memorization-penalty", _RESULTS)
    plan = _planned(options)
    study = plan.study
    work = _work(options, plan)
    with new_results(
        options.out, "memorization-penalty", options, results=_RESULTS, resumes=True
    ) as folder:
        make_parts(folder, options.workers, 2 * len(work))
        cells = _cells(options, plan, work)
        result = {
            **retraining_settings(options, study),
            "targets": options.targeted or _ALL,
            "count": options.count if options.targeted else None,
            "strengths": plan.strengths,
            "seeds": retraining_seeds(study, options.seeds),
            "interval_level": options.interval_level,
            "rows": penalty_rows(cells, options.interval_level),
            "cells": cells,
        }
        write_json(folder / "penalty.json", result)
    return options.out


def penalty_parts(options: PenaltyOptions) -> dict[Any, Callable[[], object]]:
    """Encoders that several processes may train and measure, by what they depend on."""
    plan = _planned(options)
    pairs = (_pair(options, plan, *each) for each in _work(options, plan))
    return {key: make for pair in pairs for key, make in pair.items()}


def _planned(options: PenaltyOptions) -> Plan:
    """The study and what is measured; what does not fit is refused before anything is written."""
    study = load_study(options, ("split",), "whose candidates one encoder of a pair has seen")
    strengths = _checked(options, study)
    learner = initial_learner(study.options, study.images.data)
    views = study.options.views or learner.views
    layer, known = study.options.layers[0], ("backbone", "projector", *learner.encoder.layers)
    if layer not in known:
        raise ValueError(
            f"{options.scores} scored {layer}, which {network_name(study.options)} lacks; expected "
            f"a study of one of {', '.join(known)}"
        )
    scoring = replace(scoring_of(study.options, views), layers=(layer,))
    data_sets = probe_data(study, study.images.numbers[study.images.rows("f")], options)
    return Plan(study, strengths, scoring, data_sets)


def _work(options: PenaltyOptions, plan: Plan) -> list[tuple[int, str, float]]:
    """Seed, target and strength of every pair of encoders."""
    seeds, targets = retraining_seeds(plan.study, options.seeds), options.targeted or _ALL
    return [(seed, target, s) for seed in seeds for target in targets for s in plan.strengths]


def _cells(
    options: PenaltyOptions, plan: Plan, work: Sequence[tuple[int, str, float]]
) -> list[dict[str, Any]]:
    """Measures of pairs of encoders trained with a penalty, each as stored or measured now."""
    cells = []
    for seed, target, strength in tqdm(
        work, desc="cells", disable=not sys.stderr.isatty(), file=sys.stderr
    ):
        f, g = (make() for make in _pair(options, plan, seed, target, strength).values())
        of_f, of_g = (torch.tensor(each["alignment"], dtype=torch.float64) for each in (f, g))
        rows = chosen_candidates(plan.study, target, options.count, seed)
        measures = memorization_by_set(of_f, of_g, plan.study.images.sets, rows)
        measures |= {f"{name}: {data}": value for (name, data), value in accuracies_of(f).items()}
        cells.append({"target": target, "strength": strength, "seed": seed, "measures": measures})
    return cells


def _pair(
    options: PenaltyOptions, plan: Plan, seed: int, target: str, strength: float
) -> dict[Any, Callable[[], dict[str, Any]]]:
    """What makes the encoders f and g of a pair, by what each depends on."""
    study = plan.study
    rows = chosen_candidates(study, target, options.count, seed)
    numbers = None if rows is None else study.images.numbers[rows]
    training = replace(study.options, seed=seed)
    accuracies = accuracy_measures(
        plan.data_sets, training, options.fine_tune, options.fine_tune_lr
    )
    encoders: list[tuple[str, Penalty, Measures[FrozenEncoder]]] = [
        ("f", Penalty(strength, numbers), accuracies),
        # Chosen candidates are none of g's images.
        ("g", Penalty(strength if rows is None else 0.0, None), {}),
    ]
    cell = partial(_cell, options.out / "cells", study, plan.scoring, seed)
    pair: dict[Any, Callable[[], dict[str, Any]]] = {}
    for family, penalty, measures in encoders:
        chosen = penalty.chosen if penalty.strength else None
        paying = () if chosen is None else sorted(chosen.tolist())
        pair[seed, family, penalty.strength, *paying] = partial(cell, family, penalty, measures)
    return pair


def chosen_candidates(
    study: SourceStudy, target: str, count: int, seed: int
) -> torch.Tensor | None:
    """Candidates that pay; None for all images."""
    if target == "all":
        return None
    candidates = study.images.sets["candidate"]
    return candidates[chosen_points(study.scores[candidates.numpy()], count, target, seed=seed)]


def _checked(options: PenaltyOptions, study: SourceStudy) -> list[float]:
    """Strengths in ascending order, 0 among them; raises where something does not fit."""
    if not options.strengths:
        raise ValueError("strengths is empty; expected some, such as 0 0.1 1 10")
    for strength in options.strengths:
        check_strength(strength)
    strengths = sorted({0.0, *options.strengths})
    if len(set(options.targeted)) < len(options.targeted):
        raise ValueError(f"targeted is {' '.join(options.targeted)}; expected each once")
    candidates = len(study.images.sets["candidate"])
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


def _cell(
    cells: Path,
    study: SourceStudy,
    scoring: Scoring,
    seed: int,
    family: str,
    penalty: Penalty,
    accuracies: Measures[FrozenEncoder],
) -> dict[str, Any]:
    """Alignment losses of all images scored, and accuracies, of one encoder."""
    rows, every = study.images.rows(family), study.options.checkpoint_every
    data = labelled = study.images.part(rows)
    settings: dict[str, Any] | None = None
    wrap: Callable[[Learner], Learner] | None = None
    if penalty.strength:  # without, training is the same whoever was to pay
        settings = {"strength": penalty.strength, "chosen": None}
        if penalty.chosen is not None:
            numbers = study.images.numbers[rows].sort().values  # in the order of the data
            labelled = replace(data, labels=torch.isin(numbers, penalty.chosen))
            settings["chosen"] = sorted(penalty.chosen.tolist())
        wrap = partial(
            AlignmentPenalty, strength=penalty.strength, chosen=penalty.chosen is not None
        )
    return measured_cell(
        cells,
        training_identity(
            study.options,
            data,
            seed,
            checkpoint_every=every,
            penalty=settings,
            **pixels_identity(study),
        ),
        partial(
            train_encoder,
            replace(study.options, seed=seed),
            labelled,
            checkpoint_every=every,
            wrap=wrap,
            pixels=pixels_of(study.options, study.images),
        ),
        {"alignment": alignment_measure(study.images, scoring), **accuracies},
    )
