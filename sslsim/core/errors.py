"""Errors described in one line, and the one of trainings that diverge."""

from __future__ import annotations


class Diverged(ValueError):
    """A loss, a gradient, an embedding or a parameter is no longer finite."""


def reason(error: OSError) -> str:
    """Reason of a failure in the words of the system, without the path.

    Parameters
    ----------
    error : OSError
        The error.

    Returns
    -------
    str
        The reason, never empty.

    Examples
    --------
    >>> reason(OSError(28, "No space left on device", "runs/train")), reason(OSError())
    ('No space left on device', 'OSError')
    """
    return error.strerror or str(error) or type(error).__name__


def first_line(error: BaseException) -> str:
    r"""First line of a message, or the name of the error if it has none.

    Parameters
    ----------
    error : BaseException
        The error.

    Returns
    -------
    str
        The line.

    Examples
    --------
    >>> first_line(ValueError("no header\nat byte 0")), first_line(EOFError())
    ('no header', 'EOFError')
    """
    return (str(error).splitlines() or [type(error).__name__])[0]
