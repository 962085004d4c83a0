"""A run that was killed and resumed ends with the bits of one that was not.

Run as a program, this file trains, is killed by SIGKILL at many moments and resumes, all in forks
of one process, so that torch is imported once.
"""

import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sslsim.core import checkpoints
from sslsim.data.datasets import load_images
from sslsim.encoders.build import Encoder, build_encoder
from sslsim.measures.snapshots import draw_held_out_pairs
from sslsim.methods.build import build_learner
from sslsim.methods.learner import PairLearner
from sslsim.objectives import barlow_twins, simclr
from sslsim.training import records
from sslsim.training.loop import Interrupted, TrainingOptions, check_longer, train

pytestmark = pytest.mark.slow

STEPS, EVERY = 9, 3
COMMON = {"steps": STEPS, "batch": 24, "records": 5, "checkpoint_every": EVERY, "seed": 3}
RUNS = {
    "sgd": {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9},
    "adaptive": {"optimizer": "sgd", "lr": 0.3, "records": 3, "adaptive_records": True},
    "batch_norm_adamw": {"optimizer": "adamw", "lr": 0.01, "schedule": "cosine", "warmup": 2},
    "batch_norm_lars": {"optimizer": "lars", "lr": 0.1, "weight_decay": 1e-3, "accumulate": 2},
    "batch_norm_muon": {
        "optimizer": "muon",
        "lr": 0.01,
        "precondition_embedding": "covariance",
        "precondition_inputs": "covariance",
        "accumulate": 2,
    },
    "fixed": {"fixed_views": True, "channels_last": True, "schedule": "cosine", "lr": 0.05},
    "dropout": {"precision": "bfloat16", "lr": 0.05},
}


def make_learner(name):
    batch_norm = name.startswith("batch_norm")
    encoder = build_encoder(
        "convnet",
        (1, 8, 8),
        6,
        seed=0,
        widths=(4, 8),
        projector="mlp" if batch_norm else "linear",
        projector_widths=(8,) if batch_norm else None,
    )
    if name == "dropout":  # draws from torch's own generator
        encoder = Encoder(encoder.backbone, nn.Sequential(nn.Dropout(0.3), encoder.projector), 8, 6)
    return PairLearner(encoder, simclr if name == "fixed" else barlow_twins)


def run(name, folder, learner=None, **changes):
    data = load_images(limit=80)  # epochs of three batches, eight images left over
    probe = draw_held_out_pairs(load_images(split="test").images, "noise", 12, seed=1)
    options = TrainingOptions(**(COMMON | RUNS[name] | changes))
    learner = make_learner(name) if learner is None else learner
    return train(learner, data, "noise", options, Path(folder), held_out=probe)


def final(folder):
    return checkpoints.load_checkpoint(
        folder / "checkpoints" / f"checkpoint-{STEPS:09d}.pt", torch.device("cpu")
    )


def differences(one, other, where=""):
    """Where two nests of dictionaries, lists, tensors and numbers differ in any bit."""
    if type(one) is not type(other):
        yield where
    elif isinstance(one, (dict, list)):
        keys = list(one) if isinstance(one, dict) else range(len(one))
        if len(one) != len(other):
            yield where
        for key in keys:
            yield from differences(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, torch.Tensor):
        same = one.dtype == other.dtype and one.shape == other.shape
        if not (same and one.numpy().tobytes() == other.numpy().tobytes()):
            yield where
    elif one != other:
        yield where


def assert_same_run(folder, expected):
    files = {"records.jsonl", "records.npz", "checkpoints"}
    assert {path.name for path in folder.iterdir()} == files
    names = [sorted(p.name for p in (f / "checkpoints").iterdir()) for f in (folder, expected)]
    assert names[0] == names[1] == [f"checkpoint-{k:09d}.pt" for k in (STEPS - EVERY, STEPS)]
    assert not list(differences(final(folder), final(expected)))
    lines = [(f / "records.jsonl").read_text() for f in (folder, expected)]
    assert lines[0] == lines[1]
    with np.load(folder / "records.npz") as found, np.load(expected / "records.npz") as wanted:
        assert found.files == wanted.files
        for array in found.files:
            assert found[array].tobytes() == wanted[array].tobytes(), array


# The program: forks that kill themselves.


def die(*ignored, **named):
    os.kill(os.getpid(), signal.SIGKILL)


def nth_call(owner, name, number, act, after=False):
    """Let the nth call of a function end the process, before or after its work."""
    kept, calls = getattr(owner, name), []

    def counted(*arguments, **named):
        calls.append(None)
        if len(calls) == number and not after:
            act(*arguments, **named)
        result = kept(*arguments, **named)
        if len(calls) == number:
            act(*arguments, **named)
        return result

    setattr(owner, name, counted)


def half_written(state, file):
    file.write(b"PK\x03\x04" + bytes(1000))
    file.flush()
    die()


