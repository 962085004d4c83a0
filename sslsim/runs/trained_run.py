"""A training run, opened to be looked at: its options, images, networks and records.

:class:`TrainedRun` is a run of ``sslsim train``, :class:`RecordedRun` one of a loop of the user's,
which :class:`sslsim.Recorder` recorded.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sslsim.core.checkpoints import checkpoints
from sslsim.core.lazy import own_callable
from sslsim.data.datasets import Images
from sslsim.data.pixels import PixelStatistics, pixel_statistics
from sslsim.encoders.build import Encoder
from sslsim.encoders.own.factory import load_module
from sslsim.measures.snapshots import draw_held_out_pairs
from sslsim.measures.steps import Steps
from sslsim.methods.build import METHODS, pair_objective
from sslsim.methods.learner import Learner, PairLearner, PairObjective
from sslsim.runs.networks import kept_steps, load_weights
from sslsim.runs.options import RecordOptions, TrainOptions, training_options
from sslsim.runs.setup import (
    initial_learner,
    pair_views,
    read_train_options,
    recorded_spectrum,
    recorded_steps,
    split_data,
    training_pairs,
)
from sslsim.runs.stored import stored_arrays, stored_config, stored_options
from sslsim.training.options import flow_time

OWN_PAIRS = "own pairs"
"""What stands for the data set of a run that was recorded without one."""


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
            Folder of ``sslsim train``, or of :class:`sslsim.Recorder`.
        root : Path, optional
            Folder of the data sets, where it has moved since.

        Raises
        ------
        ValueError
            If the folder holds no training run.
        """
        folder = Path(folder)
        if stored_config(folder)[0] == "record":
            recorded = stored_options(folder, "record", RecordOptions)
            return RecordedRun(folder, _as_trained(recorded, root), recorded=recorded)
        options = read_train_options(folder)
        return cls(folder, options if root is None else replace(options, root=root))

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
        module = options.module
        assert module is not None
        numbers = [int("0" + "".join(re.findall(r"\d+", path.stem)[-1:])) for path in weights]
        if sorted(set(numbers)) != numbers:
            numbers = list(range(1, len(weights) + 1))
        # Nothing is put on top of the network, and time counts updates.
        options = replace(options, projector="none", init_scale=1.0, lr=1.0, momentum=0.0)
        known: dict[int, Path | None] = dict(zip(numbers, weights, strict=True)) or {0: None}
        return cls(Path(module), options, weights=known)

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

    @property
    def pairs_kind(self) -> str:
        """Where the pairs that it is measured on come from: their kind of views."""
        return self.pair_views

    @property
    def drawable(self) -> int:
        """Number of images that training pairs are drawn of."""
        return len(self.images.images)

    @property
    def held_out_count(self) -> int:
        """Number of held-out pairs that there are at most."""
        return len(self.held_out.images)

    def held_out_pairs(self, count: int, kind: str | None = None) -> tuple[torch.Tensor, ...]:
        """Held-out pairs, standardised, of its own kind of views or another."""
        kind = self.pair_views if kind is None else kind
        drawn = draw_held_out_pairs(
            self.held_out.images, kind, count, self.options.seed, self.pixels
        )
        return drawn.x, drawn.x_prime

    @property
    def spectrum(self) -> str:
        """Which of the recorded spectra is learned step by step."""
        return recorded_spectrum(self.options)

    @property
    def trained_count(self) -> int:
        """Number of images in the training."""
        return len(self.images.images)

    def detected_steps(self) -> Steps:
        """Steps of the recorded eigenvalues."""
        return recorded_steps(self.records(), self.spectrum)

    def records(self) -> dict[str, NDArray[Any]]:
        """Arrays recorded over training: ``times``, ``steps``, spectra, (snapshots, ...) each."""
        needed = {"times": 1, "cross_spectrum": 2, "covariance_spectrum": 2}
        return stored_arrays(self.folder / "records.npz", needed)

    def flow_time(self, step: int) -> float:
        """Flow time after some updates."""
        return flow_time(training_options(self.options), step)


