"""Whether a layer's accuracy falls after its peak, and whether a label-free signal follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from experiments.studies.overfitting.measures import GROUPS, SPLITS
from sslsim.measures.intervals import mean_interval
from sslsim.runs.options import TrainOptions, training_options
from sslsim.runs.replicates import learning_settings, seed_groups
from sslsim.training.options import flow_time

Array = NDArray[np.float64]

ACCURACIES = ("linear", "knn")


@dataclass(frozen=True, eq=False)
class Curves:
    """What was measured over the training of a run.

    Attributes
    ----------
    run : Path
        Its folder.
    trained : TrainOptions
        What it was trained with.
    layers : tuple of str
        From early to late; L of them.
    steps : tuple of int
        Updates at the k checkpoints, ascending.
    accuracies, errors : dict of str to ndarray, shape (L, k)
        By probe (``linear``, ``knn``), on test images, and their standard errors.
    rates : dict of str to dict of str to ndarray, shape (e, L, k)
        ``coding_rate``, and Delta R by ``instance`` and ``class`` groups, of ``test`` and ``train``
        images, at each of e distortions.
    images : int
        Of a split, in the rates.
    """

    run: Path
    trained: TrainOptions
    layers: tuple[str, ...]
    steps: tuple[int, ...]
    accuracies: dict[str, Array]
    errors: dict[str, Array]
    rates: dict[str, dict[str, Array]]
    images: int

    @property
    def signals(self) -> dict[str, Array]:
        """Label-free signals, controls among them, each of shape (e, L, k).

        ``instance`` and ``class``: Delta R on test images. ``gap``: by instances, on training
        images less on test images. ``updates``: their number, which knows nothing of the network.
        """
        rates = self.rates
        instance = rates["instance"]
        updates = np.broadcast_to(np.array(self.steps, dtype=float), instance["test"].shape)
        gap = instance["train"] - instance["test"]
        tests = {groups: rates[groups]["test"] for groups in GROUPS}
        return {**tests, "gap": gap, "updates": updates}


def read_curves(run: Path, trained: TrainOptions, lines: Sequence[Mapping[str, Any]]) -> Curves:
    """Put the measurements of a run's checkpoints together."""
    layers = tuple(lines[0]["layers"])

    def numbers(name: str) -> Array:
        return np.array([[line["layers"][layer][name] for line in lines] for layer in layers])

    rates: dict[str, dict[str, Array]] = {}
    for name in ("coding_rate", *GROUPS):
        rates[name] = {}
        for split in SPLITS:
            found = [[line["layers"][layer][name][split] for line in lines] for layer in layers]
            rates[name][split] = np.moveaxis(np.array(found, dtype=float), 2, 0)
    return Curves(
        run=run,
        trained=trained,
        layers=layers,
        steps=tuple(line["step"] for line in lines),
        accuracies={name: numbers(name) for name in ACCURACIES},
        errors={name: numbers(f"{name}_error") for name in ACCURACIES},
        rates=rates,
        images=lines[0]["images"],
    )


_LEAST = 4  # checkpoints of which a rank correlation says something


