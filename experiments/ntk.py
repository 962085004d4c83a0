"""What the tangent kernel of a trained network predicts: ``sslsim ntk``.

The kernel of positive pairs, taken at a checkpoint of a run, is a linear model: its modes are the
embedding that theory expects at the end of training with that kernel, and at initialisation their
eigenvalues date the steps. The keys of ``ntk.json`` are explained in ``experiments/docs/ntk.md``.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.compare_run import agreement
from experiments.options import NtkOptions
from experiments.runs import open_run, read_json, write_arrays, write_json
from experiments.tables import number, table
from experiments.train_setup import initial_learner, read_train_options, split_data
from sslsim.checkpoints import checkpoints, load_checkpoint
from sslsim.encoders.encoder import Encoder
from sslsim.metrics import linear_cka, subspace_alignment
from sslsim.ntk import pair_ntk
from sslsim.pixels import pixel_statistics
from sslsim.recording import draw_probe
from sslsim.single_view import VIEWS
from theory.closed_form import step_times
from theory.kernel import embed, kernel_initialization, kernel_modes

Array = NDArray[np.float64]


def ntk(options: NtkOptions) -> Path:
    """Compute the kernel, predict, and compare with the network itself.

    Parameters
    ----------
    options : NtkOptions
        Run, checkpoint and size.

    Returns
    -------
    Path
        The run folder, with ``config.json``, ``ntk.json`` and ``ntk.npz``.

    Raises
    ------
    ValueError
        If the folder does not hold a run, or not that checkpoint, or an option is out of range.

    Examples
    --------
    >>> ntk(NtkOptions(run=Path("nowhere")))
    Traceback (most recent call last):
    ValueError: nowhere/config.json cannot be read: No such file or directory
    """
    trained = read_train_options(options.run)
    if options.samples < 2 or options.memory < 1:
        raise ValueError(
            f"samples is {options.samples} and memory {options.memory}; expected at least 2 pairs "
            "and 1 MiB"
        )
    data, held_out = split_data(trained)
    learner = initial_learner(trained, data)
    kind = trained.views or learner.views
    kind = kind if kind in VIEWS and kind != "mask" else "simclr"
    pixels = pixel_statistics(data.images) if trained.standardise else None
    probe = draw_probe(held_out.images, kind, options.samples, trained.seed, pixels)
    step, state = _state_at(options)
    folder = open_run(
        options.out,
        {"command": "ntk", "options": asdict(options)},
        results=("ntk.json", "ntk.npz", "ntk.png"),
    )
    stacked = torch.cat([probe.x, probe.x_prime])
    first = _kernel(learner.encoder, probe.x, probe.x_prime, options)
    z0 = _embedded(learner.encoder, stacked)
    if state is not None:
        learner.load_state_dict(state)
    kernel = first if step == 0 else _kernel(learner.encoder, probe.x, probe.x_prime, options)
    z = _embedded(learner.encoder, stacked)
    dim = min(z.shape[1], len(z) // 2)
    modes = kernel_modes(kernel, dim)
    recorded = read_json(options.run / "training.json")["step_times"]
    found = {
        **embedding_agreement(embed(modes, kernel), z),
        "step": step,
        "eigenvalues": modes.gamma,
        "positive_modes": modes.positive_modes,
        "dropped": modes.truncation.dropped,
        "most_negative": modes.truncation.most_negative,
        "kernel_alignment": _cosine(kernel, first),
        "n_pairs": len(probe.x),
        "method": trained.method,
        "encoder": trained.encoder,
        "data": trained.data,
    }
    # Times are predicted from the kernel and the embeddings at the start.
    at_start = modes if step == 0 else kernel_modes(first, dim)
    _, s0 = kernel_initialization(at_start, z0)
    predicted = step_times(at_start.gamma[: len(s0)], s0)
    measured = np.array([np.inf if t is None else t for t in recorded[: len(predicted)]])
    found |= {
        "initial_eigenvalues": at_start.gamma,
        "predicted_step_times": predicted,
        "measured_step_times": measured,
        **agreement(predicted, measured),
    }
    write_arrays(folder / "ntk.npz", kernel=kernel, embeddings=z, predicted=embed(modes, kernel))
    write_json(folder / "ntk.json", found)
    print(_report(found))
    return folder


def embedding_agreement(predicted: Array, found: Array) -> dict[str, Any]:
    """How far two embeddings of the same points agree.

    Parameters
    ----------
    predicted, found : ndarray, shape (p, d)
        Embeddings, samples in rows.

    Returns
    -------
    dict
        ``subspace_alignment``, ``||V^T V'||_F^2 / d`` of orthonormal bases of the columns, in
        [0, 1]; ``chance``, its mean for a random subspace, d/p; ``cka``, linear and centred; and
        ``mode_alignment`` (d,): the share of each predicted mode in the span of the other's.

    Examples
    --------
    >>> z = np.random.default_rng(0).standard_normal((50, 2))
    >>> found = embedding_agreement(z, z @ [[1.0, 2.0], [0.0, 1.0]])
    >>> round(found["subspace_alignment"], 6), found["chance"]
    (1.0, 0.04)
    """
    bases = [np.linalg.qr(z)[0] for z in (predicted, found)]
    u, v = (torch.from_numpy(basis) for basis in bases)
    norms = np.linalg.norm(predicted, axis=0)
    unit = predicted / np.where(norms > 0, norms, 1.0)
    return {
        "subspace_alignment": float(subspace_alignment(u, v)),
        "chance": predicted.shape[1] / len(predicted),
        "cka": float(linear_cka(torch.from_numpy(predicted), torch.from_numpy(found))),
        "mode_alignment": np.sum((bases[1].T @ unit) ** 2, axis=0),
    }


def _state_at(options: NtkOptions) -> tuple[int, Any]:
    """Step and state of the learner at the checkpoint asked for; None at the initialisation."""
    if options.checkpoint == 0:
        return 0, None
    held = checkpoints(options.run / "checkpoints")
    steps = [int(path.stem.removeprefix("checkpoint-")) for path in held]
    wanted = steps[0] if options.checkpoint is None and steps else options.checkpoint
    if wanted not in steps:
        known = ", ".join(map(str, [0, *sorted(steps)]))
        raise ValueError(f"checkpoint is {options.checkpoint}; {options.run} holds {known}")
    state = load_checkpoint(held[steps.index(wanted)], torch.device("cpu"))
    return int(state["step"]), state["learner"]


def _kernel(encoder: Encoder, x: torch.Tensor, x_prime: torch.Tensor, options: NtkOptions) -> Array:
    encoder.eval()
    found: Array = pair_ntk(
        encoder,
        x,
        x_prime,
        memory_budget=options.memory * 2**20,
        progress=sys.stderr.isatty(),
    ).numpy()
    return found


@torch.no_grad()
def _embedded(encoder: Encoder, x: torch.Tensor) -> Array:
    encoder.eval()
    found: Array = encoder(x).double().numpy()
    return found


def _cosine(a: Array, b: Array) -> float:
    return float(np.sum(a * b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def _report(found: dict[str, Any]) -> str:
    rows = [
        [
            str(mode + 1),
            number(found["eigenvalues"][mode]),
            f"{found['mode_alignment'][mode]:.2f}",
            number(found["predicted_step_times"][mode]),
            number(found["measured_step_times"][mode]),
        ]
        for mode in range(len(found["predicted_step_times"]))
    ]
    lines = [table(["mode", "gamma", "in the embedding", "predicted step", "measured"], rows)]
    lines.append(
        f"subspace alignment {found['subspace_alignment']:.3f} (chance {found['chance']:.3f}), "
        f"CKA {found['cka']:.3f}; kernel's alignment with its start {found['kernel_alignment']:.3f}"
    )
    if found["mean_scaled_relative_error"] is not None:
        raw, scaled = found["mean_relative_error"], found["mean_scaled_relative_error"]
        lines.append(
            f"step times from the initial kernel off by {100 * raw:.0f} %, "
            f"fitted by {found['fitted_time_scale']:.3g} by {100 * scaled:.0f} %"
        )
    return "\n".join(lines)
