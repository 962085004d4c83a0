"""What the tangent kernel of a trained network predicts: ``sslsim ntk``.

The kernel of positive pairs, taken at a checkpoint of a run, is a linear model: its modes are the
embedding that theory expects at the end of training with that kernel, and at initialisation their
eigenvalues date the steps. The keys of ``ntk.json`` are explained in ``experiments/docs/ntk.md``.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from experiments.options import NtkOptions
from experiments.studies.kernels.across_runs import across_networks
from experiments.studies.kernels.over_training import over_training
from experiments.studies.kernels.pairs import (
    held_out_pairs,
    measured,
    predictions,
    views_of_run,
)
from experiments.studies.kernels.representation import untrained_modes
from sslsim.core.files import write_arrays, write_json
from sslsim.data.pixels import pixel_statistics
from sslsim.encoders.own.factory import load_module
from sslsim.measures.modes.agreement import (
    Array,
    embedding_agreement,
    kernel_agreement,
    step_time_agreement,
)
from sslsim.runs.folder import check_folder, new_results
from sslsim.runs.options import TrainOptions, network_name
from sslsim.runs.setup import split_data
from sslsim.runs.stored import stored_result
from sslsim.runs.trained_run import TrainedRun
from theory.kernels.modes import embed, kernel_initialization, kernel_modes
from theory.linear.closed_form import step_times

_RESULTS = (
    "ntk.json",
    "ntk.npz",
    "ntk.png",
    "ntk_training.png",
    "ntk_across.json",
    "ntk_across.npz",
    "ntk_across.png",
)
_OF_DATA = ("data", "split", "size", "limit", "standardise", "seed")  # which a run has of its own
_OF_MODULE = ("weights", "output")


def ntk(options: NtkOptions) -> Path:
    """Compute the kernel, predict, and compare with the network itself."""
    _check(options)
    check_folder(options.out, "ntk", _RESULTS)
    if len(options.run) > 1:
        name = "ntk_across"
        result, arrays = across_networks(options)
    else:
        name = "ntk"
        result, arrays = _of_run(options) if options.run else _of_module(options)
    with new_results(options.out, "ntk", options, results=_RESULTS) as folder:
        write_arrays(folder / f"{name}.npz", **arrays)
        write_json(folder / f"{name}.json", result)
    return options.out


def _of_module(options: NtkOptions) -> tuple[dict[str, Any], dict[str, Array]]:
    assert options.module is not None
    network = load_module(options.module, options.weights, options.output, seed=options.seed)
    source = TrainOptions(**{field: getattr(options, field) for field in (*_OF_DATA, "root")})
    data, held_out = split_data(source)
    kind = options.views or "simclr"
    pairs = held_out_pairs(source, held_out, kind, options)
    views = [pairs.x, pairs.x_prime]
    if options.standardise:
        views = [pixel_statistics(data.images).standardise(view) for view in views]
    kernel, z = measured(network, views, options)
    result, _, predicted = predictions(kernel, z)
    result |= {"module": options.module, "data": options.data, "views": kind}
    return result, {"kernel": kernel, "embeddings": z, "predicted": predicted}


def _of_run(options: NtkOptions) -> tuple[dict[str, Any], dict[str, Array]]:
    run = TrainedRun.open(options.run[0], options.root)
    trained = run.options
    recorded = stored_result(run.folder / "training.json", {"views": str, "step_times": list})
    kind = options.views or run.pairs_kind
    step = run.step_at(options.checkpoint)
    views = views_of_run(run, options)
    first, z0 = kernel, z = measured(run.learner(0).encoder, views, options)
    if step != 0:
        kernel, z = measured(run.learner(step).encoder, views, options)
    result, modes, predicted = predictions(kernel, z)
    result |= {
        "step": step,
        **kernel_agreement(kernel, first),
        "method": trained.method,
        "encoder": network_name(trained),
        "norm": trained.norm,
        "residual_gain": trained.residual_gain,
        "data": trained.data,
        "views": kind,
    }
    # Times are predicted from the kernel and the embeddings at the start.
    at_start = modes if step == 0 else kernel_modes(first, len(modes.gamma))
    _, s0 = kernel_initialization(at_start, z0)
    times = step_times(at_start.gamma[: len(s0)], s0)
    stored_times = recorded["step_times"][: len(times)]
    recorded_times = np.array([np.inf if time is None else time for time in stored_times])
    result |= {
        "initial_eigenvalues": at_start.gamma,
        "predicted_step_times": times[: len(recorded_times)],
        "measured_step_times": recorded_times,
        **step_time_agreement(times[: len(recorded_times)], recorded_times),
        "untrained": {
            "kernel": embedding_agreement(embed(at_start, first), z),
            "representation": untrained_modes(run),
        },
    }
    arrays = {"kernel": kernel, "embeddings": z, "predicted": predicted}
    if options.over_training is not None:
        known = {0: (first, z0), step: (kernel, z)}
        followed, more = over_training(run, views, options, known, recorded_times)
        result, arrays = result | followed, arrays | more
    return result, arrays


def _check(options: NtkOptions) -> None:
    if options.samples < 2 or options.memory < 1:
        raise ValueError(
            f"samples is {options.samples} and memory {options.memory}; expected at least 2 pairs "
            "and 1 MiB"
        )
    if options.outputs is not None and options.outputs < 1:
        raise ValueError(f"outputs is {options.outputs}; expected at least 1, or none given")
    if bool(options.run) == (options.module is not None):
        given = "both run and module are" if options.run else "neither run nor module is"
        raise ValueError(
            f"{given} given; expected one of --run DIR and --module package.module:name"
        )
    defaults = {field.name: field.default for field in fields(NtkOptions)}
    runs = "a run" if len(options.run) == 1 else "several runs" if options.run else "a module"
    foreign = {
        "a run": (*_OF_DATA, *_OF_MODULE, "modes", "center"),
        "several runs": (*_OF_DATA, *_OF_MODULE, "over_training"),
        "a module": ("checkpoint", "over_training", "modes", "center"),
    }[runs]
    for name in foreign:
        if getattr(options, name) != defaults[name]:
            raise ValueError(
                f"{name.replace('_', '-')} is {getattr(options, name)}, which means nothing for "
                f"{runs}; expected none given"
            )
    if options.over_training is not None:
        if options.over_training < 2:
            raise ValueError(
                f"over-training is {options.over_training}; expected at least 2 checkpoints, the "
                "initialisation and the last"
            )
        if options.checkpoint is not None:
            raise ValueError("both checkpoint and over-training are given; expected one of them")
