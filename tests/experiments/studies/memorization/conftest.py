"""Studies and runs that several modules of tests look at."""

import numpy as np
import pytest
import torch
from studies import arguments

from experiments.cli import main
from experiments.studies.training.train import train_network
from sslsim.data.datasets import load_images
from sslsim.runs.options import TrainOptions


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """A study with everything on, by the command line."""
    folder = tmp_path_factory.mktemp("studies") / "split"
    given = arguments(folder, layers=("backbone", "projector"), atypical=0.5, curve=2)
    assert main([*given, "--evaluate"]) == 0
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs f and g of two seeds and their sets, one of another network, one without checkpoints."""
    folder = tmp_path_factory.mktemp("runs")
    data = load_images(limit=40)
    rows = {"f": np.arange(30), "g": np.r_[0:20, 30:40]}
    for name, places in rows.items():
        np.savez(folder / f"{name}.npz", images=data.images[places].numpy())
    made = {"dim": 2, "steps": 2, "batch": 8, "records": 2, "probe": 4, "evaluate": False,
            "device": "cpu"}  # fmt: skip
    for name in rows:
        for seed in range(2):
            options = {**made, "encoder": "linear", "data": str(folder / f"{name}.npz")}
            train_network(TrainOptions(**options, seed=seed, out=folder / f"{name}{seed}"))
    options = {**made, "encoder": "mlp", "widths": (4,), "data": str(folder / "g.npz")}
    train_network(TrainOptions(**options, out=folder / "other"))
    for path in train_network(TrainOptions(**{**options, "out": folder / "empty"})).glob(
        "checkpoints/*"
    ):
        path.unlink()
    # A tenth of the images of a file is held out of training, the same for files of one size.
    held_out = _held_out(30)
    seen = {name: np.delete(places, held_out) for name, places in rows.items()}
    sets = {
        "shared": np.intersect1d(seen["f"], seen["g"]),
        "candidate": np.setdiff1d(seen["f"], rows["g"]),
        "independent": np.setdiff1d(seen["g"], rows["f"]),
        "external": np.arange(4),
    }
    np.savez(folder / "sets.npz", **sets)
    np.savez(folder / "overlap.npz", **{**sets, "candidate": sets["shared"][:4]})
    np.savez(folder / "outside.npz", **{**sets, "candidate": [3, 999]})
    return folder


def _held_out(count):
    from sslsim.runs.setup import _HELD_OUT

    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order[_HELD_OUT - 1 :: _HELD_OUT].numpy()
