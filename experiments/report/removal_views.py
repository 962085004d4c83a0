"""What is shown of encoders trained without memorised images, and with a penalty on alignment."""

from __future__ import annotations

from typing import Any

from experiments.report.values import finite, interval, mapping, percent, sequence, words
from experiments.report.view import Agreement, Result, Table, View

_POINTS = 100.0  # differences of accuracies are in percentage points


def removal_view(result: Result) -> View:
    """Accuracies by what was removed from training.

    Parameters
    ----------
    result : mapping
        Of ``removal.json``.

    Returns
    -------
    View
        A table a data set and measure; against random removal, where that was done.

    Examples
    --------
    >>> point = {"share": 0.1, "accuracy": {"mean": 0.5}, "from_none": {"mean": -0.02},
    ...          "from_random": {"mean": -0.01, "low": -0.03, "high": 0.01}}
    >>> found = removal_view({"results": [{"data": "digits", "measure": "linear",
    ...                       "none": {"mean": 0.52}, "curves": [{"which": "most",
    ...                                                           "points": [point]}]}]})
    >>> found.tables[0].rows[1], found.agreements[0].found
    (('most', '10 %', '50', '-2', '-1 [-3, 1]'), '-1 [-3, 1] points')
    """
    tables, agreements = [], []
    for one in _entries(result, "results"):
        told = f"{words(one.get('measure'), 40)}, {words(one.get('data'), 60)}"
        rows = [("none", percent(0.0), _summary(one, "none"), "-", "-")]
        for curve in _entries(one, "curves"):
            which, points = words(curve.get("which"), 40), _entries(curve, "points")
            for point in points:
                share = percent(finite(point, "share"))
                beyond = _summary(point, "from_random")
                both = (_summary(point, "accuracy"), _summary(point, "from_none"))
                rows.append((which, share, *both, beyond))
                if point is points[-1] and beyond != "-":
                    what = f"{told}: {which} memorised {share} removed, against as many at random"
                    agreements.append(Agreement(what, f"{beyond} points", "0 if scores do not say"))
        caption = f"{told}: accuracy in per cent by images removed from the encoder's training"
        headers = ("removed", "share", "accuracy", "less that of none", "less that of random ones")
        tables.append(Table(caption, headers, tuple(rows)))
    return View("Removal", (), tuple(agreements), tuple(tables), _few_seeds(result))


def penalty_view(result: Result) -> View:
    """Memorisation scores and accuracies by the strength of a penalty.

    Parameters
    ----------
    result : mapping
        Of ``penalty.json``.

    Returns
    -------
    View
        A table a target: every measure at every strength, less its value without penalty.

    Examples
    --------
    >>> found = penalty_view({"seeds": [0], "rows": [{"target": "all", "strength": 0.5,
    ...     "measures": {"linear: digits": {"value": {"mean": 0.5}, "from_zero": {"mean": 0.1}}}}]})
    >>> found.tables[0].rows, found.doubts
    ((('0.5', 'linear: digits', '0.5', '0.1'),), ('1 seed, no interval',))
    """
    targets: dict[str, list[tuple[str, ...]]] = {}
    for row in _entries(result, "rows"):
        held = targets.setdefault(words(row.get("target"), 40), [])
        for name, measure in mapping(row, "measures").items():
            both = (_summary(measure, "value", 1.0), _summary(measure, "from_zero", 1.0))
            held.append((words(row.get("strength"), 20), words(name, 60), *both))
    headers = ("strength", "measure", "value", "less that of strength 0")
    tables = tuple(
        Table(f"Penalty on alignment, paid by {target}", headers, tuple(rows))
        for target, rows in targets.items()
    )
    return View("Penalty", tables=tables, doubts=_few_seeds(result))


def _entries(value: Any, key: str) -> list[dict[str, Any]]:
    return [entry for entry in sequence(value, key) if isinstance(entry, dict)]


def _summary(value: Any, key: str, scale: float = _POINTS) -> str:
    mean, low, high = (finite(value, key, name) for name in ("mean", "low", "high"))
    return interval(mean, low, high, scale)


def _few_seeds(result: Result) -> tuple[str, ...]:
    seeds = len(sequence(result, "seeds"))
    if seeds == 1:
        return ("1 seed, no interval",)
    return (f"{seeds} seeds, fewer than three",) if seeds == 2 else ()
