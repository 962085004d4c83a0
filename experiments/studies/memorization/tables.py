"""What removals and penalties change, over seeds: means, intervals and paired differences."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from experiments.studies.umm.tables import summed_up
from experiments.tables import (
    Agreement,
    Result,
    Table,
    View,
    finite,
    interval,
    mapping,
    number,
    percent,
    sequence,
    table,
    words,
)

NONE = "none"  # nothing removed


def removal_curves(cells: Sequence[Mapping[str, Any]], level: float) -> list[dict[str, Any]]:
    """Accuracy against what was removed."""
    found = []
    for data, measure in dict.fromkeys((one["data"], one["measure"]) for one in cells):
        those = [one for one in cells if (one["data"], one["measure"]) == (data, measure)]
        values = {(one["which"], one["removed"], one["seed"]): one["accuracy"] for one in those}
        curves = []
        for which in dict.fromkeys(one["which"] for one in those if one["which"] != NONE):
            own = [one for one in those if one["which"] == which]
            points = []
            for removed, share in dict.fromkeys((one["removed"], one["share"]) for one in own):
                here = _by_seed(values, (which, removed))
                points.append(
                    {
                        "share": share,
                        "removed": removed,
                        "accuracy": summed_up(list(here.values()), level),
                        "from_none": _paired(here, _by_seed(values, (NONE, 0)), level),
                        "from_random": None
                        if which == "random"
                        else _paired(here, _by_seed(values, ("random", removed)), level),
                    }
                )
            curves.append({"which": which, "points": points})
        none = list(_by_seed(values, (NONE, 0)).values())
        found.append(
            {
                "data": data,
                "measure": measure,
                "none": summed_up(none, level) if none else None,
                "curves": curves,
            }
        )
    return found


def penalty_rows(cells: Sequence[Mapping[str, Any]], level: float) -> list[dict[str, Any]]:
    """Measures against the strength of a penalty."""
    rows = []
    for target, strength in dict.fromkeys((one["target"], one["strength"]) for one in cells):
        own = [one for one in cells if (one["target"], one["strength"]) == (target, strength)]
        measures = {}
        for name in own[0]["measures"]:
            values = {
                (one["target"], one["strength"], one["seed"]): one["measures"][name]
                for one in cells
                if name in one["measures"]
            }
            here = _by_seed(values, (target, strength))
            zero = {} if strength == 0 else _by_seed(values, (target, 0.0))
            measures[name] = {
                "value": summed_up(list(here.values()), level),
                "from_zero": _paired(here, zero, level),
            }
        rows.append({"target": target, "strength": strength, "measures": measures})
    return rows


def removal_report(found: Mapping[str, Any]) -> str:
    """The curves in words and figures."""
    parts = [
        f"removed from a pool of {found['pool']} images; means over {len(found['seeds'])} seed(s), "
        f"{100 * found['interval_level']:g} % intervals"
    ]
    for one in found["results"]:
        rows = [["nothing", "", told(one["none"], 100), "", ""]]
        for curve in one["curves"]:
            for point in curve["points"]:
                summaries = (point[key] for key in ("accuracy", "from_none", "from_random"))
                shown = [told(summary, 100) for summary in summaries]
                rows.append([curve["which"], f"{100 * point['share']:g} %", *shown])
        headers = ["removed", "share", "accuracy, %", "less none removed", "less random removed"]
        parts.append(f"{one['data']}, {one['measure']}\n{table(headers, rows)}")
    return "\n\n".join(parts)


def penalty_report(found: Mapping[str, Any]) -> str:
    """The rows in words and figures."""
    level = f"{100 * found['interval_level']:g} % intervals"
    parts = [f"means over {len(found['seeds'])} seed(s), {level}"]
    for target in dict.fromkeys(row["target"] for row in found["rows"]):
        own = [row for row in found["rows"] if row["target"] == target]
        lines = [
            [name, number(row["strength"]), *(told(one[key]) for key in ("value", "from_zero"))]
            for name in own[0]["measures"]
            for row in own
            for one in [row["measures"][name]]
        ]
        headers = [f"penalty on {target}", "strength", "value", "less strength 0"]
        parts.append(table(headers, lines))
    return "\n\n".join(parts)


def told(summary: Mapping[str, Any] | None, factor: float = 1.0) -> str:
    """A mean with its interval, for people.

    >>> told({"mean": 0.5, "low": 0.25, "high": 0.75}, 100)
    '50 [25, 75]'
    """
    if summary is None or summary["mean"] is None:
        return "-"
    mean = number(factor * summary["mean"], 3)
    if summary["low"] is None:
        return mean
    return f"{mean} [{number(factor * summary['low'], 3)}, {number(factor * summary['high'], 3)}]"


def _by_seed(values: Mapping[Any, float], of: tuple[Hashable, Hashable]) -> dict[int, float]:
    return {seed: value for (*key, seed), value in values.items() if tuple(key) == of}


def _paired(
    here: Mapping[int, float], there: Mapping[int, float], level: float
) -> dict[str, Any] | None:
    both = [here[seed] - there[seed] for seed in here if seed in there]
    return summed_up(both, level) if both else None


_POINTS = 100.0  # differences of accuracies are in percentage points


def removal_view(result: Result) -> View:
    """Accuracies by what was removed from training."""
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
    """Memorisation scores and accuracies by the strength of a penalty."""
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
