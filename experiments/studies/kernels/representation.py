"""How many steps a run can take: modes of its untrained representation on held-out pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from sslsim.encoders.build import Encoder
from sslsim.measures.snapshots import batch_statistics, draw_held_out_pairs
from sslsim.ntk.representation_modes import representation_modes
from sslsim.runs.options import has_theory_form
from sslsim.runs.trained_run import RecordedRun, TrainedRun
from theory.linear.closed_form import step_times
from theory.linear.initialization import equivalent_initialization

_PAIRS = 512  # of each part


@torch.no_grad()
def untrained_modes(run: TrainedRun, count: int = _PAIRS) -> dict[str, Any] | None:
    """Held-out growth rates of the modes of a run's untrained network, and the steps they allow.

    ``at_most`` counts the modes, up to the dimension of the embedding, that grow on held-out pairs
    at all; ``in_time`` those that a last layer on fixed features learns within the run (Barlow
    Twins in its theory form and one linear map as projector; None for others). Features that learn
    too bring steps forward, so that a run is expected to take from ``in_time`` to ``at_most``.
    None of a network whose representation is its embedding, and of a recorded run, which has one
    set of pairs.
    """
    encoder = run.learner(0).encoder
    if isinstance(encoder.projector, nn.Identity) or isinstance(run, RecordedRun):
        return None
    fitted = run.pairs(min(count, len(run.images.images)), draw=0)
    others = draw_held_out_pairs(
        run.held_out.images, run.pair_views, count, run.options.seed, run.pixels
    )
    with batch_statistics(encoder):
        parts = [encoder.backbone(view) for view in (*fitted, others.x, others.x_prime)]
    modes = representation_modes((parts[0], parts[1]), (parts[2], parts[3]))
    dim = min(encoder.dim, len(modes.held_out))
    times = _last_layer_times(run, encoder, modes.held_out[:dim], modes.directions[:, :dim])
    end = run.flow_time(run.options.steps)
    return {
        "eigenvalues": modes.eigenvalues.numpy(),
        "held_out": modes.held_out.numpy(),
        "standard_errors": modes.standard_errors.numpy(),
        "shares": modes.shares.numpy(),
        "resolved": modes.resolved.tolist(),
        "at_most": int(modes.resolved[:dim].sum()),
        "step_times": times,
        "in_time": None if times is None else int((times <= end).sum()),
        "n_pairs": len(others.x),
    }


def _last_layer_times(
    run: TrainedRun, encoder: Encoder, rates: torch.Tensor, directions: torch.Tensor
) -> np.ndarray[Any, Any] | None:
    """Step times of the last layer alone, its features held fixed."""
    if not has_theory_form(run.options) or run.options.projector == "mlp":
        return None
    last = encoder.projector(torch.eye(encoder.feature_dim)).T  # (d, p): it is linear
    _, s0 = equivalent_initialization(last.double().numpy(), directions.numpy())
    return step_times(rates.numpy(), s0)
