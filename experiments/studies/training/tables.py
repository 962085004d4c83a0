"""What is shown of training runs."""

from __future__ import annotations

from experiments.summary import NOT_NEGATIVE, Claim, Number, Result, Summary, Table
from experiments.tables import (
    at,
    finite,
    mapping,
    number,
    numbers,
    percent,
    words,
)
from sslsim.measures.collapse import collapse


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
        claim=Claim(
            Number("detected steps", finite(result, "detected_steps")),
            note="" if dim is None else f"{number(dim)} dimensions of the embedding",
            range=NOT_NEGATIVE if dim is None else (0.0, dim),
        ),
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
