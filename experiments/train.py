"""Train a network and record its spectra: ``sslsim train``.

The keys of ``training.json`` and every recorded metric are explained in
``experiments/docs/train.md``.
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.runs import open_run, read_arrays, read_json, write_json
from experiments.tables import number, table
from experiments.train_options import TrainOptions, training_options
from sslsim.data import Images, load_images
from sslsim.distributed import process_group, rank
from sslsim.eigenvalue_steps import detect_eigenvalue_steps
from sslsim.encoders.features import features
from sslsim.methods.build import build_learner
from sslsim.methods.learner import Learner
from sslsim.neighbours import neighbour_bank
from sslsim.pixels import PixelStatistics, pixel_statistics
from sslsim.probes import ProbeResult, knn_accuracy, linear_probe
from sslsim.recording import draw_probe
from sslsim.single_view import VIEWS
from sslsim.step_detection import Steps
from sslsim.training import train
from sslsim.training_options import flow_time

_HELD_OUT = 10  # one image in so many, where a data set has no test split
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
    >>> import contextlib, io, tempfile
    >>> options = TrainOptions(encoder="linear", dim=2, limit=64, steps=20, records=8, probe=16)
    >>> options = replace(options, evaluate=False, out=Path(tempfile.mkdtemp()))
    >>> with contextlib.redirect_stdout(io.StringIO()):
    ...     folder = train_network(options)
    >>> read_json(folder / "training.json")["steps"]
    20
    """
    train_options = training_options(options)
    with process_group(chosen_device(options.device)) as device:
        data, held_out = split_data(options)
        learner = initial_learner(options, data)
        kind = options.views or learner.views
        folder = options.out
        if rank() == 0:
            _check_folder(options)
            open_run(folder, {"command": "train", "options": asdict(options)})
            print(_headline(options, data, held_out, learner, device), flush=True)
        probed_views = kind if kind in VIEWS and kind != "mask" else "simclr"
        pixels = pixel_statistics(data.images) if options.standardise else None
        held_out_images = held_out.images.to(device)
        probe = draw_probe(held_out_images, probed_views, options.probe, options.seed, pixels)
        begun = time.perf_counter()
        train(
            learner,
            data,
            kind,
            train_options,
            folder,
            probe=probe,
            bank=neighbour_bank(data, held_out, pixels, device) if options.evaluate else None,
            device=device,
            progress=sys.stderr.isatty(),
        )
        seconds = time.perf_counter() - begun
        if rank() != 0:
            return folder
        records = read_arrays(folder / "records.npz")
        steps = found_steps(records, options.method)
        probes = _probed(learner, data, held_out, pixels, options) if options.evaluate else {}
    lines = (folder / "records.jsonl").read_text(encoding="utf-8").splitlines()
    result = {
        "method": options.method,
        "encoder": options.encoder,
        "data": options.data,
        "views": kind,
        "dim": learner.encoder.dim,
        "spectrum": watched_spectrum(options.method),
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
        "probes": {name: asdict(found) for name, found in probes.items()},
        "first_record": read_line(lines[0]),
        "last_record": read_line(lines[-1]),
    }
    write_json(folder / "training.json", result)
    print(_report(result, steps, probes))
    return folder


