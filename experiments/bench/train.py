"""What training costs: losses, augmentations and whole steps beside those of others.

Four measurements go into ``bench.json``, each of sides that run in turns on the same data:

``losses``
    Forward and backward of a batch of embeddings, against lightly where it is installed.
``augmentations``
    Two SimCLR views of a batch, against torchvision image by image and, where it is installed,
    kornia in batches.
``step``
    Training a ResNet-18 by ``sslsim.training.loop.train`` against the barest loop with the same
    views and loss.
``snapshot``
    A snapshot of the probe set against the training steps of a run that takes 100 of them.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from experiments.bench.harness import (
    check_least,
    in_turns,
    medians,
    random_images,
    run_bench,
    time_ratios,
    timed,
    with_range,
)
from experiments.bench.options import BenchTrainOptions
from experiments.tables import table
from sslsim.core.torchvision import torchvision
from sslsim.data.views import draw_view
from sslsim.encoders.build import Encoder, build_encoder
from sslsim.measures.snapshots import draw_held_out_pairs, snapshot
from sslsim.methods.learner import PairLearner
from sslsim.objectives import barlow_twins, simclr, vicreg
from sslsim.training.batches import training_batches
from sslsim.training.loop import train
from sslsim.training.options import TrainingOptions

_RATIOS = ("ratio", "ratio_range", "processor_ratio", "processor_ratio_range")

Call = Callable[[], Any]


def bench_train(options: BenchTrainOptions) -> Path:
    """Run the four measurements."""
    check_least(options, dim=1, steps=1, repeats=1, threads=1, batch=2, step_batch=2)
    _encoder(options)  # refuses an unfit one now
    return run_bench(options, _measured, _report)


def _measured(options: BenchTrainOptions) -> dict[str, Any]:
    return {
        "losses": _losses(options),
        "augmentations": {str(side): _augmented(side, options) for side in (32, 96)},
        "step": _step(options),
        "snapshot": _snapshot(options),
    }


def _encoder(options: BenchTrainOptions) -> Encoder:
    return build_encoder(options.encoder, (3, 32, 32), 128, seed=0)


def _losses(options: BenchTrainOptions) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(0)
    z, z_prime = (torch.randn(options.batch, options.dim, generator=draw) for _ in range(2))
    lightly = _installed("lightly.loss")
    sides: dict[str, dict[str, Any]] = {
        "barlow_twins": {"ours": lambda a, b: barlow_twins(a, b, form="published")},
        "vicreg": {"ours": vicreg},
        "simclr": {"ours": simclr},
    }
    if lightly is not None:
        sides["barlow_twins"]["lightly"] = lightly.BarlowTwinsLoss()
        sides["vicreg"]["lightly"] = lightly.VICRegLoss()
        sides["simclr"]["lightly"] = lightly.NTXentLoss(temperature=0.5)

    def both_ways(loss: Any) -> None:
        a, b = z.clone().requires_grad_(), z_prime.clone().requires_grad_()
        loss(a, b).backward()

    results = {}
    for name, losses in sides.items():
        calls = {side: partial(both_ways, loss) for side, loss in losses.items()}
        results[name] = _compared(calls, options.repeats, options.batch)
    return results


def _augmented(side: int, options: BenchTrainOptions) -> dict[str, Any]:
    images = random_images(options.batch, 3, side, side).images
    generator = torch.Generator().manual_seed(1)
    kernel = max(3, side // 10 | 1)
    t = torchvision.transforms
    each = t.Compose(
        [
            t.RandomResizedCrop(side, scale=(0.2, 1.0)),
            t.RandomHorizontalFlip(),
            t.RandomApply([t.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            t.RandomGrayscale(p=0.2),
            t.RandomApply([t.GaussianBlur(kernel, (0.1, 2.0))], p=0.5),
            t.ToTensor(),
        ]
    )
    pictures = [t.functional.to_pil_image(image) for image in images]
    calls: dict[str, Call] = {
        "ours": lambda: [draw_view(images, "simclr", generator) for _ in range(2)],
        "torchvision": lambda: [
            torch.stack([each(picture) for picture in pictures]) for _ in range(2)
        ],
    }
    kornia = _installed("kornia.augmentation")
    if kornia is not None:
        batched = torch.nn.Sequential(
            kornia.RandomResizedCrop((side, side), scale=(0.2, 1.0)),
            kornia.RandomHorizontalFlip(),
            kornia.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
            kornia.RandomGrayscale(p=0.2),
            kornia.RandomGaussianBlur((kernel, kernel), (0.1, 2.0), p=0.5),
        )
        calls["kornia"] = lambda: [batched(images.float() / 255) for _ in range(2)]
    return _compared(calls, options.repeats, 2 * options.batch)


def _step(options: BenchTrainOptions) -> dict[str, Any]:
    data = random_images(4 * options.step_batch, 3, 32, 32)
    training = TrainingOptions(steps=options.steps, batch=options.step_batch, lr=1e-6)

    def ours() -> None:
        learner = PairLearner(_encoder(options), barlow_twins)
        with tempfile.TemporaryDirectory() as folder:
            train(learner, data, "simclr", training, Path(folder))

    def bare() -> None:
        encoder = _encoder(options)
        optimizer = torch.optim.SGD(encoder.parameters(), training.lr, training.momentum)
        batches = training_batches(data, "simclr", training, torch.device("cpu"))
        for step in range(training.steps):
            x, x_prime = batches(step)[0].views
            optimizer.zero_grad()
            barlow_twins(encoder(x), encoder(x_prime)).backward()
            optimizer.step()
        with tempfile.TemporaryDirectory() as folder:  # ours saves its end as well
            state = {"encoder": encoder.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, Path(folder) / "end.pt")

    return _compared(
        {"ours": ours, "bare loop": bare}, options.repeats, options.steps * options.step_batch
    )


def _snapshot(options: BenchTrainOptions) -> dict[str, Any]:
    data = random_images(max(256, options.step_batch), 3, 32, 32)
    encoder = _encoder(options)
    probe = draw_held_out_pairs(data.images, "simclr", 256, seed=0)
    x = torch.rand(options.step_batch, 3, 32, 32)
    comparison = _compared(
        {
            "ours": lambda: snapshot(encoder, probe, barlow_twins),
            "training step": lambda: barlow_twins(encoder(x), encoder(x)).backward(),
        },
        options.repeats,
        1,
    )
    share = 1 / comparison["ratio"]["training step"]
    return {**comparison, "steps_a_snapshot": share, "steps_for_two_percent": 100 * share / 0.02}


def _compared(calls: Mapping[str, Call], repeats: int, images: int) -> dict[str, Any]:
    """Median seconds of each side."""
    runs = in_turns({side: partial(timed, call) for side, call in calls.items()}, repeats)
    seconds = medians(runs)
    ratios = {side: time_ratios(runs, side, "ours") for side in calls if side != "ours"}
    return {
        "seconds": seconds,
        "images_per_second": {side: images / value for side, value in seconds.items()},
        **{key: {side: values[key] for side, values in ratios.items()} for key in _RATIOS},
    }


def _installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _report(results: dict[str, Any]) -> str:
    rows = []
    for part, entry in results.items():
        for name, sides in [("", entry)] if "seconds" in entry else entry.items():
            speeds = sides["images_per_second"]
            for side, ratio in sides["ratio"].items():
                label = f"{part} {name}".strip()
                ours, other = f"{speeds['ours']:.4g}", f"{speeds[side]:.4g}"
                ratio = with_range(ratio, sides["ratio_range"][side])
                rows.append([label, ours, side, other, ratio])
    lines = [table(["measurement", "ours a second", "other", "its", "ratio"], rows)]
    needed = results["snapshot"]["steps_for_two_percent"]
    lines.append(f"100 snapshots are 2 % of a run of {needed:.0f} steps")
    return "\n".join(lines)
