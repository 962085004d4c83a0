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
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from experiments.bench.checks import check_least
from experiments.bench.options import NETWORKS, BenchMemorizationOptions
from experiments.tables import table
from sslsim.core.files import write_json
from sslsim.data.datasets import Images
from sslsim.data.single_view import view_shape
from sslsim.encoders.build import build_encoder
from sslsim.memorization import alignment_losses, draw_members, representations
from sslsim.methods.build import build_learner
from sslsim.methods.learner import Learner
from sslsim.runs.folder import new_results
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
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    with new_results(options.out, "bench", options, results=("bench.json",)) as folder:
        found: dict[str, Any] = {"together": [], "scoring": []}
        for side in options.sides:
            for network in options.networks:
                for batch in options.batches:
                    for encoders in options.encoders:
                        found["together"].append(_together(options, network, side, batch, encoders))
                        write_json(folder / "bench.json", found)
        for network in options.scored:
            found["scoring"].append(_scoring(options, network))
            write_json(folder / "bench.json", found)
        print(_report(found))
    return options.out


def _together(
    options: BenchMemorizationOptions, network: str, side: int, batch: int, encoders: int
) -> dict[str, Any]:
    data = _pictures(2 * batch, 1 if side < 32 else 3, side)
    members = draw_members(encoders, len(data.images))
    training = TrainingOptions(
        steps=options.steps, batch=batch, lr=1e-4, checkpoint_every=options.steps
    )
    name, widths = NETWORKS[network]
    parts = [Images(data.images[inside], None, data.name) for inside in members]

    def learners() -> list[Learner]:
        shape = tuple(data.images.shape[1:])
        return [
            build_learner("barlow_twins", shape, _DIM, encoder=name, seed=k, widths=widths)
            for k in range(encoders)
        ]

    def together() -> Callable[[Path], object]:
        made = learners()
        return lambda folder: train_together(
            made, data, members, options.views, training, folder, seeds=range(encoders)
        )

    def alone() -> Callable[[Path], object]:
        made = learners()
        return lambda folder: [
            train(one, part, options.views, replace(training, seed=k), folder / str(k))
            for k, (one, part) in enumerate(zip(made, parts, strict=True))
        ]

    wall, processor = _in_turns({"together": together, "alone": alone}, options.repeats)
    return {
        "network": network,
        "side": side,
        "batch": batch,
        "encoders": encoders,
        "milliseconds_a_step": {name: 1e3 * value / options.steps for name, value in wall.items()},
        "ratio": wall["alone"] / wall["together"],
        "processor_ratio": processor["alone"] / processor["together"],
    }


def _scoring(options: BenchMemorizationOptions, network: str) -> dict[str, Any]:
    images = _pictures(options.images, 3, 32).images
    encoder = build_encoder(network, tuple(images.shape[1:]), _DIM, seed=0).eval()
    batches: list[torch.Tensor] = []

    def keep(views: torch.Tensor) -> list[torch.Tensor]:
        batches.append(views)
        return [views[:, 0, 0, :2]]

    alignment_losses(keep, images, options.views, pairs=options.pairs)

    def ours() -> Callable[[Path], object]:
        represent = representations([encoder])
        return lambda _: alignment_losses(represent, images, options.views, pairs=options.pairs)

    def bare() -> Callable[[Path], object]:
        def run(_: Path) -> None:
            with torch.no_grad():
                for views in batches:
                    encoder.backbone(views)

        return run

    def drawn() -> Callable[[Path], object]:
        """All that scoring does but the passes: the first pixels are what is compared."""
        represent = lambda views: [views[:, 0, 0, :2]]  # noqa: E731
        return lambda _: alignment_losses(represent, images, options.views, pairs=options.pairs)

    wall, processor = _in_turns({"ours": ours, "bare": bare, "drawing": drawn}, options.repeats)
    passed = 2 * options.pairs * len(images)
    return {
        "network": network,
        "views": passed,
        "views_per_second": {name: passed / wall[name] for name in ("ours", "bare")},
        "ratio": wall["bare"] / wall["ours"],
        "processor_ratio": processor["bare"] / processor["ours"],
        "drawing_share": processor["drawing"] / processor["ours"],
        "processor_ratio_without_drawing": processor["bare"]
        / (processor["ours"] - processor["drawing"]),
    }


def _pictures(count: int, channels: int, side: int) -> Images:
    draw = torch.Generator().manual_seed(0)
    shape = (count, channels, side, side)
    return Images(torch.randint(256, shape, generator=draw, dtype=torch.uint8), None, "random")


def _in_turns(
    sides: dict[str, Callable[[], Callable[[Path], object]]], repeats: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of each side, of the wall and the processor, after a turn that is not one.

    A side makes what it needs, and what it gives is timed.
    """
    wall: dict[str, list[float]] = {name: [] for name in sides}
    processor: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, make in sides.items():
            call = make()
            with tempfile.TemporaryDirectory() as folder:
                begun = time.perf_counter(), time.process_time()
                call(Path(folder))
                ended = time.perf_counter(), time.process_time()
            if turn:
                wall[name].append(ended[0] - begun[0])
                processor[name].append(ended[1] - begun[1])
    return (
        {name: median(values) for name, values in wall.items()},
        {name: median(values) for name, values in processor.items()},
    )


def _report(found: dict[str, Any]) -> str:
    together = [
        [
            entry["network"],
            str(entry["side"]),
            str(entry["batch"]),
            str(entry["encoders"]),
            *(f"{entry['milliseconds_a_step'][name]:.4g}" for name in ("together", "alone")),
            f"{entry['ratio']:.3g}",
            f"{entry['processor_ratio']:.3g}",
        ]
        for entry in found["together"]
    ]
    scoring = [
        [
            entry["network"],
            *(f"{entry['views_per_second'][name]:.4g}" for name in ("ours", "bare")),
            f"{entry['ratio']:.3g}",
            f"{entry['processor_ratio']:.3g}",
            f"{entry['drawing_share']:.2g}",
            f"{entry['processor_ratio_without_drawing']:.3g}",
        ]
        for entry in found["scoring"]
    ]
    heads = (
        ["network", "side", "batch", "K", "ms together", "alone", "ratio", "of processor"],
        ["network", "views/s scored", "bare", "ratio", "of processor", "drawing", "without it"],
    )
    return "\n\n".join(
        table(head, rows) for head, rows in zip(heads, (together, scoring), strict=True)
    )
