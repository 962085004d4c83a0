"""Late modes sooner: ``sslsim accelerate``.

A cell is one training: a way to train, a learning rate, a seed. Cells of the design seeds choose
the learning rate of every way; those of further seeds are compared, paired by seed. The keys of
``acceleration.json`` are explained in ``experiments/docs/accelerate.md``.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.campaign.parts import make_parts
from experiments.studies.acceleration.arms import Arm, chosen_arms
from experiments.studies.acceleration.comparison import compared, early
from experiments.studies.acceleration.options import AccelerateOptions
from experiments.studies.acceleration.training import (
    has_plateaus,
    processor_seconds,
    trained_curves,
    true_modes,
)
from sslsim.core.files import plain, write_json
from sslsim.core.locks import only_writer
from sslsim.data.datasets import Images
from sslsim.runs.cache import short_name, stored_part, training_identity
from sslsim.runs.folder import check_folder, new_results
from sslsim.runs.options import network_name
from sslsim.runs.setup import chosen_device, split_data

_RESULTS = ("acceleration.json", "acceleration.png")
_CURVES = (
    "failed",
    "steps",
    "spectrum",
    "seen_spectrum",
    "effective_rank",
    "accuracy",
    "modes",
)

Cell = dict[str, Any]


def accelerate(options: AccelerateOptions) -> Path:
    """Train what is not yet trained, and compare."""
    arms = _checked(options)
    check_folder(options.out, "accelerate", _RESULTS)
    data, held_out = split_data(options)
    if data.labels is None or held_out.labels is None:
        raise ValueError(f"{options.data} has no labels; expected some, to measure accuracies")
    with new_results(options.out, "accelerate", options, results=_RESULTS, resumes=True) as folder:
        make_parts(folder, options.workers, len(_design(options, arms)))
        design = _made(_design_cells(options, arms, data, held_out), "learning rates")
        chosen = _chosen_rates(options, arms, design)
        make_parts(folder, options.workers, len(arms) * options.seeds)
        trained = _made(_paired_cells(options, arms, chosen, data, held_out), "cells")
        base = {arm.name: arm.options(options, chosen[arm.name], options.seed) for arm in arms}
        identity = plain({name: training_identity(each, data, 0) for name, each in base.items()})
        seconds = stored_part(
            options.out / "cells" / f"seconds-{short_name(identity)}.json",
            identity,
            ["seconds"],
            lambda: {"seconds": processor_seconds(base, data)},
        )["seconds"]
        seeds = _seeds(options)
        of_arms: dict[str, list[Cell]] = {
            arm.name: [trained[arm.name, seed] for seed in seeds] for arm in arms
        }
        true = None
        if options.encoder == "linear" and options.module is None:
            true = true_modes(base[arms[0].name], data, held_out, _dim(of_arms))
        result = {
            "method": options.method,
            "encoder": network_name(options),
            "data": options.data,
            "dim": _dim(of_arms),
            "steps": options.steps,
            "long": options.long,
            "seeds": seeds,
            "design_seeds": _design_seeds(options),
            "interval_level": options.interval_level,
            "plateaus": has_plateaus(options),
            "design": [
                {
                    "arm": name,
                    "rate": rate,
                    "seed": seed,
                    "failed": cell["failed"],
                    "early": early(cell, options),
                }
                for (name, rate, seed), cell in design.items()
            ],
            "arms": compared(options, arms, chosen, of_arms, seconds, true),
        }
        write_json(folder / "acceleration.json", result)
    return options.out


def _checked(options: AccelerateOptions) -> list[Arm]:
    arms = chosen_arms(options)
    for name, least in (("design_seeds", 1), ("seeds", 1), ("checks", 3), ("workers", 1)):
        if getattr(options, name) < least:
            raise ValueError(f"{name} is {getattr(options, name)}; expected at least {least}")
    if options.probed < 2:
        raise ValueError(f"probed is {options.probed}; expected at least 2")
    if options.long < options.steps:
        raise ValueError(
            f"long is {options.long}; expected at least {options.steps}, the steps of all ways"
        )
    if not 0 < options.interval_level < 1:
        raise ValueError(f"interval_level is {options.interval_level}; expected between 0 and 1")
    sided = [arm.name for arm in arms if "embedding" in arm.sides]
    if options.method == "vicregl" and sided:
        raise ValueError(
            f"arms holds {sided[0]!r} with method vicregl, whose loss is not one of the embedding; "
            "expected arms without +embedding"
        )
    if options.method in ("mae", "supervised"):
        raise ValueError(
            f"method is {options.method}, which sees one view of an image; expected one of two "
            "views"
        )
    chosen_device(options.device)
    return arms


def _design_seeds(options: AccelerateOptions) -> list[int]:
    return [options.seed + place for place in range(options.design_seeds)]


def _seeds(options: AccelerateOptions) -> list[int]:
    return [options.seed + options.design_seeds + place for place in range(options.seeds)]


def _design(options: AccelerateOptions, arms: list[Arm]) -> list[tuple[Arm, float, int]]:
    seeds = _design_seeds(options)
    return [(arm, rate, seed) for seed in seeds for arm in arms for rate in arm.rates]


def accelerate_parts(options: AccelerateOptions) -> dict[Any, Callable[[], object]]:
    """Trainings that several processes may make: for the learning rates, and once these are known.

    Which of the two is told by what the folder holds.
    """
    arms, sets = _checked(options), split_data(options)
    parts = _design_cells(options, arms, *sets)
    if not all(make.file.exists() for make in parts.values()):
        return dict(parts)
    design = {key: make() for key, make in parts.items()}
    return dict(_paired_cells(options, arms, _chosen_rates(options, arms, design), *sets))


def _design_cells(
    options: AccelerateOptions, arms: list[Arm], data: Images, held_out: Images
) -> dict[Any, _Training]:
    return {
        (arm.name, rate, seed): _Training(
            arm.options(options, rate, seed), data, held_out, options.steps, options.out
        )
        for arm, rate, seed in _design(options, arms)
    }


def _paired_cells(
    options: AccelerateOptions,
    arms: list[Arm],
    chosen: Mapping[str, float],
    data: Images,
    held_out: Images,
) -> dict[Any, _Training]:
    return {
        (arm.name, seed): _Training(
            arm.options(options, chosen[arm.name], seed),
            data,
            held_out,
            options.long if arm is arms[0] else options.steps,
            options.out,
        )
        for seed in _seeds(options)
        for arm in arms
    }


def _made(parts: Mapping[Any, _Training], words: str) -> dict[Any, Cell]:
    hidden = not sys.stderr.isatty()
    shown = tqdm(parts.items(), desc=words, disable=hidden, file=sys.stderr)
    return {key: make() for key, make in shown}


@dataclass(frozen=True, eq=False)
class _Training:
    """One training, called for its curves: as stored, or measured now."""

    options: AccelerateOptions
    data: Images
    held_out: Images
    steps: int
    out: Path

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that the curves depend on."""
        return training_identity(
            self.options,
            self.data,
            self.options.seed,
            updates=self.steps,
            checks=self.options.checks / self.options.steps,
            probed=self.options.probed,
        )

    @property
    def file(self) -> Path:
        """Where the curves are stored."""
        return self.out / "cells" / short_name(self.identity) / "cell.json"

    def __call__(self) -> Cell:
        folder = self.file.parent
        with only_writer(folder):
            cell = stored_part(
                self.file,
                self.identity,
                _CURVES,
                lambda: trained_curves(self.options, self.data, self.held_out, self.steps, folder),
            )
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # what it was for is known
        return cell


def _chosen_rates(
    options: AccelerateOptions, arms: list[Arm], design: Mapping[Any, Cell]
) -> dict[str, float]:
    """The rate of every arm that has learned the most, on average over a training."""
    chosen, seeds = {}, _design_seeds(options)
    for arm in arms:
        scores = [
            np.mean([early(design[arm.name, rate, seed], options) for seed in seeds])
            for rate in arm.rates
        ]
        if max(scores) == -np.inf:
            rates = ", ".join(f"{rate:g}" for rate in arm.rates)
            raise ValueError(
                f"{arm.name} diverges at all learning rates, {rates}; expected smaller ones, as "
                f"--rates {arm.name}=..."
            )
        chosen[arm.name] = arm.rates[int(np.argmax(scores))]
    return chosen


def _dim(of_arms: Mapping[str, list[Cell]]) -> int:
    cells = [cell for of_arm in of_arms.values() for cell in of_arm]
    return max(len(row) for cell in cells for row in cell["spectrum"][:1])
