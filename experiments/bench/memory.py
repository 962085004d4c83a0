"""What a process holds in memory, for benchmarks that measure it in processes of their own."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak_bytes() -> int:
    """Largest resident memory of this process so far.

    >>> peak_bytes() > 0
    True
    """
    # What getrusage gives is inherited from the process that started this one.
    known = _status("VmHWM:")
    if known is not None:
        return known
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_bytes() -> int:
    """Resident memory of this process now, or the largest so far where the system tells no more."""
    known = _status("VmRSS:")
    return peak_bytes() if known is None else known


def _status(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), None)
