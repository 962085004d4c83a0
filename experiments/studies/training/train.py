"""Train a network and record its spectra: ``sslsim train``.

The keys of ``training.json`` and every recorded metric are explained in
``experiments/docs/train.md``.
"""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from experiments.tables import number, table
from sslsim.core.distributed import largest, process_group, rank
from sslsim.core.files import read_arrays, read_json, read_lines, write_json
from sslsim.data.datasets import Images, part_of
from sslsim.data.pixels import PixelStatistics, pixel_statistics
from sslsim.data.single_view import VIEWS
from sslsim.data.views import crop_to_input
from sslsim.encoders.features import features
from sslsim.measures.collapse import collapse
from sslsim.measures.knn_monitor import neighbour_bank
from sslsim.measures.probes import ProbeResult, knn_accuracy, linear_probe
from sslsim.measures.snapshots import draw_held_out_pairs
from sslsim.measures.steps import Steps
from sslsim.methods.learner import Learner
from sslsim.runs.folder import check_folder, check_same, holds_checkpoints, run_in_place
from sslsim.runs.options import TrainOptions, training_options
from sslsim.runs.setup import (
    chosen_device,
    found_steps,
    initial_learner,
    split_data,
    watched_spectrum,
)
from sslsim.runs.stored import stored_config
from sslsim.training.loop import check_longer, train
from sslsim.training.options import flow_time

_RESULTS = (
    "training.json",
    "records.jsonl",
    "records.npz",
    "run.png",
    "embeddings.gif",
)
_COMPARISON = ("comparison.json", "comparison.png")  # of `sslsim compare --run`
_PROBED = 5000  # images of each split that the frozen features are probed on, at most


def train_network(options: TrainOptions) -> Path:
    """Train as the options say, or go on where an interrupted run stopped."""
    train_options = training_options(options)
    with ExitStack() as opened:
        with process_group(chosen_device(options.device)) as device:
            data, held_out = split_data(options)
            learner = initial_learner(options, data)
            known = ("backbone", "projector", *learner.encoder.layers)
            if missing := [name for name in options.layers if name not in known]:
                raise ValueError(
                    f"layers holds {missing[0]!r}; expected some of {', '.join(known)}"
                )
            kind = options.views or learner.views
            folder = options.out
            longer = _longer(options, learner)  # every process looks before the first one writes
            largest(0.0)
            if rank() == 0:
                opened.enter_context(
                    run_in_place(folder, "train", options, results=_RESULTS, longer=longer)
                )
                print(_headline(options, data, held_out, learner, device), flush=True)
            probed_views = kind if kind in VIEWS and kind != "mask" else "simclr"
            pixels = pixel_statistics(data.images) if options.standardise else None
            held_out_images = held_out.images.to(device)
            plain, plain_held_out = crop_to_input(data, kind), crop_to_input(held_out, kind)
            pairs = draw_held_out_pairs(
                held_out_images, probed_views, options.probe, options.seed, pixels
            )
            begun = time.perf_counter()
            train(
                learner,
                data,
                kind,
                train_options,
                folder,
                held_out=pairs,
                bank=neighbour_bank(plain, plain_held_out, pixels, device)
                if options.evaluate
                else None,
                device=device,
                progress=sys.stderr.isatty(),
            )
            seconds = time.perf_counter() - begun
            if rank() != 0:
                return folder
            records = read_arrays(folder / "records.npz")
        steps = found_steps(records, options)
        lines = read_lines(folder / "records.jsonl")
        result = {
            "method": options.method,
            "encoder": options.encoder,
            "data": options.data,
            "views": kind,
            "dim": learner.encoder.dim,
            "spectrum": watched_spectrum(options),
            "parameters": sum(p.numel() for p in learner.encoder.parameters()),
            "train_images": len(data.images),
            "held_out_images": len(held_out.images),
            "steps": options.steps,
            "time": flow_time(train_options, options.steps),
            "seconds": seconds,
            "step_times": steps.times,
            "step_standard_errors": steps.standard_errors,
            "step_heights": steps.heights,
            "detected_steps": int(steps.detected.sum()),
            "probes": {},
            "first_record": lines[0],
            "last_record": lines[-1],
        }
        repeated = _is_finished(folder, options)
        write_json(folder / "training.json", result)
        if not repeated:  # what was compared was of fewer steps
            for name in _COMPARISON:
                (folder / name).unlink(missing_ok=True)
        probes = {}
        if options.evaluate:  # the result is safe by now
            probing: dict[str, Any] = {"layers": options.layers, "seed": options.seed}
            probes = probed_features(learner, plain, plain_held_out, pixels, **probing)
            result["probes"] = {name: asdict(found) for name, found in probes.items()}
            write_json(folder / "training.json", result)
    print(_report(result, steps, probes))
    return folder


