"""Runs that differ in the seed only, and the mean and spread of their numbers over seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from experiments.report.configuration import PLACES, defaults_of
from experiments.report.folders import RunFolder
from experiments.tables import words
from sslsim.measures.intervals import mean_interval
from sslsim.runs.replicates import learning_settings

LEVEL = 0.9  # of intervals over seeds, as elsewhere in the package


@dataclass(frozen=True)
class Group:
    """Runs that differ in the seed only.

    Attributes
    ----------
    runs : tuple of RunFolder
        In the order of the report.
    seeds : tuple of str
        One a run; of a study of trained runs, theirs too.
    """

    runs: tuple[RunFolder, ...]
    seeds: tuple[str, ...]


@dataclass(frozen=True)
class Spread:
    """A number over seeds.

    Attributes
    ----------
    count : int
        Seeds of which it is known.
    mean, deviation : float or None
        None of no seed; the standard deviation from seed to seed, None of less than two.
    low, high : float or None
        Student's interval of the mean.
    least, most : float or None
        The range.
    """

    count: int
    mean: float | None
    deviation: float | None
    low: float | None
    high: float | None
    least: float | None
    most: float | None


def spread(values: Sequence[float | None]) -> Spread:
    """Mean and spread of a number over seeds.

    >>> found = spread([1.0, 2.0, None, 3.0])
    >>> found.count, found.mean, found.deviation, round(found.low, 2)
    (3, 2.0, 1.0, 0.31)
    """
    known = [value for value in values if value is not None]
    if not known:
        return Spread(0, None, None, None, None, None, None)
    over = mean_interval(known, LEVEL)
    mean, deviation, low, high = map(_finite, (over.mean, over.deviation, over.low, over.high))
    return Spread(len(known), mean, deviation, low, high, min(known), max(known))


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def group_runs(runs: Sequence[RunFolder]) -> list[Group]:
    """Put runs together that differ in the seed only."""
    trained = [run for run in runs if run.command in ("train", "record")]
    groups: dict[str, list[tuple[RunFolder, str]]] = {}
    for place, run in enumerate(runs):
        options = {**(defaults_of(run) or {}), **run.options}
        seeds = [] if options.get("seed") is None else [words(options["seed"], 40)]
        sources = _sources(options.get("run"), trained)
        if sources:
            options["run"] = [_key(source, source.options) for source in sources]
            # Of a study its own seed is of the views; what its numbers vary by are the networks'.
            seeds = [words(source.options.get("seed"), 40) for source in sources]
        key = _key(run, options) if run.command else f"alone {place}"
        groups.setdefault(key, []).append((run, " ".join(seeds)))
    return [
        Group(tuple(run for run, _ in held), tuple(seed for _, seed in held))
        for held in groups.values()
    ]


def _key(run: RunFolder, options: Mapping[str, Any]) -> str:
    settings = {**(defaults_of(run) or {}), **options}
    if run.command == "train":
        settings = learning_settings(settings)
    free = PLACES | {"seed"}
    settings = {name: value for name, value in settings.items() if name not in free}
    return json.dumps([run.command, settings], sort_keys=True)


def _sources(given: Any, trained: Sequence[RunFolder]) -> list[RunFolder]:
    """Runs that a study was made of, none where one of them is not among these or not certain.

    Folders may have moved since, together: the longest common end of their paths decides.
    """
    found = []
    for path in given if isinstance(given, list) else [given]:
        if not isinstance(path, str):
            return []
        shared = [_shared_end(PurePath(path), run.path) for run in trained]
        best = max(shared, default=0)
        if best == 0 or shared.count(best) > 1:
            return []
        found.append(trained[shared.index(best)])
    return found


def _shared_end(one: PurePath, other: PurePath) -> int:
    count = 0
    for mine, theirs in zip(reversed(one.parts), reversed(other.parts), strict=False):
        if mine != theirs:
            break
        count += 1
    return count
