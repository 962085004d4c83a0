"""Queues: what is read, what is refused, and what the shipped ones hold."""

from pathlib import Path

import pytest
from campaigns import GOOD, queue_file

from experiments import cli
from experiments.campaign.jobs import make_folder
from experiments.campaign.queue import SHIPPED, jobs_named, read_queue, stage_arguments
from experiments.campaign.state import JobState, write_state


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
        ("minutes = 2", "minutes = 2\ngpus = 2", r"job 1 \(a\): gpus needs device cuda, not cpu"),
        (
            "minutes = 2",
            "minutes = 2\nprocesses = 0",
            r"processes is 0; expected a whole number of",
        ),
        ("minutes = 2", "minutes = 2\nprocesses = true", "processes is True; expected a whole"),
        ("minutes = 2", "minutes = 2\nprocesses = 1.5", "processes is 1.5; expected a whole"),
        ("net =", "out =", "words has 'out', which has a meaning"),
    ],
)
def test_unfit_queues_are_refused_where_they_are_wrong(old, new, message):
    assert old in GOOD
    with pytest.raises(ValueError, match=message):
        read_queue(queue_file(GOOD.replace(old, new, 1)))


def test_jobs_of_a_gpu_queue_take_a_gpu_unless_they_say_how_many():
    text = GOOD.replace('title = "T"', 'device = "cuda"')
    text = text.replace("minutes = 5", "minutes = 5\ngpus = 4")
    text = text.replace("minutes = 1", "minutes = 1\ngpus = 0")
    jobs = read_queue(queue_file(text)).jobs
    assert [(job.gpus, job.processes) for job in jobs] == [(1, 1), (4, 4), (0, 1)]
    with pytest.raises(ValueError, match=r"job 1 \(a\): processes needs device cpu, not cuda"):
        read_queue(queue_file(text.replace("minutes = 2", "minutes = 2\nprocesses = 2")))


def test_jobs_of_a_cpu_queue_take_no_gpu():
    jobs = read_queue(queue_file(GOOD.replace("minutes = 5", "minutes = 5\nprocesses = 3"))).jobs
    assert [(job.gpus, job.processes) for job in jobs] == [(0, 1), (0, 3), (0, 1)]


def test_a_queue_that_is_not_there_or_holds_no_job_is_refused():
    with pytest.raises(ValueError, match=r"queue x cannot be read: No such file.*small, resnet50"):
        read_queue("x")
    with pytest.raises(ValueError, match=r"q.toml: job is missing"):
        read_queue(queue_file('title = "none"'))
    with pytest.raises(ValueError, match=r"job is 3; expected \[\[job\]\] tables"):
        read_queue(queue_file("job = 3"))


@pytest.mark.parametrize(
    ("name", "job"),
    [(name, job) for name in SHIPPED for job in read_queue(name).jobs if job.part is None],
)
def test_every_command_of_the_shipped_queues_is_one(name, job):
    for stage in job.stages:
        arguments = stage_arguments(stage, Path("o"), Path("d"))
        _, options = cli.parsed(arguments)
        # A command that writes elsewhere, or reads what no job has made, is no part of a job.
        runs = getattr(options, "run", None) or ()
        into_run = stage[0] == "compare" and runs  # the comparison is written beside the records
        assert Path("o") in (runs if into_run else options.out).parents
        for run in [runs] if isinstance(runs, Path) else runs:
            assert Path("o") in run.parents


def test_every_job_of_the_gpu_fits_in_eight_minutes_and_all_in_a_quarter_of_an_hour():
    methods, kernels = jobs = read_queue("resnet50").jobs
    assert max(job.minutes for job in jobs) <= 8
    assert sum(job.minutes for job in jobs) <= 15
    trained = [stage for stage in methods.stages if stage[0] == "train"]
    assert [stage[stage.index("--method") + 1] for stage in trained] == [
        "barlow_twins", "simclr", "vicreg",
    ]  # fmt: skip
    folders = [stage[stage.index("--out") + 1].removeprefix("{out}/") for stage in trained]
    measured = [stage[2] for stage in kernels.stages if stage[0] == "ntk"]
    assert measured == [f"{{out}}/../methods/{folder}" for folder in folders]


def test_every_job_of_a_cpu_fits_in_a_quarter_of_an_hour():
    for name in ("resnet50-cpu", "resnet-gains"):
        queue = read_queue(name)
        assert queue.device == "cpu"
        assert max(job.minutes for job in queue.jobs) <= 15


def test_a_queue_of_parts_has_their_jobs_and_its_own():
    text = 'parts = ["umm", "linear"]\n' + GOOD
    queue = read_queue(queue_file(text))
    names = [job.name for job in queue.jobs]
    assert names[: len(read_queue("umm").jobs)] == [f"umm/{j.name}" for j in read_queue("umm").jobs]
    assert names[-3:] == ["a", "b", "c"]
    assert [job.part for job in queue.jobs[-4:]] == ["linear", None, None, None]
    assert [job.name for job in jobs_named(queue, ["b", "umm"])] == [
        *(name for name in names if name.startswith("umm/")),
        "b",
    ]
    only = read_queue(queue_file('title = "T"\nparts = ["linear"]\n'))
    assert {job.part for job in only.jobs} == {"linear"}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("[]", r"parts is \[\]; expected some of small, resnet50"),
        ('"umm"', "parts is 'umm'; expected some of"),
        ('["ummm"]', r"parts is \['ummm'\]; expected some of"),
        ('["umm", "umm"]', "two jobs are named 'umm/"),
        ('["resnet50"]', "part 'resnet50' is for cuda, not cpu"),
    ],
)
def test_unfit_parts_are_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        read_queue(queue_file(f"parts = {parts}\n"))


def test_jobs_of_parts_lie_in_the_folders_of_their_parts(tmp_path, capsys):
    job = next(job for job in read_queue("evidence").jobs if job.part == "linear")
    make_folder(tmp_path / job.name)
    write_state(tmp_path, JobState(job, {}))
    assert (tmp_path / job.name / "job.json").exists()
    cli.main(["campaign", "--queue", "evidence", "--list", "--out", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "linear" in shown
    assert job.name not in shown
    cli.main(
        ["campaign", "--queue", "evidence", "--list", "--jobs", "linear", "--out", str(tmp_path)]
    )
    assert job.name in capsys.readouterr().out
