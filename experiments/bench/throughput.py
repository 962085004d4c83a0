"""Images a second of training, beside a bare forward and backward pass of the same network."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from experiments.bench.checks import check_least
from experiments.bench.options import BenchThroughputOptions
from experiments.tables import table
from sslsim.core.files import write_json
from sslsim.data.datasets import Images
from sslsim.data.single_view import view_shape
from sslsim.encoders.build import Encoder, build_encoder
from sslsim.methods.learner import PairLearner
from sslsim.objectives import barlow_twins
from sslsim.runs.folder import new_results
from sslsim.runs.setup import chosen_device
from sslsim.training.loop import train
from sslsim.training.options import TrainingOptions


class _Timed(PairLearner):
    """Barlow Twins that notes when the first and the last half of its updates are done."""

    def __init__(self, encoder: Encoder, device: torch.device, steps: int) -> None:
        super().__init__(encoder, barlow_twins)
        self.device, self.steps = device, steps
        self.done = 0
        self.moments: list[float] = []

    def after_step(self, progress: float) -> None:
        super().after_step(progress)
        self.done += 1
        if self.done % self.steps == 0:
            self.moments.append(_now(self.device))


def bench_throughput(options: BenchThroughputOptions) -> Path:
    """Measure both sides in turns."""
    check_least(options, size=8, batch=2, images=2, steps=1, repeats=1)
    view_shape(options.views, _shape(options))  # checks the kind
    device = chosen_device(options.device)
    sides: dict[str, Callable[[], float]] = {
        "training": lambda: _training(options, device),
        "bare": lambda: _bare(options, device),
    }
    build_encoder(options.encoder, _shape(options), options.dim, seed=0)  # unfit ones are told now
    with new_results(options.out, "bench", options, results=("bench.json",)) as folder:
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(options.repeats):
            for side, call in sides.items():
                seconds[side].append(call())
        middle = {side: median(values) for side, values in seconds.items()}
        found: dict[str, Any] = {
            "seconds": middle,
            "views_per_second": {
                side: 2 * _batch(options) / value for side, value in middle.items()
            },
            "share": middle["bare"] / middle["training"],
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        }
        write_json(folder / "bench.json", found)
        rows = [[side, f"{rate:.4g}"] for side, rate in found["views_per_second"].items()]
        print(table(["side", "views a second"], rows))
        print(f"training reaches {100 * found['share']:.0f} % of bare passes on {found['device']}")
    return options.out


def _training(options: BenchThroughputOptions, device: torch.device) -> float:
    """Seconds an update, without building, warming up and saving."""
    draw = torch.Generator().manual_seed(0)
    shape = (options.images, *_shape(options))
    images = torch.randint(256, shape, generator=draw, dtype=torch.uint8)
    network = build_encoder(options.encoder, _shape(options), options.dim, seed=0)
    learner = _Timed(network, device, options.steps)
    training = TrainingOptions(
        steps=2 * options.steps,
        batch=options.batch,
        lr=1e-6,
        precision=options.precision,
        channels_last=options.channels_last,
        checkpoint_every=2 * options.steps + 1,
    )
    with tempfile.TemporaryDirectory() as folder:
        data = Images(images, None, "random")
        train(learner, data, options.views, training, Path(folder), device=device)
    begun, ended = learner.moments
    return (ended - begun) / options.steps


def _bare(options: BenchThroughputOptions, device: torch.device) -> float:
    """Seconds of a forward and backward pass of both views."""
    network = build_encoder(options.encoder, _shape(options), options.dim, seed=0).to(device)
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    network.to(memory_format=layout)  # type: ignore[call-overload]
    views = torch.rand(2, _batch(options), *_shape(options), device=device)
    x, x_prime = (view.to(memory_format=layout) for view in views)
    begun = 0.0
    for step in range(2 * options.steps):
        if step == options.steps:
            begun = _now(device)
        network.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
            z, z_prime = network(x), network(x_prime)
        (z.sum() + z_prime.sum()).backward()
    return (_now(device) - begun) / options.steps


def _shape(options: BenchThroughputOptions) -> tuple[int, int, int]:
    return (3, options.size, options.size)


def _batch(options: BenchThroughputOptions) -> int:
    return min(options.batch, options.images)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