def chosen_device(name: str) -> torch.device:
    """Device by its name.

    Parameters
    ----------
    name : str
        ``auto`` (cuda if there is one, else cpu) or anything torch knows.

    Returns
    -------
    torch.device
        Available on this machine.

    Raises
    ------
    ValueError
        If there is no such device.

    Examples
    --------
    >>> chosen_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device is {name!r}, which is not there; expected auto or cpu") from error
    return device


def split_data(options: TrainOptions) -> tuple[Images, Images]:
    """Training images and held-out ones.

    Parameters
    ----------
    options : TrainOptions
        Say the data set.

    Returns
    -------
    data, held_out : Images
        The test split where there is one; else every tenth image is held out, two at least.

    Raises
    ------
    ValueError
        If the data cannot be loaded or there are fewer than four images.

    Examples
    --------
    >>> data, held_out = split_data(TrainOptions(limit=100))
    >>> len(data.images), len(held_out.images)
    (100, 360)
    """
    data = load_images(
        options.data, options.root, split=options.split, size=options.size, limit=options.limit
    )
    if len(data.images) < 4:
        raise ValueError(f"{options.data} gives {len(data.images)} image(s); expected at least 4")
    if options.split in ("train", "unlabeled"):
        size = options.size or data.images.shape[-1]
        try:
            held_out = load_images(
                options.data, options.root, split="test", size=size, limit=_PROBED
            )
        except ValueError:
            pass  # no test split
        else:
            if held_out.images.shape[1:] == data.images.shape[1:]:
                return data, held_out
    places = torch.arange(len(data.images))
    every = min(_HELD_OUT, len(places) // 2)
    kept_out = places % every == every - 1
    return _part(data, ~kept_out), _part(data, kept_out)


def initial_learner(options: TrainOptions, data: Images) -> Learner:
    """The learner at its initialisation, the same at every call.

    Parameters
    ----------
    options : TrainOptions
        Method, network and initialisation.
    data : Images
        Training images: their shape, and the classes when supervised.

    Returns
    -------
    Learner
        On the CPU.

    Raises
    ------
    ValueError
        If options do not fit together.

    Examples
    --------
    >>> options = TrainOptions(limit=100)
    >>> initial_learner(options, split_data(options)[0]).encoder.dim
    8
    """
    dim = options.dim
    if options.method == "supervised":
        if data.labels is None:
            raise ValueError(f"{options.data} has no labels; expected labels when supervised")
        dim = int(data.labels.max()) + 1
        if options.dim not in (None, dim):
            raise ValueError(f"dim is {options.dim}; expected the {dim} classes, or none given")
    return build_learner(
        options.method,
        tuple(data.images.shape[1:]),
        8 if dim is None and options.method != "mae" else dim,
        encoder=options.encoder,
        seed=options.seed,
        widths=options.widths,
        parameterization=options.parameterization,
        projector=options.projector,
        projector_widths=options.projector_widths,
        init_scale=options.init_scale,
        init_which=options.init_which,
        init_batch_norm=options.init_batch_norm,
        barlow_form=options.barlow_form,
        similarity=options.similarity,
        temperature=options.temperature,
    )


def watched_spectrum(method: str) -> str:
    """Which of the recorded spectra a method learns step by step.

    Parameters
    ----------
    method : str
        Of training.

    Returns
    -------
    str
        ``covariance_spectrum`` for methods that are blind to the mean of the embeddings, which is
        then free to grow, else ``cross_spectrum``, the theory's lambda.

    Examples
    --------
    >>> watched_spectrum("barlow_twins"), watched_spectrum("vicreg")
    ('cross_spectrum', 'covariance_spectrum')
    """
    return "covariance_spectrum" if method in ("vicreg", "vicregl") else "cross_spectrum"


def found_steps(records: dict[str, Any], method: str = "barlow_twins") -> Steps:
    """Steps of the recorded eigenvalues.

    Parameters
    ----------
    records : dict
        Of ``records.npz``.
    method : str
        Says which spectrum to watch.

    Returns
    -------
    Steps
        One entry for each of the first 64 eigenvalues, by
        :func:`sslsim.eigenvalue_steps.detect_eigenvalue_steps`; none in fewer than 5 records.

    Examples
    --------
    >>> times = np.arange(50.0)
    >>> curve = 1 / (1 + np.exp(-(times - 20) / 2))
    >>> found = found_steps({"times": times, "cross_spectrum": curve[:, None]})
    >>> found.times.round(1).tolist()
    [20.0]
    """
    times, curves = records["times"], records[watched_spectrum(method)][:, :64]
    if len(times) < 5:
        never = np.full(curves.shape[1], np.inf)
        return Steps(never, never, np.zeros_like(never), never, np.zeros(len(never), dtype=bool))
    return detect_eigenvalue_steps(times, curves)


def read_line(line: str) -> dict[str, Any]:
    """A line of ``records.jsonl``.

    Parameters
    ----------
    line : str
        JSON.

    Returns
    -------
    dict
        Numbers; None for what was not finite.

    Examples
    --------
    >>> read_line('{"step": 3}')
    {'step': 3}
    """
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def _part(data: Images, chosen: torch.Tensor) -> Images:
    labels = None if data.labels is None else data.labels[chosen]
    return replace(data, images=data.images[chosen], labels=labels)


def _check_folder(options: TrainOptions) -> None:
    """Refuse to go on with a run of other options."""
    path = options.out / "config.json"
    if not path.exists() or not (options.out / "checkpoints").exists():
        return
    kept = read_json(path).get("options", {})
    free = ("out", "root", "device", "evaluate", "split")
    for name, value in asdict(options).items():
        held = kept.get(name)
        given = list(value) if isinstance(value, tuple) else value
        if name not in free and name in kept and held != given:
            raise ValueError(
                f"{options.out} holds a run with {name} {held}, now it is {given}; expected the "
                "same options to go on with it, or another folder"
            )


def _probed(
    learner: Learner,
    data: Images,
    held_out: Images,
    pixels: PixelStatistics | None,
    options: TrainOptions,
) -> dict[str, ProbeResult]:
    """Probes of frozen features, fitted on training images and read on held-out ones."""
    if data.labels is None or held_out.labels is None or len(data.labels.unique()) < 2:
        return {}
    y_read = held_out.labels
    places = torch.linspace(0, len(data.images) - 1, min(_PROBED, len(data.images))).long()
    y = data.labels[places]
    data = _part(data, places)
    layers = ["backbone", "projector"]
    device = next(learner.parameters()).device
    parts = []
    for part in (data, held_out):
        images = part.images.to(device).float() / 255
        images = images if pixels is None else pixels.standardise(images)
        parts.append(features(learner.encoder, images, layers))
    found = {}
    for layer in layers:
        fitted, read = (part[layer].cpu() for part in parts)
        found[f"knn_{layer}"] = knn_accuracy(fitted, y, read, y_read, k=min(20, len(fitted)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the solver's convergence: the accuracy is reported
            found[f"linear_{layer}"] = linear_probe(fitted, y, read, y_read, seed=options.seed)
    return found


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
    return "\n".join(lines)
