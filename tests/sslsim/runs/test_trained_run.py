"""An opened run gives what went into it and what came of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sslsim
from experiments.studies.training.train import train_network
from sslsim.core.files import read_arrays, read_json
from sslsim.data.pixels import pixel_statistics
from sslsim.runs.options import TrainOptions
from sslsim.runs.setup import initial_learner, split_data, training_pairs
from sslsim.runs.trained_run import TrainedRun


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    options = TrainOptions(
        encoder="linear",
        dim=2,
        limit=40,
        steps=4,
        batch=20,
        records=3,
        probe=8,
        evaluate=False,
        device="cpu",
        checkpoint_every=2,
        checkpoints_kept=0,
        fixed_views=True,
        out=tmp_path_factory.mktemp("run"),
    )
    train_network(options)
    return TrainedRun.open(options.out)


def test_it_is_the_run_that_was_trained(run):
    data, held_out = split_data(run.options)
    assert torch.equal(run.images.images, data.images)
    assert torch.equal(run.held_out.images, held_out.images)
    assert run.views == read_json(run.folder / "training.json")["views"] == "simclr"
    assert torch.equal(run.pixels.mean, pixel_statistics(data.images).mean)
    assert run.flow_time(4) == pytest.approx(read_json(run.folder / "training.json")["time"])
    recorded = read_arrays(run.folder / "records.npz")
    assert all(np.array_equal(recorded[name], array) for name, array in run.records().items())


def test_networks_are_those_of_the_start_and_of_checkpoints(run):
    assert run.steps == [0, 2, 4]
    start = initial_learner(run.options, run.images).state_dict()
    for step in (0, 2, 4, None):
        found = run.learner(step).state_dict()
        if step != 0:
            name = f"checkpoints/checkpoint-{4 if step is None else step:09d}.pt"
            expected = torch.load(run.folder / name, weights_only=True)["learner"]
        else:
            expected = start
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_pairs_are_the_very_ones_of_a_run_that_fixed_them(run):
    expected = training_pairs(run.options, run.images, run.views, len(run.images.images), 7)
    for views in (run.pairs(10_000), run.pairs(10_000, draw=3)):
        assert all(torch.equal(a, b) for a, b in zip(views, expected, strict=True))
    assert len(run.pairs(5)[0]) == 5


def test_data_that_have_moved_are_found_by_their_new_root(run):
    assert TrainedRun.open(run.folder, Path("elsewhere")).options.root == Path("elsewhere")
    assert sslsim.TrainedRun is TrainedRun


def test_a_checkpoint_that_is_not_there_is_refused_with_those_that_are(run, tmp_path):
    assert (run.step_at(), run.step_at(0), run.step_at(2)) == (4, 0, 2)
    with pytest.raises(ValueError, match=r"checkpoint is 3; .* holds 0, 2, 4"):
        run.learner(3)
    new = TrainedRun(tmp_path, run.options)
    assert new.learner(0).encoder.dim == 2  # the initialisation follows from the options
    with pytest.raises(ValueError, match="holds no checkpoint of its training"):
        new.learner()


def test_runs_on_the_same_data_share_images_and_keep_their_own_statistics(run):
    raw = replace(run, options=replace(run.options, standardise=False), images_of=run)
    assert raw.images is run.images
    assert raw.held_out is run.held_out
    x = run.images.images[:3].float() / 255
    assert torch.equal(raw.standardised(x), x)
    assert torch.equal(run.standardised(x), run.pixels.standardise(x))


def test_a_run_on_views_that_make_no_pairs_is_measured_on_simclr_views(run):
    masked = replace(run, options=replace(run.options, views="mask"))
    assert (run.views, run.pair_views) == ("simclr", "simclr")
    assert (masked.views, masked.pair_views) == ("mask", "simclr")
