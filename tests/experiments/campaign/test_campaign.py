"""Campaigns: jobs that fit, what is continued, and what is refused."""

import errno
import gc
import os
import shlex
import signal
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from campaigns import GOOD, World, options, queue_file, statuses
from hypothesis import given
from hypothesis import strategies as st

import experiments.campaign.campaign as module
from experiments import cli
from experiments.campaign.archive import pack_results
from experiments.campaign.campaign import campaign
from experiments.campaign.jobs import device_name, gpu_shares
from experiments.campaign.queue import Job, read_queue, stage_arguments
from experiments.campaign.stages import Outcome
from experiments.campaign.state import JobState, read_state
from sslsim.core.files import read_json
from sslsim.core.interruption import Interrupted

MANY = """
device = "cuda"
[[job]]
name = "a"
minutes = 1
gpus = {}
stages = ["train --out {{out}}/train"]
"""


def test_jobs_run_in_order_and_those_that_do_not_fit_wait(capsys):
    queue_file()
    world = World()
    assert world.campaign(options(minutes=4)) == Path("c")
    # b, of five minutes, never fits in four; c, of one, does after the two halves of a.
    assert world.ran == [("a", "train"), ("a", "ntk"), ("c", "predict")]
    assert statuses() == {"a": "done", "b": "pending", "c": "done"}
    assert "sslsim campaign --queue q.toml --jobs b --data d --out c" in capsys.readouterr().out
    held = read_json("c/campaign.json")["jobs"][0]
    assert held["seconds"] == 60.0
    assert held["device"] == device_name()
    assert [stage["exit"] for stage in held["stages"]] == [0, 0]


def test_what_is_done_is_not_run_again_and_what_is_pending_is(capsys):
    queue_file()
    World().campaign(options(minutes=4))
    again = World()
    again.campaign(options(minutes=5))
    assert again.ran == [("b", "predict")]
    capsys.readouterr()
    last = World()
    last.campaign(options(minutes=0.01))
    assert last.ran == []
    assert capsys.readouterr().out.startswith("nothing is pending")


def test_a_job_as_long_as_the_budget_fits():
    queue_file()
    world = World()
    world.campaign(options(minutes=5, jobs=("b",)))
    assert world.ran == [("b", "predict")]


def test_a_command_is_cut_when_time_is_up_and_gone_on_with():
    queue_file()
    slow = World(seconds=100.0)
    slow.campaign(options(minutes=2))
    assert slow.ran == [("a", "train"), ("a", "ntk")]
    assert slow.now == pytest.approx(120 - 12)  # a tenth of the budget is kept for the end
    assert statuses()["a"] == "cut"
    rest = World()
    rest.campaign(options(minutes=2))
    assert rest.ran == [("a", "ntk"), ("c", "predict")]
    assert statuses()["a"] == "done"
    # 100 s of training; 8 s of the kernel before it was cut and 30 s after.
    assert read_json("c/campaign.json")["jobs"][0]["seconds"] == pytest.approx(138)


def test_a_command_that_fails_does_not_keep_others_from_running():
    queue_file()
    with pytest.warns(UserWarning, match="a: `train --encoder linear .*failed"):
        World(a_train="failed").campaign(options(minutes=4))
    assert statuses() == {"a": "failed", "b": "pending", "c": "done"}
    # Left alone by the next call, tried again by name: the failed command only.
    calm = World()
    with pytest.warns(UserWarning, match="failed"):
        calm.campaign(options(minutes=5))
    assert calm.ran == [("b", "predict")]
    named = World()
    named.campaign(options(minutes=4, jobs=("a",)))
    assert named.ran == [("a", "train")]
    assert statuses()["a"] == "done"


def test_a_campaign_killed_between_commands_goes_on_after_the_last_one():
    queue_file()
    with pytest.raises(KeyboardInterrupt):
        World(a_ntk="killed").campaign(options(minutes=4))
    assert statuses()["a"] == "cut"
    rest = World()
    rest.campaign(options(minutes=4))
    assert rest.ran == [("a", "ntk"), ("c", "predict")]


def test_an_unfinished_job_out_of_an_archive_begins_anew():
    queue_file()
    with pytest.raises(KeyboardInterrupt):
        World(b_predict="killed", a_ntk="cut").campaign(options(minutes=9))
    packed = pack_results(Path("c"), 2**20)
    Path("c").rename("elsewhere")
    with tarfile.open(Path("elsewhere") / packed.name) as archive:
        archive.extractall("c", filter="data")
    world = World()
    world.campaign(options(minutes=9))
    # Its training is listed as done, but the checkpoints stayed where they were.
    assert world.ran[:2] == [("a", "train"), ("a", "ntk")]


