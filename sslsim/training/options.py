"""Options of a training run, its learning rates and its flow time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sslsim.core.names import OPTIMIZERS, PRECISIONS, PRECONDITIONERS, SCHEDULES
from sslsim.training.records import record_steps

_MILESTONES = (0.6, 0.8)
_LAST = 0.01  # final factor of the exponential schedule


def learning_rate_factor(schedule: str, step: int, steps: int, warmup: int = 0) -> float:
    """Factor on the base learning rate for one update.

    Parameters
    ----------
    schedule : {"constant", "cosine", "step", "exponential"}
        Schedule, see ``sslsim.core.names.SCHEDULES``.
    step : int
        Number of the update, from 0.
    steps : int
        Total number of updates.
    warmup : int
        Number of first updates over which the rate rises linearly, from 1/warmup of it to all of
        it. The schedule covers the other updates.

    Returns
    -------
    float
        Factor from 0 to 1.

    Raises
    ------
    ValueError
        If the schedule is unknown or a number is out of range.

    Examples
    --------
    >>> [learning_rate_factor("cosine", step, 6, warmup=2) for step in (0, 1, 2, 4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}; expected one of {', '.join(SCHEDULES)}")
    if not 0 <= warmup <= steps:
        raise ValueError(f"warmup is {warmup}; expected from 0 to {steps}, all steps")
    if not 0 <= step < steps:
        raise ValueError(f"step is {step}; expected from 0 to below {steps}, all steps")
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / (steps - warmup)
    if schedule == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    if schedule == "step":
        return 0.1 ** sum(done >= milestone for milestone in _MILESTONES)
    if schedule == "exponential":
        return _LAST**done
    return 1.0


@dataclass(frozen=True)
class TrainingOptions:
    """Options of the training.

    Attributes
    ----------
    steps : int
        Total number of updates.
    batch : int
        Images in the global batch; at most all images.
    optimizer : {"sgd", "adamw", "lars", "muon"}
        Optimiser, see ``sslsim.training.optimizers``.
    lr : float
        Base learning rate.
    momentum : float
        Momentum of sgd, lars and muon.
    weight_decay : float
        Weight decay in torch's definition.
    schedule : {"constant", "cosine", "step", "exponential"}
        Schedule of the learning rate, see :func:`learning_rate_factor`.
    warmup : int
        Number of updates of linear warm-up.
    accumulate : int
        Number of batches whose gradients are averaged in one update. Each batch has its own loss,
        so for losses of a whole batch the result differs from that of a larger batch.
    fixed_views : bool
        Draw the views of every image once, instead of new views in every step. Theory then predicts
        for exactly these pairs.
    standardise : bool
        Subtract the mean of every channel over the training images and divide by its standard
        deviation.
    clip_norm : float or None
        Largest norm of the gradient of all parameters: a longer one is shortened to it. Default:
        as it is.
    precondition_embedding : {"none", "covariance"}
        Precondition gradients by second moments of the embeddings of a batch, see
        ``sslsim.training.preconditioning``.
    precondition_embedding_power, precondition_embedding_ridge : float
        Exponent, and the number that is added to the second moments.
    precondition_inputs : {"none", "covariance"}
        Precondition gradients by second moments of the inputs of every layer.
    precondition_inputs_power, precondition_inputs_ridge : float
        Exponent, and ridge relative to the mean eigenvalue.
    precision : {"float32", "bfloat16"}
        bfloat16 runs the network under autocast; losses and parameters stay float32.
    channels_last : bool
        Use the channels-last memory layout, with faster convolutions on most devices.
    compile : bool
        Compile the network with torch.compile.
    records : int
        Number of snapshots over the run.
    adaptive_records : bool
        Take further snapshots, at most half as many again, where an eigenvalue has moved by more
        than 30 % since the last snapshot.
    probe : int
        Number of held-out images in a snapshot.
    checkpoint_every : int
        Updates between checkpoints; the end and an interruption save one too.
    checkpoints_kept : int
        Number of newest checkpoints to keep. 0 keeps all, and one of the initialisation, for
        studies over the course of training.
    seed : int
        Seed of all random draws.

    Raises
    ------
    ValueError
        If a number is out of range or a name is unknown.

    Examples
    --------
    >>> TrainingOptions(schedule="cosine", warmup=10).optimizer
    'sgd'
    """

    steps: int = 2400
    batch: int = 256
    optimizer: str = "sgd"
    lr: float = 0.003
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup: int = 0
    accumulate: int = 1
    fixed_views: bool = False
    standardise: bool = True
    clip_norm: float | None = None
    precondition_embedding: str = "none"
    precondition_embedding_power: float = 1.0
    precondition_embedding_ridge: float = 0.1
    precondition_inputs: str = "none"
    precondition_inputs_power: float = 0.5
    precondition_inputs_ridge: float = 0.1
    precision: str = "float32"
    channels_last: bool = False
    compile: bool = False
    records: int = 150
    adaptive_records: bool = False
    probe: int = 256
    checkpoint_every: int = 500
    checkpoints_kept: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.batch < 2 or self.probe < 2:
            raise ValueError(
                f"batch is {self.batch} and probe {self.probe}; expected at least 2 images"
            )
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"precision is {self.precision!r}; expected one of {', '.join(PRECISIONS)}"
            )
        if self.checkpoints_kept < 0:
            raise ValueError(
                f"checkpoints_kept is {self.checkpoints_kept}; expected a number, or 0 for all"
            )
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; expected at least 0")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr is {self.lr}; expected a finite number above zero")
        check_optimizer(self.optimizer, self.momentum, self.weight_decay)
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise ValueError(f"clip_norm is {self.clip_norm}; expected a number above zero")
        self._check_preconditioners()
        if not 0 <= self.warmup <= self.steps:
            raise ValueError(f"warmup is {self.warmup}; expected from 0 to the {self.steps} steps")
        learning_rate_factor(self.schedule, 0, self.steps, self.warmup)  # both calls check
        record_steps(self.steps, self.records)

    def _check_preconditioners(self) -> None:
        for side in ("precondition_embedding", "precondition_inputs"):
            kind, power, ridge = (getattr(self, side + end) for end in ("", "_power", "_ridge"))
            if kind not in PRECONDITIONERS:
                raise ValueError(
                    f"{side} is {kind!r}; expected one of {', '.join(PRECONDITIONERS)}"
                )
            if not 0 <= power < math.inf:
                raise ValueError(f"{side}_power is {power}; expected a number of at least 0")
            if not 0 < ridge < math.inf:
                raise ValueError(f"{side}_ridge is {ridge}; expected a number above 0")
            if kind != "none" and self.compile:
                raise ValueError(f"{side} is {kind!r} with compile; expected one of the two")


