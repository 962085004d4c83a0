"""Do methods learn the same, and what their kernels predict? ``sslsim ntk --run A B C``.

All networks embed the same held-out pairs, each standardised as it was in training. Compared are
the leading subspaces of functions on the pairs: principal directions of the embedding (of the
representation, for methods without a projector), and of the embedding that the first modes of the
network's tangent kernel predict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from experiments.options import NtkOptions
from experiments.studies.kernels.pairs import held_out_pairs, measured
from sslsim.measures.modes.agreement import Array, leading_basis
from sslsim.runs.networks import check_different
from sslsim.runs.options import TrainOptions, network_name
from sslsim.runs.stored import stored_result
from sslsim.runs.trained_run import TrainedRun
from theory.kernels.modes import embed, kernel_modes

UNTRAINED = "untrained"
_SHARED = ("data", "split", "size", "limit")  # what runs must have in common


@dataclass(frozen=True, eq=False)
class Network:
    """What is compared of one network.

    Attributes
    ----------
    label : str
        Group it counts in: its method, or untrained.
    name : str
        Its folder, and the seed.
    embeddings, kernel : ndarray, shape (2n, d) and (2n, 2n)
        Of the pairs.
    """

    label: str
    name: str
    embeddings: Array
    kernel: Array


def across_networks(options: NtkOptions) -> tuple[dict[str, Any], dict[str, Array]]:
    """Compare the embeddings and predictions of several runs on the same pairs."""
    check_different("run", options.run)
    runs = [TrainedRun.open(run, options.root) for run in options.run]
    check_same_images(runs)
    first = runs[0]
    stored_result(first.folder / "training.json", {"views": str})
    kind = options.views or first.pair_views
    pairs = held_out_pairs(first.options, first.held_out, kind, options)
    labels = _labels([run.options for run in runs])
    networks = []
    for run, label in zip(runs, labels, strict=True):
        run = replace(run, images_of=None if run is first else first)
        steps = {label: run.step_at(options.checkpoint)}
        if label == labels[0]:
            steps[UNTRAINED] = 0
        views = run.standardised(pairs.x), run.standardised(pairs.x_prime)
        for group, step in steps.items():
            encoder = run.learner(step).encoder
            try:
                kernel, z = measured(encoder, views, options)
            except ValueError as error:
                raise ValueError(f"{run.folder}, views {kind}: {error}") from error
            name = f"{run.folder.name} (seed {run.options.seed})"
            networks.append(Network(group, name, z, kernel))
    modes = _modes(options, networks)
    order = [*dict.fromkeys(labels), UNTRAINED]
    networks.sort(key=lambda network: order.index(network.label))
    matrix = alignment_matrix(networks, modes, options.center)
    mean, low, high = by_group(matrix, [network.label for network in networks])
    points = 2 * len(pairs.x)
    result = {
        "methods": order,
        "kinds": ["embedding", "prediction"],
        "alignment": mean,
        "lowest": low,
        "highest": high,
        "networks": [network.name for network in networks],
        "network_methods": [network.label for network in networks],
        "network_alignment": matrix,
        "modes": modes,
        "chance": modes / (points - options.center),
        "chance_alike": modes / (points // 2 - options.center),
        "center": options.center,
        "n_pairs": len(pairs.x),
        "views": kind,
        "data": first.options.data,
    }
    arrays = {"alignment": mean, "network_alignment": matrix}
    return result, arrays


def check_same_images(runs: Sequence[TrainedRun]) -> None:
    """Refuse runs that were trained on other images than the first."""
    first = runs[0]
    for run in runs[1:]:
        for field in _SHARED:
            value, other = getattr(run.options, field), getattr(first.options, field)
            if value != other:
                raise ValueError(
                    f"{run.folder} was trained with {field} {value}, {first.folder} with "
                    f"{other}; expected runs on the same images"
                )


def alignment_matrix(networks: list[Network], modes: int, center: bool) -> Array:
    """Alignment of all subspaces: first all embeddings, then all predictions."""
    embeddings = [leading_basis(network.embeddings, modes, center) for network in networks]
    predicted = []
    for network in networks:
        embedding = embed(kernel_modes(network.kernel, modes), network.kernel)
        predicted.append(leading_basis(embedding, modes, center))
    bases = np.array(embeddings + predicted)
    overlaps = np.einsum("api,bpj->abij", bases, bases, optimize=True)
    return np.asarray(np.sum(overlaps**2, axis=(2, 3)) / modes, dtype=np.float64)


def by_group(matrix: Array, labels: list[str]) -> tuple[Array, Array, Array]:
    """Mean, least and greatest alignment of groups of networks."""
    groups = list(dict.fromkeys(labels))
    places = {group: [i for i, label in enumerate(labels) if label == group] for group in groups}
    count, size = len(groups), len(labels)
    results = np.full((3, 2 * count, 2 * count), np.nan)
    for (kind, a), (other, b) in product(product(range(2), range(count)), repeat=2):
        values = [
            matrix[kind * size + i, other * size + j]
            for i, j in product(places[groups[a]], places[groups[b]])
            if (i == j if kind != other and a == b else i != j)
        ]
        if values:
            cell = (slice(None), kind * count + a, other * count + b)
            results[cell] = np.mean(values), min(values), max(values)
    return results[0], results[1], results[2]


def _labels(trained: list[TrainOptions]) -> list[str]:
    """Methods, with the encoder where one method comes with several."""
    pairs = {(options.method, network_name(options)) for options in trained}
    several = Counter(method for method, _ in pairs)
    return [
        options.method + (f", {network_name(options)}" if several[options.method] > 1 else "")
        for options in trained
    ]


def _modes(options: NtkOptions, networks: list[Network]) -> int:
    most = min(min(network.embeddings.shape) for network in networks)
    # Modes beyond the positive ones predict nothing that could be compared.
    most = min(most, *(kernel_modes(network.kernel).positive_modes for network in networks))
    modes = most if options.modes is None else options.modes
    if not 1 <= modes <= most:
        raise ValueError(
            f"modes is {modes}; expected from 1 to {most}, the dimensions of the smallest "
            "embedding or the positive modes of a kernel"
        )
    return modes
