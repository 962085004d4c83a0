"""Options of ``sslsim modes``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class ModesOptions:
    """Say what the modes of trained networks mean, and what they are good for.

    Modes are the directions of the embedding in which the views of held-out images agree most, in
    descending order of their eigenvalue: in Barlow Twins the order in which they are learned. They
    are compared with statistics of the images, such as hue and brightness, and with the classes.
    A linear probe measures the accuracy with the first modes only and without them. With several
    runs, the overlap of their first modes is measured too.

    Attributes
    ----------
    run : tuple of Path
        One or more folders of `sslsim train`, all on the same images. Runs that differ only by
        their seed are summarised together.
    checkpoint : int or None
        Number of updates after which networks are taken; every run must have this checkpoint.
        Default: the newest.
    spectrum : {"cross", "covariance"} or None
        Matrix whose eigendirections are the modes: the cross-correlation of two views or the
        covariance. Default: the one that the method learns step by step.
    modes : int
        Number of modes that are compared with statistics, and the largest number of first modes;
        fewer if the embedding is smaller.
    samples : int
        Number of held-out images, for everything but the fit of the probe; all if there are fewer.
    probed : int
        Number of training images on which the linear probe is fitted; all if there are fewer.
    augmentations : {"simclr", "weak", "strong", "mask"} or None
        Also leave out the parts of these views, one at a time, and compare the modes that a linear
        model learns. Default: do not.
    pairs : int
        With `augmentations`: number of pairs of views of training images, one an image.
    interval_level : float
        Confidence level of the intervals.
    significance : float
        Chance of any false finding, over all modes and statistics of a network.
    seed : int
        Seed of permutations, resamples and random directions.
    root : Path or None
        Folder of the torchvision data sets, if it has moved since the training.
    out : Path
        Run folder: config.json, modes.json, modes.npz and the pictures modes.png, mode_images.png
        and, with several runs, mode_overlap.png.
    """

    run: tuple[Path, ...] = ()
    checkpoint: int | None = None
    spectrum: Literal["cross", "covariance"] | None = None
    modes: int = 16
    samples: int = 2000
    probed: int = 2000
    augmentations: Literal["simclr", "weak", "strong", "mask"] | None = None
    pairs: int = 2000
    interval_level: float = 0.9
    significance: float = 0.05
    seed: int = 0
    root: Path | None = None
    out: Path = Path("runs/modes")
