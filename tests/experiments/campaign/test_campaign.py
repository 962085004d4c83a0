"""Campaigns: queues that are read, jobs that fit, what is gone on with, and what is packed."""

import errno
import gc
import hashlib
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from experiments import cli
from experiments.campaign import campaign as module
from experiments.campaign import jobs as jobs_module
from experiments.campaign import stages as stages_module
from experiments.campaign.archive import NAME, pack_results
from experiments.campaign.campaign import campaign
from experiments.campaign.jobs import device_name
from experiments.campaign.queue import SHIPPED, Job, read_queue, stage_arguments
from experiments.campaign.stages import Outcome, run_stage
from experiments.campaign.state import JobState, read_state
from experiments.options import CampaignOptions
from sslsim.core.files import read_json
from sslsim.core.interruption import Interrupted

GOOD = """
title = "T"
[words]
net = "--encoder linear"
[[job]]
name = "a"
minutes = 2
stages = ["train {net} --out {out}/train", "ntk --run {out}/train"]
[[job]]
name = "b"
minutes = 5
stages = ["predict --data {data}"]
[[job]]
name = "c"
minutes = 1
stages = [["predict", "--out", "{out}/with a space"]]
"""


def queue_file(text=GOOD):
    Path("q.toml").write_text(text)
    return "q.toml"


class World:
    """Commands that take as long as they are told, on a clock of their own."""

    def __init__(self, monkeypatch, seconds=30.0, **ends):
        self.now, self.seconds, self.ends, self.ran = 0.0, seconds, ends, []
        for each in (module, jobs_module):
            monkeypatch.setattr(each, "time", SimpleNamespace(monotonic=lambda: self.now))

    def __call__(self, arguments, log, seconds, grace, stopped, threads):
        """Run a command."""
        name = Path(log).parent.name
        self.ran.append((name, arguments[0]))
        takes = self.seconds
        status = self.ends.get(f"{name}_{arguments[0]}", "done")
        if status == "killed":
            raise KeyboardInterrupt
        if takes > seconds:
            status, takes = "cut", seconds
        self.now += takes
        Path(log).write_text("said something\n")
        return Outcome(status, 0 if status == "done" else 2, takes, None)


def options(**given):
    return CampaignOptions(**{"queue": "q.toml", "data": Path("d"), "out": Path("c")} | given)


def statuses():
    return {job["name"]: job["status"] for job in read_json("c/campaign.json")["jobs"]}


# --- queues


def test_a_queue_is_read_with_its_words_and_places():
    queue = read_queue(queue_file())
    assert [job.name for job in queue.jobs] == ["a", "b", "c"]
    assert queue.jobs[0].stages[0] == ("train", "--encoder", "linear", "--out", "{out}/train")
    assert stage_arguments(queue.jobs[1].stages[0], Path("o"), Path("my data"))[-1] == "my data"
    assert stage_arguments(queue.jobs[2].stages[0], Path("o"), None)[-1] == "o/with a space"
    with pytest.raises(
        ValueError, match=r"`predict --data '\{data\}'` wants data; expected --data"
    ):
        stage_arguments(queue.jobs[1].stages[0], Path("o"), None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("minutes = 2", "minutes = ", "q.toml is not valid TOML: .*line 7"),
        ("minutes = 2", "minutes = 0", r"q.toml, job 1 \(a\): minutes is 0; expected a number"),
        ("minutes = 2", "minutes = true", r"job 1 \(a\): minutes is True"),
        ("minutes = 2", "minutes = inf", r"job 1 \(a\): minutes is inf"),
        ("minutes = 2", "", r"job 1 \(a\): minutes is missing"),
        ("minutes = 2", "minute = 2", r"job 1 \(a\): unknown key 'minute'"),
        ('title = "T"', 'device = "tpu"', "device is 'tpu'; expected one of cpu, cuda"),
        ('title = "T"', "jobs = 3", "unknown key 'jobs'; expected some of device, job"),
        ('name = "b"', 'name = "a"', "two jobs are named 'a'"),
        ('name = "b"', 'name = "../b"', "job 2 .*name is '../b'; expected letters"),
        ('name = "b"', 'name = "checkpoints"', "name is 'checkpoints', which has a meaning"),
        (
            "{net}",
            "{nets}",
            r"job 1 \(a\): stages has {nets}; expected one of {out}, {data}, {net}",
        ),
        ("--data {data}", "'", "No closing quotation"),
        ('["predict --data {data}"]', "[]", r"job 2 \(b\): stages is \[\]"),
        ('["predict --data {data}"]', '[""]', r"job 2 \(b\): stages has ''; expected a command"),
        ('["predict --data {data}"]', "[3]", r"job 2 \(b\): stages has 3"),
        ("--encoder linear", "{out} {other}", "word 'net' has {other}; expected no other word"),
        ("net =", "out =", "words has 'out', which has a meaning"),
    ],
)
def test_unfit_queues_are_refused_where_they_are_wrong(old, new, message):
    assert old in GOOD
    with pytest.raises(ValueError, match=message):
        read_queue(queue_file(GOOD.replace(old, new, 1)))


