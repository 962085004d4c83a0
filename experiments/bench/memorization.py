"""What memorisation studies cost: many encoders trained together, and scores beside bare passes.

Two measurements go into ``bench.json``:

``together``
    ``sslsim.training.ensemble.train_together`` against ``sslsim.training.loop.train`` one encoder
    after another, on the same batches: whole runs, with drawing of views and one checkpoint at the
    end.
``scoring``
    ``sslsim.memorization.alignment_losses`` of one encoder against the forward passes it needs, on
    views that are drawn already, in the same batches.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from experiments.bench.harness import (
    Timed,
    check_least,
    in_turns,
    medians,
    random_images,
    run_bench,
    time_ratios,
    timed,
    with_range,
)
from experiments.bench.options import NETWORKS, BenchMemorizationOptions
from experiments.tables import number, table
from sslsim.data.datasets import Images
from sslsim.data.single_view import view_shape
from sslsim.encoders.build import build_encoder
from sslsim.memorization import alignment_losses, draw_members, representations
from sslsim.methods.build import build_learner
from sslsim.methods.learner import Learner
from sslsim.training.ensemble import train_together
from sslsim.training.loop import train
from sslsim.training.options import TrainingOptions

_DIM = 8


def bench_memorization(options: BenchMemorizationOptions) -> Path:
    """Run the two measurements."""
    check_least(options, steps=1, images=1, pairs=1, repeats=1, threads=1)
    check_least(options, encoders=4, sides=2, batches=2)
    view_shape(options.views, (1, min(options.sides), min(options.sides)))  # checks the kind
    if unknown := [name for name in options.networks if name not in NETWORKS]:
        raise ValueError(f"networks holds {unknown}; expected some of {', '.join(NETWORKS)}")
    return run_bench(options, _measured, _report)


def _measured(options: BenchMemorizationOptions) -> dict[str, Any]:
    return {
        "together": [
            _together(options, network, side, batch, encoders)
            for side in options.sides
            for network in options.networks
            for batch in options.batches
            for encoders in options.encoders
        ],
        "scoring": [_scoring(options, network) for network in options.scored],
    }


def _together(
    options: BenchMemorizationOptions, network: str, side: int, batch: int, encoders: int
) -> dict[str, Any]:
    data = random_images(2 * batch, 1 if side < 32 else 3, side, side)
    members = draw_members(encoders, len(data.images))
    training = TrainingOptions(
        steps=options.steps, batch=batch, lr=1e-4, checkpoint_every=options.steps
    )
    name, widths = NETWORKS[network]
    parts = [Images(data.images[inside], None, data.name) for inside in members]

    def trained(run: Callable[[list[Learner], Path], object]) -> Timed:
        shape = tuple(data.images.shape[1:])
        learners = [
            build_learner("barlow_twins", shape, _DIM, encoder=name, seed=k, widths=widths)
            for k in range(encoders)
        ]
        with tempfile.TemporaryDirectory() as folder:
            return timed(lambda: run(learners, Path(folder)))

    def together(learners: list[Learner], folder: Path) -> None:
        seeds = range(encoders)
        train_together(learners, data, members, options.views, training, folder, seeds=seeds)

    def alone(learners: list[Learner], folder: Path) -> None:
        for k, (learner, part) in enumerate(zip(learners, parts, strict=True)):
            train(learner, part, options.views, replace(training, seed=k), folder / str(k))

    sides = {"together": lambda: trained(together), "alone": lambda: trained(alone)}
    runs = in_turns(sides, options.repeats)
    return {
        "network": network,
        "side": side,
        "batch": batch,
        "encoders": encoders,
        "milliseconds_a_step": {
            name: 1e3 * value / options.steps for name, value in medians(runs).items()
        },
        **time_ratios(runs, "alone", "together"),
    }


def _scoring(options: BenchMemorizationOptions, network: str) -> dict[str, Any]:
    images = random_images(options.images, 3, 32, 32).images
    encoder = build_encoder(network, tuple(images.shape[1:]), _DIM, seed=0).eval()
    batches: list[torch.Tensor] = []

    def keep(views: torch.Tensor) -> list[torch.Tensor]:
        batches.append(views)
        return first_pixels(views)

    def first_pixels(views: torch.Tensor) -> list[torch.Tensor]:
        """Stand in for a network: all that scoring does but the passes."""
        return [views[:, 0, 0, :2]]

    def scored(represent: Callable[[torch.Tensor], Sequence[torch.Tensor]]) -> Timed:
        return timed(
            lambda: alignment_losses(represent, images, options.views, pairs=options.pairs)
        )

    @torch.no_grad()
    def passes() -> None:
        for views in batches:
            encoder.backbone(views)

    scored(keep)
    sides = {
        "ours": lambda: scored(representations([encoder])),
        "bare": lambda: timed(passes),
        "drawing": lambda: scored(first_pixels),
    }
    runs = in_turns(sides, options.repeats)
    wall, processor = medians(runs), medians(runs, "processor_seconds")
    views = 2 * options.pairs * len(images)
    return {
        "network": network,
        "views": views,
        "views_per_second": {name: views / wall[name] for name in ("ours", "bare")},
        **time_ratios(runs, "bare", "ours"),
        "drawing_share": processor["drawing"] / processor["ours"],
        "processor_ratio_without_drawing": processor["bare"]
        / (processor["ours"] - processor["drawing"]),
    }


def _report(results: dict[str, Any]) -> str:
    together = ["side", "batch", "encoders", "milliseconds_a_step", "ratio", "processor_ratio"]
    scoring = ["views_per_second", "ratio", "processor_ratio", "drawing_share"]
    return "\n\n".join(
        [
            _table(
                results["together"],
                together,
                ["side", "batch", "K", "ms together", "alone", "ratio", "of processor"],
            ),
            _table(
                results["scoring"],
                [*scoring, "processor_ratio_without_drawing"],
                ["views/s scored", "bare", "ratio", "of processor", "drawing", "without it"],
            ),
        ]
    )


def _table(entries: list[dict[str, Any]], keys: list[str], headers: list[str]) -> str:
    """Table of entries by network; a key whose value has sides fills a column a side."""
    rows = []
    for entry in entries:
        row = [entry["network"]]
        for key in keys:
            if f"{key}_range" in entry:
                row.append(with_range(entry[key], entry[f"{key}_range"]))
            else:
                value = entry[key]
                values = value.values() if type(value) is dict else [value]
                row += [number(each, 3) for each in values]
        rows.append(row)
    return table(["network", *headers], rows)
