"""A run of ``sslsim train``, opened to be looked at: its options, images, networks and records."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from sslsim.data.datasets import Images
from sslsim.data.pixels import PixelStatistics, pixel_statistics
from sslsim.methods.learner import Learner
from sslsim.runs.networks import kept_steps, load_weights
from sslsim.runs.options import TrainOptions, training_options
from sslsim.runs.setup import (
    initial_learner,
    pair_views,
    read_train_options,
    split_data,
    training_pairs,
)
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
    images_of : TrainedRun or None
        A run on the same data, whose images are used: they are loaded once for both.
    weights : mapping of int to Path, optional
        Of a network that was trained elsewhere: files with its weights, by the number of updates;
        None for those that its function gives.

    Examples
    --------
    >>> TrainedRun.open("nowhere")
    Traceback (most recent call last):
    ValueError: nowhere/config.json cannot be read: No such file or directory
    """

    folder: Path
    options: TrainOptions
    images_of: TrainedRun | None = None
    weights: Mapping[int, Path | None] | None = None

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

    @classmethod
    def of_module(cls, options: TrainOptions, weights: Sequence[Path] = ()) -> TrainedRun:
        """A user's own network, trained elsewhere, as if it were a run.

        Parameters
        ----------
        options : TrainOptions
            Name the module, and the data, views and method that it is measured with.
        weights : sequence of Path
            Files with its weights, from early to late. Default: the weights its function gives.
            They are numbered by the last numbers in their names, if these ascend, else from 1.

        Examples
        --------
        >>> files = [Path("epoch2.pt"), Path("epoch10.pt")]
        >>> TrainedRun.of_module(TrainOptions(module="mine:net"), files).steps
        [2, 10]
        """
        assert options.module is not None
        numbers = [int("0" + "".join(re.findall(r"\d+", path.stem)[-1:])) for path in weights]
        if sorted(set(numbers)) != numbers:
            numbers = list(range(1, len(weights) + 1))
        # Nothing is put on top of the network, and time counts updates.
        options = replace(options, projector="none", init_scale=1.0, lr=1.0, momentum=0.0)
        known = dict(zip(numbers, weights, strict=True)) or {0: None}
        return cls(Path(options.module), options, weights=known)

    @cached_property
    def _parts(self) -> tuple[Images, Images]:
        return split_data(self.options) if self.images_of is None else self.images_of._parts

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
        options = replace(self.options, weights=None)
        return options.views or initial_learner(options, self.images).views

    @property
    def pair_views(self) -> str:
        """Kind of the pairs that it is measured on: of its views, or simclr if these are none."""
        return pair_views(self.views)

    @cached_property
    def pixels(self) -> PixelStatistics | None:
        """Statistics by which its images are standardised, None if they are not."""
        return pixel_statistics(self.images.images) if self.options.standardise else None

    def standardised(self, views: torch.Tensor) -> torch.Tensor:
        """Images with pixels in [0, 1] as its network is fed with them."""
        return views if self.pixels is None else self.pixels.standardise(views)

    @property
    def steps(self) -> list[int]:
        """Updates after which its network can be had, ascending from 0."""
        return kept_steps(self.folder) if self.weights is None else sorted(self.weights)

    def step_at(self, checkpoint: int | None = None) -> int:
        """Updates at a checkpoint, by default the newest; ValueError lists those that there are."""
        steps = self.steps
        if checkpoint is None and steps == [0] and self.weights is None:
            raise ValueError(
                f"{self.folder} holds no checkpoint of its training; expected some, or 0 asked"
            )
        if checkpoint is not None and checkpoint not in steps:
            known = ", ".join(map(str, steps))
            raise ValueError(f"checkpoint is {checkpoint}; {self.folder} holds {known}")
        return steps[-1] if checkpoint is None else checkpoint

    def learner(self, step: int | None = None) -> Learner:
        """Network with its loss after some updates, by default the newest.

        On the CPU, in evaluation mode. Raises ValueError if there is no such checkpoint, or a
        damaged one.
        """
        step = self.step_at(step)
        if self.weights is not None:
            own = replace(self.options, weights=self.weights[step])
            return initial_learner(own, self.images).eval()
        # A checkpoint holds all weights: those that a module began with need not be there any more.
        options = replace(self.options, weights=None) if step else self.options
        learner = initial_learner(options, self.images)
        if step:
            load_weights(learner, self.file(step))
        return learner.eval()

    def file(self, step: int) -> Path:
        """File with the weights after some updates, which need not exist for the start."""
        if self.weights is not None:
            return self.weights[step] or self.folder
        return self.folder / "checkpoints" / f"checkpoint-{step:09d}.pt"

    def pairs(self, count: int, draw: int = 1) -> tuple[torch.Tensor, ...]:
        """Training pairs, standardised: those of a run with fixed views, else of a new draw."""
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
