"""What has become of every job: one file a job, one table of all.

``DIR/NAME/job.json`` holds how the commands of a job ended. It is written by whoever runs the job,
wherever that is; ``DIR/campaign.json`` sums up all of them.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.campaign.queue import Job, Queue
from experiments.campaign.stages import Outcome
from experiments.tables import table
from sslsim.core.files import read_json, write_json

# Hidden, hence in no archive: where it is missing, so are the checkpoints that later commands need.
_WHOLE = ".whole"


@dataclass(frozen=True)
class JobState:
    """How far a job is: outcomes by command, as the queue has it, and where the newest one ran."""

    job: Job
    outcomes: Mapping[str, Outcome]
    device: str | None = None

    @property
    def status(self) -> str:
        """Status ``done``, ``failed``, ``cut`` (begun, to be gone on with) or ``pending``."""
        outcomes = [self.outcomes.get(shlex.join(stage)) for stage in self.job.stages]
        if all(outcome is not None and outcome.status == "done" for outcome in outcomes):
            return "done"
        if all(outcome is not None and outcome.status != "cut" for outcome in outcomes):
            return "failed"
        return "cut" if any(outcomes) else "pending"

    @property
    def seconds(self) -> float:
        """Wall time of the commands that are done."""
        return sum(each.seconds for each in self.outcomes.values() if each.status == "done")

    @property
    def minutes_left(self) -> float:
        """Minutes that the rest is expected to take, a tenth of the job's at least."""
        return max(self.job.minutes - self.seconds / 60, self.job.minutes / 10)


def read_state(out: Path, job: Job) -> JobState:
    """Read how far a job is.

    >>> read_state(Path("nowhere"), Job("a", 1.0, (("predict",),))).status
    'pending'
    """
    path = out / job.name / "job.json"
    if not path.exists():
        return JobState(job, {})
    entries = read_json(path)
    known = {shlex.join(stage) for stage in job.stages}
    try:
        outcomes = {
            entry["command"]: _outcome(entry)
            for entry in entries["stages"]
            if entry["command"] in known
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} holds no job of a campaign; expected another folder, or that file removed"
        ) from error
    state = JobState(job, outcomes, entries.get("device"))
    if state.status != "done" and not (out / job.name / _WHOLE).exists():
        return JobState(job, {})
    return state


def _outcome(entry: Mapping[str, Any]) -> Outcome:
    seconds = entry["seconds"]
    if entry["status"] not in ("done", "failed", "cut") or type(seconds) not in (int, float):
        raise ValueError("no outcome")
    return Outcome(entry["status"], entry["exit"], float(seconds), entry["error"])


def write_state(out: Path, state: JobState) -> None:
    """Write how far a job is, whole or not at all."""
    folder = out / state.job.name
    (folder / _WHOLE).touch()
    write_json(folder / "job.json", job_entry(state))


def job_entry(state: JobState) -> dict[str, Any]:
    """What the files say of a job.

    >>> job_entry(JobState(Job("a", 1.0, (("predict",),)), {}))["status"]
    'pending'
    """
    commands = [shlex.join(stage) for stage in state.job.stages]
    return {
        "name": state.job.name,
        "status": state.status,
        "minutes": state.job.minutes,
        "seconds": state.seconds,
        "device": state.device,
        "stages": [
            {"command": command, **asdict(state.outcomes[command])}
            for command in commands
            if command in state.outcomes
        ],
    }


def write_campaign(out: Path, queue: Queue) -> list[JobState]:
    """Sum up all jobs in ``campaign.json``.

    >>> import tempfile
    >>> out = Path(tempfile.mkdtemp())
    >>> states = write_campaign(out, Queue("q", "Q", "cpu", (Job("a", 1.0, (("predict",),)),)))
    >>> read_json(out / "campaign.json")["jobs"][0]["status"]
    'pending'
    """
    states = [read_state(out, job) for job in queue.jobs]
    jobs = [job_entry(state) for state in states]
    write_json(out / "campaign.json", {"queue": queue.name, "title": queue.title, "jobs": jobs})
    return states


def jobs_table(
    queue: Queue, states: Sequence[JobState], out: Path, data: Path | None = None
) -> str:
    """Table of all jobs for the terminal.

    >>> job = Job("a", 1.0, (("predict",),))
    >>> print(jobs_table(Queue("q", "Q", "cpu", (job,)), [JobState(job, {})], Path("c")))
    job   status  stages  minutes  took  command
      a  pending     0/1        1     -  sslsim campaign --queue q --jobs a --out c
    """
    rows = []
    for state in states:
        done = sum(outcome.status == "done" for outcome in state.outcomes.values())
        words = ["sslsim", "campaign", "--queue", queue.name, "--jobs", state.job.name]
        if data is not None and any("{data}" in part for s in state.job.stages for part in s):
            words += ["--data", str(data)]
        fill = shlex.join([*words, "--out", str(out)])
        rows.append(
            [
                state.job.name,
                state.status,
                f"{done}/{len(state.job.stages)}",
                f"{state.job.minutes:g}",
                f"{state.seconds / 60:.1f}" if state.seconds else "-",
                "-" if state.status == "done" else fill,
            ]
        )
    wide = max(len(row[-1]) for row in rows)
    rows = [[*row[:-1], row[-1].ljust(wide)] for row in rows]  # commands begin below each other
    headers = ["job", "status", "stages", "minutes", "took", "command".ljust(wide)]
    return "\n".join(line.rstrip() for line in table(headers, rows).splitlines())


def parts_table(states: Sequence[JobState]) -> str:
    """Table of the parts of a queue, and of all together.

    >>> print(parts_table([JobState(Job("a/b", 90.0, (("predict",),)), {})]))
    part  jobs done  hours expected  hours taken
       a        0/1             1.5          0.0
     all        0/1             1.5          0.0
    """
    parts: dict[str, list[JobState]] = {}
    for state in states:
        parts.setdefault(state.job.part or state.job.name, []).append(state)
    rows = [
        [
            name,
            f"{sum(each.status == 'done' for each in jobs)}/{len(jobs)}",
            f"{sum(each.job.minutes for each in jobs) / 60:.1f}",
            f"{sum(each.seconds for each in jobs) / 3600:.1f}",
        ]
        for name, jobs in [*parts.items(), ("all", list(states))]
    ]
    return table(["part", "jobs done", "hours expected", "hours taken"], rows)
