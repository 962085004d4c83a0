"""Accuracy and coding rate reduction, layer by layer, over training: ``sslsim overfitting``.

Two observations of arXiv 2410.00772 are put to the test: that the accuracy of a late layer rises,
peaks and falls while that of early ones rises and stays, and that the coding rate reduction of the
late layer follows its accuracy without labels. The keys of ``overfitting.json`` are explained in
``experiments/docs/overfitting.md``.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.options import OverfittingOptions
from experiments.studies.kernels.over_training import spread_steps
from experiments.studies.overfitting.measures import Watched, measured_layers, watched_images
from experiments.studies.overfitting.summary import read_curves, summarise_groups, summarise_run
from sslsim.core.files import plain, read_lines, whole_file, write_json
from sslsim.runs.folder import check_folder, check_same, new_results
from sslsim.runs.networks import check_different, kept_steps, network_at
from sslsim.runs.options import TrainOptions
from sslsim.runs.setup import read_train_options
from sslsim.runs.stored import stored_config

# What a measurement of one checkpoint depends on.
_MEASURED = ("samples", "probed", "views", "eps", "seed")
_RESULTS = ("overfitting.json", "overfitting.png")
_LINES = "measured.jsonl"


def overfitting(options: OverfittingOptions) -> Path:
    """Measure checkpoints of runs, or those that are left, and sum up."""
    _check(options)
    check_folder(options.out, "overfitting", _RESULTS)
    runs: list[tuple[Path, TrainOptions, list[int]]] = []
    for run in options.run:
        trained = read_train_options(run)
        if options.root is not None:
            trained = replace(trained, root=options.root)
        steps = kept_steps(run)
        if len(steps) < 3:
            raise ValueError(
                f"{run} holds {len(steps) - 1} checkpoint(s); expected those of a run with "
                "--checkpoints-kept 0"
            )
        runs.append((run, trained, spread_steps(steps, options.checkpoints)))
    lines = _measured_before(options)
    with new_results(options.out, "overfitting", options, results=_RESULTS, resumes=True) as folder:
        quiet = not sys.stderr.isatty()
        count = sum(len(steps) for *_, steps in runs)
        curves = []
        with tqdm(total=count, desc="checkpoints", disable=quiet, file=sys.stderr) as bar:
            for run, trained, steps in runs:
                watched: Watched | None = None
                of_run = []
                for step in steps:
                    key = _key(run, step, trained)
                    if key not in lines:
                        watched = watched or watched_images(trained, options)
                        lines[key] = _measured(run, step, watched, options) | {"key": key}
                        _write_lines(options.out / _LINES, list(lines.values()))
                    of_run.append(lines[key])
                    bar.update()
                curves.append(read_curves(run, trained, of_run))
        of_runs = [summarise_run(one) for one in curves]
        groups = summarise_groups(curves, of_runs, options.interval_level)
        write_json(
            folder / "overfitting.json",
            {
                "eps": options.eps,
                "views": options.views,
                "interval_level": options.interval_level,
                "runs": of_runs,
                "groups": groups,
            },
        )
    return options.out


def _check(options: OverfittingOptions) -> None:
    if not options.run:
        raise ValueError("no run is given; expected --run DIR, a folder of sslsim train")
    check_different("run", options.run)
    if options.checkpoints < 3:
        raise ValueError(f"checkpoints is {options.checkpoints}; expected at least 3")
    for name in ("samples", "probed", "views"):
        if getattr(options, name) < 2:
            raise ValueError(f"{name} is {getattr(options, name)}; expected at least 2")
    if options.seed < 0:
        raise ValueError(f"seed is {options.seed}; expected at least 0")
    if not options.eps or not all(math.isfinite(eps) and eps > 0 for eps in options.eps):
        raise ValueError(f"eps is {options.eps}; expected finite numbers above zero")
    if not 0 < options.interval_level < 1:
        raise ValueError(
            f"interval-level is {options.interval_level}; expected a number between 0 and 1"
        )


def _measured(
    run: Path, step: int, watched: Watched, options: OverfittingOptions
) -> dict[str, Any]:
    learner, _ = network_at(run, step, watched.data)
    try:
        layers = measured_layers(learner.encoder, watched, options)
    except ValueError as error:
        raise ValueError(f"{run} after {step} updates: {error}") from error
    return {"run": run, "step": step, "images": watched.images, "layers": layers}


def _key(run: Path, step: int, trained: TrainOptions) -> str:
    """Of a network and its data, wherever the folder is: numbers of another run are not taken."""
    settings = {name: v for name, v in asdict(trained).items() if name not in ("out", "root")}
    digest = hashlib.sha256(json.dumps(plain(settings), sort_keys=True).encode())
    path = run / "checkpoints" / f"checkpoint-{step:09d}.pt"
    if path.exists():
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return f"{step}-{digest.hexdigest()[:16]}"


def _measured_before(options: OverfittingOptions) -> dict[str, dict[str, Any]]:
    """Measurements that the folder holds, by key; refused if made with other options."""
    path = options.out / _LINES
    if not path.exists():
        return {}
    kept = stored_config(options.out)[1]
    given = {name: getattr(options, name) for name in _MEASURED}
    check_same(options.out, kept, given, holds="measurements")
    lines = read_lines(path)
    if not all(isinstance(line, dict) and {"key", "layers"} <= set(line) for line in lines):
        raise ValueError(f"{path} holds a line without key and layers; expected measurements")
    return {line["key"]: line for line in lines}


def _write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    with whole_file(path) as file:
        for line in lines:
            file.write(json.dumps(plain(line), allow_nan=False).encode() + b"\n")
