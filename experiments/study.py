"""What a command of ``sslsim`` is: its name, its options, what it runs and what it draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any


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
    figure : str or None
        Function of the folder that draws it.
    folder : str or None
        Option that names the run folder written to, which no other command may write to meanwhile;
        None of a command that writes elsewhere.
    instead : mapping of str to Study
        Studies that take this one's place where an option, named by the key, is given.

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
    figure: str | None = None
    folder: str | None = "out"
    instead: Mapping[str, Study] = field(default_factory=dict)

    def options_class(self) -> Any:
        """Class of the options."""
        return imported(self.options)

    def chosen(self, options: Any) -> Study:
        """The study that these options ask for: this one, or one that takes its place."""
        given = (study for name, study in self.instead.items() if getattr(options, name))
        return next(given, self)


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