def test_a_changed_command_is_run_again():
    queue_file()
    World().campaign(options(minutes=4))
    queue_file(GOOD.replace("ntk --run {out}/train", "ntk --run {out}/train --samples 9"))
    world = World()
    world.campaign(options(minutes=2))
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
    world, begun = World(), []

    def run(arguments, log, *more):
        length = minutes[int(Path(log).parent.name[1:])]
        begun.append((length, world.now))
        world.seconds = 60 * length * factor
        return world(arguments, log, *more)

    if min(minutes) > budget + 1e-6:
        with pytest.raises(ValueError, match="no pending job fits"):
            world.campaign(given, run)
        return
    world.campaign(given, run)
    assert begun
    assert world.now <= 60 * budget
    for length, moment in begun:
        assert length <= budget - moment / 60 + 2e-6


def test_two_campaigns_in_one_folder_do_not_run_the_same_job(capsys):
    queue_file()
    first, second = World(), World()
    waiting = []

    def run(arguments, log, *more):
        if not waiting:  # while the first one runs a command of a, another one comes
            waiting.append(read_state(Path("c"), read_queue("q.toml").jobs[2]))
            second.campaign(options(minutes=4))
        return first(arguments, log, *more)

    first.campaign(options(minutes=4), run)
    assert "a: another campaign is at it" in capsys.readouterr().out
    assert second.ran == [("c", "predict")]
    # The first one had found c pending when it began.
    assert waiting[0].status == "pending"
    assert first.ran == [("a", "train"), ("a", "ntk")]
    assert statuses() == {"a": "done", "b": "pending", "c": "done"}


def test_a_full_disk_ends_a_campaign_with_a_reason_and_nothing_half_written(monkeypatch):
    queue_file()
    World(seconds=30).campaign(options(minutes=1))
    before = {path: path.read_bytes() for path in Path("c").rglob("*") if path.is_file()}
    written = os.fsync

    def full(descriptor):
        written(descriptor)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match="cannot be written: No space left on device"):
        World().campaign(options(minutes=9))
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
def test_a_damaged_file_of_a_job_is_named(text, capsys):
    queue_file()
    World().campaign(options(minutes=9))
    Path("c/b/job.json").write_text(text)
    Path("c/campaign.json").write_text("{torn")  # is made anew, never read
    capsys.readouterr()
    with pytest.raises(ValueError, match=r"^c/b/job\.json "):
        World().campaign(options(minutes=9))
    Path("c/b/job.json").unlink()
    world = World()
    world.campaign(options(minutes=9))
    assert world.ran == [("b", "predict")]


def test_folders_with_braces_and_spaces_are_filled_in_and_quoted(capsys):
    stage = ("predict", "{data}/x", "--out", "{out}")
    found = stage_arguments(stage, Path("with {data} in it"), Path("my {out}"))
    assert found == ["predict", "my {out}/x", "--out", "with {data} in it"]
    queue_file()
    assert campaign(options(list=True, out=Path("my folder"), data=Path("my data"))) is None
    line = next(line for line in capsys.readouterr().out.splitlines() if " b " in line)
    words = shlex.split(line[line.index("sslsim") :])
    told = "--queue q.toml --jobs b --data 'my data' --out 'my folder'"
    assert shlex.join(words[2:]) == told


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
        ({"account": "x"}, "account is x; expected it with --cluster slurm only"),
        ({"qos": "x", "cluster": "local"}, "qos is x; expected it with --cluster slurm only"),
        ({"constraint": "x"}, "constraint is x; expected it with --cluster slurm only"),
        ({"memory": 8.0}, "memory is 8.0; expected it with --cluster slurm only"),
        ({"cpus": 2, "cluster": "debug"}, "cpus is 2; expected it with --cluster slurm only"),
        ({"cpus": 0, "cluster": "slurm"}, "cpus is 0; expected a number above 0"),
    ],
)
def test_unfit_options_are_refused(changes, message):
    queue_file()
    with pytest.raises(ValueError, match=message):
        campaign(options(**changes))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_told():
    queue_file(GOOD.replace('title = "T"', 'device = "cuda"'))
    with pytest.warns(UserWarning, match="expects a GPU and there is none"):
        World().campaign(options(minutes=1))


