"""Which modes memorise, and does removing them help: ``sslsim memorization-modes``.

The keys of ``memorization_modes.json`` are explained in ``experiments/docs/memorization_modes.md``.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.campaign.parts import make_parts
from experiments.studies.mode_memorization.encoder_pairs import (
    PairedEncoders,
    open_pairs,
    tuned_pair,
)
from experiments.studies.mode_memorization.measures import KEYS, measured_pair
from experiments.studies.mode_memorization.options import (
    ModeMemorizationOptions,
    check_options,
    fine_tunings,
    late_layer,
)
from experiments.studies.mode_memorization.results import summarised
from sslsim.core.checkpoints import fingerprint
from sslsim.core.files import plain, write_json
from sslsim.core.locks import only_writer
from sslsim.memorization.image_sets import FAMILIES
from sslsim.runs.cache import digest_of, short_name, stored_part
from sslsim.runs.folder import check_folder, new_results
from sslsim.runs.networks import check_different
from sslsim.runs.options import network_name
from sslsim.runs.setup import chosen_device
from sslsim.umm import UmmOptions
from sslsim.umm.finetune import start_digest
from sslsim.umm.outer_step import trained_names
from sslsim.umm.split import split_encoder

_RESULTS = ("memorization_modes.json", "memorization_modes.png")
_MEASURED = (
    "features", "eps", "augmentations", "reference", "test_images", "remove", "random"
)  # fmt: skip


def memorization_modes(options: ModeMemorizationOptions) -> Path:
    """Measure what is not yet measured, and write the table."""
    studies = _opened(options)
    check_folder(options.out, "memorization-modes", _RESULTS)
    work = _work(options, studies)
    with new_results(
        options.out, "memorization-modes", options, results=_RESULTS, resumes=True
    ) as folder:
        make_parts(folder, options.workers, len(work))
        cells: dict[tuple[int, str], list[dict[str, Any]]] = {}
        for place, state, pair, tuning in tqdm(
            work, desc="cells", disable=not sys.stderr.isatty(), file=sys.stderr
        ):
            cell = _cell(options, studies[place], state, pair, tuning)
            cells.setdefault((place, state), []).append(cell)
        groups = []
        for place, study in enumerate(studies):
            parts = {state: cells[place, state] for state in fine_tunings(options, study.options)}
            states, changes = summarised(parts, options.interval_level)
            groups.append({**_described(study, options), "states": states, "changes": changes})
        result = {
            "interval_level": options.interval_level,
            "layer": late_layer(options),
            "split": options.split,
            "steps": options.steps,
            "groups": groups,
        }
        write_json(folder / _RESULTS[0], result)
    return options.out


def mode_parts(options: ModeMemorizationOptions) -> dict[Any, Callable[[], object]]:
    """Cells that several processes may make, by study, fine-tuning and pair."""
    studies = _opened(options)
    return {
        (place, state, pair): partial(_cell, options, studies[place], state, pair, tuning)
        for place, state, pair, tuning in _work(options, studies)
    }


def _opened(options: ModeMemorizationOptions) -> list[PairedEncoders]:
    """The studies; refuses what does not fit before anything is written."""
    check_options(options)
    check_different("run", options.run)
    chosen_device(options.device)
    studies = [open_pairs(run, options.root) for run in options.run]
    for study in studies:
        tunings = fine_tunings(options, study.options)
        learner = study.learner("f", 0)
        split = split_encoder(learner.encoder, options.split)
        for tuning in tunings.values():
            if tuning is not None:
                trained_names(learner, split, tuning)
        for pair in range(study.options.encoder_pairs):
            for family in FAMILIES:
                study.learner(family, pair)
    return studies


def _work(
    options: ModeMemorizationOptions, studies: list[PairedEncoders]
) -> list[tuple[int, str, int, UmmOptions | None]]:
    """Study, fine-tuning and pair of every cell."""
    return [
        (place, state, pair, tuning)
        for place, study in enumerate(studies)
        for state, tuning in fine_tunings(options, study.options).items()
        for pair in range(study.options.encoder_pairs)
    ]


def _cell(
    options: ModeMemorizationOptions,
    study: PairedEncoders,
    state: str,
    pair: int,
    tuning: UmmOptions | None,
) -> dict[str, Any]:
    """Measures of one pair after one fine-tuning: as stored, or made now."""
    held_out = study.images.held_out
    identity = plain(
        {
            "start": {
                family: start_digest(
                    study.learner(family, pair), study.trained_on(family), held_out
                )
                for family in FAMILIES
            },
            "unseen": digest_of(study.unseen(options.reference)),
            "sets": {
                name: fingerprint([study.images.numbers[rows]])
                for name, rows in study.images.sets.items()
            },
            "views": [study.views, study.options.draw_seed, study.options.common_pixels],
            "pair": [study.options.seed, pair],
            "tuning": None if tuning is None else asdict(tuning),
            "measured": {name: getattr(options, name) for name in _MEASURED},
        }
    )
    folder = options.out / "cells" / short_name(identity)

    def made() -> dict[str, Any]:
        device = chosen_device(options.device)
        encoders = tuned_pair(study, pair, tuning, folder / "tuned", device)
        about = {"run": study.folder, "state": state, "pair": pair}
        return {**about, **measured_pair(study, pair, encoders, options)}

    with only_writer(folder):
        cell = stored_part(folder / "cell.json", identity, KEYS, made)
        shutil.rmtree(folder / "tuned", ignore_errors=True)  # what it was for is measured
    return cell


def _described(study: PairedEncoders, options: ModeMemorizationOptions) -> dict[str, Any]:
    """What a group of the result says of its study."""
    own = study.options
    return {
        "run": str(study.folder),
        "method": own.method,
        "encoder": network_name(own),
        "data": own.data,
        "views": study.views,
        "fixed_views": own.fixed_views,
        "updates": own.steps,
        "seeds": [own.seed + pair for pair in range(own.encoder_pairs)],
        "sets": {name: len(rows) for name, rows in study.images.sets.items()},
        "reference_images": len(study.unseen(options.reference).images),
        "test_images": len(study.tested(options.test_images).images),
    }