def test_a_queue_that_is_not_there_or_holds_no_job_is_refused():
    with pytest.raises(ValueError, match=r"queue x cannot be read: No such file.*small, resnet50"):
        read_queue("x")
    with pytest.raises(ValueError, match=r"q.toml: job is missing"):
        read_queue(queue_file('title = "none"'))
    with pytest.raises(ValueError, match=r"job is 3; expected \[\[job\]\] tables"):
        read_queue(queue_file("job = 3"))


@pytest.mark.parametrize(
    ("name", "job"), [(name, job) for name in SHIPPED for job in read_queue(name).jobs]
)
def test_every_command_of_the_shipped_queues_is_one(name, job):
    for stage in job.stages:
        arguments = stage_arguments(stage, Path("o"), Path("d"))
        _, options = cli.parsed(arguments)
        # A command that writes elsewhere, or reads what another job has made, is no part of a job.
        assert Path("o") in options.out.parents
        runs = getattr(options, "run", ())
        for run in [runs] if isinstance(runs, Path) else runs:
            assert Path("o") in run.parents


def test_every_job_of_the_gpu_fits_in_nine_minutes_and_all_in_half_an_hour_or_so():
    jobs = read_queue("resnet50").jobs
    assert max(job.minutes for job in jobs) <= 9
    assert sum(job.minutes for job in jobs) <= 40
    ends = {job.name for job in jobs if any(stage[0] == "ntk" for stage in job.stages)}
    assert {
        f"{m}_{s}" for m in ("barlow_twins", "simclr", "vicreg") for s in ("small", "standard")
    } <= ends


# --- what fits


def test_jobs_run_in_order_and_those_that_do_not_fit_wait(monkeypatch, capsys):
    queue_file()
    world = World(monkeypatch)
    assert campaign(options(minutes=4), world) == Path("c")
    # b, of five minutes, never fits in four; c, of one, does after the two halves of a.
    assert world.ran == [("a", "train"), ("a", "ntk"), ("c", "predict")]
    assert statuses() == {"a": "done", "b": "pending", "c": "done"}
    assert "sslsim campaign --queue q.toml --jobs b --data d --out c" in capsys.readouterr().out
    held = read_json("c/campaign.json")["jobs"][0]
    assert held["seconds"] == 60.0
    assert held["device"] == device_name()
    assert [stage["exit"] for stage in held["stages"]] == [0, 0]


def test_what_is_done_is_not_run_again_and_what_is_pending_is(monkeypatch, capsys):
    queue_file()
    campaign(options(minutes=4), World(monkeypatch))
    again = World(monkeypatch)
    campaign(options(minutes=5), again)
    assert again.ran == [("b", "predict")]
    capsys.readouterr()
    last = World(monkeypatch)
    campaign(options(minutes=0.01), last)
    assert last.ran == []
    assert capsys.readouterr().out.startswith("nothing is pending")


def test_a_job_as_long_as_the_budget_fits(monkeypatch):
    queue_file()
    world = World(monkeypatch)
    campaign(options(minutes=5, jobs=("b",)), world)
    assert world.ran == [("b", "predict")]


