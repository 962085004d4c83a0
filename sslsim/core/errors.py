"""Errors of the operating system, described in one line."""

from __future__ import annotations


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
