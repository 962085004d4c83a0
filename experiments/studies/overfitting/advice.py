"""Whether layers are overfit, and how to fine-tune them: what ``umm`` has to undo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sslsim.runs.layers.curves import LayerCurves, falls_by_other_peaks
from sslsim.umm.options import LATE_LAYERS, UmmOptions

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fall:
    """How far the linear probe and Delta R of L layers fell, mean over the runs of a group.

    Attributes
    ----------
    accuracy : ndarray, shape (L,)
        Fall of the linear probe's accuracy from its peak to the end.
    error : ndarray, shape (L,)
        Its standard error: the larger of that over seeds and that of the choice of test images.
    reduction : ndarray, shape (L,)
        Fall of the instance Delta R from the same checkpoint to the end, in nats.
    """

    accuracy: Array
    error: Array
    reduction: Array


def advise(group: Sequence[LayerCurves], eps: Sequence[float]) -> dict[str, Any]:
    """Say which layers of a group of runs are overfit, and with which options to fine-tune.

    A layer is overfit if the accuracy of its linear probe fell from its peak by more than the
    standard error. The peak of a run is where the other seeds peak; that of a single run is its
    own, which lies above the end by chance, too.

    >>> import numpy as np
    >>> from pathlib import Path
    >>> from sslsim.runs.options import TrainOptions
    >>> accuracy = np.array([[0.3, 0.5, 0.5], [0.3, 0.5, 0.4], [0.3, 0.5, 0.3]])
    >>> rates = {"instance": {"test": accuracy[None]}}
    >>> curves = LayerCurves(
    ...     Path("run"), TrainOptions(), ("layer1", "backbone", "projector"), (0, 5, 9),
    ...     {"linear": accuracy}, {"linear": 0 * accuracy + 0.01}, rates, 20,
    ... )
    >>> advice = advise([curves], [0.3])
    >>> advice["overfit"], advice["features"], advice["split"]
    (['backbone', 'projector'], 'embedding', 'layer1')
    """
    layers = group[0].layers
    place = int(np.argmin([abs(np.log(each / UmmOptions().eps)) for each in eps]))
    fall = _fall(group, place)
    overfit = [layer for layer, yes in zip(layers, fall.accuracy > fall.error, strict=True) if yes]
    fell = [layer for layer, down in zip(layers, fall.reduction, strict=True) if down > 0]
    found: dict[str, Any] = {
        "eps": eps[place],
        "fall": fall.accuracy,
        "fall_error": fall.error,
        "reduction_fall": fall.reduction,
        "overfit": overfit,
        "reduction_fell": [layer for layer in overfit if layer in fell],
        "features": None,
        "split": None,
    }
    late = [layer for layer in LATE_LAYERS.values() if layer in overfit]
    if late:
        # What the coding rate shows first, then what fell farthest.
        strength = dict(zip(layers, fall.accuracy / fall.error, strict=True))
        worst = max(late, key=lambda layer: (layer in fell, strength[layer]))
        found["features"] = next(name for name, layer in LATE_LAYERS.items() if layer == worst)
        sound = layers[: layers.index(overfit[0])]
        named = [layer for layer in sound if layer not in LATE_LAYERS.values()]
        found["split"] = named[-1] if named else None
    return found


def _fall(group: Sequence[LayerCurves], eps: int) -> Fall:
    """Falls of a group; runs measured at other updates than the first one's are compared alone."""
    accuracies = np.array([each.accuracies["linear"] for each in group if _alike(each, group)])
    errors = np.array([each.errors["linear"] for each in group if _alike(each, group)])
    rates = np.array([each.rates["instance"]["test"][eps] for each in group if _alike(each, group)])
    count, runs = len(accuracies), np.arange(len(accuracies))
    if count == 1:
        peaks = accuracies.argmax(axis=2)
        falls = accuracies.max(axis=2) - accuracies[:, :, -1]
        spread = np.zeros(accuracies.shape[1])
    else:
        others = accuracies.sum(axis=0) - accuracies
        peaks = others.argmax(axis=2)
        by_layer = accuracies.swapaxes(0, 1)
        falls = np.array([falls_by_other_peaks(layer) for layer in by_layer]).T
        spread = stats.sem(falls, axis=0)
    rows = np.arange(accuracies.shape[1])
    at_peak = (runs[:, None], rows[None], peaks)
    # All seeds are tested on the same images: their errors do not average out.
    images = np.hypot(errors[at_peak], errors[:, :, -1]).mean(axis=0)
    reduction = (rates[at_peak] - rates[:, :, -1]).mean(axis=0)
    return Fall(falls.mean(axis=0), np.maximum(spread, images), reduction)


def _alike(curves: LayerCurves, group: Sequence[LayerCurves]) -> bool:
    return curves.steps == group[0].steps
