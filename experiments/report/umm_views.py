"""What is shown of fine-tuning by the Undoing Memorization Mechanism."""

from __future__ import annotations

from typing import Any

from experiments.report.values import finite, interval, mapping, percent, sequence, words
from experiments.report.view import Agreement, Number, Result, Table, View
from experiments.tables import number

# Measures of the main tables: name, heading, factor.
_MEASURES = (
    ("linear_backbone", "linear, points", 100),
    ("knn_backbone", "neighbours, points", 100),
    ("coding_rate_reduction", "Delta R", 1),
    ("alignment", "distance", 1),
    ("loss", "loss", 1),
)


def umm_view(result: Result) -> View:
    """One fine-tuned run, layer by layer, before and after.

    Parameters
    ----------
    result : mapping
        Of ``umm.json``.

    Returns
    -------
    View
        Accuracies and coding rate reductions; signs against convergence are doubts.

    Examples
    --------
    >>> umm_view({"convergence": {"converges": False, "outer_falls": True}}).doubts[0]
    'fine-tuning does not converge: outer_falls'
    """
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
    """Settings of fine-tuning beside plain training, over seeds.

    Parameters
    ----------
    result : mapping
        Of ``table.json``.

    Returns
    -------
    View
        Changes beyond the control's and plain ones, with intervals, and effects of interventions.

    Examples
    --------
    >>> change = {"mean": 0.5, "low": 0.1, "high": 0.9}
    >>> row = {"group": "simclr", "setting": "full", "seeds": [0, 1, 2],
    ...        "measures": {"loss": {"from_control": change}}}
    >>> sweep_view({"rows": [row]}).tables[0].rows
    (('full', '3', '-', '-', '-', '-', '0.5 [0.1, 0.9]'),)
    """
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
