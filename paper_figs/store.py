"""Small results kept beside the figures: what they read of run folders, and where it came from.

A stored result is a run folder without what is large or tells of one machine: named files only,
arrays and keys that no figure draws left out, paths cut to names. A whole run folder of the same
name does as well, so that figures are drawn of one's own runs without storing them.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

import numpy as np

from sslsim.core.files import read_arrays, read_json, read_lines, whole_file

Key = TypeVar("Key")

RESULTS = Path(__file__).resolve().parent / "results"
_SPLITS = ("train", "test", "val")  # folders whose own name says nothing of the data


def store(
    run: str | os.PathLike[str],
    name: str,
    files: Sequence[str],
    *,
    arrays: Sequence[str] | None = None,
    points: int | None = None,
    records: int | None = None,
    single: bool = False,
    drop: Sequence[str] = (),
    digits: int | None = None,
    results: str | os.PathLike[str] = RESULTS,
) -> Path:
    """Keep what figures need of a run folder: its ``config.json`` and the named files.

    >>> import tempfile
    >>> from sslsim.core.files import write_json
    >>> run = Path(tempfile.mkdtemp())
    >>> write_json(run / "config.json", {"options": {"seed": 3, "out": run}})
    >>> write_json(run / "prediction.json", {"times": [1.0], "long": [2.0]})
    >>> folder = store(run, "mine", ["prediction.json"], drop=["long"], results=tempfile.mkdtemp())
    >>> read_json(folder / "prediction.json"), read_json(folder / "config.json")["options"]["seed"]
    ({'times': [1.0]}, 3)
    """
    run, folder = Path(run), Path(results) / name
    contents: dict[str, Any] = {"config.json": _without_kernel(read_json(run / "config.json"))}
    for file in files:
        kind = Path(file).suffix
        if kind == ".json":
            contents[file] = read_json(run / file)
            for path in drop:
                _leave_out(contents[file], path.split("."))
            if digits is not None:
                contents[file] = rounded(contents[file], digits)
        elif kind == ".jsonl":
            contents[file] = read_lines(run / file)
        elif kind == ".npz":
            contents[file] = _thinned(read_arrays(run / file), run / file, arrays, points, records)
            if single:
                contents[file] = {name: _single(array) for name, array in contents[file].items()}
        else:
            raise ValueError(f"{file} cannot be stored: expected .json, .jsonl or .npz")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder} cannot be made: {error.strerror}") from error
    for file, values in contents.items():
        _write(folder / Path(file).name, values)
    return folder


def without_paths(value: Any) -> Any:
    """Cut paths of a machine to names, in strings nested at will.

    >>> without_paths({"run": ["/scratch/me/runs/a"], "data": "/data/imagenette/train", "x": "a/b"})
    {'run': ['a'], 'data': 'imagenette/train', 'x': 'a/b'}
    """
    if isinstance(value, dict):  # keys too: accuracies are kept by data set
        return {without_paths(key): without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    if not isinstance(value, str):
        return value
    path = PureWindowsPath(value) if PureWindowsPath(value).drive else PurePosixPath(value)
    if not path.is_absolute() and ".." not in path.parts and not value.startswith("~"):
        return value
    return "/".join(path.parts[-2:] if path.name in _SPLITS else path.parts[-1:])


def rounded(value: Any, digits: int) -> Any:
    """Round the numbers of JSON, nested at will, to significant digits.

    >>> rounded({"a": [0.123456, 12345.6, 7], "b": None}, 3)
    {'a': [0.123, 12300.0, 7], 'b': None}
    """
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item, digits) for item in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def _without_kernel(config: dict[str, Any]) -> dict[str, Any]:
    """Of the platform, system and architecture say enough; a kernel's release tells of a host."""
    machine = dict(config.get("machine") or {})
    parts = str(machine.get("platform", "")).split("-")
    known = [word for word in ("x86_64", "aarch64", "arm64", "AMD64") if word in parts]
    if parts[0]:
        machine["platform"] = " ".join([parts[0], *known])
    return {**config, "machine": machine} if machine else config


def _leave_out(value: Any, keys: list[str]) -> None:
    first, rest = keys[0], keys[1:]
    if isinstance(value, list):
        places: Any = range(len(value)) if first == "*" else ()
    else:
        places = [key for key in value if fnmatchcase(key, first)]
    for place in places:
        if rest:
            if isinstance(value[place], (dict, list)):
                _leave_out(value[place], rest)
        elif isinstance(value, dict):
            del value[place]


def _thinned(
    stored: dict[str, Any],
    path: Path,
    arrays: Sequence[str] | None,
    points: int | None,
    records: int | None,
) -> dict[str, Any]:
    missing = [name for name in arrays or () if name not in stored]
    if missing:
        raise ValueError(f"{path} has no array {missing[0]!r}; it has {', '.join(sorted(stored))}")
    chosen = stored if arrays is None else {name: stored[name] for name in arrays}
    if points is not None and "scores" in chosen:
        chosen = {**chosen, "scores": chosen["scores"][:, :points]}
    if records is not None:
        length = min(len(array) for array in chosen.values())
        places = np.unique(np.linspace(0, length - 1, min(records, length)).round().astype(int))
        chosen = {name: array[places] for name, array in chosen.items()}
    return chosen


