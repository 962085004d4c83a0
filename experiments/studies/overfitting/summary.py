"""Means over runs that differ by their seed only, of peaks, falls and correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sslsim.measures.intervals import mean_interval
from sslsim.runs.layers.curves import ACCURACIES, LayerCurves, falls_by_other_peaks
from sslsim.runs.replicates import learning_settings, seed_groups


def _interval(values: ArrayLike, level: float) -> dict[str, Any]:
    """Mean over runs and its interval, under the keys of ``overfitting.json``."""
    mean, low, high, _, count = mean_interval(values, level, omit_missing=True)
    return {"mean": mean, "low": low, "high": high, "count": count}


def summarise_groups(
    curves: Sequence[LayerCurves], runs: Sequence[Mapping[str, Any]], level: float
) -> list[dict[str, Any]]:
    """Means over runs that differ by their seed only."""
    groups = seed_groups([of_run.run for of_run in curves], [of_run.trained for of_run in curves])
    keys = [learning_settings(asdict(curves[members[0]].trained)) for members in groups]
    differing = [name for name in keys[0] if len({repr(key[name]) for key in keys}) > 1]
    summaries = []
    for key, members in zip(keys, groups, strict=True):
        of_group = [runs[place] for place in members]
        same = len({run["steps"] for run in of_group}) == 1
        means: dict[str, Any] = {}
        for name in ACCURACIES:
            means[f"{name}_fall"] = _interval([run[f"{name}_fall"] for run in of_group], level)
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
                        [run["correlations"][name][signal][span] for run in of_group], level
                    )
                    for span in ("all", "after_peak")
                }
                for signal in of_group[0]["correlations"][name]
            }
            for name in ACCURACIES
        }
        summaries.append(
            {
                "label": _label(key, differing),
                "options": {name: key[name] for name in differing},
                "runs": members,
                "seeds": [curves[place].trained.seed for place in members],
                "layers": of_group[0]["layers"],
                **means,
                "correlations": correlations,
            }
        )
    return summaries


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
