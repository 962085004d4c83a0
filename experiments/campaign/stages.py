"""One command in a process of its own, with an end in sight."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LOOK = 0.05  # seconds between looks at the process


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes
    ----------
    status : {"done", "failed", "cut"}
        Exit status 0; another one; or stopped for want of time or on request.
    exit : int or None
        Exit status, the negative number of a signal that ended it; None if it never began.
    seconds : float
        Wall time.
    error : str or None
        Last line of its output, unless it is done.
    """

    status: str
    exit: int | None
    seconds: float
    error: str | None


def run_stage(
    arguments: Sequence[str],
    log: Path,
    seconds: float,
    grace: float,
    stopped: Callable[[], bool],
    threads: int | None = None,
) -> Outcome:
    """Run ``sslsim`` in a process of its own.

    Parameters
    ----------
    arguments : sequence of str
        Of the command.
    log : Path
        Receives its output.
    seconds : float
        Time after which it is asked to stop (SIGTERM: training saves its state).
    grace : float
        Seconds more after which it is killed, with all processes it has started.
    stopped : callable
        Asked now and then whether to stop at once.
    threads : int, optional
        Of its BLAS and torch. Default: as the environment says.

    Returns
    -------
    Outcome

    Examples
    --------
    >>> import tempfile
    >>> log = Path(tempfile.mkdtemp()) / "log.txt"
    >>> run_stage(["--version"], log, 60.0, 1.0, lambda: False).status
    'done'
    """
    environment = dict(os.environ)
    if threads is not None:
        environment |= {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS")}
    begun = time.monotonic()
    if seconds <= 0 or stopped():
        return Outcome("cut", None, 0.0, "no time was left")
    cut = False
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "experiments.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # a group, which can be ended as a whole
        )
        try:
            end = begun + seconds
            while process.poll() is None:
                if not cut and (time.monotonic() > end or stopped()):
                    cut, end = True, time.monotonic() + grace
                    _signal(process, signal.SIGTERM)
                elif cut and time.monotonic() > end:
                    break
                time.sleep(_LOOK)
        finally:
            _signal(process, signal.SIGKILL)  # and whatever it has left running
            process.wait()
    status = "done" if process.returncode == 0 else "cut" if cut else "failed"
    told = None if status == "done" else _last_line(log) or f"exit status {process.returncode}"
    return Outcome(status, process.returncode, time.monotonic() - begun, told)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # none of the group is left
        os.killpg(process.pid, number)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
