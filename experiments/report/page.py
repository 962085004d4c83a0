"""The page: contents, warnings, overview, theory beside experiment, and every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.report.checks import group_doubts, run_doubts
from experiments.report.configuration import changed_options, command_line, defaults_of
from experiments.report.folders import RunFolder
from experiments.report.groups import Group, group_runs
from experiments.report.html import Markup, joined, tag
from experiments.report.parts import (
    changed_list,
    facts,
    folded,
    option_table,
    shown,
    table_of,
    warning_list,
)
from experiments.report.pictures import picture
from experiments.report.sections import (
    Views,
    agreement_section,
    all_doubts,
    overview_section,
    seeds_table,
    warnings_section,
)
from experiments.report.study_views import bench_view, campaign_view, memorization_view
from experiments.report.style import CSS
from experiments.studies.kernels.tables import forecast_view, ntk_across_view, ntk_view
from experiments.studies.linear.tables import comparison_view, prediction_view, wide_view
from experiments.studies.memorization.tables import penalty_view, removal_view
from experiments.studies.training.tables import overfitting_view, training_view
from experiments.studies.umm.tables import sweep_view, umm_view
from experiments.tables import View, leaves, words

_VIEWS = {
    "prediction.json": prediction_view,
    "comparison.json": comparison_view,
    "wide.json": wide_view,
    "training.json": training_view,
    "ntk.json": ntk_view,
    "ntk_across.json": ntk_across_view,
    "forecast.json": forecast_view,
    "overfitting.json": overfitting_view,
    "umm.json": umm_view,
    "table.json": sweep_view,
    "memorization.json": memorization_view,
    "removal.json": removal_view,
    "penalty.json": penalty_view,
    "bench.json": bench_view,
    "campaign.json": campaign_view,
}
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(runs: Sequence[RunFolder], picture_limit: float) -> Markup:
    """The whole document."""
    groups = group_runs(runs)
    ids = {run.name: f"run-{place + 1}" for place, run in enumerate(runs)}
    views = {
        run.name: {name: _VIEWS[name](run.results[name]) for name in _VIEWS if name in run.results}
        for run in runs
    }
    doubts = all_doubts(runs, groups, views)
    titles = [_title(group) for group in groups]
    sections = [
        ("warnings", "Warnings", warnings_section(doubts, ids)),
        ("overview", "Overview", overview_section(groups, titles, views)),
        ("agreement", "Theory and experiment", agreement_section(runs, views, ids)),
        *(
            (f"group-{place + 1}", title, _group(group, views, ids, picture_limit))
            for place, (group, title) in enumerate(zip(groups, titles, strict=True))
        ),
    ]
    sections = [section for section in sections if section[2]]
    contents = tag(
        "nav",
        tag("h2", "Contents"),
        tag("ol", *(tag("li", tag("a", title, href=f"#{key}")) for key, title, _ in sections)),
        aria_label="Contents",
    )
    counted = (
        f"{_several(len(runs), 'run folder')} in {_several(len(groups), 'configuration')}, "
        f"{_several(len(doubts), 'warning')}."
    )
    body = tag(
        "body",
        tag("header", tag("h1", "Report of runs"), tag("p", counted, class_="quiet")),
        contents,
        tag(
            "main",
            *(
                tag("section", tag("h2", title), content, id=key)
                for key, title, content in sections
            ),
        ),
        tag("footer", tag("p", "Made by ", tag("code", "sslsim report"), ".")),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        # Nothing is fetched, whatever the folders hold: browsers are told to see to it.
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", f"Report of {_several(len(runs), 'run')}"),
        tag("link", rel="icon", href="data:,"),
        tag("style", Markup(CSS)),
    )
    return joined(Markup("<!DOCTYPE html>"), tag("html", head, body, lang="en"))


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _title(group: Group) -> str:
    """What was run, on what, and the names of the runs."""
    first = group.runs[0]
    held = next(iter(first.results.values()), {})
    told = []
    for name in ("method", "encoder", "data", "views"):
        value = held.get(name) or first.options.get(name)
        if isinstance(value, str) and value:
            told.append(words(value, 40))
    command = first.command or "unknown command"
    if isinstance(first.options.get("study"), str):
        command += f" {first.options['study']}"
    names = [run.name for run in group.runs]
    listed = ", ".join(names) if len(names) <= 3 else f"{names[0]} to {names[-1]}"
    return words(f"{command}{': ' if told else ''}{', '.join(told)} ({listed})", 160)


def _group(
    group: Group,
    views: Views,
    ids: Mapping[str, str],
    picture_limit: float,
) -> Markup:
    first = group.runs[0]
    several = len(group.runs) > 1
    line = command_line(first, frozenset({"seed"}) if several else frozenset())
    defaults = defaults_of(first)
    changed = changed_options(first) if defaults is not None else {}
    if several:
        changed.pop("seed", None)
    runs = [_run(run, views[run.name], ids, picture_limit, heading=several) for run in group.runs]
    if several:
        runs = [
            tag(
                "details",
                tag("summary", run.name if not seed else f"{run.name}, seed {seed}"),
                content,
                class_="run",
                id=ids[run.name],
                open=place == 0,
            )
            for place, (run, seed, content) in enumerate(
                zip(group.runs, group.seeds, runs, strict=True)
            )
        ]
    else:
        runs = [tag("div", runs[0], id=ids[first.name])]
    return joined(
        tag("pre", tag("code", *_breakable(line))) if line else "",
        warning_list(group_doubts(group)),
        changed_list(changed, defaults or {}),
        seeds_table(group, views) if several else "",
        *runs,
    )


def _breakable(line: str) -> list[Markup]:
    """A command in pieces, each an option with its values, between which a line may break."""
    first, *others = line.split(" --")
    return [tag("span", piece + " ") for piece in (first, *(f"--{piece}" for piece in others))]


def _run(
    run: RunFolder,
    views: Mapping[str, View],
    ids: Mapping[str, str],
    picture_limit: float,
    heading: bool,
) -> Markup:
    doubts = [*run_doubts(run), *(text for view in views.values() for text in view.doubts)]
    parts: list[Markup] = []
    pictures = [picture(path, run.name, picture_limit) for path in run.pictures]
    for view in views.values():
        tables = [shown(table) for table in view.tables if table.rows]
        if tables:
            parts.append(tag("h4" if heading else "h3", view.title))
            # Beside the tables, where the screen is wide enough.
            beside, pictures = pictures, []
            parts.append(tag("div", *tables, *beside, class_="tables"))
    raw = [
        folded(
            f"Every number in {name}",
            table_of("", ("", "value"), leaves(found), texts=True),
            values=True,
        )
        for name, found in run.results.items()
        if found
    ]
    return tag(
        "article",
        facts(run),
        warning_list(doubts),
        *parts,
        tag("div", *pictures, class_="tables") if pictures else "",
        option_table(run.options, defaults_of(run)),
        *raw,
    )
