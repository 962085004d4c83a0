"""What is shown of training runs and of overfitting."""

from __future__ import annotations

from experiments.tables import (
    Agreement,
    Number,
    Result,
    Table,
    View,
    at,
    finite,
    interval,
    mapping,
    number,
    numbers,
    percent,
    sequence,
    words,
)


def training_view(result: Result) -> View:
    """Steps, probes and records of a training run."""
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
    """Falls of accuracy by layer, and what follows them."""
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
