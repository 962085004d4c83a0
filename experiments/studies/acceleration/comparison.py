"""What a way to train gains over the plain one: passages of curves, paired by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.studies.acceleration.arms import Arm
from experiments.studies.acceleration.options import AccelerateOptions
from experiments.studies.acceleration.training import has_plateaus
from sslsim.measures.intervals import mean_interval
from sslsim.measures.modes.overlap import mode_overlaps

Array = NDArray[np.float64]
Cell = Mapping[str, Any]

_INTERVAL = ("mean", "low", "high")
LEVEL = 0.5  # a mode is learned above it
_RANK = 0.9  # share of the dimensions
_SMOOTH = 3  # checks whose mean is an accuracy: one alone may be high by chance


def early(cell: Cell, options: AccelerateOptions) -> float:
    """How much is learned on average over a training; minus infinity where it diverged.

    The number of modes, each counted by its height up to 1; of a loss without plateaus the
    accuracy.
    """
    if cell["failed"] is not None:
        return -math.inf
    if not has_plateaus(options):
        return float(np.mean(cell["accuracy"]))
    return float(np.mean(np.clip(cell["spectrum"], 0.0, 1.0).sum(axis=1)))


def passage(steps: Sequence[float], curve: Sequence[float], level: float) -> float:
    """Updates at which a curve first reaches a level, by straight lines; infinite if never.

    >>> passage([0, 10, 20], [0.0, 0.4, 0.8], 0.6), passage([0, 10], [0.0, 0.1], 0.5)
    (15.0, inf)
    """
    values = np.asarray(curve, dtype=float)
    above = np.flatnonzero(values >= level)
    if not len(above):
        return math.inf
    at = int(above[0])
    if at == 0:
        return float(steps[0])
    share = (level - values[at - 1]) / (values[at] - values[at - 1])
    return float(steps[at - 1] + share * (steps[at] - steps[at - 1]))


def smoothed(curve: Sequence[float]) -> Array:
    """Mean of the last three checks at each.

    >>> smoothed([0.0, 3.0, 3.0, 6.0]).tolist()
    [0.0, 1.5, 2.0, 4.0]
    """
    values = np.asarray(curve, dtype=float)
    return np.array([values[max(0, k - _SMOOTH + 1) : k + 1].mean() for k in range(len(values))])


def compared(
    options: AccelerateOptions,
    arms: Sequence[Arm],
    chosen: Mapping[str, float],
    of_arms: Mapping[str, Sequence[Cell]],
    seconds: Mapping[str, Sequence[float]],
    true: Array | None,
) -> list[dict[str, Any]]:
    """One entry for every arm: passages, their ratios to the first arm's, and what it learns."""
    first = arms[0].name
    measured = [cell for cells in of_arms.values() for cell in cells if cell["steps"]]
    dim = max((len(cell["spectrum"][0]) for cell in measured), default=1)
    plain_seconds = np.asarray(seconds[first])
    targets = [_targets(cell, dim, has_plateaus(options)) for cell in of_arms[first]]
    rows = []
    for arm in arms:
        cells = of_arms[arm.name]
        cost = float(np.median(np.asarray(seconds[arm.name]) / plain_seconds))
        passages: dict[str, Any] = {}
        for name in targets[0]:
            passages[name] = _passages(name, cells, of_arms[first], targets, cost, options)
        rows.append(
            {
                "arm": arm.name,
                "rate": chosen[arm.name],
                "diverged": sum(cell["failed"] is not None for cell in cells),
                "seconds": float(np.median(seconds[arm.name])),
                "cost": cost,
                "costs": (np.asarray(seconds[arm.name]) / plain_seconds).tolist(),
                "passages": passages,
                "ends": _ends(cells, of_arms[first], options, dim, true),
                "curves": [
                    {
                        "steps": cell["steps"],
                        "modes": np.clip(cell["spectrum"], 0.0, 1.0).sum(axis=1)
                        if cell["steps"]
                        else [],
                        "accuracy": cell["accuracy"],
                        "effective_rank": cell["effective_rank"],
                    }
                    for cell in cells
                ],
            }
        )
    return rows


def _targets(cell: Cell, dim: int, plateaus: bool) -> dict[str, float]:
    """Levels to be reached, by name; the accuracy is the one that the long training ends with."""
    names = (f"mode {_half(dim)}", f"mode {max(3 * dim // 4, 1)}")
    modes = dict.fromkeys(names, LEVEL) if plateaus else {}
    # A training that diverged has no accuracy that others could reach.
    accuracy = math.inf if cell["failed"] is not None else float(smoothed(cell["accuracy"])[-1])
    return {**modes, "rank": _RANK * dim, "accuracy": accuracy}


