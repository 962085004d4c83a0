"""Files that appear under their names only when they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name once it is complete.

    Parameters
    ----------
    path : path
        Where it shall be; a file there is replaced.

    Yields
    ------
    file
        Open for writing bytes. If the block raises, nothing is left of it.

    Raises
    ------
    ValueError
        If the file cannot be written: no such folder, no permission, no space.

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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            # After the rename there is none; a failure to remove it must not hide the first one.
            if temporary.exists():
                temporary.unlink()
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be written: {reason}") from error
