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

_ROOT = Path(__file__).resolve().parents[2]  # the user's folder may have packages of our names
_LOOK = 0.05  # seconds between looks at the process
# Linux tells the command when whoever started it is gone, killed perhaps: it is then asked to stop
# as at the end of the time, so that nothing goes on unseen.
_START = """
import ctypes, os, sys
from importlib import import_module
parent, signal, sys.path[0], module = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:5]
del sys.argv[1:5]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal)  # PR_SET_PDEATHSIG
    if parent and os.getppid() != parent:
        sys.exit("sslsim: whoever started this is gone")
sys.exit(import_module(module).main())
"""
_PARALLEL = ("train",)  # commands that torchrun may start
ERROR, WARNING = "sslsim: error:", "sslsim: warning:"  # begin the lines that a command prints


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
    processes: int = 1,
    gpus: str | None = None,
    module: str = "experiments.cli",
) -> Outcome:
    """Run ``sslsim`` in a process of its own; a training in several, where so many are asked for.

    ``threads`` is shared by the processes, ``gpus`` lists the GPUs that they may use, and the
    ``main`` of ``module`` is the command line.

    >>> import tempfile
    >>> log = Path(tempfile.mkdtemp()) / "log.txt"
    >>> run_stage(["--version"], log, 60.0, 1.0, lambda: False).status
    'done'
    """
    environment = dict(os.environ)
    if gpus is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpus
    if arguments and arguments[0] not in _PARALLEL:
        processes = 1
    if processes > 1:
        threads = max(1, (threads or processors()) // processes)
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
            _command(module, arguments, processes),
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


def processors() -> int:
    """Number of processors that this process may use.

    >>> processors() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):  # fewer than the machine has in a job of a cluster
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _command(module: str, arguments: Sequence[str], processes: int) -> list[str]:
    """What starts a command line, by torchrun in several processes."""
    if processes == 1:
        return _started(os.getpid(), signal.SIGTERM, module, *arguments)
    # Without torchrun, which stops them in time, its processes are of no use.
    each = _started(0, signal.SIGKILL, module, *arguments)
    torchrun = ["--standalone", "--nproc-per-node", str(processes), "--no-python", *each]
    return _started(os.getpid(), signal.SIGTERM, "torch.distributed.run", *torchrun)


def _started(parent: int, number: int, module: str, *arguments: str) -> list[str]:
    """A process that runs ``main`` of a module and gets a signal when its parent ends (0: any)."""
    start = [sys.executable, "-c", _START, str(parent), str(int(number)), str(_ROOT)]
    return [*start, module, *arguments]


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # none of the group is left
        os.killpg(process.pid, number)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
    said = [line.strip() for line in lines if line.strip()]
    errors = [line for line in said if line.startswith(ERROR)]  # torchrun has more to say
    return next(reversed(errors or said), "")
