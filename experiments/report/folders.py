"""Finding run folders and reading what they hold, damaged or not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from experiments.registry import RECORDED, STUDIES
from experiments.study import Study, variants
from experiments.summary import Summary
from experiments.tables import finite, mapping
from sslsim.core.files import read_json

_PICTURES = frozenset({".png", ".gif"})
_PARTS = frozenset({"cells", "checkpoints"})  # parts of a run, whose results are in the run's own


@dataclass(frozen=True)
class RunFolder:
    """What a run folder holds; what cannot be read is empty.

    ``name`` is the path below what all folders of the report have in common, ``study`` the command
    that made it, in the variant that its options ask for (of a command that leaves no
    ``config.json``, the one whose result it holds). ``results`` and ``summaries`` are by file
    name; ``first`` and ``last`` are lines of ``records.jsonl``, and ``diverged`` says that a loss
    after the first update was not finite. ``problems`` are files that are damaged, ``pictures``
    captions by path, ``files`` the names of everything in the folder.
    """

    path: Path
    name: str
    study: Study | None
    config: dict[str, Any]
    results: dict[str, dict[str, Any]]
    summaries: dict[str, Summary]
    first: dict[str, Any]
    last: dict[str, Any]
    diverged: bool
    problems: tuple[str, ...]
    pictures: dict[Path, str]
    files: frozenset[str]

    @property
    def command(self) -> str:
        """The command that made it; empty where unknown."""
        command = self.config.get("command")
        return command if isinstance(command, str) else ""

    @property
    def options(self) -> dict[str, Any]:
        """The options that it was given."""
        return mapping(self.config, "options")


def result_studies(studies: Sequence[Study] = STUDIES) -> dict[str, Study]:
    """For every result file the first study that leaves it."""
    by_file: dict[str, Study] = {}
    for study in variants(studies):
        if study.files:
            by_file.setdefault(study.files[0], study)
    return by_file


def find_runs(
    folders: Iterable[str | os.PathLike[str]], studies: Sequence[Study] = STUDIES
) -> list[RunFolder]:
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
        below = _below(folder.resolve(), {"config.json", *result_studies(studies)})
        if not below:
            raise ValueError(
                f"{folder} holds no run folder; expected a config.json in it or below it"
            )
        found |= dict.fromkeys(below)
    top = Path(os.path.commonpath(list(found)))
    if len(found) == 1:
        top = top.parent
    return [_read(path, path.relative_to(top).as_posix(), studies) for path in found]


def _below(folder: Path, marks: set[str]) -> list[Path]:
    """Folders that hold one of the files given, from the given one on down."""
    places = []
    for place, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if name not in _PARTS and name[0] != ".")
        if not marks.isdisjoint(files):
            places.append(Path(place))
    return places


def _read(path: Path, name: str, studies: Sequence[Study]) -> RunFolder:
    try:
        names = frozenset(os.listdir(path))
    except OSError:
        names = frozenset()
    by_file = result_studies(studies)
    captions = {file: text for row in variants(studies) for file, text in row.captions.items()}
    problems: list[str] = []
    contents = {}
    for file in ("config.json", *by_file):
        if file in names:
            try:
                contents[file] = read_json(path / file)
            except (ValueError, RecursionError) as error:
                problems.append(f"{file} is damaged: {_reason(error, path / file)}")
    lines = _records(path / "records.jsonl", problems) if "records.jsonl" in names else []
    config = contents.pop("config.json", {})
    study = _study_of(config.get("command"), mapping(config, "options"), studies)
    if "config.json" not in names and len(contents) == 1:
        (result,) = contents
        study = by_file[result] if by_file[result].folder is None else None
    summaries = {file: by_file[file].summary_of(result) for file, result in contents.items()}
    return RunFolder(
        path=path,
        name=name if name != "." else path.name,
        study=study,
        config=config,
        results=contents,
        summaries={file: summary for file, summary in summaries.items() if summary is not None},
        first=lines[0] if lines else {},
        last=lines[-1] if lines else {},
        diverged=any("loss" in line and finite(line, "loss") is None for line in lines[1:]),
        problems=tuple(problems),
        pictures={
            path / file: captions.get(file, "Picture")
            for file in sorted(names)
            if Path(file).suffix in _PICTURES
        },
        files=names,
    )


def _study_of(command: Any, options: Mapping[str, Any], studies: Sequence[Study]) -> Study | None:
    """The row that made a run: of several kinds of one command, the one with these options."""
    kinds = [study for study in (*studies, RECORDED) if study.name.split()[0] == command]
    if not kinds:
        return None

    def fit(study: Study) -> int:
        return len({field.name for field in fields(study.options_class())} ^ options.keys())

    return (kinds[0] if len(kinds) == 1 else min(kinds, key=fit)).chosen(options)


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
