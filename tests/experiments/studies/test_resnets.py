"""ResNets of images of 32 pixels with the stock stem, in every study of trained networks."""

import numpy as np
import pytest
from torch import nn

from experiments.options import OverfittingOptions
from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.study import memorization
from experiments.studies.overfitting.study import overfitting
from experiments.studies.training.train import train_network
from experiments.studies.umm.finetune import umm
from experiments.studies.umm.options import UmmCommand
from sslsim.core.files import read_arrays, read_json
from sslsim.data.datasets import load_images
from sslsim.memorization.image_sets import image_hashes
from sslsim.runs.options import TrainOptions
from sslsim.runs.setup import split_data
from sslsim.runs.trained_run import TrainedRun

pytestmark = pytest.mark.slow

RESNET = {
    "method": "simclr", "encoder": "resnet18", "stem": "imagenet", "widths": (8,),
    "residual_gain": 0.5, "size": 32, "views": "crops", "dim": 3, "batch": 10, "device": "cpu",
}  # fmt: skip
LAYERS = ("stem", "layer1", "layer2", "layer3", "layer4", "backbone", "projector")


def trained(folder, **options):
    given = {**RESNET, "steps": 3, "limit": 40, "records": 2, "probe": 8, "evaluate": False}
    kept = {"checkpoint_every": 1, "checkpoints_kept": 0}
    return train_network(TrainOptions(**{**given, **kept, **options, "out": folder}))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("resnet") / "run")


def is_as_asked(encoder):
    """Stock stem, narrow, with quiet branches."""
    convolution = next(m for m in encoder.modules() if isinstance(m, nn.Conv2d))
    pooled = any(isinstance(m, nn.MaxPool2d) for m in encoder.modules())
    return (convolution.kernel_size, convolution.out_channels, pooled) == ((7, 7), 8, True)


def test_a_resnet_is_fine_tuned_behind_every_stage(run, tmp_path):
    learner = TrainedRun.open(run).learner()
    assert is_as_asked(learner.encoder)
    for split in ("layer2", "layer4"):
        umm(UmmCommand(run=run, split=split, features="embedding", steps=1, batch=6, held_out=6,
                       test_images=20, device="cpu", out=tmp_path / split))  # fmt: skip
        found = read_json(tmp_path / split / "umm.json")
        assert tuple(found["before"]["layers"]) == LAYERS
        before, after = (found[when]["layers"] for when in ("before", "after"))
        assert before[split] == after[split]
        assert before["projector"] != after["projector"]
        assert (before["backbone"] == after["backbone"]) == (split == "layer4")


def test_a_resnet_is_measured_over_its_training(run, tmp_path):
    overfitting(OverfittingOptions(run=(run,), checkpoints=3, samples=6, probed=20,
                                   out=tmp_path))  # fmt: skip
    found = read_json(tmp_path / "overfitting.json")
    assert tuple(found["runs"][0]["layers"]) == LAYERS
    assert len(found["groups"][0]["advice"]["fall"]) == len(LAYERS)


def test_a_resnet_is_scored_by_encoders_trained_here_and_by_those_of_runs(tmp_path):
    sizes = {"shared": 10, "candidates": 6, "independent": 6, "external": 6}
    options = MemorizationOptions(
        **RESNET, **sizes, limit=200, encoder_pairs=2, steps=2, augmentations=1, layers=LAYERS,
        common_pixels=True, out=tmp_path / "here",
    )  # fmt: skip
    memorization(options)
    assert read_arrays(tmp_path / "here/scores.npz")["scores"].shape == (7, 28)
    # f and g that were trained apart, each on a file of its own images.
    images = load_images(size=32, limit=50).images
    np.savez(tmp_path / "all.npz", images=images.numpy())
    here = TrainOptions(**{**RESNET, "size": None, "data": str(tmp_path / "all.npz")})
    data, _ = split_data(here)
    hashes, seen = image_hashes(data.images), {}
    for name, places in {"f": np.arange(30), "g": np.r_[0:20, 30:40]}.items():
        np.savez(tmp_path / f"{name}.npz", images=data.images[places].numpy())
        for seed in range(2):
            given = {"data": str(tmp_path / f"{name}.npz"), "limit": None, "size": None}
            trained(tmp_path / f"{name}{seed}", **given, seed=seed)
        own = TrainedRun.open(tmp_path / f"{name}0").images.images
        seen[name] = np.flatnonzero(np.isin(hashes, image_hashes(own)))
    sets = {
        "shared": np.intersect1d(seen["f"], seen["g"]),
        "candidate": np.setdiff1d(seen["f"], np.r_[0:20, 30:40]),
        "independent": np.setdiff1d(seen["g"], np.arange(30)),
        "external": np.arange(4),
    }
    np.savez(tmp_path / "sets.npz", **sets)
    families = {name: tuple(tmp_path / f"{name}{i}" for i in range(2)) for name in "fg"}
    given = {**RESNET, "size": None, "data": here.data, **families, "sets": tmp_path / "sets.npz"}
    memorization(
        MemorizationOptions(**given, augmentations=1, layers=LAYERS, out=tmp_path / "runs")
    )
    result = read_json(tmp_path / "runs/memorization.json")
    assert result["encoder"] == "resnet18"
    assert len(result["sets"]) == len(LAYERS)
