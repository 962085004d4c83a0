"""What is shown of tangent kernels and of forecasts of networks in training."""

from __future__ import annotations

from experiments.studies.linear.tables import time_agreements, time_numbers
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

_MOST_ROWS = 300  # forecasts shown one by one


def ntk_view(result: Result) -> View:
    """What a network's tangent kernel predicts of its embedding and its steps."""
    aligned, chance = finite(result, "subspace_alignment"), finite(result, "chance")
    cka = finite(result, "cka")
    gamma, modes = numbers(result, "eigenvalues"), numbers(result, "mode_alignment")
    start = numbers(result, "initial_eigenvalues")
    predicted, measured = (
        numbers(result, f"{kind}_step_times") for kind in ("predicted", "measured")
    )
    rows = tuple(
        (
            str(mode + 1),
            number(value),
            number(at(modes, mode), 3),
            number(at(start, mode)),
            number(at(predicted, mode)),
            number(at(measured, mode)),
        )
        for mode, value in enumerate(gamma)
    )
    headers = ("mode", "gamma", "in the embedding", "gamma at start", "predicted", "measured")
    tables = [Table("Modes of the kernel and their steps (flow time)", headers, rows)]
    course = tuple(
        (
            words(entry.get("step")),
            number(finite(entry, "time")),
            number(finite(entry, "kernel_alignment"), 3),
            number(finite(entry, "kernel_cka"), 3),
            number(finite(entry, "with_embedding", "subspace_alignment"), 3),
            number(finite(entry, "with_final_embedding", "subspace_alignment"), 3),
        )
        for entry in sequence(result, "over_training")
        if isinstance(entry, dict)
    )
    if course:
        headers = ("update", "time", "with its start", "centred", "with embedding", "with the last")
        tables.append(Table("Alignment of the kernel over training", headers, course))
    agreements = [
        Agreement(
            "embedding predicted by the tangent kernel, subspace alignment",
            number(aligned, 3),
            f"chance {number(chance, 2)}; linear CKA {number(cka, 3)}",
        ),
        *time_agreements(result, "step times by the initial kernel"),
    ]
    for kind in ("refreshed", "restarted"):
        agreements += time_agreements(
            mapping(result, f"{kind}_agreement"), f"step times by the {kind} kernel"
        )
    doubts = []
    if aligned is not None:
        doubts.append("alignment is of one network and one set of pairs: no interval")
        if chance is not None and aligned < 2 * chance:
            doubts.append("the kernel's prediction of the embedding is hardly above chance")
    return View(
        "Tangent kernel",
        numbers=(
            Number("subspace alignment", aligned),
            Number("linear CKA", cka),
            Number("kernel's cosine with its start", finite(result, "kernel_alignment")),
            *time_numbers(result),
        ),
        agreements=tuple(agreements),
        tables=tuple(tables),
        doubts=tuple(doubts),
    )


def ntk_across_view(result: Result) -> View:
    """Alignment of embeddings and kernels' predictions within and across methods."""
    methods = [words(name, 60) for name in sequence(result, "methods")]
    kinds = [words(kind, 60) for kind in sequence(result, "kinds")]
    names = [f"{method}, {kind}" for kind in kinds for method in methods]
    matrices = [sequence(result, name) for name in ("alignment", "lowest", "highest")]

    def cell(row: int, column: int) -> str:
        mean, low, high = (at(numbers(at(matrix, row)), column) for matrix in matrices)
        alone = low is None or high is None or low == high
        return number(mean, 2) + ("" if alone else f" ({number(low, 2)} to {number(high, 2)})")

    rows = tuple(
        (name, *(cell(row, column) for column in range(len(names))))
        for row, name in enumerate(names)
    )
    chance = f"chance {number(finite(result, 'chance'), 2)}"
    alike = finite(result, "chance_alike")
    if alike is not None:
        chance += f" to {number(alike, 2)}"
    return View(
        "Tangent kernels across methods",
        agreements=tuple(
            Agreement(
                f"{method}: embedding and its kernel's prediction, subspace alignment",
                number(at(numbers(at(matrices[0], place)), len(methods) + place), 2),
                chance,
            )
            for place, method in enumerate(methods)
        ),
        tables=(
            Table(
                f"Mean alignment of different networks, and its range; {chance}",
                ("", *names),
                rows,
            ),
        ),
    )


def forecast_view(result: Result) -> View:
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
    doubts = []
    level = finite(result, "interval_level")
    if covered is not None:
        nominal = f"nominal {percent(level)}"
        agreements.append(Agreement("steps inside their interval", percent(covered), nominal))
        if level is not None and covered < level - 0.15:
            doubts.append(f"intervals cover {percent(covered)} of the steps, {nominal}")
    return View(
        "Forecasts",
        numbers=(
            Number("median error of rates", finite(law, "median_rate_error"), share=True),
            Number("median error of times left", error, share=True),
            Number("steps inside their interval", covered, share=True),
        ),
        agreements=tuple(agreements),
        tables=tuple(tables),
        doubts=tuple(doubts),
    )


def _forecasts(result: Result, folded: bool) -> Table:
    every = [entry for entry in sequence(result, "forecasts") if isinstance(entry, dict)]
    rows = tuple(
        (
            words(entry.get("run"), 60),
            words(entry.get("mode")),
            number(finite(entry, "size")),
            number(finite(entry, "time")),
            number(finite(entry, "step_times", "two_factor")),
            f"{number(finite(entry, 'low'))} .. {number(finite(entry, 'high'))}",
            number(finite(entry, "measured_step_time")),
        )
        for entry in every[:_MOST_ROWS]
    )
    left = len(every) - len(rows)
    return Table(
        "Every forecast (flow times)" + (f"; {left} more in forecast.json" if left else ""),
        ("run", "mode", "passed", "made at", "forecast", "interval", "happened"),
        rows,
        folded,
    )
