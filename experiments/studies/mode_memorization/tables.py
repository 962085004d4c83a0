"""What is shown of memorisation by mode."""

from __future__ import annotations

from experiments.summary import Agreement, Claim, Number, Result, Summary, Table
from experiments.tables import (
    at,
    entries,
    finite,
    interval,
    interval_of,
    mapping,
    numbers,
    percent,
    sequence,
    words,
)

_POINTS = 100.0
_KINDS = {
    "new": "new views",
    "seen": "views seen in training",
    "seen_shared": "shared images, views seen",
}
_CHOICES = (
    "most", "least", "most_absolute", "least_absolute", "first", "last", "random", "more", "less"
)  # fmt: skip
_REMOVALS = {
    "more_less_less_neighbours": "the more memorising of two neighbours removed, less the other",
    "most_less_random_0.5": "the most memorising half removed, less a random half",
}


def mode_summary(result: Result) -> Summary:
    """Where memorisation is, what fine-tuning changes of it, and what removing modes changes."""
    tables: list[Table] = []
    agreements: list[Agreement] = []
    main: list[Number] = []
    caveats: list[str] = []
    claim: Claim | None = None
    for group in entries(result, "groups"):
        name = " ".join(words(group.get(key), 40) for key in ("method", "encoder", "views", "run"))
        tables += [
            _memorization(group, name),
            _by_band(group, name),
            _changes(group, name),
            _removal(group, name),
        ]
        seeds = len(sequence(group, "seeds"))
        if seeds < 3:
            caveats.append(
                f"{words(group.get('run'), 60)}: {seeds} encoder pair(s), fewer than three"
            )
        kind = "seen" if group.get("fixed_views") is True else "new"
        before = mapping(group, "states", "before", "numbers")
        run = words(group.get("run"), 60)
        main.append(Number(f"{run}: memorisation, ratio", finite(before, f"{kind}_ratio", "mean")))
        for variant, change in mapping(group, "changes").items():
            if variant == "control":
                continue
            of = mapping(change, "from_control", "numbers")
            if claim is None:
                mean, low, high = (
                    finite(of, f"{kind}_ratio", key) for key in ("mean", "low", "high")
                )
                what = f"{run}: change of memorisation (ratio) by {words(variant, 40)}"
                claim = Claim(Number(what, mean), low, high, note="0: as plain further training")
            agreements.append(
                Agreement(
                    f"{run}: {words(variant, 40)}, memorisation (ratio)",
                    interval_of(of, f"{kind}_ratio"),
                    f"linear probe {interval_of(of, 'linear_unseen', scale=_POINTS)} points; both "
                    "beyond plain further training",
                )
            )
        for key, what in _REMOVALS.items():
            found = interval_of(before, f"linear_unseen_removed_{key}", scale=_POINTS)
            if found != "-":
                agreements.append(Agreement(f"{run}: {what}", f"{found} points", "0"))
    return Summary(
        "Memorisation by mode", tuple(main), tuple(agreements), tuple(tables), tuple(caveats), claim
    )


def _memorization(group: Result, name: str) -> Table:
    """Memorisation of all modes together and of either half, before and after."""
    rows = []
    for state, measures in mapping(group, "states").items():
        of = mapping(measures, "numbers")
        for kind, label in _KINDS.items():
            if finite(of, f"{kind}_ratio", "mean") is None:
                continue
            for form in ("absolute", "relative", "ratio"):
                cells = (
                    interval_of(of, f"{kind}_{form}{part}")
                    for part in ("", "_first_half", "_last_half", "_last_less_first")
                )
                rows.append((words(state, 40), label, form, *cells))
    headers = (
        "encoders",
        "views",
        "form",
        "all modes",
        "first half",
        "last half",
        "last less first",
    )
    return Table(f"{name}: memorisation of candidates above external images", headers, tuple(rows))


