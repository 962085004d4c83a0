"""The table of a sweep: what settings change, over seeds, and against their controls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.stats import t as student

from experiments.tables import number, table
from experiments.train_options import TrainOptions

# Options that do not make another kind of run.
_FREE = (
    "seed", "out", "root", "device", "evaluate", "layers", "records", "probe", "checkpoint_every",
    "checkpoints_kept",
)  # fmt: skip

INTERVENTIONS = ("align", "spread", "spread_held")
_WHOLE = ("coding_rate_reduction", "loss", "alignment")
_SHOWN = (  # of the text: key, headline, factor
    ("linear_backbone", "linear, %", 100.0),
    ("knn_backbone", "neighbours, %", 100.0),
    ("coding_rate_reduction", "DeltaR", 1.0),
    ("alignment", "distance", 1.0),
    ("loss", "loss", 1.0),
)


def group_names(trained: Sequence[TrainOptions]) -> list[str]:
    """Name the groups of runs that differ by their seed only.

    Parameters
    ----------
    trained : sequence of TrainOptions
        Of the runs.

    Returns
    -------
    list of str
        Of each run: its method, and where one method comes in several groups, whatever tells these
        apart.

    Examples
    --------
    >>> group_names([TrainOptions(), TrainOptions(seed=1), TrainOptions(limit=9)])
    ['barlow_twins, limit None', 'barlow_twins, limit None', 'barlow_twins, limit 9']
    """
    kept = [
        {name: value for name, value in asdict(one).items() if name not in _FREE} for one in trained
    ]
    names = []
    for one in kept:
        alike = [other for other in kept if other["method"] == one["method"]]
        differ = [name for name in one if any(other[name] != one[name] for other in alike)]
        names.append(", ".join([one["method"], *(f"{name} {one[name]}" for name in differ)]))
    return names


def summed_up(values: Sequence[float], level: float) -> dict[str, Any]:
    """Mean over seeds, with Student's interval.

    Parameters
    ----------
    values : sequence of float
        One a seed, at least one.
    level : float
        Confidence level.

    Returns
    -------
    dict
        ``mean``; ``low`` and ``high``, NaN of a single value; ``effect``, the mean in standard
        deviations of the values (Cohen's d; NaN where these are all the same); ``values``.

    Examples
    --------
    >>> found = summed_up([1.0, 2.0, 3.0], 0.9)
    >>> found["mean"], round(found["low"], 3), round(found["high"], 3), found["effect"]
    (2.0, 0.314, 3.686, 2.0)
    """
    held = np.asarray(values, dtype=np.float64)
    mean, count = float(held.mean()), len(held)
    half = deviation = math.nan
    if count > 1:
        deviation = float(held.std(ddof=1))
        half = float(student.ppf((1 + level) / 2, count - 1)) * deviation / math.sqrt(count)
    return {
        "mean": mean,
        "low": mean - half,
        "high": mean + half,
        "effect": mean / deviation if deviation > 0 else math.nan,
        "values": held,
    }


def tabled(cells: Sequence[dict[str, Any]], level: float) -> dict[str, Any]:
    """Sum up cells by group and setting.

    Parameters
    ----------
    cells : sequence of dict
        With ``run``, ``group``, ``seed``, ``setting``, ``control``, ``failed`` and, where nothing
        failed, ``before`` and ``after``.
    level : float
        Confidence level of intervals.

    Returns
    -------
    dict
        Content of ``table.json``.

    Examples
    --------
    >>> def cell(setting, loss):
    ...     held = {"coding_rate_reduction": 1.0, "alignment": 0.0, "layers": {}}
    ...     return {"run": "a", "group": "simclr", "seed": 0, "setting": setting, "failed": None,
    ...             "control": "control", "before": held | {"loss": 4.0},
    ...             "after": held | {"loss": loss}}
    >>> found = tabled([cell("full", 3.0), cell("control", 3.5)], 0.9)["rows"][0]["measures"]
    >>> found["loss"]["change"]["mean"], found["loss"]["from_control"]["mean"]
    (-1.0, -0.5)
    """
    done = {(one["run"], one["setting"]): _flat(one) for one in cells if not one["failed"]}
    first = cells[0]["setting"]
    rows = []
    for group, name in dict.fromkeys((one["group"], one["setting"]) for one in cells):
        those = [one for one in cells if (one["group"], one["setting"]) == (group, name)]
        came = [one for one in those if not one["failed"]]
        measures: dict[str, Any] = {}
        for key in _flat(came[0])[0] if came else ():
            held = [one["run"] for one in came if key in done[one["run"], name][0]]

            def change(run: str, setting: str, key: str = key) -> float:
                before, after = done[run, setting]
                return after[key] - before[key]

            measures[key] = {
                "before": float(np.mean([done[run, name][0][key] for run in held])),
                "change": summed_up([change(run, name) for run in held], level),
            }
            for told, other in (("from_control", came[0]["control"]), ("from_first", first)):
                paired = [
                    change(run, name) - change(run, other) for run in held if (run, other) in done
                ]
                if other != name and paired:
                    measures[key][told] = summed_up(paired, level)
        rows.append(
            {
                "group": group,
                "setting": name,
                "control": those[0]["control"],
                "seeds": [one["seed"] for one in came],
                "failed": {one["run"]: one["failed"] for one in those if one["failed"]},
                "measures": measures,
            }
        )
    return {
        "interval_level": level,
        "first": first,
        "rows": rows,
        "effects": causal_effects(cells, level),
    }


def causal_effects(cells: Sequence[dict[str, Any]], level: float) -> list[dict[str, Any]]:
    """What single pressures do, against the control of the same run.

    Parameters
    ----------
    cells : sequence of dict
        As :func:`tabled`; those of the interventions and the control count.
    level : float
        Confidence level of intervals.

    Returns
    -------
    list of dict
        By group and intervention: ``group``, ``intervention`` (``align``, ``spread``,
        ``spread_held``, and ``spread_through_alignment``, spread less spread_held: what the
        distance passes on of raising DeltaR), ``pushed``, the variable that is pushed, and
        ``effects``, of each variable read :func:`summed_up` over runs, with ``per_pushed``, the
        ratio of the mean effects on it and on what is pushed.

    Examples
    --------
    >>> causal_effects([], 0.9)
    []
    """
    done = {(one["run"], one["setting"]): _flat(one) for one in cells if not one["failed"]}
    pairs = [(name, name, "control") for name in INTERVENTIONS]
    pairs.append(("spread_through_alignment", "spread", "spread_held"))
    found = []
    for group in dict.fromkeys(one["group"] for one in cells):
        runs = list(dict.fromkeys(one["run"] for one in cells if one["group"] == group))
        for name, with_it, without in pairs:
            held = [run for run in runs if (run, with_it) in done and (run, without) in done]
            if not held:
                continue
            pushed = "coding_rate_reduction" if name in ("spread", "spread_held") else "alignment"
            effects = {
                key: summed_up(
                    [done[run, with_it][1][key] - done[run, without][1][key] for run in held], level
                )
                for key in done[held[0], with_it][1]
            }
            unit = effects[pushed]["mean"]
            for effect in effects.values():
                effect["per_pushed"] = effect["mean"] / unit if unit else math.nan
            found.append(
                {"group": group, "intervention": name, "pushed": pushed, "effects": effects}
            )
    return found


def report(result: dict[str, Any]) -> str:
    """The table in words and figures.

    Parameters
    ----------
    result : dict
        Content of ``table.json``.

    Returns
    -------
    str
        Without a final newline.

    Examples
    --------
    >>> report({"interval_level": 0.9, "first": "full", "rows": [], "effects": []})
    'means over runs, 90 % intervals; changes are after - before'
    """
    level = result["interval_level"]
    parts = [f"means over runs, {100 * level:g} % intervals; changes are after - before"]
    for group in dict.fromkeys(row["group"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["group"] == group]
        for told, key in (("change", "change"), ("change less the control's", "from_control")):
            body = []
            for row in rows:
                if key == "from_control" and row["control"] == row["setting"]:
                    continue
                cells = [
                    _cell_text(row["measures"].get(name, {}).get(key), factor)
                    for name, _, factor in _SHOWN
                ]
                failed = f" ({len(row['failed'])} failed)" if row["failed"] else ""
                body.append([row["setting"] + failed, str(len(row["seeds"])), *cells])
            if body:
                headers = [told, "runs", *(headline for _, headline, _ in _SHOWN)]
                parts.append(f"{group}\n" + table(headers, body))
    if result["effects"]:
        body = [
            [
                f"{one['group']}: {one['intervention']}",
                *(_cell_text(one["effects"].get(name), factor) for name, _, factor in _SHOWN),
            ]
            for one in result["effects"]
        ]
        headers = ["effect of a single pressure", *(headline for _, headline, _ in _SHOWN)]
        parts.append(table(headers, body))
    return "\n\n".join(parts)


def _flat(cell: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Before and after of a cell, each measure under one name."""
    found = []
    for held in (cell["before"], cell["after"]):
        flat = {name: held[name] for name in _WHOLE if name in held}
        for layer, line in held["layers"].items():
            flat |= {
                f"{name}_{layer}": value
                for name, value in line.items()
                if not name.endswith("_error")
            }
        found.append({name: value for name, value in flat.items() if value is not None})
    return found[0], found[1]


def _cell_text(found: dict[str, Any] | None, factor: float) -> str:
    if found is None or found["mean"] is None:
        return "-"
    mean = f"{factor * found['mean']:+.3g}"
    if found["low"] is None:
        return mean
    return f"{mean} [{number(factor * found['low'], 3)}, {number(factor * found['high'], 3)}]"