def _half(dim: int) -> int:
    return max(dim // 2, 1)


def _curve(name: str, cell: Cell) -> Any:
    if name.startswith("mode "):
        return np.asarray(cell["spectrum"])[:, int(name.removeprefix("mode ")) - 1]
    return cell["effective_rank"] if name == "rank" else smoothed(cell["accuracy"])


def _passages(
    name: str,
    cells: Sequence[Cell],
    plain: Sequence[Cell],
    targets: Sequence[Mapping[str, float]],
    cost: float,
    options: AccelerateOptions,
) -> dict[str, Any]:
    """Updates to a target, and how many times sooner it is reached than by the first arm.

    A ratio is a lower bound where the first arm never gets there: it then stands at its last
    update. Where the first arm diverges before it gets there, or the other arm does not get there,
    it is not known, and not in the mean.
    """
    own = [_reached(name, cell, target) for cell, target in zip(cells, targets, strict=True)]
    base = [_reached(name, cell, target) for cell, target in zip(plain, targets, strict=True)]
    bounded = [updates is None for updates in base]
    known_base = [
        float(options.long) if theirs is None and cell["failed"] is None else theirs
        for theirs, cell in zip(base, plain, strict=True)
    ]
    ratios = [
        None if mine is None or theirs is None else max(theirs, 1.0) / max(mine, 1.0)
        for mine, theirs in zip(own, known_base, strict=True)
    ]
    known = [math.log(ratio) for ratio in ratios if ratio is not None]
    over = mean_interval(known, options.interval_level) if known else None
    found: dict[str, float] = {}
    if over is not None:
        found = {key: math.exp(float(getattr(over, key))) for key in _INTERVAL}
    return {
        "updates": own,
        "reached": sum(updates is not None for updates in own),
        "bounds": sum(b and r is not None for b, r in zip(bounded, ratios, strict=True)),
        "ratios": ratios,
        "sooner": {key: found.get(key) for key in _INTERVAL},
        "sooner_in_seconds": {
            key: None if found.get(key) is None else found[key] / cost for key in _INTERVAL
        },
    }


def _reached(name: str, cell: Cell, target: Mapping[str, float]) -> float | None:
    if not cell["steps"]:
        return None
    updates = passage(cell["steps"], _curve(name, cell), target[name])
    return updates if math.isfinite(updates) else None


def _ends(
    cells: Sequence[Cell],
    plain: Sequence[Cell],
    options: AccelerateOptions,
    dim: int,
    true: Array | None,
) -> dict[str, Any]:
    """What an arm has learned at its end: means over seeds that did not diverge, with intervals."""
    seeds = [place for place, cell in enumerate(cells) if cell["failed"] is None]
    ended = [cells[place] for place in seeds]
    last: dict[str, list[float]] = {
        "accuracy": [float(smoothed(cell["accuracy"])[-1]) for cell in ended],
        "effective_rank": [cell["effective_rank"][-1] for cell in ended],
        "modes_held_out": [_learned(cell["spectrum"]) for cell in ended],
        "modes_seen": [_learned(cell["seen_spectrum"]) for cell in ended],
        "alignment": [],
    }
    half = _half(dim)
    for seed, cell in zip(seeds, ended, strict=True):
        # With the long trainings of other seeds: its own shares the initial weights.
        others = [
            _overlap(cell["modes"], each["modes"], half)
            for place, each in enumerate(plain)
            if place != seed and each["failed"] is None
        ]
        if others:
            last["alignment"].append(float(np.mean(others)))
    if true is not None:
        last["alignment_true"] = [_overlap(cell["modes"], true, half) for cell in ended]
    return {
        name: dict(zip(_INTERVAL, _interval(values, options.interval_level), strict=True))
        for name, values in last.items()
    }


def _learned(spectrum: Any) -> float:
    return float((np.asarray(spectrum)[-1] > LEVEL).sum())


def _overlap(one: Any, other: Any, count: int) -> float:
    """Mean squared cosine between the spaces of the first modes."""
    modes = [np.asarray(each, dtype=float) for each in (one, other)]
    return float(mode_overlaps(modes, [count])[0, 0, 1])


def _interval(values: Sequence[float], level: float) -> tuple[float, float, float]:
    if not values:
        return (math.nan,) * 3
    over = mean_interval(values, level)
    return float(over.mean), float(over.low), float(over.high)
