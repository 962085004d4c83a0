"""Jobs of a queue, as many as fit in the time there is: ``sslsim campaign``.

The keys of ``campaign.json`` and the files of a job are explained in
``experiments/docs/campaign.md``.
"""

from __future__ import annotations

import math
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import torch

from experiments.campaign.archive import pack_results
from experiments.campaign.cluster import SLURM, submit_jobs
from experiments.campaign.jobs import (
    Budget,
    Clock,
    Run,
    budget_of,
    gpu_shares,
    make_folder,
    run_job,
    run_job_within,
)
from experiments.campaign.queue import Queue, jobs_named, read_queue, stage_arguments
from experiments.campaign.stages import processors, run_stage
from experiments.campaign.state import (
    JobState,
    jobs_table,
    parts_table,
    read_state,
    write_campaign,
)
from experiments.options import CampaignOptions
from sslsim.core.interruption import Interrupted, noting_signals

_SLACK = 1e-6  # minutes: the budget of a job that takes all of it has begun to run


def campaign(
    options: CampaignOptions, run: Run = run_stage, clock: Clock = time.monotonic
) -> Path | None:
    """Run what is pending and fits, and pack what there is."""
    _check(options)
    queue = read_queue(options.queue)
    asked = jobs_named(queue, options.jobs)
    budget = budget_of(options.minutes, clock)
    states = [read_state(options.out, job) for job in queue.jobs]
    if options.list:
        print(_table(queue, states, options))
        return None
    free = ("pending", "cut", "failed") if options.jobs else ("pending", "cut")
    waiting = [state for state in states if state.job in asked and state.status in free]
    for state in waiting:
        for stage in state.job.stages:
            stage_arguments(stage, options.out, options.data)  # missing data are reported now
    if waiting:
        _check_fit(waiting, options.minutes)
        if options.cluster != "slurm":
            _check_gpus(waiting, options.workers)
    make_folder(options.out)
    write_campaign(options.out, queue)
    if not waiting:
        print("nothing is pending")
    elif options.cluster is not None:
        jobs = [state.job for state in waiting if state.minutes_left <= options.minutes]
        submit_jobs(jobs, options, run_job_within)
    else:
        if queue.device == "cuda" and not torch.cuda.is_available():
            warnings.warn(
                f"queue {queue.name} expects a GPU and there is none: its jobs will take far "
                "longer than their minutes",
                stacklevel=2,
            )
        _run_here(waiting, queue, options, budget, run)
    states = write_campaign(options.out, queue)
    _pack(options)
    print(_table(queue, states, options))
    for state in states:
        for command, outcome in state.outcomes.items():
            if outcome.status == "failed" and state.job in asked:
                name = state.job.name
                warnings.warn(f"{name}: `{command}` failed: {outcome.error}", stacklevel=2)
    return options.out


def _table(queue: Queue, states: list[JobState], options: CampaignOptions) -> str:
    """Of the jobs that are asked for; a queue of parts as a whole has a row a part."""
    if not options.jobs and any(state.job.part for state in states):
        return parts_table(states)
    asked = jobs_named(queue, options.jobs)
    shown = [state for state in states if state.job in asked]
    return jobs_table(queue, shown, options.out, options.data)


def _run_here(
    waiting: list[JobState], queue: Queue, options: CampaignOptions, budget: Budget, run: Run
) -> None:
    """Run jobs on this machine, several at a time if asked, while they fit."""
    lock = Lock()
    left = list(waiting)
    share = max(1, processors() // options.workers)
    threads = None if options.workers == 1 else share
    gpus = gpu_shares(options.workers)

    def sum_up() -> None:
        with lock:
            write_campaign(options.out, queue)

    def next_job() -> JobState | None:
        with lock:
            # The first one has been found to fit before the clock began to run.
            room = options.minutes if len(left) == len(waiting) else budget.minutes
            for state in left:
                if state.minutes_left <= room + _SLACK:
                    left.remove(state)
                    return state
        return None

    with noting_signals() as noted:

        def work(worker: int = 0) -> None:
            while not noted and (state := next_job()) is not None:
                print(f"{state.job.name}: {state.minutes_left:.1f} min expected", flush=True)
                done = run_job(
                    state,
                    options.out,
                    options.data,
                    budget,
                    stopped=lambda: bool(noted),
                    run=run,
                    threads=threads,
                    gpus=gpus[worker],
                    after=sum_up,
                )
                print(f"{done.job.name}: {done.status}", flush=True)
                with lock:  # should this process be killed, there is an archive
                    _pack(options)

        if options.workers == 1:  # in the main thread, which a second signal interrupts
            work()
        else:
            with ThreadPoolExecutor(options.workers) as pool:
                for worker in [pool.submit(work, k) for k in range(options.workers)]:
                    worker.result()
    if noted:
        raise Interrupted("stopped; what is done is written down")


def _pack(options: CampaignOptions) -> None:
    pack_results(options.out, round(options.file_limit * 2**20))


def _check(options: CampaignOptions) -> None:
    for name in ("minutes", "file_limit"):
        value = getattr(options, name)
        if not (math.isfinite(value) and value > 0):
            called = name.replace("_", "-")
            raise ValueError(f"{called} is {value:g}; expected a number above 0")
    if options.workers < 1:
        raise ValueError(f"workers is {options.workers}; expected at least 1")
    if options.cluster is not None and options.workers > 1:
        raise ValueError(
            f"workers is {options.workers} with cluster {options.cluster}, which has its own; "
            "expected one of them"
        )
    for name in SLURM:
        value = getattr(options, name)
        if value is None:
            continue
        if options.cluster != "slurm":
            raise ValueError(f"{name} is {value}; expected it with --cluster slurm only")
        if not isinstance(value, str) and not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; expected a number above 0")


def _check_fit(waiting: list[JobState], minutes: float) -> None:
    least = min(waiting, key=lambda state: state.minutes_left)
    if least.minutes_left > minutes + _SLACK:
        raise ValueError(
            f"no pending job fits in {minutes:g} minutes; expected at least the "
            f"{math.ceil(10 * least.minutes_left) / 10:g} of {least.job.name}"
        )


def _check_gpus(waiting: list[JobState], workers: int) -> None:
    count = torch.cuda.device_count()
    shared = f", for {workers} workers" if workers > 1 else ""
    for state in waiting:
        # One that is not there is a warning: the job is slower without it.
        if state.job.gpus > max(1, count // workers):
            raise ValueError(
                f"{state.job.name} needs {state.job.gpus} GPUs and this machine has {count}"
                f"{shared}; expected --cluster slurm, or --jobs with others"
            )
