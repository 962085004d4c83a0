"""One job: its commands in order, within what is left of a budget."""

from __future__ import annotations

import os
import platform
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from experiments.campaign.queue import Job, stage_arguments
from experiments.campaign.stages import Outcome, run_stage
from experiments.campaign.state import JobState, read_state, write_state
from sslsim.core.interruption import noting_signals
from sslsim.core.locks import take_lock

Run = Callable[..., Outcome]

_MARGIN = 15.0  # seconds of a budget for stopping and packing, but at most a tenth of it


@dataclass(frozen=True)
class Budget:
    """Time that is left.

    Attributes
    ----------
    end : float
        Of ``time.monotonic()``.
    margin : float
        Seconds before the end at which commands are asked to stop; half of them later they are
        killed.
    """

    end: float
    margin: float

    @property
    def seconds(self) -> float:
        """Seconds left to commands."""
        return self.end - self.margin - time.monotonic()


def budget_of(minutes: float) -> Budget:
    """A budget that begins now.

    >>> 520 < budget_of(9.0).seconds <= 525
    True
    """
    return Budget(time.monotonic() + 60 * minutes, min(_MARGIN, 6 * minutes))


def run_job(
    state: JobState,
    out: Path,
    data: Path | None,
    budget: Budget,
    stopped: Callable[[], bool] = lambda: False,
    run: Run = run_stage,
    threads: int | None = None,
    after: Callable[[], object] = lambda: None,
) -> JobState:
    """Run the commands of a job that are not done yet.

    >>> import tempfile
    >>> state = JobState(Job("a", 1.0, (("predict",),)), {})
    >>> def passes(*arguments):
    ...     return Outcome("done", 0, 1.0, None)
    >>> run_job(state, Path(tempfile.mkdtemp()), None, budget_of(1), run=passes).status
    'done'
    """
    folder = out / state.job.name
    make_folder(folder)
    with _alone(folder) as alone:
        if not alone:
            print(f"{state.job.name}: another campaign is at it", flush=True)
            return state
        state = read_state(out, state.job)
        return _run_stages(state, out, data, budget, stopped, run, threads, after)


def _run_stages(
    state: JobState,
    out: Path,
    data: Path | None,
    budget: Budget,
    stopped: Callable[[], bool],
    run: Run,
    threads: int | None,
    after: Callable[[], object],
) -> JobState:
    folder, device = out / state.job.name, device_name()
    for number, stage in enumerate(state.job.stages, 1):
        command = shlex.join(stage)
        before = state.outcomes.get(command)
        if before is not None and before.status == "done":
            continue
        outcome = run(
            stage_arguments(stage, folder, data),
            folder / f"{number}-{stage[0]}.txt",
            budget.seconds,
            budget.margin / 2,
            stopped,
            threads,
        )
        if before is not None and before.status == "cut":  # gone on with: the time of all calls
            outcome = replace(outcome, seconds=before.seconds + outcome.seconds)
        state = replace(state, outcomes={**state.outcomes, command: outcome}, device=device)
        write_state(out, state)
        after()
        if outcome.status == "cut":
            break
    return state


def run_job_within(job: Job, out: Path, data: Path | None, minutes: float) -> JobState:
    """Run a job by itself, on whatever machine this is."""
    with noting_signals() as noted:
        return run_job(read_state(out, job), out, data, budget_of(minutes), lambda: bool(noted))


def device_name() -> str:
    """What commands run on here."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} x {os.cpu_count()}"


def make_folder(folder: Path) -> None:
    """Make a folder, with those above it.

    >>> make_folder(Path("/dev/null/c"))
    Traceback (most recent call last):
    ValueError: /dev/null/c cannot be made: Not a directory
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder} cannot be made: {error.strerror}") from error


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether nobody else is at a job; nobody else is then until the end.

    The system lets go of the lock when the process ends, however it does.
    """
    with (folder / ".lock").open("w") as file:
        yield take_lock(file.fileno())
