"""Small runs to forecast, and histories that are nothing but their eigenvalues."""

import numpy as np

from experiments.studies.training.train import train_network
from sslsim.runs.history import RunHistory
from sslsim.runs.options import TrainOptions


def trained(folder, **options):
    """A run on the very pairs that a forecast looks at, in full batches: nearly gradient flow."""
    given = {
        "encoder": "mlp",
        "widths": (8,),
        "dim": 3,
        "init_scale": 0.33,
        "lr": 0.02,
        "momentum": 0.0,
        "batch": 60,
        "steps": 450,
        "limit": 60,
        "probe": 20,
        "records": 3,
        "evaluate": False,
        "fixed_views": True,
        "checkpoints_kept": 0,
        "checkpoint_every": 10,
        "seed": 1,
        "device": "cpu",
        "out": folder,
    }
    return train_network(TrainOptions(**given | options))


def planted(lam, times=None, ceiling=1.0):
    """A run that is nothing but its eigenvalues."""
    lam = np.array(lam, dtype=float)
    times = np.arange(len(lam)) if times is None else times
    return RunHistory(
        None, None, None, "cross", ceiling, list(range(len(lam))), np.array(times, dtype=float), lam
    )  # fmt: skip