def _by_band(group: Result, name: str) -> Table:
    """Bands of modes before fine-tuning."""
    of = mapping(group, "states", "before", "bands")
    kind = "seen" if group.get("fixed_views") is True else "new"
    columns = {
        "memorisation": (f"{kind}_absolute", 1.0),
        "relative": (f"{kind}_relative", 1.0),
        "ratio": (f"{kind}_ratio", 1.0),
        "Delta R, nats": ("instance_reduction", 1.0),
        "class share, %": ("class_share", _POINTS),
        "probe of band, %": ("linear_unseen_only", _POINTS),
        "up to band, %": ("linear_unseen_first", _POINTS),
        "without band, %": ("linear_unseen_without", _POINTS),
    }
    count = len(numbers(of, f"{kind}_absolute", "mean"))
    rows = [
        (str(band + 1), *(_at(of, key, band, scale) for key, scale in columns.values()))
        for band in range(count)
    ]
    return Table(f"{name}: bands of modes, before", ("band", *columns), tuple(rows))


def _at(of: Result, key: str, place: int, scale: float = 1.0) -> str:
    mean, low, high = (at(numbers(of, key, end), place) for end in ("mean", "low", "high"))
    return interval(mean, low, high, scale=scale)


def _changes(group: Result, name: str) -> Table:
    """What fine-tuning changes, from before and beyond the control."""
    measures: dict[str, tuple[str, float]] = {
        f"{label}, {form}": (f"{kind}_{form}", 1.0)
        for kind, label in _KINDS.items()
        for form in ("relative", "ratio")
    }
    measures |= {
        "Delta R of instances, nats": ("instance_reduction", 1.0),
        "Delta R of classes, nats": ("class_reduction", 1.0),
        "linear probe, unseen images": ("linear_unseen", _POINTS),
        "linear probe, own images": ("linear_own", _POINTS),
        "neighbours, unseen images": ("knn_unseen", _POINTS),
        "neighbours, own images": ("knn_own", _POINTS),
    }
    rows = []
    changes = mapping(group, "changes")
    for label, (key, scale) in measures.items():
        before = interval_of(mapping(group, "states", "before", "numbers"), key, scale=scale)
        if before == "-":
            continue
        row = [label, before]
        for change in changes.values():
            for what in ("from_before", "from_control"):
                if what in mapping(change):
                    row.append(interval_of(mapping(change, what, "numbers"), key, scale=scale))
        rows.append(tuple(row))
    headers = ["", "before"]
    for variant, change in changes.items():
        headers += [
            f"{words(variant, 40)} less {what[5:]}"
            for what in ("from_before", "from_control")
            if what in mapping(change)
        ]
    return Table(f"{name}: changes by fine-tuning", tuple(headers), tuple(rows))


def _removal(group: Result, name: str) -> Table:
    """Accuracy when modes are removed, in points from all modes."""
    rows = []
    for state, measures in mapping(group, "states").items():
        of = mapping(measures, "numbers")
        start = "linear_unseen_removed_random_"
        shares = [key.removeprefix(start) for key in of if key.startswith(start)]
        for share in (*shares, "neighbours"):
            for choice in _CHOICES:
                found = [
                    interval_of(of, f"{probe}_removed_{choice}_{share}", scale=_POINTS)
                    for probe in ("linear_unseen", "linear_own", "knn_unseen")
                ]
                if found[0] == "-":
                    continue
                size = share if share == "neighbours" else percent(float(share))
                against = interval_of(
                    of, f"linear_unseen_removed_{choice}_less_random_{share}", scale=_POINTS
                )
                rows.append((words(state, 40), size, choice.replace("_", " "), *found, against))
    headers = (
        "encoders", "modes removed", "which", "linear probe, unseen images", "own images",
        "neighbours", "probe less that of random modes",
    )  # fmt: skip
    return Table(
        f"{name}: accuracy without some modes less that of all, points", headers, tuple(rows)
    )
