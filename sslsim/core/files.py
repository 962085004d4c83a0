"""Files of run folders: strict JSON, JSON lines and arrays.

Every file is written completely or not at all: into a temporary file in the same folder, flushed to
the disk, then renamed. A failed write leaves the old file, and no temporary file. JSON is strict:
infinities and NaN become ``null``.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sslsim.core.errors import first_line, reason
from sslsim.core.locks import take_lock

# Errors of a damaged file: a flipped bit may name a compression or an encryption that zipfile does
# not know, or a length that does not fit into memory.
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
        Names, in the order of the file.

    Raises
    ------
    ValueError
        If the file is missing or is not a readable ``.npz`` file.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "curves.npz"
    >>> np.savez(path, times=[0.0, 1.0], losses=[2.0, 1.0])
    >>> npz_names(path)
    ['times', 'losses']
    """
    path = Path(path)
    try:
        if not zipfile.is_zipfile(path) and path.is_file():
            raise zipfile.BadZipFile("it is cut short, or another kind of file")
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {reason(error)}") from error
    except DAMAGE as error:
        raise ValueError(f"{path} is not a readable .npz file: {first_line(error)}") from error


def read_npz(
    path: str | os.PathLike[str], names: Collection[str] | None = None
) -> dict[str, NDArray[Any]]:
    """Arrays of an ``.npz`` file.

    Parameters
    ----------
    path : path
        The file.
    names : collection of str, optional
        Names to read; names that the file does not have are left out. Default: all arrays.

    Returns
    -------
    dict of str to ndarray
        Arrays by name.

    Raises
    ------
    ValueError
        If the file is missing, damaged or not an ``.npz`` file, or an array contains Python
        objects, which are never unpickled.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "curves.npz"
    >>> np.savez(path, times=[0.0, 1.0])
    >>> read_npz(path), read_npz(path, ["losses"])
    ({'times': array([0., 1.])}, {})
    """
    path = Path(path)
    arrays = {}
    for name in npz_names(path):
        if names is not None and name not in names:
            continue
        try:
            # Opened here: numpy leaves a damaged file open.
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays[name] = file[name]
        except DAMAGE as error:
            cause = first_line(error)
            if "allow_pickle" in cause:
                cause = "it holds Python objects, which are never unpickled"
            raise ValueError(f"{path}: {name} cannot be read: {cause}") from error
        if not isinstance(arrays[name], np.ndarray):  # not an array: numpy returns the bytes
            raise ValueError(f"{path}: {name} is no array; expected one of numpy.savez")
    return arrays


# Earlier versions put the number of the process here.
_TEMPORARY = re.compile(r"\..+\.(?:[0-9a-f]{16}|\d+)\.tmp")


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name when it is complete.

    Parameters
    ----------
    path : path
        Path of the file. An existing file or link is replaced; a link is not followed.

    Yields
    ------
    file
        Temporary file, open for writing bytes. It is removed if the block raises an error.

    Raises
    ------
    ValueError
        If the file cannot be written: no such folder, no permission, no space.

    Notes
    -----
    The temporary file has a random name, must be new (O_EXCL) and is locked while it is written.
    :func:`sweep` can so distinguish it from a file that a killed process left behind.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "note"
    >>> with whole_file(path) as file:
    ...     count = file.write(b"complete")
    ...     path.exists()
    False
    >>> path.read_bytes()
    b'complete'
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
        raise ValueError(f"{path} cannot be written: {reason(error)}") from error


def sweep(folder: Path) -> None:
    """Remove temporary files whose process has ended.

    Parameters
    ----------
    folder : Path
        Folder to clean; folders inside it are not searched.

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
        except OSError:  # removed, a link, or the file of another user
            continue
        try:
            if take_lock(descriptor):
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _new_file(path: Path) -> tuple[int, Path]:
    """Create and lock a temporary file beside a file."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o666)
        # Removed before it was locked: try another.
        if take_lock(descriptor) and os.fstat(descriptor).st_nlink > 0:
            return descriptor, temporary
        os.close(descriptor)


def write_json(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Write a dictionary as strict JSON, completely or not at all.

    Parameters
    ----------
    path : path
        The file.
    values : mapping
        Numbers, strings, lists, dictionaries, dataclasses, paths, and arrays and scalars of numpy
        or torch, at any depth.

    Raises
    ------
    ValueError
        If the file cannot be written.
    TypeError
        If a value has no JSON form.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "times.json"
    >>> write_json(path, {"times": np.array([1.5, np.inf]), "modes": np.int64(2)})
    >>> read_json(path)
    {'times': [1.5, None], 'modes': 2}
    """
    text = json.dumps(plain(values), indent=1, allow_nan=False, ensure_ascii=False)
    with whole_file(path) as file:
        file.write(text.encode() + b"\n")


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a file written by :func:`write_json`.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    dict
        Content of the file; infinities and NaN were written as None.

    Raises
    ------
    ValueError
        If the file is missing, cannot be read or does not contain a JSON object.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "times.json"
    >>> write_json(path, {"times": np.linspace(0.0, 1.0, 3), "data": Path("digits")})
    >>> read_json(path)
    {'times': [0.0, 0.5, 1.0], 'data': 'digits'}
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}; expected a JSON object")
    return values


def read_lines(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    r"""Read a file with one JSON object in each line.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    list of dict
        Objects of the lines; infinities and NaN were written as None.

    Raises
    ------
    ValueError
        If the file is missing, cannot be read or is not JSON.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "records.jsonl"
    >>> _ = path.write_text('{"step": 0}\n{"step": 5}\n')
    >>> read_lines(path)
    [{'step': 0}, {'step': 5}]
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def write_arrays(path: str | os.PathLike[str], **arrays: Any) -> None:
    """Write arrays into an ``.npz`` file, completely or not at all.

    Parameters
    ----------
    path : path
        The file.
    **arrays : array_like
        Arrays by name.

    Raises
    ------
    ValueError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "curves.npz"
    >>> write_arrays(path, times=[0.0, 1.0])
    >>> read_arrays(path)
    {'times': array([0., 1.])}
    """
    with whole_file(path) as file:
        converted: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
        np.savez(file, **converted)


def read_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read a file written by :func:`write_arrays`.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    dict of str to ndarray
        The arrays by name.

    Raises
    ------
    ValueError
        If the file is missing or cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "curves.npz"
    >>> write_arrays(path, modes=np.arange(2), gamma=0.5)
    >>> read_arrays(path)
    {'modes': array([0, 1]), 'gamma': array(0.5)}
    """
    return read_npz(path)


def plain(value: Any) -> Any:
    """Convert a value to types of strict JSON.

    Parameters
    ----------
    value : object
        Value, as in :func:`write_json`.

    Returns
    -------
    object
        Value of dict, list, str, int, float, bool and None only; infinities and NaN become None.

    Raises
    ------
    TypeError
        If a value has no JSON form.

    Examples
    --------
    >>> plain({"a": (np.float32(0.5), float("nan")), "b": Path("x")})
    {'a': [0.5, None], 'b': 'x'}
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if hasattr(value, "tolist"):  # arrays and scalars of numpy and torch
        return plain(value.tolist())
    raise TypeError(f"a {type(value).__name__} has no JSON form")
