"""Plain text tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence


def number(value: float | None, digits: int = 4) -> str:
    """Write a time or an eigenvalue for people.

    Parameters
    ----------
    value : float or None
        The number; infinite or None for what does not happen.
    digits : int
        Significant digits.

    Returns
    -------
    str
        At most so many digits; ``never`` for infinity, ``-`` for None and NaN.

    Examples
    --------
    >>> number(0.123456), number(12345.6, 3), number(float("inf")), number(None)
    ('0.1235', '12346', 'never', '-')
    """
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "never"
    whole = 10**digits <= abs(value) < 1e9
    return f"{value:.0f}" if whole else f"{value:.{digits}g}"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows under headers, every column aligned to the right.

    Parameters
    ----------
    headers : sequence of str
        One for each column.
    rows : sequence of sequences of str
        The cells.

    Returns
    -------
    str
        Lines without a final newline.

    Examples
    --------
    >>> print(table(["mode", "gamma"], [["1", "0.5"], ["10", "0.25"]]))
    mode  gamma
       1    0.5
      10   0.25
    """
    lines = [list(headers), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
