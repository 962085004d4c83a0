"""Files of run folders: strict JSON, lines of it, arrays.

Every file is written whole or not at all: into a temporary file in the same folder, flushed to the
disk, then renamed. A failed write leaves the file that was there before, and no temporary one.
JSON is strict: infinities and NaN become ``null``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslsim.files import whole_file
from sslsim.npz import read_npz


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
        raise ValueError(f"{path} cannot be read: {_reason(error)}") from error
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
        raise ValueError(f"{path} cannot be read: {_reason(error)}") from error
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


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
