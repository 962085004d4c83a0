"""What is shown of training runs and of forecasts of their steps."""

from __future__ import annotations

from experiments.summary import Agreement, Number, Result, Summary, Table
from experiments.tables import (
    at,
    entries,
    finite,
    mapping,
    number,
    numbers,
    percent,
    sequence,
    words,
)
from sslsim.measures.collapse import collapse

_MOST_ROWS = 300  # forecasts shown one by one


def training_summary(result: Result) -> Summary:
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
            f"{percent(finite(probe, 'accuracy'))} ± {percent(finite(probe, 'standard_error'), 2)}",
            percent(1 / classes if (classes := finite(probe, "classes")) else None),
            words(images) if isinstance(images := mapping(probe).get("test_size"), int) else "-",
        )
        for name, probe in mapping(result, "probes").items()
    )
    first, last = mapping(result, "first_record"), mapping(result, "last_record")
    records = tuple(
        (words(name, 60), number(finite(first, name)), number(finite(last, name)))
        for name in {**first, **last}
    )
    seconds, updates = finite(result, "seconds"), finite(result, "steps")
    parameters = finite(result, "parameters")
    caveats = []
    start, end = finite(first, "probe_loss"), finite(last, "probe_loss")
    if start is not None and end is not None and end > start:
        caveats.append(
            f"the held-out loss ended ({number(end)}) above where it began ({number(start)})"
        )
    dim = finite(result, "dim")
    rank, uniformity = finite(last, "effective_rank"), finite(last, "uniformity")
    collapsed = collapse(rank, uniformity, None if dim is None else int(dim))
    caveats += [] if collapsed is None else [collapsed]
    rows = (
        ("parameters", "-" if parameters is None else f"{parameters:,.0f}"),
        ("training images", words(result.get("train_images"))),
        ("held-out images", words(result.get("held_out_images"))),
        ("updates", number(updates)),
        ("flow time", number(finite(result, "time"))),
        ("seconds of the last call", number(seconds)),
    )
    return Summary(
        "Training",
        numbers=(
            Number("detected steps", finite(result, "detected_steps")),
            Number("held-out loss", end),
            Number("effective rank", rank),
            *(
                Number(words(name, 60), finite(probe, "accuracy"), share=True)
                for name, probe in mapping(result, "probes").items()
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
            Table("First and last snapshot", ("", "first", "last"), records, folded=True),
            Table("Size and length", ("", ""), rows, folded=True),
        ),
        caveats=tuple(caveats),
    )


def spectra_summary(result: Result) -> Summary:
    """Spectra and steps of stored embeddings."""
    times, errors, heights, updates = (
        numbers(result, f"step_{kind}")
        for kind in ("times", "standard_errors", "heights", "iterations")
    )
    rows = tuple(
        (
            str(mode + 1),
            number(time),
            number(at(errors, mode), 2),
            number(at(updates, mode)),
            number(at(heights, mode), 3),
        )
        for mode, time in enumerate(times)
    )
    first, last = mapping(result, "first"), mapping(result, "last")
    measures = tuple(
        (words(name, 60), number(finite(first, name)), number(finite(last, name)))
        for name in {**first, **last}
        if finite(first, name) is not None or finite(last, name) is not None
    )
    collapsed = result.get("collapsed")
    return Summary(
        "Spectra",
        numbers=(
            Number("detected steps", finite(result, "detected_steps")),
            Number("effective rank", finite(last, "effective_rank")),
        ),
        tables=(
            Table(
                f"Detected steps of the {words(result.get('spectrum'), 20)} spectrum, in "
                f"{words(result.get('unit'), 40)}",
                ("mode", "step", "standard error", "updates", "height"),
                rows,
            ),
            Table("First and last embedding", ("", "first", "last"), measures),
        ),
        caveats=(words(collapsed),) if isinstance(collapsed, str) else (),
    )


def forecast_summary(result: Result) -> Summary:
    """Forecasts of steps against what happened."""
    summary = mapping(result, "summary")
    parts = {"all": summary, **mapping(summary, "groups")}
    rows = tuple(
        (
            words(name, 60),
            words(plateaus),
            words(forecaster, 60),
            percent(finite(errors, "median_rate_error")),
            percent(finite(errors, "median_time_error")),
            number(finite(errors, "median_time_ratio"), 3),
            percent(finite(part, "covered")) if forecaster == "two_factor" else "-",
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
    )
    made = number(finite(result, "judged_at"))
    caption = f"Median errors of forecasts made when a mode passed {made} of its ceiling"
    tables = [Table(caption, headers, rows)] if rows else []
    tables.append(_forecasts(result, folded=bool(rows)))
    law = mapping(summary, "forecasters", "two_factor")
    error, covered = finite(law, "median_time_error"), finite(summary, "covered")
    agreements = []
    if law:
        others = [
            f"{words(name, 40)} {percent(finite(other, 'median_time_error'))}"
            for name, other in mapping(summary, "forecasters").items()
            if name != "two_factor"
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
    return Summary(
        "Forecasts",
        numbers=(
            Number("median error of rates", finite(law, "median_rate_error"), share=True),
            Number("median error of times left", error, share=True),
            Number("steps inside their interval", covered, share=True),
        ),
        agreements=tuple(agreements),
        tables=tuple(tables),
        caveats=tuple(caveats),
    )


def _forecasts(result: Result, folded: bool) -> Table:
    forecasts = entries(result, "forecasts")
    rows = tuple(
        (
            words(entry.get("run"), 60),
            words(entry.get("mode")),
            number(finite(entry, "size")),
            number(finite(entry, "time")),
            number(finite(entry, "rates", "two_factor"), 3),
            number(finite(entry, "measured_rate"), 3),
            number(finite(entry, "step_times", "two_factor")),
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
            *("run", "mode", "passed", "made at", "rate", "measured rate"),
            *("forecast", "interval", "by the last rate", "happened"),
        ),
        rows,
        folded,
    )
