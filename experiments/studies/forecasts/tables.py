"""What is shown of forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.summary import NOT_NEGATIVE, Agreement, Claim, Number, Result, Summary, Table
from experiments.tables import (
    entries,
    finite,
    mapping,
    number,
    percent,
    sequence,
    words,
)

_NAIVE = "last_rate"
_MOST_ROWS = 300  # forecasts shown one by one


def forecast_summary(result: Result) -> Summary:
    """Forecasts of steps against what happened."""
    summary = mapping(result, "summary")
    main = words(result.get("main", "two_factor"), 60)  # of results without the name
    parts = {"all": summary, **mapping(summary, "groups")}
    rows = tuple(
        (
            words(name, 60),
            words(plateaus),
            words(forecaster, 60),
            percent(finite(errors, "median_rate_error")),
            percent(finite(errors, "median_time_error")),
            number(finite(errors, "median_time_ratio"), 3),
            percent(finite(part, "covered")) if forecaster == main else "-",
            number(finite(part, "median_interval_factor"), 3) if forecaster == main else "-",
        )
        for name, part in parts.items()
        for plateaus in (mapping(part).get("plateaus"),)
        for forecaster, errors in mapping(part, "forecasters").items()
    )
    headers = (
        "runs",
        "plateaus",
        "forecaster",
        "rate error",
        "time error",
        "time ratio",
        "covered",
        "interval high/low",
    )
    made = number(finite(result, "judged_at"))
    caption = f"Median errors of forecasts made when a mode passed {made} of its ceiling"
    tables = [Table(caption, headers, rows)] if rows else []
    if states := entries(result, "states"):
        tables.append(_states(states))
    tables.append(_forecasts(result, main, folded=bool(rows)))
    law = mapping(summary, "forecasters", main)
    error, covered = finite(law, "median_time_error"), finite(summary, "covered")
    agreements = []
    if law:
        others = [
            f"{words(name, 40)} {percent(finite(other, 'median_time_error'))}"
            for name, other in mapping(summary, "forecasters").items()
            if name != main
        ]
        beside = "; ".join([f"{words(summary.get('plateaus'))} plateaus", *others])
        agreements.append(Agreement("time left to a step, median error", percent(error), beside))
    caveats = []
    if not sequence(result, "forecasts"):
        caveats.append("no mode passed the height at which a forecast is made")
    level = finite(result, "interval_level")
    if covered is not None:
        nominal = f"nominal {percent(level)}"
        agreements.append(Agreement("steps inside their interval", percent(covered), nominal))
        if level is not None and covered < level - 0.15:
            caveats.append(f"intervals cover {percent(covered)} of the steps, {nominal}")
    naive = finite(summary, "forecasters", _NAIVE, "median_time_error")
    inside = f"{percent(covered)} of the steps inside their {percent(level)} interval"
    return Summary(
        "Forecasts",
        claim=Claim(
            Number("median error of times left", error, share=True),
            beside=(Number("last rate kept up", naive, share=True),),
            note="" if covered is None else inside,
            range=NOT_NEGATIVE,
        ),
        numbers=(
            Number("median error of rates", finite(law, "median_rate_error"), share=True),
            Number("median error of times left", error, share=True),
            Number("steps inside their interval", covered, share=True),
        ),
        agreements=tuple(agreements),
        tables=tuple(tables),
        caveats=tuple(caveats),
    )


def _states(states: Sequence[Mapping[str, object]]) -> Table:
    rows = tuple(
        (words(entry.get("mode")), number(finite(entry, "lam")), words(entry.get("state"), 60))
        for entry in states[:_MOST_ROWS]
    )
    return Table("Modes at this checkpoint", ("mode", "eigenvalue", "state"), rows)


def _forecasts(result: Result, main: str, folded: bool) -> Table:
    forecasts = entries(result, "forecasts")
    rows = tuple(
        (
            words(entry.get("run"), 60),
            words(entry.get("mode")),
            words(entry.get("state", "-"), 60),
            number(finite(entry, "size")),
            number(finite(entry, "time")),
            number(finite(entry, "rates", main), 3),
            number(finite(entry, "measured_rate"), 3),
            number(finite(entry, "step_times", main)),
            f"{number(finite(entry, 'low'))} .. {number(finite(entry, 'high'))}",
            number(finite(entry, "step_times", "last_rate")),
            number(finite(entry, "measured_step_time")),
        )
        for entry in forecasts[:_MOST_ROWS]
    )
    left = len(forecasts) - len(rows)
    return Table(
        "Every forecast (flow times)" + (f"; {left} more in forecast.json" if left else ""),
        (
            *("run", "mode", "state", "passed", "made at", "rate", "measured rate"),
            *("forecast", "interval", "by the last rate", "happened"),
        ),
        rows,
        folded,
    )
