"""A command in a process of its own: stopped in time, with its threads and its reasons."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.distributed import is_gloo_available

from experiments.campaign import stages as stages_module
from experiments.campaign.stages import run_stage


@pytest.mark.slow
def test_a_process_is_stopped_in_time_with_all_it_started(tmp_path, monkeypatch):
    # In place of the command: a process that will not be told, and one it has started.
    script = "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    script += "child = subprocess.Popen(['sleep', '600']); print(child.pid, flush=True);"
    script += "time.sleep(600)"
    start = subprocess.Popen
    command = [sys.executable, "-c", script]
    monkeypatch.setattr(subprocess, "Popen", lambda _, **how: start(command, **how))
    # Long enough for both to have started; both sleep for far longer.
    found = run_stage([], tmp_path / "log.txt", 5.0, 0.2, lambda: False)
    assert (found.status, found.exit) == ("cut", -signal.SIGKILL)
    child = Path(f"/proc/{found.error}/stat")
    while child.exists() and child.read_text().split()[2] != "Z":  # it is about to end
        time.sleep(0.05)


def test_a_command_stops_when_the_campaign_is_killed(tmp_path):
    # In place of the command line: one that says who it is and waits.
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("")
    (tmp_path / "experiments" / "cli.py").write_text(
        "import os, time\ndef main():\n    print(os.getpid(), flush=True)\n    time.sleep(60)\n"
    )
    source = Path(stages_module.__file__).read_text()
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "stand_in.py").write_text(
        f"{source}\nrun_stage([], Path('log.txt'), 60.0, 1.0, lambda: False)\n"
    )
    parent = subprocess.Popen([sys.executable, "a/b/stand_in.py"], cwd=tmp_path)
    log = tmp_path / "log.txt"
    try:
        assert waited(lambda: log.exists() and log.read_text().endswith("\n"))
        assert parent.poll() is None
    finally:
        parent.kill()
        parent.wait()
    child = Path(f"/proc/{log.read_text().strip()}/stat")
    assert waited(lambda: not child.exists() or child.read_text().split()[2] == "Z")


def waited(condition, seconds=20.0):
    """Whether a condition comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.01)
    return condition()


@pytest.mark.parametrize(("asked", "given"), [("1", "1"), ("64", "3"), (None, "3"), ("4,2", "3")])
def test_a_command_takes_its_share_of_threads_and_no_more_than_allowed(
    asked, given, tmp_path, monkeypatch
):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    held = {}
    start = subprocess.Popen

    def note(_, env, **how):
        held.update(env)
        return start(["true"], **how)

    monkeypatch.setattr(subprocess, "Popen", note)
    assert run_stage([], tmp_path / "log.txt", 60, 1, lambda: False, 3).status == "done"
    assert (held["OMP_NUM_THREADS"], held["MKL_NUM_THREADS"]) == (given, "3")


TINY = (
    "train --encoder linear --dim 2 --limit 60 --probe 10 --records 2 --no-evaluate --device cpu "
    "--steps 10000000 --batch 20 --checkpoint-every 10"
)


@pytest.mark.slow
@pytest.mark.skipif(not is_gloo_available(), reason="this torch has no gloo")
def test_a_training_runs_on_several_processes_and_stops_on_all_of_them(tmp_path):
    saved, log = tmp_path / "run" / "checkpoints", tmp_path / "log.txt"
    words = [*TINY.split(), "--out", str(tmp_path / "run")]

    def stopped():
        return saved.exists() and any(saved.iterdir())

    assert run_stage(words, log, 300, 60, stopped, 2, 2).status == "cut"
    stop = "sslsim: stopped at step (.*) of 10000000; saved; the same command goes on from there"
    steps = re.findall(stop, log.read_text())
    assert len(steps) == 2  # each process says so
    assert {int(step) for step in steps} == {
        max(int(path.stem.removeprefix("checkpoint-")) for path in saved.glob("*.pt"))
    }


def test_the_error_of_a_command_is_found_among_the_words_of_torchrun(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("sslsim: warning: slow\nsslsim: error: batch is 15\nTraceback\n======\n\n")
    assert stages_module._last_line(log) == "sslsim: error: batch is 15"
    log.write_text("Traceback\nKeyError: 3\n\n")
    assert stages_module._last_line(log) == "KeyError: 3"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes end with torchrun on Linux only")
def test_processes_of_torchrun_that_will_not_stop_are_killed_with_it(tmp_path, monkeypatch):
    # In place of the command line: one that says who it is and will not be told.
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("")
    (tmp_path / "experiments" / "cli.py").write_text(
        "import os, signal, time\nfrom pathlib import Path\ndef main():\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    Path(os.environ['RANK']).write_text(f'{os.getpid()}.')\n    time.sleep(600)\n"
    )
    monkeypatch.setattr(stages_module, "_ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    ranks = [tmp_path / "0", tmp_path / "1"]

    def stopped():
        return all(path.exists() and path.read_text().endswith(".") for path in ranks)

    assert run_stage(["train"], tmp_path / "log.txt", 120, 0.2, stopped, 1, 2).status == "cut"
    for path in ranks:
        child = Path(f"/proc/{path.read_text()[:-1]}/stat")
        assert waited(lambda child=child: not child.exists() or child.read_text().split()[2] == "Z")


@pytest.mark.parametrize(("command", "processes"), [("train", 3), ("ntk", 1)])
def test_torchrun_starts_trainings_alone_and_their_processes_share_the_threads(
    command, processes, tmp_path, monkeypatch
):
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    held = []
    start = subprocess.Popen

    def note(words, env, **how):
        held.extend([words, env["OMP_NUM_THREADS"], env["CUDA_VISIBLE_DEVICES"]])
        return start(["true"], **how)

    monkeypatch.setattr(subprocess, "Popen", note)
    run_stage([command, "--seed", "1"], tmp_path / "log.txt", 60, 1, lambda: False, 6, 3, "4,5,7")
    assert ("torch.distributed.run" in held[0]) == (processes > 1)
    assert held[0][-4:] == ["experiments.cli", command, "--seed", "1"]
    assert held[1:] == [str(6 // processes), "4,5,7"]


def test_packages_of_the_user_with_our_names_are_left_alone(tmp_path, monkeypatch):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    assert run_stage(["--version"], tmp_path / "log.txt", 60, 1, lambda: False).error is None


@pytest.mark.slow
def test_a_process_that_fails_says_why(tmp_path):
    log = tmp_path / "log.txt"
    found = run_stage(["predict", "--dim", "0", "--out", "x"], log, 60, 1, lambda: False)
    assert (found.status, found.exit) == ("failed", 2)
    assert found.error.startswith("sslsim: error: dim is 0")
    never = run_stage(["train"], log, 0.0, 1, lambda: False)
    assert (never.status, never.exit) == ("cut", None)
    assert run_stage(["train"], log, 60, 1, lambda: True).status == "cut"
