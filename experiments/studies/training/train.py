"""Train a network and record its spectra: ``sslsim train``.

The keys of ``training.json`` and every recorded metric are explained in
``experiments/docs/train.md``.
"""

from __future__ import annotations

import sys
import time
import warnings
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import torch

from experiments.studies.forecasts.live import next_step_watch
from sslsim.core.distributed import largest, process_group, rank
from sslsim.core.files import read_arrays, read_json, read_lines, write_json
from sslsim.data.datasets import Images, spread_over
from sslsim.data.pixels import pixel_statistics
from sslsim.measures.frozen import FrozenEncoder
from sslsim.measures.layers import probe_frozen
from sslsim.measures.snapshots import draw_held_out_pairs
from sslsim.methods.learner import Learner
from sslsim.runs.folder import options_to_resume, run_in_place
from sslsim.runs.options import TrainOptions, for_images, network_name, training_options
from sslsim.runs.setup import (
    chosen_device,
    initial_learner,
    pair_views,
    recorded_spectrum,
    recorded_steps,
    split_data,
)
from sslsim.training.knn_monitor import neighbour_bank
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


def train_network(options: TrainOptions) -> Path:
    """Train as the options say, or go on where an interrupted run stopped."""
    given = options
    # Refused before images are loaded; how many updates they are is known after.
    training_options(options if options.epochs is None else replace(options, warmup=0))
    with ExitStack() as opened:
        with process_group(chosen_device(options.device)) as device:
            data, held_out = split_data(options)
            options = for_images(given, len(data.images))
            train_options = training_options(options)
            learner = initial_learner(options, data)
            known = ("backbone", "projector", *learner.encoder.layers)
            if missing := [name for name in options.layers if name not in known]:
                raise ValueError(
                    f"layers holds {missing[0]!r}; expected some of {', '.join(known)}"
                )
            kind = options.views or learner.views
            folder = options.out
            longer = _goes_beyond(options, learner)  # every process looks before one writes
            largest(0.0)
            if rank() == 0:
                opened.enter_context(
                    run_in_place(folder, "train", options, results=_RESULTS, longer=longer)
                )
                print(_headline(options, data, held_out, learner, device), flush=True)
                print(_schedule(given, options), end="", flush=True)
                _warn_of_preconditioning(options)
            pixels = pixel_statistics(data.images) if options.standardise else None
            pairs = draw_held_out_pairs(
                spread_over(held_out, options.probe).images.to(device),
                pair_views(kind),
                options.probe,
                options.seed,
                pixels,
            )
            bank = None
            if options.evaluate:
                bank = neighbour_bank(data, held_out, pixels, device, kind=kind)
            begun = time.perf_counter()
            train(
                learner,
                data,
                kind,
                train_options,
                folder,
                held_out=pairs,
                bank=bank,
                watch=next_step_watch(options) if options.forecast else None,
                device=device,
                progress=sys.stderr.isatty(),
            )
            seconds = time.perf_counter() - begun
            if rank() != 0:
                return folder
            records = read_arrays(folder / "records.npz")
        steps = recorded_steps(records, recorded_spectrum(options))
        lines = read_lines(folder / "records.jsonl")
        result = {
            "method": options.method,
            "encoder": network_name(options),
            "data": options.data,
            "views": kind,
            "dim": learner.encoder.dim,
            "spectrum": recorded_spectrum(options),
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
        earlier = folder / "training.json"
        repeated = earlier.exists() and read_json(earlier).get("steps") == options.steps
        write_json(folder / "training.json", result)
        if not repeated:  # what was compared was of fewer steps
            for name in _COMPARISON:
                (folder / name).unlink(missing_ok=True)
        if options.evaluate:  # the result is safe by now
            by_layer = probe_frozen(
                FrozenEncoder(learner.encoder, pixels, kind),
                data,
                held_out,
                layers=options.layers,
                seed=options.seed,
            )
            result["probes"] = {
                f"{name}_{layer}": asdict(probe)
                for layer, probes in by_layer.items()
                for name, probe in probes.items()
            }
            write_json(folder / "training.json", result)
    return folder


def _goes_beyond(options: TrainOptions, learner: Learner) -> bool:
    """Whether the folder's run goes on beyond its end; a run of other options is refused."""
    free = ("root", "cache", "stream", "device", "evaluate", "layers", "steps", "adaptive_records")
    stored = options_to_resume(options.out, "train", options, results=_RESULTS, free=free)
    steps = options.steps if stored is None else stored.get("steps", options.steps)
    if steps != options.steps:
        check_longer(options.out, steps, training_options(options), learner)
    return bool(steps != options.steps)


def _headline(
    options: TrainOptions, data: Images, held_out: Images, learner: Learner, device: torch.device
) -> str:
    shape = " x ".join(map(str, data.images.shape[1:])) + (", streamed" if data.streamed else "")
    parameters = sum(p.numel() for p in learner.encoder.parameters())
    return (
        f"{options.method}: {network_name(options)} ({parameters:,} parameters) to d = "
        f"{learner.encoder.dim} on {len(data.images)} images of {options.data} ({shape}), "
        f"{len(held_out.images)} held out; {device}"
    )


def _warn_of_preconditioning(options: TrainOptions) -> None:
    """Tell of methods that the embedding's preconditioner did not help where it was measured."""
    if options.precondition_embedding != "none" and options.method in ("simclr", "vicreg"):
        warnings.warn(
            f"precondition_embedding did not help {options.method} where it was measured, and "
            "lowered accuracy (experiments/docs/accelerate.md)",
            stacklevel=2,
        )


def _schedule(given: TrainOptions, options: TrainOptions) -> str:
    """A line each on what epochs and the learning rate of a reference batch have become."""
    lines = []
    if given.epochs is not None:
        lines.append(f"{given.epochs} epochs are {options.steps} updates\n")
    if given.lr_reference_batch is not None:
        lines.append(
            f"learning rate {options.lr:g}, which is {given.lr:g} for {given.lr_reference_batch} "
            "images in an update\n"
        )
    return "".join(lines)
