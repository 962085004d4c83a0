"""One training of ``sslsim accelerate``: its curves, and the processor time of an update."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments.studies.acceleration.options import AccelerateOptions
from sslsim.core.errors import Diverged
from sslsim.core.files import read_arrays, read_lines
from sslsim.data.datasets import Images, spread_over
from sslsim.data.pixels import PixelStatistics, pixel_statistics
from sslsim.data.views import crop_to_input
from sslsim.encoders.build import Encoder
from sslsim.measures.modes.agreement import leading_basis
from sslsim.measures.snapshots import (
    HeldOutPairs,
    batch_statistics,
    draw_held_out_pairs,
    snapshot,
)
from sslsim.runs.options import has_theory_form, training_options
from sslsim.runs.setup import chosen_device, initial_learner, pair_views, training_pairs
from sslsim.training.loop import train
from theory.pairs.gamma import read_pairs
from theory.pairs.spectrum import spectrum

Array = NDArray[np.float64]

_PENALTIES = np.logspace(-1, 5, 7)
_EVERY = 200  # updates between checkpoints
_BATCH = 256  # images embedded at a time
_TIMED = (1, 11)  # updates of the two trainings whose difference is the time of an update
_DRAWS = 10  # of pairs of every image, for true modes
_SEED = 0  # of the views that are measured: the same for trainings of all seeds
_MODES = 32  # at most: columns of embeddings kept


def trained_curves(
    options: AccelerateOptions, data: Images, held_out: Images, steps: int, folder: Path
) -> dict[str, Any]:
    """Train as options say, and measure on the way.

    Returns ``steps`` (T,); ``spectrum`` and ``seen_spectrum`` (T, d), eigenvalues of the
    cross-correlation on held-out pairs and on pairs of training images; ``effective_rank`` (T,) of
    held-out embeddings; ``accuracy`` (T,) of ridge classification of the representation; ``modes``
    (n, d), principal directions of held-out embeddings at the end; and ``failed``, a message where
    the training diverged, with what was measured until then.
    """
    device = chosen_device(options.device)
    learner = initial_learner(options, data)
    kind = options.views or learner.views
    pixels = pixel_statistics(data.images) if options.standardise else None
    pairs, seen = (_pairs(options, part, kind, pixels) for part in (held_out, data))
    labelled = [_inputs(part, kind, options.probed, pixels) for part in (data, held_out)]

    def watch(*_: Any) -> dict[str, Any]:
        return {
            "seen_spectrum": snapshot(learner.encoder, seen)["cross_spectrum"].tolist(),
            "accuracy": _accuracy(learner.encoder, labelled, device),
        }

    failed = None
    training = training_options(
        options,
        steps=steps,
        records=_records(options, steps),
        checkpoint_every=_EVERY,
        checkpoints_kept=1,
    )
    try:
        train(
            learner, data, kind, training, folder,
            held_out=pairs, watch=watch, pixels=pixels, device=device,
        )  # fmt: skip
    except Diverged as error:
        failed = str(error)
    return {"failed": failed, **_read(folder, failed is not None)}


def true_modes(options: AccelerateOptions, data: Images, held_out: Images, count: int) -> Array:
    """Top modes of the linear model on held-out images, (n, count), as :func:`trained_curves`.

    They are those of Gamma of fresh pairs of the training images, ten of each.
    """
    kind = options.views or initial_learner(options, data).views
    pixels = pixel_statistics(data.images) if options.standardise else None
    n = len(data.images)
    pairs = [
        [view.flatten(1).double().numpy() for view in training_pairs(options, data, kind, n, draw)]
        for draw in range(_DRAWS)
    ]
    axes = spectrum(read_pairs(pairs), count).eigenvectors
    seen = _pairs(options, held_out, kind, pixels).x.flatten(1).double().cpu().numpy()
    return leading_basis(seen @ axes, count, center=True)


def _pairs(
    options: AccelerateOptions, part: Images, kind: Any, pixels: PixelStatistics | None
) -> HeldOutPairs:
    images = spread_over(part, options.probed).images.to(chosen_device(options.device))
    return draw_held_out_pairs(images, pair_views(kind), options.probed, _SEED, pixels)


def _records(options: AccelerateOptions, steps: int) -> int:
    """Number of snapshots, as dense over a longer training as over one of ``options.steps``."""
    return max(2, round((options.checks - 1) * steps / options.steps) + 1)


def _inputs(
    part: Images, kind: Any, most: int, pixels: PixelStatistics | None
) -> tuple[torch.Tensor, Array]:
    chosen = crop_to_input(spread_over(part, most), kind)
    assert chosen.labels is not None
    images = chosen.images.float() / 255
    return images if pixels is None else pixels.standardise(images), chosen.labels.numpy()


@torch.no_grad()
def _accuracy(
    encoder: Encoder, labelled: Sequence[tuple[torch.Tensor, Array]], device: torch.device
) -> float:
    """Accuracy of ridge classification of the representation, fitted on the first images."""
    with batch_statistics(encoder):
        train, test = (
            torch.cat(
                [encoder.backbone(x.to(device)).flatten(1).cpu() for x in images.split(_BATCH)]
            )
            for images, _ in labelled
        )
    probe = make_pipeline(StandardScaler(), RidgeClassifierCV(_PENALTIES))
    probe.fit(train.double().numpy(), labelled[0][1])
    return float(probe.score(test.double().numpy(), labelled[1][1]))


def _read(folder: Path, diverged: bool) -> dict[str, Any]:
    """Curves as the training has stored them."""
    empty: dict[str, Any] = {"steps": [], "spectrum": [], "seen_spectrum": [], "effective_rank": []}
    if not (folder / "records.npz").exists():
        return {**empty, "accuracy": [], "modes": []}
    lines, arrays = read_lines(folder / "records.jsonl"), read_arrays(folder / "records.npz")
    count = min(len(lines), len(arrays["steps"]))
    modes: Any = []
    if not diverged:
        scores = np.asarray(arrays["scores"][-1], dtype=np.float64)
        most = min(_MODES, scores.shape[1])
        modes = leading_basis(scores, most).round(5)
    return {
        "steps": [line["step"] for line in lines[:count]],
        "spectrum": np.asarray(arrays["cross_spectrum"][:count], dtype=np.float64).round(6),
        "seen_spectrum": np.round([line["seen_spectrum"] for line in lines[:count]], 6),
        "effective_rank": [line["effective_rank"] for line in lines[:count]],
        "accuracy": [line["accuracy"] for line in lines[:count]],
        "modes": modes,
    }


def processor_seconds(
    arms: Mapping[str, AccelerateOptions], data: Images, rounds: int = 5
) -> dict[str, list[float]]:
    """Processor seconds of an update by each way to train, in turn, in several rounds.

    The processor time of a training of one update is taken from that of eleven, so that set-up is
    not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, options in arms.items():
            first, second = (_timed(options, data, steps) for steps in _TIMED)
            seconds[name].append((second - first) / (_TIMED[1] - _TIMED[0]))
    return seconds


def _timed(options: AccelerateOptions, data: Images, steps: int) -> float:
    learner = initial_learner(options, data)
    training = training_options(options, steps=steps, records=2, checkpoints_kept=1)
    with TemporaryDirectory() as folder:
        begun = time.process_time()
        train(
            learner,
            data,
            options.views or learner.views,
            training,
            Path(folder),
            device=chosen_device(options.device),
        )
        return time.process_time() - begun


def has_plateaus(options: AccelerateOptions) -> bool:
    """Whether eigenvalues of the cross-correlation have a height of their own that they rise to."""
    return has_theory_form(options) or options.method == "vicreg"