def test_a_command_is_cut_when_time_is_up_and_gone_on_with(monkeypatch):
    queue_file()
    slow = World(monkeypatch, seconds=100.0)
    campaign(options(minutes=2), slow)
    assert slow.ran == [("a", "train"), ("a", "ntk")]
    assert slow.now == pytest.approx(120 - 12)  # a tenth of the budget is kept for the end
    assert statuses()["a"] == "cut"
    rest = World(monkeypatch)
    campaign(options(minutes=2), rest)
    assert rest.ran == [("a", "ntk"), ("c", "predict")]
    assert statuses()["a"] == "done"
    # 100 s of training; 8 s of the kernel before it was cut and 30 s after.
    assert read_json("c/campaign.json")["jobs"][0]["seconds"] == pytest.approx(138)


def test_a_command_that_fails_does_not_keep_others_from_running(monkeypatch):
    queue_file()
    with pytest.warns(UserWarning, match="a: `train --encoder linear .*failed"):
        campaign(options(minutes=4), World(monkeypatch, a_train="failed"))
    assert statuses() == {"a": "failed", "b": "pending", "c": "done"}
    # Left alone by the next call, tried again by name: the failed command only.
    calm = World(monkeypatch)
    with pytest.warns(UserWarning, match="failed"):
        campaign(options(minutes=5), calm)
    assert calm.ran == [("b", "predict")]
    named = World(monkeypatch)
    campaign(options(minutes=4, jobs=("a",)), named)
    assert named.ran == [("a", "train")]
    assert statuses()["a"] == "done"


def test_a_campaign_killed_between_commands_goes_on_after_the_last_one(monkeypatch):
    queue_file()
    with pytest.raises(KeyboardInterrupt):
        campaign(options(minutes=4), World(monkeypatch, a_ntk="killed"))
    assert statuses()["a"] == "cut"
    rest = World(monkeypatch)
    campaign(options(minutes=4), rest)
    assert rest.ran == [("a", "ntk"), ("c", "predict")]


def test_an_unfinished_job_out_of_an_archive_begins_anew(monkeypatch):
    queue_file()
    with pytest.raises(KeyboardInterrupt):
        campaign(options(minutes=9), World(monkeypatch, b_predict="killed", a_ntk="cut"))
    packed = pack_results(Path("c"), 2**20)
    Path("c").rename("elsewhere")
    with tarfile.open(Path("elsewhere") / packed.name) as archive:
        archive.extractall("c", filter="data")
    world = World(monkeypatch)
    campaign(options(minutes=9), world)
    # Its training is listed as done, but the checkpoints stayed where they were.
    assert world.ran[:2] == [("a", "train"), ("a", "ntk")]


def test_a_changed_command_is_run_again(monkeypatch):
    queue_file()
    campaign(options(minutes=4), World(monkeypatch))
    queue_file(GOOD.replace("ntk --run {out}/train", "ntk --run {out}/train --samples 9"))
    world = World(monkeypatch)
    campaign(options(minutes=2), world)
    assert world.ran == [("a", "ntk")]


@pytest.mark.slow
@given(
    minutes=st.lists(st.floats(0.1, 5.0), min_size=1, max_size=6),
    budget=st.floats(0.1, 12.0),
    factor=st.floats(0.1, 3.0),
)
def test_nothing_outlives_the_budget_and_nothing_begins_that_does_not_fit(
    tmp_path_factory, minutes, budget, factor
):
    out = tmp_path_factory.mktemp("campaign")
    jobs = "".join(
        f'[[job]]\nname = "j{k}"\nminutes = {length!r}\nstages = ["predict"]\n'
        for k, length in enumerate(minutes)
    )
    (out / "q.toml").write_text(jobs)
    given = options(queue=str(out / "q.toml"), minutes=budget, out=out)
    with pytest.MonkeyPatch.context() as patch:
        world = World(patch)
        patch.setattr(jobs_module, "device_name", lambda: "here")
        patch.setattr(module, "pack_results", lambda folder, limit: None)
        begun = []

        def run(arguments, log, *more):
            length = minutes[int(Path(log).parent.name[1:])]
            begun.append((length, world.now))
            world.seconds = 60 * length * factor
            return world(arguments, log, *more)

        if min(minutes) > budget + 1e-6:
            with pytest.raises(ValueError, match="no pending job fits"):
                campaign(given, run)
            return
        campaign(given, run)
        assert begun
        assert world.now <= 60 * budget
        for length, moment in begun:
            assert length <= budget - moment / 60 + 2e-6