def probed_features(
    learner: Learner,
    data: Images,
    held_out: Images,
    pixels: PixelStatistics | None,
    *,
    layers: Sequence[str] = ("backbone", "projector"),
    seed: int = 0,
) -> dict[str, ProbeResult]:
    """Probes of frozen features, fitted on training images and read on held-out ones.

    >>> options = TrainOptions(limit=200)
    >>> data, held_out = split_data(options)
    >>> found = probed_features(initial_learner(options, data), data, held_out, None)
    >>> sorted(found)
    ['knn_backbone', 'knn_projector', 'linear_backbone', 'linear_projector']
    """
    if data.labels is None or held_out.labels is None or len(data.labels.unique()) < 2:
        return {}
    places = torch.linspace(0, len(data.images) - 1, min(_PROBED, len(data.images))).long()
    y, y_read = data.labels[places], held_out.labels
    device = next(learner.parameters()).device
    parts = []
    for part in (part_of(data, places), held_out):
        images = part.images.to(device).float() / 255
        images = images if pixels is None else pixels.standardise(images)
        parts.append(features(learner.encoder, images, list(layers)))
    found = {}
    for layer in layers:
        fitted, read = (part[layer].cpu() for part in parts)
        calls = {
            f"knn_{layer}": partial(knn_accuracy, k=min(20, len(fitted))),
            f"linear_{layer}": partial(linear_probe, seed=seed),
        }
        for name, call in calls.items():
            try:
                with warnings.catch_warnings():
                    # Of the solver's convergence: the accuracy is reported as it is.
                    warnings.simplefilter("ignore")
                    found[name] = call(fitted, y, read, y_read)
            except ValueError as error:
                warnings.warn(f"{name} is left out: {error}", stacklevel=2)
    return found


def _longer(options: TrainOptions, learner: Learner) -> bool:
    """Whether the folder's run goes on beyond its end; a run of other options is refused."""
    check_folder(options.out, "train", _RESULTS)
    if not holds_checkpoints(options.out):
        return False
    kept = stored_config(options.out)[1]
    free = ("out", "root", "device", "evaluate", "layers", "steps")
    check_same(options.out, kept, {k: v for k, v in asdict(options).items() if k not in free})
    steps = kept.get("steps", options.steps)
    if steps != options.steps:
        check_longer(options.out, steps, training_options(options), learner)
    return bool(steps != options.steps)


def _is_finished(folder: Path, options: TrainOptions) -> bool:
    """Whether the folder has a result of as many steps."""
    path = folder / "training.json"
    return path.exists() and read_json(path).get("steps") == options.steps


def _headline(
    options: TrainOptions, data: Images, held_out: Images, learner: Learner, device: torch.device
) -> str:
    shape = " x ".join(map(str, data.images.shape[1:]))
    parameters = sum(p.numel() for p in learner.encoder.parameters())
    return (
        f"{options.method}: {options.encoder} ({parameters:,} parameters) to d = "
        f"{learner.encoder.dim} on {len(data.images)} images of {options.data} ({shape}), "
        f"{len(held_out.images)} held out; {device}"
    )


def _report(result: dict[str, Any], steps: Steps, probes: dict[str, ProbeResult]) -> str:
    rows = [
        [str(mode + 1), number(steps.times[mode]), number(error), number(steps.heights[mode])]
        for mode, error in enumerate(steps.standard_errors)
        if steps.detected[mode]
    ]
    lines = [f"{len(rows)} step(s) seen in {result['steps']} updates, {result['seconds']:.0f} s"]
    if rows:
        lines.append(table(["mode", "step time", "standard error", "height"], rows))
    for name, found in probes.items():
        chance = 1 / found.classes
        lines.append(
            f"{name.replace('_', ' of ')}: {100 * found.accuracy:.1f} % "
            f"(± {100 * found.standard_error:.1f}; chance {100 * chance:.1f} %)"
        )
    last = result["last_record"]["loss"]
    if last is not None and math.isfinite(last):
        lines.append(f"last loss {last:.4g}")
    record = result["last_record"]
    told = collapse(record["effective_rank"], record["uniformity"], result["dim"])
    if told is not None:
        lines.append(f"warning: {told}")
    return "\n".join(lines)
