"""What the modes of networks mean, and what they are good for: ``sslsim modes``.

The keys of ``modes.json`` are explained in ``experiments/docs/modes.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from experiments.studies.kernels.across_runs import check_same_images
from experiments.studies.modes.augmentations import linear_modes_by_part
from experiments.studies.modes.networks import (
    NetworkModes,
    held_out_images,
    network_modes,
    statistics_of,
)
from experiments.studies.modes.options import ModesOptions
from sslsim.core.files import write_arrays, write_json
from sslsim.measures.intervals import mean_interval
from sslsim.measures.modes.overlap import mode_overlaps
from sslsim.runs.folder import check_folder, new_results
from sslsim.runs.networks import check_different
from sslsim.runs.options import TrainOptions, network_name
from sslsim.runs.replicates import seed_groups
from sslsim.runs.trained_run import TrainedRun

_RESULTS = ("modes.json", "modes.npz", "modes.png", "mode_images.png", "mode_overlap.png")
_FEWEST = 30  # images for a test


def measure_modes(options: ModesOptions) -> Path:
    """Measure the modes of runs, and sum up over seeds."""
    _check(options)
    check_folder(options.out, "modes", _RESULTS)
    runs = [TrainedRun.open(folder, options.root) for folder in options.run]
    check_same_images(runs)
    runs = [runs[0], *(replace(run, images_of=runs[0]) for run in runs[1:])]
    groups = seed_groups(options.run, [run.options for run in runs])
    labels = group_labels([runs[group[0]] for group in groups])
    for run in runs:
        run.step_at(options.checkpoint)
    held_out, grey = held_out_images(runs[0], options.samples)
    if len(held_out.images) < _FEWEST:
        raise ValueError(
            f"{len(held_out.images)} held-out images are measured; expected at least {_FEWEST}"
        )
    quiet = not sys.stderr.isatty()
    measured = [
        network_modes(run, held_out, options)
        for run in tqdm(runs, desc="networks", disable=quiet, file=sys.stderr)
    ]
    dropped = None
    if options.augmentations is not None:
        statistics = statistics_of(held_out)
        dropped = linear_modes_by_part(runs[0], held_out, statistics, options)
    result = {
        "data": runs[0].options.data,
        "images": len(held_out.images),
        "grey_images": grey,
        "interval_level": options.interval_level,
        "significance": options.significance,
        "runs": [network.result for network in measured],
        "groups": [
            {
                "label": label,
                "runs": group,
                **_over_seeds([measured[place].result for place in group], options),
            }
            for label, group in zip(labels, groups, strict=True)
        ],
        "overlap": _overlap(measured, groups, labels) if len(runs) > 1 else None,
        "augmentations": dropped,
    }
    arrays = {f"values_{place}": network.values for place, network in enumerate(measured)}
    with new_results(options.out, "modes", options, results=_RESULTS) as folder:
        write_arrays(folder / "modes.npz", ends=measured[0].ends, **arrays)
        write_json(folder / "modes.json", result)
    return options.out


def _check(options: ModesOptions) -> None:
    if not options.run:
        raise ValueError("no run is given; expected --run DIR, a folder of sslsim train")
    check_different("run", options.run)
    if options.modes < 1:
        raise ValueError(f"modes is {options.modes}; expected at least 1")
    for name in ("samples", "probed", "pairs"):
        if getattr(options, name) < _FEWEST:
            raise ValueError(f"{name} is {getattr(options, name)}; expected at least {_FEWEST}")
    for name in ("interval_level", "significance"):
        if not 0 < getattr(options, name) < 1:
            raise ValueError(
                f"{name.replace('_', '-')} is {getattr(options, name)}; expected a number between "
                "0 and 1"
            )
    if options.seed < 0:
        raise ValueError(f"seed is {options.seed}; expected at least 0")
    if options.augmentations is None and options.pairs != ModesOptions.pairs:
        raise ValueError(f"pairs is {options.pairs}; expected it with --augmentations only")


def group_labels(runs: Sequence[TrainedRun]) -> list[str]:
    """A label for every group: its method, and network and views where these differ."""

    def described(options: TrainOptions, views: str) -> list[str]:
        return [options.method, network_name(options), views.rpartition(":")[2]]

    rows = [described(run.options, run.views) for run in runs]
    differing = [0, *(column for column in (1, 2) if len({row[column] for row in rows}) > 1)]
    labels = [", ".join(row[column] for column in differing) for row in rows]
    return [
        label if labels.count(label) == 1 else f"{label} ({labels[: place + 1].count(label)})"
        for place, label in enumerate(labels)
    ]


def _over_seeds(results: list[dict[str, Any]], options: ModesOptions) -> dict[str, Any]:
    """Means over seeds with their intervals, of sizes of correlations, shares and accuracies."""

    def summed(values: list[Any]) -> dict[str, Any]:
        over = mean_interval(values, options.interval_level)
        return {"mean": over.mean, "low": over.low, "high": over.high}

    def sizes(values: list[Any]) -> dict[str, Any]:
        return size_interval(values, options.interval_level)

    first = results[0]
    of_parts: dict[str, Any] = {}
    for name in ("explained", "accuracy"):
        whole = all(result[name] is not None for result in results)
        of_parts[name] = (
            {key: sizes([result[name][key] for result in results]) for key in first[name]}
            if whole
            else None
        )
    gain = None
    if of_parts["accuracy"] is not None:
        scores = [result["accuracy"] for result in results]
        gain = {
            other: summed([score["first"] - score[other] for score in scores])
            for other in ("random", "untrained")
            if other in scores[0]
        }
    significant = [result["p_value"] <= options.significance for result in results]
    return {
        "seeds": [result["seed"] for result in results],
        "statistics": first["statistics"],
        "counts": first["counts"],
        "correlation": sizes([np.abs(result["correlation"]) for result in results]),
        "significant": np.sum(significant, axis=0),
        **of_parts,
        "gain": gain,
    }


def size_interval(values: ArrayLike, level: float) -> dict[str, Any]:
    """Mean of values between 0 and 1 over seeds, with an interval that stays between 0 and 1.

    Parameters
    ----------
    values : array_like, shape (seeds, ...)
        Sizes of correlations, shares or accuracies.
    level : float
        Level of the interval.

    Returns
    -------
    dict of str to ndarray
        ``mean``, and ``low`` and ``high``: Student's interval of Fisher's z of the mean, whose
        standard error is that of the mean over 1 - mean^2, transformed back; never below 0.

    Raises
    ------
    ValueError
        As :func:`sslsim.measures.intervals.mean_interval`.

    Examples
    --------
    >>> found = size_interval([0.6, 0.7, 0.8], 0.9)
    >>> [round(float(found[key]), 2) for key in ("mean", "low", "high")]
    [0.7, 0.49, 0.83]
    """
    over = mean_interval(values, level)
    below = np.minimum(over.mean, np.nextafter(1.0, 0.0))  # z of 1 is infinite
    half = (over.high - over.low) / 2 / (1 - below**2)
    low, high = (np.tanh(np.arctanh(below) + sign * half) for sign in (-1, 1))
    return {"mean": over.mean, "low": np.maximum(low, 0.0), "high": high}


def _overlap(
    measured: list[NetworkModes], groups: list[list[int]], labels: list[str]
) -> dict[str, Any]:
    """Overlap of the first modes of all networks, the untrained ones last."""
    of_run = {place: label for label, group in zip(labels, groups, strict=True) for place in group}
    names = [f"{of_run[i]} (seed {m.result['seed']})" for i, m in enumerate(measured)]
    kinds = [of_run[place] for place in range(len(measured))]
    values = [network.values for network in measured]
    for place, network in enumerate(measured):
        start = network.untrained
        # Runs of one seed and network often start alike, up to a scale: one of them is enough.
        if start is None or any(_same(start, other) for other in values[len(measured) :]):
            continue
        values.append(start)
        names.append(f"untrained ({names[place]})")
        kinds.append("untrained")
    second = sorted(max(network.result["counts"]) for network in measured)[-2]
    counts = sorted({k for m in measured for k in m.result["counts"] if k <= second})
    matrix = mode_overlaps(values, counts)
    order = list(dict.fromkeys(kinds))
    table = [[_between(matrix, kinds, a, b) for b in order] for a in order]
    return {
        "counts": counts,
        "chance": np.array(counts) / (len(values[0]) - 1),
        "networks": names,
        "network_labels": kinds,
        "network_overlap": matrix,
        "labels": order,
        **{
            key: np.array([[cell[place] for cell in row] for row in table]).transpose(2, 0, 1)
            for place, key in enumerate(("mean", "lowest", "highest"))
        },
    }


def _same(values: Any, other: Any) -> bool:
    """Whether the modes of two networks span the same functions."""
    if values.shape != other.shape:
        return False
    return bool(mode_overlaps([values, other], [values.shape[1]])[0, 0, 1] > 1 - 1e-6)


def _between(matrix: Any, kinds: list[str], first: str, second: str) -> Any:
    """Mean, least and greatest overlap of two groups' networks, (3, counts); NaN of none."""
    chosen = [
        matrix[:, i, j]
        for i, a in enumerate(kinds)
        for j, b in enumerate(kinds)
        if i != j and (a, b) == (first, second)
    ]
    if not chosen:
        return np.full((3, len(matrix)), np.nan)
    return np.array([np.mean(chosen, axis=0), np.min(chosen, axis=0), np.max(chosen, axis=0)])
