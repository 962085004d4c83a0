"""Bad commands: each is refused in one line, with exit status 2, and leaves its folder as it was.

``{run}`` is a finished ``sslsim train`` that kept its checkpoints, ``{conv}`` one of a convnet,
``{split}`` and ``{pool}`` are finished studies of memorisation; folders named after what is wrong
with them (``{no_options}``, ...) are copies of ``{run}``.
"""

import contextlib
import io
import json
import re
import shlex
import shutil

import numpy as np
import pytest
import torch
from bad_commands import CASES, TABLES

from experiments.cli import main
from experiments.command_line import parsed
from experiments.registry import STUDIES
from experiments.studies.linear.predict import predict
from experiments.studies.memorization.study import memorization
from experiments.studies.training.train import train_network


def called(arguments):
    """Exit status and standard error of the command, in this process."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        status = main(arguments)
    return status, told.getvalue()


def contents(folder):
    """Names and bytes of all that a folder holds; None if it is not there."""
    if not folder.exists():
        return None
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


SOURCE = """
import sys
import torch
from torch import nn

class Odd(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.linear = kind, nn.Linear(64, 3)

    def forward(self, x):
        z = self.linear(x.flatten(1))
        return (z, z) if self.kind is tuple else {"z": z}

def net(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
def small(): return nn.Sequential(nn.Flatten(), nn.Linear(5, 3))
def pairs(): return Odd(tuple)
def table(): return Odd(dict)
def leaves(): sys.exit(3)
def fails(): return 1 / 0
def number(): return 3
"""


def made(arguments):
    """Run a command without its pictures; its folder."""
    study = {
        "train": train_network,
        "memorization": memorization,
        "predict": predict,
    }[arguments.split()[0]]
    with contextlib.redirect_stdout(io.StringIO()):
        return study(parsed(shlex.split(arguments))[1])


def copied(run, name, change):
    folder = run.parent / name
    shutil.copytree(run, folder)
    change(folder)
    return folder


def with_json(name, change):
    """Something that changes what a JSON file of a folder holds."""

    def changed(folder):
        path = folder / name
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return changed


def with_option(name, value):
    return with_json(
        "config.json", lambda held: held | {"options": held["options"] | {name: value}}
    )


@pytest.fixture(scope="session")
def places(tmp_path_factory):
    """Folders and files that the cases name, made once."""
    home = tmp_path_factory.mktemp("bad_commands")
    train = (
        "train --limit 40 --steps 4 --batch 20 --records 3 --probe 8 --no-evaluate --device cpu "
        "--checkpoint-every 2 --checkpoints-kept 0 --dim 2"
    )
    study = (
        "memorization --encoder linear --limit 60 --steps 2 --batch 8 --augmentations 1 --top 2 "
        "--device cpu"
    )
    split = "--shared 8 --candidates 6 --independent 6 --external 6 --encoder-pairs 2"
    found = {
        "run": made(f"{train} --encoder linear --out {home / 'run'}"),
        "conv": made(f"{train} --encoder convnet --widths 2 2 2 --out {home / 'conv'}"),
        "split": made(f"{study} {split} --out {home / 'split'}"),
        "pool": made(f"{study} --protocol subsample --pool 12 --encoders 4 --out {home / 'pool'}"),
        "predict": made(f"predict --pairs 20 --dim 2 --out {home / 'predict'}"),
    }
    run, conv = found["run"], found["conv"]

    newest = "checkpoints/checkpoint-000000004.pt"

    def with_arrays(**arrays):
        return lambda folder: np.savez(folder / "records.npz", **arrays)

    def torn(folder):
        path = folder / newest
        path.write_bytes(path.read_bytes()[:300])

    changes = {
        "no_options": with_json("config.json", lambda held: held | {"options": None}),
        "odd_option": with_option("steps", "many"),
        "foreign_option": with_option("colour", "red"),
        "nested": lambda folder: (folder / "config.json").write_text("[" * 100_000),
        "no_result": with_json("training.json", lambda held: {}),
        "odd_result": with_json("training.json", lambda held: held | {"step_times": "soon"}),
        "list_result": with_json("training.json", lambda held: [1]),
        "no_arrays": lambda folder: (folder / "records.npz").unlink(),
        "few_arrays": with_arrays(times=np.arange(3.0)),
        "flat_arrays": with_arrays(times=np.arange(3.0), cross_spectrum=np.arange(3.0)),
        "torn_arrays": lambda folder: (folder / "records.npz").write_bytes(b"PK\x03\x04"),
        "no_checkpoints": lambda folder: shutil.rmtree(folder / "checkpoints"),
        "torn_checkpoint": torn,
        "no_learner": lambda folder: torch.save({"step": 4}, folder / newest),
        "other_checkpoint": lambda folder: torch.save({"learner": {}}, folder / newest),
    }
    for name, change in changes.items():
        found[name] = copied(run, name, change)
    found["same"] = copied(conv, "same", lambda folder: None)
    found["linked"] = home / "linked"
    found["linked"].symlink_to(run)
    found["no_scores"] = copied(
        found["pool"], "no_scores", lambda folder: (folder / "scores.npz").unlink()
    )
    found["no_study_options"] = copied(found["pool"], "no_study_options", changes["no_options"])
    found["few_scores"] = copied(
        found["pool"],
        "few_scores",
        lambda folder: np.savez(folder / "scores.npz", numbers=np.arange(12)),
    )

    rng = np.random.default_rng(0)
    images = rng.random((12, 8, 8))
    spoilt = images.copy()
    spoilt[0, :2, :2] = np.nan
    arrays = {
        "flipped": {"images": images},
        "objects": {"images": images, "labels": np.array([None] * 12)},
        "nans": {"images": spoilt},
        "wild": {"images": images * 300},
        "unlabelled": {"images": images},
        "giant": {"images": images, "labels": np.arange(12) % 2 * 10**12},
        "negative": {"images": images, "labels": np.arange(12) % 2 - 1},
        "pairs": {"x": rng.random((6, 4)), "x_prime": rng.random((6, 4))},
        "embeddings": {"z": rng.random((3, 6, 2))},
        "falling": {"z": rng.random((3, 6, 2)), "times": [0.0, 2.0, 1.0]},
        "not_finite": {"z": np.array([0.0, np.nan, 1.0])[:, None, None] * rng.random((3, 6, 2))},
        "uneven": {"x": rng.random((3, 4)), "x_prime": rng.random((2, 4))},
        "sets": {name: np.arange(2) for name in ("candidate", "independent", "shared", "external")},
    }
    for name, held in arrays.items():
        found[name] = home / f"{name}.npz"
        np.savez(found[name], **held)
    raw = bytearray(found["flipped"].read_bytes())
    raw[raw.rindex(b"PK\x01\x02") + 10] ^= 64  # the compression, in the central directory
    found["flipped"].write_bytes(raw)
    found["torn"] = home / "torn.npz"
    found["torn"].write_bytes(found["pairs"].read_bytes()[:100])
    found["text"] = home / "text.txt"
    found["text"].write_text("no data [")
    for name in ("empty", "photos"):
        found[name] = home / name
        found[name].mkdir()
    found["whole"] = home / "whole.pt"
    torch.save(torch.nn.Linear(2, 3), found["whole"])
    found["other_weights"] = home / "other_weights.pt"
    torch.save({"net": {"backbone.weight": torch.ones(2)}}, found["other_weights"])
    (home / "networks_of_cases.py").write_text(SOURCE)
    return found


@pytest.fixture(scope="session")
def outcome(places):
    """Runs a case once into a folder that is there and once into one that is not."""
    home = places["run"].parent
    known = {}

    def run(case):
        if case in known:
            return known[case]
        command, _, of_run = case.command.partition(" of a ")
        # A finished run of the command where there is one, else of another.
        finished = {"train": "run", "memorization": "split"}.get(command, "predict")
        there, new = home / f"out_{finished}", home / "new"
        if not there.exists():
            shutil.copytree(places[finished], there)
        small = TABLES[case.command][0]
        kind = case.arguments.split()[:1] if command == "bench" else []
        rest = case.arguments.split()[1:] if command == "bench" else [case.arguments]
        filled = shlex.split(" ".join([small, *rest]).format(**places))
        found = []
        for out in (there, new):
            before = contents(out)
            target = [] if of_run else ["--out", str(out)]
            with contextlib.chdir(home):
                status, told = called([command, *kind, *filled, *target])
            found.append((status, told, before == contents(out)))
            if not found[-1][2]:
                shutil.rmtree(out)
        known[case] = found
        return found

    return run


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_bad_command_is_refused_in_one_line(case, outcome):
    told = ""
    for status, told, _ in outcome(case):
        assert status == 2, told
        assert re.fullmatch(r"sslsim: error: [^\n]+\n", told), told
        assert not set(told) & set("╭╰│")
        assert "Traceback" not in told
        assert "weights_only" not in told
    # Of a new folder: one that is there may be refused for what it holds.
    assert any(part in told for part in case.expected.split("|")), told


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_bad_command_leaves_its_folder_as_it_was(case, outcome):
    assert [unchanged for *_, unchanged in outcome(case)] == [True, True]


def test_there_are_cases_of_every_command():
    assert {case.command.partition(" of a ")[0] for case in CASES} == {
        study.name.split()[0] for study in STUDIES
    }
    assert len(CASES) >= 250
