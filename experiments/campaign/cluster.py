"""Jobs handed to submitit: one submission a job, none of which waits for another."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.campaign.queue import Job
from experiments.options import CampaignOptions

SLURM = {
    "partition": "slurm_partition",
    "account": "slurm_account",
    "qos": "slurm_qos",
    "constraint": "slurm_constraint",
    "memory": "mem_gb",
    "cpus": "cpus_per_task",
}
"""Options that Slurm alone takes, and what submitit calls them."""

_SPARE = 2  # minutes beyond a job's own limit, for the start of its process


def submit_jobs(
    jobs: Sequence[Job],
    options: CampaignOptions,
    function: Callable[[Job, Path, Path | None, float], Any],
) -> None:
    """Submit jobs and wait until all have ended."""
    if not jobs:
        return
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise ValueError(
            f"cluster is {options.cluster!r}, but submitit is not installed; expected it "
            "(pip install 'sslsim[cluster]'), or --workers"
        ) from error
    try:
        executor = submitit.AutoExecutor(options.out / "submitit", cluster=options.cluster)
    except RuntimeError as error:
        raise ValueError(f"cluster {options.cluster!r} is not there: {error}") from error
    out, data = options.out.resolve(), None if options.data is None else options.data.resolve()
    sent = []
    for job in jobs:
        executor.update_parameters(**job_settings(job, options))
        sent.append((job, executor.submit(function, job, out, data, options.minutes)))
    for job, running in sent:
        try:
            running.result()
        except Exception as error:  # whatever the machine there made of it
            line = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            warnings.warn(f"{job.name} could not be run: {line}", stacklevel=2)


def job_settings(job: Job, options: CampaignOptions) -> dict[str, Any]:
    """What a job needs, as submitit calls it: one task, which starts the processes of the job.

    >>> from experiments.options import CampaignOptions
    >>> job_settings(Job("a", 1.0, (("train",),), gpus=2), CampaignOptions(account="lab"))
    ... # doctest: +NORMALIZE_WHITESPACE
    {'name': 'sslsim', 'timeout_min': 11, 'tasks_per_node': 1, 'gpus_per_node': 2,
     'slurm_account': 'lab'}
    """
    settings = {
        "name": "sslsim",
        "timeout_min": math.ceil(options.minutes) + _SPARE,
        "tasks_per_node": 1,
        "gpus_per_node": job.gpus,
    }
    chosen = {theirs: getattr(options, ours) for ours, theirs in SLURM.items()}
    return settings | {theirs: value for theirs, value in chosen.items() if value is not None}
