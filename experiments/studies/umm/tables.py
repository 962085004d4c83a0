"""What is shown of fine-tuning, and what settings of a sweep change over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from experiments.summary import Agreement, Claim, Number, Result, Summary, Table
from experiments.tables import (
    entries,
    finite,
    interval_of,
    mapping,
    number,
    percent,
    sequence,
    words,
)
from sslsim.measures.intervals import interval_summary
from sslsim.runs.options import TrainOptions
from sslsim.runs.replicates import learning_settings
from sslsim.umm.options import LATE_LAYERS

INTERVENTIONS = ("align", "spread", "spread_held")
_WHOLE = ("coding_rate_reduction", "loss", "alignment")
_REPRESENTATION = "backbone"


def group_names(trained: Sequence[TrainOptions]) -> list[str]:
    """Name the groups of runs that differ by their seed only."""
    kept = [learning_settings(asdict(one)) for one in trained]
    names = []
    for one in kept:
        alike = [other for other in kept if other["method"] == one["method"]]
        differ = [name for name in one if any(other[name] != one[name] for other in alike)]
        names.append(", ".join([one["method"], *(f"{name} {one[name]}" for name in differ)]))
    return names


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
                "change": interval_summary([change(run, name) for run in held], level),
            }
            compared = {
                "from_control": came[0]["control"],
                "from_no_alignment": came[0].get("without"),
                "from_first": first,
            }
            for told, other in compared.items():
                paired = [
                    change(run, name) - change(run, other) for run in held if (run, other) in done
                ]
                if other != name and paired:
                    measures[key][told] = interval_summary(paired, level)
        rows.append(
            {
                "group": group,
                "setting": name,
                "control": those[0]["control"],
                "layer": those[0].get("layer", _REPRESENTATION),
                "without": those[0].get("without"),
                "alignment_share": _alignment_share(came, level),
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


def _alignment_share(cells: Sequence[dict[str, Any]], level: float) -> dict[str, Any] | None:
    """Size of beta times the gradient of D over that of the loss, before fine-tuning."""
    shares = []
    for cell in cells:
        loss, alignment = (cell["before"].get(f"{name}_gradient") for name in ("loss", "alignment"))
        if loss and alignment is not None and "beta" in cell:
            shares.append(cell["beta"] * alignment / loss)
    return interval_summary(shares, level) if shares else None


def falls(
    groups: Sequence[str], measured: Sequence[dict[str, Any]], steps: Sequence[int], level: float
) -> list[dict[str, Any]]:
    """How far accuracy fell from its peak to the checkpoint that is fine-tuned, by late layer.

    ``measured`` are runs of ``overfitting.json``, and ``steps`` the updates at that checkpoint.
    """
    found = []
    for group in dict.fromkeys(groups):
        runs = [
            (run, run["steps"].index(step))
            for of, run, step in zip(groups, measured, steps, strict=True)
            if of == group
        ]
        for layer in LATE_LAYERS.values():
            own: dict[str, Any] = {"group": group, "layer": layer}
            for name in ("linear", "knn"):
                curves = [(run[name][run["layers"].index(layer)], last) for run, last in runs]
                peaks = [max(curve[: last + 1]) for curve, last in curves]
                lasts = [curve[last] for curve, last in curves]
                drops = [peak - last for peak, last in zip(peaks, lasts, strict=True)]
                for key, values in (("peak", peaks), ("last", lasts), ("fall", drops)):
                    own[f"{name}_{key}"] = interval_summary(values, level)
            found.append(own)
    return found


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
                key: interval_summary(
                    [done[run, with_it][1][key] - done[run, without][1][key] for run in held], level
                )
                for key in done[held[0], with_it][1]
            }
            unit = effects[pushed]["mean"]
            for effect in effects.values():
                effect["per_pushed"] = effect["mean"] / unit if unit else math.nan
            layer = next(
                one.get("layer", _REPRESENTATION)
                for one in cells
                if (one["run"], one["setting"]) == (held[0], with_it)
            )
            found.append(
                {
                    "group": group,
                    "intervention": name,
                    "pushed": pushed,
                    "layer": layer,
                    "effects": effects,
                }
            )
    return found


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


# Measures of the main tables: name (with the layer of the late features), heading, factor.
_MEASURES = (
    ("linear_{layer}", "linear, points", 100),
    ("knn_{layer}", "neighbours, points", 100),
    ("coding_rate_reduction", "Delta R", 1),
    ("alignment", "distance", 1),
    ("loss", "loss", 1),
)


def umm_summary(result: Result) -> Summary:
    """One fine-tuned run, layer by layer, before and after."""
    before, after = mapping(result, "before"), mapping(result, "after")
    layers = {**mapping(before, "layers"), **mapping(after, "layers")}
    headings = {
        "linear": "linear probe",
        "linear_error": "standard error",
        "knn": "neighbours",
        "transfer_linear": f"linear probe on {words(result.get('transfer'), 40)}",
        "instance_reduction": "Delta R",
        "class_reduction": "Delta R by class",
        "early_distance": f"distance from {words(result.get('early'), 40)}",
    }
    known = {key for layer in layers.values() for key in mapping(layer)}
    held = [key for key in headings if key in known]
    rows = tuple(
        (
            words(layer, 60),
            *(_before_and_after(before, after, "layers", layer, key) for key in held),
        )
        for layer in layers
    )
    whole = tuple(
        (label, number(finite(before, name)), number(finite(after, name)))
        for name, label in (
            ("coding_rate_reduction", "Delta R"),
            ("loss", "loss"),
            ("alignment", f"distance of views ({words(result.get('alignment'), 40)})"),
        )
    )
    caveats = []
    converged = mapping(result, "convergence")
    if converged.get("converges") is False:
        signs = [text for key, text in _SIGNS.items() if converged.get(key) is True]
        caveats.append(
            f"fine-tuning does not converge: {'; '.join(signs) or 'no sign given'} (smaller "
            "learning rates may help)"
        )
    if layers:
        caveats.append("changes of one run have no interval; see a sweep over seeds")
    layer = _layer(result)
    accuracy, neighbours = (
        _change(before, after, "layers", layer, key) for key in ("linear", "knn")
    )
    return Summary(
        "Fine-tuning",
        claim=Claim(
            Number(f"change of the linear probe of {layer}", accuracy, share=True),
            beside=(Number("before", finite(before, "layers", layer, "linear"), share=True),),
            note="one run, without its control",
        ),
        numbers=(
            Number(f"change of the linear probe of {layer}", accuracy, share=True),
            Number(f"change of neighbours in {layer}", neighbours, share=True),
            Number("change of Delta R", _change(before, after, "coding_rate_reduction")),
        ),
        tables=(
            Table(
                "Every layer before -> after: accuracy on held-out images, Delta R in nats",
                ("layer", *(headings[key] for key in held)),
                rows,
            ),
            Table("On held-out views", ("", "before", "after"), whole),
        ),
        caveats=tuple(caveats),
    )


_SIGNS = {
    "inner_rises": "inner steps raise the inner loss",
    "gradient_grows": "the hypergradient grows",
    "outer_falls": "the outer objective falls",
}


def _change(before: Result, after: Result, *keys: str) -> float | None:
    old, new = finite(before, *keys), finite(after, *keys)
    return None if old is None or new is None else new - old


def _before_and_after(before: Result, after: Result, *keys: str) -> str:
    write = percent if keys[-1].startswith(("linear", "knn", "transfer")) else number
    return " -> ".join(write(finite(when, *keys)) for when in (before, after))


def sweep_summary(result: Result) -> Summary:
    """Settings of fine-tuning beside plain training, over seeds."""
    rows = entries(result, "rows")
    headings = tuple(heading for _, heading, _ in _MEASURES)
    level = percent(finite(result, "interval_level"))
    tables, agreements, caveats = [], [], []
    claim: Claim | None = None
    for group in dict.fromkeys(words(row.get("group"), 60) for row in rows):
        own = [row for row in rows if words(row.get("group"), 60) == group]
        for kind, what in (("from_control", "change beyond the control's"), ("change", "change")):
            lines = tuple(
                (_setting(row), str(len(sequence(row, "seeds"))), _layer(row), *_cells(row, kind))
                for row in own
                if mapping(row, "failed")
                or any(mapping(row, "measures", name, kind) for name in _names(row))
            )
            caption = (
                f"{group}: {what}, mean and {level} interval over runs; accuracies in the layer of "
                "the late features"
            )
            headers = ("setting", "runs", "layer", *headings)
            tables.append(Table(caption, headers, lines, folded=kind == "change"))
        for row in own:
            name = f"{group}, {words(row.get('setting'), 60)}"
            for failed, why in mapping(row, "failed").items():
                caveats.append(f"{name}: run {words(failed, 60)} diverged ({words(why, 80)})")
            if len(sequence(row, "seeds")) < 2:
                caveats.append(f"{name}: {len(sequence(row, 'seeds'))} run, no interval")
            if row.get("setting") == result.get("first"):
                cells = _cells(row, "from_control")
                claim = claim or _beyond_control(row, name)
                agreements.append(
                    Agreement(
                        f"{name}: change of the linear probe of {_layer(row)} beyond the "
                        "control's, points",
                        cells[0],
                        f"Delta R {cells[2]} nats",
                    )
                )
    acts = tuple(
        (
            f"{words(row.get('group'), 60)}: {_setting(row)}",
            _layer(row),
            interval_of(row, "alignment_share"),
            *_cells(row, "from_no_alignment"),
        )
        for row in rows
        if row.get("without") is not None
    )
    tables.append(
        Table(
            "What the alignment does: its gradient, times beta, over that of the loss; and the "
            "change beyond that of the same setting without it",
            ("setting", "layer", "gradients", *headings),
            acts,
        )
    )
    effects = tuple(
        (
            f"{words(effect.get('group'), 60)}: {words(effect.get('intervention'), 60)}",
            words(effect.get("pushed"), 60),
            _layer(effect),
            *(
                interval_of(effect, "effects", name, scale=scale)
                for name, (_, _, scale) in zip(_names(effect), _MEASURES, strict=True)
            ),
        )
        for effect in entries(result, "effects")
    )
    tables.append(
        Table(
            "Effects of single pressures", ("intervention", "pushed", "layer", *headings), effects
        )
    )
    fallen = tuple(
        (
            words(entry.get("group"), 60),
            _layer(entry),
            *(
                interval_of(entry, f"{name}_{key}", scale=100)
                for name in ("linear", "knn")
                for key in ("peak", "last", "fall")
            ),
        )
        for entry in entries(result, "falls")
    )
    tables.append(
        Table(
            f"Before fine-tuning: accuracy at its peak and where fine-tuning starts, in per cent, "
            f"and its fall; mean and {level} interval over runs",
            (
                *("group", "layer", "linear: peak", "last", "fall"),
                *("neighbours: peak", "last", "fall"),
            ),
            fallen,
        )
    )
    return Summary("Fine-tuning sweep", (), tuple(agreements), tuple(tables), tuple(caveats), claim)


def _beyond_control(row: Result, name: str) -> Claim:
    """What fine-tuning changes of a linear probe beyond as much plain training, in points."""
    (key, _, scale), *_ = _MEASURES
    of = mapping(row, "measures", key.format(layer=_layer(row)), "from_control")
    mean, low, high = (
        None if (end := finite(of, which)) is None else scale * end
        for which in ("mean", "low", "high")
    )
    what = f"{name}: linear probe of {_layer(row)} beyond the control, points"
    return Claim(Number(what, mean), low, high, note="0: as plain training")


def _setting(row: Result) -> str:
    failed = len(mapping(row, "failed"))
    return words(row.get("setting"), 60) + (f" ({failed} failed)" if failed else "")


def _cells(row: Result, kind: str) -> list[str]:
    return [
        interval_of(row, "measures", name, kind, scale=scale)
        for name, (_, _, scale) in zip(_names(row), _MEASURES, strict=True)
    ]


def _layer(result: Result) -> str:
    """Layer of the late features; results that name none show the representation."""
    return words(result.get("layer", _REPRESENTATION), 60)


def _names(row: Result) -> list[str]:
    """Names of the main measures, in the layer of the row's late features."""
    return [name.format(layer=_layer(row)) for name, _, _ in _MEASURES]
