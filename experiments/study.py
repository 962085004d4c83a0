"""What a command of ``sslsim`` is: its options, what it runs, leaves, shows and draws."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from experiments.summary import Result, Summary, as_text
from sslsim.core.files import read_json
from sslsim.core.locks import only_writer


@dataclass(frozen=True)
class Study:
    """One command.

    Functions and classes are named as ``"package.module:attribute"`` and imported when needed, so
    that help costs nothing.

    Attributes
    ----------
    name : str
        What is typed after ``sslsim``; a benchmark has two words.
    summary : str
        One line for ``sslsim --help``.
    options : str
        Class of the options, a frozen dataclass that imports no torch.
    run : str
        Function of the options that runs the study and returns the folder written to, if any.
    files : tuple of str
        What it leaves in its folder whenever it finishes, its result first; empty for a command
        without a result.
    tables : str or None
        Function of the result, as JSON holds it, that returns the
        :class:`experiments.summary.Summary` shown on the terminal and by ``sslsim report``. It
        takes any JSON: a file may be damaged or of another version.
    figure : str or None
        Function of the folder that draws it.
    captions : mapping of str to str
        What the pictures show, by file name; those that are drawn in some cases only, too.
    folder : str or None
        Option that names the run folder written to, which no other command may write to meanwhile;
        None for a command that writes elsewhere.
    parts : str or None
        Function of the options that returns what several processes may make, by key: functions
        without arguments, each of which stores its result in the folder; None for a study of one
        process.
    seeded : bool
        Whether the numbers vary with the seed, so that a report asks for several seeds.
    prints : bool
        Whether ``run`` prints its own tables; those of ``tables`` are for the report alone.
    instead : mapping of str to Study
        Studies that take this one's place where an option, named by the key, is given. A key that
        ends in ``...`` asks for several values of the option.

    Examples
    --------
    >>> Study("predict", "Predict.", "experiments.options:PredictOptions", "").options_class()()
    ... # doctest: +ELLIPSIS
    PredictOptions(data='digits', ...)
    """

    name: str
    summary: str
    options: str
    run: str
    files: tuple[str, ...] = ()
    tables: str | None = None
    figure: str | None = None
    captions: Mapping[str, str] = field(default_factory=dict)
    folder: str | None = "out"
    parts: str | None = None
    seeded: bool = False
    prints: bool = False
    instead: Mapping[str, Study] = field(default_factory=dict)

    def options_class(self) -> Any:
        """Class of the options."""
        return imported(self.options)

    def chosen(self, options: Mapping[str, Any]) -> Study:
        """The study that these options ask for: this one, or one that takes its place.

        >>> several = Study("ntk", "Compare.", "", "")
        >>> study = Study("ntk", "Predict.", "", "", instead={"run ...": several})
        >>> study.chosen({"run": ["a", "b"]}) is several, study.chosen({"run": ["a"]}) is study
        (True, True)
        """
        for key, study in self.instead.items():
            name, _, several = key.partition(" ")
            value = options.get(name)
            if isinstance(value, (list, tuple)) and len(value) > 1 if several else value:
                return study
        return self

    def summary_of(self, result: Result) -> Summary | None:
        """What is shown of a result; None for a command without tables."""
        if self.tables is None:
            return None
        summary: Summary = imported(self.tables)(result)
        return summary

    def text_of(self, folder: Path) -> str:
        """What the terminal shows of the result in a folder."""
        summary = self.summary_of(read_json(folder / self.files[0])) if self.files else None
        return "" if summary is None else as_text(summary)


def execute(study: Study, options: Any) -> Path | None:
    """Run a study as its options ask, print what it found and draw its figure.

    Parameters
    ----------
    study : Study
        A row of the registry.
    options : dataclass
        Of the class that the row names.

    Returns
    -------
    Path or None
        The folder that was written to, if any.
    """
    study = study.chosen(vars(options))
    written = None if study.folder is None else getattr(options, study.folder)
    with only_writer(written) if written is not None and speaks() else nullcontext():
        folder: Path | None = imported(study.run)(options)
        if folder is not None and speaks():
            if study.tables is not None and not study.prints:
                print(study.text_of(folder), flush=True)
            if study.figure is not None:
                imported(study.figure)(folder)
    return folder


def speaks() -> bool:
    """Whether this process prints and draws: one of those that torchrun starts."""
    return os.environ.get("RANK", "0") == "0"


def variants(studies: Sequence[Study]) -> list[Study]:
    """Every study and those that take its place.

    >>> study = Study("ntk", "Predict.", "", "", instead={"run ...": Study("ntk", "All.", "", "")})
    >>> [variant.summary for variant in variants((study,))]
    ['Predict.', 'All.']
    """
    return [variant for study in studies for variant in (study, *study.instead.values())]


def imported(name: str) -> Any:
    """Import what a study names.

    Parameters
    ----------
    name : str
        ``"package.module:attribute"``.

    Returns
    -------
    object
        The attribute.

    Examples
    --------
    >>> imported("math:sqrt")(9.0)
    3.0
    """
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
