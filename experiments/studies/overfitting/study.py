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
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.options import OverfittingOptions
from experiments.studies.overfitting.advice import advise
from experiments.studies.overfitting.summary import summarise_groups
from sslsim.core.files import plain, write_json
from sslsim.runs.cache import stored_line, stored_lines
from sslsim.runs.folder import check_folder, check_same, new_results
from sslsim.runs.layers.checkpoint import LayerSamples, draw_layer_samples, measure_layers
from sslsim.runs.layers.curves import read_curves, summarise_run
from sslsim.runs.networks import check_different, spread_steps
from sslsim.runs.options import TrainOptions, chosen_options
from sslsim.runs.stored import stored_config
from sslsim.runs.trained_run import TrainedRun

# What a measurement of one checkpoint depends on.
_MEASURED = ("samples", "probed", "views", "eps", "seed")
_OF_MODULE = ("output", "data", "size", "limit", "standardise")  # which a run has of its own
_RESULTS = ("overfitting.json", "overfitting.png")
_LINES = "measured.jsonl"


def overfitting(options: OverfittingOptions) -> Path:
    """Measure checkpoints of runs, or those that are left, and sum up."""
    _check(options)
    check_folder(options.out, "overfitting", _RESULTS)
    runs: list[tuple[TrainedRun, list[int]]] = []
    for run in _runs(options):
        if len(run.steps) < 3:
            raise ValueError(
                f"{run.folder} holds {max(len(run.steps) - 1, 0)} checkpoint(s); expected those "
                "of a run with --checkpoints-kept 0, or of Recorder(..., checkpoints=N)"
            )
        runs.append((run, spread_steps(run.steps, options.checkpoints)))
    lines = _measured_before(options)
    with new_results(options.out, "overfitting", options, results=_RESULTS, resumes=True) as folder:
        quiet = not sys.stderr.isatty()
        count = sum(len(steps) for _, steps in runs)
        curves = []
        with tqdm(total=count, desc="checkpoints", disable=quiet, file=sys.stderr) as bar:
            for run, steps in runs:
                draw = partial(
                    draw_layer_samples,
                    run,
                    samples=options.samples,
                    probed=options.probed,
                    views=options.views,
                    seed=options.seed,
                )
                samples = cache(draw)
                of_run = []
                for step in steps:
                    measure = partial(_measured, run, step, samples, options)
                    key = _key(run, step)
                    of_run.append(stored_line(options.out / _LINES, lines, key, measure))
                    bar.update()
                curves.append(read_curves(run.folder, run.options, of_run))
        of_runs = [summarise_run(curves_of_run) for curves_of_run in curves]
        groups = summarise_groups(curves, of_runs, options.interval_level)
        for group in groups:
            group["advice"] = advise([curves[place] for place in group["runs"]], options.eps)
        if options.module is not None:  # whatever it was trained by
            groups[0]["label"] = f"{options.module}, {Path(options.data).name}"
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


def _runs(options: OverfittingOptions) -> list[TrainedRun]:
    """The runs, or the user's own network over its training."""
    if options.module is None:
        return [TrainedRun.open(folder, options.root) for folder in options.run]
    values = {name: getattr(options, name) for name in (*_OF_MODULE, "module", "root")}
    source = TrainOptions(**values, views=options.pair_views or "simclr")
    return [TrainedRun.of_module(source, options.weights)]


def _check(options: OverfittingOptions) -> None:
    if not (options.run or options.module):
        raise ValueError(
            "no run is given; expected --run DIR, a folder of sslsim train, or --module "
            "package.module:name"
        )
    if options.run and options.module:
        raise ValueError("both run and module are given; expected one of them")
    for name in (*_OF_MODULE, "weights", "pair_views"):
        value = getattr(options, name)
        if options.module is None and value != getattr(OverfittingOptions, name):
            raise ValueError(
                f"{name} is {plain(value)}, which means nothing without module; expected none given"
            )
    if options.module and len(options.weights) < 3:
        raise ValueError(
            f"weights holds {len(options.weights)} file(s); expected three or more, of the network "
            "from early to late in its training"
        )
    check_different("weights", options.weights)
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
    run: TrainedRun, step: int, samples: Callable[[], LayerSamples], options: OverfittingOptions
) -> dict[str, Any]:
    drawn, encoder = samples(), run.learner(step).encoder
    try:
        layers = measure_layers(encoder, drawn, options.eps, options.seed)
    except ValueError as error:
        raise ValueError(f"{run.folder} after {step} updates: {error}") from error
    return {"run": run.folder, "step": step, "images": drawn.images, "layers": layers}


def _key(run: TrainedRun, step: int) -> str:
    """Of a network and its data, wherever the folder is: numbers of another run are not taken."""
    chosen = chosen_options(run.options)
    settings = {name: v for name, v in chosen.items() if name not in ("out", "root")}
    digest = hashlib.sha256(json.dumps(plain(settings), sort_keys=True).encode())
    path = run.file(step)
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
    return stored_lines(path, ["layers"])
