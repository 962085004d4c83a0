"""What is shown of modes: what they follow, accuracy by their number, overlaps."""

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

_CURVES = {
    "first": "first k only",
    "random": "k random directions",
    "untrained": "first k, untrained",
    "without": "without the first k",
}


def modes_summary(result: Result) -> Summary:
    """Correlations and accuracies of every group, overlaps, and modes by part of the views."""
    tables, agreements, caveats = [], [], []
    level = percent(finite(result, "interval_level"))
    images = f"{words(result.get('images'))} held-out images"
    for group in entries(result, "groups"):
        label, seeds = words(group.get("label"), 80), len(sequence(group, "seeds"))
        named = f"{label} ({seeds} seed{'s'[: seeds != 1]})"
        tables += [_correlations(group, named, images, level), _explained(group, named, level)]
        if mapping(group, "accuracy"):
            tables.append(_accuracies(group, named, level))
            agreements.append(_use(group, named))
        if seeds < 3:
            lack = "no interval" if seeds < 2 else "fewer than three"
            caveats.append(f"{label}: {seeds} seed{'s'[: seeds != 1]}, {lack}")
    if mapping(result, "augmentations"):
        tables.append(_parts(mapping(result, "augmentations")))
    if mapping(result, "overlap"):
        tables += _overlaps(mapping(result, "overlap"))
    grey = finite(result, "grey_images")
    if grey:
        caveats.append(f"{number(grey)} grey images, which have no hue, are left out")
    claim = _claim(entries(result, "groups"))
    return Summary("Modes", (), tuple(agreements), tuple(tables), tuple(caveats), claim)


def _claim(groups: Sequence[Result]) -> Claim | None:
    """By how much all modes of the first group are more accurate than an untrained network's."""
    for group in groups:
        gain = mapping(group, "gain", "untrained")
        mean, low, high = (
            None if end is None else 100 * end
            for end in (at(numbers(gain, key)[-1:], 0) for key in ("mean", "low", "high"))
        )
        if mean is not None:
            what = f"{words(group.get('label'), 80)}: accuracy of all modes less that of an "
            what += "untrained network's, points"
            return Claim(Number(what, mean), low, high, note="0 if training adds nothing")
    return None


def _over_seeds(values: Result, *places: int, scale: float = 1.0, digits: int = 2) -> str:
    """Mean and interval of one entry of nested lists."""
    ends = []
    for key in ("mean", "low", "high"):
        entry = sequence(values, key)
        for place in places[:-1]:
            entry = at(entry, place) if isinstance(at(entry, place), list) else []
        ends.append(at(numbers(entry), places[-1]))
    mean, low, high = ends
    return interval(mean, low, high, scale, digits)


def _correlations(group: Result, named: str, images: str, level: str) -> Table:
    statistics = [words(name, 40) for name in sequence(group, "statistics")]
    counts = sequence(group, "significant")
    seeds = len(sequence(group, "seeds"))
    rows = []
    for mode in range(len(counts)):
        cells = []
        for place in range(len(statistics)):
            count = at(numbers(at(counts, mode)), place)
            star = "*" if count is not None and count == seeds else ""
            values = mapping(group, "correlation")
            cells.append(_over_seeds(values, mode, place) + star)
        rows.append((str(mode + 1), *cells))
    return Table(
        f"{named}: size of the correlation of every mode with statistics of {images}, mean and "
        f"{level} interval over seeds; * beyond chance in every seed (corrected for all modes and "
        "statistics)",
        ("mode", *statistics),
        tuple(rows),
    )


def _explained(group: Result, named: str, level: str) -> Table:
    statistics = [words(name, 40) for name in sequence(group, "statistics")]
    counts = numbers(group, "counts")
    rows = []
    for curve in ("first", "random", "untrained"):
        values = mapping(group, "explained", curve)
        rows += [
            (
                _CURVES[curve],
                number(k),
                *(_over_seeds(values, i, place) for place in range(len(statistics))),
            )
            for i, k in enumerate(counts)
            if values
        ]
    caption = (
        f"{named}: share of every statistic that modes explain together, mean and {level} interval "
        "over seeds"
    )
    return Table(caption, ("modes", "k", *statistics), tuple(rows))


def _accuracies(group: Result, named: str, level: str) -> Table:
    accuracy = mapping(group, "accuracy")
    rows = tuple(
        (
            number(k),
            *(_over_seeds(mapping(accuracy, key), i, scale=100, digits=3) for key in _CURVES),
        )
        for i, k in enumerate(numbers(group, "counts"))
    )
    caption = (
        f"{named}: accuracy of a linear probe in per cent, mean and {level} interval over seeds"
    )
    return Table(caption, ("k", *_CURVES.values()), rows)


def _use(group: Result, named: str) -> Agreement:
    """By how much the first modes are more accurate than directions at random."""
    counts = numbers(group, "counts")
    gains = [
        f"{_over_seeds(mapping(group, 'gain', 'random'), i, scale=100)} at k = {number(k)}"
        for i, k in enumerate(counts[:-1])
    ]
    start = _over_seeds(mapping(group, "gain", "untrained"), len(counts) - 1, scale=100)
    return Agreement(
        f"{named}: points of accuracy by which the first k modes exceed k random directions",
        "; ".join(gains) or "-",
        f"all {number(counts[-1]) if counts else '-'} exceed those of the untrained network by "
        f"{start}",
    )


def _parts(dropped: Result) -> Table:
    statistics = [words(name, 40) for name in sequence(dropped, "statistics")]
    counts = numbers(dropped, "counts")
    place = min(2, max(len(counts) - 1, 0))
    rows = tuple(
        (
            words(row.get("without"), 40),
            number(at(numbers(row, "overlap"), place), 2),
            *(number(value, 2) for value in numbers(at(sequence(row, "explained"), place))),
        )
        for row in entries(dropped, "rows")
    )
    first = number(at(counts, place))
    return Table(
        f"Linear model, {words(dropped.get('views'))} views without one part: overlap of its first "
        f"{first} modes with those of all parts, and share of every statistic that they explain",
        ("without", "overlap", *statistics),
        rows,
    )


def _overlaps(overlap: Result) -> list[Table]:
    labels = [words(name, 60) for name in sequence(overlap, "labels")]

    def cell(count: int, row: int, column: int) -> str:
        mean, low, high = (
            at(numbers(at(sequence(at(sequence(overlap, key), count)), row)), column)
            for key in ("mean", "lowest", "highest")
        )
        alone = low is None or high is None or low == high
        return number(mean, 2) + ("" if alone else f" ({number(low, 2)} to {number(high, 2)})")

    return [
        Table(
            f"Overlap of the first {number(k)} modes of different networks, mean and range "
            f"(chance {number(at(numbers(overlap, 'chance'), i), 2)})",
            ("", *labels),
            tuple(
                (label, *(cell(i, row, column) for column in range(len(labels))))
                for row, label in enumerate(labels)
            ),
        )
        for i, k in enumerate(numbers(overlap, "counts"))
    ]