def test_listing_runs_and_writes_nothing(capsys):
    queue_file()
    assert cli.main(["campaign", "--queue", "q.toml", "--list", "--out", "c"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["job", "status", "stages", "minutes", "took", "command"]
    assert [line.split()[1] for line in lines[1:]] == ["pending"] * 3
    assert not Path("c").exists()


def test_several_jobs_at_a_time_are_all_done():
    queue_file()
    world = World(seconds=0.1)
    world.campaign(options(minutes=9, workers=3))
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
    world, threads = World(seconds=0.1), []
    monkeypatch.setattr(module, "processors", lambda: 16)

    def run(*arguments):
        threads.append(arguments[5])
        return world(*arguments)

    world.campaign(options(minutes=9, workers=workers), run)
    assert set(threads) == {share}


@pytest.mark.parametrize(
    ("workers", "visible", "shares"),
    [
        (1, None, [None]),
        (2, None, ["0,1", "2,3"]),
        (3, "7,5,4,1", ["7", "5", "4"]),
        (5, None, [None] * 5),
    ],
)
def test_workers_share_the_gpus(monkeypatch, workers, visible, shares):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    queue_file()
    world, seen = World(seconds=0.1), set()

    def run(*arguments):
        seen.add(arguments[7])
        return world(*arguments)

    assert gpu_shares(workers) == shares
    world.campaign(options(minutes=9, workers=workers), run)
    assert seen <= set(shares)


def test_a_job_of_more_gpus_than_there_are_is_refused_before_anything_runs(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    queue_file(MANY.format(2))
    world = World(seconds=0.1)
    expected = r"a needs 2 GPUs and this machine has 3, for 2 workers; expected --cluster slurm"
    with pytest.raises(ValueError, match=expected):
        world.campaign(options(minutes=9, workers=2, data=None))
    queue_file(MANY.format(4))
    for how in ({}, {"cluster": "local"}):
        with pytest.raises(ValueError, match="a needs 4 GPUs and this machine has 3; expected"):
            world.campaign(options(minutes=9, data=None, **how))
    assert world.ran == []
    assert not Path("c").exists()


@pytest.mark.filterwarnings("ignore:queue q.toml expects a GPU:UserWarning")
def test_a_job_tells_its_commands_how_many_processes_it_has(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    queue_file(MANY.format(2))
    world, processes = World(seconds=0.1), []

    def run(*arguments):
        processes.append(arguments[6])
        return world(*arguments)

    world.campaign(options(minutes=9, data=None), run)
    assert processes == [2]


def test_an_interruption_stops_after_what_runs():
    queue_file()
    world = World()

    def run(*arguments):
        found = world(*arguments)
        signal.raise_signal(signal.SIGTERM)
        return found

    with pytest.raises(Interrupted, match="what is done is written down"):
        world.campaign(options(minutes=4, jobs=("c", "b")), run)
    assert statuses()["c"] == "done"


def test_slurm_is_asked_for_what_the_options_say(monkeypatch):
    submitit = pytest.importorskip("submitit")
    texts = []

    def submit(executor, *_):  # in place of sbatch
        texts.append(executor._executor._make_submission_file_text("run", "0"))
        return SimpleNamespace(result=lambda: None)

    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", lambda *_: 2)  # as if srun were there
    monkeypatch.setattr(submitit.AutoExecutor, "submit", submit)
    queue_file(MANY.format(2) + GOOD[GOOD.index('[[job]]\nname = "c"') :])
    asked = {"account": "lab", "qos": "high", "constraint": "h100&ib", "memory": 48.5, "cpus": 12}
    campaign(options(minutes=30, data=None, cluster="slurm", partition="gpu", **asked))
    campaign(options(minutes=30, data=None, cluster="slurm", jobs=("c",), memory=8.0))
    found = [
        {line for line in text.splitlines() if line.startswith("#SBATCH")} - _of_submitit(text)
        for text in texts
    ]
    common = {"#SBATCH --job-name=sslsim", "#SBATCH --time=32", "#SBATCH --ntasks-per-node=1"}
    common |= {"#SBATCH --nodes=1"}
    named = {"#SBATCH --partition=gpu", "#SBATCH --account=lab", "#SBATCH --qos=high"}
    named |= {"#SBATCH --constraint='h100&ib'", "#SBATCH --mem=49664MB"}
    named |= {"#SBATCH --cpus-per-task=12"}
    assert found == [
        common | named | {"#SBATCH --gpus-per-node=2"},
        common | named | {"#SBATCH --gpus-per-node=1"},
        common | {"#SBATCH --mem=8GB", "#SBATCH --gpus-per-node=1"},
    ]


def _of_submitit(text):
    """Directives that submitit always gives: files of output, and its signal."""
    own = ("output", "error", "open-mode", "signal", "wckey")
    return {
        line for line in text.splitlines() if line.startswith(tuple(f"#SBATCH --{n}" for n in own))
    }


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
