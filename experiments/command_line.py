"""The command line of ``sslsim``: which command is meant, its options, and what help shows."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from experiments.registry import GROUPS, STUDIES
from experiments.study import Study

SYNONYMS: dict[str, tuple[str, ...]] = {
    "epochs": ("steps",),
    "max-epochs": ("epochs", "steps"),
    "n-epochs": ("epochs", "steps"),
    "num-epochs": ("epochs", "steps"),
    "base-lr": ("lr", "lr-reference-batch"),
    "cache-dir": ("cache",),
    "streaming": ("stream",),
    "iterations": ("steps", "max-iterations"),
    "iters": ("steps", "max-iterations"),
    "n-steps": ("steps",),
    "num-steps": ("steps",),
    "max-steps": ("steps", "max-iterations"),
    "learning-rate": ("lr", "outer-lr"),
    "eta": ("lr", "outer-lr"),
    "batch-size": ("batch",),
    "bs": ("batch",),
    "wd": ("weight-decay",),
    "scheduler": ("schedule",),
    "lr-schedule": ("schedule",),
    "warmup-steps": ("warmup",),
    "optim": ("optimizer",),
    "model": ("encoder", "module", "run"),
    "arch": ("encoder",),
    "architecture": ("encoder",),
    "backbone": ("encoder",),
    "network": ("encoder", "networks"),
    "loss": ("method",),
    "objective": ("method",),
    "algorithm": ("method",),
    "temp": ("temperature",),
    "tau": ("temperature",),
    "dataset": ("data",),
    "dataset-name": ("data",),
    "data-dir": ("root", "data"),
    "data-root": ("root", "data"),
    "data-path": ("root", "data"),
    "download-dir": ("root",),
    "image-size": ("size",),
    "img-size": ("size",),
    "resolution": ("size",),
    "augmentation": ("views",),
    "augment": ("views",),
    "transform": ("views",),
    "n-pairs": ("pairs", "samples"),
    "num-pairs": ("pairs", "samples"),
    "n-samples": ("samples", "pairs", "limit"),
    "num-samples": ("samples", "pairs", "limit"),
    "embedding-dim": ("dim",),
    "embed-dim": ("dim",),
    "d": ("dim",),
    "hidden": ("widths", "width"),
    "random-state": ("seed",),
    "random-seed": ("seed",),
    "gpu": ("device",),
    "cuda": ("device",),
    "amp": ("precision",),
    "dtype": ("precision",),
    "output-dir": ("out",),
    "save-dir": ("out",),
    "o": ("out",),
    "folder": ("run", "out"),
    "run-dir": ("run", "out"),
    "logdir": ("out",),
    "confidence": ("interval-level",),
    "level": ("interval-level",),
}
"""Names that other programs use, and the options of ours that they may mean."""

ALTERNATIVES = (("epochs", "steps"),)
"""Options of which one at most is given."""


def complaint(command: str, kind: Any, arguments: Sequence[str]) -> str | None:
    """What is wrong with the arguments of a command, if anything."""
    options = options_of(kind)
    flags = {f"no-{name}": option for name, option in options.items() if option.flag}
    named = {name: option for name, option in options.items() if not option.positional} | flags
    alone = not any(option.positional for option in options.values())
    given = _given(arguments)
    for typed, values in given:
        if not typed:
            if any(not value.strip() for value in values):
                return f"an argument is empty {_help(command)}"
            if values and alone:
                return f"{command} takes options only, not {values[0]!r} {_help(command)}"
            continue
        name = _bare(typed)
        if name not in named or not typed.startswith("--"):
            return f"{command} has no option {typed}{_meant(name, named)} {_help(command)}"
        problem = named[name].problem(name, values, alone)
        if problem is not None:
            return problem
    names = {_bare(typed) for typed, _ in given}
    for one, other in ALTERNATIVES:
        if {one, other} <= names:
            return f"--{one} and --{other} are both given; expected one of them"
    for name, option in options.items():
        places = ("", name) if option.positional else (name,)
        if option.required and not any(values for typed, values in given if _bare(typed) in places):
            shown = name if option.positional else f"--{name}"
            return f"{command} needs {shown}; expected {option.expected} {_help(command)}"
    return None


def unknown_command(word: str, names: Iterable[str], group: str = "") -> str:
    """What to say of a command, or of a kind of one, that does not exist."""
    names, noun = list(names), f"kind of {group}" if group else "command"
    if not word or word.startswith("-"):
        place = f" before {word}" if word else ""
        return f"expected a {noun}{place}: one of {', '.join(names)} {_help(group)}"
    near = get_close_matches(word, names, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"there is no {noun} {word}{meant} {_help(group)}"


@dataclass(frozen=True)
class _Option:
    """An option: the type of its values, and how it may be given; ``named``: by a name of code."""

    hint: Any
    named: bool
    optional: bool
    positional: bool
    required: bool

    @property
    def flag(self) -> bool:
        return self.hint is bool and not self.optional

    @property
    def several(self) -> bool:
        return get_origin(self.hint) is tuple

    @property
    def choices(self) -> tuple[str, ...]:
        element = get_args(self.hint)[0] if self.several else self.hint
        if element is bool:
            return ("True", "False")
        return tuple(map(str, get_args(element))) if get_origin(element) is Literal else ()

    @property
    def expected(self) -> str:
        """What its values have to be."""
        if self.choices:
            more = ", or package.module:name" if self.named else ""
            return f"{'some' if self.several else 'one'} of {', '.join(self.choices)}{more}"
        if self.several:
            return f"{_PLURAL.get(get_args(self.hint)[0], 'names')}"
        return _SINGULAR.get(self.hint, "a name")

    def problem(self, name: str, values: list[str], alone: bool) -> str | None:
        """What is wrong with its values, if anything; ``alone`` where no other value may follow."""
        if self.flag:
            yes = name.removeprefix("no-")
            if values and alone:
                return f"{name} takes no value, not {values[0]!r}; expected --{yes} or --no-{yes}"
            return None
        if not values and not self.several:
            return f"{name} has no value; expected {self.expected}"
        if len(values) > 1 and alone and not self.several:
            return f"{name} is {' '.join(values)!r}; expected {self.expected}"
        if any(not value.strip() for value in values):
            return f"{name} is empty; expected {self.expected}"
        wrong = (value for value in values if not self._reads(value))
        return next((f"{name} is {value!r}; expected {self.expected}" for value in wrong), None)

    def _reads(self, value: str) -> bool:
        if self.choices:
            none = self.optional and value == "None"
            return value in self.choices or none or (self.named and ":" in value)
        element = get_args(self.hint)[0] if self.several else self.hint
        if element in (int, float) and not (self.optional and value == "None"):
            try:
                element(value)
            except ValueError:
                return False
        return True


_SINGULAR = {int: "a whole number", float: "a number", Path: "a path"}
_PLURAL = {int: "whole numbers", float: "numbers", Path: "paths"}


def options_of(kind: Any) -> dict[str, _Option]:
    """Options of a class, by their names on the command line."""
    hints = get_type_hints(kind, include_extras=True)
    found = {}
    for field in fields(kind):
        hint = hints[field.name]
        positional = get_origin(hint) is Annotated
        hint = get_args(hint)[0] if positional else hint
        parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        found[field.name.replace("_", "-")] = _Option(
            next(part for part in parts if part is not type(None)),
            named=str in parts and len(set(parts) - {type(None)}) > 1,
            optional=type(None) in parts,
            positional=positional,
            required=field.default is MISSING and field.default_factory is MISSING,
        )
    return found


def _given(arguments: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Options as typed, each with the values behind it; first the values before any option."""
    found: list[tuple[str, list[str]]] = [("", [])]
    for word in arguments:
        if word.startswith("-") and not _is_number(word):
            typed, equals, value = word.partition("=")
            found.append((typed, [value] if equals else []))
        else:
            found[-1][1].append(word)
    return found


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _bare(typed: str) -> str:
    return typed.lstrip("-").replace("_", "-")


