"""Reading JSON of which nothing is certain, and writing its numbers for people.

A report is wanted most where something went wrong, so that no shape of a result may stop it:
what is not what it should be counts as missing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from experiments.tables import number


def inside(value: Any, *keys: str) -> Any:
    """Follow keys into nested dictionaries.

    Parameters
    ----------
    value : object
        Of JSON.
    *keys : str
        From the outermost in.

    Returns
    -------
    object or None
        None where a key is missing or a value on the way is no dictionary.

    Examples
    --------
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

    Parameters
    ----------
    value, *keys
        As of :func:`inside`.

    Returns
    -------
    dict
        The very one.

    Examples
    --------
    >>> mapping({"a": {"b": 1}}, "a"), mapping([1])
    ({'b': 1}, {})
    """
    found = inside(value, *keys)
    return found if isinstance(found, dict) else {}


def sequence(value: Any, *keys: str) -> list[Any]:
    """List at the end of the keys, empty where there is none.

    Parameters
    ----------
    value, *keys
        As of :func:`inside`.

    Returns
    -------
    list
        The very one.

    Examples
    --------
    >>> sequence({"a": [1, 2]}, "a"), sequence("ab")
    ([1, 2], [])
    """
    found = inside(value, *keys)
    return found if isinstance(found, list) else []


def finite(value: Any, *keys: str) -> float | None:
    """Finite number at the end of the keys.

    Parameters
    ----------
    value, *keys
        As of :func:`inside`.

    Returns
    -------
    float or None
        None for what is no number, infinite, NaN or too large for a float.

    Examples
    --------
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

    Parameters
    ----------
    value, *keys
        As of :func:`inside`.

    Returns
    -------
    list of float or None
        Empty where there is no list.

    Examples
    --------
    >>> numbers({"a": [1, None, "x"]}, "a")
    [1.0, None, None]
    """
    return [finite(entry) for entry in sequence(value, *keys)]


def at(values: Sequence[Any], place: int) -> Any:
    """Entry of a list that may be too short.

    Parameters
    ----------
    values : sequence
        The list.
    place : int
        From 0.

    Returns
    -------
    object or None
        None beyond the end.

    Examples
    --------
    >>> at([5], 0), at([5], 1)
    (5, None)
    """
    return values[place] if 0 <= place < len(values) else None


def words(value: Any, longest: int = 160) -> str:
    """Any JSON value in one short line.

    Parameters
    ----------
    value : object
        Of JSON.
    longest : int
        Characters, beyond which the rest becomes an ellipsis.

    Returns
    -------
    str
        Texts as they are, numbers for people, all else as JSON.

    Examples
    --------
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

    Parameters
    ----------
    value : float or None
        The share, 1 for all.
    digits : int
        Significant digits.

    Returns
    -------
    str
        With the sign of per cent; ``-`` for None.

    Examples
    --------
    >>> percent(0.0266), percent(None), percent(12.3456)
    ('2.66 %', '-', '1235 %')
    """
    return "-" if value is None else f"{number(100 * value, digits)} %"


def interval(mean: Any, low: Any, high: Any, scale: float = 1.0, digits: int = 3) -> str:
    """Write a mean and its interval.

    Parameters
    ----------
    mean, low, high : float or None
        The mean and the ends of the interval.
    scale : float
        Factor on all of them: 100 for percentage points.
    digits : int
        Significant digits.

    Returns
    -------
    str
        The mean alone where an end is missing.

    Examples
    --------
    >>> interval(0.5, 0.4, 0.6), interval(0.5, None, None), interval(0.01, 0, 0.02, scale=100)
    ('0.5 [0.4, 0.6]', '0.5', '1 [0, 2]')
    """
    shown = [None if finite(v) is None else scale * float(v) for v in (mean, low, high)]
    text = number(shown[0], digits)
    if shown[0] is None or shown[1] is None or shown[2] is None:
        return text
    return f"{text} [{number(shown[1], digits)}, {number(shown[2], digits)}]"


def leaves(value: Any, longest: int = 400, deepest: int = 6) -> list[tuple[str, str]]:
    """Flatten nested dictionaries into lines of a path and what is there.

    Parameters
    ----------
    value : object
        Of JSON.
    longest : int
        Lines, beyond which the rest is counted only.
    deepest : int
        Levels of dictionaries; what lies deeper is one line.

    Returns
    -------
    list of tuple of str
        Paths with dots between keys; lists of more than eight entries are told by their length.

    Examples
    --------
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
