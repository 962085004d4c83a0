"""What is shown of tangent kernels."""

from __future__ import annotations

from itertools import combinations_with_replacement

from experiments.studies.linear.tables import time_agreements, time_numbers
from experiments.summary import Agreement, Claim, Number, Result, Summary, Table
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

_LATER = ("refreshed", "restarted")  # kernels that step times are predicted from over training


def ntk_summary(result: Result) -> Summary:
    """What a network's tangent kernel predicts of its embedding and its steps."""
    aligned, chance = finite(result, "subspace_alignment"), finite(result, "chance")
    cka = finite(result, "cka")
    gamma, modes = numbers(result, "eigenvalues"), numbers(result, "mode_alignment")
    start = numbers(result, "initial_eigenvalues")
    predicted, measured = (
        numbers(result, f"{kind}_step_times") for kind in ("predicted", "measured")
    )
    later = {
        f"by the {kind} kernel": times
        for kind in _LATER
        if (times := numbers(result, f"{kind}_step_times"))
    }
    rows = tuple(
        (
            str(mode + 1),
            number(value),
            number(at(modes, mode), 3),
            number(at(start, mode)),
            number(at(predicted, mode)),
            *(number(at(times, mode)) for times in later.values()),
            number(at(measured, mode)),
        )
        for mode, value in enumerate(gamma)
    )
    headers: tuple[str, ...] = ("mode", "gamma", "in the embedding", "gamma at start", "predicted")
    headers += (*later, "measured")
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
        for entry in entries(result, "over_training")
    )
    if course:
        headers = ("update", "time", "with its start", "centred", "with embedding", "with the last")
        tables.append(Table("Alignment of the kernel over training", headers, course))
    representation = mapping(result, "untrained", "representation")
    if representation:
        tables.append(_untrained_table(representation))
    untrained = finite(result, "untrained", "kernel", "subspace_alignment")
    beside = f"chance {number(chance, 2)}; linear CKA {number(cka, 3)}"
    if untrained is not None:
        beside = f"kernel of the untrained network {number(untrained, 3)}; {beside}"
    agreements = [
        Agreement(
            "embedding predicted by the tangent kernel, subspace alignment",
            number(aligned, 3),
            beside,
        ),
        *time_agreements(result, "step times by the initial kernel"),
    ]
    for kind in _LATER:
        agreements += time_agreements(
            mapping(result, f"{kind}_agreement"), f"step times by the {kind} kernel"
        )
    caveats = []
    if aligned is not None:
        caveats.append("alignment is of one network and one set of pairs: no interval")
        if chance is not None and aligned < 2 * chance:
            caveats.append("the kernel's prediction of the embedding is hardly above chance")
    return Summary(
        "Tangent kernel",
        claim=Claim(
            Number("embedding predicted by the kernel, subspace alignment", aligned),
            beside=(
                *([] if untrained is None else [Number("untrained network's kernel", untrained)]),
                Number("chance", chance),
            ),
            range=(0.0, 1.0),
        ),
        numbers=(
            Number("subspace alignment", aligned),
            Number("linear CKA", cka),
            Number("kernel's cosine with its start", finite(result, "kernel_alignment")),
            *time_numbers(result),
        ),
        agreements=tuple(agreements),
        tables=tuple(tables),
        caveats=tuple(caveats),
    )


def _untrained_table(representation: Result) -> Table:
    """Growth rates of the untrained network's modes on held-out pairs."""
    rates, errors, shares, times = (
        numbers(representation, key)
        for key in ("held_out", "standard_errors", "shares", "step_times")
    )
    resolved = sequence(representation, "resolved")
    rows = tuple(
        (
            str(mode + 1),
            number(rate),
            number(at(errors, mode), 2),
            percent(at(shares, mode)),
            words(at(resolved, mode)),
            number(at(times, mode)),
        )
        for mode, rate in enumerate(rates)
    )
    within = representation.get("in_time")
    least = "" if within is None else f"{words(within)} to "
    caption = (
        f"Untrained representation: {least}{words(representation.get('at_most'))} steps expected "
        f"({words(representation.get('n_pairs'))} held-out pairs)"
    )
    headers = ("mode", "growth rate", "standard error", "of |h|^2", "above 0", "last-layer step")
    return Table(caption, headers, rows)


def ntk_across_summary(result: Result) -> Summary:
    """Alignment of embeddings and kernels' predictions within and across methods."""
    methods = [words(name, 60) for name in sequence(result, "methods")]
    kinds = [words(kind, 60) for kind in sequence(result, "kinds")]
    matrices = [sequence(result, name) for name in ("alignment", "lowest", "highest")]

    def cell(row: int, column: int) -> str:
        mean, low, high = (at(numbers(at(matrix, row)), column) for matrix in matrices)
        alone = low is None or high is None or low == high
        return number(mean, 2) + ("" if alone else f" ({number(low, 2)} to {number(high, 2)})")

    chance = f"chance {number(finite(result, 'chance'), 2)}"
    alike = finite(result, "chance_alike")
    if alike is not None:
        chance += f" to {number(alike, 2)}"
    size = f"{words(result.get('modes'))} modes of {words(result.get('n_pairs'))} pairs"
    count = len(methods)
    own = at(numbers(at(matrices[0], 0)), count)
    return Summary(
        "Tangent kernels across methods",
        claim=Claim(
            Number(f"{at(methods, 0) or '-'}: embedding predicted by the kernel, alignment", own),
            note=chance,
        ),
        agreements=tuple(
            Agreement(
                f"{method}: embedding and its kernel's prediction, subspace alignment",
                number(at(numbers(at(matrices[0], place)), count + place), 2),
                chance,
            )
            for place, method in enumerate(methods)
        ),
        tables=tuple(
            Table(
                f"Mean alignment of different networks and its range, {rows} (rows) with {columns} "
                f"(columns); {size}, {chance}",
                ("", *methods),
                tuple(
                    (method, *(cell(first * count + i, second * count + j) for j in range(count)))
                    for i, method in enumerate(methods)
                ),
            )
            for (first, rows), (second, columns) in combinations_with_replacement(
                enumerate(kinds), 2
            )
        ),
    )
