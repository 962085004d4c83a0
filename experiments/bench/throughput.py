"""Images a second of training, beside a bare forward and backward pass of the same network."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from experiments.bench.harness import (
    check_least,
    in_turns,
    random_images,
    run_bench,
    turn_ratio,
)
from experiments.bench.options import BenchThroughputOptions
from experiments.tables import table
from sslsim.data.single_view import view_shape
from sslsim.encoders.build import Encoder, build_encoder
from sslsim.methods.learner import PairLearner
from sslsim.objectives import barlow_twins
from sslsim.runs.setup import chosen_device
from sslsim.training.loop import train
from sslsim.training.options import TrainingOptions

Clock = Callable[[torch.device], float]


class _Timed(PairLearner):
    """Barlow Twins that notes when the first and the last half of its updates are done."""

    def __init__(self, encoder: Encoder, steps: int, now: Callable[[], float]) -> None:
        super().__init__(encoder, barlow_twins)
        self.steps, self.now = steps, now
        self.done = 0
        self.moments: list[float] = []

    def after_step(self, progress: float) -> None:
        super().after_step(progress)
        self.done += 1
        if self.done % self.steps == 0:
            self.moments.append(self.now())


def synchronised(device: torch.device) -> float:
    """Seconds on the clock when a device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def bench_throughput(options: BenchThroughputOptions, clock: Clock = synchronised) -> Path:
    """Measure both sides in turns."""
    check_least(options, size=8, batch=2, images=2, steps=1, repeats=1)
    view_shape(options.views, _shape(options))  # checks the kind
    device = chosen_device(options.device)
    build_encoder(options.encoder, _shape(options), options.dim, seed=0)  # refuses unfit ones now

    def measured(_: BenchThroughputOptions) -> dict[str, Any]:
        sides = {
            "training": lambda: _training(options, device, clock),
            "bare": lambda: _bare(options, device, clock),
        }
        runs = in_turns(sides, options.repeats, warm_up=False)
        seconds = {side: median(values) for side, values in runs.items()}
        share = turn_ratio(runs["bare"], runs["training"])
        return {
            "seconds": seconds,
            "views_per_second": {side: 2 * _batch(options) / t for side, t in seconds.items()},
            "share": share["ratio"],
            "share_range": share["ratio_range"],
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        }

    return run_bench(options, measured, _report)


def _report(results: dict[str, Any]) -> str:
    rows = [[side, f"{rate:.4g}"] for side, rate in results["views_per_second"].items()]
    share, low, high = (100 * value for value in (results["share"], *results["share_range"]))
    reached = f"training reaches {share:.0f} % of bare passes on {results['device']}"
    return f"{table(['side', 'views a second'], rows)}\n{reached} ({low:.0f} to {high:.0f} %)"


def _training(options: BenchThroughputOptions, device: torch.device, clock: Clock) -> float:
    """Seconds an update, without building, warming up and saving."""
    data = random_images(options.images, *_shape(options))
    network = build_encoder(options.encoder, _shape(options), options.dim, seed=0)
    learner = _Timed(network, options.steps, lambda: clock(device))
    training = TrainingOptions(
        steps=2 * options.steps,
        batch=options.batch,
        lr=1e-6,
        precision=options.precision,
        channels_last=options.channels_last,
        checkpoint_every=2 * options.steps + 1,
    )
    with tempfile.TemporaryDirectory() as folder:
        train(learner, data, options.views, training, Path(folder), device=device)
    begun, ended = learner.moments
    return (ended - begun) / options.steps


def _bare(options: BenchThroughputOptions, device: torch.device, clock: Clock) -> float:
    """Seconds of a forward and backward pass of both views."""
    network = build_encoder(options.encoder, _shape(options), options.dim, seed=0).to(device)
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    network.to(memory_format=layout)  # type: ignore[call-overload]
    views = torch.rand(2, _batch(options), *_shape(options), device=device)
    x, x_prime = (view.to(memory_format=layout) for view in views)
    begun = 0.0
    for step in range(2 * options.steps):
        if step == options.steps:
            begun = clock(device)
        network.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
            z, z_prime = network(x), network(x_prime)
        (z.sum() + z_prime.sum()).backward()
    return (clock(device) - begun) / options.steps


def _shape(options: BenchThroughputOptions) -> tuple[int, int, int]:
    return (3, options.size, options.size)


def _batch(options: BenchThroughputOptions) -> int:
    return min(options.batch, options.images)
