"""A network's tangent kernel over training: how it moves, predicts, and dates steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from experiments.options import NtkOptions
from experiments.studies.kernels.pairs import measured, predictions
from sslsim.measures.modes.agreement import (
    Array,
    embedding_agreement,
    kernel_agreement,
    step_time_agreement,
)
from sslsim.measures.steps import half_rise_times
from sslsim.runs.networks import spread_steps
from sslsim.runs.options import has_theory_form
from sslsim.runs.trained_run import TrainedRun
from theory.kernels.refreshed import cross_correlations, refreshed_curves

_FOLLOWED = 2.0  # times the run's length: until then predicted curves are followed
_GRID = 400  # times at which they are read


def over_training(
    run: TrainedRun,
    views: Sequence[torch.Tensor],
    options: NtkOptions,
    known: dict[int, tuple[Array, Array]],
    recorded_times: Array,
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Take the kernel at checkpoints spread over training."""
    steps = spread_steps(run.steps, options.over_training or 2)
    if len(steps) < 2:
        raise ValueError(
            f"{run.folder} holds no checkpoint after the initialisation; expected some"
        )
    kernels, embeddings = [], []
    for step in steps:
        if step not in known:
            known[step] = measured(run.learner(step).encoder, views, options)
        kernels.append(known[step][0])
        embeddings.append(known[step][1])
    times = np.array([run.flow_time(step) for step in steps])
    spectra = np.linalg.eigvalsh(cross_correlations(np.array(embeddings)))[:, ::-1]
    lines, predicted = [], []
    for place, (kernel, z) in enumerate(zip(kernels, embeddings, strict=True)):
        agreed, _, embedding = predictions(kernel, z)
        predicted.append(embedding)
        lines.append(
            {
                "step": steps[place],
                "time": times[place],
                **kernel_agreement(kernel, kernels[0]),
                **{key: agreed[key] for key in ("eigenvalues", "positive_modes")},
                "embedding_spectrum": spectra[place],
                "with_embedding": embedding_agreement(embedding, z),
                "with_final_embedding": embedding_agreement(embedding, embeddings[-1]),
            }
        )
    result: dict[str, Any] = {"over_training": lines}
    if has_theory_form(run.options):
        end = _FOLLOWED * run.flow_time(run.options.steps)
        refreshed = refreshed_steps(times, np.array(kernels), embeddings[0], end)
        restarted, since = restarted_steps(times, kernels, embeddings, recorded_times, end)
        for name, found_times in (("refreshed", refreshed), ("restarted", restarted)):
            times_of_modes = found_times[: len(recorded_times)]
            result[f"{name}_step_times"] = times_of_modes
            result[f"{name}_agreement"] = step_time_agreement(times_of_modes, recorded_times)
        result["restarted_from"] = [steps[place] for place in since]
    return result, {
        "steps": np.array(steps),
        "times": times,
        "kernels": np.array(kernels),
        "embeddings_over_training": np.array(embeddings),
        "predicted_over_training": np.array(predicted),
    }


def refreshed_steps(times: Array, kernels: Array, start: Array, end: float) -> Array:
    """Step times of a linear model that starts as the network and takes over its kernels.

    Nothing of the training enters but the kernels: embeddings run freely from the initialisation.

    >>> kernel = np.diag([4.0, 2.0, 4.0, 2.0])
    >>> start = 1e-3 * np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    >>> refreshed_steps(np.zeros(1), kernel[None], start, 20.0).round(3).tolist()
    [1.814, 3.627]
    """
    grid = np.unique(
        np.concatenate(
            [
                times[times <= end],
                np.linspace(times[0], end, _GRID),
                times[0] + np.geomspace(1e-4, 1.0, _GRID)[:-1] * (end - times[0]),
            ]
        )
    )
    return half_rise_times(grid, refreshed_curves(grid, times, kernels, start))


def restarted_steps(
    times: Array, kernels: list[Array], embeddings: list[Array], measured: Array, end: float
) -> tuple[Array, list[int]]:
    """Step times predicted from the last checkpoint before each step.

    The linear model starts from the network's own embeddings at that checkpoint and keeps the
    kernel taken there.
    """
    since = [max(int(place) - 1, 0) for place in np.searchsorted(times, measured)]
    steps = np.full(len(since), np.inf)
    for place in sorted(set(since)):
        kernel, start = kernels[place][None], embeddings[place]
        later = refreshed_steps(times[place : place + 1], kernel, start, end)
        chosen = np.array(since) == place
        steps[chosen] = later[: len(steps)][chosen]
    return steps, since
