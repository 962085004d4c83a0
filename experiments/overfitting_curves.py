"""What was measured over the training of a run, as curves over its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.overfitting_measures import GROUPS, SPLITS
from experiments.train_options import TrainOptions

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
    """Put the measurements of a run's checkpoints together.

    Parameters
    ----------
    run : Path
        Its folder.
    trained : TrainOptions
        What it was trained with.
    lines : sequence of dict
        Of ``measured.jsonl``, one a checkpoint, ascending.

    Returns
    -------
    Curves

    Examples
    --------
    >>> layer = {"linear": 0.5, "linear_error": 0.1, "knn": 0.4, "knn_error": 0.1}
    >>> rate = {"test": [1.0, 2.0], "train": [1.5, 2.5]}
    >>> layer |= {"coding_rate": rate, "instance": rate, "class": rate}
    >>> lines = [{"step": step, "images": 9, "layers": {"backbone": layer}} for step in (0, 5, 9)]
    >>> curves = read_curves(Path("r"), TrainOptions(), lines)
    >>> curves.accuracies["knn"].tolist(), curves.signals["gap"].shape
    ([[0.4, 0.4, 0.4]], (2, 1, 3))
    """
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
