"""What is shown of training runs, of overfitting, of memorisation and of benchmarks."""

from __future__ import annotations

from typing import Any

from experiments.report.values import (
    at,
    finite,
    interval,
    leaves,
    mapping,
    numbers,
    percent,
    sequence,
    words,
)
from experiments.report.view import Agreement, Number, Result, Table, View
from experiments.tables import number


def training_view(result: Result) -> View:
    """Steps, probes and records of a training run.

    Parameters
    ----------
    result : mapping
        Of ``training.json``.

    Returns
    -------
    View
        Detected steps, probes with their standard errors, first and last record.

    Examples
    --------
    >>> training_view({"probes": {"knn_backbone": {"accuracy": 0.83, "standard_error": 0.02,
    ...                           "classes": 10}}}).tables[1].rows
    (('knn_backbone', '83 % ± 2 %', '10 %', '-'),)
    """
    times, errors, heights = (
        numbers(result, f"step_{kind}") for kind in ("times", "standard_errors", "heights")
    )
    steps = tuple(
        (str(mode + 1), number(time), number(at(errors, mode), 2), number(at(heights, mode), 3))
        for mode, time in enumerate(times)
    )
    probes = tuple(
        (
            words(name, 60),
            f"{percent(finite(found, 'accuracy'))} ± {percent(finite(found, 'standard_error'), 2)}",
            percent(None if not finite(found, "classes") else 1 / (finite(found, "classes") or 1)),
            words(inside) if isinstance(inside := mapping(found).get("test_size"), int) else "-",
        )
        for name, found in mapping(result, "probes").items()
    )
    first, last = mapping(result, "first_record"), mapping(result, "last_record")
    records = tuple(
        (words(name, 60), number(finite(first, name)), number(finite(last, name)))
        for name in {**first, **last}
    )
    seconds, updates = finite(result, "seconds"), finite(result, "steps")
    parameters = finite(result, "parameters")
    doubts = []
    start, end = finite(first, "probe_loss"), finite(last, "probe_loss")
    if start is not None and end is not None and end > start:
        doubts.append(
            f"the held-out loss ended ({number(end)}) above where it began ({number(start)})"
        )
    rows = (
        ("parameters", "-" if parameters is None else f"{parameters:,.0f}"),
        ("training images", words(result.get("train_images"))),
        ("held-out images", words(result.get("held_out_images"))),
        ("updates", number(updates)),
        ("flow time", number(finite(result, "time"))),
        ("seconds of the last call", number(seconds)),
    )
    return View(
        "Training",
        numbers=(
            Number("detected steps", finite(result, "detected_steps")),
            Number("held-out loss", end),
            Number("effective rank", finite(last, "effective_rank")),
            *(
                Number(f"{words(name, 60)}", finite(found, "accuracy"), share=True)
                for name, found in mapping(result, "probes").items()
            ),
        ),
        tables=(
            Table(
                f"Detected steps (flow time) of {words(result.get('spectrum'), 60)}",
                ("mode", "step time", "standard error", "height"),
                steps,
            ),
            Table(
                "Accuracy on held-out images of probes of the frozen network",
                ("probe", "accuracy ± standard error", "chance", "images"),
                probes,
            ),
            Table("First and last snapshot", ("", "first", "last"), records),
            Table("Size and length", ("", ""), rows),
        ),
        doubts=tuple(doubts),
    )


