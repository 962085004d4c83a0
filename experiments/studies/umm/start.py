"""What fine-tuning starts from, and what is measured of it layer by layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from experiments.studies.training.train import probed_features
from experiments.studies.umm.options import UmmCommand, UmmSettings, core_options
from sslsim.coding_rate import coding_rate_reduction, instance_groups
from sslsim.core.unit_rows import unit_rows
from sslsim.data.datasets import Images, spread_over
from sslsim.data.pixels import PixelStatistics, pixel_statistics
from sslsim.data.views import crop_to_input
from sslsim.encoders.features import features
from sslsim.methods.learner import Learner
from sslsim.runs.networks import network_at
from sslsim.runs.options import TrainOptions
from sslsim.runs.setup import read_train_options, split_data
from sslsim.umm import UmmOptions
from sslsim.umm.alignment import cka_distance
from sslsim.umm.bilevel_losses import BilevelLosses
from sslsim.umm.evaluation import held_out_batch, measure
from sslsim.umm.outer_step import trained_names
from sslsim.umm.split import split_encoder

PROBES = ("linear", "knn")
_HYPERGRADIENT = {  # options of each kind alone
    "darts": ("radius",),
    "implicit": ("proximal", "damping", "solver", "solver_iterations"),
}
_BILEVEL = (
    "hypergradient", "inner_lr", "inner_steps", *_HYPERGRADIENT["darts"],
    *_HYPERGRADIENT["implicit"],
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Start:
    """A trained network, and what it is fine-tuned and measured on.

    Attributes
    ----------
    run : Path
        Folder of its training.
    trained : TrainOptions
        How it was trained.
    learner : Learner
        At the checkpoint.
    step : int
        Updates it has seen.
    data, held_out : Images
        Training images of the run, and its held-out ones.
    kind : str
        Kind of the views.
    options : UmmOptions
        How to fine-tune.
    transfer : tuple of Images or None
        Training and held-out images of another data set.
    """

    run: Path
    trained: TrainOptions
    learner: Learner
    step: int
    data: Images
    held_out: Images
    kind: str
    options: UmmOptions
    transfer: tuple[Images, Images] | None

    @property
    def pixels(self) -> PixelStatistics | None:
        """By which images are standardised: those of the run's training images."""
        return pixel_statistics(self.data.images) if self.trained.standardise else None


def start_from(run: Path, settings: UmmSettings) -> Start:
    """Load what a run left.

    >>> start_from(Path("nowhere"), UmmSettings())
    Traceback (most recent call last):
    ValueError: nowhere/config.json cannot be read: No such file or directory
    """
    if settings.test_images < 2:
        raise ValueError(f"test_images is {settings.test_images}; expected at least 2")
    if settings.transfer is None and settings.transfer_limit is not None:
        raise ValueError(
            f"transfer-limit is {settings.transfer_limit} without transfer; expected both, or none"
        )
    if isinstance(settings, UmmCommand):
        _check_effect(settings)
    trained = read_train_options(run)
    options = core_options(settings, trained)
    if settings.root is not None:
        trained = replace(trained, root=settings.root)
    data, held_out = split_data(trained)
    learner, step = network_at(run, settings.checkpoint, data)
    # What does not fit is told before anything is written.
    trained_names(learner, split_encoder(learner.encoder, options.split), options)
    kind = trained.views or learner.views
    transfer = None
    if settings.transfer is not None:
        height, width = data.images.shape[2:]
        other = TrainOptions(
            data=settings.transfer,
            root=trained.root,
            size=height if height == width else None,
            limit=settings.transfer_limit,
        )
        transfer = split_data(other)
        shapes = [tuple(images.images.shape[1:]) for images in (transfer[0], data)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{settings.transfer} has images of shape {shapes[0]}, {run} was trained on "
                f"{shapes[1]}; expected equal shapes"
            )
        if transfer[0].labels is None:
            raise ValueError(f"{settings.transfer} has no labels; expected some to probe")
    return Start(run, trained, learner, step, data, held_out, kind, options, transfer)


