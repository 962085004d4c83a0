"""Theory over what a training run recorded: ``sslsim compare --run DIR``.

The prediction knows the run's data, views and initial network, and nothing of its training: from
pairs come the eigenvalues gamma_j by which a linear model of the pixels would grow under the run's
method, from the network at initialisation the size lambda_j(0) at which its embedding starts, and
both together the times of linear theory. For a linear encoder under Barlow Twins these are the
times of its own theory. A deep network has another kernel, and another clock: one factor is fitted,
and what is judged is the ratio of the times.
"""

from __future__ import annotations

import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh

from experiments.options import CompareOptions
from sslsim.core.files import write_json
from sslsim.data.own_views import is_own
from sslsim.data.single_view import VIEWS
from sslsim.measures.modes.agreement import step_time_agreement
from sslsim.measures.steps import half_rise_times
from sslsim.runs.options import TrainOptions, has_theory_form, network_name
from sslsim.runs.setup import recorded_steps
from sslsim.runs.trained_run import OWN_PAIRS, RecordedRun, TrainedRun
from theory import predict_steps_from
from theory.linear.closed_form import step_times
from theory.losses.near_origin import (
    barlow_twins_operator,
    lejepa_operator,
    simclr_operator,
)
from theory.losses.vicreg import vicreg_operator

_PAIRED = tuple(kind for kind in VIEWS if kind != "mask")
_PAIRS = 2000  # drawn for the prediction
_VICREG_EPS = 1e-4  # under the root of the training's objective
Array = NDArray[np.float64]


def compare_run(options: CompareOptions) -> Path:
    """Predict the steps of a run from its data and compare them with those it recorded."""
    assert options.run is not None
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name not in ("run", "pairs") and value != field.default:
            raise ValueError(
                f"{field.name.replace('_', '-')} is {value}, which means nothing for a run; "
                "expected none but --pairs given"
            )
    folder = Path(options.run)
    run = TrainedRun.open(folder)
    trained, records = run.options, run.records()
    steps = recorded_steps(records, run.spectrum)
    measured = np.where(steps.detected, steps.times, np.inf)
    if trained.optimizer == "muon":  # its rises are as long as the waits before them: no staircase
        spectra = np.clip(records[run.spectrum].astype(np.float64), 0.0, None)
        measured = half_rise_times(records["times"], spectra)
    kind = run.pairs_kind if isinstance(run, RecordedRun) else run.views
    if not is_own(kind) and kind not in (*_PAIRED, OWN_PAIRS):
        raise ValueError(f"the run's views are {kind}; expected pairs ({', '.join(_PAIRED)})")
    views = _drawn(run, options.pairs)
    x, x_prime = (view.flatten(1).double().numpy() for view in views)
    dim = min(len(measured), x.shape[1])
    measured = measured[:dim]
    if has_theory_form(trained) and trained.encoder == "linear" and trained.widths is None:
        w0 = next(run.learner(0).encoder.parameters()).detach().double().numpy()
        prediction = predict_steps_from(x, x_prime, w0, **_way(folder, trained))
        gamma, predicted = prediction.eigenvalues, prediction.step_times
        theory = "exact initial map"
    else:
        operator, theory = near_origin(trained, x, x_prime, run.spectrum, run.drawable)
        m = len(operator)
        gamma = eigh(operator, eigvals_only=True, subset_by_index=(m - dim, m - 1))[::-1] / 2
        # A small eigenvalue may start on either side of zero; its size is what it grows from.
        start = np.abs(records[run.spectrum][0][:dim].astype(np.float64))
        start = np.maximum(start, 1e-9 * start.max())
        size = np.sqrt(start / np.where(gamma > 0, gamma, 1.0))
        predicted = step_times(gamma, np.where(gamma > 0, size, 0.0))
        if trained.method == "vicreg" and start.max() >= _VICREG_EPS:
            warnings.warn(
                f"embeddings start with a variance of {start.max():.1g}; expected below "
                f"{_VICREG_EPS} for the theory of vicreg: no step is predicted (--init-scale)",
                stacklevel=2,
            )
            predicted = np.full(dim, np.inf)
    judged = step_time_agreement(predicted, measured)
    write_json(
        folder / "comparison.json",
        {
            "eigenvalues": gamma,
            "predicted_step_times": predicted,
            "measured_step_times": measured,
            "measured_standard_errors": steps.standard_errors[:dim],
            "detected": steps.detected[:dim],
            **judged,
            "theory": theory,
            "n_pairs": len(x),
            "views": kind,
            "spectrum": run.spectrum,
            "method": trained.method,
            "encoder": network_name(trained),
            "data": trained.data,
        },
    )
    return folder


def _way(folder: Path, trained: TrainOptions) -> dict[str, Any]:
    """Options of the prediction that say how a linear run is trained."""
    plain = trained.precondition_embedding == "none"
    if trained.precondition_inputs != "none" or not (plain or trained.optimizer == "sgd"):
        raise ValueError(
            f"{folder} was trained by {trained.optimizer} with preconditioned gradients; expected "
            "sgd with --precondition-embedding alone, muon without, or plain gradients"
        )
    if trained.optimizer == "muon":
        return {"optimizer": "muon"}
    if plain:
        return {}
    power, ridge = trained.precondition_embedding_power, trained.precondition_embedding_ridge
    return {"precondition": ("embedding", power, ridge)}


def near_origin(
    trained: TrainOptions, x: Array, x_prime: Array, spectrum: str, images: int
) -> tuple[Array, str]:
    """Operator by which a linear model would grow from a small initialisation.

    A batch holds at most all training images, of which there are ``images``.
    """
    name = f"{trained.method} near the origin"
    if trained.method == "simclr" and trained.similarity == "dot":
        temperature = 0.5 if trained.temperature is None else trained.temperature
        return simclr_operator(x, x_prime, temperature), name
    if trained.method == "vicreg":
        # The theory counts half of each view's variance term, the training all of it.
        dim = 8 if trained.dim is None else trained.dim
        return vicreg_operator(x, x_prime, dim, mu=50.0, lam=25.0), name
    if trained.method == "lejepa":
        dim = 8 if trained.dim is None else trained.dim
        return lejepa_operator(x, x_prime, dim, batch=min(trained.batch, images)), name
    if spectrum == "covariance_spectrum":
        mean = (x.mean(axis=0) + x_prime.mean(axis=0)) / 2
        x, x_prime = x - mean, x_prime - mean
    if trained.method != "barlow_twins":
        name = f"barlow_twins near the origin (there is none of {trained.method})"
    elif trained.barlow_form == "published":
        name = "barlow_twins near the origin, theory form (there is none of the published form)"
    return barlow_twins_operator(x, x_prime), name


def _drawn(run: TrainedRun, pairs: int | None) -> tuple[torch.Tensor, ...]:
    """The very pairs of a run that fixed them, else fresh ones of images spread over the data."""
    images = run.drawable
    most = images if run.options.fixed_views else _PAIRS
    count = min(images, most if pairs is None else pairs)
    if count < 2:
        raise ValueError(f"pairs is {pairs}; expected at least 2")
    return run.pairs(count, draw=0)
