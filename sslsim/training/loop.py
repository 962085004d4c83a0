"""The training loop for all methods, optimisers, devices and numbers of processes.

All random draws depend on (seed, purpose, step): the order of images in an epoch, the views of a
batch. A resumed run therefore continues with the same bits.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from sslsim.core.checkpoints import fingerprint, load_newest_checkpoint, save_checkpoint
from sslsim.core.distributed import largest, rank, synchronise_batch_norm, world_size
from sslsim.core.errors import Diverged
from sslsim.core.interruption import Interrupted, any_stopped, noting_signals
from sslsim.core.seeds import derived_seed
from sslsim.data.datasets import Images
from sslsim.data.own_views import Kind, view_name
from sslsim.data.pixels import PixelStatistics
from sslsim.measures.snapshots import HeldOutPairs, snapshot
from sslsim.methods.learner import Learner
from sslsim.training.batches import training_batches
from sslsim.training.knn_monitor import NeighbourBank, neighbour_accuracy
from sslsim.training.optimizers import make_optimizer
from sslsim.training.options import TrainingOptions, flow_time, rate_factor
from sslsim.training.preconditioning import preconditioned
from sslsim.training.records import Records, closer_record, record_steps

__all__ = ["Interrupted", "TrainingOptions", "flow_time", "train"]

Watch = Callable[
    [Mapping[str, Any], Sequence[Mapping[str, Any]], Mapping[str, Any]], dict[str, Any]
]
"""What a record holds besides, by the record, the lines and the arrays of those before it."""

_NETWORK = 18  # purpose of the draws inside networks, for example of dropout
_KNN_EVERY = 10  # records between two measures of nearest neighbours
_CLOSER = 0.5  # further snapshots, as a share of the planned ones
_SPECTRA = ("cross_spectrum", "covariance_spectrum")
_FREE = ("steps", "adaptive_records")  # what a run that goes on may change
_CHECK_EVERY = 10  # updates between checks of the loss, each of which waits for the device


def train(
    learner: Learner,
    data: Images,
    kind: Kind,
    options: TrainingOptions,
    folder: Path,
    *,
    held_out: HeldOutPairs | None = None,
    bank: NeighbourBank | None = None,
    watch: Watch | None = None,
    pixels: PixelStatistics | None = None,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> Learner:
    """Train a learner, record its spectra, and resume where an earlier run of it stopped.

    Parameters
    ----------
    learner : Learner
        Learner at initialisation; it is trained in place.
    data : Images
        Training images; they are moved to the device once, as uint8, or streamed batch by batch.
    kind : str
        Kind of the views, one of ``sslsim.data.views.TRAINING_VIEWS``.
    options : TrainingOptions
        Options of the training.
    folder : Path
        Folder for ``checkpoints/``, ``records.jsonl`` and ``records.npz``, visible to all
        processes; created if missing. If it contains checkpoints of a run with the same options,
        training resumes from the newest. ``steps`` may be larger than before, within the limits of
        :func:`check_longer`.
    held_out : HeldOutPairs, optional
        Pairs whose embeddings are recorded; without them nothing is recorded. The ``loss`` of a
        record is the mean over the batches since the last record.
    bank : NeighbourBank, optional
        Images for ``knn``, the accuracy of nearest neighbours, in every tenth record and the last.
    watch : callable, optional
        Called with each new record and all before it; returns numbers that the record holds too.
    pixels : PixelStatistics, optional
        Statistics by which pixels are standardised. Default: those of ``data``.
    device : torch.device or str
        Device of the training. In a process group, every process passes its own device.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Learner
        The learner, trained.

    Raises
    ------
    ValueError
        If an option does not fit, the folder contains a run with other options, or the loss or a
        parameter is no longer finite; the last good checkpoint is kept.
    Interrupted
        If the process was interrupted (SIGINT, SIGTERM); the state is saved.

    Notes
    -----
    On the CPU of one machine, with a fixed number of threads, a run that was killed at any moment
    and resumed ends with the same bits as an uninterrupted run. Other processors and other numbers
    of threads or processes add in another order: runs then agree up to rounding, which training
    amplifies. Torch's global generator is seeded by the seed of the run.

    Examples
    --------
    >>> import tempfile
    >>> from sslsim.data.datasets import load_images
    >>> from sslsim.encoders.build import build_encoder
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
    batches = training_batches(data, kind, options, device, pixels=pixels)
    losses = torch.zeros(2, dtype=torch.float64, device=device)  # sum and number since a record
    records = Records(folder)
    recorded = [] if held_out is None else [held_out.x, held_out.x_prime]
    given = [] if pixels is None else [pixels.mean, pixels.std]
    data_hash = fingerprint([data.images, data.labels, *recorded, *given])
    # Draws inside networks, for example of dropout, use torch's global generator.
    torch.default_generator.manual_seed(derived_seed(options.seed, _NETWORK, 0))
    start = _resume(learner, optimizer, losses, records, kind, options, data_hash, device)
    module = _wrapped(learner, options, device)
    planned = [] if held_out is None else record_steps(options.steps, options.records)
    due = {step for step in planned if step > start}
    if start >= 0:
        due |= _closer(records, planned, options)
    classified = set() if bank is None else {*planned[::_KNN_EVERY], options.steps}
    start = max(start, 0)

    def mean_loss(step: int) -> float:
        # A finite loss may have an infinite gradient, which must not be recorded or saved.
        finite = [x.isfinite().all() for x in (losses, *learner.parameters())]
        if not bool(torch.stack(finite).all()):
            raise Diverged(
                f"the loss or a parameter is no longer finite by step {step}; expected a smaller "
                f"learning rate than {options.lr:g} (the last good checkpoint is kept)"
            )
        return float(losses[0] / losses[1])

    def take_record(step: int) -> None:
        assert held_out is not None
        loss = mean_loss(step)
        losses.zero_()
        measures = snapshot(learner.encoder, held_out, getattr(learner, "objective", None))
        if bank is not None:
            due_now = step in classified
            measures["knn"] = neighbour_accuracy(learner.encoder, bank) if due_now else None
        if rank() == 0:
            line = {"step": step, "time": flow_time(options, step), "loss": loss}
            record = line | measures
            if watch is not None:
                record |= watch(record, records.lines, records.arrays)
            records.add(record)
        due.update(_closer(records, planned, options))

    def save(step: int) -> None:
        mean_loss(step)
        if rank() == 0:
            records.save()
            state = _state(learner, optimizer, losses, kind, options, data_hash, step)
            save_checkpoint(folder / "checkpoints", step, state, keep=options.checkpoints_kept)

    def update(step: int) -> None:
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * rate_factor(options, step)
        optimizer.zero_grad()
        for part in range(options.accumulate):
            views, labels = batches(step * options.accumulate + part)
            # Processes exchange gradients once per update.
            silent = part < options.accumulate - 1 and world_size() > 1
            with module.no_sync() if silent else nullcontext():
                with torch.autocast(
                    device.type, torch.bfloat16, enabled=options.precision == "bfloat16"
                ):
                    loss = module(views, labels)
                (loss / options.accumulate).backward()
            losses.add_(torch.stack([loss.detach().double(), torch.ones_like(losses[1])]))
        precondition()
        if options.clip_norm is not None:
            nn.utils.clip_grad_norm_(learner.parameters(), options.clip_norm)
        optimizer.step()
        learner.after_step((step + 1) / options.steps)

    learner.train()
    with (
        preconditioned(learner, options) as precondition,
        noting_signals() as noted,
        tqdm(
            desc="training",
            initial=start,
            total=options.steps,
            disable=not progress or rank() > 0,
            file=sys.stderr,
        ) as shown,
    ):
        for step in range(start, options.steps + 1):
            # Processes must agree to stop, and a GPU would wait for the answer at every step.
            due_check = world_size() == 1 or device.type == "cpu" or step % _CHECK_EVERY == 0
            stopping = due_check and any_stopped(noted)
            if step in due:
                take_record(step)
            regular = step % options.checkpoint_every == 0 or step == options.steps
            first = step == 0 and options.checkpoints_kept == 0
            if stopping or (regular and step > start) or first:
                save(step)
            if stopping:
                raise Interrupted(f"stopped at step {step} of {options.steps}; saved")
            if step == options.steps:
                break
            update(step)
            shown.update()
            if (step + 1) % _CHECK_EVERY == 0:
                shown.set_postfix(loss=f"{mean_loss(step + 1):.4g}", refresh=False)
    return learner


