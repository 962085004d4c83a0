"""Numbers and tables as text, and reading values out of JSON that may hold anything."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any


def number(value: float | None, digits: int = 4) -> str:
    """Write a time or an eigenvalue for people.

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


def inside(value: Any, *keys: str) -> Any:
    """Follow keys into nested dictionaries.

    >>> inside({"a": {"b": 1}}, "a", "b"), inside({"a": 3}, "a", "b")
    (1, None)
    """
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def mapping(value: Any, *keys: str) -> dict[str, Any]:
    """Dictionary at the end of the keys, empty where there is none.

    >>> mapping({"a": {"b": 1}}, "a"), mapping([1])
    ({'b': 1}, {})
    """
    found = inside(value, *keys)
    return found if isinstance(found, dict) else {}


def sequence(value: Any, *keys: str) -> list[Any]:
    """List at the end of the keys, empty where there is none.

    >>> sequence({"a": [1, 2]}, "a"), sequence("ab")
    ([1, 2], [])
    """
    found = inside(value, *keys)
    return found if isinstance(found, list) else []


def finite(value: Any, *keys: str) -> float | None:
    """Finite number at the end of the keys.

    >>> finite({"a": 2}, "a"), finite(True), finite(float("inf")), finite(10**400)
    (2.0, None, None, None)
    """
    found = inside(value, *keys)
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return None
    try:
        return float(found) if math.isfinite(found) else None
    except OverflowError:
        return None


def numbers(value: Any, *keys: str) -> list[float | None]:
    """Each entry of a list as :func:`finite` reads it.

    >>> numbers({"a": [1, None, "x"]}, "a")
    [1.0, None, None]
    """
    return [finite(entry) for entry in sequence(value, *keys)]


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are known.

    >>> mean_of([1.0, None, 2.0]), mean_of([None])
    (1.5, None)
    """
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def at(values: Sequence[Any], place: int) -> Any:
    """Entry of a list that may be too short.

    >>> at([5], 0), at([5], 1)
    (5, None)
    """
    return values[place] if 0 <= place < len(values) else None


def words(value: Any, longest: int = 160) -> str:
    """Any JSON value in one short line.

    >>> words("a b"), words(0.123456789), words(None), words([1, 2]), words("abcdef", 3)
    ('a b', '0.1235', '-', '[1, 2]', 'abc…')
    """
    if value is None:
        found = "-"
    elif isinstance(value, bool):
        found = "yes" if value else "no"
    elif isinstance(value, str):
        found = value
    elif isinstance(value, float):
        found = number(value)
    else:
        try:
            found = json.dumps(value, ensure_ascii=False)
        except RecursionError:
            found = "(nested too deeply to show)"
    return found if len(found) <= longest else found[:longest] + "…"


def percent(value: float | None, digits: int = 3) -> str:
    """Write a share in per cent.

    >>> percent(0.0266), percent(None), percent(12.3456)
    ('2.66 %', '-', '1235 %')
    """
    return "-" if value is None else f"{number(100 * value, digits)} %"


def interval(mean: Any, low: Any, high: Any, scale: float = 1.0, digits: int = 3) -> str:
    """Write a mean and its interval.

    >>> interval(0.5, 0.4, 0.6), interval(0.5, None, None), interval(0.01, 0, 0.02, scale=100)
    ('0.5 [0.4, 0.6]', '0.5', '1 [0, 2]')
    """
    shown = [None if finite(v) is None else scale * float(v) for v in (mean, low, high)]
    text = number(shown[0], digits)
    if shown[0] is None or shown[1] is None or shown[2] is None:
        return text
    return f"{text} [{number(shown[1], digits)}, {number(shown[2], digits)}]"


def interval_of(value: Any, *keys: str, scale: float = 1.0, digits: int = 3) -> str:
    """Write the ``mean``, ``low`` and ``high`` that a dictionary holds.

    >>> interval_of({"gain": {"mean": 0.5, "low": 0.4, "high": 0.6}}, "gain", scale=10)
    '5 [4, 6]'
    """
    mean, low, high = (finite(value, *keys, name) for name in ("mean", "low", "high"))
    return interval(mean, low, high, scale, digits)


def entries(value: Any, *keys: str) -> list[dict[str, Any]]:
    """The dictionaries in a list.

    >>> entries({"a": [{"b": 1}, 2]}, "a")
    [{'b': 1}]
    """
    return [entry for entry in sequence(value, *keys) if isinstance(entry, dict)]


def leaves(value: Any, longest: int = 400, deepest: int = 6) -> list[tuple[str, str]]:
    """Flatten nested dictionaries into lines of a path and what is there.

    >>> leaves({"a": {"b": 1, "c": [0] * 9}, "d": "x"})
    [('a.b', '1'), ('a.c', '9 entries: 0, 0, 0, …'), ('d', 'x')]
    """

    def walk(path: str, entry: Any, level: int) -> Iterator[tuple[str, str]]:
        if isinstance(entry, dict) and entry and level < deepest:
            for key, item in entry.items():
                yield from walk(f"{path}.{key}" if path else str(key), item, level + 1)
        elif isinstance(entry, list) and len(entry) > 8:
            first = ", ".join(words(item, 40) for item in entry[:3])
            yield path, f"{len(entry)} entries: {first}, …"
        else:
            yield path, words(entry)

    found = list(walk("", value, 0))
    if len(found) > longest:
        found = [*found[:longest], ("…", f"{len(found) - longest} more")]
    return found
