"""Errors of the system, in words for one line."""

from __future__ import annotations


def reason(error: OSError) -> str:
    """What the system says of a failure, without the path.

    Parameters
    ----------
    error : OSError
        As raised.

    Returns
    -------
    str
        Never empty.

    Examples
    --------
    >>> reason(OSError(28, "No space left on device", "runs/train")), reason(OSError())
    ('No space left on device', 'OSError')
    """
    return error.strerror or str(error) or type(error).__name__
