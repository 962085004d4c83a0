"""One job: its commands in order, within what is left of a budget."""

from __future__ import annotations

import os
import platform
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from experiments.campaign.queue import Job, stage_arguments
from experiments.campaign.stages import Outcome, run_stage
from experiments.campaign.state import JobState, read_state, write_state
from sslsim.core.errors import reason
from sslsim.core.interruption import noting_signals
from sslsim.core.locks import take_lock

Run = Callable[..., Outcome]
Clock = Callable[[], float]

_MARGIN = 15.0  # seconds of a budget for stopping and packing, but at most a tenth of it


@dataclass(frozen=True)
class Budget:
    """Time that is left: seconds of a clock to its end, less a margin to stop commands in.

    Commands are asked to stop when the margin begins; in the middle of it they are killed.
    """

    end: float
    margin: float
    clock: Clock

    @property
    def minutes(self) -> float:
        """Minutes left, margin included."""
        return (self.end - self.clock()) / 60

    @property
    def seconds(self) -> float:
        """Seconds left to commands."""
        return self.end - self.margin - self.clock()


def budget_of(minutes: float, clock: Clock = time.monotonic) -> Budget:
    """A budget that begins now.

    >>> 520 < budget_of(9.0).seconds <= 525
    True
    """
    return Budget(clock() + 60 * minutes, min(_MARGIN, 6 * minutes), clock)


def run_job(
    state: JobState,
    out: Path,
    data: Path | None,
    budget: Budget,
    stopped: Callable[[], bool] = lambda: False,
    run: Run = run_stage,
    threads: int | None = None,
    gpus: str | None = None,
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
    with (folder / ".lock").open("w") as lock:  # the system releases it when this process ends
        if not take_lock(lock.fileno()):
            print(f"{state.job.name}: another campaign is at it", flush=True)
            return state
        state = read_state(out, state.job)
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
                state.job.processes,
                gpus,
            )
            if before is not None and before.status == "cut":  # its time is that of all calls
                outcome = replace(outcome, seconds=before.seconds + outcome.seconds)
            outcomes = {**state.outcomes, command: outcome}
            state = replace(state, outcomes=outcomes, device=device_name())
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


def gpu_shares(workers: int) -> list[str | None]:
    """GPUs of each worker; None for all of them, where there are fewer than workers.

    >>> gpu_shares(1)
    [None]
    """
    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    share = count // workers
    if workers == 1 or not share:
        return [None] * workers
    names = visible.split(",")
    return [",".join(names[k * share : (k + 1) * share]) for k in range(workers)]


def make_folder(folder: Path) -> None:
    """Make a folder, with those above it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder} cannot be made: {reason(error)}") from error
