"""Files of run folders: strict JSON, lines of it, arrays.

Every file is written whole or not at all: into a temporary file in the same folder, flushed to the
disk, then renamed. A failed write leaves the file that was there before, and no temporary one.
JSON is strict: infinities and NaN become ``null``.
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

from sslsim.core.errors import reason
from sslsim.core.locks import take_lock

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
        raise ValueError(f"{path} cannot be read: {reason(error)}") from error
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
            cause = _line(error)
            if "allow_pickle" in cause:
                cause = "it holds Python objects, which are never unpickled"
            raise ValueError(f"{path}: {name} cannot be read: {cause}") from error
        if not isinstance(found[name], np.ndarray):  # no array at all: numpy gives the bytes
            raise ValueError(f"{path}: {name} is no array; expected one of numpy.savez")
    return found


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


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
        raise ValueError(f"{path} cannot be written: {reason(error)}") from error


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


def write_json(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Write a dictionary as strict JSON, whole or not at all.

    Parameters
    ----------
    path : path
        The file.
    values : mapping
        Of numbers, strings, lists, dictionaries, dataclasses, paths, numpy or torch arrays and
        scalars, nested at will.

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
        Its content; ``None`` stands for what was infinite or NaN.

    Raises
    ------
    ValueError
        If the file is missing, cannot be read or does not hold a JSON object.

    Examples
    --------
    >>> read_json("nowhere.json")
    Traceback (most recent call last):
    ValueError: nowhere.json cannot be read: No such file or directory
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
    """Read a file of one JSON object a line.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    list of dict
        ``None`` stands for what was infinite or NaN.

    Raises
    ------
    ValueError
        If the file is missing, cannot be read or is not JSON.

    Examples
    --------
    >>> read_lines("nowhere.jsonl")
    Traceback (most recent call last):
    ValueError: nowhere.jsonl cannot be read: No such file or directory
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def write_arrays(path: str | os.PathLike[str], **arrays: Any) -> None:
    """Write arrays into an ``.npz`` file, whole or not at all.

    Parameters
    ----------
    path : path
        The file.
    **arrays : array_like
        By name.

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
        held: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
        np.savez(file, **held)


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
    >>> read_arrays("nowhere.npz")
    Traceback (most recent call last):
    ValueError: nowhere.npz cannot be read: No such file or directory
    """
    return read_npz(path)


def plain(value: Any) -> Any:
    """Turn a value into what strict JSON can hold.

    Parameters
    ----------
    value : object
        As in :func:`write_json`.

    Returns
    -------
    object
        Of dict, list, str, int, float, bool and None only; infinities and NaN become None.

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
