"""The next step, foretold while a network trains: ``sslsim train --forecast``.

Each snapshot forecasts from the recorded curves so far, which costs milliseconds and changes no bit
of the training. The record gets the mode that is next in line, the flow time of its step and the
interval.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.studies.forecasts.curves import NEXT, CurveForecast, curve_forecasts
from experiments.studies.forecasts.forecasters import CURVES
from experiments.studies.forecasts.intervals import read_calibration, scores_for
from experiments.studies.forecasts.laws import learning_rate, momentum_of
from experiments.studies.forecasts.moments import JUDGED
from sslsim.runs.options import TrainOptions
from sslsim.runs.setup import recorded_spectrum
from sslsim.training.loop import Watch

_LEVEL = 0.9
_KEYS = ("next_mode", "next_step", "next_step_low", "next_step_high")
_CLOSER = 0.5  # of the remaining time: then it is told again


def next_step_watch(options: TrainOptions) -> Watch:
    """Function that adds a forecast to each record of a run, and tells it as it changes."""
    name, momentum = recorded_spectrum(options), momentum_of(options)
    scores = scores_for(read_calibration(), options.method, CURVES)
    told = {"mode": 0.0, "left": np.inf}

    def watch(
        record: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], arrays: Mapping[str, Any]
    ) -> dict[str, Any]:
        times = np.array([line["time"] for line in lines] + [record["time"]])
        lam = np.stack([*arrays.get(name, []), record[name]]).astype(float)
        rate = learning_rate(options, record["step"])
        found = curve_forecasts(times, lam, rate, momentum, options.method, scores, _LEVEL)
        entry = next((one for one in found if one.state == NEXT and one.lam >= JUDGED), None)
        if entry is None or not np.isfinite(entry.step):
            return dict.fromkeys(_KEYS)
        left = entry.step - record["time"]
        if entry.mode != told["mode"] or left < _CLOSER * told["left"]:
            told.update(mode=entry.mode, left=left)
            updates = left * (1 - momentum) / rate
            tqdm.write(_sentence(entry, record["step"], updates), file=sys.stdout)
        told_now = (entry.mode, entry.step, entry.low, entry.high)
        return dict(zip(_KEYS, told_now, strict=True))

    return watch


def _sentence(entry: CurveForecast, step: int, updates: float) -> str:
    ends = "" if np.isinf(entry.high) else f" ({entry.low:.4g} to {entry.high:.4g})"
    return (
        f"update {step}: mode {entry.mode} is next, at flow time {entry.step:.4g}{ends}, in about "
        f"{updates:.0f} updates"
    )