def _closer(records: Records, planned: Sequence[int], options: TrainingOptions) -> set[int]:
    """Update of a further snapshot, if one is due; all processes agree."""
    if not options.adaptive_records or not planned:
        return set()
    steps = [line["step"] for line in records.lines[-2:]]
    extra = sum(line["step"] not in planned for line in records.lines)
    wanted = None
    if len(steps) == 2 and extra < len(planned) * _CLOSER and steps[1] < planned[-1]:
        spectra = [[records.arrays[name][at] for name in _SPECTRA] for at in (-2, -1)]
        wanted = closer_record(steps, spectra)
    chosen = int(largest(-1 if wanted is None else wanted))  # only the first process holds records
    return set() if chosen < 0 else {chosen}


def check_longer(folder: Path, steps: int, options: TrainingOptions, learner: Learner) -> None:
    """Check that a run may continue beyond its planned end.

    Parameters
    ----------
    folder : Path
        Folder of the run, for the message.
    steps : int
        Planned number of updates.
    options : TrainingOptions
        New options; only ``steps`` may differ.
    learner : Learner
        Learner to train.

    Raises
    ------
    ValueError
        If there would be fewer updates, or the updates so far depend on the total number: with a
        schedule that is not constant, or with a teacher that follows more and more slowly.

    Examples
    --------
    >>> from sslsim.methods.build import build_learner
    >>> learner = build_learner("simclr", (1, 8, 8), 4, encoder="linear", seed=0)
    >>> check_longer(Path("run"), 10, TrainingOptions(steps=20, schedule="cosine"), learner)
    Traceback (most recent call last):
    ValueError: run holds a run of 10 steps whose schedule is cosine, which depends on their \
number; expected 10 steps, or another folder
    """
    if options.steps < steps:
        raise ValueError(
            f"{folder} holds a run of {steps} steps, now it is {options.steps}; expected at least "
            f"{steps}, or another folder"
        )
    reason = None
    if options.schedule != "constant":
        reason = f"whose schedule is {options.schedule}, which depends"
    elif learner.follows_progress:
        reason = "whose teacher follows by a schedule, which depends"
    if reason is not None:
        raise ValueError(
            f"{folder} holds a run of {steps} steps {reason} on their number; expected {steps} "
            "steps, or another folder"
        )


