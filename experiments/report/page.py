"""What the page shows: the data of its template, ``page.html.jinja``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from experiments.report.caveats import (
    all_caveats,
    folder_caveats,
    group_caveats,
    result_caveats,
    revision,
)
from experiments.report.configuration import changed_options, command_line, defaults_of
from experiments.report.folders import RunFolder
from experiments.report.groups import LEVEL, Group, group_runs, spread
from experiments.report.pictures import Picture, picture
from experiments.summary import Number, Summary, Table
from experiments.tables import leaves, mapping, percent, words

# What HTML forbids in a document even when escaped: controls, surrogates and noncharacters.
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    + "".join(
        f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0x10000, 0x110000, 0x10000)
    )
    + "]"
)


class ShownGroup(NamedTuple):
    """A configuration as the page shows it; ``changed`` are names, values and defaults."""

    id: str
    title: str
    command: list[str]
    caveats: list[str]
    changed: list[tuple[str, str, str | None]]
    seeds: Table
    runs: list[ShownRun]


class ShownRun(NamedTuple):
    """A run as the page shows it; ``values`` are all numbers of its results, by file."""

    name: str
    seed: str
    facts: str
    caveats: list[str]
    summaries: list[Summary]
    pictures: list[Picture]
    options: list[tuple[str, str, str]]
    values: list[tuple[str, list[tuple[str, str]]]]


@cache
def environment() -> Environment:
    r"""Templates whose values are escaped, and cleared of what a page must not hold.

    >>> environment().from_string('<b title="{{ a }}">{{ a }}</b>').render(a="'<" + chr(0))
    '<b title="&#39;&lt;\ufffd">&#39;&lt;\ufffd</b>'
    """
    made = Environment(
        loader=PackageLoader("experiments", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_cleared,
    )
    made.filters["several"] = lambda count, what: f"{count} {what}{'' if count == 1 else 's'}"
    return made


def _cleared(value: Any) -> Any:
    """A text without forbidden characters; a carriage return is a line feed in any parser."""
    if not isinstance(value, str):
        return value
    return type(value)(_FORBIDDEN.sub("\ufffd", value.replace("\r", "\n")))


def page(runs: Sequence[RunFolder], picture_limit: float) -> str:
    """The whole document."""
    groups = group_runs(runs)
    ids = {run.name: f"run-{place + 1}" for place, run in enumerate(runs)}
    agreements = [
        (run.name, agreement.quantity, agreement.measure, agreement.baseline)
        for run in runs
        for summary in run.summaries.values()
        for agreement in summary.agreements
    ]
    headers = ("run", "quantity", "found", "to be compared with")
    shown = [_group(group, place, picture_limit) for place, group in enumerate(groups)]
    return (
        environment()
        .get_template("page.html.jinja")
        .render(
            ids=ids,
            caveats=all_caveats(runs, groups),
            overview=_overview(groups, [group.title for group in shown]),
            agreements=Table("", headers, tuple(agreements)),
            agreement_targets=[ids[name] for name, *_ in agreements],
            groups=shown,
        )
    )


def _group(group: Group, place: int, picture_limit: float) -> ShownGroup:
    first, several = group.runs[0], len(group.runs) > 1
    left_out = frozenset({"seed"}) if several else frozenset()
    defaults = defaults_of(first)
    changed = {} if defaults is None else changed_options(first)
    return ShownGroup(
        id=f"group-{place + 1}",
        title=_title(group),
        command=command_line(first, left_out),
        caveats=group_caveats(group),
        changed=[
            (name, _listed(value), _default(name, defaults or {}))
            for name, value in changed.items()
            if name not in left_out
        ],
        seeds=_over_seeds(group) if several else Table("", (), ()),
        runs=[
            _run(run, seed, picture_limit)
            for run, seed in zip(group.runs, group.seeds, strict=True)
        ],
    )


def _title(group: Group) -> str:
    """What was run, on what, and the names of the runs."""
    first = group.runs[0]
    result = next(iter(first.results.values()), {})
    parts = []
    for name in ("method", "encoder", "data", "views"):
        value = result.get(name) or first.options.get(name)
        if isinstance(value, str) and value:
            parts.append(words(value, 40))
    command = first.study.name if first.study else first.command or "unknown command"
    names = [run.name for run in group.runs]
    listed = ", ".join(names) if len(names) <= 3 else f"{names[0]} to {names[-1]}"
    return words(f"{command}{': ' if parts else ''}{', '.join(parts)} ({listed})", 160)


def _listed(value: object) -> str:
    """A value of an option as it would be given."""
    if isinstance(value, list) and value:
        return words(" ".join(words(entry, 100) for entry in value), 300)
    return words(value, 300)


def _default(name: str, defaults: Mapping[str, object]) -> str | None:
    return None if defaults.get(name) is None else words(defaults[name], 60)


def _run(run: RunFolder, seed: str, picture_limit: float) -> ShownRun:
    defaults = defaults_of(run) or {}
    return ShownRun(
        name=run.name,
        seed=seed,
        facts=_facts(run),
        caveats=[*folder_caveats(run), *result_caveats(run)],
        summaries=[
            summary
            for summary in run.summaries.values()
            if any(table.rows for table in summary.tables)
        ],
        pictures=[picture(path, caption, picture_limit) for path, caption in run.pictures.items()],
        options=[
            (name, words(value, 400), words(defaults[name], 400) if name in defaults else "-")
            for name, value in run.options.items()
        ],
        values=[(name, leaves(result)) for name, result in run.results.items() if result],
    )


def _facts(run: RunFolder) -> str:
    """Where and with what a run was made, in short."""
    if not run.config:
        return ""
    commit, changed = revision(run.config)
    versions, machine = mapping(run.config, "versions"), mapping(run.config, "machine")
    facts = []
    if run.options.get("seed") is not None:
        facts.append(f"seed {words(run.options['seed'], 40)}")
    changes = " with uncommitted changes" if changed else ""
    facts.append(f"revision {commit}{changes}" if commit else "revision unknown")
    facts += [
        f"{words(name, 40)} {words(versions[name], 40)}"
        for name in ("python", "sslsim", "torch", "numpy")
        if name in versions
    ]
    facts += [words(machine["platform"], 80)] if "platform" in machine else []
    facts += [words(machine["processor"], 80)] if "processor" in machine else []
    if "processors" in machine:
        facts.append(f"processors {words(machine['processors'], 20)}")
    if machine.get("torch_threads") is not None:
        facts.append(f"threads {words(machine['torch_threads'], 20)}")
    return "; ".join(facts)


def _numbers(group: Group) -> list[tuple[Number, list[float | None]]]:
    """Main numbers of a group, each with its values over the runs."""
    values: dict[tuple[str, str, bool], tuple[Number, list[float | None]]] = {}
    for place, run in enumerate(group.runs):
        for summary in run.summaries.values():
            for main in summary.numbers:
                key = (summary.title, main.label, main.share)
                values.setdefault(key, (main, [None] * len(group.runs)))[1][place] = main.value
    return list(values.values())


def _overview(groups: Sequence[Group], titles: Sequence[str]) -> Table:
    """A line a configuration with its main claim, over seeds."""
    rows = tuple(
        (title, _count(group), *_claimed(group))
        for group, title in zip(groups, titles, strict=True)
    )
    return Table(
        "Main claims: of runs that differ in the seed only the mean over them, with its "
        f"{percent(LEVEL)} interval; of a single run with the interval that its result has",
        ("configuration", "runs", "main claim", "found", "to be compared with"),
        rows,
    )


def _count(group: Group) -> str:
    """How many runs there are, and their seeds; a lone number would read as a count of seeds."""
    count = len(group.runs)
    known = list(filter(None, group.seeds))
    seeds = f", seed{'s'[: len(known) != 1]} {', '.join(known)}" if known else ""
    return words(f"{count} run{'s'[: count != 1]}{seeds}", 60)


def _claimed(group: Group) -> tuple[str, str, str]:
    """The main claim of a configuration, what was found of it, and its baseline."""
    claims = [
        next((summary.claim for summary in run.summaries.values() if summary.claim), None)
        for run in group.runs
    ]
    known = [claim for claim in claims if claim is not None and claim.number.value is not None]
    if not known:
        for main, values in _numbers(group):
            over = spread(values)
            if over.mean is not None:
                return main.label, _with_interval(main, over.mean, over.low, over.high), "-"
        for summary in group.runs[0].summaries.values():
            for agreement in summary.agreements:
                return agreement.quantity, agreement.measure, agreement.baseline
        return "-", "-", "-"
    first, several = known[0], len(group.runs) > 1
    over = spread([claim.number.value for claim in known])
    low, high = (
        None if end is None else min(max(end, first.range[0]), first.range[1])
        for end in ((over.low, over.high) if several else (first.low, first.high))
    )
    beside = []
    for baseline in first.beside:
        values = [
            other.value
            for claim in known
            for other in claim.beside
            if other.label == baseline.label
        ]
        if (mean := spread(values).mean) is not None:
            beside.append(f"{baseline.label} {baseline.written(mean)}")
    if first.note and len({claim.note for claim in known}) == 1:  # else it is of one run only
        beside.append(first.note)
    return (
        first.number.label,
        _with_interval(first.number, over.mean, low, high),
        "; ".join(beside) or "-",
    )


def _with_interval(main: Number, mean: float | None, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return main.written(mean)
    return f"{main.written(mean)} [{main.written(low)}, {main.written(high)}]"


def _over_seeds(group: Group) -> Table:
    """Mean and spread of the main numbers of runs that differ in the seed only."""
    rows = []
    for main, values in _numbers(group):
        over = spread(values)
        if over.mean is None:
            continue
        ends = "-" if over.low is None else f"{main.written(over.low)} to {main.written(over.high)}"
        spans = f"{main.written(over.least)} to {main.written(over.most)}"
        mean, deviation = main.written(over.mean), main.written(over.deviation)
        rows.append((main.label, str(over.count), mean, deviation, ends, spans))
    interval = f"{percent(LEVEL)} interval of the mean"
    headers = ("", "runs", "mean", "standard deviation", interval, "range")
    return Table("Over seeds", headers, tuple(rows))
