"""Locks on files. The kernel releases a lock when its process ends, even if it is killed."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from sslsim.core.errors import reason

_NAME = ".writer"
_PAUSE = 0.2  # seconds between two looks at a lock that is waited for
_TRIES = 100  # while others remove the folder; in some (as /proc) no file can be created


def take_lock(descriptor: int) -> bool:
    """Lock an open file for this process, without waiting.

    Parameters
    ----------
    descriptor : int
        Descriptor of the open file. Closing it releases the lock.

    Returns
    -------
    bool
        False if another process holds the lock. True on file systems without locks.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file, open(file.name) as again:
    ...     take_lock(file.fileno()), take_lock(again.fileno())
    (True, False)
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


@contextmanager
def only_writer(folder: str | os.PathLike[str], *, wait: bool = False) -> Iterator[None]:
    """Make this process the only one that writes into a folder.

    Parameters
    ----------
    folder : path
        Folder, created with its parents if missing. New folders that are empty at the end are
        removed.
    wait : bool
        Wait for another process that writes into the folder; a line on standard error says so.
        Default: raise.

    Raises
    ------
    ValueError
        If another process writes into the folder (the message gives its number), or the folder
        cannot be created or written to.

    Notes
    -----
    The lock is on the file ``.writer`` in the folder, which names the process and is removed at the
    end. A file that a killed process left behind is not locked, and is reused.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "run"
    >>> with only_writer(folder):
    ...     folder.exists()
    True
    >>> folder.exists()
    False
    """
    folder = Path(folder)
    made: list[Path] = []
    try:
        descriptor = _locked_file(folder, made, wait)
        try:
            yield
        finally:
            (folder / _NAME).unlink(missing_ok=True)  # before others can lock it
            os.close(descriptor)
    finally:
        for path in reversed(made):
            with suppress(OSError):  # it is not empty
                path.rmdir()


def _locked_file(folder: Path, made: list[Path], wait: bool) -> int:
    """Descriptor of the folder's locked file; new folders are appended to ``made``."""
    path = folder / _NAME
    waiting = False
    for tries in count(1):
        try:
            _make_folder(folder, made)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(path, flags, 0o666)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and tries < _TRIES:
                continue  # another process has just removed the empty folder
            raise ValueError(f"{folder} cannot be made a run folder: {reason(error)}") from error
        if not take_lock(descriptor):
            holder = os.read(descriptor, 200).decode(errors="replace").strip()
            os.close(descriptor)
            if wait:
                if not waiting:
                    print(f"waiting for {holder or 'another process'}: {folder}", file=sys.stderr)
                waiting = True
                time.sleep(_PAUSE)
                continue
            raise ValueError(
                f"{folder} is being written by {holder or 'another process'}; expected to wait "
                "for it, or another folder"
            )
        if _is_still(path, descriptor):
            break
        os.close(descriptor)  # its last holder removed it before it was locked here
    with suppress(OSError):  # a full disk: the lock holds without a name
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
    return descriptor


def _make_folder(folder: Path, made: list[Path]) -> None:
    """Create a folder and its parents one by one, to know which are new."""
    missing = []
    for path in (folder, *folder.parents):
        if path.exists():
            break
        missing.append(path)
    for path in reversed(missing):
        with suppress(FileExistsError):  # created by another process in the meantime
            path.mkdir()
            made.append(path)
    if not folder.is_dir():
        raise NotADirectoryError(20, "Not a directory", str(folder))


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
