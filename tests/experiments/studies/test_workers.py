"""Studies whose encoders and cells are made by several processes: results, stops, refusals."""

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from studies import POOL, SMALL, arguments, contents

from experiments.campaign import parts as parts_module
from experiments.cli import main
from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.study import memorization
from sslsim.core.checkpoints import load_checkpoint
from sslsim.core.files import read_json, write_json
from sslsim.core.interruption import Interrupted
from sslsim.core.locks import only_writer
from sslsim.data.datasets import load_images
from sslsim.runs.encoders import train_encoder
from sslsim.runs.folder import described_run
from sslsim.runs.options import LearnerOptions

STORED = Path(__file__).parent / "stored"
COMMANDS = {
    "removal": "memorization-removal --scores pool --remove 0.1 --which most random --seeds 1",
    "penalty": "memorization-penalty --scores split --strengths 1 --seeds 1 --targeted most "
    "random --count 5",
    "sweep": "umm-sweep --run run --split layer1 --steps 2 --batch 12 --held-out 12 "
    "--test-images 40 --variants full --vary beta=1,2",
}
RESULTS = {"removal": "removal.json", "penalty": "penalty.json", "sweep": "table.json"}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """One thread here and in every process that a test starts."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def weights(folder):
    """Trained weights of all encoders of a study, by name."""
    return {
        path.parts[-3]: load_checkpoint(path, torch.device("cpu"))["learner"]
        for path in sorted(folder.glob("encoders/*/checkpoints/*.pt"))
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, state in expected.items():
        for key, value in state.items():
            assert torch.equal(found[name][key], value), (name, key)


@pytest.mark.slow
def test_two_processes_train_the_encoders_that_one_trains_and_go_on_with_some(tmp_path):
    options = {**SMALL, "curve": 2}
    alone = memorization(MemorizationOptions(**options, out=tmp_path / "alone"))
    folder = tmp_path / "shared"
    shutil.copytree(alone, folder)
    # What a kill has left: an encoder that is trained, one that is not, one halfway, one missing.
    for path in folder.glob("encoders/g0/checkpoints/*.pt"):
        path.unlink()
    (folder / "encoders/f1/checkpoints/checkpoint-000000004.pt").unlink()
    shutil.rmtree(folder / "encoders/g1")
    kept = contents(folder / "encoders/f0")
    for name in ("memorization.json", "scores.npz", "memorization.png"):
        (folder / name).unlink(missing_ok=True)
    assert memorization(MemorizationOptions(**options, out=folder, workers=2)) == folder
    assert contents(folder / "encoders/f0") == kept
    assert_same(weights(folder), weights(alone))
    assert read_json(folder / "memorization.json") == read_json(alone / "memorization.json")
    assert not list(folder.rglob(".partial*"))
    assert not list(folder.rglob(".writer"))


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_two_processes_make_the_cells_that_one_makes(name, tmp_path, monkeypatch):
    shutil.copytree(STORED, tmp_path, dirs_exist_ok=True)
    given = [*COMMANDS[name].split(), "--device", "cpu"]
    assert main([*given, "--out", "alone"]) == 0
    made = []
    run = parts_module.run_stage
    monkeypatch.setattr(parts_module, "run_stage", lambda *a, **k: made.append(a) or run(*a, **k))
    assert main([*given, "--out", "shared", "--workers", "2"]) == 0
    assert len(made) == 2
    assert cells(tmp_path / "shared") == cells(tmp_path / "alone")
    found, expected = (read_json(tmp_path / out / RESULTS[name]) for out in ("shared", "alone"))
    assert found == expected


def cells(folder):
    """What the files of the cells say, by name."""
    return {
        path.relative_to(folder): json.loads(path.read_text())
        for path in folder.glob("cells/**/*.json")
    }


@pytest.mark.slow
def test_a_signal_stops_all_processes_and_they_save(tmp_path):
    options = MemorizationOptions(
        **{**SMALL, "steps": 10**7, "checkpoint_every": 5}, out=tmp_path / "o", workers=2
    )
    folders = [options.out / "encoders" / name / "checkpoints" for name in ("f0", "g0")]

    def interrupt():
        while not all(folder.exists() and any(folder.glob("*.pt")) for folder in folders):
            time.sleep(0.02)
            if done.is_set():
                return
        os.kill(os.getpid(), signal.SIGTERM)

    done = threading.Event()
    watcher = threading.Thread(target=interrupt)
    watcher.start()
    try:
        with pytest.raises(Interrupted, match="all processes have saved what they trained"):
            memorization(options)
    finally:
        done.set()
        watcher.join()
    for folder in folders:  # nobody writes there any more, and nothing is half written
        with only_writer(folder.parent):
            assert load_checkpoint(max(folder.glob("*.pt")), torch.device("cpu"))["step"] > 0
    assert sorted(path.name for path in options.out.iterdir()) == ["config.json", "encoders"]


@pytest.mark.slow
def test_a_process_that_fails_says_why_and_the_others_stop(tmp_path, capsys):
    given = {**SMALL, "steps": 10**7, "checkpoint_every": 5}
    out = tmp_path / "o"
    options = MemorizationOptions(**given, workers=2, out=out, encoders=16)
    with only_writer(out / "encoders" / "f0"):  # another command trains there
        write_json(out / "config.json", described_run("memorization", options))
        assert main([*arguments(out, **given), "--workers", "2"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sslsim: error: {out}/encoders/f0 is being written by process")
    with only_writer(out / "encoders" / "g0"):
        pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({**SMALL, "workers": 0}, "workers is 0; expected at least 1"),
        ({**POOL, "workers": 2}, "workers is 2, and all encoders are trained already or together"),
        (
            {"protocol": "closed-form", "workers": 2},
            "workers is 2, an option of protocol split or subsample",
        ),
    ],
)
def test_workers_without_effect_are_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        memorization(MemorizationOptions(**options, out=tmp_path / "o"))
    assert not (tmp_path / "o").exists()


def test_an_encoder_has_one_writer(tmp_path):
    options = LearnerOptions(encoder="linear", steps=1, batch=10, device="cpu")
    with (
        only_writer(tmp_path / "e"),
        pytest.raises(ValueError, match="is being written by process"),
    ):
        train_encoder(options, load_images(limit=20), tmp_path / "e")
