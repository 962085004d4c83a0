"""Parts of a study, made by several processes of this machine before the study puts them together.

A part is what the study stores in its folder and does not make again: an encoder, a cell.
"""

from __future__ import annotations

import math
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from experiments.campaign.jobs import gpu_shares
from experiments.campaign.stages import ERROR, WARNING, Outcome, processors, run_stage
from sslsim.core.interruption import Interrupted, noting_signals

_GRACE = 60.0  # seconds in which a process that is asked to stop saves its state
_SHOW = 0.2  # seconds between updates of the progress bar


def make_parts(folder: Path, workers: int, parts: int) -> None:
    """Make the parts of a study in several processes; with one worker, the study makes them itself.

    ``folder`` holds ``config.json`` of the study, and ``parts`` is their number. Each process takes
    the next part that no other one has taken, until there is none.
    """
    if workers == 1:
        return
    gpus, ended = gpu_shares(workers), list[Outcome]()
    with (
        noting_signals() as noted,
        TemporaryDirectory(dir=folder) as scratch,
        ThreadPoolExecutor(workers) as pool,
        tqdm(desc="parts", total=parts, disable=not sys.stderr.isatty(), file=sys.stderr) as shown,
    ):
        taken = Path(scratch) / "taken"
        taken.mkdir()
        logs = [Path(scratch) / f"{worker}.txt" for worker in range(workers)]

        def stopped() -> bool:
            return bool(noted) or any(outcome.status == "failed" for outcome in ended)

        def work(worker: int) -> None:
            outcome = run_stage(
                ["--folder", str(folder), "--taken", str(taken)],
                logs[worker],
                math.inf,
                _GRACE,
                stopped,
                max(1, processors() // workers),
                gpus=gpus[worker],
                module="experiments.campaign.worker",
            )
            ended.append(outcome)

        running = [pool.submit(work, worker) for worker in range(workers)]
        while wait(running, _SHOW).not_done:
            shown.update(len(list(taken.iterdir())) - shown.n)
        for each in running:
            each.result()
        lines = [line for log in logs if log.exists() for line in log.read_text().splitlines()]
    for line in dict.fromkeys(lines):
        if line.startswith(WARNING):
            warnings.warn(line.removeprefix(WARNING).strip(), stacklevel=2)
    for outcome in ended:
        if outcome.status == "failed":
            raise ValueError(str(outcome.error).removeprefix(ERROR).strip())
    if noted:
        raise Interrupted("stopped; all processes have saved what they trained")
