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

import numpy as np
import torch

from experiments.collapse import collapse
from experiments.run_folder import check_folder, check_same, holds_checkpoints, run_in_place
from experiments.runs import read_arrays, read_json, read_lines, write_json
from experiments.stored import stored_config
from experiments.tables import number, table
from experiments.train_options import TrainOptions, training_options
from experiments.train_setup import as_fed, chosen_device, initial_learner, part_of, split_data
from sslsim.data import Images
from sslsim.distributed import largest, process_group, rank
from sslsim.eigenvalue_steps import detect_eigenvalue_steps
from sslsim.encoders.features import features
from sslsim.methods.learner import Learner
from sslsim.neighbours import neighbour_bank
from sslsim.pixels import PixelStatistics, pixel_statistics
from sslsim.probes import ProbeResult, knn_accuracy, linear_probe
from sslsim.recording import draw_probe
from sslsim.single_view import VIEWS
from sslsim.step_detection import Steps
from sslsim.training import check_longer, train
from sslsim.training_options import flow_time

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
    """Train as the options say, or go on where an interrupted run stopped.

    Parameters
    ----------
    options : TrainOptions
        Method, network, data, training and folder.

    Returns
    -------
    Path
        The run folder, with ``config.json``, ``training.json``, ``records.jsonl``, ``records.npz``
        and ``checkpoints/``.

    Raises
    ------
    ValueError
        If the data or an option is unfit, the folder holds another run, or the loss diverges.
    sslsim.training.Interrupted
        If the process was interrupted; the state is saved.

    Examples
    --------
    >>> import contextlib, io, json, tempfile
    >>> from dataclasses import replace
    >>> options = TrainOptions(encoder="linear", dim=2, limit=64, steps=20, records=8, probe=16)
    >>> options = replace(options, evaluate=False, out=Path(tempfile.mkdtemp()))
    >>> with contextlib.redirect_stdout(io.StringIO()):
    ...     folder = train_network(options)
    >>> json.loads((folder / "training.json").read_text())["steps"]
    20
    """
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
            plain, plain_held_out = as_fed(data, kind), as_fed(held_out, kind)
            probe = draw_probe(held_out_images, probed_views, options.probe, options.seed, pixels)
            begun = time.perf_counter()
            train(
                learner,
                data,
                kind,
                train_options,
                folder,
                probe=probe,
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


def watched_spectrum(options: TrainOptions) -> str:
    """Which of the recorded spectra a method learns step by step.

    Parameters
    ----------
    options : TrainOptions
        Name the method.

    Returns
    -------
    str
        ``covariance_spectrum`` for methods that are blind to the mean of the embeddings, which is
        then free to grow, else ``cross_spectrum``, the theory's lambda.

    Examples
    --------
    >>> watched_spectrum(TrainOptions()), watched_spectrum(TrainOptions(method="vicreg"))
    ('cross_spectrum', 'covariance_spectrum')
    """
    blind = options.method in ("vicreg", "vicregl") or options.barlow_form == "published"
    return "covariance_spectrum" if blind else "cross_spectrum"


def found_steps(records: dict[str, Any], options: TrainOptions) -> Steps:
    """Steps of the recorded eigenvalues.

    Parameters
    ----------
    records : dict
        Of ``records.npz``.
    options : TrainOptions
        Say which spectrum to watch.

    Returns
    -------
    Steps
        One entry for each of the first 64 eigenvalues, by
        :func:`sslsim.eigenvalue_steps.detect_eigenvalue_steps`; none in fewer than 5 records.

    Examples
    --------
    >>> times = np.arange(50.0)
    >>> curve = 1 / (1 + np.exp(-(times - 20) / 2))
    >>> found = found_steps({"times": times, "cross_spectrum": curve[:, None]}, TrainOptions())
    >>> found.times.round(1).tolist()
    [20.0]
    """
    times, curves = records["times"], records[watched_spectrum(options)][:, :64]
    if len(times) < 5:
        never = np.full(curves.shape[1], np.inf)
        return Steps(never, never, np.zeros_like(never), never, np.zeros(len(never), dtype=bool))
    return detect_eigenvalue_steps(times, curves)


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

    Parameters
    ----------
    learner : Learner
        Trained.
    data, held_out : Images
        Plain images of the size that the network was built for.
    pixels : PixelStatistics or None
        By which images are standardised.
    layers : sequence of str
        ``backbone``, ``projector`` or any of the encoder's ``layers``.
    seed : int
        Of the validation part by which a penalty is chosen.

    Returns
    -------
    dict of str to ProbeResult
        ``knn`` and ``linear`` of each layer; those that the images do not allow (classes too small)
        are left out with a warning, all of them without two classes.

    Examples
    --------
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
