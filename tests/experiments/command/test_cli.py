"""The command line: exit status, one line for an error, pictures."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from experiments import cli
from sslsim.core.interruption import Interrupted

SMALL = ["--pairs", "100", "--dim", "3"]


def fails(capsys, *arguments):
    """Run, expect exit status 2 and one line on standard error, and return that line."""
    assert cli.main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("sslsim: error: ")
    return lines[0]


def pairs_file(path, x, x_prime=None):
    np.savez(path, x=x, x_prime=x if x_prime is None else x_prime)
    return str(path)


@pytest.mark.parametrize(
    ("command", "picture"), [("predict", "prediction"), ("compare", "comparison")]
)
def test_a_study_leaves_its_results_and_picture(tmp_path, capsys, command, picture):
    assert cli.main([command, *SMALL, "--out", "run"]) == 0
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"config.json", f"{picture}.json", f"{picture}.npz", f"{picture}.png"}
    assert capsys.readouterr().out.splitlines()[-1] == "written to run"


@pytest.mark.parametrize("command", ["predict", "compare"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dim", "0"], "dim is 0"),
        (["--dim", "-1"], "dim is -1"),
        (["--dim", "65"], "dim is 65; expected from 1 to the 64 features"),
        (["--data", "no_such_set"], "unknown data set 'no_such_set'"),
        (["--data", "missing.npz"], "missing.npz cannot be read: No such file"),
        (["--init-scale", "0"], "init-scale is 0"),
        (["--lr", "-1"], "lr is -1"),
        (["--interval-level", "1"], "interval-level is 1"),
        (["--pairs", "1"], "pairs is 1"),
        (["--pairs", "5000"], "5000 pairs were asked of 1437 images"),
        (["--views-per-image", "3"], "views-per-image is 3"),
        (["--limit", "1"], "expected at least 2"),
        (["--limit", "0"], "limit is 0"),
        (["--split", "half"], "no split 'half'"),
        (["--seed", "-1"], "seed is -1"),
    ],
)
def test_bad_options_are_refused_in_one_line(tmp_path, capsys, command, options, message):
    assert message in fails(capsys, command, *options)
    assert not (tmp_path / "runs").exists()


def test_bad_files_are_refused_in_one_line(tmp_path, capsys):
    good = np.ones((4, 3))
    with_nan = good.copy()
    with_nan[1, 1] = np.nan
    for path, message in [
        (pairs_file(tmp_path / "nan.npz", with_nan), "NaN"),
        (pairs_file(tmp_path / "one.npz", good[:1]), "at least 2"),
        (pairs_file(tmp_path / "mismatch.npz", good, good[:, :2]), "expected equal shapes"),
        (pairs_file(tmp_path / "narrow.npz", good), "dim is 10"),
    ]:
        for command in ("predict", "compare"):
            assert message in fails(capsys, command, "--data", path)
    (tmp_path / "torn.npz").write_bytes((tmp_path / "nan.npz").read_bytes()[:100])
    (tmp_path / "empty").mkdir()
    assert "is not a readable .npz file" in fails(capsys, "predict", "--data", "torn.npz")
    fails(capsys, "predict", "--data", "empty")


def test_an_unfit_folder_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "cannot be made a run folder" in fails(capsys, "predict", "--out", "file")
    assert "cannot be made a run folder" in fails(capsys, "predict", "--out", "file/below")


@pytest.mark.skipif(os.geteuid() == 0, reason="no folder is closed to the superuser")
def test_a_closed_folder_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "Permission denied" in fails(capsys, "predict", "--out", "closed")


# Configuration, arrays, numbers, names of what they replace; then the picture.
@pytest.mark.parametrize("writes", [0, 1, 2, 3, 4])
def test_a_full_disk_ends_in_one_line(tmp_path, capsys, monkeypatch, writes):
    sync, left = os.fsync, iter(range(writes))

    def filling(number):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(number)

    monkeypatch.setattr(os, "fsync", filling)
    assert "No space left on device" in fails(capsys, "predict", *SMALL, "--out", "run")
    if writes < 4:
        assert list(tmp_path.iterdir()) == []
    else:
        names = {path.name for path in (tmp_path / "run").iterdir()}
        assert names == {"config.json", "prediction.json", "prediction.npz"}


@pytest.mark.parametrize("command", ["predict", "compare"])
def test_an_unstable_learning_rate_is_refused_in_one_line(capsys, command):
    line = fails(capsys, command, *SMALL, "--lr", "1e3")
    assert "lr is 1000; expected below" in line


def test_warnings_take_one_line(tmp_path, capsys):
    x = np.diag([2.0, 1.0, 1.0])
    path = pairs_file(tmp_path / "pairs.npz", x, x * [1, 1, -1])
    assert cli.main(["predict", "--data", path, "--dim", "3", "--no-center"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sslsim: warning: 3 dimensions asked for")


def test_an_interruption_exits_130(capsys, monkeypatch):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.studies.linear.predict.predict", interrupted)
    assert cli.main(["predict"]) == 130
    assert capsys.readouterr().err == "sslsim: interrupted\n"


@pytest.mark.slow
def test_the_module_runs_as_a_process():
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error::UserWarning",
            "-m",
            "experiments.cli",
            "compare",
            "--data",
            "x",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "unknown data set" in done.stderr


@pytest.mark.parametrize("name", ["theory", "train", "ntk", "coding-rate"])
def test_a_benchmark_is_chosen_by_name(capsys, monkeypatch, name):
    chosen, module = [], name.replace("-", "_")
    function = f"experiments.bench.{module}.bench_{module}"
    monkeypatch.setattr(function, lambda o: chosen.append(o) or "x")
    assert cli.main(["bench", name, "--repeats", "7"]) == 0
    assert type(chosen[0]).__name__ == f"Bench{name.title().replace('-', '')}Options"
    assert chosen[0].repeats == 7
    assert capsys.readouterr().out == "written to x\n"


@pytest.mark.slow
def test_a_run_is_trained_gone_on_with_and_compared(capsys, tmp_path):
    command = ["train", "--encoder", "linear", "--limit", "60", "--steps", "12", "--records", "8"]
    command += ["--probe", "20", "--no-evaluate", "--out", str(tmp_path / "run")]
    for _ in range(2):
        assert cli.main(command) == 0
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "checkpoints",
        "config.json",
        "embeddings.gif",
        "records.jsonl",
        "records.npz",
        "run.png",
        "training.json",
    }
    assert cli.main(["compare", "--run", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "comparison.png").stat().st_size > 5000
    assert f"written to {tmp_path / 'run'}" in capsys.readouterr().out


def test_an_interrupted_run_says_how_to_go_on(capsys, tmp_path, monkeypatch):
    def stopped(options):
        raise Interrupted("stopped at step 3 of 12; saved")

    monkeypatch.setattr("experiments.studies.training.train.train_network", stopped)
    assert cli.main(["train", "--out", str(tmp_path)]) == 130
    assert "the same command goes on from there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "--run", "nowhere"], "nowhere/config.json cannot be read"),
        (
            ["train", "--method", "nonsense"],
            "method is 'nonsense'; expected one of barlow_twins, simclr",
        ),
        (["train", "--batch", "1"], "batch is 1"),
        (["train", "--steps", "abc"], "steps is 'abc'; expected a whole number"),
    ],
)
def test_unfit_training_is_refused_in_one_line(capsys, tmp_path, arguments, message):
    assert cli.main([*arguments, *(["--out", str(tmp_path)] if "train" in arguments else [])]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]


@pytest.mark.parametrize("command", [["--help"], ["memorization", "--help"], ["predict"]])
def test_a_reader_that_has_seen_enough_gets_no_traceback(tmp_path, command):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "experiments.cli", *command],
        cwd=tmp_path,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
