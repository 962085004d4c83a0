"""The training loop: one loop for all methods, optimisers, devices and numbers of processes.

Everything random is drawn from (seed, purpose, step): the order of images in an epoch, the views of
a batch. A run that resumes from a checkpoint needs nothing else to continue with the same bits.
"""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from tqdm import tqdm

from sslsim.checkpoints import load_newest_checkpoint, save_checkpoint
from sslsim.data import Images
from sslsim.distributed import rank, rows_of_rank, synchronise_batch_norm, world_size
from sslsim.methods.learner import Learner
from sslsim.optimizers import make_optimizer
from sslsim.recording import ProbeSet, Recorder, record_steps, snapshot
from sslsim.schedules import learning_rate_factor
from sslsim.seeds import derived_generator
from sslsim.views import Views, draw_views

PRECISIONS = ("float32", "bfloat16")

_ORDER, _VIEWS, _FIXED = 2, 3, 4  # purposes of draws
_CHECK_EVERY = 10  # updates between looks at the loss, each of which waits for the device


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    Attributes
    ----------
    steps : int
        Updates in all.
    batch : int
        Images of the global batch; at most all there are.
    optimizer : {"sgd", "adamw", "lars"}
        See ``sslsim.optimizers``.
    lr : float
        Base learning rate.
    momentum : float
        Heavy-ball coefficient of sgd and lars.
    weight_decay : float
        As torch defines it.
    schedule : {"constant", "cosine", "step", "exponential"}
        Of the learning rate, see ``sslsim.schedules``.
    warmup : int
        Updates of linear warm-up.
    accumulate : int
        Batches whose gradients are averaged in one update. Each has its own loss: for losses of a
        whole batch that is not the loss of a larger batch.
    fixed_views : bool
        Draw the views of every image once and train on them, instead of fresh ones every time. Then
        theory predicts for these very pairs.
    precision : {"float32", "bfloat16"}
        bfloat16 runs the network under autocast; losses and parameters stay float32.
    channels_last : bool
        Memory layout of images; faster convolutions on most devices.
    compile : bool
        Compile the network with torch.compile.
    records : int
        Snapshots of the probe set over the run.
    probe : int
        Held-out images in it.
    checkpoint_every : int
        Updates between checkpoints; the end and an interruption make one as well.
    seed : int
        Of everything random.
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
    precision: str = "float32"
    channels_last: bool = False
    compile: bool = False
    records: int = 150
    probe: int = 256
    checkpoint_every: int = 500
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
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; expected at least 0")


class Interrupted(Exception):
    """Training was asked to stop; a checkpoint has been saved."""


