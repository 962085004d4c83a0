"""What is shown of predictions of linear and wide models and of their comparison with training."""

from __future__ import annotations

from typing import Any

from experiments.summary import NOT_NEGATIVE, Agreement, Claim, Number, Result, Summary, Table
from experiments.tables import (
    at,
    finite,
    mapping,
    mean_of,
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


def _steps_of(result: Result) -> str:
    """For which training the steps hold; results of earlier versions do not say."""
    target = result.get("target")
    return f", for {words(target)}" if target else ""


def _answer(value: Any) -> str:
    return words(value) if isinstance(value, bool) else "-"


def prediction_summary(result: Result) -> Summary:
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
    return Summary(
        "Prediction",
        claim=Claim(
            Number("first step time, before any training", at(times, 0)),
            at(low, 0),
            at(high, 0),
            note="no training; the interval is for other pairs of the same population",
        ),
        numbers=(
            Number("first step time", at(times, 0)),
            Number("last step time", at(times, len(times) - 1)),
            Number(
                "modes resolved",
                sum(entry is True for entry in resolved) / len(resolved) if resolved else None,
                share=True,
            ),
        ),
        tables=(
            Table(
                f"Predicted step of each mode (learning rate x iteration){_steps_of(result)}",
                ("mode", "gamma", "step time", _level(result), "iteration", "resolved"),
                rows,
            ),
            *_draws_table(result),
        ),
        caveats=(*_landmarks(result), *_warned(result)),
    )


def _draws_table(result: Result) -> tuple[Table, ...]:
    """Step times over the draws of a random start, where a kernel predicts them."""
    mean = numbers(result, "step_time_mean")
    low, high = (numbers(result, f"step_time_draw_{end}") for end in ("low", "high"))
    rows = tuple(
        (
            str(mode + 1),
            "never" if time is None else number(time),
            _range(at(low, mode), at(high, mode)),
        )
        for mode, time in enumerate(mean)
    )
    caption = "The same pairs, over the draws of the random initial function"
    return (Table(caption, ("mode", "mean", _level(result)), rows),) if rows else ()


def _landmarks(result: Result) -> tuple[str, ...]:
    """How far landmarks are from the whole kernel."""
    count = finite(result, "landmarks")
    if count is None:
        return ()
    changes = [change for change in numbers(result, "eigenvalue_change") if change is not None]
    return (
        f"{count:.0f} landmarks stand for the kernel and miss "
        f"{percent(finite(result, 'missing_trace'))} of its trace; from half of them to all, "
        f"eigenvalues grew by up to {percent(max(changes, default=None))}: steps may come earlier",
    )


def comparison_summary(result: Result) -> Summary:
    """Predicted and measured step times."""
    if "theory" in result or "fitted_time_scale" in result:
        return _run_comparison_summary(result)
    predicted, measured = (
        numbers(result, f"{kind}_step_times") for kind in ("predicted", "measured")
    )
    gamma, errors = numbers(result, "eigenvalues"), numbers(result, "relative_error")
    naive = numbers(result, "naive_relative_error")
    low, high = numbers(result, "predicted_low"), numbers(result, "predicted_high")
    one_pair = numbers(result, "one_pair_relative_error")
    last_column = one_pair or naive
    rows = tuple(
        (
            str(mode + 1),
            number(at(gamma, mode)),
            "never" if time is None else number(time),
            _range(at(low, mode), at(high, mode)),
            number(at(measured, mode)),
            percent(at(errors, mode)),
            percent(at(last_column, mode)),
        )
        for mode, time in enumerate(predicted)
    )
    mean, baseline = (finite(result, f"{kind}mean_relative_error") for kind in ("", "naive_"))
    pair_error = finite(result, "one_pair_mean_relative_error")
    plain = finite(result, "plain_mean_relative_error")
    ties = [words(mode) for mode in sequence(result, "near_ties")]
    caveats = list(_warned(result))
    if ties and "integrated" not in result:  # of earlier versions
        caveats.append(
            f"modes too close to the next for the closed form at this init scale: {', '.join(ties)}"
        )
    if not low and predicted:
        caveats.append("predicted step times have no interval")
    if mean is None:
        caveats.append("no predicted step was seen in training")
    return Summary(
        "Prediction against training",
        claim=Claim(
            Number("mean error of step times", mean, share=True),
            beside=(
                Number("one pair an image", pair_error, share=True)
                if one_pair
                else Number("naive prediction", baseline, share=True),
            ),
            range=NOT_NEGATIVE,
        ),
        numbers=(
            Number("mean error of step times", mean, share=True),
            *(
                [Number("mean error, one pair an image", pair_error, share=True)]
                if one_pair
                else []
            ),
            Number("mean error, naive", baseline, share=True),
            *([] if plain is None else [Number("mean error, plain theory", plain, share=True)]),
        ),
        agreements=(
            Agreement(
                "step times, mean relative error",
                percent(mean),
                f"one pair an image {percent(pair_error)}"
                if one_pair
                else f"naive prediction {percent(baseline)}",
            ),
        ),
        tables=(
            Table(
                "Predicted and measured step of each mode (learning rate x iteration)"
                + _steps_of(result),
                (
                    *("mode", "gamma", "predicted", _level(result), "measured", "error"),
                    "error, one pair" if one_pair else "naive error",
                ),
                rows,
            ),
            *_ceilings(result),
        ),
        caveats=tuple(caveats),
    )


def _ceilings(result: Result) -> tuple[Table, ...]:
    """Final heights of a training that is not plain, and what plain theory says of its steps."""
    predicted, measured = numbers(result, "ceilings"), numbers(result, "measured_ceilings")
    if not measured:
        return ()
    plain = numbers(result, "plain_step_times")
    errors = numbers(result, "plain_relative_error")
    rows = tuple(
        (
            str(mode + 1),
            number(height),
            number(at(measured, mode)),
            number(at(plain, mode)),
            percent(at(errors, mode)),
        )
        for mode, height in enumerate(predicted)
    )
    heads = ("mode", "ceiling predicted", "measured", "plain step time", "plain error")
    return (Table("Final height of each eigenvalue, and what plain theory predicts", heads, rows),)


def _run_comparison_summary(result: Result) -> Summary:
    predicted, measured = (
        numbers(result, f"{kind}_step_times") for kind in ("predicted", "measured")
    )
    gamma, standard = numbers(result, "eigenvalues"), numbers(result, "measured_standard_errors")
    errors = numbers(result, "scaled_relative_error")
    scale = finite(result, "fitted_time_scale")
    caveats = ["predicted step times have no interval"] if predicted else []
    if predicted and scale is None:
        caveats.append("no step is both predicted and measured")
    rows = tuple(
        (
            str(mode + 1),
            number(at(gamma, mode)),
            number(time),
            "-" if time is None or scale is None else number(scale * time),
            number(at(measured, mode)),
            number(at(standard, mode)),
            percent(at(errors, mode)),
        )
        for mode, time in enumerate(predicted)
    )
    return Summary(
        "Linear theory against the run",
        claim=Claim(
            Number(
                "error of step times up to one factor",
                finite(result, "mean_scaled_relative_error"),
                share=True,
            ),
            beside=(
                Number("without the factor", finite(result, "mean_relative_error"), share=True),
            ),
            range=NOT_NEGATIVE,
        ),
        numbers=time_numbers(result),
        agreements=time_agreements(result, "step times by linear theory"),
        tables=(
            Table(
                f"Steps (flow time) by {words(result.get('theory') or 'linear theory')}, and "
                f"measured; one fitted factor, {number(scale)}",
                (
                    *("mode", "gamma", "predicted", "x factor", "measured"),
                    *("standard error", "error, x factor"),
                ),
                rows,
            ),
        ),
        caveats=tuple(caveats),
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


_ENDS = ("low", "high")
_WAYS = {"last": "last layer scaled", "centred": "initial outputs subtracted"}
_PREDICTIONS = {"kernel": "traced kernel", "full_kernel": "all blocks", "limit": "infinite width"}


def wide_summary(result: Result) -> Summary:
    """Errors of kernel predictions by the width of networks."""
    widths = sequence(result, "widths")
    tables, agreements, main, caveats = [], [], [], []
    claim = None
    for way in mapping(result, "ways"):
        parts = {name: mapping(result, "ways", way, name) for name in _PREDICTIONS}
        moves = sequence(result, "ways", way, "kernel_change")
        alone = mapping(result, "ways", way, "data_alone")
        rows = [
            (
                words(width),
                *(_error(part, place) for part in parts.values()),
                percent(mean_of(numbers(at(sequence(alone, "mean_relative_error"), place)))),
                percent(at(numbers(alone, "inside"), place)),
                number(mean_of(numbers(at(moves, place))), 2),
            )
            for place, width in enumerate(widths)
        ]
        slopes = [
            f"{number(finite(part, 'exponent'), 3)} ± {number(finite(part, 'exponent_error'), 2)}"
            for part in parts.values()
        ]
        tables.append(
            Table(
                f"{_WAYS.get(way, way)}: mean relative error of step times, geometric mean over "
                f"{words(result.get('repeats'))} networks",
                (
                    *("width", *_PREDICTIONS.values()),
                    *("data alone", "in its interval", "kernel moves by"),
                ),
                (*rows, ("exponent", *slopes, "-", "-", "-")),
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
        if claim is None and widths:
            low, high = (at(numbers(parts["kernel"], end), len(widths) - 1) for end in _ENDS)
            narrow = Number(f"width {words(widths[0])}", at(errors, 0), share=True)
            claim = Claim(main[0], low, high, (narrow,))
        if None in numbers(parts["kernel"], "low"):
            caveats.append(f"errors of {way} have no interval")
    return Summary(
        "Wide networks", tuple(main), tuple(agreements), tuple(tables), tuple(caveats), claim
    )


def _error(part: Result, place: int) -> str:
    mean, low, high = (at(numbers(part, name), place) for name in ("geometric_mean", "low", "high"))
    if low is None or high is None:
        return percent(mean)
    return f"{percent(mean)} [{percent(low)}, {percent(high)}]"
