"""What is shown of predictions of linear and wide models and of their comparison with training."""

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
    mapping,
    number,
    numbers,
    percent,
    sequence,
    words,
)


def _range(low: float | None, high: float | None) -> str:
    """Interval of a time; no upper end means that it may never come."""
    if low is None and high is None:
        return "-"
    return f"{number(low)} .. {'never' if high is None else number(high)}"


def _level(result: Result) -> str:
    level = finite(result, "interval_level")
    return "interval" if level is None else f"{percent(level)} interval"


def _warned(result: Result) -> tuple[str, ...]:
    return tuple(words(entry) for entry in sequence(result, "warnings"))


def _answer(value: Any) -> str:
    return words(value) if isinstance(value, bool) else "-"


def prediction_view(result: Result) -> View:
    """Step times predicted from pairs."""
    gamma, times = numbers(result, "eigenvalues"), numbers(result, "step_times")
    low, high = numbers(result, "step_time_low"), numbers(result, "step_time_high")
    iterations, resolved = numbers(result, "step_iterations"), sequence(result, "resolved")
    rows = tuple(
        (
            str(mode + 1),
            number(at(gamma, mode)),
            "never" if time is None else number(time),
            _range(at(low, mode), at(high, mode)),
            number(at(iterations, mode)),
            _answer(at(resolved, mode)),
        )
        for mode, time in enumerate(times)
    )
    told = [entry is True for entry in resolved]
    return View(
        "Prediction",
        numbers=(
            Number("first step time", at(times, 0)),
            Number("last step time", at(times, len(times) - 1)),
            Number("modes resolved", sum(told) / len(told) if told else None, share=True),
        ),
        tables=(
            Table(
                "Predicted step of each mode (learning rate x iteration)",
                ("mode", "gamma", "step time", _level(result), "iteration", "resolved"),
                rows,
            ),
        ),
        doubts=_warned(result),
    )


def comparison_view(result: Result) -> View:
    """Predicted and measured step times."""
    if "theory" in result or "fitted_time_scale" in result:
        return _run_comparison_view(result)
    predicted, measured = (
        numbers(result, f"{kind}_step_times") for kind in ("predicted", "measured")
    )
    gamma, errors = numbers(result, "eigenvalues"), numbers(result, "relative_error")
    naive = numbers(result, "naive_relative_error")
    low, high = numbers(result, "predicted_low"), numbers(result, "predicted_high")
    rows = tuple(
        (
            str(mode + 1),
            number(at(gamma, mode)),
            "never" if time is None else number(time),
            _range(at(low, mode), at(high, mode)),
            number(at(measured, mode)),
            percent(at(errors, mode)),
            percent(at(naive, mode)),
        )
        for mode, time in enumerate(predicted)
    )
    mean, baseline = (finite(result, f"{kind}mean_relative_error") for kind in ("", "naive_"))
    ties = [words(mode) for mode in sequence(result, "near_ties")]
    doubts = list(_warned(result))
    if ties:
        doubts.append(f"modes too close to the next for this init scale: {', '.join(ties)}")
    if not low and predicted:
        doubts.append("predicted step times have no interval")
    if mean is None:
        doubts.append("no predicted step was seen in training")
    return View(
        "Prediction against training",
        numbers=(
            Number("mean error of step times", mean, share=True),
            Number("mean error, naive", baseline, share=True),
        ),
        agreements=(
            Agreement(
                "step times, mean relative error",
                percent(mean),
                f"naive prediction {percent(baseline)}",
            ),
        ),
        tables=(
            Table(
                "Predicted and measured step of each mode (learning rate x iteration)",
                ("mode", "gamma", "predicted", _level(result), "measured", "error", "naive error"),
                rows,
            ),
        ),
        doubts=tuple(doubts),
    )


def _run_comparison_view(result: Result) -> View:
    predicted, measured = (
        numbers(result, f"{kind}_step_times") for kind in ("predicted", "measured")
    )
    standard = numbers(result, "measured_standard_errors")
    errors = numbers(result, "scaled_relative_error")
    scale = finite(result, "fitted_time_scale")
    rows = tuple(
        (
            str(mode + 1),
            number(time),
            "-" if time is None or scale is None else number(scale * time),
            number(at(measured, mode)),
            number(at(standard, mode)),
            percent(at(errors, mode)),
        )
        for mode, time in enumerate(predicted)
    )
    return View(
        "Linear theory against the run",
        numbers=time_numbers(result),
        agreements=time_agreements(result, "step times by linear theory"),
        tables=(
            Table(
                f"Steps (flow time) by {words(result.get('theory') or 'linear theory')}, and "
                f"measured; one fitted factor, {number(scale)}",
                ("mode", "predicted", "x factor", "measured", "standard error", "error, x factor"),
                rows,
            ),
        ),
        doubts=("predicted step times have no interval",) if predicted else (),
    )


def time_numbers(result: Result) -> tuple[Number, ...]:
    """Main numbers of predicted step times of a deep network."""
    return (
        Number("mean error of step times", finite(result, "mean_relative_error"), share=True),
        Number("up to one factor", finite(result, "mean_scaled_relative_error"), share=True),
        Number("rank correlation of step times", finite(result, "spearman")),
    )


def time_agreements(result: Result, what: str) -> tuple[Agreement, ...]:
    """Agreement of predicted step times of a deep network with the measured ones."""
    mean, scaled = (finite(result, f"mean_{kind}relative_error") for kind in ("", "scaled_"))
    if mean is None and scaled is None:
        return ()
    return (
        Agreement(
            f"{what}, mean relative error up to one factor",
            percent(scaled),
            f"as they are {percent(mean)}; rank correlation {number(finite(result, 'spearman'))}",
        ),
    )


_PREDICTIONS = {"kernel": "traced kernel", "full_kernel": "all blocks", "limit": "infinite width"}


def wide_view(result: Result) -> View:
    """Errors of kernel predictions by the width of networks."""
    widths = sequence(result, "widths")
    tables, agreements, main, doubts = [], [], [], []
    for way in mapping(result, "ways"):
        parts = {name: mapping(result, "ways", way, name) for name in _PREDICTIONS}
        rows = [
            (words(width), *(_error(part, place) for part in parts.values()))
            for place, width in enumerate(widths)
        ]
        slopes = [
            f"{number(finite(part, 'exponent'), 3)} ± {number(finite(part, 'exponent_error'), 2)}"
            for part in parts.values()
        ]
        tables.append(
            Table(
                f"Mean relative error of step times, geometric mean over networks ({way})",
                ("width", *_PREDICTIONS.values()),
                (*rows, ("exponent", *slopes)),
            )
        )
        errors = numbers(parts["kernel"], "geometric_mean")
        widest = at(errors, len(widths) - 1)
        if widths:
            main.append(Number(f"error at width {words(widths[-1])} ({way})", widest, share=True))
            agreements.append(
                Agreement(
                    f"step times by the traced kernel at width {words(widths[-1])} ({way})",
                    percent(widest),
                    f"width {words(widths[0])}: {percent(at(errors, 0))}; exponent {slopes[0]}",
                )
            )
        if None in numbers(parts["kernel"], "low"):
            doubts.append(f"errors of {way} have no interval")
    return View("Wide networks", tuple(main), tuple(agreements), tuple(tables), tuple(doubts))


def _error(part: Result, place: int) -> str:
    mean, low, high = (at(numbers(part, name), place) for name in ("geometric_mean", "low", "high"))
    if low is None or high is None:
        return percent(mean)
    return f"{percent(mean)} [{percent(low)}, {percent(high)}]"
