"""What removals and penalties change, over seeds: means, intervals and paired differences."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from experiments.tables import number, table
from experiments.umm_table import summed_up

NONE = "none"  # nothing removed


def removal_curves(cells: Sequence[Mapping[str, Any]], level: float) -> list[dict[str, Any]]:
    """Accuracy against what was removed.

    Parameters
    ----------
    cells : sequence of mapping
        With ``which`` (``none`` where nothing was removed), ``removed`` (images), ``share``,
        ``seed``, ``data``, ``measure`` and ``accuracy``.
    level : float
        Confidence level of intervals over seeds.

    Returns
    -------
    list of dict
        By ``data`` and ``measure``: ``none``, the accuracy where nothing was removed, and
        ``curves``, for each ``which`` its ``points`` in the order of the cells: ``share``,
        ``removed``, ``accuracy``, ``from_none`` and ``from_random``, paired differences of the same
        seed (null where there is nothing to compare with). Each of the summaries as
        :func:`experiments.umm_table.summed_up`.

    Examples
    --------
    >>> def cell(which, removed, seed, accuracy):
    ...     return {"which": which, "removed": removed, "share": removed / 10, "seed": seed,
    ...             "data": "digits", "measure": "linear", "accuracy": accuracy}
    >>> cells = [cell("none", 0, 0, 0.9), cell("none", 0, 1, 0.8), cell("most", 2, 0, 0.7),
    ...          cell("most", 2, 1, 0.6)]
    >>> (found,) = removal_curves(cells, 0.9)
    >>> (point,) = found["curves"][0]["points"]
    >>> round(point["from_none"]["mean"], 9), point["from_random"]
    (-0.2, None)
    """
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
    """Measures against the strength of a penalty.

    Parameters
    ----------
    cells : sequence of mapping
        With ``target``, ``strength``, ``seed`` and ``measures``, numbers by name.
    level : float
        Confidence level of intervals over seeds.

    Returns
    -------
    list of dict
        By ``target`` and ``strength``: ``measures``, of each its ``value`` and ``from_zero``, the
        paired difference from strength 0 of the same target and seed (null there), each as
        :func:`experiments.umm_table.summed_up`.

    Examples
    --------
    >>> cells = [{"target": "all", "strength": s, "seed": 0, "measures": {"linear": 0.9 - s}}
    ...          for s in (0.0, 0.5)]
    >>> [row["measures"]["linear"]["from_zero"] is None for row in penalty_rows(cells, 0.9)]
    [True, False]
    """
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
    """The curves in words and figures.

    Parameters
    ----------
    found : mapping
        Content of ``removal.json``.

    Returns
    -------
    str
        Accuracies in %, differences in percentage points.

    Examples
    --------
    >>> removal_report({"interval_level": 0.9, "results": [], "seeds": [0], "pool": 5})
    'removed from a pool of 5 images; means over 1 seed(s), 90 % intervals'
    """
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
    """The rows in words and figures.

    Parameters
    ----------
    found : mapping
        Content of ``penalty.json``.

    Returns
    -------
    str
        Without a final newline.

    Examples
    --------
    >>> penalty_report({"interval_level": 0.9, "rows": [], "seeds": [0, 1]})
    'means over 2 seed(s), 90 % intervals'
    """
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

    Parameters
    ----------
    summary : mapping or None
        Of :func:`experiments.umm_table.summed_up`, as JSON holds it.
    factor : float
        On all numbers.

    Returns
    -------
    str
        ``-`` for None.

    Examples
    --------
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
