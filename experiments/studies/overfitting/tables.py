"""What is shown of overfitting: falls of accuracy by layer, and what follows them."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.summary import Agreement, Claim, Number, Result, Summary, Table
from experiments.tables import (
    at,
    entries,
    finite,
    interval,
    mapping,
    number,
    numbers,
    percent,
    sequence,
    words,
)


def overfitting_summary(result: Result) -> Summary:
    """Falls of accuracy by layer, and rank correlations of signals with it, over seeds."""
    scales = [f"eps {number(eps)}" for eps in numbers(result, "eps")]
    first = at(scales, 0) or "eps -"
    level = percent(finite(result, "interval_level"))
    tables, agreements, main, caveats = [], [], [], []
    groups = entries(result, "groups")
    for group in groups:
        label = words(group.get("label"), 100)
        layers = [words(name, 60) for name in sequence(group, "layers")]
        count = len(sequence(group, "seeds"))
        seeds = f"{count} seed{'s'[: count != 1]}"
        rows = tuple(
            (
                layer,
                *(_over_seeds(mapping(group, f"linear_{key}"), place) for key in _ACCURACIES),
                *(_correlation(group, "instance", eps, place) for eps in range(len(scales))),
                _correlation(group, "instance", 0, place, "after_peak"),
                _correlation(group, "updates", 0, place),
            )
            for place, layer in enumerate(layers)
        )
        tables.append(
            Table(
                f"{label} ({seeds}): linear probe in per cent, its fall from its own peak and from "
                "that of the other seeds, and its rank correlation with Delta R by instances "
                f"(after its peak: at {first}) and with the number of updates; mean and {level} "
                "interval",
                (
                    *("layer", *_ACCURACIES.values()),
                    *(f"Delta R, {scale}" for scale in scales),
                    *("after its peak", "updates"),
                ),
                rows,
            )
        )
        late = [place for place, name in enumerate(layers) if name in ("backbone", "projector")]
        signal, updates = (
            "; ".join(f"{layers[place]} {_correlation(group, kind, 0, place)}" for place in late)
            for kind in ("instance", "updates")
        )
        if late:
            what = f"{label}: rank correlation of Delta R ({first}) with accuracy"
            agreements.append(Agreement(what, signal, f"number of updates: {updates}"))
        if "advice" in group:
            agreements.append(_advice(label, layers, mapping(group, "advice")))
        for place in late if len(groups) == 1 else []:
            fall = at(numbers(group, "linear_fall_by_others", "mean"), place)
            main.append(Number(f"fall of the linear probe, {layers[place]}", fall, share=True))
        if count < 3:
            lack = "no interval" if count < 2 else "fewer than three"
            caveats.append(f"{label}: {seeds}, {lack}")
    return Summary(
        "Overfitting",
        tuple(main),
        tuple(agreements),
        tuple(tables),
        tuple(caveats),
        _largest_fall(groups),
    )


def _largest_fall(groups: Sequence[Result]) -> Claim | None:
    """The fall of the last layer where it is largest."""
    falls = []
    for group in groups:
        ends = (
            at(numbers(group, "linear_fall_by_others", key)[-1:], 0)
            for key in ("mean", "low", "high")
        )
        mean, low, high = ends
        if mean is not None:
            falls.append((mean, low, high, group))
    if not falls:
        return None
    mean, low, high, group = max(falls, key=lambda fall: fall[0])
    layer = words(at(sequence(group, "layers")[-1:], 0), 60)
    what = f"{words(group.get('label'), 100)}: fall of the linear probe, {layer}"
    chosen = "" if len(groups) == 1 else f"; the largest of {len(groups)} groups"
    return Claim(Number(what, mean, share=True), low, high, note=f"0 without overfitting{chosen}")


_ACCURACIES = {"peak": "peak", "end": "end", "fall": "fall", "fall_by_others": "fall by others"}


def _advice(label: str, layers: list[str], advice: Result) -> Agreement:
    """What is overfit, and how to undo it."""
    overfit = [words(layer, 60) for layer in sequence(advice, "overfit")]
    if not overfit:
        what = "no linear probe is below its peak by more than its standard error"
        return Agreement(f"{label}: overfit layers", "none", f"{what}: umm has nothing to undo")
    falls, errors, reductions = (
        numbers(advice, key) for key in ("fall", "fall_error", "reduction_fall")
    )
    parts = []
    for place, layer in enumerate(layers):
        if layer in overfit:
            points, error = (
                number(None if value is None else 100 * value, 3)
                for value in (at(falls, place), at(errors, place))
            )
            nats = at(reductions, place)
            moved = (
                "-" if nats is None else f"{number(abs(nats), 3)} {'down' if nats > 0 else 'up'}"
            )
            parts.append(f"{layer}, {points} ± {error} points down, Delta R {moved}")
    features, split = (words(advice.get(key), 60) for key in ("features", "split"))
    if advice.get("features") is None:
        hint = "no late layer among them: umm changes late layers only"
    elif advice.get("split") is None:
        hint = "from the first layer on: no layer is left to keep, as umm needs one"
    else:
        hint = f"sslsim umm --features {features} --split {split}"
        if not sequence(advice, "reduction_fell"):
            hint += "; Delta R, which umm raises, did not fall"
    return Agreement(f"{label}: overfit layers", "; ".join(parts), hint)


def _over_seeds(values: Result, place: int) -> str:
    mean, low, high = (at(numbers(values, name), place) for name in ("mean", "low", "high"))
    return interval(mean, low, high, 100)


def _correlation(group: Result, signal: str, eps: int, layer: int, span: str = "all") -> str:
    values = mapping(group, "correlations", "linear", signal, span)
    mean, low, high = (
        at(numbers(at(sequence(values, kind), eps)), layer) for kind in ("mean", "low", "high")
    )
    low, high = (None if end is None else min(max(end, -1.0), 1.0) for end in (low, high))
    return interval(mean, low, high, digits=2)