def train(
    learner: Learner,
    data: Images,
    kind: str,
    options: TrainingOptions,
    folder: Path,
    *,
    probe: ProbeSet | None = None,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> Learner:
    """Train a learner, record its spectra, and resume where an earlier run of it stopped.

    Parameters
    ----------
    learner : Learner
        At its initialisation; trained in place.
    data : Images
        The training images; they are moved to the device once, as uint8.
    kind : str
        Kind of the views, one of ``sslsim.views.TRAINING_VIEWS``.
    options : TrainingOptions
        How to train.
    folder : Path
        Receives ``checkpoints/``, ``records.jsonl`` and ``records.npz``. If it holds checkpoints of
        a run of the same options, training goes on from the newest.
    probe : ProbeSet, optional
        What to record snapshots of; nothing is recorded without one.
    device : torch.device or str
        Where to train. In a process group every process calls this function with its own.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Learner
        The argument, trained.

    Raises
    ------
    ValueError
        If an option does not fit, the folder holds a run of other options, or the loss is no
        longer finite; the last good checkpoint is kept.
    Interrupted
        If the process was interrupted (SIGINT, SIGTERM); the state is saved.

    Examples
    --------
    >>> import tempfile
    >>> from sslsim.data import load_images
    >>> from sslsim.encoders.encoder import build_encoder
    >>> from sslsim.methods.learner import PairLearner
    >>> from sslsim.objectives import barlow_twins
    >>> learner = PairLearner(build_encoder("linear", (1, 8, 8), 2, seed=0), barlow_twins)
    >>> options = TrainingOptions(steps=3, batch=32, records=2)
    >>> trained = train(learner, load_images(limit=64), "noise", options, Path(tempfile.mkdtemp()))
    >>> trained is learner
    True
    """
    device = torch.device(device)
    synchronise_batch_norm(learner, device)
    learner.to(device)
    if options.channels_last:
        learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(
        options.optimizer,
        learner,
        options.lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
    )
    recorder = Recorder(folder)
    start = _resume(learner, optimizer, recorder, kind, options, folder, device)
    batches = _batches(data, kind, options, device)
    module: Callable[[Views, torch.Tensor | None], torch.Tensor] = learner
    if options.compile:
        module = torch.compile(learner)
    if world_size() > 1:
        module = nn.parallel.DistributedDataParallel(
            module,
            device_ids=[device.index] if device.type == "cuda" else None,
            broadcast_buffers=False,  # statistics are global already
        )
    due = set(record_steps(options.steps, options.records)) if probe is not None else set()
    losses: list[torch.Tensor] = []
    recent = float("nan")

    def save(step: int) -> None:
        if rank() == 0:
            recorder.save()
            state = _state(learner, optimizer, kind, options, step)
            save_checkpoint(folder / "checkpoints", step, state)

    def record(step: int) -> None:
        assert probe is not None
        found = snapshot(learner.encoder, probe, getattr(learner, "objective", None))
        time = flow_time(options, step)
        if rank() == 0:
            recorder.add({"step": step, "time": time, "loss": recent, **found})

    learner.train()
    shown = tqdm(
        range(start, options.steps),
        desc="training",
        initial=start,
        total=options.steps,
        disable=not progress or rank() > 0,
        file=sys.stderr,
    )
    with _noting_signals() as stop:
        for step in shown:
            if step in due:
                recent = _checked(losses, recent, step, options)
                record(step)
            if step > start and step % options.checkpoint_every == 0:
                recent = _checked(losses, recent, step, options)
                save(step)
            if _stopped(stop):
                recent = _checked(losses, recent, step, options)
                save(step)
                raise Interrupted(f"stopped at step {step} of {options.steps}; saved")
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * _factor(options, step)
            optimizer.zero_grad()
            for part in range(options.accumulate):
                views, labels = batches(step * options.accumulate + part)
                last = part == options.accumulate - 1
                quiet = getattr(module, "no_sync", nullcontext)
                with nullcontext() if last else quiet(), _autocast(options, device):
                    loss = module(views, labels)
                    (loss / options.accumulate).backward()
                losses.append(loss.detach())
            optimizer.step()
            learner.after_step((step + 1) / options.steps)
            if (step + 1) % _CHECK_EVERY == 0:
                recent = _checked(losses, recent, step + 1, options)
                shown.set_postfix(loss=f"{recent:.4g}", refresh=False)
    recent = _checked(losses, recent, options.steps, options)
    if options.steps in due and start < options.steps:
        record(options.steps)
    if start < options.steps:
        save(options.steps)
    return learner


def flow_time(options: TrainingOptions, step: int) -> float:
    """Flow time after some updates: the sum of learning rates, over 1 - momentum.

    Parameters
    ----------
    options : TrainingOptions
        Say the learning rates.
    step : int
        Updates done.

    Returns
    -------
    float
        The time in which theory counts; of adamw and lars the plain sum.

    Examples
    --------
    >>> round(flow_time(TrainingOptions(lr=0.1, momentum=0.9), 20), 9)
    20.0
    """
    if options.schedule == "constant" and options.warmup == 0:
        total = options.lr * step
    else:
        total = sum(options.lr * _factor(options, k) for k in range(step))
    return total / (1.0 - options.momentum) if options.optimizer == "sgd" else total


def _factor(options: TrainingOptions, step: int) -> float:
    return learning_rate_factor(options.schedule, step, options.steps, options.warmup)


def _batches(
    data: Images, kind: str, options: TrainingOptions, device: torch.device
) -> Callable[[int], tuple[Views, torch.Tensor | None]]:
    """Function from the number of a batch to this process's views and labels of it."""
    images = data.images.to(device)
    labels = None if data.labels is None else data.labels.to(device)
    size = min(options.batch, len(images))
    rows = rows_of_rank(size)
    fixed = None
    if options.fixed_views:
        # Generators differ between devices; fixed pairs are the same on all.
        fixed = draw_views(data.images.cpu(), kind, derived_generator(options.seed, _FIXED, 0))

    def batch(number: int) -> tuple[Views, torch.Tensor | None]:
        epoch, place = divmod(number, len(images) // size)
        chosen = _order(len(images), options.seed, epoch)[place * size : (place + 1) * size]
        if fixed is None:
            generator = derived_generator(options.seed, _VIEWS, number, device)
            views = draw_views(images[chosen.to(device)], kind, generator, rows=rows)
        else:
            views = Views(
                tuple(view[chosen[rows]].to(device) for view in fixed.views),
                None if fixed.boxes is None else fixed.boxes[chosen[rows]].to(device),
            )
        if options.channels_last:
            laid = tuple(view.to(memory_format=torch.channels_last) for view in views.views)
            views = Views(laid, views.boxes)
        return views, None if labels is None else labels[chosen[rows].to(device)]

    return batch


@lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> torch.Tensor:
    return torch.randperm(count, generator=derived_generator(seed, _ORDER, epoch))


def _autocast(options: TrainingOptions, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bfloat16")


def _checked(
    losses: list[torch.Tensor], recent: float, step: int, options: TrainingOptions
) -> float:
    """Mean of the losses since the last look, which are taken off the list; all must be finite."""
    if not losses:
        return recent
    values = torch.stack(losses).double()
    losses.clear()
    finite = bool(torch.isfinite(values).all())
    if not finite:
        raise ValueError(
            f"the loss is no longer finite by step {step}; expected a smaller learning rate than "
            f"{options.lr:g} (the last good checkpoint is kept)"
        )
    return float(values.mean())


def _state(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    kind: str,
    options: TrainingOptions,
    step: int,
) -> dict[str, Any]:
    return {
        "step": step,
        "options": {**asdict(options), "views": kind},
        "learner": learner.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
    }


def _resume(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    recorder: Recorder,
    kind: str,
    options: TrainingOptions,
    folder: Path,
    device: torch.device,
) -> int:
    """Load the newest checkpoint, if there is one; return the updates done."""
    state = load_newest_checkpoint(folder / "checkpoints", device)
    step = 0
    if state is not None:
        wanted = {**asdict(options), "views": kind}
        differing = [k for k, v in wanted.items() if state["options"].get(k) != v]
        if differing:
            name = differing[0]
            raise ValueError(
                f"{folder} holds a run with {name} {state['options'].get(name)}, now it is "
                f"{wanted[name]}; expected the same options, or another folder"
            )
        try:
            learner.load_state_dict(state["learner"])
        except RuntimeError as error:
            raise ValueError(
                f"{folder} holds a run of another network; expected the same one, or another folder"
            ) from error
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"].cpu())
        step = int(state["step"])
    if rank() == 0:
        recorder.resume(step)
    return step


@contextmanager
def _noting_signals() -> Iterator[list[int]]:
    """Note SIGINT and SIGTERM instead of dying of them; a second one is taken at its word."""
    noted: list[int] = []

    def note(number: int, frame: object) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    kept = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            kept[number] = signal.signal(number, note)
        except ValueError:  # not the main thread: signals go elsewhere
            warnings.warn("not in the main thread: interruptions are not noted", stacklevel=3)
            break
    try:
        yield noted
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _stopped(noted: list[int]) -> bool:
    """Whether any process was told to stop: all must stop at the same step."""
    if world_size() == 1:
        return bool(noted)
    flag = torch.tensor(float(bool(noted)))
    if dist.get_backend() == "nccl":
        flag = flag.cuda()
    dist.all_reduce(flag)
    return bool(flag.item())