def _check_effect(settings: UmmCommand) -> None:
    """Refuse options that another one leaves without effect."""
    alignment = settings.alignment and settings.beta != 0
    coding_rate = settings.coding_rate and settings.coding_rate_weight != 0
    if not (alignment or coding_rate or settings.control):
        raise ValueError(
            "neither alignment nor coding rate has a weight: nothing is left to undo memorisation "
            "with; expected one of them, or control, plain further training"
        )
    reasons = {
        "no-alignment": (not settings.alignment, ("beta",)),
        "no-coding-rate": (not settings.coding_rate, ("coding_rate_weight",)),
        "joint": (settings.joint, _BILEVEL),
        "control": (settings.control, ("beta", "coding_rate_weight", *_BILEVEL)),
        f"hypergradient {settings.hypergradient}": (
            True,
            tuple(
                name
                for kind, names in _HYPERGRADIENT.items()
                if kind != settings.hypergradient
                for name in names
            ),
        ),
    }
    for reason, (given, names) in reasons.items():
        for name in names if given else ():
            value = getattr(settings, name)
            if value != getattr(UmmCommand, name):
                raise ValueError(
                    f"{name.replace('_', '-')} is {value}, which means nothing with {reason}; "
                    "expected none given"
                )


def measured_layers(
    start: Start, learner: Learner, test_images: int = 2000
) -> dict[str, dict[str, Any]]:
    """Accuracies, coding rate reductions and alignment of every layer of a network.

    >>> from sslsim.runs.setup import initial_learner
    >>> trained, settings = TrainOptions(limit=60), UmmSettings(held_out=8)
    >>> data, held_out = split_data(trained)
    >>> learner = initial_learner(trained, data)
    >>> options = core_options(settings, trained)
    >>> start = Start(Path("x"), trained, learner, 0, data, held_out, "simclr", options, None)
    >>> found = measured_layers(start, learner)
    >>> list(found), abs(found["layer2"]["early_distance"]) < 1e-9
    (['layer1', 'layer2', 'layer3', 'backbone', 'projector'], True)
    """
    layers = [*learner.encoder.layers, "backbone", "projector"]
    found: dict[str, dict[str, Any]] = {layer: {} for layer in layers}
    probed = {"": (start.data, start.held_out)}
    if start.transfer is not None:
        probed["transfer_"] = start.transfer
    for prefix, (fitted, read) in probed.items():
        plain = crop_to_input(fitted, start.kind)
        plain_read = crop_to_input(spread_over(read, test_images), start.kind)
        results = probed_features(
            learner, plain, plain_read, start.pixels, layers=layers, seed=start.options.seed
        )
        for probe in PROBES:
            for layer in layers:
                if (result := results.get(f"{probe}_{layer}")) is not None:
                    found[layer][f"{prefix}{probe}"] = result.accuracy
                    found[layer][f"{prefix}{probe}_error"] = result.standard_error
    device = next(learner.parameters()).device
    batch, labels = held_out_batch(start.data, start.held_out, start.kind, start.options, device)
    early = start.options.early or start.options.split
    views = features(learner.encoder, torch.cat(batch.views[:2]), layers)
    for layer, z in views.items():
        z, eps = z.double(), start.options.eps
        unit = unit_rows(z)
        instances = instance_groups(len(z) // 2, views=2).to(device)
        found[layer]["instance_reduction"] = float(coding_rate_reduction(unit, instances, eps))
        if labels is not None:
            classes = labels.repeat(2)
            found[layer]["class_reduction"] = float(coding_rate_reduction(unit, classes, eps))
        distance = float(cka_distance(views[early].double(), z))
        found[layer]["early_distance"] = max(distance, 0.0)  # rounding of the early layer itself
    return found


def measured(start: Start, learner: Learner, test_images: int) -> dict[str, Any]:
    """All that is measured of a network, before or after.

    >>> from sslsim.runs.setup import initial_learner
    >>> trained = TrainOptions(limit=60)
    >>> data, held_out = split_data(trained)
    >>> learner, options = initial_learner(trained, data), core_options(UmmSettings(), trained)
    >>> start = Start(Path("x"), trained, learner, 0, data, held_out, "simclr", options, None)
    >>> list(measured(start, learner, 30))
    ['coding_rate_reduction', 'loss', 'alignment', 'layers']
    """
    split = split_encoder(learner.encoder, start.options.split)
    names = trained_names(learner, split, start.options)
    device = next(learner.parameters()).device
    batch = held_out_batch(start.data, start.held_out, start.kind, start.options, device)
    whole = measure(BilevelLosses(learner, split, start.options, *batch, names))
    return {**asdict(whole), "layers": measured_layers(start, learner, test_images)}
