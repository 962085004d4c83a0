"""The queue of memorisation makes the stored results of its pages."""

from pathlib import Path

import pytest

from experiments import cli
from experiments.campaign.queue import read_queue, stage_arguments
from paper_figs.store import RESULTS
from sslsim.core.files import read_json

JOBS = {job.name: job for job in read_queue("memorization").jobs}
STORED = sorted(path.parent.name for path in RESULTS.glob("memorization/*/config.json"))
_FOLDERS = {"out", "root", "scores", "compare", "reference", "transfer"}
_WITHOUT_EFFECT = {"device", "workers"}
_OF_OTHER_PROTOCOLS = {"split": {"encoders"}, "closed-form": {"encoders", "widths"}}


@pytest.mark.parametrize("name", STORED)
def test_every_stored_result_is_made_by_the_job_of_its_name(name):
    config = read_json(RESULTS / "memorization" / name / "config.json")
    stored = config["options"]
    command, options = cli.parsed(
        stage_arguments(JOBS[name].stages[-1], Path("o") / name, Path("data"))
    )
    assert command.name == config["command"]
    for key in ("compare", "transfer"):
        assert len(getattr(options, key, ())) == len(stored.get(key, ()))
    assert bool(getattr(options, "reference", None)) == bool(stored.get("reference"))
    unused = _FOLDERS | _WITHOUT_EFFECT | _OF_OTHER_PROTOCOLS.get(stored.get("protocol"), set())
    wanted = {key: value for key, value in stored.items() if key not in unused}
    made = {key: getattr(options, key) for key in wanted}
    assert {key: list(v) if isinstance(v, tuple) else v for key, v in made.items()} == wanted


@pytest.mark.parametrize("job", JOBS.values(), ids=list(JOBS))
def test_a_job_reads_runs_of_jobs_before_it(job):
    parts = [part for stage in job.stages for part in stage if part.startswith("{out}/../")]
    before = list(JOBS)[: list(JOBS).index(job.name)]
    assert {part.split("/")[2] for part in parts} <= set(before)
