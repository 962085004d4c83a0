"""Tables of what is measured beside the scores: of atypicality, units and predictors."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.summary import Result, Table
from experiments.tables import (
    at,
    entries,
    finite,
    interval_of,
    mapping,
    number,
    numbers,
    percent,
    sequence,
    words,
)


def atypicality_table(result: Result, layers: Sequence[str]) -> Table:
    """Rank correlations of scores with natural atypicality, by layer, form and images."""
    found = mapping(result, "atypicality")
    forms = mapping(found, "forms")
    rows = []
    for place, layer in enumerate(layers):
        by_form = {name: at(sequence(entries), place) for name, entries in forms.items()}
        for images in ("all", "natural"):
            parts = [mapping(entry, images) for entry in by_form.values()]
            if not any(parts):
                continue
            cells = [interval_of(part, key) for part in parts for key in ("spearman", "given_loss")]
            what = "all" if images == "all" else "without planted outliers"
            points = words(parts[0].get("points"))
            rows.append((layer, what, points, *cells, interval_of(parts[0], "loss")))
    run, method, encoder, neighbours, population = (
        words(found.get(key), 60)
        for key in ("run", "method", "encoder", "neighbours", "population")
    )
    caption = (
        f"Natural atypicality, the mean distance to {neighbours} neighbours among {population} "
        f"training images under {run} ({method}, {encoder}): Spearman's correlation with the "
        "scores, with intervals over images and encoders"
    )
    headings = (heading for name in forms for heading in (name, f"{name}, given g's loss"))
    headers = ("layer", "ranked images", "number", *headings, "g's loss alone")
    return Table(caption, headers, tuple(rows))


_MEANS = {
    "f_candidate": "f, candidates",
    "f_external": "f, external",
    "g_candidate": "g, candidates",
    "above_external": "f, candidates above external",
    "above_g": "candidates, f above g",
    "contrast": "f above g, candidates above external",
}


def units_table(result: Result, layers: Sequence[str]) -> Table:
    """UnitMem by layer, and whether the images of the maxima are those of the highest scores."""
    rows = []
    found = sequence(result, "unit_memorization")
    for layer, entry in zip(layers, found, strict=False):
        cells = [interval_of(entry, key) for key in _MEANS]
        for family in "fg":
            maxima = mapping(entry, f"maxima_{family}")
            cells.append(interval_of(maxima, "overlap", scale=100))
        known = [p for p in numbers(entry, "maxima_f", "chance_p") if p is not None]
        chance = percent(finite(entry, "maxima_f", "chance"))
        units, silent = words(mapping(entry).get("unit_count")), percent(finite(entry, "silent"))
        rows.append((layer, units, silent, *cells, chance, number(max(known, default=None), 2)))
    count, top = (words(mapping(at(found, 0)).get(key)) for key in ("points", "top"))
    caption = (
        f"UnitMem, mean over units, on {count} images a set, with intervals over encoder pairs; "
        f"share of the images at which units of f and of g are largest among the {top} candidates "
        "of the highest scores, in per cent"
    )
    headers = ("layer", "units", "never active", *_MEANS.values(), "f, in top", "g, in top")
    return Table(caption, (*headers, "chance", "p of f, largest"), tuple(rows))


_PREDICTORS = {
    "influence": "influence",
    "gradient_norm": "squared norm of the gradient",
    "loss": "alignment loss",
}


def predictors_table(result: Result) -> Table:
    """Influence and simpler numbers against the scores of other studies."""
    rows = []
    for entry in entries(result, "predictors"):
        study, layer = words(entry.get("run")), words(entry.get("layer"), 60)
        for form, by_name in mapping(entry, "forms").items():
            for key, name in _PREDICTORS.items():
                found = mapping(by_name, key)
                rows.append(
                    (
                        study,
                        layer,
                        form,
                        name,
                        number(finite(found, "tau"), 3),
                        number(finite(found, "tau_p"), 2),
                        percent(finite(found, "overlap")),
                        percent(finite(found, "chance")),
                        interval_of(found, "spearman"),
                        interval_of(found, "given_loss"),
                    )
                )
    caption = (
        "Influence and simpler numbers as predictors of the scores of other studies; intervals "
        "over images"
    )
    headers = ("study", "layer", "form", "predictor", "Kendall's tau", "p", "overlap of the top",
               "chance", "Spearman", "given the alignment loss")  # fmt: skip
    return Table(caption, headers, tuple(rows))
