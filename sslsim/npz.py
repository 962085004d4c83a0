"""Reading ``.npz`` files: whatever is wrong with one is told in one line."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Damage shows in many ways; a flipped bit may name a compression or an encryption that zipfile
# does not know, or a length that no memory holds.
DAMAGE = (
    OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, MemoryError,
    SyntaxError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def npz_names(path: str | os.PathLike[str]) -> list[str]:
    """Names of the arrays of an ``.npz`` file.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    list of str
        As they were saved.

    Raises
    ------
    ValueError
        If it is missing or no readable ``.npz`` file.

    Examples
    --------
    >>> npz_names("nowhere.npz")
    Traceback (most recent call last):
    ValueError: nowhere.npz cannot be read: No such file or directory
    """
    path = Path(path)
    try:
        if not zipfile.is_zipfile(path) and path.is_file():
            raise zipfile.BadZipFile("it is cut short, or another kind of file")
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except DAMAGE as error:
        raise ValueError(f"{path} is not a readable .npz file: {_line(error)}") from error


def read_npz(
    path: str | os.PathLike[str], names: Collection[str] | None = None
) -> dict[str, NDArray[Any]]:
    """Arrays of an ``.npz`` file.

    Parameters
    ----------
    path : path
        The file.
    names : collection of str, optional
        Read those of these names that are there. Default: all.

    Returns
    -------
    dict of str to ndarray
        By name.

    Raises
    ------
    ValueError
        If the file is missing, damaged or no ``.npz`` file, or an array holds Python objects, which
        are never unpickled.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "curves.npz"
    >>> np.savez(path, times=[0.0, 1.0])
    >>> read_npz(path), read_npz(path, ["losses"])
    ({'times': array([0., 1.])}, {})
    """
    path = Path(path)
    held = npz_names(path)
    found = {}
    for name in held if names is None else [name for name in held if name in names]:
        try:
            # Opened here: numpy leaves a damaged file open.
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                found[name] = file[name]
        except DAMAGE as error:
            reason = _line(error)
            if "allow_pickle" in reason:
                reason = "it holds Python objects, which are never unpickled"
            raise ValueError(f"{path}: {name} cannot be read: {reason}") from error
        if not isinstance(found[name], np.ndarray):  # no array at all: numpy gives the bytes
            raise ValueError(f"{path}: {name} is no array; expected one of numpy.savez")
    return found


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
