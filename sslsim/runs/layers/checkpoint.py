"""The layers of a run at a checkpoint: probes of their features, and coding rates of views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

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


def draw_layer_samples(
    run: TrainedRun, *, samples: int, probed: int, views: int, seed: int
) -> LayerSamples:
    """Draw, once for a run, what its checkpoints are measured on.

    Parameters
    ----------
    run : TrainedRun
        The run; its images need labels.
    samples : int
        Images of either split, at most, whose views the coding rates are of.
    probed : int
        Images of either split, at most, that probes are fitted and read on.
    views : int
        Views of every image.
    seed : int
        Seed of the views.

    Returns
    -------
    LayerSamples

    Raises
    ------
    ValueError
        If the images have no labels of two classes.

    Examples
    --------
    >>> from pathlib import Path
    >>> from sslsim.runs.options import TrainOptions
    >>> run = TrainedRun(Path("new"), TrainOptions(limit=60))
    >>> drawn = draw_layer_samples(run, samples=8, probed=40, views=2, seed=0)
    >>> drawn.views["test"].shape, drawn.plain["train"].shape
    (torch.Size([16, 1, 8, 8]), torch.Size([40, 1, 8, 8]))
    """
    data, held_out = run.images, run.held_out
    if data.labels is None or held_out.labels is None or len(data.labels.unique()) < 2:
        raise ValueError(
            f"{run.options.data} has no labels of two classes; expected some to probe by"
        )
    count = min(samples, len(data.images), len(held_out.images))
    plain, labels, view_batches, classes = {}, {}, {}, {}
    for place, (split, part) in enumerate(zip(SPLITS, (held_out, data), strict=True)):
        to_probe = crop_to_input(spread_over(part, probed), run.views)
        chosen = spread_over(part, count)
        generator = derived_generator(seed, _DRAWS, place)
        drawn = [
            draw_view(chosen.images, run.pair_views, generator, which=which % 2)
            for which in range(views)
        ]
        plain[split] = run.standardised(to_probe.images.float() / 255)
        view_batches[split] = torch.cat([run.standardised(view) for view in drawn])
        assert to_probe.labels is not None
        assert chosen.labels is not None
        labels[split], classes[split] = to_probe.labels, chosen.labels.repeat(views)
    return LayerSamples(plain, labels, view_batches, classes, count)


def measure_layers(
    encoder: Encoder, samples: LayerSamples, eps: Sequence[float], seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Accuracies and coding rate reductions of all layers of a network.

    Parameters
    ----------
    encoder : Encoder
        The network at a checkpoint.
    samples : LayerSamples
        What it is measured on.
    eps : sequence of float
        Distortions of the coding rates.
    seed : int
        Seed of the linear probes.

    Returns
    -------
    dict of str to dict
        By layer, from early to late: ``linear`` and ``knn``, accuracies on test images of probes
        fitted on training images, with their ``_error``; and the rates of :func:`split_rates`.

    Raises
    ------
    ValueError
        If features are not finite, or a probe cannot be fitted.

    Examples
    --------
    >>> from pathlib import Path
    >>> from sslsim.encoders.build import build_encoder
    >>> from sslsim.runs.options import TrainOptions
    >>> run = TrainedRun(Path("new"), TrainOptions(limit=60))
    >>> samples = draw_layer_samples(run, samples=8, probed=40, views=2, seed=0)
    >>> encoder = build_encoder("convnet", (1, 8, 8), 4, seed=0, widths=(4, 6))
    >>> layers = measure_layers(encoder, samples, eps=(0.5,))
    >>> list(layers)
    ['layer1', 'layer2', 'backbone', 'projector']
    >>> layers["layer2"] == layers["backbone"] != layers["layer1"]
    True
    """
    names = [*encoder.layers, "backbone", "projector"]
    plain = {split: features(encoder, x, names) for split, x in samples.plain.items()}
    views = {split: features(encoder, x, names) for split, x in samples.views.items()}
    layers: dict[str, dict[str, Any]] = {}
    for place, layer in enumerate(names):
        before = names[place - 1] if place else None
        if before is not None and all(
            torch.equal(embedded[split][layer], embedded[split][before])
            for embedded in (plain, views)
            for split in SPLITS
        ):
            layers[layer] = layers[before]
            continue
        test, train = ({layer: plain[split][layer]} for split in SPLITS)
        labels = [samples.labels[split] for split in SPLITS]
        probes = probe_layers(train, labels[1], test, labels[0], penalties=_PENALTIES, seed=seed)
        embedded_views = {split: views[split][layer] for split in SPLITS}
        layers[layer] = {
            **accuracies(probes[layer]),
            **split_rates(embedded_views, samples.classes, samples.images, eps),
        }
    return layers


def split_rates(
    z: Mapping[str, torch.Tensor],
    classes: Mapping[str, torch.Tensor],
    images: int,
    eps: Sequence[float],
) -> dict[str, dict[str, list[float]]]:
    """Coding rates of features of norm 1, and by how much groups reduce them.

    Parameters
    ----------
    z : mapping of str to Tensor, shape (views * images, k)
        Features of the views of every split, view by view.
    classes : mapping of str to Tensor of int, shape (views * images,)
        Classes of the views.
    images : int
        Images of a split.
    eps : sequence of float
        Distortions.

    Returns
    -------
    dict of str to dict of str to list of float
        ``coding_rate``, and Delta R by ``instance`` (views of an image) and ``class``, of every
        split, one number for each distortion.

    Examples
    --------
    >>> z = {"test": torch.eye(2).repeat(2, 1)}
    >>> rates = split_rates(z, {"test": torch.tensor([0, 0, 0, 0])}, images=2, eps=(1.0,))
    >>> round(rates["coding_rate"]["test"][0], 4), round(rates["instance"]["test"][0], 4)
    (0.6931, 0.1438)
    """
    rates: dict[str, dict[str, list[float]]] = {name: {} for name in ("coding_rate", *GROUPS)}
    for split, embedded in z.items():
        instances = instance_groups(images, len(embedded) // images)
        groups = {"instance": instances, "class": classes[split]}
        measured = [rate_reductions(embedded, groups, distortion) for distortion in eps]
        rates["coding_rate"][split] = [rate for rate, _ in measured]
        for name in GROUPS:
            rates[name][split] = [reductions[name] for _, reductions in measured]
    return rates
