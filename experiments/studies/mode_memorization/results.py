"""Numbers of encoder pairs and their intervals: what ``memorization_modes.json`` holds.

The keys are explained in ``experiments/docs/memorization_modes.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.studies.mode_memorization.options import CONTROL
from experiments.studies.mode_memorization.scores import (
    FORMS,
    NEW,
    SEEN,
    bands,
    correlation,
    mode_scores,
)
from sslsim.measures.intervals import interval_summary, mean_interval

Array = NDArray[np.float64]
Section = dict[str, Array]

PROBES = ("linear", "knn")
FITTED = ("unseen", "own")
_CONTRASTS = (
    ("most", "random"),
    ("most", "least"),
    ("least", "random"),
    ("most_absolute", "random"),
    ("most_absolute", "least_absolute"),
    ("first", "random"),
    ("last", "random"),
    ("last", "first"),
    ("more", "less"),
)


def pair_numbers(part: Mapping[str, Any]) -> dict[str, Section]:
    """Numbers of one pair: by mode (k,), by band (b,), and single ones."""
    variance = {
        name: np.asarray(values, dtype=np.float64) for name, values in part["variance"].items()
    }
    distances, size = part["distances"], len(variance["f"])
    modes: Section = {
        "variance": variance["f"],
        "class_share": np.asarray(part["class_share"]),
        **{name: np.asarray(values) for name, values in part["rates"].items()},
    }
    in_bands: Section = {}
    single: Section = {name: np.asarray(np.sum(values)) for name, values in part["rates"].items()}
    half = size // 2
    halves = {"_first_half": slice(half), "_last_half": slice(half, None)} if half else {}
    ranges = {"": slice(None), **halves}
    for name, arguments in _kinds(distances).items():
        for form, values in mode_scores(distances, variance, **arguments).items():
            modes[f"{name}_{form}"] = values
        for form in FORMS:
            in_bands[f"{name}_{form}"] = np.array(
                [_scores_of(distances, variance, band, arguments)[form] for band in bands(size)]
            )
            for suffix, places in ranges.items():
                found = _scores_of(distances, variance, places, arguments)[form]
                single[f"{name}_{form}{suffix}"] = np.asarray(found)
            if halves:
                single[f"{name}_{form}_last_less_first"] = (
                    single[f"{name}_{form}_last_half"] - single[f"{name}_{form}_first_half"]
                )
    for name in ("instance_reduction", "class_reduction", "rate"):
        in_bands[name] = np.array([np.sum(modes[name][band]) for band in bands(size)])
    in_bands["class_share"] = np.array(
        [np.mean(modes["class_share"][band]) for band in bands(size)]
    )
    relative = modes[f"{SEEN if SEEN in distances else NEW}_relative"]
    order = variance["f"]
    single["memorization_variance_correlation"] = np.asarray(correlation(relative, order))
    single["memorization_class_correlation"] = np.asarray(
        correlation(relative, modes["class_share"])
    )
    single["memorization_class_correlation_given_variance"] = np.asarray(
        correlation(relative, modes["class_share"], order)
    )
    for fitted in FITTED:
        for probe in PROBES:
            accuracies = part["accuracies"][fitted]
            name = f"{probe}_{fitted}"
            whole = single[name] = np.asarray(accuracies["all"][probe])
            for which in ("first", "only", "without"):
                in_bands[f"{name}_{which}"] = np.array([each[probe] for each in accuracies[which]])
            if accuracies["each"]:
                alone = np.array([each[probe] for each in accuracies["each"]]) - whole
                modes[f"{name}_without_mode"] = alone
                single[f"{name}_without_mode_correlation"] = np.asarray(
                    correlation(relative[: len(alone)], -alone)
                )
            for share, choices in accuracies["removed"].items():
                changes = {
                    which: np.asarray(each[probe]) - whole for which, each in choices.items()
                }
                for which, change in changes.items():
                    single[f"{name}_removed_{which}_{share}"] = change
                for one, another in _CONTRASTS:
                    if one in changes and another in changes:
                        single[f"{name}_removed_{one}_less_{another}_{share}"] = (
                            changes[one] - changes[another]
                        )
    return {"modes": modes, "bands": in_bands, "numbers": single}


def _kinds(distances: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Kinds of memorisation by name: new or seen views, g's modes by rank or aligned with f's."""
    kinds = {}
    for views in distances:
        kinds[views] = {"views": views}
        kinds[f"{views}_aligned"] = {"views": views, "other": "aligned"}
    if SEEN in distances:
        kinds["seen_shared"] = {"views": SEEN, "above": "shared"}
    return kinds


def _scores_of(
    distances: Mapping[str, Any],
    variance: Mapping[str, ArrayLike],
    places: slice,
    arguments: Mapping[str, str],
) -> dict[str, float]:
    """Scores of several modes taken together."""
    summed = {
        views: {
            encoder: {name: [np.sum(np.asarray(d)[places])] for name, d in sets.items()}
            for encoder, sets in by_encoder.items()
        }
        for views, by_encoder in distances.items()
    }
    whole = {name: [np.sum(np.asarray(values)[places])] for name, values in variance.items()}
    return {form: float(v[0]) for form, v in mode_scores(summed, whole, **arguments).items()}


def summarised(
    parts: Mapping[str, Sequence[Mapping[str, Any]]], level: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """States with intervals over pairs, and paired changes from the control and from before."""
    by_state = {
        state: [pair_numbers(part) for part in of_state] for state, of_state in parts.items()
    }
    states = {
        state: {
            section: {
                name: _summary([pair[section][name] for pair in pairs], level)
                for name in pairs[0][section]
            }
            for section in pairs[0]
        }
        for state, pairs in by_state.items()
    }
    changes: dict[str, Any] = {}
    for state, pairs in by_state.items():
        for other in ("before", CONTROL):
            if state == "before" or other == state:
                continue
            changes.setdefault(state, {})[f"from_{other}"] = {
                section: {
                    name: _summary(
                        [
                            here[section][name] - there[section][name]
                            for here, there in zip(pairs, by_state[other], strict=True)
                        ],
                        level,
                    )
                    for name in pairs[0][section]
                }
                for section in ("bands", "numbers")
            }
    return states, changes


def _summary(values: Sequence[Array], level: float) -> dict[str, Any]:
    """Mean over pairs with its interval; of single numbers also the values."""
    if np.ndim(values[0]) == 0:
        return interval_summary([float(value) for value in values], level)
    over = mean_interval(np.stack(values), level)
    return {"mean": over.mean, "low": over.low, "high": over.high}
