"""Files that appear under their names only when they are complete."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sslsim.locks import take_lock

# Earlier versions wrote the number of the process; none of theirs are still being written.
_TEMPORARY = re.compile(r"\..+\.(?:[0-9a-f]{16}|\d+)\.tmp")


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name once it is complete.

    Parameters
    ----------
    path : path
        Where it shall be. A file there is replaced; a link there is replaced too, not followed.

    Yields
    ------
    file
        Open for writing bytes. If the block raises, nothing is left of it.

    Raises
    ------
    ValueError
        If the file cannot be written: no such folder, no permission, no space.

    Notes
    -----
    The temporary file has a random name, is made anew (O_EXCL) and is locked while it is written,
    so that :func:`sweep` can tell it from one that a killed process left behind.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "note"
    >>> with whole_file(path) as file:
    ...     count = file.write(b"kept")
    >>> path.read_bytes()
    b'kept'
    """
    path = Path(path)
    try:
        descriptor, temporary = _new_file(path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be written: {reason}") from error


def sweep(folder: Path) -> None:
    """Remove temporary files whose writer is dead.

    Parameters
    ----------
    folder : Path
        Files in it are looked at, not those in folders below.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / ".run.png.0123456789abcdef.tmp").touch()
    >>> with whole_file(folder / "note") as file:
    ...     sweep(folder)
    ...     len(list(folder.iterdir()))
    1
    """
    for path in folder.glob(".*.tmp"):
        if not _TEMPORARY.fullmatch(path.name):
            continue
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:  # gone, a link, or of somebody else
            continue
        try:
            if take_lock(descriptor):
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _new_file(path: Path) -> tuple[int, Path]:
    """Make and lock a temporary file beside a file."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o666)
        # Swept before it was locked: try another.
        if take_lock(descriptor) and os.fstat(descriptor).st_nlink > 0:
            return descriptor, temporary
        os.close(descriptor)
