"""Jobs handed to submitit: one submission a job, none of which waits for another."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.campaign.queue import Job, Queue
from experiments.options import CampaignOptions

_SPARE = 2  # minutes beyond a job's own limit, for the start of its process


def submit_jobs(
    jobs: Sequence[Job],
    queue: Queue,
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
    settings: dict[str, Any] = {
        "name": "sslsim",
        "timeout_min": math.ceil(options.minutes) + _SPARE,
        "gpus_per_node": int(queue.device == "cuda"),
    }
    if options.partition is not None:
        settings["slurm_partition"] = options.partition
    executor.update_parameters(**settings)
    out, data = options.out.resolve(), None if options.data is None else options.data.resolve()
    sent = [(job, executor.submit(function, job, out, data, options.minutes)) for job in jobs]
    for job, running in sent:
        try:
            running.result()
        except Exception as error:  # whatever the machine there made of it
            line = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            warnings.warn(f"{job.name} could not be run: {line}", stacklevel=2)
