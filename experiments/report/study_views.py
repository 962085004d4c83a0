"""What is shown of memorisation, of benchmarks and of campaigns."""

from __future__ import annotations

from typing import Any

from experiments.tables import (
    Agreement,
    Number,
    Result,
    Table,
    View,
    at,
    finite,
    interval,
    leaves,
    mapping,
    number,
    numbers,
    percent,
    sequence,
    words,
)


def memorization_view(result: Result) -> View:
    """Tests of memorisation scores, how well they find outliers, and how far rankings agree."""
    layers = [words(name, 60) for name in sequence(result, "layers")]
    means, deviations = numbers(result, "mean"), numbers(result, "deviation")
    scores = tuple(
        (layer, number(at(means, place), 3), number(at(deviations, place), 3))
        for place, layer in enumerate(layers)
    )
    tables = [Table("Scores over images", ("layer", "mean", "standard deviation"), scores)]
    agreements, main, doubts = [], [], []
    for place, entry in enumerate(sequence(result, "sets")):
        layer = at(layers, place) or f"layer {place + 1}"
        tests = [one for one in sequence(entry, "comparisons") if isinstance(one, dict)]
        rows = tuple(
            (
                f"{words(one.get('above'), 40)} above {words(one.get('below'), 40)}",
                number(finite(one, "difference"), 3),
                number(finite(one, "standard_error"), 2),
                number(finite(one, "t"), 3),
                number(finite(one, "p"), 2),
                number(finite(one, "effect"), 3),
            )
            for one in tests
        )
        offset, error = finite(entry, "offset"), finite(entry, "offset_error")
        caption = (
            f"{layer}: one-sided tests between sets, pairs of encoders as units; "
            f"offset of the shared images {number(offset, 3)} ± {number(error, 2)}"
        )
        headers: tuple[str, ...] = ("expected", "difference", "standard error", "t", "p", "effect")
        tables.append(Table(caption, headers, rows))
        if place == 0:
            agreements += [Agreement(row[0], f"{row[1]} ± {row[2]}", f"p {row[4]}") for row in rows]
            main += [
                Number(row[0], finite(test, "difference"))
                for row, test in zip(rows, tests, strict=True)
            ]
    if not main and layers:
        main.append(Number(f"mean score of {layers[0]}", at(means, 0)))
    outliers = []
    for group, kinds in mapping(result, "atypical").items():
        for kind, found in mapping(kinds).items():
            name = f"outliers ({words(kind, 40)}) among {words(group, 40)}"
            area = finite(found, "auc")
            mean, low, high = (finite(found, key) for key in ("mean", "low", "high"))
            over = interval(mean, low, high)
            outliers.append((name, words(mapping(found).get("points")), number(area, 3), over))
            if kind == "any":
                main.append(Number(f"AUC of {name}", area))
                told = "chance 0.5" + ("" if mean is None else f"; over pairs of encoders {over}")
                agreements.append(Agreement(f"{name}, AUC", number(area, 3), told))
                if low is None:
                    doubts.append(f"AUC of {name} has no interval")
    headers = ("", "images", "AUC", "mean and interval over pairs")
    tables.append(Table("Areas under ROC curves of the first layer", headers, tuple(outliers)))
    others = tuple(
        (
            " ".join(words(one.get(key), 60) for key in ("run", "method", "encoder")),
            number(finite(one, "tau"), 3),
            number(finite(one, "tau_p"), 2),
            percent(finite(one, "overlap")),
            percent(finite(one, "chance")),
        )
        for one in sequence(result, "agreement")
        if isinstance(one, dict)
    )
    headers = ("study", "Kendall's tau", "p", "overlap of the top", "chance")
    tables.append(Table("Rankings of other studies", headers, others))
    return View("Memorisation", tuple(main), tuple(agreements), tuple(tables), tuple(doubts))


def campaign_view(result: Result) -> View:
    """How far the jobs of a campaign are."""
    jobs = [job for job in sequence(result, "jobs") if isinstance(job, dict)]
    rows = []
    doubts = []
    for job in jobs:
        name, status = words(job.get("name"), 60), words(job.get("status"), 40)
        seconds = finite(job, "seconds")
        rows.append(
            (
                name,
                status,
                number(finite(job, "minutes"), 3),
                number(None if seconds is None else seconds / 60, 3),
                words(job.get("device"), 60),
            )
        )
        if status != "done":
            errors = [
                words(stage["error"])
                for stage in sequence(job, "stages")
                if isinstance(stage, dict) and stage.get("error") is not None
            ]
            doubts.append(": ".join([f"job {name}", status, *errors[:1]]))
    headers = ("job", "status", "minutes expected", "minutes", "device")
    return View(
        "Campaign",
        numbers=(
            Number("jobs done", sum(row[1] == "done" for row in rows) / len(rows), share=True),
        )
        if rows
        else (),
        tables=(Table(words(result.get("title") or "Jobs"), headers, tuple(rows)),),
        doubts=tuple(doubts),
    )


def bench_view(result: Result) -> View:
    """What a benchmark measured."""
    tables, main = [], []
    for part, found in result.items():
        rows = leaves(found, 60)
        tables.append(Table(words(part, 60), ("", "value"), tuple(rows), len(rows) > 12))
        for name, value in _ratios(found, 3):
            main.append(Number(f"{words(part, 60)}: {name}", value))
    return View("Benchmark", numbers=tuple(main[:24]), tables=tuple(tables))


def _ratios(found: Any, deepest: int, path: str = "") -> list[tuple[str, float]]:
    """Ratios of a part, by their paths."""
    held = []
    for key, value in mapping(found).items():
        name = f"{path}{key}"
        score = finite(value)
        if score is not None and "ratio" in name:
            held.append((words(name, 80), score))
        elif deepest:
            held += _ratios(value, deepest - 1, f"{name}.")
    return held
