"""What is measured of one encoder pair: distances, coding rates and accuracies by mode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from experiments.studies.mode_memorization.encoder_pairs import PairedEncoders
from experiments.studies.mode_memorization.options import ModeMemorizationOptions, late_layer
from experiments.studies.mode_memorization.scores import (
    NEW,
    SEEN,
    bands,
    mode_scores,
    removed_modes,
)
from sslsim.coding_rate import instance_groups
from sslsim.core.unit_rows import unit_rows
from sslsim.data.datasets import Images
from sslsim.measures.frozen import FrozenEncoder
from sslsim.measures.layers import features_of, probe_layers
from sslsim.memorization.losses import Scoring
from sslsim.memorization.one_encoder.mode_rates import (
    coding_rate_by_mode,
    coding_rate_reduction_by_mode,
)
from sslsim.memorization.one_encoder.modes import (
    Modes,
    aligned_modes,
    class_shares,
    covariance_modes,
    distances_by_mode,
    mode_distances,
)
from sslsim.memorization.views import ViewPairs
from sslsim.training.batches import fixed_views

_PENALTY = 1e-2  # of all linear probes, which then differ by their modes alone
_EACH = 16  # leading modes that are removed one by one
KEYS = ("variance", "distances", "rates", "class_share", "removed", "accuracies")


def measured_pair(
    study: PairedEncoders,
    pair: int,
    encoders: Mapping[str, FrozenEncoder],
    options: ModeMemorizationOptions,
) -> dict[str, Any]:
    """All measures of a pair, by the keys of ``KEYS``; embeddings have unit norm."""
    layer = late_layer(options)
    parts = {
        "unseen": study.unseen(options.reference),
        "own": study.trained_on("f"),
        "test": study.tested(options.test_images),
    }
    embedded = {name: _unit(encoders["f"], part, layer) for name, part in parts.items()}
    other = _unit(encoders["g"], parts["unseen"], layer)
    modes = pair_modes(embedded["unseen"], other)
    turned = {name: z @ modes["f"].basis for name, z in embedded.items()}
    variance = {name: each.variance.numpy() for name, each in modes.items()}
    distances = pair_distances(study, pair, encoders, modes, options)
    scores = mode_scores(distances, variance, SEEN if SEEN in distances else NEW)
    removed = removed_modes(scores, options.remove, options.random, study.options.seed + pair)
    return {
        "variance": variance,
        "distances": distances,
        "rates": _rates(study, encoders["f"], modes["f"], options),
        "class_share": class_shares(turned["test"], _labels(parts["test"])),
        "removed": removed,
        "accuracies": {
            name: _accuracies(turned, parts, name, removed) for name in ("unseen", "own")
        },
    }


def pair_modes(f: torch.Tensor, g: torch.Tensor) -> dict[str, Modes]:
    """Modes of both encoders, and those of f brought to g, by embeddings of the same images."""
    modes = covariance_modes(f)
    return {"f": modes, "g": covariance_modes(g), "aligned": aligned_modes(modes, f, g)}


def _unit(encoder: FrozenEncoder, data: Images, layer: str) -> torch.Tensor:
    return unit_rows(features_of(encoder, data, [layer])[layer].double())


def _labels(data: Images) -> torch.Tensor:
    assert data.labels is not None
    return data.labels


def pair_distances(
    study: PairedEncoders,
    pair: int,
    encoders: Mapping[str, FrozenEncoder],
    modes: Mapping[str, Modes],
    options: ModeMemorizationOptions,
) -> dict[str, Any]:
    """Mean squared distances by kind of views, encoder, set and mode.

    New views are drawn anew for every image; the views seen are those that f was trained on, if
    they were fixed.
    """
    layer = late_layer(options)
    bases = {"f": [modes["f"].basis], "g": [modes["g"].basis, modes["aligned"].basis]}
    scoring = Scoring(
        study.views, (layer,), pairs=options.augmentations, seed=study.options.draw_seed
    )
    new: dict[str, Any] = {}
    for family, encoder in encoders.items():
        found = distances_by_mode(
            encoder, study.images.images, scoring, bases[family], numbers=study.images.numbers
        )
        for name, by_image in zip((family, "aligned"), found, strict=False):
            new[name] = {
                each: by_image[rows].mean(dim=0) for each, rows in study.images.sets.items()
            }
    if not study.options.fixed_views:
        return {NEW: new}
    data = study.trained_on("f")
    views = fixed_views(data, study.views, study.options.seed + pair).views
    places = study.images.numbers[study.images.rows("f")].sort().values
    seen: dict[str, Any] = {}
    for family, encoder in encoders.items():
        device = next(encoder.encoder.parameters()).device
        z, z_prime = (
            unit_rows(encoder.features(view.to(device), [layer])[layer].double().cpu())
            for view in views
        )
        for name, basis in zip((family, "aligned"), bases[family], strict=False):
            by_image = mode_distances(z, z_prime, basis)
            seen[name] = {
                each: by_image[
                    torch.isin(places, study.images.numbers[study.images.sets[each]])
                ].mean(dim=0)
                for each in ("candidate", "shared")
            }
    return {NEW: new, SEEN: seen}


def _rates(
    study: PairedEncoders, encoder: FrozenEncoder, modes: Modes, options: ModeMemorizationOptions
) -> dict[str, Any]:
    """Coding rate, and its reductions by instances and classes, of two views of external images."""
    rows = study.images.sets["external"]
    views = ViewPairs(
        study.images.images[rows], study.images.numbers[rows], study.views, 1,
        study.options.draw_seed, dtype=torch.float32,
    ).stacked()[:, 0]  # fmt: skip
    layer, device = late_layer(options), next(encoder.encoder.parameters()).device
    z = torch.cat(
        [
            unit_rows(encoder.features(view.to(device), [layer])[layer].double().cpu())
            for view in views.unbind(1)
        ]
    )
    places = study.images.numbers[rows] - len(study.images.data.images)
    classes = _labels(study.images.held_out)[places].repeat(2)
    groups = {"instance": instance_groups(len(rows), views=2), "class": classes}
    return {
        "rate": coding_rate_by_mode(z, modes.basis, options.eps),
        **{
            f"{name}_reduction": coding_rate_reduction_by_mode(z, labels, modes.basis, options.eps)
            for name, labels in groups.items()
        },
    }


def _accuracies(
    turned: Mapping[str, torch.Tensor],
    parts: Mapping[str, Images],
    fitted: str,
    removed: Mapping[str, Mapping[str, list[list[int]]]],
) -> dict[str, Any]:
    """Accuracies of probes of some modes, fitted on one set of images, by what is left.

    ``all``; ``first``, ``only`` and ``without``, a list over bands: the modes up to the end of the
    band, those of the band, all others; ``each``, all modes but one, for the first of them; and
    ``removed`` by share and choice, means over draws.
    """
    size = turned["test"].shape[1]
    everything = np.arange(size)

    def probed(kept: Any) -> dict[str, float]:
        columns = torch.as_tensor(kept)
        probes = probe_layers(
            {"z": turned[fitted][:, columns]},
            _labels(parts[fitted]),
            {"z": turned["test"][:, columns]},
            _labels(parts["test"]),
            penalties=(_PENALTY,),
        )["z"]
        return {name: probe.accuracy for name, probe in probes.items()}

    def over_draws(draws: list[list[int]]) -> dict[str, float]:
        each = [probed(np.delete(everything, modes)) for modes in draws]
        return {name: float(np.mean([one[name] for one in each])) for name in each[0]}

    of_bands = bands(size)
    whole = probed(everything)
    several = len(of_bands) > 1
    return {
        "all": whole,
        "first": [probed(everything[: band.stop]) for band in of_bands[:-1]] + [whole],
        "only": [probed(everything[band]) for band in of_bands],
        "without": [probed(np.delete(everything, band)) for band in of_bands] if several else [],
        "each": [probed(np.delete(everything, mode)) for mode in range(min(_EACH, size))]
        if several
        else [],
        "removed": {
            share: {name: over_draws(draws) for name, draws in choices.items()}
            for share, choices in removed.items()
        },
    }
