"""What the encoders of a study are good for: probes of their frozen features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from experiments.memorization.options import MemorizationOptions
from experiments.memorization.points import Points
from experiments.memorization.trained import Trained
from experiments.train import probed_features
from experiments.train_setup import as_fed
from sslsim.methods.learner import Learner


def probed_families(
    families: Mapping[str, Sequence[Trained]], points: Points, options: MemorizationOptions
) -> dict[str, dict[str, list[float]]]:
    """Accuracies of linear probes of every encoder.

    Parameters
    ----------
    families : mapping of str to sequence of Trained
        Encoders by family.
    points : Points
        With the images: probes are fitted on training images, the same 5000 at most whatever an
        encoder was trained on, and read on held-out ones. Outliers are among either.
    options : MemorizationOptions
        Say the layers.

    Returns
    -------
    dict of str to dict of str to list of float
        By family and layer, one an encoder; NaN, with a warning, where classes are too small.

    Raises
    ------
    ValueError
        If there are no labels.
    """
    if points.data.labels is None or points.held_out.labels is None:
        raise ValueError(f"{options.data} has no labels; expected some, or no --evaluate")
    found: dict[str, dict[str, list[float]]] = {}
    for name, encoders in families.items():
        accuracies = found[name] = {layer: [] for layer in options.layers}
        for one in encoders:
            data, held_out = (as_fed(part, one.views) for part in (points.data, points.held_out))
            probes = probed_features(
                Learner(one.encoder), data, held_out, one.pixels, layers=options.layers, seed=0
            )
            for layer in options.layers:
                probe = probes.get(f"linear_{layer}")
                accuracies[layer].append(math.nan if probe is None else probe.accuracy)
    return found
