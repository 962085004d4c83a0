"""One checkpoint, layer by layer: probes of its features, and how far groups reduce their rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from experiments.options import OverfittingOptions
from sslsim.coding_rate import instance_groups
from sslsim.core.seeds import derived_generator
from sslsim.data.datasets import spread_over
from sslsim.data.single_view import draw_view
from sslsim.data.views import crop_to_input
from sslsim.encoders.build import Encoder
from sslsim.encoders.features import features
from sslsim.measures.layers import accuracies, probe_layers, rate_reductions
from sslsim.runs.trained_run import TrainedRun

SPLITS = ("test", "train")
GROUPS = ("instance", "class")

# Without the weakest ones that a single probe would try: they take by far the most time, and
# hundreds of probes are fitted.
_PENALTIES = (1e-1, 1e-2, 1e-3)
_DRAWS = 11  # purpose of the views' draws


@dataclass(frozen=True, eq=False)
class LayerSamples:
    """What every checkpoint of a run is measured on.

    Attributes
    ----------
    plain : dict of str to Tensor, shape (n, c, h, w)
        Images of either split as the network is fed with, for the probes.
    labels : dict of str to Tensor of int64, shape (n,)
        Their classes.
    views : dict of str to Tensor, shape (views * n, c, h, w)
        Views of images of either split, view by view, for the coding rates.
    classes : dict of str to Tensor of int64, shape (views * n,)
        Classes of the views.
    images : int
        n of the coding rates, the same in both splits: rates of more samples are higher.
    """

    plain: dict[str, torch.Tensor]
    labels: dict[str, torch.Tensor]
    views: dict[str, torch.Tensor]
    classes: dict[str, torch.Tensor]
    images: int


def layer_samples(run: TrainedRun, options: OverfittingOptions) -> LayerSamples:
    """Draw, once for a run, what its checkpoints are measured on."""
    data, held_out = run.images, run.held_out
    if data.labels is None or held_out.labels is None or len(data.labels.unique()) < 2:
        raise ValueError(
            f"{run.options.data} has no labels of two classes; expected some to probe by"
        )
    images = min(options.samples, len(data.images), len(held_out.images))
    plain, labels, views, classes = {}, {}, {}, {}
    for place, (split, part) in enumerate(zip(SPLITS, (held_out, data), strict=True)):
        probed = crop_to_input(spread_over(part, options.probed), run.views)
        chosen = spread_over(part, images)
        generator = derived_generator(options.seed, _DRAWS, place)
        each = [
            draw_view(chosen.images, run.pair_views, generator, which=which % 2)
            for which in range(options.views)
        ]
        plain[split] = run.standardised(probed.images.float() / 255)
        views[split] = torch.cat([run.standardised(view) for view in each])
        assert probed.labels is not None
        assert chosen.labels is not None
        labels[split], classes[split] = probed.labels, chosen.labels.repeat(options.views)
    return LayerSamples(plain, labels, views, classes, images)


def measured_layers(
    encoder: Encoder, samples: LayerSamples, options: OverfittingOptions
) -> dict[str, dict[str, Any]]:
    """Accuracies and coding rate reductions of all layers of a network.

    >>> from pathlib import Path
    >>> from sslsim.encoders.build import build_encoder
    >>> from sslsim.runs.options import TrainOptions
    >>> options = OverfittingOptions(run=(), samples=8, probed=40, eps=(0.5,))
    >>> samples = layer_samples(TrainedRun(Path(), TrainOptions(limit=60)), options)
    >>> encoder = build_encoder("convnet", (1, 8, 8), 4, seed=0, widths=(4, 6))
    >>> found = measured_layers(encoder, samples, options)
    >>> list(found)
    ['layer1', 'layer2', 'backbone', 'projector']
    >>> found["layer2"] == found["backbone"] != found["layer1"]
    True
    """
    layers = [*encoder.layers, "backbone", "projector"]
    plain = {split: features(encoder, x, layers) for split, x in samples.plain.items()}
    views = {split: features(encoder, x, layers) for split, x in samples.views.items()}
    found: dict[str, dict[str, Any]] = {}
    for place, layer in enumerate(layers):
        before = layers[place - 1] if place else None
        if before is not None and all(
            torch.equal(held[split][layer], held[split][before])
            for held in (plain, views)
            for split in SPLITS
        ):
            found[layer] = found[before]
            continue
        test, train = ({layer: plain[split][layer]} for split in SPLITS)
        labels = [samples.labels[split] for split in SPLITS]
        probes = probe_layers(
            train, labels[1], test, labels[0], penalties=_PENALTIES, seed=options.seed
        )
        rated = {split: views[split][layer] for split in SPLITS}
        found[layer] = {
            **accuracies(probes[layer]),
            **layer_reductions(rated, samples.classes, options),
        }
    return found


def layer_reductions(
    rated: dict[str, torch.Tensor], classes: dict[str, torch.Tensor], options: OverfittingOptions
) -> dict[str, dict[str, Any]]:
    """Coding rates of features of norm 1, and by how much groups reduce them."""
    found: dict[str, dict[str, Any]] = {name: {} for name in ("coding_rate", *GROUPS)}
    for split, z in rated.items():
        instances = instance_groups(len(z) // options.views, options.views)
        groups = {"instance": instances, "class": classes[split]}
        measured = [rate_reductions(z, groups, eps) for eps in options.eps]
        found["coding_rate"][split] = [rate for rate, _ in measured]
        for name in GROUPS:
            found[name][split] = [reductions[name] for _, reductions in measured]
    return found
