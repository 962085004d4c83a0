"""A run of ``sslsim train``, opened to be looked at: its options, images, networks and records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from sslsim.data.datasets import Images
from sslsim.data.pixels import PixelStatistics, pixel_statistics
from sslsim.methods.learner import Learner
from sslsim.runs.networks import kept_steps, network_at
from sslsim.runs.options import TrainOptions, training_options
from sslsim.runs.setup import initial_learner, read_train_options, split_data, training_pairs
from sslsim.runs.stored import stored_arrays
from sslsim.training.options import flow_time


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A training run in its folder. Made by :meth:`open`; images are loaded when first used.

    Attributes
    ----------
    folder : Path
        The run folder.
    options : TrainOptions
        What it was trained with.

    Examples
    --------
    >>> TrainedRun.open("nowhere")
    Traceback (most recent call last):
    ValueError: nowhere/config.json cannot be read: No such file or directory
    """

    folder: Path
    options: TrainOptions

    @classmethod
    def open(cls, folder: str | Path, root: Path | None = None) -> TrainedRun:
        """Open a run folder.

        Parameters
        ----------
        folder : path
            Folder of ``sslsim train``.
        root : Path, optional
            Folder of the data sets, where it has moved since.

        Raises
        ------
        ValueError
            If the folder holds no training run.
        """
        options = read_train_options(Path(folder))
        return cls(Path(folder), options if root is None else replace(options, root=root))

    @cached_property
    def _parts(self) -> tuple[Images, Images]:
        return split_data(self.options)

    @property
    def images(self) -> Images:
        """Images that it was trained on."""
        return self._parts[0]

    @property
    def held_out(self) -> Images:
        """Images that it was not trained on."""
        return self._parts[1]

    @cached_property
    def views(self) -> str:
        """Kind of its views: as given, else what suits the method."""
        return self.options.views or initial_learner(self.options, self.images).views

    @cached_property
    def pixels(self) -> PixelStatistics | None:
        """Statistics by which its images are standardised, None if they are not."""
        return pixel_statistics(self.images.images) if self.options.standardise else None

    @property
    def steps(self) -> list[int]:
        """Updates after which its network can be had, ascending from 0."""
        return kept_steps(self.folder)

    def learner(self, step: int | None = None) -> Learner:
        """Network with its loss after some updates (by default the newest), in evaluation mode."""
        return network_at(self.folder, step, self.images)[0]

    def pairs(self, count: int, draw: int = 1) -> tuple[torch.Tensor, ...]:
        """Training pairs: the very ones of a run with fixed views, else fresh ones of a draw."""
        if self.options.fixed_views:
            count = min(count, len(self.images.images))
        return training_pairs(self.options, self.images, self.views, count, draw)

    def records(self) -> dict[str, NDArray[Any]]:
        """Arrays recorded over training: ``times``, ``steps``, spectra, (snapshots, ...) each."""
        needed = {"times": 1, "cross_spectrum": 2, "covariance_spectrum": 2}
        return stored_arrays(self.folder / "records.npz", needed)

    def flow_time(self, step: int) -> float:
        """Flow time after some updates."""
        return flow_time(training_options(self.options), step)
