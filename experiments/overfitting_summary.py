"""Whether a layer's accuracy falls after its peak, and whether a label-free signal follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from scipy.stats import t as student

from experiments.overfitting_curves import ACCURACIES, Array, Curves
from experiments.train_options import TrainOptions, training_options
from sslsim.training_options import flow_time

_LEAST = 4  # checkpoints of which a rank correlation says something
# What runs of one group may differ in: the seed, and what leaves the training alone.
_FREE: tuple[str, ...] = ("seed", "out", "root", "device", "records", "probe", "evaluate", "layers")
_FREE += ("checkpoint_every", "checkpoints_kept", "compile", "channels_last")


def rank_correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation, ties given their mean rank.

    Parameters
    ----------
    x, y : array_like, shape (k,)
        Paired values.

    Returns
    -------
    float
        NaN for fewer than four pairs, or where either is constant.

    Examples
    --------
    >>> rank_correlation([1, 2, 3, 4], [1, 8, 27, 64]), rank_correlation([1, 2, 3, 4], [5, 4, 3, 0])
    (1.0, -1.0)
    """
    ranks = [rankdata(values) for values in (x, y)]
    if len(ranks[0]) < _LEAST or min(np.ptp(ranks, axis=1)) == 0:
        return float("nan")
    a, b = (rank - rank.mean() for rank in ranks)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def falls_by_other_peaks(accuracy: ArrayLike) -> Array:
    """How far each run falls to its end from where the other runs peak on average.

    Parameters
    ----------
    accuracy : array_like, shape (s, k)
        Of one layer in s runs at the same k checkpoints.

    Returns
    -------
    ndarray, shape (s,)
        Free of the choice of the highest of k noisy values, by which a run's own peak less its end
        is never negative; NaN for one run.

    Examples
    --------
    >>> falls_by_other_peaks([[0.2, 0.6, 0.5], [0.2, 0.5, 0.4]]).round(3).tolist()
    [0.1, 0.1]
    >>> falls_by_other_peaks([[0.2, 0.5]]).tolist()
    [nan]
    """
    values = np.asarray(accuracy, dtype=float)
    if len(values) < 2:
        return np.full(len(values), np.nan)
    others = values.sum(axis=0) - values  # up to a factor, the mean over the others
    return values[np.arange(len(values)), others.argmax(axis=1)] - values[:, -1]


def interval(values: ArrayLike, level: float) -> dict[str, Any]:
    """Mean over runs and Student's interval of it, seeds being the unit.

    Parameters
    ----------
    values : array_like, shape (s, ...)
        Of s runs; NaN where one has none.
    level : float
        Confidence level.

    Returns
    -------
    dict
        ``mean``, ``low``, ``high`` and ``count``, ndarrays of shape (...); no interval, and no
        mean, of too few values is NaN.

    Examples
    --------
    >>> found = interval([1.0, 2.0, 3.0], 0.9)
    >>> float(found["mean"]), round(float(found["low"]), 3), int(found["count"])
    (2.0, 0.314, 3)
    """
    values = np.asarray(values, dtype=float)
    known = np.isfinite(values)
    count = known.sum(axis=0)
    filled = np.where(known, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(axis=0) / count
        squares = np.where(known, (values - mean) ** 2, 0.0).sum(axis=0)
        error = np.sqrt(squares / (count - 1) / count)
    half = np.where(
        count > 1, student.ppf((1 + level) / 2, np.maximum(count - 1, 1)) * error, np.nan
    )
    return {"mean": mean, "low": mean - half, "high": mean + half, "count": count}


def summarise_run(curves: Curves) -> dict[str, Any]:
    """Peaks, falls and rank correlations of one run.

    Parameters
    ----------
    curves : Curves
        Of the run.

    Returns
    -------
    dict
        As under ``runs`` in ``experiments/docs/overfitting.md``.
    """
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
    """Means over runs that differ by their seed only.

    Parameters
    ----------
    curves : sequence of Curves
        Of all runs.
    runs : sequence of dict
        :func:`summarise_run` of each.
    level : float
        Confidence level of intervals.

    Returns
    -------
    list of dict
        As under ``groups`` in ``experiments/docs/overfitting.md``, in the order of the runs.

    Raises
    ------
    ValueError
        If two runs do not even differ by their seed.
    """
    keys = [_settings(one.trained) for one in curves]
    distinct = [key for place, key in enumerate(keys) if key not in keys[:place]]
    differing = [name for name in keys[0] if len({repr(key[name]) for key in distinct}) > 1]
    found = []
    for key in distinct:
        members = [place for place, other in enumerate(keys) if other == key]
        seeds = [curves[place].trained.seed for place in members]
        for place, seed in zip(members, seeds, strict=True):
            first = members[seeds.index(seed)]
            if first != place:
                raise ValueError(
                    f"{curves[first].run} and {curves[place].run} were trained alike, with seed "
                    f"{seed}; expected runs of different seeds or options"
                )
        held = [runs[place] for place in members]
        same = len({one["steps"] for one in held}) == 1
        means: dict[str, Any] = {}
        for name in ACCURACIES:
            means[f"{name}_fall"] = interval([one[f"{name}_fall"] for one in held], level)
            ends = [curves[place].accuracies[name][:, -1] for place in members]
            means[f"{name}_end"] = interval(ends, level)
            tops = [curves[place].accuracies[name].max(axis=1) for place in members]
            means[f"{name}_peak"] = interval(tops, level)
            if same:
                stacked = np.array([curves[place].accuracies[name] for place in members])
                fell = np.stack([falls_by_other_peaks(layer) for layer in stacked.swapaxes(0, 1)])
                means[f"{name}_fall_by_others"] = interval(fell.T, level)
        correlations = {
            name: {
                signal: {
                    span: interval([one["correlations"][name][signal][span] for one in held], level)
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
                "seeds": seeds,
                "layers": held[0]["layers"],
                **means,
                "correlations": correlations,
            }
        )
    return found


def _settings(trained: TrainOptions) -> dict[str, Any]:
    return {name: value for name, value in asdict(trained).items() if name not in _FREE}


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