def rank_correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation, ties given their mean rank."""
    ranks = [rankdata(values) for values in (x, y)]
    if len(ranks[0]) < _LEAST or min(np.ptp(ranks, axis=1)) == 0:
        return float("nan")
    a, b = (rank - rank.mean() for rank in ranks)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def falls_by_other_peaks(accuracy: ArrayLike) -> Array:
    """How far each run falls to its end from where the other runs peak on average."""
    values = np.asarray(accuracy, dtype=float)
    if len(values) < 2:
        return np.full(len(values), np.nan)
    others = values.sum(axis=0) - values  # up to a factor, the mean over the others
    return values[np.arange(len(values)), others.argmax(axis=1)] - values[:, -1]


def _interval(values: ArrayLike, level: float) -> dict[str, Any]:
    """Mean over runs and its interval, under the keys of ``overfitting.json``."""
    mean, low, high, _, count = mean_interval(values, level, omit_missing=True)
    return {"mean": mean, "low": low, "high": high, "count": count}


def summarise_run(curves: Curves) -> dict[str, Any]:
    """Peaks, falls and rank correlations of one run."""
    found: dict[str, Any] = {
        "run": curves.run,
        "seed": curves.trained.seed,
        "layers": curves.layers,
        "steps": curves.steps,
        "times": [flow_time(training_options(curves.trained), step) for step in curves.steps],
        "images": curves.images,
        **curves.accuracies,
        **{f"{name}_error": errors for name, errors in curves.errors.items()},
        **curves.rates,
        "correlations": {},
    }
    for name, accuracy in curves.accuracies.items():
        errors, rows = curves.errors[name], np.arange(len(accuracy))
        peak = accuracy.argmax(axis=1)
        found[f"{name}_peak_step"] = np.array(curves.steps)[peak]
        found[f"{name}_fall"] = accuracy[rows, peak] - accuracy[:, -1]
        found[f"{name}_fall_error"] = np.hypot(errors[rows, peak], errors[:, -1])
        found["correlations"][name] = {
            signal: {
                span: [
                    [
                        rank_correlation(values[layer, start:], accuracy[layer, start:])
                        for layer, start in enumerate(starts)
                    ]
                    for values in per_eps
                ]
                for span, starts in (("all", 0 * peak), ("after_peak", peak))
            }
            for signal, per_eps in curves.signals.items()
        }
    return found


def summarise_groups(
    curves: Sequence[Curves], runs: Sequence[Mapping[str, Any]], level: float
) -> list[dict[str, Any]]:
    """Means over runs that differ by their seed only."""
    groups = seed_groups([of_run.run for of_run in curves], [of_run.trained for of_run in curves])
    keys = [learning_settings(asdict(curves[members[0]].trained)) for members in groups]
    differing = [name for name in keys[0] if len({repr(key[name]) for key in keys}) > 1]
    found = []
    for key, members in zip(keys, groups, strict=True):
        held = [runs[place] for place in members]
        same = len({one["steps"] for one in held}) == 1
        means: dict[str, Any] = {}
        for name in ACCURACIES:
            means[f"{name}_fall"] = _interval([one[f"{name}_fall"] for one in held], level)
            ends = [curves[place].accuracies[name][:, -1] for place in members]
            means[f"{name}_end"] = _interval(ends, level)
            tops = [curves[place].accuracies[name].max(axis=1) for place in members]
            means[f"{name}_peak"] = _interval(tops, level)
            if same:
                stacked = np.array([curves[place].accuracies[name] for place in members])
                fell = np.stack([falls_by_other_peaks(layer) for layer in stacked.swapaxes(0, 1)])
                means[f"{name}_fall_by_others"] = _interval(fell.T, level)
        correlations = {
            name: {
                signal: {
                    span: _interval(
                        [one["correlations"][name][signal][span] for one in held], level
                    )
                    for span in ("all", "after_peak")
                }
                for signal in held[0]["correlations"][name]
            }
            for name in ACCURACIES
        }
        found.append(
            {
                "label": _label(key, differing),
                "options": {name: key[name] for name in differing},
                "runs": members,
                "seeds": [curves[place].trained.seed for place in members],
                "layers": held[0]["layers"],
                **means,
                "correlations": correlations,
            }
        )
    return found


def _label(key: Mapping[str, Any], differing: Sequence[str]) -> str:
    parts = [str(key["method"]), Path(key["data"]).name]
    for name in differing:
        if name not in ("method", "data"):
            value = key[name]
            if value is None or value is False:  # the default, or a switch that is off
                continue
            text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            shown = name.replace("_", " ")
            # Names speak for themselves, numbers do not, and a switch is its name.
            parts.append(
                text if isinstance(value, str) else shown if value is True else shown + " " + text
            )
    return ", ".join(parts)