KILLS = {
    "before the first update": lambda: nth_call(PairLearner, "after_step", 1, die),
    "between checkpoints": lambda: nth_call(PairLearner, "after_step", 4, die),
    "in the last update": lambda: nth_call(PairLearner, "after_step", 4, die, after=True),
    "while a checkpoint is written": lambda: nth_call(torch, "save", 2, half_written),
    "before a checkpoint gets its name": lambda: nth_call(os, "replace", 4, die),
    "between the two files of records": lambda: nth_call(records.np, "savez", 2, die),
    "after a record, before its checkpoint": lambda: nth_call(
        records.Records, "save", 2, die, after=True
    ),
    "in a line of the records": lambda: nth_call(records.json, "dumps", 4, die, after=True),
}


def fork(work):
    """Run a function in a fork; return the signal that ended it, or minus its exit code."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return child


def ended(child):
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


def kills_of(name):
    """All kinds of death for the first run, three of them for every other."""
    kinds, place = list(KILLS), 3 * list(RUNS).index(name)
    return kinds if place == 0 else [kinds[(place + k) % len(kinds)] for k in range(3)]


def program(folder):
    torch.set_num_threads(1)
    # Once for all forks: what optimisers import late, and the digits.
    importlib.import_module("torch._dynamo")
    load_images()
    chance = random.Random(0)
    for name in RUNS:
        begun = time.perf_counter()
        assert ended(fork(lambda name=name: run(name, folder / name / "whole"))) == 0
        took = time.perf_counter() - begun
        for kind in kills_of(name):

            def doomed(name=name, kind=kind):
                KILLS[kind]()
                run(name, folder / name / kind)

            assert ended(fork(doomed)) == signal.SIGKILL, kind
            assert ended(fork(lambda name=name, kind=kind: run(name, folder / name / kind))) == 0
        anywhere = folder / name / "anywhere"
        for _ in range(2):
            child = fork(lambda name=name, anywhere=anywhere: run(name, anywhere))
            time.sleep(chance.uniform(0.2, 0.8) * took)
            os.kill(child, signal.SIGKILL)
            ended(child)
        assert ended(fork(lambda name=name, anywhere=anywhere: run(name, anywhere))) == 0


@pytest.fixture(scope="module")
def killed_runs(tmp_path_factory):
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    folder = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, __file__, str(folder)], capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize(
    ("name", "kill"), [(name, kill) for name in RUNS for kill in (*kills_of(name), "anywhere")]
)
def test_a_killed_run_ends_with_the_same_bits(killed_runs, name, kill):
    assert_same_run(killed_runs / name / kill, killed_runs / name / "whole")


# In this process: whatever leaves it alive.


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run("batch_norm_adamw", folder)
    return folder


def during(call, act):
    """A learner that does something after one of its updates."""
    learner, calls = make_learner("batch_norm_adamw"), []

    def after_step(done):
        calls.append(done)
        if len(calls) == call:
            act(learner)

    learner.after_step = after_step
    return learner


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("call", [2, 3, 9])
def test_an_interrupted_run_is_saved_and_ends_with_the_same_bits(tmp_path, whole, number, call):
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    learner = during(call, lambda _: signal.raise_signal(number))
    with pytest.raises(Interrupted, match=f"stopped at step {call} of 9; saved"):
        run("batch_norm_adamw", tmp_path / "run", learner)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
    newest = checkpoints.load_newest_checkpoint(tmp_path / "run/checkpoints", torch.device("cpu"))
    assert newest["step"] == call
    run("batch_norm_adamw", tmp_path / "run")
    assert not list(differences(final(tmp_path / "run"), final(whole)))
    for name in ("records.jsonl", "records.npz"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes()


def test_a_second_signal_is_taken_at_its_word(tmp_path):
    def twice(_):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run("batch_norm_adamw", tmp_path, during(4, twice))
    assert [path.stem for path in checkpoints.checkpoints(tmp_path / "checkpoints")] == [
        "checkpoint-000000003"
    ]


def copied(whole, folder):
    shutil.copytree(whole, folder)
    return folder


def test_a_finished_run_is_left_as_it_is(tmp_path, whole):
    folder = copied(whole, tmp_path / "run")
    learner = run("batch_norm_adamw", folder)
    assert_same_run(folder, whole)
    assert not list(differences(dict(learner.state_dict()), dict(final(whole)["learner"])))


def test_a_damaged_checkpoint_falls_back_and_the_run_ends_with_the_same_bits(tmp_path, whole):
    folder = copied(whole, tmp_path / "run")
    os.truncate(checkpoints.checkpoints(folder / "checkpoints")[0], 3000)
    with pytest.warns(UserWarning, match="falling back to the checkpoint before"):
        run("batch_norm_adamw", folder)
    assert_same_run(folder, whole)


LATER = ("clip_norm", "precondition_embedding", "precondition_inputs_power")


def test_a_run_of_a_version_with_fewer_options_goes_on(tmp_path, whole):
    folder = copied(whole, tmp_path / "run")
    state = final(whole)
    for name in LATER:
        del state["options"][name]
    checkpoints.save_checkpoint(folder / "checkpoints", STEPS, state)
    run("batch_norm_adamw", folder)
    with pytest.raises(ValueError, match=r"a run with clip_norm None, now it is 1\.0"):
        run("batch_norm_adamw", folder, clip_norm=1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.02}, "holds a run with lr 0.01, now it is 0.02; expected the same options"),
        (
            {"steps": 12},
            "holds a run of 9 steps whose schedule is cosine, which depends on",
        ),
        ({"seed": 4}, "holds a run with seed 3, now it is 4"),
    ],
)
def test_other_options_are_refused(tmp_path, whole, changes, message):
    folder = copied(whole, tmp_path / "run")
    with pytest.raises(ValueError, match=message) as caught:
        run("batch_norm_adamw", folder, **changes)
    assert "\n" not in str(caught.value)
    assert_same_run(folder, whole)


def test_another_network_is_refused(tmp_path, whole):
    folder = copied(whole, tmp_path / "run")
    with pytest.raises(ValueError, match="holds a run of another network; expected") as caught:
        run("batch_norm_adamw", folder, make_learner("sgd"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [os.unlink, lambda path: os.truncate(path, 50)])
def test_lost_records_are_an_error(tmp_path, whole, damage):
    folder = copied(whole, tmp_path / "run")
    damage(folder / "records.npz")
    with pytest.raises(ValueError, match=r"expected the records that belong to the .* step 9"):
        run("batch_norm_adamw", folder)


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (2, r"no longer finite by step 2; expected a smaller learning rate than 1e\+30"),
        (9, "embeddings of the probe set are not finite; expected .* a smaller learning rate"),
    ],
)
def test_a_diverging_run_keeps_its_last_good_checkpoint(tmp_path, count, message):
    with pytest.raises(ValueError, match=message) as caught:
        run("sgd", tmp_path, lr=1e30, momentum=0.0, records=count, checkpoint_every=1)
    assert "\n" not in str(caught.value)
    state = checkpoints.load_newest_checkpoint(tmp_path / "checkpoints", torch.device("cpu"))
    if count == 2:
        assert state["step"] == 1
        assert all(value.isfinite().all() for value in state["learner"].values())
    else:
        assert state is None


@torch.no_grad()
def spoil(learner):
    next(learner.parameters())[0] = torch.inf


def test_parameters_that_are_not_finite_are_not_saved(tmp_path):
    # The losses up to here are finite: it is the gradient of the last one that was not.
    with pytest.raises(ValueError, match="no longer finite by step 6"):
        run("batch_norm_adamw", tmp_path, during(6, spoil))
    assert [path.stem for path in checkpoints.checkpoints(tmp_path / "checkpoints")] == [
        "checkpoint-000000003"
    ]


def test_a_finished_run_goes_on_to_the_bits_of_a_longer_one(tmp_path):
    for steps in (STEPS, STEPS + 5):
        run("sgd", tmp_path / "extended", steps=steps)
    run("sgd", tmp_path / "longer", steps=STEPS + 5)
    name = f"checkpoints/checkpoint-{STEPS + 5:09d}.pt"
    extended, longer = (
        checkpoints.load_checkpoint(tmp_path / folder / name, torch.device("cpu"))
        for folder in ("extended", "longer")
    )
    for part in ("learner", "optimizer", "options", "step"):
        assert not list(differences(extended[part], longer[part]))
    lines = (tmp_path / "extended" / "records.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(set(steps))
    assert {0, STEPS, STEPS + 5} <= set(steps)


def test_an_adaptive_run_records_more_than_planned(tmp_path):
    run("adaptive", tmp_path)
    steps = [
        json.loads(line)["step"] for line in (tmp_path / "records.jsonl").read_text().splitlines()
    ]
    planned = records.record_steps(STEPS, 3)
    assert set(planned) < set(steps)
    assert len(steps) <= len(planned) * 1.5 + 1


def test_the_same_options_give_the_same_bits_whatever_was_drawn_before(tmp_path):
    for seed in (1, 2):  # of torch's own generator, from which dropout draws
        torch.manual_seed(seed)
        run("dropout", tmp_path / str(seed))
    assert not list(differences(final(tmp_path / "1"), final(tmp_path / "2")))


def test_a_run_whose_updates_depend_on_their_number_is_not_extended(tmp_path):
    run("fixed", tmp_path / "cosine")
    with pytest.raises(ValueError, match="9 steps whose schedule is cosine, which depends on"):
        run("fixed", tmp_path / "cosine", steps=STEPS + 1)
    run("sgd", tmp_path / "constant")
    with pytest.raises(ValueError, match="a run of 9 steps, now it is 8; expected at least 9"):
        run("sgd", tmp_path / "constant", steps=STEPS - 1)
    teacher = build_learner("byol", (1, 8, 8), 4, encoder="linear", seed=0)
    with pytest.raises(ValueError, match="whose teacher follows by a schedule"):
        check_longer(tmp_path, 3, TrainingOptions(steps=5), teacher)


if __name__ == "__main__":
    program(Path(sys.argv[1]))
