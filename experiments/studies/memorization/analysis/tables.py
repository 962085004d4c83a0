"""Tables of what is measured beside the scores: of atypicality, units and predictors."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.summary import Result, Table
from experiments.tables import at, interval_of, mapping, sequence, words


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
