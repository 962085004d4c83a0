"""Run folders: what a command was asked, where it ran, and what came of it.

Every file is written whole or not at all: into a temporary file in the same folder, flushed to the
disk, then renamed. A failed write leaves the file that was there before, and no temporary one.
JSON is strict: infinities and NaN become ``null``.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslsim.files import whole_file

_PACKAGES = ("sslsim", "numpy", "scipy", "scikit-learn", "torch", "torchvision", "matplotlib")


def open_run(
    out: str | os.PathLike[str], config: Mapping[str, Any], *, results: Sequence[str] = ()
) -> Path:
    """Create a run folder and record what is about to run in its ``config.json``.

    Parameters
    ----------
    out : path
        The folder; made with its parents where missing.
    config : mapping
        What to record, at the top level: the command, its options, its seeds.
    results : sequence of str
        Names of the files that the run will write. Those of an earlier run are removed, so that a
        run that fails does not leave them beside a configuration that is not theirs.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError
        If the folder cannot be made or written to.

    Notes
    -----
    Beside ``config`` the file holds ``revision`` (git commit of the package's checkout, with
    ``+changes`` if files differ from it; null outside a checkout), ``versions`` (of Python and the
    packages) and ``machine`` (platform, processor count, threads of torch).

    Examples
    --------
    >>> import tempfile
    >>> folder = open_run(tempfile.mkdtemp() + "/first", {"command": "predict", "seed": 0})
    >>> sorted(read_json(folder / "config.json"))
    ['command', 'machine', 'revision', 'seed', 'versions']
    """
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in results:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(f"{folder} cannot be made a run folder: {_reason(error)}") from error
    write_json(
        folder / "config.json",
        {**config, "revision": _revision(), "versions": _versions(), "machine": _machine()},
    )
    return folder


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
    except ValueError as error:
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
    except ValueError as error:
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
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {_reason(error)}") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a readable .npz file: {error}") from error


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


def _revision() -> str | None:
    """Commit of the checkout that the package lies in."""
    here = Path(__file__).resolve().parents[1]
    try:
        found = [
            subprocess.run(
                ["git", "-C", str(here), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for arguments in (
                ("rev-parse", "--show-toplevel", "HEAD"),
                ("status", "--porcelain", "--untracked-files=no"),
            )
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    top, commit = found[0].rsplit("\n", 1)
    if Path(top).resolve() != here:  # installed into somebody else's repository
        return None
    return commit + ("+changes" if found[1] else "")


@cache
def _versions() -> dict[str, str]:
    """Read once a process: every one is a file to be parsed."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _machine() -> dict[str, Any]:
    torch = sys.modules.get("torch")
    return {
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "torch_threads": None if torch is None else torch.get_num_threads(),
    }
