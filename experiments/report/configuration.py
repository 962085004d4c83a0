"""What a run was asked: its options beside the defaults, and as a command line."""

from __future__ import annotations

import dataclasses
import json
import shlex
from functools import cache
from typing import Any

from experiments.report.folders import RunFolder
from experiments.study import imported
from experiments.tables import words
from sslsim.core.files import plain

PLACES = frozenset({"out", "root"})  # where things lie, which changes no number


@cache
def option_defaults(options: str) -> dict[str, Any]:
    """Defaults of a class of options, named as the registry does, as ``config.json`` has them."""
    defaults = {}
    for field in dataclasses.fields(imported(options)):
        if field.default is not dataclasses.MISSING:
            defaults[field.name] = plain(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = plain(field.default_factory())
    return defaults


def defaults_of(run: RunFolder) -> dict[str, Any] | None:
    """Defaults of the options that a run was given; None where its command is unknown."""
    return None if run.study is None else option_defaults(run.study.options)


def changed_options(run: RunFolder) -> dict[str, Any]:
    """Options that differ from their defaults."""
    defaults = defaults_of(run) or {}
    return {
        name: value
        for name, value in run.options.items()
        if name not in PLACES and not (name in defaults and _same(defaults[name], value))
    }


def command_line(run: RunFolder, leave_out: frozenset[str] = frozenset()) -> list[str]:
    """The command that a run was made by, in pieces: each option with its values is one."""
    if not run.command or (run.study is not None and not run.study.run):
        return []
    pieces = [f"sslsim {run.study.name if run.study else run.command}"]
    for name, value in changed_options(run).items():
        if name in leave_out or name == "study":  # of benchmarks, in older folders
            continue
        option = name.replace("_", "-")
        if isinstance(value, bool):
            pieces.append(f"--{option}" if value else f"--no-{option}")
        else:
            values = map(words, value) if isinstance(value, list) else [_written(value)]
            pieces.append(" ".join([f"--{option}", *map(shlex.quote, values)]))
    return pieces


def _written(value: Any) -> str:
    """Numbers with all their digits: a command line is for being given again."""
    return repr(value) if isinstance(value, (int, float)) else words(value, 1000)


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
