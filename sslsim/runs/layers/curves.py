"""Layers of a run over its training: falls of accuracy from its peak, and what follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from sslsim.runs.layers.checkpoint import GROUPS, SPLITS
from sslsim.runs.options import TrainOptions, training_options
from sslsim.training.options import flow_time

Array = NDArray[np.float64]

_LEAST = 4  # checkpoints of which a rank correlation says something
ACCURACIES = ("linear", "knn")


@dataclass(frozen=True, eq=False)
class LayerCurves:
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
        Number of images of a split in the rates.
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


def read_curves(
    run: Path, trained: TrainOptions, lines: Sequence[Mapping[str, Any]]
) -> LayerCurves:
    """Put the measurements of a run's checkpoints together.

    Parameters
    ----------
    run : Path
        The run folder.
    trained : TrainOptions
        Options of the run.
    lines : sequence of mapping
        One for each checkpoint: ``step``, ``images``, and ``layers`` as by
        :func:`sslsim.runs.layers.checkpoint.measure_layers`.

    Returns
    -------
    LayerCurves

    Examples
    --------
    >>> rates = {name: {"test": [0.5], "train": [0.5]} for name in ("coding_rate", *GROUPS)}
    >>> layer = {"linear": 0.9, "linear_error": 0.1, "knn": 0.8, "knn_error": 0.1, **rates}
    >>> lines = [{"step": step, "images": 9, "layers": {"projector": layer}} for step in (0, 5)]
    >>> read_curves(Path("run"), TrainOptions(), lines).accuracies["linear"].tolist()
    [[0.9, 0.9]]
    """
    layers = tuple(lines[0]["layers"])

    def numbers(name: str) -> Array:
        return np.array([[line["layers"][layer][name] for line in lines] for layer in layers])

    rates: dict[str, dict[str, Array]] = {}
    for name in ("coding_rate", *GROUPS):
        rates[name] = {}
        for split in SPLITS:
            values = [[line["layers"][layer][name][split] for line in lines] for layer in layers]
            rates[name][split] = np.moveaxis(np.array(values, dtype=float), 2, 0)
    return LayerCurves(
        run=run,
        trained=trained,
        layers=layers,
        steps=tuple(line["step"] for line in lines),
        accuracies={name: numbers(name) for name in ACCURACIES},
        errors={name: numbers(f"{name}_error") for name in ACCURACIES},
        rates=rates,
        images=lines[0]["images"],
    )


def rank_correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation, ties given their mean rank.

    Parameters
    ----------
    x, y : array_like, shape (k,)
        Values at k checkpoints.

    Returns
    -------
    float
        From -1 to 1; NaN of fewer than four values, or where one of them does not vary.

    Examples
    --------
    >>> round(rank_correlation([1, 2, 3, 4], [1, 10, 100, 50]), 9)
    0.8
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
    accuracy : array_like, shape (runs, k)
        Accuracies at k checkpoints.

    Returns
    -------
    ndarray, shape (runs,)
        NaN of a single run. Unlike the fall from a run's own peak, noise alone makes it not
        positive on average.

    Examples
    --------
    >>> falls_by_other_peaks([[0.1, 0.9, 0.5], [0.2, 0.8, 0.6]]).round(9).tolist()
    [0.4, 0.2]
    """
    values = np.asarray(accuracy, dtype=float)
    if len(values) < 2:
        return np.full(len(values), np.nan)
    others = values.sum(axis=0) - values  # up to a factor, the mean over the others
    return values[np.arange(len(values)), others.argmax(axis=1)] - values[:, -1]


def summarise_run(curves: LayerCurves) -> dict[str, Any]:
    """Peaks, falls and rank correlations of one run.

    Parameters
    ----------
    curves : LayerCurves
        Curves of the run.

    Returns
    -------
    dict
        The curves under the names of their fields, ``times``, and for both probes
        ``NAME_peak_step`` (L,), ``NAME_fall`` (L,) from the peak to the end with its standard error
        ``NAME_fall_error``, and ``correlations``: by probe, signal and span (``all`` checkpoints,
        or those ``after_peak``), (e, L).

    Examples
    --------
    >>> rates = {name: {split: np.ones((1, 1, 3)) for split in SPLITS} for name in GROUPS}
    >>> accuracy = {name: np.array([[0.5, 0.9, 0.8]]) for name in ACCURACIES}
    >>> curves = LayerCurves(
    ...     Path("run"), TrainOptions(), ("backbone",), (0, 5, 9), accuracy, accuracy, rates, 20
    ... )
    >>> summary = summarise_run(curves)
    >>> summary["linear_peak_step"].tolist(), summary["linear_fall"].round(9).tolist()
    ([5], [0.1])
    """
    summary: dict[str, Any] = {
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
        summary[f"{name}_peak_step"] = np.array(curves.steps)[peak]
        summary[f"{name}_fall"] = accuracy[rows, peak] - accuracy[:, -1]
        summary[f"{name}_fall_error"] = np.hypot(errors[rows, peak], errors[:, -1])
        summary["correlations"][name] = {
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
    return summary
