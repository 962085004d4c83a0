"""Pieces that the page is made of: tables, facts of a run, warnings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from experiments.report.checks import revision
from experiments.report.folders import RunFolder
from experiments.report.html import Markup, joined, tag
from experiments.tables import Table, mapping, words


def table_of(
    caption: str,
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    texts: bool = False,
    cards: bool = False,
) -> Markup:
    """A table that scrolls sideways where it is too wide.

    Parameters
    ----------
    caption : str
        Above it; none if empty.
    headers : sequence of str
        One a column; no head if all are empty.
    rows : iterable of sequences of str
        The cells; the first of each names the row.
    texts : bool
        Whether cells are aligned as texts, not as numbers.
    cards : bool
        Whether rows are laid out one under the other on narrow screens: for rows of long texts.

    Returns
    -------
    Markup
        The table.

    Examples
    --------
    >>> print(table_of("", ["mode", "gamma"], [["1", "0.5"]]))
    <div class="scroll"><table><thead><tr><th scope="col">mode</th><th scope="col">gamma</th></tr>\
</thead><tbody><tr><th scope="row">1</th><td>0.5</td></tr></tbody></table></div>
    """
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in headers)))
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(
                tag("td", cell, data_label=name if cards else None)
                for name, cell in zip(headers[1:], row[1:], strict=True)
            ),
        )
        for row in rows
    ]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption) if caption else "",
            head if any(headers) else "",
            tag("tbody", *body),
            class_="texts cards" if cards else "texts" if texts else None,
        ),
        class_="scroll",
    )


def shown(table: Table) -> Markup:
    """A table of a view."""
    if not table.rows:
        return Markup()
    if not table.folded:
        return table_of(table.caption, table.headers, table.rows)
    return folded(table.caption, table_of("", table.headers, table.rows))


def folded(title: str, *content: str, values: bool = False) -> Markup:
    """Content that is closed until asked for."""
    return tag("details", tag("summary", title), *content, class_="values" if values else None)


def warning_list(doubts: Iterable[str]) -> Markup:
    """Warnings under each other."""
    lines = [tag("li", doubt) for doubt in doubts]
    return tag("ul", *lines, class_="warnings") if lines else Markup()


def facts(run: RunFolder) -> Markup:
    """Where and with what a run was made, in short."""
    if not run.config:
        return Markup()
    commit, changed = revision(run.config)
    versions, machine = mapping(run.config, "versions"), mapping(run.config, "machine")
    told = []
    if run.options.get("seed") is not None:
        told.append(f"seed {words(run.options['seed'], 40)}")
    told.append(
        f"revision {commit}{' with uncommitted changes' if changed else ''}"
        if commit
        else "revision unknown"
    )
    told += [
        f"{words(name, 40)} {words(versions[name], 40)}"
        for name in ("python", "sslsim", "torch", "numpy")
        if name in versions
    ]
    told += [words(machine["platform"], 80)] if "platform" in machine else []
    if "processors" in machine:
        told.append(f"processors {words(machine['processors'], 20)}")
    if machine.get("torch_threads") is not None:
        told.append(f"threads {words(machine['torch_threads'], 20)}")
    return tag("p", "; ".join(told), class_="quiet")


def changed_list(changed: Mapping[str, object], defaults: Mapping[str, object]) -> Markup:
    """Options that differ from their defaults, with these."""
    lines = [
        tag(
            "li",
            tag("code", name),
            f" {_listed(value)} ",
            tag("span", f"(default {words(defaults[name], 60)})", class_="quiet")
            if defaults.get(name) is not None
            else "",
        )
        for name, value in changed.items()
    ]
    if not lines:
        return Markup()
    return joined(
        tag("p", "Options that differ from their defaults:", class_="quiet"),
        tag("ul", *lines, class_="options"),
    )


def _listed(value: object) -> str:
    """A value of an option as it would be given."""
    if isinstance(value, list) and value:
        return words(" ".join(words(entry, 100) for entry in value), 300)
    return words(value, 300)


def option_table(options: Mapping[str, object], defaults: Mapping[str, object] | None) -> Markup:
    """All options of a run, with their defaults beside."""
    if not options:
        return Markup()
    rows = [
        (
            name,
            words(value, 400),
            words(defaults[name], 400) if defaults and name in defaults else "-",
        )
        for name, value in options.items()
    ]
    return folded(
        f"All {len(rows)} options",
        table_of("", ("option", "value", "default"), rows, texts=True),
        values=True,
    )


def links(names: Iterable[str], ids: Mapping[str, str]) -> Markup:
    """Names of runs, each a link to its place on the page."""
    return joined(*(tag("a", name, href=f"#{ids[name]}") for name in names), between=", ")
