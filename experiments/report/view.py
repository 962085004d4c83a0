"""What a report shows of one result: numbers, comparisons, tables and doubts, no markup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.report.values import percent
from experiments.tables import number

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Number:
    """A main number of a result, one that is worth a mean over seeds.

    Attributes
    ----------
    label : str
        What it is.
    value : float or None
        None where it could not be had.
    share : bool
        Whether it is written in per cent.

    Examples
    --------
    >>> Number("mean error", 0.0266, share=True).written(0.0266)
    '2.66 %'
    """

    label: str
    value: float | None
    share: bool = False

    def written(self, value: float | None) -> str:
        """Write a value of this kind, the number's own or a mean of several."""
        return percent(value) if self.share else number(value)


@dataclass(frozen=True)
class Agreement:
    """How far theory and experiment agree in one respect.

    Attributes
    ----------
    what : str
        The quantity, and how agreement is measured.
    found : str
        The measure.
    beside : str
        What it is to be compared with: chance, a naive prediction, another signal.

    Examples
    --------
    >>> Agreement("embedding, subspace alignment", "0.57", "chance 0.06").beside
    'chance 0.06'
    """

    what: str
    found: str
    beside: str


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes
    ----------
    caption : str
        Says what the rows are.
    headers : tuple of str
        One a column.
    rows : tuple of tuple of str
        The cells.
    folded : bool
        Whether it is closed until asked for.

    Examples
    --------
    >>> Table("modes", ("mode", "gamma"), (("1", "0.5"),)).rows
    (('1', '0.5'),)
    """

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    folded: bool = False


@dataclass(frozen=True)
class View:
    """What is shown of one result file.

    Attributes
    ----------
    title : str
        Of the part of the page.
    numbers : tuple of Number
        The main ones.
    agreements : tuple of Agreement
        Of theory and experiment.
    tables : tuple of Table
        In the order shown.
    doubts : tuple of str
        What a reader is to be warned of.

    Examples
    --------
    >>> View("Training").tables
    ()
    """

    title: str
    numbers: tuple[Number, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    tables: tuple[Table, ...] = ()
    doubts: tuple[str, ...] = ()
