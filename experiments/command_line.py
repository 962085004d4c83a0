"""The command line of ``sslsim``: which command is meant, its options, and what help shows."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

from experiments.complaints import complaint, unknown_command
from experiments.registry import GROUPS, STUDIES
from experiments.study import Study

_PURPOSE = "Predict what self-supervised learning learns and when, and check it."
_HELP = ("-h", "--help")


def parsed(arguments: Sequence[str]) -> tuple[Study, Any]:
    """The study asked for and its options.

    Parameters
    ----------
    arguments : sequence of str
        After the program's name.

    Returns
    -------
    study : Study
        A row of the registry.
    options : dataclass
        Of the class that the row names.

    Raises
    ------
    ValueError
        If they cannot be read: what is wrong and what is expected, in one line.
    SystemExit
        With status 0, once help has been printed.

    Examples
    --------
    >>> study, options = parsed(["compare", "--dim", "3"])
    >>> study.name, options.dim
    ('compare', 3)
    >>> parsed(["train", "--epochs", "10"])
    Traceback (most recent call last):
    ValueError: train has no option --epochs; did you mean --steps? (sslsim train --help lists them)
    """
    known = {study.name: study for study in STUDIES}
    words = 2 if " ".join(arguments[:2]) in known else 1
    name, rest = " ".join(arguments[:words]), list(arguments[words:])
    if name in known:
        return known[name], _options(known[name], rest)
    group, word = (name, " ".join(rest[:1])) if name in GROUPS else ("", name)
    names = _names(group)
    if word in _HELP:
        print(_table(group, names))
        raise SystemExit(0)
    raise ValueError(unknown_command(word, names, group))


def _options(study: Study, arguments: list[str]) -> Any:
    """Options from arguments; complaints are ours, reading and help are tyro's."""
    import tyro

    kind = study.options_class()
    asked = any(word in _HELP for word in arguments)
    problem = None if asked else complaint(study.name, kind, arguments)
    if problem is not None:
        raise ValueError(problem)
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(
                kind, prog=f"sslsim {study.name}", args=["--help"] if asked else arguments
            )
    except SystemExit as stop:
        if not stop.code:
            raise
    raise ValueError(_one_line(told.getvalue()))


def _names(group: str) -> dict[str, str]:
    """Summaries by name: of the commands, or of the kinds of one command."""
    if group:
        prefix = f"{group} "
        kinds = [study for study in STUDIES if study.name.startswith(prefix)]
        return {study.name.removeprefix(prefix): study.summary for study in kinds}
    return {study.name: study.summary for study in STUDIES if " " not in study.name} | GROUPS


def _table(group: str, names: dict[str, str]) -> str:
    """Help that lists commands, or the kinds of one command."""
    width = max(map(len, names))
    usage = f"sslsim {group} KIND" if group else "sslsim COMMAND"
    return "\n".join(
        [
            f"usage: {usage} [OPTIONS]",
            "",
            GROUPS.get(group, _PURPOSE),
            "",
            *(f"  {name:{width}}  {summary}" for name, summary in names.items()),
            "",
            f"`{usage} --help` explains its options; `sslsim --version` prints the version.",
        ]
    )


def _one_line(text: str) -> str:
    """The words of a framed complaint."""
    lines = [line.strip("│ ") for line in text.splitlines()]
    words = [line for line in lines if line and not set(line) & set("╭╰─")]
    return " ".join(words) or "the command line cannot be read"
