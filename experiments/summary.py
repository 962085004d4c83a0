"""What is shown of a result, on the terminal and on the page of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.tables import number, percent, table

Result = Mapping[str, Any]
"""A result file, as JSON holds it: anything may be missing or of another kind."""

_MOST_ROWS = 60  # of a table on the terminal


@dataclass(frozen=True)
class Number:
    """A main number, one that is worth a mean over seeds; ``value`` is None where it is unknown."""

    label: str
    value: float | None
    share: bool = False  # written in per cent

    def written(self, value: float | None) -> str:
        """Write a value of this kind, the number's own or a mean of several.

        >>> Number("mean error", 0.0266, share=True).written(0.0266)
        '2.66 %'
        """
        return percent(value) if self.share else number(value)


@dataclass(frozen=True)
class Claim:
    """What a study claims above all: a number with its interval, and what to compare it with.

    ``beside`` are numbers of baselines, ``note`` a baseline in words; no interval leaves ``range``,
    the values that the number can have.
    """

    number: Number
    low: float | None = None
    high: float | None = None
    beside: tuple[Number, ...] = ()
    note: str = ""
    range: tuple[float, float] = (-math.inf, math.inf)


NOT_NEGATIVE = (0.0, math.inf)


@dataclass(frozen=True)
class Agreement:
    """How far theory and experiment agree: a quantity, its measure, and what to compare it with."""

    quantity: str
    measure: str
    baseline: str


@dataclass(frozen=True)
class Table:
    """A table of texts; on a page one that is ``folded`` is closed until opened."""

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    folded: bool = False


@dataclass(frozen=True)
class Summary:
    """What is shown of one result file; ``caveats`` are what a reader is to be warned of."""

    title: str
    numbers: tuple[Number, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    tables: tuple[Table, ...] = ()
    caveats: tuple[str, ...] = ()
    claim: Claim | None = None


def as_text(summary: Summary) -> str:
    """Render a summary for the terminal: tables first, so that what matters most ends the text.

    Folded tables are left to the page. A number that is also an agreement is shown once, as the
    agreement.

    >>> steps = Table("Steps", ("mode", "time"), (("1", "7.352"),))
    >>> print(as_text(Summary("", (Number("mean error", 0.01, True),), (), (steps,), ("1 seed",))))
    Steps
    mode   time
       1  7.352
    <BLANKLINE>
    mean error: 1 %
    caution: 1 seed
    >>> agreed = Agreement("mean error", "1 %", "naive 4 %")
    >>> print(as_text(Summary("", (Number("mean error", 0.01, True),), (agreed,))))
    mean error: 1 % (naive 4 %)
    """
    parts = [_table_text(shown) for shown in summary.tables if shown.rows and not shown.folded]
    agreed = {agreement.quantity for agreement in summary.agreements}  # with its baseline
    lines = [
        *(
            f"{one.label}: {one.written(one.value)}"
            for one in summary.numbers
            if one.value is not None and one.label not in agreed
        ),
        *(f"{one.quantity}: {one.measure} ({one.baseline})" for one in summary.agreements),
        *(f"caution: {text}" for text in summary.caveats),
    ]
    return "\n\n".join([*parts, *filter(None, ["\n".join(lines)])])


def _table_text(shown: Table) -> str:
    rows = shown.rows[:_MOST_ROWS]
    laid_out = table(shown.headers, rows) if any(shown.headers) else table(rows[0], rows[1:])
    left = len(shown.rows) - len(rows)
    more = f"\n({left} more rows, which `sslsim report` shows)" if left else ""
    return f"{shown.caption}\n{laid_out}{more}"