def _meant(name: str, known: Iterable[str]) -> str:
    """A question after the option that was meant, if any comes near."""
    known = sorted(known)
    near = [
        *(other for other in SYNONYMS.get(name.lower(), ()) if other in known),
        *get_close_matches(name.lower(), known, 1),
        *(other for other in known if name in other.split("-")),
    ]
    return f"; did you mean --{near[0]}?" if near else ""


def _help(command: str) -> str:
    return f"({' '.join(filter(None, ['sslsim', command]))} --help lists them)"


_PURPOSE = "Predict what self-supervised learning learns and when, and check it."
_HELP = ("-h", "--help")


def parsed(arguments: Sequence[str], studies: Sequence[Study] = STUDIES) -> tuple[Study, Any]:
    """The study that the arguments name, and its options."""
    known = {study.name: study for study in studies}
    words = 2 if " ".join(arguments[:2]) in known else 1
    name, rest = " ".join(arguments[:words]), list(arguments[words:])
    if name in known:
        return known[name], _options(known[name], rest)
    group, word = (name, " ".join(rest[:1])) if name in GROUPS else ("", name)
    names = _names(group, studies)
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
            options = tyro.cli(
                kind, prog=f"sslsim {study.name}", args=["--help"] if asked else arguments
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ValueError(_one_line(told.getvalue())) from None
    if hasattr(options, "check"):
        options.check()
    return options


def _names(group: str, studies: Sequence[Study]) -> dict[str, str]:
    """Summaries by name: of the commands, or of the kinds of one command."""
    if group:
        prefix = f"{group} "
        kinds = [study for study in studies if study.name.startswith(prefix)]
        return {study.name.removeprefix(prefix): study.summary for study in kinds}
    return {study.name: study.summary for study in studies if " " not in study.name} | GROUPS


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
