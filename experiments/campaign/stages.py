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
# Linux tells the command when whoever started it is gone, killed perhaps: it is then asked to stop
# as at the end of the time, so that nothing goes on unseen.
_START = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != int(sys.argv.pop(1)):
        sys.exit("sslsim: whoever started this is gone")
else:
    sys.argv.pop(1)
from experiments.cli import main
sys.exit(main())
"""


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

    >>> import tempfile
    >>> log = Path(tempfile.mkdtemp()) / "log.txt"
    >>> run_stage(["--version"], log, 60.0, 1.0, lambda: False).status
    'done'
    """
    environment = dict(os.environ)
    if threads is not None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            allowed = environment.get(name, "")
            fewer = min(threads, int(allowed)) if allowed.isdigit() else 0
            environment[name] = str(fewer or threads)
    begun = time.monotonic()
    if seconds <= 0 or stopped():
        return Outcome("cut", None, 0.0, "no time was left")
    cut = False
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _START, str(os.getpid()), *arguments],
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
    error = None if status == "done" else _last_line(log) or f"exit status {process.returncode}"
    return Outcome(status, process.returncode, time.monotonic() - begun, error)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # none of the group is left
        os.killpg(process.pid, number)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
