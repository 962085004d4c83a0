"""Stopping on request: signals are noted, and all processes stop at the same step."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """Training was asked to stop; a checkpoint has been saved."""


@contextmanager
def noting_signals() -> Iterator[list[int]]:
    """Note SIGINT and SIGTERM instead of dying of them; a second one is taken at its word.

    Yields
    ------
    list of int
        Empty until a signal comes, then its number.

    Raises
    ------
    KeyboardInterrupt
        At the second signal.

    Warns
    -----
    UserWarning
        If this is not the main thread, where Python does not deliver signals.

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

    kept = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            kept[number] = signal.signal(number, note)
        except ValueError:
            warnings.warn("not in the main thread: interruptions are not noted", stacklevel=3)
            break
    try:
        yield noted
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def any_stopped(noted: list[int]) -> bool:
    """Whether any process was told to stop.

    Parameters
    ----------
    noted : list of int
        Signals noted by this process, of :func:`noting_signals`.

    Returns
    -------
    bool
        The same on every process of a group, so that all stop at the same step.

    Examples
    --------
    >>> any_stopped([]), any_stopped([signal.SIGINT])
    (False, True)
    """
    from sslsim.core.distributed import largest

    return largest(float(bool(noted))) > 0