def check_optimizer(optimizer: str, momentum: float, weight_decay: float) -> None:
    """Check the options of an optimiser, except its learning rate.

    Parameters
    ----------
    optimizer : str
        Optimiser, one of ``sslsim.core.names.OPTIMIZERS``.
    momentum : float
        Momentum, at least 0 and below 1.
    weight_decay : float
        Weight decay, finite and at least 0.

    Raises
    ------
    ValueError
        If the name is unknown or a number is out of range.

    Examples
    --------
    >>> check_optimizer("sgd", momentum=1.0, weight_decay=0.0)
    Traceback (most recent call last):
    ValueError: momentum is 1.0; expected a number from 0 up to below 1
    """
    if optimizer not in OPTIMIZERS:
        raise ValueError(
            f"unknown optimizer {optimizer!r}; expected one of {', '.join(OPTIMIZERS)}"
        )
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum is {momentum}; expected a number from 0 up to below 1")
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay is {weight_decay}; expected a finite number of at least 0")


def rate_factor(options: TrainingOptions, step: int) -> float:
    """Factor on the base learning rate for one update.

    Parameters
    ----------
    options : TrainingOptions
        Options with the schedule.
    step : int
        Number of the update, from 0.

    Returns
    -------
    float
        Factor from :func:`learning_rate_factor`.

    Examples
    --------
    >>> rate_factor(TrainingOptions(steps=10, warmup=4), 0)
    0.25
    """
    return learning_rate_factor(options.schedule, step, options.steps, options.warmup)


def flow_time(options: TrainingOptions, step: int) -> float:
    """Flow time after some updates: the sum of learning rates divided by 1 - momentum.

    Parameters
    ----------
    options : TrainingOptions
        Options with the learning rates.
    step : int
        Number of updates.

    Returns
    -------
    float
        Time of the gradient flow in theory; for adamw, lars and muon the plain sum.

    Examples
    --------
    >>> round(flow_time(TrainingOptions(lr=0.1, momentum=0.9), 20), 9)
    20.0
    """
    if options.schedule == "constant" and options.warmup == 0:
        total = options.lr * step
    else:
        total = sum(options.lr * rate_factor(options, k) for k in range(step))
    return total / (1.0 - options.momentum) if options.optimizer == "sgd" else total
