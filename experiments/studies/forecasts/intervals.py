"""Intervals that hold: conformal, from how forecasts of other runs came out, then of this run.

A forecast's score is |ln(measured / forecast)| of the remaining time. If the scores of other runs
and the next one are exchangeable, the next is at most their k-th smallest with probability
k / (n + 1): a guarantee for every distribution (split conformal prediction, arXiv 2107.07511).
The scores that the run itself has shown count several times, as they tell more.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sslsim.core.files import read_json

_SHIPPED = Path(__file__).with_name("calibration.json")
_OWN_WEIGHT = 4  # other runs' scores that one of the run's own is worth


def read_calibration(path: Path | None = None) -> dict[str, Any]:
    """Scores of other runs: ``runs``, and ``scores`` of run, method, state and score.

    Raises ValueError if the file is no calibration.
    """
    content = read_json(_SHIPPED if path is None else path)
    scores = content.get("scores") if isinstance(content, dict) else None
    if not isinstance(scores, list) or not all(_is_score(entry) for entry in scores):
        raise ValueError(
            f"{path} is no calibration; expected calibration.json of sslsim forecast --calibrate"
        )
    return dict(content)


def run_name(folder: Path) -> str:
    """Name of a run in a calibration: its folder and the one that this is in.

    >>> run_name(Path("/runs/seed0/train"))
    'seed0/train'
    """
    return "/".join(folder.resolve().parts[-2:])


def scores_for(
    calibration: dict[str, Any], method: str | None, state: str, leave_out: str | None = None
) -> list[float]:
    """Scores of other runs by a method, or by any, and in a state.

    Those of a run with the name ``leave_out`` do not count: it may be the very run.
    """
    return [
        float(entry["score"])
        for entry in calibration["scores"]
        if entry["state"] == state
        and entry["run"] != leave_out
        and method in (None, entry["method"])
    ]


def interval_factor(others: Sequence[float], own: Sequence[float], level: float) -> float:
    """Factor up and down that holds the next remaining time at a level, by scores seen before.

    Infinite if there are too few scores for the level.
    """
    scores = sorted([*others, *(score for score in own for _ in range(_OWN_WEIGHT))])
    place = math.ceil((len(scores) + 1) * level - 1e-9)
    return math.exp(scores[place - 1]) if place <= len(scores) else math.inf


def calibration_of(entries: Iterable[dict[str, Any]], command: str) -> dict[str, Any]:
    """Calibration file of some scores."""
    scores = sorted(entries, key=lambda entry: (entry["method"], entry["run"], entry["mode"]))
    return {
        "command": command,
        "runs": sorted({entry["run"] for entry in scores}),
        "scores": json.loads(json.dumps(scores)),
    }


def _is_score(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(key), str) for key in ("run", "method", "state"))
        and isinstance(entry.get("score"), (int, float))
        and math.isfinite(entry["score"])
        and entry["score"] >= 0
    )
