"""Encoders of earlier runs, for the split protocol: of one architecture, trained on what is said.

Of encoders trained elsewhere nothing but their images tells what they saw: a candidate that f was
not trained on, or that g was, would be scored without a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from experiments.memorization.agreement import image_hashes
from experiments.memorization.options import MemorizationOptions
from experiments.memorization.points import FAMILIES, Points
from experiments.memorization.trained import Trained
from experiments.networks import network_at
from experiments.train_setup import chosen_device, read_train_options, split_data
from sslsim.data import Images
from sslsim.memorization import same_architecture
from sslsim.pixels import pixel_statistics


@dataclass(frozen=True, eq=False)
class GivenRun:
    """A run of ``sslsim train``.

    Attributes
    ----------
    folder : Path
        Where it lies.
    trained : Trained
        Its newest encoder.
    data : Images
        What it was trained on.
    """

    folder: Path
    trained: Trained
    data: Images


def given_families(options: MemorizationOptions, points: Points) -> dict[str, list[Trained]]:
    """Encoders f and g of the runs that the options name.

    Parameters
    ----------
    options : MemorizationOptions
        Of the study.
    points : Points
        What is scored, with its sets.

    Returns
    -------
    dict of str to list of Trained
        By family.

    Raises
    ------
    ValueError
        If a run cannot be read, is of images of another shape or of another architecture, was not
        trained on the images of its sets, or was on those of others.
    """
    families = {
        name: [read_run(run, tuple(points.images.shape[1:]), options.device) for run in runs]
        for name, runs in (("f", options.f), ("g", options.g))
    }
    same_architecture(*([run.trained.encoder for run in runs] for runs in families.values()))
    hashes = image_hashes(points.images)
    everywhere = image_hashes(torch.cat([points.data.images, points.held_out.images]))
    known, counts = np.unique(everywhere, return_counts=True)
    once = np.isin(hashes, known[counts == 1])
    for name, runs in families.items():
        for run in runs:
            _check_seen(run, name, points, hashes, once)
    return {name: [run.trained for run in runs] for name, runs in families.items()}


def read_run(folder: Path, shape: tuple[int, ...], device: str = "cpu") -> GivenRun:
    """The newest encoder of a run of ``sslsim train``, and what it was trained on.

    Parameters
    ----------
    folder : Path
        Of the run.
    shape : tuple of int
        Channels, height and width of the images to be scored.
    device : str
        Where to put the encoder, as the option of that name.

    Returns
    -------
    GivenRun

    Raises
    ------
    ValueError
        If the folder holds no run or no checkpoint, or its images are of another shape.

    Examples
    --------
    >>> read_run(Path("nowhere"), (1, 8, 8))
    Traceback (most recent call last):
    ValueError: nowhere/config.json cannot be read: No such file or directory
    """
    options = read_train_options(folder)
    data, _ = split_data(options)
    if tuple(data.images.shape[1:]) != shape:
        raise ValueError(
            f"{folder} was trained on images of shape {tuple(data.images.shape[1:])}; expected "
            f"{shape}, that of the images to be scored"
        )
    learner, _ = network_at(folder, data=data)
    pixels = pixel_statistics(data.images) if options.standardise else None
    encoder = learner.encoder.to(chosen_device(device))
    return GivenRun(folder, Trained(encoder, pixels, options.views or learner.views), data)


def _check_seen(
    run: GivenRun, family: str, points: Points, hashes: np.ndarray, once: np.ndarray
) -> None:
    seen = np.isin(hashes, image_hashes(run.data.images))
    rows = {name: places.numpy() for name, places in points.sets.items()}
    held = {name: int(seen[places].sum()) for name, places in rows.items()}
    own, other = FAMILIES[family][1], FAMILIES["g" if family == "f" else "f"][1]
    if held[own] == 0 and held[other] == len(rows[other]):
        raise ValueError(
            f"{run.folder} is given as {family}, but was trained on the {other} images and on no "
            f"{own} one: f and g seem to be swapped; expected f trained on the candidates and g on "
            "the independent images"
        )
    for name in FAMILIES[family]:
        if held[name] < len(rows[name]):
            raise ValueError(
                f"{run.folder}, given as {family}, was trained on {held[name]} of the "
                f"{len(rows[name])} {name} images; expected all of them"
            )
    for name in (other, "external"):
        # Of images that the data hold twice nobody can say which was seen.
        if wrong := int((seen & once)[rows[name]].sum()):
            raise ValueError(
                f"{run.folder}, given as {family}, was trained on {wrong} of the "
                f"{len(rows[name])} {name} images; expected none of them"
            )
