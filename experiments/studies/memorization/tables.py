"""What is shown of scores of memorisation, and what removals and penalties change over seeds."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from experiments.summary import Agreement, Number, Result, Summary, Table
from experiments.tables import (
    at,
    entries,
    finite,
    interval_of,
    mapping,
    mean_of,
    number,
    numbers,
    percent,
    sequence,
    words,
)
from sslsim.measures.intervals import interval_summary

NONE = "none"  # nothing removed


def removal_curves(cells: Sequence[Mapping[str, Any]], level: float) -> list[dict[str, Any]]:
    """Accuracy against what was removed."""
    results = []
    for data, measure in dict.fromkeys((cell["data"], cell["measure"]) for cell in cells):
        those = [cell for cell in cells if (cell["data"], cell["measure"]) == (data, measure)]
        values = {
            (cell["which"], cell["removed"], cell["seed"]): cell["accuracy"] for cell in those
        }
        curves = []
        for which in dict.fromkeys(cell["which"] for cell in those if cell["which"] != NONE):
            own = [cell for cell in those if cell["which"] == which]
            points = []
            for removed, share in dict.fromkeys((cell["removed"], cell["share"]) for cell in own):
                here = _by_seed(values, (which, removed))
                points.append(
                    {
                        "share": share,
                        "removed": removed,
                        "accuracy": interval_summary(list(here.values()), level),
                        "from_none": _paired(here, _by_seed(values, (NONE, 0)), level),
                        "from_random": None
                        if which == "random"
                        else _paired(here, _by_seed(values, ("random", removed)), level),
                    }
                )
            curves.append({"which": which, "points": points})
        none = list(_by_seed(values, (NONE, 0)).values())
        results.append(
            {
                "data": data,
                "measure": measure,
                "none": interval_summary(none, level) if none else None,
                "curves": curves,
            }
        )
    return results


def penalty_rows(cells: Sequence[Mapping[str, Any]], level: float) -> list[dict[str, Any]]:
    """Measures against the strength of a penalty."""
    rows = []
    for target, strength in dict.fromkeys((cell["target"], cell["strength"]) for cell in cells):
        own = [cell for cell in cells if (cell["target"], cell["strength"]) == (target, strength)]
        measures = {}
        for name in own[0]["measures"]:
            values = {
                (cell["target"], cell["strength"], cell["seed"]): cell["measures"][name]
                for cell in cells
                if name in cell["measures"]
            }
            here = _by_seed(values, (target, strength))
            zero = {} if strength == 0 else _by_seed(values, (target, 0.0))
            measures[name] = {
                "value": interval_summary(list(here.values()), level),
                "from_zero": _paired(here, zero, level),
            }
        rows.append({"target": target, "strength": strength, "measures": measures})
    return rows


def _by_seed(values: Mapping[Any, float], of: tuple[Hashable, Hashable]) -> dict[int, float]:
    return {seed: value for (*key, seed), value in values.items() if tuple(key) == of}


def _paired(
    here: Mapping[int, float], there: Mapping[int, float], level: float
) -> dict[str, Any] | None:
    both = [here[seed] - there[seed] for seed in here if seed in there]
    return interval_summary(both, level) if both else None


_POINTS = 100.0  # differences of accuracies are in percentage points


def memorization_summary(result: Result) -> Summary:
    """Tests of memorisation scores, how well they find outliers, and how far rankings agree."""
    layers = [words(name, 60) for name in sequence(result, "layers")]
    means, deviations = numbers(result, "mean"), numbers(result, "deviation")
    scores = tuple(
        (layer, number(at(means, place), 3), number(at(deviations, place), 3))
        for place, layer in enumerate(layers)
    )
    method, encoder, data, form, views, protocol, points = (
        words(result.get(key), 40)
        for key in ("method", "encoder", "data", "form", "views", "protocol", "points")
    )
    caption = (
        f"{method}, {encoder} on {data}: {form} scores of {views} views over {points} images, "
        f"protocol {protocol}"
    )
    tables = [Table(caption, ("layer", "mean", "standard deviation"), scores)]
    agreements, main, caveats = [], [], []
    for place, tests in enumerate(sequence(result, "sets")):
        layer = at(layers, place) or f"layer {place + 1}"
        comparisons = entries(tests, "comparisons")
        rows = tuple(
            (
                f"{words(test.get('above'), 40)} above {words(test.get('below'), 40)}",
                *(number(finite(test, key), digits) for key, digits in _TESTS.values()),
            )
            for test in comparisons
        )
        offset, error = finite(tests, "offset"), finite(tests, "offset_error")
        caption = (
            f"{layer}: one-sided tests between sets, pairs of encoders as units; "
            f"offset of the shared images {number(offset, 3)} ± {number(error, 2)}"
        )
        if place == 0:
            tables.append(_set_means(layer, tests, offset))
            agreements += [Agreement(row[0], f"{row[1]} ± {row[2]}", f"p {row[4]}") for row in rows]
            main += [
                Number(row[0], finite(test, "difference"))
                for row, test in zip(rows, comparisons, strict=True)
            ]
        tables.append(Table(caption, ("expected", *_TESTS), rows))
    if not main and layers:
        main.append(Number(f"mean score of {layers[0]}", at(means, 0)))
    outliers = []
    for group, kinds in mapping(result, "atypical").items():
        low = "; low where memorised: g saw them, not f" if group == "independent" else ""
        for kind, area_found in mapping(kinds).items():
            name = f"outliers ({words(kind, 40)}) among {words(group, 40)}"
            area, mean = finite(area_found, "auc"), finite(area_found, "mean")
            over_pairs = interval_of(area_found)
            count = words(mapping(area_found).get("points"))
            outliers.append((name, count, number(area, 3), over_pairs))
            if kind == "any":
                main.append(Number(f"AUC of {name}", area))
                beside = "chance 0.5" + low
                beside += "" if mean is None else f"; over pairs of encoders {over_pairs}"
                agreements.append(Agreement(f"{name}, AUC", number(area, 3), beside))
                if finite(area_found, "low") is None:
                    caveats.append(f"AUC of {name} has no interval")
    headers: tuple[str, ...] = ("", "images", "AUC", "mean and interval over pairs")
    tables.append(Table("Areas under ROC curves of the first layer", headers, tuple(outliers)))
    probes = tuple(
        (words(family, 40), words(layer, 60), percent(mean_of(numbers(accuracies))))
        for family, by_layer in mapping(result, "accuracies").items()
        for layer, accuracies in mapping(by_layer).items()
    )
    headers = ("encoders", "layer", "mean accuracy")
    tables.append(Table("Linear probes on held-out images", headers, probes))
    others = tuple(
        (
            " ".join(words(study.get(key), 60) for key in ("run", "method", "encoder")),
            _compared(study),
            number(finite(study, "tau"), 3),
            number(finite(study, "tau_p"), 2),
            words(study.get("top")),
            percent(finite(study, "overlap")),
            percent(finite(study, "chance")),
        )
        for study in entries(result, "agreement")
    )
    headers = ("study", "layer", "Kendall's tau", "p", "top", "overlap of the top", "chance")
    tables.append(Table("Rankings of other studies", headers, others))
    return Summary("Memorisation", tuple(main), tuple(agreements), tuple(tables), tuple(caveats))


_TESTS = {  # key of a test and its digits, by heading
    "difference": ("difference", 3),
    "standard error": ("standard_error", 2),
    "t": ("t", 3),
    "p": ("p", 2),
    "effect": ("effect", 3),
    "effect over images": ("point_effect", 3),
}


def _set_means(layer: str, tests: Any, offset: float | None) -> Table:
    rows = []
    for name, units in mapping(tests, "means").items():
        mean = mean_of(numbers(units))
        above = None if mean is None or offset is None else mean - offset
        rows.append((words(name, 40), number(mean, 3), number(above, 3)))
    headers = ("set", "mean score", "less that of shared images")
    return Table(f"{layer}: scores by set", headers, tuple(rows))


def _compared(study: Result) -> str:
    """Layers of this study and of the other."""
    layer, other = (words(study.get(key), 60) for key in ("layer", "other_layer"))
    return layer if layer == other else f"{layer} here and {other} there"


def removal_summary(result: Result) -> Summary:
    """Accuracies by what was removed from training."""
    tables, agreements = [], []
    for measured in entries(result, "results"):
        label = f"{words(measured.get('measure'), 40)}, {words(measured.get('data'), 60)}"
        none = interval_of(measured, "none", scale=_POINTS)
        rows = [("none", percent(0.0), none, "-", "-")]
        for curve in entries(measured, "curves"):
            which, points = words(curve.get("which"), 40), entries(curve, "points")
            for point in points:
                share = percent(finite(point, "share"))
                accuracy, below_none, beyond = (
                    interval_of(point, key, scale=_POINTS)
                    for key in ("accuracy", "from_none", "from_random")
                )
                rows.append((which, share, accuracy, below_none, beyond))
                if point is points[-1] and beyond != "-":
                    what = f"{label}: {which} memorised {share} removed, against as many at random"
                    agreements.append(Agreement(what, f"{beyond} points", "0 if scores do not say"))
        caption = f"{label}: accuracy in per cent by images removed from the encoder's training"
        if "pool" in result:
            caption += f", of {words(result['pool'])}"
        headers = ("removed", "share", "accuracy", "less that of none", "less that of random ones")
        tables.append(Table(caption + _over_seeds(result), headers, tuple(rows)))
    return Summary("Removal", (), tuple(agreements), tuple(tables), _few_seeds(result))


def penalty_summary(result: Result) -> Summary:
    """Memorisation scores and accuracies by the strength of a penalty."""
    targets: dict[str, list[tuple[str, ...]]] = {}
    for row in entries(result, "rows"):
        rows = targets.setdefault(words(row.get("target"), 40), [])
        for name, measure in mapping(row, "measures").items():
            values = (interval_of(measure, key) for key in ("value", "from_zero"))
            rows.append((words(row.get("strength"), 20), words(name, 60), *values))
    headers = ("strength", "measure", "value", "less that of strength 0")
    tables = tuple(
        Table(f"Penalty on alignment, paid by {target}{_over_seeds(result)}", headers, tuple(rows))
        for target, rows in targets.items()
    )
    return Summary("Penalty", tables=tables, caveats=_few_seeds(result))


def _over_seeds(result: Result) -> str:
    level = percent(finite(result, "interval_level"))
    count = len(sequence(result, "seeds"))
    return f"; mean over {count} seed{'s'[: count != 1]} and {level} interval"


def _few_seeds(result: Result) -> tuple[str, ...]:
    seeds = len(sequence(result, "seeds"))
    if seeds == 1:
        return ("1 seed, no interval",)
    return (f"{seeds} seeds, fewer than three",) if seeds == 2 else ()
