"""Options of ``sslsim overfitting``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class OverfittingOptions:
    """Follow accuracy and coding rate reduction, layer by layer, over the training of runs.

    Do late layers come to tell classes apart less well while early ones do not, and does the coding
    rate reduction, which needs no labels, show it? Runs keep their checkpoints by `sslsim train
    --checkpoints-kept 0`; those that differ by their seed only are summed up together. A study that
    was interrupted goes on where it stopped, and one given more runs measures those only.

    Attributes
    ----------
    run : tuple of Path
        One or more folders of `sslsim train`.
    checkpoints : int
        Measure so many of the checkpoints that a run holds, from the initialisation to the last.
    samples : int
        Images of either split, training and held out, whose coding rates are measured.
    probed : int
        Images of either split, at most, on which probes are fitted and read.
    views : int
        Views drawn of each image for the coding rates, the same at all checkpoints.
    eps : tuple of float
        Distortions, in the unit of features of norm 1.
    interval_level : float
        Confidence level of the intervals of means over seeds.
    seed : int
        Of the views.
    root : Path or None
        Folder of the torchvision data sets, where it has moved since.
    out : Path
        Run folder: config.json, measured.jsonl, overfitting.json, overfitting.png.
    """

    run: tuple[Path, ...]
    checkpoints: int = 16
    samples: int = 512
    probed: int = 2000
    views: int = 2
    eps: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    interval_level: float = 0.9
    seed: int = 0
    root: Path | None = None
    out: Path = Path("runs/overfitting")
