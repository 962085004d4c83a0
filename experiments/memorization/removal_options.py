"""Options of ``sslsim memorization-removal`` and ``sslsim memorization-penalty``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sslsim.names import Encoder, Method


@dataclass(frozen=True)
class RetrainOptions:
    """A finished study to start from, and what is measured of the encoders trained anew.

    Attributes
    ----------
    scores : Path or None
        Folder of a finished `sslsim memorization`, whose data, network and training are taken.
    method, encoder : str or None
        Others than the study's; options that belong to the study's own are then at their defaults.
    steps : int or None
        Updates of every training. Default: as in the study.
    seeds : int
        Trainings of every kind, of the seeds that follow those of the study's own encoders.
    transfer : tuple of str
        Other data sets on which frozen features are probed too, brought to the network's shape.
    transfer_limit : int or None
        Keep at most so many training images of each.
    fine_tune : int
        Fine-tune all weights with labels for so many updates too, and read the accuracy; 0 does
        not.
    fine_tune_lr : float or None
        Learning rate of that. Default: the study's.
    interval_level : float
        Confidence level of intervals over seeds.
    root : Path or None
        Folder of the torchvision data sets, where it has moved since.
    device : str
        cpu, cuda, or auto: cuda if there is one.
    """

    scores: Path | None = None
    method: Method | None = None
    encoder: Encoder | None = None
    steps: int | None = None
    seeds: int = 3
    transfer: tuple[str, ...] = ()
    transfer_limit: int | None = 5000
    fine_tune: int = 0
    fine_tune_lr: float | None = None
    interval_level: float = 0.9
    root: Path | None = None
    device: str = "auto"


@dataclass(frozen=True)
class RemovalOptions(RetrainOptions):
    """Train without the most memorised images, without random ones and without the least memorised.

    Linear probes and fine-tuning see all labelled images of the pool, whether an encoder was
    trained on them or not: encoders alone differ. Random choices are nested, and encoders of one
    seed start from the same weights. What is trained and measured already is kept.

    Attributes
    ----------
    remove : tuple of float
        Shares of the pool to remove. None removed is always there to compare with.
    which : tuple of {"most", "random", "least"}
        Which images to remove.
    out : Path
        Run folder: config.json, removal.json, removal.png, cells.
    """

    remove: tuple[float, ...] = (0.02, 0.08, 0.32)
    which: tuple[Literal["most", "random", "least"], ...] = ("most", "random", "least")
    out: Path = Path("runs/memorization-removal")


@dataclass(frozen=True)
class PenaltyOptions(RetrainOptions):
    """Train with a penalty on the distance between two views' representations.

    Encoders f and g of the study's split are trained anew, with the penalty at several strengths,
    and what it does to memorisation and to accuracy is read. What is trained and measured already
    is kept.

    Attributes
    ----------
    strengths : tuple of float
        Weights of the mean distance in the loss; 0 is always there to compare with, and below it
        views are pushed apart.
    targeted : tuple of {"most", "random"}
        Penalise some candidates only, in training f alone: the most memorised ones of the study, or
        random ones of the same number. Default: all images, in training both f and g.
    count : int
        How many candidates.
    out : Path
        Run folder: config.json, penalty.json, penalty.png, cells.
    """

    strengths: tuple[float, ...] = (0.0, 0.1, 1.0, 10.0)
    targeted: tuple[Literal["most", "random"], ...] = ()
    count: int = 50
    out: Path = Path("runs/memorization-penalty")