def _single(array: Any) -> Any:
    return array.astype(np.float32) if np.issubdtype(array.dtype, np.floating) else array


def _write(path: Path, values: Any) -> None:
    if path.suffix == ".json":
        with whole_file(path) as file:
            file.write(_rows_in_one_line(without_paths(values)).encode())
    elif path.suffix == ".npz":
        with whole_file(path) as file:
            np.savez_compressed(file, **values)
    else:
        with whole_file(path) as file:
            for line in without_paths(values):
                text = json.dumps(line, ensure_ascii=False, allow_nan=False)
                file.write(text.encode() + b"\n")


def _rows_in_one_line(value: Any) -> str:
    """JSON with a key a line, and lists of numbers and words in one.

    >>> print(_rows_in_one_line({"a": [1, 2.5, None], "b": []}), end="")
    {
     "a": [1, 2.5, null],
     "b": []
    }
    """
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    inner = re.compile(r"\[\n\s+[^\[\]{}]*?\n\s+\]")  # a text has no line feed of its own
    return inner.sub(lambda row: re.sub(r"\n\s*", "", row[0].replace(",\n", ", \n")), text) + "\n"


def read_result(results: Path, name: str, file: str, command: str) -> Mapping[str, Any]:
    """Read a stored result, or say what makes it.

    >>> read_result(Path("nowhere"), "umm", "table.json", "sslsim umm-sweep --out DIR/umm")
    Traceback (most recent call last):
    ValueError: nowhere/umm/table.json is missing; it is made by: sslsim umm-sweep --out DIR/umm
    """
    path = Path(results) / name / file
    if not path.exists():
        raise ValueError(f"{path} is missing; it is made by: {command}")
    return read_arrays(path) if path.suffix == ".npz" else read_json(path)


def read_results(
    results: Path, name: str, file: str, holds: str, command: str
) -> list[dict[str, Any]]:
    """Read the same file of every result in a folder of results, with its ``config``.

    >>> read_results(Path("nowhere"), "kernels", "ntk.json", "kernel", "sslsim ntk --out DIR")
    Traceback (most recent call last):
    ValueError: nowhere/kernels holds no kernel; one is made by: sslsim ntk --out DIR
    """
    paths = sorted((Path(results) / name).glob(f"*/{file}"))
    if not paths:
        raise ValueError(f"{Path(results) / name} holds no {holds}; one is made by: {command}")
    return [
        {**read_json(path), "config": read_json(path.with_name("config.json"))} for path in paths
    ]


def grouped(
    results: Iterable[Mapping[str, Any]], key: Callable[[Mapping[str, Any]], Key]
) -> dict[Key, list[Mapping[str, Any]]]:
    """Results by a key, both in the order in which they come.

    >>> grouped([{"data": "digits", "seed": 0}, {"data": "mnist"}], lambda result: result["data"])
    {'digits': [{'data': 'digits', 'seed': 0}], 'mnist': [{'data': 'mnist'}]}
    """
    groups: dict[Key, list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return groups


def misfit(results: Path, names: Sequence[str], installed: Path = RESULTS) -> str | None:
    """Find a file that lacks what every installed one of its kind has.

    >>> misfit(RESULTS, ["convnet", "linear"]) is None
    True
    """
    for name in names:
        needed: dict[str, set[str]] = {}
        for path in _files(Path(installed) / name):
            keys = _keys(path)
            needed[path.name] = needed.get(path.name, keys) & keys
        for path in _files(Path(results) / name):
            if missing := sorted(needed.get(path.name, set()) - _keys(path)):
                return f"{path} has no {missing[0]!r}"
            if path.name != "config.json" and not (path.parent / "config.json").exists():
                return f"{path.parent / 'config.json'} is missing"
    return None


def _files(folder: Path) -> list[Path]:
    """Of a result, or of every one in a folder of results."""
    return sorted(
        path
        for pattern in ("*.*", "*/*.*")
        for path in folder.glob(pattern)
        if path.suffix in (".json", ".jsonl", ".npz")
    )


def _keys(path: Path) -> set[str]:
    """Top-level keys of a file, those that all of its lines have, or the names of its arrays."""
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as arrays:
                return {name.removesuffix(".npy") for name in arrays.namelist()}
        if path.suffix == ".json":
            return set(read_json(path))
        lines = [set(line) if isinstance(line, dict) else set() for line in read_lines(path)]
        return set.intersection(*lines) if lines else set()
    except (OSError, ValueError, zipfile.BadZipFile):
        return set()