def test_two_campaigns_in_one_folder_do_not_run_the_same_job(monkeypatch, capsys):
    queue_file()
    first, second = World(monkeypatch), World(monkeypatch)
    waiting = []

    def run(arguments, log, *more):
        if not waiting:  # while the first one runs a command of a, another one comes
            waiting.append(read_state(Path("c"), read_queue("q.toml").jobs[2]))
            campaign(options(minutes=4), second)
        return first(arguments, log, *more)

    campaign(options(minutes=4), run)
    assert "a: another campaign is at it" in capsys.readouterr().out
    assert second.ran == [("c", "predict")]
    # The first one had found c pending when it began.
    assert waiting[0].status == "pending"
    assert first.ran == [("a", "train"), ("a", "ntk")]
    assert statuses() == {"a": "done", "b": "pending", "c": "done"}


def test_a_full_disk_ends_a_campaign_with_a_reason_and_nothing_half_written(monkeypatch):
    queue_file()
    campaign(options(minutes=1), World(monkeypatch, seconds=30))
    before = {path: path.read_bytes() for path in Path("c").rglob("*") if path.is_file()}
    written = os.fsync

    def full(descriptor):
        written(descriptor)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match="cannot be written: No space left on device"):
        campaign(options(minutes=9), World(monkeypatch))
    after = {path: path.read_bytes() for path in Path("c").rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    assert not [path for path in after if path.suffix == ".tmp"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        '{"stages": 3}',
        '{"stages": [{"command": ["predict"]}]}',
        '{"stages": [{"command": "predict --data \'{data}\'"}]}',
        '{"stages": [{"command": "predict --data \'{data}\'", "status": "gone", "exit": 0, '
        '"seconds": 1, "error": null}]}',
        '{"stages": [{"command": "predict --data \'{data}\'", "status": "done", "exit": 0, '
        '"seconds": "long", "error": null}]}',
    ],
)
def test_a_damaged_file_of_a_job_is_named(text, monkeypatch, capsys):
    queue_file()
    campaign(options(minutes=9), World(monkeypatch))
    Path("c/b/job.json").write_text(text)
    Path("c/campaign.json").write_text("{torn")  # is made anew, never read
    capsys.readouterr()
    with pytest.raises(ValueError, match=r"^c/b/job\.json "):
        campaign(options(minutes=9), World(monkeypatch))
    Path("c/b/job.json").unlink()
    world = World(monkeypatch)
    campaign(options(minutes=9), world)
    assert world.ran == [("b", "predict")]


def test_folders_with_braces_and_spaces_are_filled_in_and_quoted(monkeypatch, capsys):
    stage = ("predict", "{data}/x", "--out", "{out}")
    found = stage_arguments(stage, Path("with {data} in it"), Path("my {out}"))
    assert found == ["predict", "my {out}/x", "--out", "with {data} in it"]
    queue_file()
    assert campaign(options(list=True, out=Path("my folder"), data=Path("my data"))) is None
    line = next(line for line in capsys.readouterr().out.splitlines() if " b " in line)
    words = shlex.split(line[line.index("sslsim") :])
    told = "--queue q.toml --jobs b --data 'my data' --out 'my folder'"
    assert shlex.join(words[2:]) == told


# --- options


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minutes": 0}, "minutes is 0; expected a number above 0"),
        ({"minutes": float("nan")}, "minutes is nan"),
        ({"minutes": 0.5}, "no pending job fits in 0.5 minutes; expected at least the 1 of c"),
        ({"file_limit": 0}, "file-limit is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"jobs": ("d",)}, "unknown job 'd'; q.toml has a, b, c"),
        ({"data": None, "minutes": 9}, "wants data; expected --data"),
        ({"cluster": "local", "workers": 2}, "workers is 2 with cluster local"),
        ({"partition": "x"}, "partition is x; expected it with --cluster slurm only"),
    ],
)
def test_unfit_options_are_refused(changes, message):
    queue_file()
    with pytest.raises(ValueError, match=message):
        campaign(options(**changes))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_told(monkeypatch):
    queue_file(GOOD.replace('title = "T"', 'device = "cuda"'))
    with pytest.warns(UserWarning, match="expects a GPU and there is none"):
        campaign(options(minutes=1), World(monkeypatch))


