"""Small results kept beside the figures: what they read of run folders, and where it came from.

A stored result is a run folder without what is large or tells of one machine: named files only,
arrays and keys that no figure draws left out, paths cut to names. A whole run folder of the same
name does as well, so that figures are drawn of one's own runs without storing them.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from sslsim.core.files import read_arrays, read_json, read_lines, whole_file, write_json

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
    results: str | os.PathLike[str] = RESULTS,
) -> Path:
    """Keep what figures need of a run folder: its ``config.json`` and the named files.

    >>> import tempfile
    >>> run = Path(tempfile.mkdtemp())
    >>> write_json(run / "config.json", {"options": {"seed": 3, "out": run}})
    >>> write_json(run / "found.json", {"times": [1.0], "long": [2.0]})
    >>> kept = store(run, "mine", ["found.json"], drop=["long"], results=tempfile.mkdtemp())
    >>> read_json(kept / "found.json"), read_json(kept / "config.json")["options"]["seed"]
    ({'times': [1.0]}, 3)
    """
    run, folder = Path(run), Path(results) / name
    kept: dict[str, Any] = {"config.json": _without_kernel(read_json(run / "config.json"))}
    for file in files:
        kind = Path(file).suffix
        if kind == ".json":
            kept[file] = read_json(run / file)
            for path in drop:
                _leave_out(kept[file], path.split("."))
        elif kind == ".jsonl":
            kept[file] = read_lines(run / file)
        elif kind == ".npz":
            kept[file] = _thinned(read_arrays(run / file), run / file, arrays, points, records)
            if single:
                kept[file] = {name: _single(array) for name, array in kept[file].items()}
        else:
            raise ValueError(f"{file} cannot be stored: expected .json, .jsonl or .npz")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder} cannot be made: {error.strerror}") from error
    for file, values in kept.items():
        _write(folder / file, values)
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
        places = list(value) if first == "*" else [first] if first in value else []
    for place in places:
        if rest:
            if isinstance(value[place], (dict, list)):
                _leave_out(value[place], rest)
        elif isinstance(value, dict):
            del value[place]


def _thinned(
    found: dict[str, Any],
    path: Path,
    arrays: Sequence[str] | None,
    points: int | None,
    records: int | None,
) -> dict[str, Any]:
    missing = [name for name in arrays or () if name not in found]
    if missing:
        raise ValueError(f"{path} has no array {missing[0]!r}; it has {', '.join(sorted(found))}")
    kept = found if arrays is None else {name: found[name] for name in arrays}
    if points is not None and "scores" in kept:
        kept = {**kept, "scores": kept["scores"][:, :points]}
    if records is not None:
        length = min(len(array) for array in kept.values())
        places = np.unique(np.linspace(0, length - 1, min(records, length)).round().astype(int))
        kept = {name: array[places] for name, array in kept.items()}
    return kept


def _single(array: Any) -> Any:
    return array.astype(np.float32) if np.issubdtype(array.dtype, np.floating) else array


def _write(path: Path, values: Any) -> None:
    if path.suffix == ".json":
        write_json(path, without_paths(values))
    elif path.suffix == ".npz":
        with whole_file(path) as file:
            np.savez_compressed(file, **values)
    else:
        with whole_file(path) as file:
            for line in without_paths(values):
                text = json.dumps(line, ensure_ascii=False, allow_nan=False)
                file.write(text.encode() + b"\n")


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


def misfit(results: Path, names: Sequence[str], installed: Path = RESULTS) -> str | None:
    """Find a file that lacks what every installed one of its kind has.

    >>> misfit(RESULTS, ["convnet", "linear"]) is None
    True
    """
    for name in names:
        needed: dict[str, set[str]] = {}
        for path in _files(Path(installed) / name):
            held = _keys(path)
            needed[path.name] = needed.get(path.name, held) & held
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
            with zipfile.ZipFile(path) as held:
                return {name.removesuffix(".npy") for name in held.namelist()}
        if path.suffix == ".json":
            return set(read_json(path))
        lines = [set(line) if isinstance(line, dict) else set() for line in read_lines(path)]
        return set.intersection(*lines) if lines else set()
    except (OSError, ValueError, zipfile.BadZipFile):
        return set()
