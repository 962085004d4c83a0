"""The four-way split: pairs of encoders that share all training images but one set each."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from experiments.studies.memorization.encoders import (
    Scored,
    Trained,
    encoder_losses,
    trained_encoder,
)
from experiments.studies.memorization.evaluation import probed_families
from experiments.studies.memorization.image_sets import (
    FAMILIES,
    ScoredImages,
    scored_views,
    trained_on,
)
from experiments.studies.memorization.options import MemorizationOptions
from sslsim.memorization import ssl_mem
from sslsim.memorization.statistics import split_tests
from sslsim.runs.networks import check_different, kept_steps, spread_steps


def score_split(
    options: MemorizationOptions,
    points: ScoredImages,
    folder: Path,
    given: dict[str, list[Trained]] | None = None,
) -> Scored:
    """Train pairs of encoders f and g, or take those given, and score all four sets.

    arXiv 2401.12233, section 4.1. Both encoders of a pair have one seed: they start from the same
    weights, and what they have in common drops out of the difference.
    """
    families = given or _trained(options, points, folder)
    scored = _scored(families, options, points)
    if options.evaluate:
        scored.details["accuracies"] = probed_families(families, points, options)
    if options.curve:
        scored.details["curve"] = _curve(options, points, folder)
    return scored


def check_split(options: MemorizationOptions) -> None:
    """Refuse what cannot be scored before anything is trained."""
    if options.f or options.g:
        if len(options.f) != len(options.g) or len(options.f) < 2:
            raise ValueError(
                f"{len(options.f)} encoder(s) f and {len(options.g)} g were given; expected as "
                "many of either, 2 pairs at least"
            )
        check_different("f", options.f)
        check_different("g", options.g)
        if options.curve:
            raise ValueError("curve is asked of encoders given; expected encoders trained here")
        if options.sets is None:
            raise ValueError("encoders f and g are given without --sets; expected what they saw")
    elif options.encoder_pairs < 2:
        raise ValueError(
            f"encoder_pairs is {options.encoder_pairs}; expected at least 2, the units of the tests"
        )


def _trained(
    options: MemorizationOptions, points: ScoredImages, folder: Path
) -> dict[str, list[Trained]]:
    families: dict[str, list[Trained]] = {"f": [], "g": []}
    quiet = not sys.stderr.isatty()
    with tqdm(total=2 * options.encoder_pairs, desc="encoders", disable=quiet) as bar:
        for pair in range(options.encoder_pairs):
            for name in families:
                families[name].append(
                    trained_encoder(
                        options,
                        trained_on(points, _rows(points, name)),
                        options.seed + pair,
                        folder / "encoders" / f"{name}{pair}",
                        classes=points.classes,
                    )
                )
                bar.update()
    return families


def _rows(points: ScoredImages, family: str) -> torch.Tensor:
    return torch.cat([points.sets[name] for name in FAMILIES[family]])


def _scored(
    families: dict[str, list[Trained]], options: MemorizationOptions, points: ScoredImages
) -> Scored:
    encoders = [*families["f"], *families["g"]]
    kind = scored_views(options, encoders[0].views)
    losses = encoder_losses(encoders, points.images, points.numbers, kind, options)
    f, g = losses.chunk(2)
    layers = range(len(options.layers))
    both = [ssl_mem(f[:, layer], g[:, layer], options.form) for layer in layers]
    units = torch.stack(
        [
            torch.stack([ssl_mem(f[i, j], g[i, j], options.form).scores for i in range(len(f))])
            for j in layers
        ]
    )
    members = torch.zeros(len(encoders), len(points.images), dtype=torch.bool)
    for i in range(len(encoders)):
        members[i, _rows(points, "f" if i < len(f) else "g")] = True
    return Scored(
        scores=torch.stack([one.scores for one in both]).numpy(),
        standard_error=torch.stack([one.standard_error for one in both]).numpy(),
        units=units.numpy(),
        losses=losses.numpy(),
        members=members.numpy(),
        details={"views": kind, "encoders": len(encoders), "seeds": len(f)},
    )


def _curve(
    options: MemorizationOptions, points: ScoredImages, folder: Path
) -> list[dict[str, Any]]:
    """Scores of the first layer over training: how the sets come apart."""
    steps = spread_steps(kept_steps(folder / "encoders" / "f0"), options.curve + 1)
    first = replace(options, layers=options.layers[:1])
    curve = []
    for step in tqdm(steps, desc="curve", disable=not sys.stderr.isatty()):
        families = {
            name: [
                trained_encoder(
                    options,
                    trained_on(points, _rows(points, name)),
                    options.seed + pair,
                    folder / "encoders" / f"{name}{pair}",
                    classes=points.classes,
                    checkpoint=step,
                )
                for pair in range(options.encoder_pairs)
            ]
            for name in FAMILIES
        }
        units = _scored(families, first, points).units[0]
        tests = split_tests(units, {name: rows.numpy() for name, rows in points.sets.items()})
        curve.append(
            {
                "step": step,
                "means": tests.means,
                "comparisons": [asdict(test) for test in tests.comparisons],
            }
        )
    return curve