@dataclass(frozen=True, eq=False)
class RecordedRun(TrainedRun):
    """A run that :class:`sslsim.Recorder` recorded in a loop of the user's.

    Its pairs are those that were recorded. It has images where the recorder was given the name of a
    data set, and networks where it was given a factory and kept checkpoints. ValueError says what
    is missing.

    Attributes
    ----------
    recorded : RecordOptions
        What the recorder knew.
    """

    recorded: RecordOptions = field(default_factory=RecordOptions)

    @cached_property
    def _parts(self) -> tuple[Images, Images]:
        if self.recorded.data is None:
            raise ValueError(
                f"{self.folder} was recorded without images; expected Recorder(..., data=NAME), a "
                "data set as of sslsim train"
            )
        return split_data(self.options)

    @cached_property
    def views(self) -> str:
        """Kind of the views that are drawn of its images."""
        return self.recorded.views

    @cached_property
    def _recorded_pairs(self) -> tuple[torch.Tensor, torch.Tensor]:
        arrays = stored_arrays(self.folder / "pairs.npz", {})
        if not {"x", "x_prime"} <= set(arrays) or arrays["x"].shape != arrays["x_prime"].shape:
            raise ValueError(f"{self.folder}/pairs.npz lacks x and x_prime of one shape")
        return torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["x_prime"])

    @property
    def pairs_kind(self) -> str:
        """The pairs are the user's own."""
        return OWN_PAIRS

    @property
    def drawable(self) -> int:
        """Number of pairs that were recorded."""
        return len(self._recorded_pairs[0])

    @property
    def trained_count(self) -> int:
        """Number of images in the training; without images, that of the recorded pairs."""
        return self.drawable if self.recorded.data is None else super().trained_count

    @property
    def held_out_count(self) -> int:
        """The same."""
        return self.drawable

    @property
    def steps(self) -> list[int]:
        """Updates at its checkpoints, ascending."""
        paths = checkpoints(self.folder / "checkpoints")
        return sorted(int(path.stem.removeprefix("checkpoint-")) for path in paths)

    def step_at(self, checkpoint: int | None = None) -> int:
        """Updates at a checkpoint, by default the newest."""
        if not self.steps:
            raise ValueError(
                f"{self.folder} holds no checkpoint; expected Recorder(..., checkpoints=N, "
                "factory='package.module:function')"
            )
        return super().step_at(checkpoint)

    def learner(self, step: int | None = None) -> Learner:
        """Network with its loss after some updates, by default the newest."""
        step = self.step_at(step)
        if self.recorded.factory is None:
            raise ValueError(
                f"{self.folder} was recorded without a way to build its network again; expected "
                "Recorder(..., factory='package.module:function')"
            )
        encoder = as_encoder(load_module(self.recorded.factory), self.recorded.dim)
        objective = objective_of(self.recorded)
        learner = Learner(encoder) if objective is None else PairLearner(encoder, objective)
        load_weights(learner, self.folder / "checkpoints" / f"checkpoint-{step:09d}.pt")
        return learner.eval()

    def pairs(self, count: int, draw: int = 1) -> tuple[torch.Tensor, ...]:
        """Pairs that were recorded, spread evenly over all of them where fewer are wanted."""
        x, x_prime = self._recorded_pairs
        count = min(count, len(x))
        places = torch.arange(count) * len(x) // max(count, 1)
        return x[places], x_prime[places]

    def held_out_pairs(self, count: int, kind: str | None = None) -> tuple[torch.Tensor, ...]:
        """The same."""
        if kind not in (None, self.views):
            raise ValueError(
                f"views is {kind}, and {self.folder} has its own pairs; expected none given"
            )
        return self.pairs(count)

    @property
    def spectrum(self) -> str:
        """Which of the recorded spectra is learned step by step."""
        return f"{self.recorded.spectrum}_spectrum"

    def flow_time(self, step: int) -> float:
        """Flow time after some updates, as recorded."""
        arrays = stored_arrays(self.folder / "records.npz", {"times": 1, "steps": 1})
        return float(np.interp(step, arrays["steps"], arrays["times"]))


def as_encoder(network: nn.Module, dim: int) -> Encoder:
    """A network of the user's as an encoder whose representation is its embedding.

    Parameters
    ----------
    network : nn.Module
        (n, ...) -> (n, d); an encoder is returned as it is.
    dim : int
        d.

    Returns
    -------
    Encoder

    Examples
    --------
    >>> as_encoder(nn.Flatten(), 4)(torch.zeros(3, 2, 2)).shape
    torch.Size([3, 4])
    """
    if isinstance(network, Encoder):
        return network
    return Encoder(network, nn.Identity(), dim, dim)


def objective_of(recorded: RecordOptions) -> PairObjective | None:
    """Loss of the embeddings of two views that a recorded run was trained on, where it is known.

    Parameters
    ----------
    recorded : RecordOptions
        What the recorder knew.

    Returns
    -------
    callable or None
        None of a loss that needs more than these embeddings, or cannot be imported again.

    Raises
    ------
    ValueError
        If a loss that could be imported is not there any more.

    Examples
    --------
    >>> objective_of(RecordOptions(method="vicreg")) is None
    False
    """
    if recorded.loss is not None:
        return partial(
            own_callable(recorded.loss, "method")
        )  # not a part of a learner, if a module
    if recorded.method not in METHODS:
        return None
    return pair_objective(
        recorded.method,
        barlow_form=recorded.barlow_form,
        similarity=recorded.similarity,
        temperature=recorded.temperature,
    )


def _as_trained(recorded: RecordOptions, root: Path | None) -> TrainOptions:
    """What is known of a recorded run, in the options of ``sslsim train``."""
    return TrainOptions(
        method=cast(Any, recorded.method),
        encoder=cast(Any, recorded.encoder),
        barlow_form=cast(Any, recorded.barlow_form),
        similarity=cast(Any, recorded.similarity),
        temperature=recorded.temperature,
        data=recorded.data or OWN_PAIRS,
        root=root,
        views=cast(Any, recorded.views),
        dim=recorded.dim,
        steps=recorded.steps or sys.maxsize,  # its flow time ends with the records
        batch=recorded.batch or recorded.pairs,
        optimizer=cast(Any, recorded.optimizer),
        lr=recorded.lr,
        momentum=recorded.momentum,
        fixed_views=True,
        standardise=recorded.standardise,
        seed=recorded.seed or 0,
        out=recorded.out,
    )
