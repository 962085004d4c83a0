"""Layers of a network beside each other: probes of their features, and coding rates."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial

import torch

from sslsim.coding_rate import coding_rate, grouped_coding_rate
from sslsim.core.unit_rows import unit_rows
from sslsim.data.datasets import Images, part_of, spread_over
from sslsim.data.views import crop_to_input
from sslsim.measures.frozen import FrozenEncoder
from sslsim.measures.probes import PENALTIES, ProbeResult, knn_accuracy, linear_probe

PROBES = ("linear", "knn")
_NEIGHBOURS = 20
_BATCH = 256
_PROBED = 5000  # images that frozen features are probed on, at most of each kind

Features = Mapping[str, torch.Tensor]


def probe_layers(
    train: Features,
    train_labels: torch.Tensor,
    test: Features,
    test_labels: torch.Tensor,
    *,
    penalties: Sequence[float] = PENALTIES,
    seed: int = 0,
    skip_failures: bool = False,
) -> dict[str, dict[str, ProbeResult]]:
    """Probe the features of layers: nearest neighbours and logistic regression.

    Parameters
    ----------
    train, test : mapping of str to Tensor, shape (n, k) and (n_test, k)
        Features of both splits by layer.
    train_labels, test_labels : Tensor of int, shape (n,) and (n_test,)
        Classes of the samples.
    penalties : sequence of float
        Penalties that the linear probe chooses from.
    seed : int
        Seed of the linear probe.
    skip_failures : bool
        Leave out a probe that cannot be fitted, with a warning. Default: raise.

    Returns
    -------
    dict of str to dict of str to ProbeResult
        By layer, then ``knn`` (of at most 20 neighbours) and ``linear``.

    Raises
    ------
    ValueError
        If a probe cannot be fitted.

    Examples
    --------
    >>> labels = torch.arange(20) % 2
    >>> z = {"backbone": torch.eye(2)[labels]}
    >>> probes = probe_layers(z, labels, z, labels)["backbone"]
    >>> {name: probe.accuracy for name, probe in probes.items()}
    {'knn': 1.0, 'linear': 1.0}
    """
    results: dict[str, dict[str, ProbeResult]] = {layer: {} for layer in train}
    for layer, x in train.items():
        probes = {
            "knn": partial(knn_accuracy, k=min(_NEIGHBOURS, len(x))),
            "linear": partial(linear_probe, penalties=penalties, seed=seed),
        }
        for name, probe in probes.items():
            try:
                with warnings.catch_warnings():
                    # Of the solver's convergence: the accuracy is reported as it is.
                    warnings.simplefilter("ignore")
                    results[layer][name] = probe(x, train_labels, test[layer], test_labels)
            except ValueError as error:
                if not skip_failures:
                    raise
                warnings.warn(f"{name}_{layer} is left out: {error}", stacklevel=2)
    return results


def accuracies(probes: Mapping[str, ProbeResult]) -> dict[str, float]:
    """Accuracies of probes and their standard errors, as numbers under one name each.

    Parameters
    ----------
    probes : mapping of str to ProbeResult
        Probes of one layer by name.

    Returns
    -------
    dict of str to float
        ``linear``, ``linear_error``, ``knn`` and ``knn_error``, of the probes that there are.

    Examples
    --------
    >>> accuracies({"knn": ProbeResult(0.5, 0.1, 2, 20, 25, "")})
    {'knn': 0.5, 'knn_error': 0.1}
    """
    numbers = {}
    for name in PROBES:
        if name in probes:
            numbers[name] = probes[name].accuracy
            numbers[f"{name}_error"] = probes[name].standard_error
    return numbers


def probe_frozen(
    encoder: FrozenEncoder,
    data: Images,
    held_out: Images,
    *,
    layers: Sequence[str] = ("backbone", "projector"),
    seed: int = 0,
) -> dict[str, dict[str, ProbeResult]]:
    """Probe the features of a frozen encoder, fitted on training images, read on held-out ones.

    Parameters
    ----------
    encoder : FrozenEncoder
        On any device.
    data : Images
        Training images; at most 5000 are used, spread evenly.
    held_out : Images
        Images on which the accuracies are read; at most 5000, spread evenly.
    layers : sequence of str
        Layers to probe, see :func:`sslsim.encoders.features.features`.
    seed : int
        Seed of the linear probes.

    Returns
    -------
    dict of str to dict of str to ProbeResult
        As :func:`probe_layers`; a probe that cannot be fitted is left out with a warning. Without
        labels of two classes at least, no layer has one.

    Examples
    --------
    >>> from sslsim.data.datasets import load_images
    >>> from sslsim.encoders.build import build_encoder
    >>> data, held_out = load_images(limit=200), load_images(split="test", limit=50)
    >>> encoder = FrozenEncoder(build_encoder("mlp", (1, 8, 8), 4, seed=0), None, "simclr")
    >>> probes = probe_frozen(encoder, data, held_out)
    >>> list(probes), sorted(probes["backbone"])
    (['backbone', 'projector'], ['knn', 'linear'])
    """
    if data.labels is None or held_out.labels is None or len(data.labels.unique()) < 2:
        return {layer: {} for layer in layers}
    places = torch.linspace(0, len(data.images) - 1, min(_PROBED, len(data.images))).long()
    fitted, read = part_of(data, places), spread_over(held_out, _PROBED)
    assert fitted.labels is not None
    assert read.labels is not None
    train, test = (features_of(encoder, part, layers) for part in (fitted, read))
    return probe_layers(train, fitted.labels, test, read.labels, seed=seed, skip_failures=True)


def features_of(encoder: FrozenEncoder, data: Images, layers: Sequence[str]) -> Features:
    """Features of plain images, of which only a batch at a time is floats."""
    device = next(encoder.encoder.parameters()).device
    parts = []
    for start in range(0, len(data.images), _BATCH):
        part = crop_to_input(part_of(data, slice(start, start + _BATCH)), encoder.views)
        images = part.images.to(device).float() / 255
        parts.append(encoder.features(images, layers, batch_size=_BATCH))
    return {layer: torch.cat([part[layer].cpu() for part in parts]) for layer in layers}


def rate_reductions(
    z: torch.Tensor, groups: Mapping[str, torch.Tensor], eps: float
) -> tuple[float, dict[str, float]]:
    """Coding rate of features of norm 1, and by how much groups reduce it.

    Parameters
    ----------
    z : Tensor, shape (n, k)
        Features. Rows that are all zero have no direction and stay zero.
    groups : mapping of str to Tensor of int, shape (n,)
        Groups of the samples, such as views of an image, or classes.
    eps : float
        Distortion.

    Returns
    -------
    rate : float
        Coding rate, in nats.
    reductions : dict of str to float
        Delta R of every kind of groups: the rate less the mean rate of the groups.

    Raises
    ------
    ValueError
        As :func:`sslsim.coding_rate.coding_rate_reduction`.

    Notes
    -----
    arXiv 2410.00772, section 4.2, where groups are instances.

    Examples
    --------
    >>> z = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    >>> rate, reductions = rate_reductions(z, {"instance": torch.tensor([0, 0, 1, 1])}, eps=1.0)
    >>> round(rate, 4), round(reductions["instance"], 4)  # log 2, less 1/2 log 3
    (0.6931, 0.1438)
    """
    unit = unit_rows(z.double())
    rate = float(coding_rate(unit, eps))
    return rate, {
        name: rate - float(grouped_coding_rate(unit, labels, eps))
        for name, labels in groups.items()
    }