def test_listing_runs_and_writes_nothing(capsys):
    queue_file()
    assert cli.main(["campaign", "--queue", "q.toml", "--list", "--out", "c"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["job", "status", "stages", "minutes", "took", "command"]
    assert [line.split()[1] for line in lines[1:]] == ["pending"] * 3
    assert not Path("c").exists()


def test_several_jobs_at_a_time_are_all_done(monkeypatch):
    queue_file()
    world = World(monkeypatch, seconds=0.1)
    campaign(options(minutes=9, workers=3), world)
    assert sorted(world.ran) == [("a", "ntk"), ("a", "train"), ("b", "predict"), ("c", "predict")]
    assert set(statuses().values()) == {"done"}


def test_what_is_left_of_a_job_is_less_than_the_whole_but_never_nothing():
    state = JobState(Job("a", 2.0, (("train",), ("ntk",))), {})
    assert state.minutes_left == 2.0
    begun = replace(state, outcomes={"train": Outcome("done", 0, 90.0, None)})
    assert begun.minutes_left == pytest.approx(0.5)
    longer = replace(state, outcomes={"train": Outcome("done", 0, 600.0, None)})
    assert longer.minutes_left == pytest.approx(0.2)


@pytest.mark.parametrize(("workers", "share"), [(1, None), (2, 8), (3, 5), (20, 1)])
def test_workers_share_the_processors(monkeypatch, workers, share):
    queue_file()
    world, threads = World(monkeypatch, seconds=0.1), []
    monkeypatch.setattr(os, "cpu_count", lambda: 16)

    def run(*arguments):
        threads.append(arguments[-1])
        return world(*arguments)

    campaign(options(minutes=9, workers=workers), run)
    assert set(threads) == {share}


def test_an_interruption_stops_after_what_runs(monkeypatch):
    queue_file()
    world = World(monkeypatch)

    def run(*arguments):
        found = world(*arguments)
        signal.raise_signal(signal.SIGTERM)
        return found

    with pytest.raises(Interrupted, match="what is done is written down"):
        campaign(options(minutes=4, jobs=("c", "b")), run)
    assert statuses()["c"] == "done"


# --- processes


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
    # In place of the command line, found first: one that says who it is and waits.
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("")
    (tmp_path / "experiments" / "cli.py").write_text(
        "import os, time\ndef main():\n    print(os.getpid(), flush=True)\n    time.sleep(60)\n"
    )
    source = Path(stages_module.__file__).read_text()
    (tmp_path / "stand_in.py").write_text(
        f"{source}\nrun_stage([], Path('log.txt'), 60.0, 1.0, lambda: False)\n"
    )
    parent = subprocess.Popen([sys.executable, "stand_in.py"], cwd=tmp_path)
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


@pytest.mark.slow
def test_a_process_that_fails_says_why(tmp_path):
    log = tmp_path / "log.txt"
    found = run_stage(["predict", "--dim", "0", "--out", "x"], log, 60, 1, lambda: False)
    assert (found.status, found.exit) == ("failed", 2)
    assert found.error.startswith("sslsim: error: dim is 0")
    never = run_stage(["train"], log, 0.0, 1, lambda: False)
    assert (never.status, never.exit) == ("cut", None)
    assert run_stage(["train"], log, 60, 1, lambda: True).status == "cut"


# --- the archive


def results(folder):
    folder.mkdir()
    (folder / "a" / "checkpoints").mkdir(parents=True)
    (folder / "a" / "checkpoints" / "step.npz").write_bytes(b"state")
    (folder / "a" / ".hidden.json").write_text("{}")
    (folder / "a" / "weights.pt").write_bytes(b"w")
    (folder / "a" / "training.json").write_text("{}")
    (folder / "a" / "large.png").write_bytes(b"x" * 5000)
    (folder / "a" / "torn.npz").write_bytes(b"x" * 5000)
    np.savez(folder / "a" / "records.npz", times=np.arange(8.0), scores=np.zeros((40, 40)))
    np.savez(folder / "a" / "kernel.npz", kernel=np.zeros((40, 40)))
    return folder


def test_the_archive_holds_results_and_says_what_it_lacks(tmp_path):
    folder = results(tmp_path / "c")
    with tarfile.open(pack_results(folder, 4000)) as archive:
        held = {entry.name: archive.extractfile(entry).read() for entry in archive}
        assert {(e.mtime, e.uid, e.gid, e.uname) for e in archive} == {(0, 0, 0, "")}
    assert list(held) == ["SHA256SUMS", "contents.json", "a/records.npz", "a/training.json"]
    with np.load(io.BytesIO(held["a/records.npz"])) as records:
        assert records.files == ["times"]
        assert records["times"].tolist() == list(range(8))
    contents = json.loads(held["contents.json"])
    assert contents["trimmed"] == {"a/records.npz": ["scores"]}
    assert set(contents["left_out"]) == {"a/large.png", "a/torn.npz", "a/kernel.npz"}
    sums = dict(reversed(line.split("  ")) for line in held["SHA256SUMS"].decode().splitlines())
    assert sums == {
        name: hashlib.sha256(content).hexdigest()
        for name, content in held.items()
        if name != "SHA256SUMS"
    }


def test_the_archive_has_the_same_bytes_from_the_same_results(tmp_path):
    one, two = results(tmp_path / "one"), results(tmp_path / "two")
    for path in two.rglob("*"):
        if path.is_file():
            path.touch()
    assert pack_results(one, 4000).read_bytes() == pack_results(two, 4000).read_bytes()
    assert pack_results(one, 4000).read_bytes() == (two / NAME).read_bytes()
    assert (one / NAME).read_bytes()[4:8] == bytes(4)  # gzip's own time


def test_an_archive_of_unpacked_results_says_what_they_lacked(tmp_path):
    first = results(tmp_path / "first")
    with tarfile.open(pack_results(first, 4000)) as archive:
        archive.extractall(tmp_path / "second", filter="data")
    second = tmp_path / "second"
    (second / "b").mkdir()
    (second / "b" / "new.json").write_text("{}")

    def contents():
        with tarfile.open(pack_results(second, 4000)) as archive:
            assert archive.getnames().count("contents.json") == 1
            assert "b/new.json" in archive.getnames()
            return json.loads(archive.extractfile("contents.json").read())

    found = contents()
    assert found["trimmed"] == {"a/records.npz": ["scores"]}
    assert set(found["left_out"]) == {"a/large.png", "a/torn.npz", "a/kernel.npz"}
    # Made again, smaller: nothing is lacking of these.
    np.savez(second / "a" / "records.npz", times=np.arange(2.0), scores=np.zeros(3))
    (second / "a" / "large.png").write_bytes(b"x")
    found = contents()
    assert found["trimmed"] == {}
    assert set(found["left_out"]) == {"a/torn.npz", "a/kernel.npz"}
    (second / "contents.json").write_text('{"trimmed": [1]}')  # of another kind
    assert contents()["left_out"] == {}


def test_files_that_vanish_while_being_packed_are_passed_over(tmp_path, monkeypatch):
    folder = results(tmp_path / "c")
    read = Path.read_bytes

    def gone(path):
        if path.name == "training.json":
            path.unlink()
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", gone)
    with tarfile.open(pack_results(folder, 4000)) as archive:
        assert archive.getnames() == ["SHA256SUMS", "contents.json", "a/records.npz"]


# --- submitit


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_jobs_go_through_submitit_where_it_is_installed(capsys):
    pytest.importorskip("submitit")
    # Its executor for debugging leaves its logs open.
    queue_file('[[job]]\nname = "v"\nminutes = 0.5\nstages = ["--version"]\n')
    campaign(options(minutes=1, data=None, cluster="debug"))
    gc.collect()
    assert statuses() == {"v": "done"}
    assert (Path("c") / "v" / "1---version.txt").read_text().startswith("sslsim ")


def test_a_job_of_another_kind_of_folder_is_told(tmp_path):
    job = Job("a", 1.0, (("predict",),))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "job.json").write_text('{"stages": [{"command": "predict"}]}')
    with pytest.raises(ValueError, match="holds no job of a campaign"):
        read_state(tmp_path, job)
    assert JobState(job, {"predict": Outcome("failed", 2, 1.0, "x")}).minutes_left == 1.0
