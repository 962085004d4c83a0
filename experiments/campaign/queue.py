"""Queues: jobs of several commands each, read from a TOML file.

A queue has a ``title``, the ``device`` on which its minutes were estimated, ``words`` that stand
for longer text in its commands, and its jobs::

    title = "Two seeds"
    device = "cpu"

    [words]
    net = "--encoder linear --dim 4"

    [[job]]
    name = "seed0"
    minutes = 0.5
    stages = ["train {net} --seed 0 --out {out}/train", "ntk --run {out}/train --out {out}/ntk"]

In a command ``{out}`` is the folder of its job and ``{data}`` what the caller says. A job may have
``gpus``, where ``device`` is cuda, or ``processes``, where it is cpu.

A queue may have ``parts``, names of queues that ship with the package. Their jobs come before its
own, and their names begin with that of the part: ``umm/fixed_0``.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sslsim.core.errors import reason

SHIPPED = (
    "small", "resnet50", "resnet50-cpu", "resnet-gains", "forecasts", "umm", "memorization",
    "modes", "linear", "trainings", "wide", "convnets", "overfitting", "bench", "evidence",
)  # fmt: skip
DEVICES = ("cpu", "cuda")

_COUNTS = {"gpus": ("cuda", 0), "processes": ("cpu", 1)}  # device and least value of each
_PLACES = ("out", "data")
_PLACE = re.compile(r"\{(\w*)\}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_TAKEN = (
    "SHA256SUMS",
    "campaign.json",
    "checkpoints",
    "contents.json",
    "results.tar.gz",
    "submitit",
)


@dataclass(frozen=True)
class Job:
    """Commands that belong together, with the minutes that they are expected to take.

    ``stages`` are arguments of ``sslsim``, in order, with ``{out}`` and ``{data}``. The job's
    folder has its name. ``gpus`` is the number of GPUs that it needs. Where ``processes`` is above
    1, torchrun starts its trainings in as many processes: one for each GPU, if there are GPUs.
    """

    name: str
    minutes: float
    stages: tuple[tuple[str, ...], ...]
    gpus: int = 0
    processes: int = 1

    @property
    def part(self) -> str | None:
        """The queue that the job is from, in a queue of parts."""
        part, found, _ = self.name.rpartition("/")
        return part if found else None


@dataclass(frozen=True)
class Queue:
    """Jobs in the order in which they are to be run; minutes were estimated on ``device``."""

    name: str
    title: str
    device: str
    jobs: tuple[Job, ...]


def read_queue(name: str) -> Queue:
    """Read a queue and check it."""
    path = Path(__file__).parent / "queues" / f"{name}.toml" if name in SHIPPED else Path(name)
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"queue {name} cannot be read: {reason(error)}; expected a TOML file, or one of "
            f"{', '.join(SHIPPED)}"
        ) from error
    except ValueError as error:  # of TOML and of UTF-8
        raise ValueError(f"{name} is not valid TOML: {error}") from error
    _check_keys(
        name,
        entries,
        {"title", "device", "words", "job", "parts"},
        set() if "parts" in entries else {"job"},
    )
    words = entries.get("words", {})
    if not isinstance(words, dict) or not all(isinstance(word, str) for word in words.values()):
        raise ValueError(f"{name}: words is {words!r}; expected a table of texts")
    for word, text in words.items():
        if word in _PLACES:
            raise ValueError(f"{name}: words has {word!r}, which has a meaning already")
        if inner := set(_PLACE.findall(text)) - set(_PLACES):
            raise ValueError(f"{name}: word {word!r} has {{{inner.pop()}}}; expected no other word")
    device = entries.get("device", "cpu")
    if device not in DEVICES:
        raise ValueError(f"{name}: device is {device!r}; expected one of {', '.join(DEVICES)}")
    tables = entries.get("job", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"{name}: job is {tables!r}; expected [[job]] tables")
    jobs = _jobs_of_parts(name, entries["parts"], device) if "parts" in entries else []
    jobs += [_job(name, number, table, words, device) for number, table in enumerate(tables, 1)]
    names = [job.name for job in jobs]
    for repeated in {job for job in names if names.count(job) > 1}:
        raise ValueError(f"{name}: two jobs are named {repeated!r}; expected different names")
    return Queue(name, str(entries.get("title", name)), device, tuple(jobs))


def _jobs_of_parts(name: str, parts: Any, device: str) -> list[Job]:
    others = [queue for queue in SHIPPED if queue != name]
    if not isinstance(parts, list) or not parts or not all(part in others for part in parts):
        raise ValueError(f"{name}: parts is {parts!r}; expected some of {', '.join(others)}")
    queues = [read_queue(part) for part in parts]
    for queue in queues:
        if queue.device != device:
            raise ValueError(f"{name}: part {queue.name!r} is for {queue.device}, not {device}")
    return [replace(job, name=f"{queue.name}/{job.name}") for queue in queues for job in queue.jobs]


def jobs_named(queue: Queue, names: Sequence[str]) -> list[Job]:
    """Jobs of these names, or of parts with these names, in the order of the queue; all of none.

    >>> queue = Queue("q", "Q", "cpu", (Job("a/b", 1.0, ()), Job("a/c", 1.0, ())))
    >>> [job.name for job in jobs_named(queue, ["a"])], len(jobs_named(queue, ["a/c"]))
    (['a/b', 'a/c'], 1)
    >>> jobs_named(queue, ["b"])
    Traceback (most recent call last):
    ValueError: unknown job 'b'; q has a
    """
    for name in names:
        if not any(_is_named(job, name) for job in queue.jobs):
            known = dict.fromkeys(job.part or job.name for job in queue.jobs)
            raise ValueError(f"unknown job {name!r}; {queue.name} has {', '.join(known)}")
    return [job for job in queue.jobs if not names or any(_is_named(job, each) for each in names)]


def _is_named(job: Job, name: str) -> bool:
    return name in (job.name, job.part)


def stage_arguments(stage: tuple[str, ...], out: Path, data: Path | None) -> list[str]:
    """Arguments of a stage with its places filled in.

    >>> stage_arguments(("ntk", "--run", "{out}/train"), Path("c/a"), None)
    ['ntk', '--run', 'c/a/train']
    """
    if data is None and any("{data}" in part for part in stage):
        raise ValueError(f"`{shlex.join(stage)}` wants data; expected --data FOLDER")
    # At one go: the name of a folder may have braces itself.
    places = {"{out}": str(out), "{data}": str(data)}
    return [_PLACE.sub(lambda place: places.get(place[0], place[0]), part) for part in stage]


def _job(
    name: str, number: int, entry: Mapping[str, Any], words: Mapping[str, str], device: str
) -> Job:
    called = entry.get("name")
    where = f"{name}, job {number}" + (f" ({called})" if isinstance(called, str) else "")
    needed = {"name", "minutes", "stages"}
    _check_keys(where, entry, needed | set(_COUNTS), needed)
    if not isinstance(called, str) or not _NAME.fullmatch(called):
        raise ValueError(f"{where}: name is {called!r}; expected letters, digits and _ . -")
    if called in _TAKEN:
        raise ValueError(f"{where}: name is {called!r}, which has a meaning in the folder")
    minutes = entry["minutes"]
    if type(minutes) not in (int, float) or not 0 < minutes < float("inf"):
        raise ValueError(f"{where}: minutes is {minutes!r}; expected a number above 0")
    stages = entry["stages"]
    if not isinstance(stages, list) or not stages:
        raise ValueError(f"{where}: stages is {stages!r}; expected a list of commands")
    gpus, processes = _counts(where, entry, device)
    commands = tuple(_stage(where, stage, words) for stage in stages)
    return Job(called, float(minutes), commands, gpus, processes)


def _counts(where: str, entry: Mapping[str, Any], device: str) -> tuple[int, int]:
    """GPUs and processes of a job; a queue of the other device does not take the key."""
    for key, (own, least) in _COUNTS.items():
        if key not in entry:
            continue
        if device != own:
            raise ValueError(f"{where}: {key} needs device {own}, not {device}")
        if type(entry[key]) is not int or entry[key] < least:
            raise ValueError(
                f"{where}: {key} is {entry[key]!r}; expected a whole number of at least {least}"
            )
    gpus = entry.get("gpus", int(device == "cuda"))
    return gpus, max(gpus, entry.get("processes", 1))


def _stage(where: str, stage: Any, words: Mapping[str, str]) -> tuple[str, ...]:
    """Arguments of a command, words replaced by what they stand for."""

    def text(place: re.Match[str]) -> str:
        word = place[1]
        if word in _PLACES:
            return place[0]
        if word not in words:
            known = ", ".join(f"{{{name}}}" for name in (*_PLACES, *words))
            raise ValueError(f"{where}: stages has {place[0]}; expected one of {known}")
        return words[word]

    if isinstance(stage, str):
        try:
            parts = shlex.split(_PLACE.sub(text, stage))
        except ValueError as error:
            raise ValueError(f"{where}: stages has {stage!r}: {error}") from error
    elif isinstance(stage, list) and all(isinstance(part, str) for part in stage):
        parts = [_PLACE.sub(text, part) for part in stage]
    else:
        parts = []
    if not parts:
        raise ValueError(f"{where}: stages has {stage!r}; expected a command of sslsim")
    return tuple(parts)


def _check_keys(where: str, entry: Mapping[str, Any], known: set[str], needed: set[str]) -> None:
    if unknown := sorted(set(entry) - known):
        expected = ", ".join(sorted(known))
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; expected some of {expected}")
    if missing := sorted(needed - set(entry)):
        raise ValueError(f"{where}: {missing[0]} is missing; expected {', '.join(sorted(needed))}")
