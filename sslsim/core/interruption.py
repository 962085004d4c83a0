"""Interruption: signals are noted, and all processes stop at the same step."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """Training was asked to stop; a checkpoint has been saved."""


@contextmanager
def noting_signals() -> Iterator[list[int]]:
    """Note the first SIGINT or SIGTERM; stop at once at the second.

    Yields
    ------
    list of int
        Empty until a signal arrives, then the number of the signal.

    Raises
    ------
    KeyboardInterrupt
        At the second signal.

    Warns
    -----
    UserWarning
        If this is not the main thread: Python delivers signals to the main thread only.

    Examples
    --------
    >>> with noting_signals() as noted:
    ...     signal.raise_signal(signal.SIGTERM)
    >>> noted == [signal.SIGTERM]
    True
    """
    noted: list[int] = []

    def note(number: int, frame: object) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    handlers = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            handlers[number] = signal.signal(number, note)
        except ValueError:
            warnings.warn("not in the main thread: interruptions are not noted", stacklevel=3)
            break
    try:
        yield noted
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def any_stopped(noted: list[int]) -> bool:
    """Whether any process has received a signal to stop.

    Parameters
    ----------
    noted : list of int
        Signals of this process, from :func:`noting_signals`.

    Returns
    -------
    bool
        The same value on all processes of a group, so that all stop at the same step.

    Examples
    --------
    >>> any_stopped([]), any_stopped([signal.SIGINT])
    (False, True)
    """
    from sslsim.core.distributed import largest

    return largest(float(bool(noted))) > 0
