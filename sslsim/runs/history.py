"""A training run looked back upon: eigenvalues of its training pairs at every kept checkpoint."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from sslsim.encoders.build import Encoder
from sslsim.measures.growth import Objective
from sslsim.measures.snapshots import HeldOutPairs, batch_statistics
from sslsim.measures.spectra import covariance_spectrum, cross_spectrum
from sslsim.methods.learner import PairLearner
from sslsim.runs.networks import momentum_velocity
from sslsim.runs.options import has_theory_form
from sslsim.runs.trained_run import RecordedRun, TrainedRun

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RunHistory:
    """A run at its kept checkpoints.

    Attributes
    ----------
    run : TrainedRun
        The run.
    pairs : HeldOutPairs
        Training pairs, standardised if the run's were.
    objective : callable
        The run's loss of the embeddings of both views: the mean over batches of the run's size.
    spectrum : {"cross", "covariance"}
        Which eigenvalues its method learns step by step.
    ceiling : float or None
        Value at which eigenvalues saturate, where theory knows it: 1 for Barlow Twins in its theory
        form on all pairs of the run at once.
    steps : list of int
        Updates at the checkpoints, ascending.
    times : ndarray, shape (t,)
        Flow times.
    lam : ndarray, shape (t, d)
        Eigenvalues on the pairs, descending.
    """

    run: TrainedRun
    pairs: HeldOutPairs
    objective: Objective
    spectrum: str
    ceiling: float | None
    steps: list[int]
    times: Array
    lam: Array

    def encoder_at(self, index: int) -> Encoder:
        """The network at a checkpoint, on the CPU."""
        return self.run.learner(self.steps[index]).encoder

    def velocity_at(self, index: int) -> list[torch.Tensor] | None:
        """Velocities of the network's parameters in flow time, by the momentum of SGD.

        None without momentum, before the first update, for other optimisers and for networks whose
        training was not ours.
        """
        options, step = self.run.options, self.steps[index]
        foreign = isinstance(self.run, RecordedRun) or self.run.weights is not None
        if foreign or options.optimizer != "sgd" or options.momentum == 0 or step == 0:
            return None
        return momentum_velocity(self.run.learner(step), self.run.folder, step, options.momentum)

    def passing(self, mode: int, value: float, after: int = 0) -> float:
        """Flow time at which an eigenvalue first reaches a value, infinite if it does not.

        Between checkpoints it is taken to grow exponentially.
        """
        lam = self.lam[:, mode]
        above = np.flatnonzero(lam[after:] >= value) + after
        if not len(above):
            return np.inf
        index = int(above[0])
        if index == after or lam[index - 1] <= 0:
            return float(self.times[index])
        share = np.log(value / lam[index - 1]) / np.log(lam[index] / lam[index - 1])
        return float(self.times[index - 1] + share * np.diff(self.times)[index - 1])


def read_history(
    folder: Path, pairs: int, root: Path | None = None, *, progress: bool = False
) -> RunHistory:
    """Embed training pairs of a run at all its kept checkpoints.

    Parameters
    ----------
    folder : Path
        Folder of ``sslsim train --checkpoints-kept 0``.
    pairs : int
        How many, spread evenly over the training images: the very pairs of a run that fixed its
        views, all there are at most; else fresh ones, of which an image may have several.
    root : Path, optional
        Folder of the data sets, where it has moved.
    progress : bool
        Show a bar.

    Returns
    -------
    RunHistory
        Costs a forward pass of the pairs a checkpoint.

    Raises
    ------
    ValueError
        If the folder holds no run, fewer than three checkpoints, or one of a method without a loss
        of pairs of embeddings.

    Examples
    --------
    >>> read_history(Path("nowhere"), 100)
    Traceback (most recent call last):
    ValueError: nowhere/config.json cannot be read: No such file or directory
    """
    run = TrainedRun.open(folder, root)
    trained, steps = run.options, run.steps
    if len(steps) < 3:
        raise ValueError(
            f"{folder} holds {max(len(steps) - 1, 0)} checkpoint(s) beside its start; expected "
            "those of a run with --checkpoints-kept 0, or of Recorder(..., checkpoints=N)"
        )
    learner = run.learner(steps[0])
    if not isinstance(learner, PairLearner):
        raise ValueError(
            f"{folder} was trained by {trained.method}; expected barlow_twins, simclr, vicreg or "
            "spectral, whose loss is one of pairs of embeddings"
        )
    drawn = HeldOutPairs(*run.pairs(pairs)[:2])
    spectrum = run.spectrum.removesuffix("_spectrum")
    lam = []
    for step in tqdm(steps, desc="checkpoints", disable=not progress, file=sys.stderr):
        encoder = run.learner(step).encoder
        with torch.no_grad(), batch_statistics(encoder):
            z, z_prime = encoder(drawn.x), encoder(drawn.x_prime)
        if spectrum == "cross":
            lam.append(cross_spectrum(z, z_prime).numpy())
        else:
            lam.append(covariance_spectrum(torch.cat([z, z_prime])).numpy())
    # Of fresh views, the whole of the run is never seen at once.
    whole = trained.fixed_views and trained.batch >= run.trained_count
    return RunHistory(
        run=run,
        pairs=drawn,
        objective=_in_batches(learner.objective, trained.batch),
        spectrum=spectrum,
        ceiling=1.0 if whole and has_theory_form(trained) else None,
        steps=steps,
        times=np.array([run.flow_time(step) for step in steps]),
        lam=np.array(lam),
    )


def _in_batches(objective: Objective, batch: int) -> Objective:
    """Mean of an objective over batches of pairs."""

    def mean(z: torch.Tensor, z_prime: torch.Tensor) -> torch.Tensor:
        whole = max(len(z) // batch, 1)  # a rest is spread over the batches
        if whole == 1:
            return objective(z, z_prime)
        parts = zip(z.tensor_split(whole), z_prime.tensor_split(whole), strict=True)
        return torch.stack([objective(*part) for part in parts]).mean()

    return mean
