"""What is shown of scores of memorisation, and what removals and penalties change over seeds."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from experiments.studies.memorization.analysis.tables import (
    atypicality_table,
    predictors_table,
    units_table,
)
from experiments.summary import Agreement, Claim, Number, Result, Summary, Table
from experiments.tables import (
    at,
    entries,
    finite,
    interval,
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
    form = words(result.get("form"), 40)
    # This one first; results of earlier versions hold no other.
    forms: dict[str, Result] = {form: result}
    forms |= {name: mapping(entry) for name, entry in mapping(result, "forms").items()}
    method, encoder, data, views, protocol, points = (
        words(result.get(key), 40)
        for key in ("method", "encoder", "data", "views", "protocol", "points")
    )
    caption = (
        f"{method}, {encoder} on {data}: {form} scores of {views} views over {points} images, "
        f"protocol {protocol}"
    )
    scores = tuple(
        (
            layer,
            *(
                number(at(numbers(entry, key), place), 3)
                for entry in forms.values()
                for key in ("mean", "deviation")
            ),
        )
        for place, layer in enumerate(layers)
    )
    headings = [f"{key}, {name}" for name in forms for key in ("mean", "standard deviation")]
    tables = [Table(caption, ("layer", *headings), scores)]
    agreements, main, caveats = [], [], []
    claim = None
    count = finite(result, "seeds")
    pairs = "" if count is None else f", {number(count)} encoder pairs"
    for place, tests in enumerate(sequence(result, "sets")):
        layer = at(layers, place) or f"layer {place + 1}"
        comparisons = entries(tests, "comparisons")
        others = {
            name: entries(at(sequence(entry, "sets"), place), "comparisons")
            for name, entry in forms.items()
        }
        rows = tuple(
            (
                f"{words(test.get('above'), 40)} above {words(test.get('below'), 40)}",
                *(number(finite(test, key), digits) for key, digits in _TESTS.values()),
                *(_two_way(at(tests_of, line)) for tests_of in others.values()),
            )
            for line, test in enumerate(comparisons)
        )
        offset, error = finite(tests, "offset"), finite(tests, "offset_error")
        caption = (
            f"{layer}: one-sided tests between sets, pairs of encoders as units; "
            f"offset of the shared images {number(offset, 3)} ± {number(error, 2)}; differences "
            "with intervals over images and pairs"
        )
        if place == 0:
            tables.append(_set_means(layer, forms))
            for line, row in enumerate(rows):
                both = "; ".join(
                    f"{name} {_two_way(at(tests_of, line))}" for name, tests_of in others.items()
                )
                beside = f"p {row[4]}"
                beside += f"; over images and pairs: {both}" if "forms" in result else ""
                agreements.append(Agreement(row[0], f"{row[1]} ± {row[2]}", beside))
            main += [
                Number(row[0], finite(test, "difference"))
                for row, test in zip(rows, comparisons, strict=True)
            ]
            if comparisons:
                least, most = (finite(comparisons[0], end) for end in ("low", "high"))
                what = Number(f"{layer}: {main[0].label}", main[0].value)
                claim = Claim(what, least, most, note=f"0 if not memorised; p {rows[0][4]}{pairs}")
        tables.append(Table(caption, ("expected", *_TESTS, *forms), rows, folded=place > 0))
    if not main and layers:
        main.append(Number(f"mean score of {layers[0]}", at(numbers(result, "mean"), 0)))
        claim = Claim(main[0], note="no shared images to compare with")
    tables.append(_side_by_side(result, forms, layers))
    for group, kinds in mapping(result, "atypical").items():
        low = "; low where memorised: g saw them, not f" if group == "independent" else ""
        for kind, area_found in mapping(kinds).items():
            if kind != "any":
                continue
            name = f"outliers (any) among {words(group, 40)}"
            area, mean = finite(area_found, "auc"), finite(area_found, "mean")
            main.append(Number(f"AUC of {name}", area))
            beside = "chance 0.5" + low
            beside += "" if mean is None else f"; over pairs of encoders {interval_of(area_found)}"
            for each, entry in mapping(result, "forms").items():
                both_ways = interval_of(at(sequence(entry, "atypical"), 0), group, kind)
                beside += f"; over images and pairs, {each} {both_ways}"
            agreements.append(Agreement(f"{name}, AUC", number(area, 3), beside))
            if finite(area_found, "low") is None:
                caveats.append(f"AUC of {name} has no interval over pairs of encoders")
    tables += _outliers(result, forms, layers)
    tables.append(atypicality_table(result, layers))
    tables.append(units_table(result, layers))
    first = at(sequence(result, "atypicality", "forms", form), 0)
    if related := mapping(first, "all"):
        given = interval_of(related, "given_loss")
        beside = "0 if unrelated"
        if given != "-":
            beside += f"; given the loss of encoders without the image: {given}"
        plain = interval_of(related, "spearman")
        agreements.append(Agreement("score and natural atypicality, Spearman", plain, beside))
    probes = tuple(
        (words(family, 40), words(layer, 60), percent(mean_of(numbers(accuracies))))
        for family, by_layer in mapping(result, "accuracies").items()
        for layer, accuracies in mapping(by_layer).items()
    )
    headers = ("encoders", "layer", "mean accuracy")
    tables.append(Table("Linear probes on held-out images", headers, probes))
    ranked = tuple(
        (words(pair.get("layer"), 60), words(pair.get("other_layer"), 60), *_rank_agreement(pair))
        for pair in entries(result, "layer_agreement")
    )
    tables.append(Table("Rankings by two layers", ("layer", "other layer", *_RANKS), ranked))
    others_rows = tuple(
        (
            " ".join(words(study.get(key), 60) for key in ("run", "method", "encoder")),
            _compared(pair),
            *_rank_agreement({**study, **pair}),
            number(finite(pair, "correlation"), 3),
            number(finite(pair, "reliability"), 3),
            number(finite(pair, "other_reliability"), 3),
            interval(pair.get("corrected"), pair.get("corrected_low"), pair.get("corrected_high")),
        )
        for study in entries(result, "agreement")
        for pair in entries(study, "by_layer") or [study]
    )
    caption = "Rankings of other studies; intervals over images"
    tables.append(Table(caption, ("study", "layer", *_RANKS, *_CORRECTED), others_rows))
    tables.append(predictors_table(result))
    return Summary(
        "Memorisation", tuple(main), tuple(agreements), tuple(tables), tuple(caveats), claim
    )


_TESTS = {  # key of a test and its digits, by heading
    "difference": ("difference", 3),
    "standard error": ("standard_error", 2),
    "t": ("t", 3),
    "p": ("p", 2),
    "effect": ("effect", 3),
    "effect over images": ("point_effect", 3),
}
_RANKS = ("Kendall's tau", "p", "top", "overlap of the top", "chance")
_CORRECTED = ("Spearman", "reliability", "that of the other", "corrected for both")


def _rank_agreement(pair: Result) -> tuple[str, ...]:
    return (
        number(finite(pair, "tau"), 3),
        number(finite(pair, "tau_p"), 2),
        words(pair.get("top")),
        percent(finite(pair, "overlap")),
        percent(finite(pair, "chance")),
    )


def _two_way(test: Any) -> str:
    """Difference of two sets with its interval over images and pairs."""
    return interval(finite(test, "difference"), finite(test, "low"), finite(test, "high"))


def _side_by_side(result: Result, forms: Mapping[str, Any], layers: Sequence[str]) -> Table:
    """Layers beside each other: how far candidates stand out, and how reliable scores are."""
    rows = []
    for place, tests in enumerate(sequence(result, "sets")):
        row = [at(layers, place) or "-"]
        for entry in forms.values():
            of_layer = at(sequence(entry, "sets"), place)
            row += [_two_way(at(entries(of_layer, "comparisons"), line)) for line in range(2)]
            row.append(number(at(numbers(entry, "loss_correlation"), place), 2))
        pairs = (
            "agreement_of_pairs",
            "agreement_of_pairs_external",
            "agreement_of_pairs_untrained",
        )
        row += [number(finite(tests, key), 2) for key in pairs]
        rows.append(tuple(row))
    headings = [
        f"{name}: {what}"
        for name in forms
        for what in ("above shared", "above external", "correlation with g's loss")
    ]
    return Table(
        "Layers side by side: candidates' mean score less that of other sets, with intervals over "
        "images and pairs, and Kendall's tau between pairs: of candidates, of external images, of "
        "candidates under untrained encoders",
        ("layer", *headings, "tau", "tau, external", "tau, untrained"),
        tuple(rows),
    )


def _outliers(result: Result, forms: Mapping[str, Any], layers: Sequence[str]) -> list[Table]:
    """How well scores tell outliers: those that are ranked in all layers, others on the page."""
    ranked: list[tuple[str, ...]] = []
    others: list[tuple[str, ...]] = []
    for place, layer in enumerate(layers):
        areas = {name: at(sequence(entry, "atypical"), place) for name, entry in forms.items()}
        if place == 0:  # what there is of results without forms
            areas = {name: area or mapping(result, "atypical") for name, area in areas.items()}
        for group, kinds in mapping(next(iter(areas.values()), None)).items():
            for kind, area in mapping(kinds).items():
                rows = ranked if group in ("candidate", "all") else others
                name = f"outliers ({words(kind, 40)}) among {words(group, 40)}"
                count = words(mapping(area).get("points"))
                shown = (_area(mapping(each, group, kind)) for each in areas.values())
                rows.append((layer, name, count, *shown))
    headers = ("layer", "", "images", *(f"AUC, {name}" for name in forms))
    caption = "Areas under ROC curves, mean over pairs with intervals over images and pairs"
    return [
        Table(caption, headers, tuple(ranked)),
        Table(f"{caption}: other sets", headers, tuple(others), folded=True),
    ]


def _area(outliers: Result) -> str:
    """Area with its interval; without one, that of mean scores."""
    known = finite(outliers, "mean") is not None
    return interval_of(outliers) if known else number(finite(outliers, "auc"), 3)


def _set_means(layer: str, forms: Mapping[str, Any]) -> Table:
    """Mean scores of the sets in the first layer, in every form."""
    rows: dict[str, list[str]] = {}
    for entry in forms.values():
        tests = at(sequence(entry, "sets"), 0)
        offset = finite(tests, "offset")
        for name, units in mapping(tests, "means").items():
            mean = mean_of(numbers(units))
            above = None if mean is None or offset is None else mean - offset
            rows.setdefault(words(name, 40), []).extend((number(mean, 3), number(above, 3)))
    kinds = ("mean score", "less that of shared images")
    headers = ("set", *(f"{what}, {name}" for name in forms for what in kinds))
    return Table(f"{layer}: scores by set", headers, tuple((k, *v) for k, v in rows.items()))


def _compared(study: Result) -> str:
    """Layers of this study and of the other."""
    layer, other = (words(study.get(key), 60) for key in ("layer", "other_layer"))
    return layer if layer == other else f"{layer} here and {other} there"


def removal_summary(result: Result) -> Summary:
    """Accuracies by what was removed from training."""
    tables, agreements = [], []
    claim = None
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
                    if claim is None and which == "most":
                        claim = _points(f"{what}, points", mapping(point, "from_random"))
        caption = f"{label}: accuracy in per cent by images removed from the encoder's training"
        if "pool" in result:
            caption += f", of {words(result['pool'])}"
        headers = ("removed", "share", "accuracy", "less that of none", "less that of random ones")
        tables.append(Table(caption + _over_seeds(result), headers, tuple(rows)))
    return Summary("Removal", (), tuple(agreements), tuple(tables), _few_seeds(result), claim)


def _points(what: str, found: Result) -> Claim:
    """A difference of accuracies."""
    mean, low, high = (
        None if (end := finite(found, key)) is None else _POINTS * end
        for key in ("mean", "low", "high")
    )
    return Claim(Number(what, mean), low, high, note="0 if scores do not say")


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
    return Summary("Penalty", tables=tables, caveats=_few_seeds(result), claim=_paid(result))


def _paid(result: Result) -> Claim | None:
    """What the strongest penalty changes of the first measure."""
    rows = entries(result, "rows")
    if not rows:
        return None
    row = max(rows, key=lambda row: finite(row, "strength") or 0.0)
    for name, measure in mapping(row, "measures").items():
        mean, low, high = (finite(measure, "from_zero", key) for key in ("mean", "low", "high"))
        strength = number(finite(row, "strength"))
        what = Number(f"change of {words(name, 60)} by a penalty of {strength}", mean)
        before = finite(measure, "value", "mean")
        without = None if before is None or mean is None else before - mean
        return Claim(what, low, high, (Number("value without penalty", without),))
    return None


def _over_seeds(result: Result) -> str:
    level = percent(finite(result, "interval_level"))
    count = len(sequence(result, "seeds"))
    return f"; mean over {count} seed{'s'[: count != 1]} and {level} interval"


def _few_seeds(result: Result) -> tuple[str, ...]:
    seeds = len(sequence(result, "seeds"))
    if seeds == 1:
        return ("1 seed, no interval",)
    return (f"{seeds} seeds, fewer than three",) if seeds == 2 else ()
