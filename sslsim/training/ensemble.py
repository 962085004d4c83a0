"""An ensemble of networks of one architecture, trained at once on parts of the images.

Parameters are stacked, and one vectorised pass computes the losses of all networks
(``torch.func.vmap``). Networks are independent: the gradient of the sum of losses contains the
gradient of each, and an optimiser that treats every entry separately makes the same step as for a
single network.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from tqdm import tqdm

from sslsim.core.checkpoints import fingerprint, load_newest_checkpoint, save_checkpoint
from sslsim.core.distributed import world_size
from sslsim.core.errors import Diverged
from sslsim.core.interruption import Interrupted, noting_signals
from sslsim.data.datasets import Images
from sslsim.data.own_views import Kind, view_name
from sslsim.data.pixels import PixelStatistics
from sslsim.data.views import Views
from sslsim.encoders.checks import architecture
from sslsim.methods.learner import Learner
from sslsim.training.batches import joint_batches
from sslsim.training.optimizers import OF_TENSORS, make_optimizer
from sslsim.training.options import TrainingOptions, rate_factor

_CHECK_EVERY = 10  # updates between checks of the losses, each of which waits for the device
_Tensors = dict[str, Any]  # tensors, or tuples of tensors, whose first axis is the network


def train_together(
    learners: Sequence[Learner],
    data: Images,
    members: torch.Tensor,
    kind: Kind,
    options: TrainingOptions,
    folder: Path,
    *,
    seeds: Sequence[int],
    pixels: PixelStatistics | None = None,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> list[Learner]:
    """Train an ensemble of learners at once; resume where an earlier run stopped.

    Parameters
    ----------
    learners : sequence of Learner
        K learners of one method with equal options and one architecture, at initialisation; they
        are trained in place. The loss of the method must depend only on views and parameters.
    data : Images
        All images; they are moved to the device once, as uint8.
    members : Tensor of bool, shape (K, n)
        Whether learner k is trained on image i, for instance from
        :func:`sslsim.memorization.draw_members`.
    kind : str
        Kind of the views, one of ``sslsim.data.views.TRAINING_VIEWS``.
    options : TrainingOptions
        Options of each training; ``seed``, ``records`` and ``probe`` are not used.
    folder : Path
        Folder for ``checkpoints/``, one file for all learners; created if missing. If it contains
        checkpoints of a run with the same options, training resumes from the newest.
    seeds : sequence of int
        Seed of each learner's batches and views, instead of ``options.seed``.
    pixels : PixelStatistics, optional
        Statistics by which pixels are standardised, for all learners. Default: those of each
        learner's images.
    device : torch.device or str
        Device of the training. Its memory must hold the activations of all learners.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of Learner
        The trained learners. Their parameters and buffers are, up to rounding, those of
        :func:`sslsim.training.loop.train` on their images with their seeds.

    Raises
    ------
    ValueError
        If there are no learners; they differ in architecture; a method acts after its steps (a
        teacher, prototypes) or makes random draws (dropout); shapes or numbers do not fit; parts
        need batches of different sizes; an option is not possible here (LARS, whose steps depend on
        whole tensors; compile; channels_last; several processes); the folder contains another run;
        or the loss or a parameter of a learner is no longer finite.
    Interrupted
        If the process was interrupted (SIGINT, SIGTERM); the state is saved.

    Notes
    -----
    On the CPU this is faster than one training after another if networks are so small that calls
    take most of the time, as on images of 8 x 8 pixels. It is slower if a single network uses the
    whole processor (``sslsim bench memorization`` measures it).

    Examples
    --------
    >>> import tempfile
    >>> from sslsim.data.datasets import load_images
    >>> from sslsim.memorization import draw_members
    >>> from sslsim.methods.build import build_learner
    >>> learners = [
    ...     build_learner("simclr", (1, 8, 8), 2, encoder="linear", seed=k) for k in range(4)
    ... ]
    >>> trained = train_together(
    ...     learners,
    ...     load_images(limit=64),
    ...     draw_members(4, 64),
    ...     "noise",
    ...     TrainingOptions(steps=3, batch=32),
    ...     Path(tempfile.mkdtemp()),
    ...     seeds=range(4),
    ... )
    >>> trained[0] is learners[0]
    True
    """
    device = torch.device(device)
    _check_learners(learners)
    _check_options(options)
    parts = _parts(learners, data, members, seeds)
    for learner in learners:
        learner.to(device).train()
    parameters, buffers = stack_module_state(list(learners))
    optimizer = _stacked_optimizer(learners[0], parameters, options)
    batches = joint_batches(data, kind, options, device, parts, seeds, pixels=pixels)
    wanted = {**asdict(options), "views": view_name(kind), "seed": list(seeds)}
    given = [] if pixels is None else [pixels.mean, pixels.std]
    data_hash = fingerprint([data.images, data.labels, members, *given])
    start = _resume(folder, wanted, data_hash, parameters, buffers, optimizer, device)

    def loss_of(parameters: _Tensors, buffers: _Tensors, batch: _Tensors) -> torch.Tensor:
        rest = (batch.get(name) for name in ("boxes", "visible", "masked"))
        arguments = (Views(batch["views"], *rest), batch.get("labels"))
        return functional_call(learners[0], (parameters, buffers), arguments)

    losses_of: Callable[..., torch.Tensor] = vmap(loss_of)
    losses = torch.zeros(len(learners), device=device)

    def check(step: int) -> float:
        fine = torch.stack([x.isfinite().flatten(1).all(dim=1) for x in parameters.values()])
        if broken := (~(fine.all(dim=0) & losses.isfinite())).nonzero()[:, 0].tolist():
            raise Diverged(
                f"the loss or a parameter of learner {broken[0]} is no longer finite by step "
                f"{step}; expected a smaller learning rate than {options.lr:g} (the last good "
                "checkpoint is kept)"
            )
        return float(losses.mean())

    def save(step: int) -> None:
        check(step)
        state = {
            "step": step,
            "images": data_hash,
            "options": wanted,
            "parameters": {name: value.detach() for name, value in parameters.items()},
            "buffers": buffers,
            "optimizer": optimizer.state_dict(),
        }
        save_checkpoint(folder / "checkpoints", step, state, keep=options.checkpoints_kept)

    def update(step: int) -> None:
        nonlocal losses
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * rate_factor(options, step)
        optimizer.zero_grad()
        for part in range(options.accumulate):
            batch = _present(*batches(step * options.accumulate + part))
            with torch.autocast(
                device.type, torch.bfloat16, enabled=options.precision == "bfloat16"
            ):
                batch_losses = losses_of(parameters, buffers, batch)
            (batch_losses.sum() / options.accumulate).backward()
            losses = batch_losses.detach()
        optimizer.step()

    with (
        warnings.catch_warnings(),
        noting_signals() as noted,
        tqdm(
            desc=f"training {len(learners)} together",
            initial=max(start, 0),
            total=options.steps,
            disable=not progress,
            file=sys.stderr,
        ) as shown,
    ):
        # vmap loops over what it cannot vectorise (attention on the CPU); the result is the same.
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        for step in range(max(start, 0), options.steps + 1):
            stopping = bool(noted)
            regular = step % options.checkpoint_every == 0 or step == options.steps
            first = step == 0 and options.checkpoints_kept == 0
            if stopping or (regular and step > max(start, 0)) or first:
                save(step)
            if stopping:
                raise Interrupted(f"stopped at step {step} of {options.steps}; saved")
            if step == options.steps:
                break
            update(step)
            shown.update()
            if (step + 1) % _CHECK_EVERY == 0:
                shown.set_postfix(loss=f"{check(step + 1):.4g}", refresh=False)
    _write_back(learners, parameters, buffers)
    return list(learners)


def _check_learners(learners: Sequence[Learner]) -> None:
    if not learners:
        raise ValueError("no learners were given; expected at least one")
    first = learners[0]
    for k, learner in enumerate(learners):
        if differs := architecture(learner) ^ architecture(first):
            raise ValueError(
                f"learners[{k}] and learners[0] are of different architectures, from "
                f"{min(differs)[0] or 'the whole'!r} on; expected the same"
            )
    if type(first).after_step is not Learner.after_step:
        raise ValueError(
            f"{type(first).__name__} does something after its steps (a teacher, prototypes, "
            "directions); expected a method without, or training one after another"
        )
    for name, module in first.named_modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise ValueError(
                f"{name!r} is {module}, which draws by itself; expected networks without dropout, "
                "or training one after another"
            )


def _check_options(options: TrainingOptions) -> None:
    if options.optimizer in OF_TENSORS:
        raise ValueError(
            f"optimizer is {options.optimizer!r}, whose steps depend on whole tensors; expected "
            "'sgd' or 'adamw'"
        )
    for name in ("precondition_embedding", "precondition_inputs"):
        if getattr(options, name) != "none":
            raise ValueError(
                f"{name} is {getattr(options, name)!r}; expected 'none' where networks are trained "
                "together"
            )
    if options.clip_norm is not None:
        raise ValueError(
            f"clip_norm is {options.clip_norm}; expected None where networks are trained together"
        )
    for name in ("compile", "channels_last"):
        if getattr(options, name):
            raise ValueError(f"{name} is True; expected False where networks are trained together")
    if world_size() > 1:
        raise ValueError(f"there are {world_size()} processes; expected one to train together")


def _parts(
    learners: Sequence[Learner],
    data: Images,
    members: torch.Tensor,
    seeds: Sequence[int],
) -> list[torch.Tensor]:
    """Indices of the images of each learner."""
    count = len(learners)
    if members.dtype != torch.bool or members.shape != (count, len(data.images)):
        raise ValueError(
            f"members is {members.dtype} of shape {tuple(members.shape)}; expected bool of shape "
            f"({count}, {len(data.images)}), learners and images"
        )
    if len(seeds) != count:
        raise ValueError(f"there are {len(seeds)} seeds; expected one for each of {count} learners")
    return [row.nonzero()[:, 0] for row in members.cpu()]


def _stacked_optimizer(
    learner: Learner, parameters: dict[str, torch.Tensor], options: TrainingOptions
) -> torch.optim.Optimizer:
    """Optimiser of a single learner, applied to the stacked parameters of all."""
    optimizer = make_optimizer(
        options.optimizer,
        learner,
        options.lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
    )
    # Stacked vectors look like matrices, so the groups come from a single learner.
    stacked = {id(p): parameters[name] for name, p in learner.named_parameters()}
    for group in optimizer.param_groups:
        group["params"] = [stacked[id(p)] for p in group["params"]]
    return optimizer


def _present(views: Views, labels: torch.Tensor | None) -> _Tensors:
    """Parts of a batch that are not None, since vmap does not accept None."""
    rest = {
        "boxes": views.boxes,
        "visible": views.visible,
        "masked": views.masked,
        "labels": labels,
    }
    return {"views": views.views, **{k: value for k, value in rest.items() if value is not None}}


def _resume(
    folder: Path,
    wanted: dict[str, Any],
    data_hash: str,
    parameters: dict[str, torch.Tensor],
    buffers: dict[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> int:
    """Load the newest checkpoint; return the updates done, -1 if there is none."""
    state = load_newest_checkpoint(folder / "checkpoints", device)
    if state is None:
        return -1
    old = asdict(TrainingOptions()) | state["options"]  # of a version with fewer options
    for name, value in wanted.items():
        if old.get(name) != value:
            raise ValueError(
                f"{folder} holds a run with {name} {old.get(name)}, now it is {value}; expected "
                "the same options, or another folder"
            )
    if state["images"] != data_hash:
        raise ValueError(
            f"{folder} holds a run on other images or members; expected the same ones, or another "
            "folder"
        )
    for name, now in (("parameters", parameters), ("buffers", buffers)):
        saved = state.get(name, {})
        if {k: v.shape for k, v in saved.items()} != {k: v.shape for k, v in now.items()}:
            raise ValueError(
                f"{folder} holds a run of other networks; expected the same, or another folder"
            )
        with torch.no_grad():
            for key, value in saved.items():
                now[key].copy_(value)
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


@torch.no_grad()
def _write_back(
    learners: Sequence[Learner],
    parameters: dict[str, torch.Tensor],
    buffers: dict[str, torch.Tensor],
) -> None:
    for k, learner in enumerate(learners):
        for name, parameter in learner.named_parameters():
            parameter.copy_(parameters[name][k])
        for name, buffer in learner.named_buffers():
            buffer.copy_(buffers[name][k])