def _wrapped(learner: Learner, options: TrainingOptions, device: torch.device) -> Any:
    """The learner, compiled and with gradients averaged over processes where this applies."""
    module: Any = torch.compile(learner) if options.compile else learner
    if world_size() == 1:
        return module
    parallel = nn.parallel.DistributedDataParallel
    # Statistics are global already. torch 2.13 renamed the option.
    known = inspect.signature(parallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    settings: dict[str, Any] = {name: False}
    if device.type == "cuda":
        settings["device_ids"] = [device.index]
    return parallel(module, **settings)


def _state(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    losses: torch.Tensor,
    kind: Kind,
    options: TrainingOptions,
    data_hash: str,
    step: int,
) -> dict[str, Any]:
    return {
        "step": step,
        "images": data_hash,
        "options": {**asdict(options), "views": view_name(kind)},
        "learner": learner.state_dict(),
        "optimizer": optimizer.state_dict(),
        "losses": losses,
        "rng": torch.get_rng_state(),  # for draws inside networks, for example of dropout
    }


def _resume(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    losses: torch.Tensor,
    records: Records,
    kind: Kind,
    options: TrainingOptions,
    data_hash: str,
    device: torch.device,
) -> int:
    """Load the newest checkpoint; return the updates done, -1 if there is none."""
    folder = records.folder
    largest(0.0)  # the process that saves may still be writing
    state = load_newest_checkpoint(folder / "checkpoints", device)
    step = -1
    if state is not None:
        wanted = {**asdict(options), "views": view_name(kind)}
        old = asdict(TrainingOptions()) | state["options"]  # of a version with fewer options
        differing = [k for k, v in wanted.items() if k not in _FREE and old.get(k) != v]
        if differing:
            name = differing[0]
            raise ValueError(
                f"{folder} holds a run with {name} {old.get(name)}, now it is "
                f"{wanted[name]}; expected the same options, or another folder"
            )
        if old["steps"] != options.steps:
            check_longer(folder, old["steps"], options, learner)
        if state["images"] != data_hash:
            raise ValueError(
                f"{folder} holds a run on other images; expected the same ones, or another folder"
            )
        try:
            learner.load_state_dict(state["learner"])
            optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:  # names or shapes, groups
            raise ValueError(
                f"{folder} holds a run of another network; expected the same one, or another folder"
            ) from error
        losses.copy_(state["losses"])
        torch.set_rng_state(state["rng"].cpu())
        step = int(state["step"])
    if largest(step) != -largest(-step):
        raise ValueError(
            f"process {rank()} finds step {step} in {folder}, others another; expected a folder "
            "that all processes see"
        )
    if rank() == 0:
        records.resume(step)
    return step
