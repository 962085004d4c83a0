"""The table of a sweep: what settings change, over seeds, and against their controls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from experiments.tables import (
    Agreement,
    Number,
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
from sslsim.measures.intervals import mean_interval
from sslsim.runs.options import TrainOptions
from sslsim.runs.replicates import learning_settings

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
    """Name the groups of runs that differ by their seed only."""
    kept = [learning_settings(asdict(one)) for one in trained]
    names = []
    for one in kept:
        alike = [other for other in kept if other["method"] == one["method"]]
        differ = [name for name in one if any(other[name] != one[name] for other in alike)]
        names.append(", ".join([one["method"], *(f"{name} {one[name]}" for name in differ)]))
    return names


def summed_up(values: Sequence[float], level: float) -> dict[str, Any]:
    """Mean over seeds, with Student's interval.

    >>> found = summed_up([1.0, 2.0, 3.0], 0.9)
    >>> found["mean"], round(found["low"], 3), round(found["high"], 3), found["effect"]
    (2.0, 0.314, 3.686, 2.0)
    """
    over = mean_interval(values, level)
    return {
        "mean": float(over.mean),
        "low": float(over.low),
        "high": float(over.high),
        "effect": float(over.mean / over.deviation) if over.deviation > 0 else math.nan,
        "values": np.asarray(values, dtype=np.float64),
    }


def tabled(cells: Sequence[dict[str, Any]], level: float) -> dict[str, Any]:
    """Sum up cells by group and setting."""
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
    """What single pressures do, against the control of the same run."""
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


# Measures of the main tables: name, heading, factor.
_MEASURES = (
    ("linear_backbone", "linear, points", 100),
    ("knn_backbone", "neighbours, points", 100),
    ("coding_rate_reduction", "Delta R", 1),
    ("alignment", "distance", 1),
    ("loss", "loss", 1),
)


def umm_view(result: Result) -> View:
    """One fine-tuned run, layer by layer, before and after."""
    before, after = mapping(result, "before"), mapping(result, "after")
    layers = tuple(
        (
            words(layer, 60),
            percent(finite(before, "layers", layer, "linear")),
            percent(finite(after, "layers", layer, "linear")),
            percent(finite(after, "layers", layer, "linear_error"), 2),
            percent(finite(before, "layers", layer, "knn")),
            percent(finite(after, "layers", layer, "knn")),
            number(finite(before, "layers", layer, "instance_reduction")),
            number(finite(after, "layers", layer, "instance_reduction")),
        )
        for layer in {**mapping(before, "layers"), **mapping(after, "layers")}
    )
    whole = tuple(
        (name.replace("_", " "), number(finite(before, name)), number(finite(after, name)))
        for name in ("coding_rate_reduction", "loss", "alignment")
    )
    accuracy = _change(before, after, "layers", "backbone", "linear")
    reduction = _change(before, after, "coding_rate_reduction")
    doubts = []
    converged = mapping(result, "convergence")
    if converged.get("converges") is False:
        signs = [name for name, value in converged.items() if value is True]
        doubts.append(f"fine-tuning does not converge: {', '.join(signs) or 'no sign given'}")
    if layers:
        doubts.append("changes of one run have no interval; see a sweep over seeds")
    headers = ("layer", "linear before", "after", "s. e.", "neighbours before", "after")
    return View(
        "Fine-tuning",
        numbers=(
            Number("change of the linear probe", accuracy, share=True),
            Number(
                "change of neighbours",
                _change(before, after, "layers", "backbone", "knn"),
                share=True,
            ),
            Number("change of Delta R", reduction),
        ),
        tables=(
            Table(
                "Every layer before and after: accuracy on held-out images, Delta R in nats",
                (*headers, "Delta R before", "after"),
                layers,
            ),
            Table("On held-out views", ("", "before", "after"), whole),
        ),
        doubts=tuple(doubts),
    )


def _change(before: Result, after: Result, *keys: str) -> float | None:
    old, new = finite(before, *keys), finite(after, *keys)
    return None if old is None or new is None else new - old


def sweep_view(result: Result) -> View:
    """Settings of fine-tuning beside plain training, over seeds."""
    rows = [entry for entry in sequence(result, "rows") if isinstance(entry, dict)]
    headings = tuple(heading for _, heading, _ in _MEASURES)
    tables, agreements, doubts = [], [], []
    for group in dict.fromkeys(words(row.get("group"), 60) for row in rows):
        mine = [row for row in rows if words(row.get("group"), 60) == group]
        for kind, what in (("from_control", "change beyond the control's"), ("change", "change")):
            lines = tuple(
                (
                    words(row.get("setting"), 60),
                    str(len(sequence(row, "seeds"))),
                    *_cells(row, kind),
                )
                for row in mine
                if any(mapping(row, "measures", name, kind) for name, _, _ in _MEASURES)
            )
            caption = f"{group}: {what}, mean and interval over runs"
            tables.append(
                Table(caption, ("setting", "runs", *headings), lines, folded=kind == "change")
            )
        for row in mine:
            name = f"{group}, {words(row.get('setting'), 60)}"
            for failed, why in mapping(row, "failed").items():
                doubts.append(f"{name}: run {words(failed, 60)} diverged ({words(why, 80)})")
            if len(sequence(row, "seeds")) < 2:
                doubts.append(f"{name}: {len(sequence(row, 'seeds'))} run, no interval")
            if row.get("setting") == result.get("first"):
                cells = _cells(row, "from_control")
                agreements.append(
                    Agreement(
                        f"{name}: change of the linear probe beyond the control's, points",
                        cells[0],
                        f"Delta R {cells[2]} nats",
                    )
                )
    effects = tuple(
        (
            f"{words(entry.get('group'), 60)}: {words(entry.get('intervention'), 60)}",
            words(entry.get("pushed"), 60),
            *(_interval(mapping(entry, "effects", name), scale) for name, _, scale in _MEASURES),
        )
        for entry in sequence(result, "effects")
        if isinstance(entry, dict)
    )
    tables.append(
        Table("Effects of single pressures", ("intervention", "pushed", *headings), effects)
    )
    return View("Fine-tuning sweep", (), tuple(agreements), tuple(tables), tuple(doubts))


def _cells(row: Result, kind: str) -> list[str]:
    return [_interval(mapping(row, "measures", name, kind), scale) for name, _, scale in _MEASURES]


def _interval(found: dict[str, Any], scale: float) -> str:
    mean, low, high = (finite(found, name) for name in ("mean", "low", "high"))
    return interval(mean, low, high, scale)
