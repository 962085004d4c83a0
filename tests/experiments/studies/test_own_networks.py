"""Commands take the user's own network and views, and what they leave is read by the others."""

import json
import sys

import numpy as np
import pytest
import torch

from experiments.options import NtkOptions, OverfittingOptions
from experiments.studies.kernels.ntk import ntk
from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.study import memorization
from experiments.studies.overfitting.study import overfitting
from experiments.studies.training.train import train_network
from experiments.studies.umm.finetune import umm
from experiments.studies.umm.options import UmmCommand
from sslsim.runs.options import TrainOptions
from sslsim.runs.trained_run import TrainedRun

SOURCE = """
import torch
from torch import nn

def net():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Linear(8, 4)
    )

class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = net()
    def forward(self, x):
        return {"z": self.parts(x), "x": x}

def views(image):
    return (image.float() / 255 + 0.1 * torch.randn(image.shape)).roll(1, 2)
"""
SMALL = {"data": "digits", "limit": 60}
TRAINING = {
    "module": "mine_own:net", "views": "mine_own:views", "dim": 2, "steps": 4, "batch": 20,
    "records": 3, "probe": 20, "checkpoint_every": 2, "checkpoints_kept": 0, "device": "cpu",
    **SMALL,
}  # fmt: skip


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Current directory with the user's module and five files of weights."""
    (tmp_path / "mine_own.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(SOURCE, names)
    for i in range(5):
        torch.manual_seed(i)
        state = {f"module.{k}": v for k, v in names["net"]().state_dict().items()}
        torch.save({"state_dict": state}, tmp_path / f"w{i}.pt")
    yield tmp_path
    sys.modules.pop("mine_own", None)


def result(path):
    return json.loads(path.read_text())


def test_a_run_of_an_own_network_resumes_and_is_read_by_other_commands(own):
    options = TrainOptions(**TRAINING, weights=own / "w0.pt", out=own / "run")
    train_network(options)
    trained = result(own / "run" / "training.json")
    assert (trained["encoder"], trained["views"], trained["dim"]) == (
        "mine_own:net",
        "mine_own:views",
        2,
    )
    run = TrainedRun.open(own / "run")
    assert run.options == options
    loaded = torch.load(own / "w0.pt")["state_dict"]["module.1.weight"]
    # Loaded weights are as they were; the projector is scaled.
    assert torch.equal(run.learner(0).encoder.backbone[1].weight, loaded)
    large = TrainedRun(own, TrainOptions(**TRAINING, weights=own / "w0.pt", init_scale=1.0))
    scaled, whole = (each.learner(0).encoder.projector[0].weight for each in (run, large))
    assert torch.equal(scaled, whole / 2)
    before = (own / "run" / "records.npz").read_bytes()
    for name in ("checkpoint-000000004.pt", "checkpoint-000000002.pt"):
        (own / "run" / "checkpoints" / name).unlink()
    train_network(options)  # again from the start's checkpoint
    again = np.load(own / "run" / "records.npz")
    with open(own / "before.npz", "wb") as file:
        file.write(before)
    assert all(np.array_equal(again[k], v) for k, v in np.load(own / "before.npz").items())
    (own / "w0.pt").unlink()  # no checkpoint needs it
    assert run.learner(4).encoder.layers == ("1", "4")


def test_what_has_gone_is_told_in_one_line(own):
    options = TrainOptions(**TRAINING, weights=own / "w0.pt", out=own / "run")
    train_network(options)
    (own / "w0.pt").unlink()
    with pytest.raises(ValueError, match=r"weights .*w0\.pt cannot be read: No such file"):
        TrainedRun.open(own / "run").learner(0)
    (own / "mine_own.py").unlink()
    del sys.modules["mine_own"]
    with pytest.raises(ValueError, match="there is no module named 'mine_own'") as caught:
        ntk(NtkOptions((own / "run",), checkpoint=4, samples=20, views="weak", out=own / "k"))
    assert "\n" not in str(caught.value)


def test_runs_of_an_own_network_go_through_kernels_and_layers(own):
    train_network(TrainOptions(**TRAINING, out=own / "run"))
    ntk(NtkOptions((own / "run",), samples=20, out=own / "k"))
    kernel = result(own / "k" / "ntk.json")
    assert (kernel["encoder"], kernel["views"]) == ("mine_own:net", "mine_own:views")
    overfitting(OverfittingOptions((own / "run",), samples=10, probed=40, out=own / "o"))
    (of_run,) = result(own / "o" / "overfitting.json")["runs"]
    assert of_run["layers"] == ["1", "4", "backbone", "projector"]


def test_one_of_the_outputs_of_a_network_has_the_kernel_of_a_network_of_it_alone(own):
    common = {"weights": own / "w1.pt", "samples": 12, **SMALL}
    ntk(NtkOptions(module="mine_own:net", **common, out=own / "a"))
    ntk(NtkOptions(module="mine_own:Both", output="z", **common, out=own / "b"))
    kernels = [np.load(own / name / "ntk.npz")["kernel"] for name in "ab"]
    np.testing.assert_allclose(kernels[1], kernels[0], rtol=1e-6)
    with pytest.raises(ValueError, match=r"gives a dict with z .*, x .*, one of which --output"):
        ntk(NtkOptions(module="mine_own:Both", **common, out=own / "c"))


def test_layers_of_an_own_network_are_followed_over_files_of_weights(own):
    files = tuple(own / f"w{i}.pt" for i in (1, 2, 4))
    options = OverfittingOptions(
        module="mine_own:net", weights=files, samples=10, probed=40, out=own / "o", **SMALL
    )
    overfitting(options)
    found = result(own / "o" / "overfitting.json")
    assert found["groups"][0]["label"] == "mine_own:net, digits"
    assert (found["runs"][0]["steps"], found["runs"][0]["times"]) == ([1, 2, 4], [1, 2, 4])
    lines = (own / "o" / "measured.jsonl").read_text()
    overfitting(options)
    assert (own / "o" / "measured.jsonl").read_text() == lines
    for changed, message in (
        ({"weights": files[:2]}, r"weights holds 2 file\(s\); expected three or more"),
        ({"run": (own,)}, "both run and module are given"),
        ({"module": None, "run": (own,), "data": "cifar10"}, "data is cifar10, which means noth"),
    ):
        with pytest.raises(ValueError, match=message):
            overfitting(OverfittingOptions(**{**vars(options), **changed}))


@pytest.mark.slow
def test_umm_fine_tunes_an_own_network_behind_a_layer(own):
    options = UmmCommand(
        module="mine_own:net", weights=own / "w1.pt", views="mine_own:views", split="1", steps=2,
        batch=10, held_out=10, test_images=20, device="cpu", out=own / "u", **SMALL,
    )  # fmt: skip
    umm(options)
    found = result(own / "u" / "umm.json")
    assert (found["run"], found["encoder"]) == ("mine_own:net", "mine_own:net")
    for changed, message in (
        ({"run": own}, "both run and module are given"),
        ({"module": None}, "data is|limit is"),
        ({"checkpoint": 3}, "checkpoint is 3, which means nothing with module"),
        ({"split": "7"}, "split layer is '7'; expected one of 1, 4"),
    ):
        with pytest.raises(ValueError, match=message):
            umm(UmmCommand(**{**vars(options), **changed, "out": own / "other"}))


@pytest.mark.slow
def test_own_encoders_f_and_g_are_scored_by_their_weights(own):
    sets = {"shared": [0, 1, 2], "candidate": [3, 4, 5], "independent": [6, 7], "external": [0, 1]}
    np.savez(own / "sets.npz", **{k: np.array(v) for k, v in sets.items()})
    files = {"f": (own / "w0.pt", own / "w1.pt"), "g": (own / "w2.pt", own / "w3.pt")}
    options = MemorizationOptions(
        module="mine_own:net", **files, sets=own / "sets.npz", augmentations=2,
        layers=("backbone", "1"), device="cpu", out=own / "m", **SMALL,
    )  # fmt: skip
    memorization(options)
    found = result(own / "m" / "memorization.json")
    assert (found["encoder"], found["layers"]) == ("mine_own:net", ["backbone", "1"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"encoder": "mlp"}, "encoder is mlp with module mine_own:net; expected one of them"),
        ({"norm": "none"}, "norm is none with module"),
        ({"method": "mae"}, "method is mae with module"),
        ({"module": None, "output": "z"}, "output is z without module"),
        ({"projector": "none"}, "dim is 2 for a network of 4 outputs"),
        ({"views": "mine_own:nope"}, "mine_own has no 'nope'"),
        ({"views": "zoom"}, "unknown views 'zoom'"),
    ],
)
def test_options_that_do_not_fit_a_network_are_refused(own, changed, message):
    with pytest.raises(ValueError, match=message):
        train_network(TrainOptions(**{**TRAINING, **changed}, out=own / "run"))
    assert not (own / "run").exists()
