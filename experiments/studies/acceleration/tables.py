"""What is shown of ``sslsim accelerate``: how many times sooner, and what is learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.summary import NOT_NEGATIVE, Agreement, Claim, Number, Result, Summary, Table
from experiments.tables import (
    entries,
    finite,
    interval_of,
    mapping,
    mean_of,
    number,
    numbers,
    percent,
    sequence,
    words,
)


def acceleration_summary(result: Result) -> Summary:
    """Ratios of updates and of processor time to those of the first way, and ends."""
    arms = entries(result, "arms")
    seeds = len(sequence(result, "seeds"))
    names = list(mapping(arms[0], "passages")) if arms else []
    level = percent(finite(result, "interval_level"))
    over = f"mean over {seeds} seed{'s'[: seeds != 1]} and {level} interval"
    first = words(arms[0].get("arm"), 40) if arms else "-"
    sooner = Table(
        f"Updates to a target, and how many times sooner than {first} in updates and in processor "
        f"time (geometric {over})",
        ("way", "rate", "target", "updates", "reached", "sooner, updates", "sooner, processor"),
        tuple(
            (
                words(arm.get("arm"), 40) if name == names[0] else "",
                number(finite(arm, "rate")) if name == names[0] else "",
                words(name, 40),
                number(mean_of(numbers(arm, "passages", name, "updates"))),
                f"{number(finite(arm, 'passages', name, 'reached'))} of {seeds}",
                _ratio(mapping(arm, "passages", name), "sooner"),
                _ratio(mapping(arm, "passages", name), "sooner_in_seconds"),
            )
            for arm in arms
            for name in names
        ),
    )
    keys = list(mapping(arms[0], "ends")) if arms else []
    ends = Table(
        f"At the end ({first}: after {number(finite(result, 'long'))} updates, others after "
        f"{number(finite(result, 'steps'))}; {over}), and processor time of an update",
        ("way", *(_END.get(key, key) for key in keys), "cost"),
        tuple(
            (
                words(arm.get("arm"), 40),
                *(interval_of(mapping(arm, "ends"), key) for key in keys),
                number(finite(arm, "cost")),
            )
            for arm in arms
        ),
    )
    agreements, headline = [], []
    claim = None
    for arm in arms[1:]:
        measure = "; ".join(
            f"{words(name, 40)} {_ratio(mapping(arm, 'passages', name), 'sooner')}"
            for name in names
        )
        what = f"{words(arm.get('arm'), 40)}, times fewer updates than {first}"
        agreements.append(Agreement(what, measure, f"cost of one: {number(finite(arm, 'cost'))}"))
    if len(arms) > 1 and names:
        best = arms[-1]
        for key, label in (("sooner", "updates"), ("sooner_in_seconds", "processor time")):
            value = finite(best, "passages", names[0], key, "mean")
            what = f"{words(best.get('arm'), 40)}: times less {label} to {words(names[0], 40)}"
            headline.append(Number(what, value))
        claim = _claim(best, names, first, seeds)
    return Summary(
        "Late modes sooner",
        numbers=tuple(headline),
        agreements=tuple(agreements),
        tables=(sooner, ends),
        claim=claim,
        caveats=_caveats(result, arms, names, seeds),
    )


def _claim(arm: Result, names: Sequence[str], first: str, seeds: int) -> Claim | None:
    """How many times sooner than the first way the last one reaches the first target it reaches."""
    for name in names:
        mean, low, high = (
            finite(arm, "passages", name, "sooner", key) for key in ("mean", "low", "high")
        )
        if mean is not None:
            what = f"{words(arm.get('arm'), 40)}: times fewer updates to {words(name, 40)}"
            reached = f"reached by {number(finite(arm, 'passages', name, 'reached'))} of {seeds}"
            note = f"{first} 1; {reached} seeds"
            return Claim(Number(what, mean), low, high, note=note, range=NOT_NEGATIVE)
    return None


_END = {
    "accuracy": "accuracy",
    "effective_rank": "effective rank",
    "modes_held_out": "modes > 1/2, held out",
    "modes_seen": "modes > 1/2, training images",
    "alignment": "alignment with long trainings of other seeds",
    "alignment_true": "alignment with true modes",
}


def _ratio(passages: dict[str, Any], key: str) -> str:
    """Ratio with its interval; a bound where the first way never got there."""
    text = interval_of(passages, key)
    return f">= {text}" if text != "-" and (finite(passages, "bounds") or 0) > 0 else text


def _caveats(
    result: Result, arms: list[dict[str, Any]], names: list[str], seeds: int
) -> tuple[str, ...]:
    found = []
    if seeds < 3:
        found.append(f"{seeds} seed{'s'[: seeds != 1]}, fewer than three")
    if not result.get("plateaus"):
        found.append("a loss without plateaus: heights of modes mean nothing, and are left out")
    for arm in arms:
        diverged = finite(arm, "diverged") or 0
        if diverged:
            found.append(f"{words(arm.get('arm'), 40)} diverged on {number(diverged)} seed(s)")
    missed = {
        words(arm.get("arm"), 40)
        for arm in arms
        for name in names
        if (finite(arm, "passages", name, "reached") or 0) < seeds
    }
    if missed:
        found.append(
            "targets that some seeds did not reach, left out of the mean: "
            + ", ".join(sorted(missed))
        )
    return tuple(found)