def overfitting_view(result: Result) -> View:
    """Falls of accuracy by layer, and what follows them.

    Parameters
    ----------
    result : mapping
        Of ``overfitting.json``.

    Returns
    -------
    View
        A table a group of seeds: accuracies, falls, rank correlations with their intervals.

    Examples
    --------
    >>> overfitting_view({"groups": [{"label": "simclr", "layers": ["backbone"], "seeds": [0]}]}
    ...                 ).doubts
    ('simclr: 1 seed, no interval',)
    """
    eps = numbers(result, "eps")
    tables, agreements, main, doubts = [], [], [], []
    groups = [entry for entry in sequence(result, "groups") if isinstance(entry, dict)]
    for group in groups:
        label = words(group.get("label"), 100)
        layers = [words(name, 60) for name in sequence(group, "layers")]
        seeds = sequence(group, "seeds")
        rows = tuple(
            (
                layer,
                _over(mapping(group, "linear_peak"), place, 100),
                _over(mapping(group, "linear_end"), place, 100),
                _over(mapping(group, "linear_fall_by_others"), place, 100),
                _correlation(group, "instance", 0, place),
                _correlation(group, "instance", len(eps) - 1, place),
                _correlation(group, "updates", 0, place),
            )
            for place, layer in enumerate(layers)
        )
        small, large = number(at(eps, 0)), number(at(eps, len(eps) - 1))
        tables.append(
            Table(
                f"{label}: linear probe in per cent, and rank correlation with it of Delta R by "
                "instances and of the number of updates; mean and interval over seeds",
                (
                    "layer",
                    "peak",
                    "end",
                    "fall by others",
                    f"Delta R, eps {small}",
                    f"Delta R, eps {large}",
                    "updates",
                ),
                rows,
            )
        )
        late = [place for place, name in enumerate(layers) if name in ("backbone", "projector")]
        found, beside = (
            "; ".join(f"{layers[place]} {_correlation(group, kind, 0, place)}" for place in late)
            for kind in ("instance", "updates")
        )
        if late:
            what = f"{label}: rank correlation of Delta R (eps {small}) with accuracy"
            agreements.append(Agreement(what, found, f"number of updates: {beside}"))
        for place in late if len(groups) == 1 else []:
            fall = at(numbers(group, "linear_fall_by_others", "mean"), place)
            main.append(Number(f"fall of the linear probe, {layers[place]}", fall, share=True))
        if len(seeds) < 2:
            doubts.append(f"{label}: {len(seeds)} seed{'s'[: len(seeds) != 1]}, no interval")
        elif len(seeds) < 3:
            doubts.append(f"{label}: {len(seeds)} seeds, fewer than three")
    return View("Overfitting", tuple(main), tuple(agreements), tuple(tables), tuple(doubts))


def _over(values: Result, place: int, scale: float = 1.0) -> str:
    mean, low, high = (at(numbers(values, name), place) for name in ("mean", "low", "high"))
    return interval(mean, low, high, scale)


def _correlation(group: Result, signal: str, eps: int, layer: int) -> str:
    found = mapping(group, "correlations", "linear", signal, "all")
    mean, low, high = (
        at(numbers(at(sequence(found, kind), eps)), layer) for kind in ("mean", "low", "high")
    )
    return interval(mean, low, high, digits=2)


def memorization_view(result: Result) -> View:
    """Tests of memorisation scores, and how well they find planted points.

    Parameters
    ----------
    result : mapping
        Of ``memorization.json``: one-sided comparisons of sets wherever it holds a list of
        ``comparisons``, and every number whose name speaks of an AUC.

    Returns
    -------
    View
        The tests and the AUC.

    Examples
    --------
    >>> found = memorization_view({"planted_auc": 0.9, "comparisons": [
    ...     {"above": "candidate", "below": "shared", "difference": 0.2, "p": 0.01}]})
    >>> found.numbers[0].value, found.tables[0].rows[0][:2]
    (0.9, ('candidate above shared', '0.2'))
    """
    tables, agreements, main = [], [], []
    for path, entry in _dictionaries(result, "", 4):
        for key, value in entry.items():
            score = finite(value)
            if "auc" in key.lower().split("_") and score is not None:
                name = f"{path}{key}".replace("_", " ")
                main.append(Number(words(name, 80), score))
                agreements.append(Agreement(words(name, 80), number(score, 3), "chance 0.5"))
        rows = tuple(
            (
                f"{words(one.get('above'), 40)} above {words(one.get('below'), 40)}",
                number(finite(one, "difference"), 3),
                number(finite(one, "standard_error"), 2),
                number(finite(one, "t"), 3),
                number(finite(one, "p"), 2),
                number(finite(one, "effect"), 3),
            )
            for one in sequence(entry, "comparisons")
            if isinstance(one, dict)
        )
        if rows:
            caption = f"{path}one-sided tests over pairs of encoders".replace("_", " ")
            headers = ("expected", "difference", "standard error", "t", "p", "effect")
            tables.append(Table(words(caption), headers, rows))
            agreements += [Agreement(row[0], f"{row[1]} ± {row[2]}", f"p {row[4]}") for row in rows]
    return View("Memorisation", tuple(main), tuple(agreements), tuple(tables))


def _dictionaries(value: Any, path: str, deepest: int) -> list[tuple[str, dict[str, Any]]]:
    """A dictionary and those within it, each after its path."""
    if not isinstance(value, dict) or deepest == 0:
        return []
    found = [(path, value)]
    for key, item in value.items():
        found += _dictionaries(item, f"{path}{key}: ", deepest - 1)
    return found


def bench_view(result: Result) -> View:
    """What a benchmark measured.

    Parameters
    ----------
    result : mapping
        Of ``bench.json``.

    Returns
    -------
    View
        A table a part, and how many times as fast ours is.

    Examples
    --------
    >>> bench_view({"step": {"seconds": {"ours": 2.0}, "ratio": {"bare loop": 0.9}}}).numbers
    (Number(label='step: ratio.bare loop', value=0.9, share=False),)
    """
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
