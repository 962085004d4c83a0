"""What fine-tuning starts from, and what is measured of the network before and after."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from sslsim.coding_rate import instance_groups
from sslsim.data.datasets import Images, spread_over
from sslsim.encoders.features import features
from sslsim.measures.frozen import FrozenEncoder
from sslsim.measures.layers import accuracies, probe_frozen, rate_reductions
from sslsim.methods.learner import Learner
from sslsim.runs.trained_run import TrainedRun
from sslsim.umm.alignment import cka_distance
from sslsim.umm.bilevel_losses import BilevelLosses
from sslsim.umm.evaluation import held_out_batch, measure
from sslsim.umm.options import UmmOptions
from sslsim.umm.outer_step import trained_names
from sslsim.umm.split import split_encoder


@dataclass(frozen=True, eq=False)
class Start:
    """A trained network, and what it is fine-tuned and measured on.

    Attributes
    ----------
    run : TrainedRun
        The run that trained it.
    learner : Learner
        Network with its loss at the checkpoint.
    step : int
        Updates it has seen.
    options : UmmOptions
        How to fine-tune.
    transfer : tuple of Images, optional
        Training and held-out images of another data set, to probe frozen features on.
    """

    run: TrainedRun
    learner: Learner
    step: int
    options: UmmOptions
    transfer: tuple[Images, Images] | None = None


def layer_measures(
    start: Start, learner: Learner, test_images: int = 2000
) -> dict[str, dict[str, Any]]:
    """Accuracies, coding rate reductions and alignment of every layer of a network.

    Parameters
    ----------
    start : Start
        Images, views and options of the measurement.
    learner : Learner
        The network, before or after fine-tuning, on any device.
    test_images : int
        Held-out images, at most, that probes are read on.

    Returns
    -------
    dict of str to dict
        By layer: ``linear`` and ``knn`` with their ``_error`` (and ``transfer_...``, on the other
        data set), where images have labels; ``instance_reduction`` and ``class_reduction``, Delta R
        in nats of the views of held-out images; ``early_distance``, the CKA distance from the early
        layer.

    Raises
    ------
    ValueError
        If there is no such layer as the options name.

    Examples
    --------
    >>> from pathlib import Path
    >>> from sslsim.runs.options import TrainOptions
    >>> run = TrainedRun(Path("new"), TrainOptions(limit=60))
    >>> start = Start(run, run.learner(0), 0, UmmOptions(held_out=8))
    >>> layers = layer_measures(start, start.learner)
    >>> list(layers), abs(layers["layer2"]["early_distance"]) < 1e-9
    (['layer1', 'layer2', 'layer3', 'backbone', 'projector'], True)
    """
    run, options = start.run, start.options
    layers = [*learner.encoder.layers, "backbone", "projector"]
    measures: dict[str, dict[str, Any]] = {layer: {} for layer in layers}
    frozen = FrozenEncoder(learner.encoder, run.pixels, run.views)
    sources = {"": (run.images, run.held_out)}
    if start.transfer is not None:
        sources["transfer_"] = start.transfer
    for prefix, (train, test) in sources.items():
        test = spread_over(test, test_images)
        probes = probe_frozen(frozen, train, test, layers=layers, seed=options.seed)
        for layer in layers:
            numbers = accuracies(probes[layer])
            measures[layer] |= {f"{prefix}{name}": value for name, value in numbers.items()}
    device = next(learner.parameters()).device
    batch, labels = held_out_batch(run.images, run.held_out, run.views, options, device)
    embedded = features(learner.encoder, torch.cat(batch.views[:2]), layers)
    early = embedded[options.early or options.split].double()
    groups = {"instance_reduction": instance_groups(len(early) // 2, views=2).to(device)}
    if labels is not None:
        groups["class_reduction"] = labels.repeat(2)
    for layer, z in embedded.items():
        measures[layer] |= rate_reductions(z, groups, options.eps)[1]
        distance = float(cka_distance(early, z.double()))
        measures[layer]["early_distance"] = max(distance, 0.0)  # rounding of the early layer itself
    return measures


def measure_network(start: Start, learner: Learner, test_images: int) -> dict[str, Any]:
    """All that is measured of a network, before or after fine-tuning.

    Parameters
    ----------
    start, learner, test_images
        As for :func:`layer_measures`.

    Returns
    -------
    dict
        The fields of :class:`sslsim.umm.evaluation.Measured`, and ``layers``, by
        :func:`layer_measures`.

    Raises
    ------
    ValueError
        As :func:`layer_measures`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from sslsim.runs.options import TrainOptions
    >>> run = TrainedRun(Path("new"), TrainOptions(limit=60))
    >>> start = Start(run, run.learner(0), 0, UmmOptions())
    >>> list(measure_network(start, start.learner, 30))
    ['coding_rate_reduction', 'loss', 'alignment', 'loss_gradient', 'alignment_gradient', 'layers']
    """
    run, options = start.run, start.options
    split = split_encoder(learner.encoder, options.split)
    names = trained_names(learner, split, options)
    device = next(learner.parameters()).device
    batch = held_out_batch(run.images, run.held_out, run.views, options, device)
    whole = measure(BilevelLosses(learner, split, options, *batch, names))
    return {**asdict(whole), "layers": layer_measures(start, learner, test_images)}
