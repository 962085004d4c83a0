"""Options of ``sslsim campaign``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class CampaignOptions:
    """Work off a queue of runs, as many as fit in the minutes at hand.

    A job is a list of commands, such as a training and what is to be measured of its network. Jobs
    are started in order while the minutes that they are expected to take are left; nothing outlives
    the budget. The same command goes on with what is pending: what is finished is not run again.

    Attributes
    ----------
    queue : str
        A TOML file, or the name of one that ships with the package: small (a minute on a CPU) or
        resnet50 (for a GPU).
    minutes : float
        Budget of this call; on a cluster, of every job.
    data : Path or None
        What {data} stands for in the commands of the queue.
    jobs : tuple of str
        Only these jobs, also where they failed before. Default: all that are pending.
    list : bool
        Print the table of jobs and run nothing.
    workers : int
        Jobs at a time on this machine.
    cluster : {"slurm", "local", "debug"} or None
        Submit every job by submitit (`pip install 'sslsim[cluster]'`) and wait for all: to Slurm,
        to processes of this machine, or within this very process.
    partition : str or None
        Of Slurm.
    file_limit : float
        MiB of a single file in the archive of results; larger arrays are left out of it.
    out : Path
        Folder: one a job, campaign.json, results.tar.gz.
    """

    queue: str = "small"
    minutes: float = 9.0
    data: Path | None = None
    jobs: tuple[str, ...] = ()
    list: bool = False
    workers: int = 1
    cluster: Literal["slurm", "local", "debug"] | None = None
    partition: str | None = None
    file_limit: float = 2.0
    out: Path = Path("runs/campaign")
