"""What a run was asked: its options beside the defaults, and as a command line."""

from __future__ import annotations

import dataclasses
import json
import shlex
from functools import cache
from typing import Any

from experiments.registry import STUDIES
from experiments.report.folders import RunFolder
from experiments.tables import words
from sslsim.core.files import plain

PLACES = frozenset({"out", "root"})  # where things lie, which changes no number


@cache
def option_defaults(command: str, study: str | None = None) -> dict[str, Any] | None:
    """Defaults of a command's options, as they are in ``config.json``."""
    name = command if study is None else f"{command} {study}"
    row = next((row for row in STUDIES if row.name == name), None)
    if row is None:
        return None
    found = {}
    for field in dataclasses.fields(row.options_class()):
        if field.default is not dataclasses.MISSING:
            found[field.name] = plain(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = plain(field.default_factory())
    return found


def defaults_of(run: RunFolder) -> dict[str, Any] | None:
    """Defaults of the options that a run was given."""
    study = run.options.get("study")
    return option_defaults(run.command, study if isinstance(study, str) else None)


def changed_options(run: RunFolder) -> dict[str, Any]:
    """Options that differ from their defaults."""
    defaults = defaults_of(run) or {}
    return {
        name: value
        for name, value in run.options.items()
        if name not in PLACES and not (name in defaults and _same(defaults[name], value))
    }


def command_line(run: RunFolder, leave_out: frozenset[str] = frozenset()) -> str:
    """The command that a run was made by, with what differs from the defaults."""
    if not run.command:
        return ""
    parts = ["sslsim", run.command]
    study = run.options.get("study")
    if run.command == "bench" and isinstance(study, str):
        parts.append(shlex.quote(study))
    for name, value in changed_options(run).items():
        if name in leave_out or name == "study":
            continue
        option = name.replace("_", "-")
        if isinstance(value, bool):
            parts.append(f"--{option}" if value else f"--no-{option}")
        elif isinstance(value, list):
            parts += [f"--{option}", *(shlex.quote(words(entry)) for entry in value)]
        else:
            parts += [f"--{option}", shlex.quote(_written(value))]
    return " ".join(parts)


def _written(value: Any) -> str:
    """Numbers with all their digits: a command line is for being given again."""
    return repr(value) if isinstance(value, (int, float)) else words(value, 1000)


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
