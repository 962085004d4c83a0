"""Results that are not shaped as figures expect: which file it is, and what it lacks."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from experiments.runs import read_json, read_lines
from paper_figs.store import RESULTS


def misfit(results: Path, names: Sequence[str], installed: Path = RESULTS) -> str | None:
    """Find a file that lacks what every installed one of its kind has.

    Parameters
    ----------
    results : Path
        Folder of results.
    names : sequence of str
        Of the results to look at; those of several runs each (``"linear"``) with all in them.
    installed : Path
        Results that figures are known to be drawn of: they keep only what these need.

    Returns
    -------
    str or None
        The first such file and the key, array or file that is not there; None if all are alike.

    Examples
    --------
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
