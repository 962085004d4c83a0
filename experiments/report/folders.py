"""Finding run folders and reading what they hold, damaged or not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.tables import finite, mapping
from sslsim.core.files import read_json

RESULTS = (
    "prediction.json",
    "comparison.json",
    "wide.json",
    "training.json",
    "ntk.json",
    "ntk_across.json",
    "forecast.json",
    "overfitting.json",
    "umm.json",
    "table.json",
    "memorization.json",
    "removal.json",
    "penalty.json",
    "bench.json",
    "campaign.json",
)
_PICTURES = frozenset({".png", ".gif"})
_PARTS = frozenset({"cells", "checkpoints"})  # parts of a run, whose results are in the run's own


@dataclass(frozen=True)
class RunFolder:
    """What was found in a run folder.

    Attributes
    ----------
    path : Path
        The folder.
    name : str
        Its path below what all folders of the report have in common.
    config : dict
        Of ``config.json``; empty where that cannot be read.
    results : dict of str to dict
        Of the files of ``RESULTS`` that can be read, by file name.
    first, last : dict
        First and last line of ``records.jsonl``; empty where there is none.
    worst : bool
        Whether a loss after the first update was not finite.
    problems : tuple of str
        Files that are damaged.
    pictures : tuple of Path
        In the order of their names.
    files : frozenset of str
        Names of everything in the folder.
    """

    path: Path
    name: str
    config: dict[str, Any]
    results: dict[str, dict[str, Any]]
    first: dict[str, Any]
    last: dict[str, Any]
    worst: bool
    problems: tuple[str, ...]
    pictures: tuple[Path, ...]
    files: frozenset[str]

    @property
    def command(self) -> str:
        """The command that made it; empty where unknown."""
        found = self.config.get("command")
        return found if isinstance(found, str) else ""

    @property
    def options(self) -> dict[str, Any]:
        """The options that it was given."""
        return mapping(self.config, "options")


def find_runs(folders: Iterable[str | os.PathLike[str]]) -> list[RunFolder]:
    """Read every run folder among and below the given ones."""
    found: dict[Path, None] = {}
    given = [Path(folder) for folder in folders]
    if not given:
        raise ValueError("no folder was given; expected one or more run folders")
    for folder in given:
        if not folder.is_dir():
            raise ValueError(
                f"{folder} is not a folder; expected a run folder, or one that holds run folders"
            )
        held = _below(folder.resolve())
        if not held:
            raise ValueError(
                f"{folder} holds no run folder; expected a config.json in it or below it"
            )
        found |= dict.fromkeys(held)
    top = Path(os.path.commonpath(list(found)))
    if len(found) == 1:
        top = top.parent
    return [_read(path, path.relative_to(top).as_posix()) for path in found]


def _below(folder: Path) -> list[Path]:
    held = []
    for place, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if name not in _PARTS and name[0] != ".")
        if "config.json" in files or not set(RESULTS).isdisjoint(files):
            held.append(Path(place))
    return held


def _read(path: Path, name: str) -> RunFolder:
    try:
        names = frozenset(os.listdir(path))
    except OSError:
        names = frozenset()
    problems: list[str] = []
    held = {}
    for file in ("config.json", *RESULTS):
        if file in names:
            try:
                held[file] = read_json(path / file)
            except (ValueError, RecursionError) as error:
                problems.append(f"{file} is damaged: {_reason(error, path / file)}")
    lines = _records(path / "records.jsonl", problems) if "records.jsonl" in names else []
    return RunFolder(
        path=path,
        name=name if name != "." else path.name,
        config=held.pop("config.json", {}),
        results=held,
        first=lines[0] if lines else {},
        last=lines[-1] if lines else {},
        worst=any("loss" in line and finite(line, "loss") is None for line in lines[1:]),
        problems=tuple(problems),
        pictures=tuple(path / file for file in sorted(names) if Path(file).suffix in _PICTURES),
        files=names,
    )


def _reason(error: Exception, path: Path) -> str:
    """What is wrong with a file, without the path that the reader of a page has no use for."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error).removeprefix(f"{path} ").removeprefix("is ") or type(error).__name__


def _records(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """Lines of a file of records, as far as they can be read."""
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        problems.append(f"{path.name} is damaged: not readable text")
        return []
    lines = []
    for place, text in enumerate(texts):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            line = None
        if not isinstance(line, dict):
            problems.append(f"{path.name} is damaged: line {place + 1} of {len(texts)}")
            break
        lines.append(line)
    return lines
