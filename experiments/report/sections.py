"""Parts of the page over all runs: warnings, overview, theory beside experiment, seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.report.checks import Doubt, common_doubts, group_doubts, run_doubts
from experiments.report.folders import RunFolder
from experiments.report.groups import LEVEL, Group, spread
from experiments.report.html import Markup, joined, tag
from experiments.report.parts import links, table_of, warning_list
from experiments.tables import View, number, percent, words

Views = Mapping[str, Mapping[str, View]]


def all_doubts(
    runs: Sequence[RunFolder],
    groups: Sequence[Group],
    views: Views,
) -> list[Doubt]:
    """All warnings of a report, equal ones of several runs together."""
    found: dict[str, list[str]] = {}
    for run in runs:
        for text in run_doubts(run):
            found.setdefault(text, []).append(run.name)
    for run in runs:
        for view in views[run.name].values():
            for text in view.doubts:
                found.setdefault(text, []).append(run.name)
    for group in groups:
        for text in group_doubts(group):
            found.setdefault(text, []).extend(run.name for run in group.runs)
    own = [Doubt(text, tuple(names)) for text, names in found.items()]
    return [*own, *common_doubts(runs)]


def warnings_section(doubts: Sequence[Doubt], ids: Mapping[str, str]) -> Markup:
    """Warnings with links to the runs that they are about."""
    return warning_list(
        joined(doubt.text, *([": ", links(doubt.runs, ids)] if doubt.runs else []), between="")
        for doubt in doubts
    )


def _numbers(group: Group, views: Views) -> dict[tuple[str, str, bool], list[float | None]]:
    """Main numbers of a group over its runs, by view and label."""
    found: dict[tuple[str, str, bool], list[float | None]] = {}
    for place, run in enumerate(group.runs):
        for view in views[run.name].values():
            for one in view.numbers:
                key = (view.title, one.label, one.share)
                values = found.setdefault(key, [None] * len(group.runs))
                values[place] = one.value
    return found


def _written(value: float | None, share: bool) -> str:
    return percent(value) if share else number(value)


def overview_section(groups: Sequence[Group], titles: Sequence[str], views: Views) -> Markup:
    """A line a configuration with its main numbers, over seeds."""
    rows = []
    for place, (group, title) in enumerate(zip(groups, titles, strict=True)):
        told = []
        for (_, label, share), values in list(_numbers(group, views).items())[:3]:
            over = spread(values)
            if over.mean is None:
                continue
            more = "" if over.deviation is None else f" ± {_written(over.deviation, share)}"
            told.append(f"{label} {_written(over.mean, share)}{more}")
        seeds = [seed for seed in group.seeds if seed]
        if not told:
            told = [
                f"{one.what} {one.found}"
                for view in views[group.runs[0].name].values()
                for one in view.agreements[:2]
            ]
        rows.append(
            (
                tag("a", title, href=f"#group-{place + 1}"),
                str(len(group.runs)),
                words(", ".join(seeds) or "-", 60),
                "; ".join(told) or "-",
            )
        )
    return table_of(
        "Main numbers: means over runs that differ in the seed only, ± their standard deviation",
        ("configuration", "runs", "seed values", "main numbers"),
        rows,
        cards=True,
    )


def agreement_section(runs: Sequence[RunFolder], views: Views, ids: Mapping[str, str]) -> Markup:
    """How far theory and experiment agree, run by run."""
    rows = [
        (links([run.name], ids), one.what, one.found, one.beside)
        for run in runs
        for view in views[run.name].values()
        for one in view.agreements
    ]
    if not rows:
        return Markup()
    return table_of("", ("run", "quantity", "found", "to be compared with"), rows, cards=True)


def seeds_table(group: Group, views: Views) -> Markup:
    """Mean and spread of the main numbers of runs that differ in the seed only."""
    rows = []
    for (_, label, share), values in _numbers(group, views).items():
        over = spread(values)
        if over.mean is None:
            continue
        ends = (
            "-"
            if over.low is None
            else f"{_written(over.low, share)} to {_written(over.high, share)}"
        )
        rows.append(
            (
                label,
                str(over.count),
                _written(over.mean, share),
                _written(over.deviation, share),
                ends,
                f"{_written(over.least, share)} to {_written(over.most, share)}",
            )
        )
    if not rows:
        return Markup()
    level = percent(LEVEL)
    headers = ("", "runs", "mean", "standard deviation", f"{level} interval of the mean", "range")
    return table_of("Over seeds", headers, rows)
