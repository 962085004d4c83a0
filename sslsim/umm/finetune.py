r"""Bi-level fine-tuning of a trained learner (arXiv 2410.00772, eq. 8).

With f_e frozen, theta the parameters of f_l and of all other trained parts of the learner (its
pre-trained projector, predictor, prototypes), and the views of one image as a group,

    outer   max_theta  coding_rate DeltaR(Z_l(phi*(theta))) - loss(phi*(theta))
    inner   phi*(theta) = argmin_phi loss(phi) + beta D(P_last(phi), P_early)     from phi = theta.

The loss is that of the learner's method on its views. Both levels see the same batch, and every
outer step draws a new one. The result is theta.

BatchNorms of f_l use the statistics of the batch in every step, as in training. The Jacobians of
``volume`` belong to single samples, so there BatchNorms use their running statistics. Running
statistics and DINO's centre change once per outer step, by the batch at theta. Teachers follow
theta as in training. Measures on held-out images are made in evaluation mode.

All random draws depend on (seed, purpose, step): a resumed run continues with the same bits.
"""

from __future__ import annotations

import copy
import hashlib
import math
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from sslsim.core.checkpoints import load_newest_checkpoint, save_checkpoint
from sslsim.core.distributed import world_size
from sslsim.core.errors import Diverged
from sslsim.core.interruption import Interrupted, any_stopped, noting_signals
from sslsim.core.seeds import derived_seed
from sslsim.data.datasets import Images
from sslsim.data.own_views import Kind, view_name
from sslsim.data.pixels import PixelStatistics
from sslsim.methods.learner import Learner
from sslsim.training.batches import training_batches
from sslsim.training.options import TrainingOptions, learning_rate_factor
from sslsim.training.records import Records
from sslsim.umm.bilevel_losses import BilevelLosses
from sslsim.umm.convergence import LEAST_RECORDS, Convergence, diagnose
from sslsim.umm.evaluation import Measured, check_held_out, held_out_batch, measure
from sslsim.umm.options import UmmOptions
from sslsim.umm.outer_step import outer_step, trained_names
from sslsim.umm.split import frozen_early, split_encoder

_NOISE = 7  # purpose of the draws inside networks, for example of dropout


@dataclass(frozen=True, eq=False)
class Undone:
    """A fine-tuned learner and its measures.

    Attributes
    ----------
    learner : Learner
        The learner, fine-tuned in place.
    before, after : Measured
        Measures on held-out images.
    convergence : Convergence or None
        Diagnosis of the iteration; None if the run is too short.
    """

    learner: Learner
    before: Measured
    after: Measured
    convergence: Convergence | None


def undo_memorization(
    learner: Learner,
    data: Images,
    held_out: Images,
    kind: Kind,
    options: UmmOptions,
    folder: Path,
    *,
    pixels: PixelStatistics | None = None,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> Undone:
    """Fine-tune a trained learner, and resume where an earlier run of it stopped.

    Parameters
    ----------
    learner : Learner
        Trained learner of any method that embeds two views of an image. It is fine-tuned in place;
        the early part of its encoder does not change.
    data : Images
        Images to fine-tune on, usually the training images.
    held_out : Images
        Other images for the measures before and after.
    kind : str
        Kind of the views, usually that of the training.
    options : UmmOptions
        Options of the fine-tuning.
    folder : Path
        Folder for ``checkpoints/``, ``records.jsonl`` and ``records.npz``; created if missing. If
        it contains checkpoints of a run with the same options and learner, that run is resumed.
    pixels : PixelStatistics, optional
        Statistics by which pixels are standardised, usually those of the training. Default: those
        of ``data``.
    device : torch.device or str
        Device of the computation.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Undone
        The learner, its measures before and after, and a diagnosis.

    Raises
    ------
    ValueError
        If the split or the method does not fit, held-out images are among ``data``, or the folder
        contains another run. If a number is no longer finite, the error is ``Diverged``, a
        subclass, and the last good checkpoint is kept.
    Interrupted
        If the process was interrupted (SIGINT, SIGTERM); the state is saved.

    Notes
    -----
    A record has ``step`` (outer steps done); ``time`` (sum of outer learning rates);
    ``coding_rate_reduction``, ``loss`` and ``alignment`` at theta before the step;
    ``gradient_norm``, the norm of the hypergradient; ``objective``, the outer objective at phi*,
    which is maximised; ``inner_start`` and ``inner_end``, the inner loss before and after the inner
    steps; and ``residual`` of the implicit linear system. With ``joint`` the objective is that of
    the single level and the last three are null.

    Examples
    --------
    >>> import tempfile
    >>> from sslsim.data.datasets import load_images
    >>> from sslsim.methods.build import build_learner
    >>> learner = build_learner("simclr", (1, 8, 8), 4, encoder="mlp", widths=(16, 8), seed=0)
    >>> options = UmmOptions(split="layer1", steps=4, batch=16, held_out=16)
    >>> done = undo_memorization(
    ...     learner, load_images(limit=32), load_images(split="test", limit=32), "noise", options,
    ...     Path(tempfile.mkdtemp())
    ... )
    >>> done.learner is learner, done.before == done.after, done.convergence
    (True, False, None)
    """
    device = torch.device(device)
    if world_size() > 1:
        raise ValueError(f"there are {world_size()} processes; expected one for fine-tuning")
    split = split_encoder(learner.encoder, options.split)
    names = trained_names(learner, split, options)
    check_held_out(data, held_out)
    settings = {**asdict(options), "views": view_name(kind)}
    if pixels is not None:
        settings["pixels"] = [pixels.mean.tolist(), pixels.std.tolist()]
    run = {"options": settings, "start": start_digest(learner, data, held_out)}
    learner.to(device)
    # The initial learner, which gives the alignment to hold.
    start = copy.deepcopy(learner) if options.hold > 0 else None
    theta = [learner.get_parameter(name) for name in names]
    optimizer: torch.optim.Optimizer = (
        torch.optim.Adam(theta, options.outer_lr)
        if options.optimizer == "adam"
        else torch.optim.SGD(theta, options.outer_lr)
    )
    drawn = TrainingOptions(
        batch=options.batch,
        standardise=options.standardise,
        fixed_views=options.fixed_views,
        seed=options.seed,
    )
    batches = training_batches(data, kind, drawn, device, pixels=pixels)
    records = Records(folder)
    state = _load(folder, run, device)
    step, phi, before = 0, None, None
    if state is not None:
        learner.load_state_dict(state["learner"])
        optimizer.load_state_dict(state["optimizer"])
        step, phi, before = int(state["step"]), state["phi"], Measured(**state["before"])
    records.resume(-1 if state is None else step)

    views, labels = held_out_batch(data, held_out, kind, options, device, pixels=pixels)
    measured = BilevelLosses(learner, split, options, views, labels, names)
    if before is None:
        before = measure(measured)

    def save(step: int) -> None:
        if not all(bool(p.isfinite().all()) for p in theta):
            raise Diverged(_not_finite("a parameter", step, options))
        records.save()
        state = {
            "step": step, "learner": learner.state_dict(), "optimizer": optimizer.state_dict(),
            "phi": phi, "before": asdict(before),
        }  # fmt: skip
        save_checkpoint(folder / "checkpoints", step, run | state)

    with (
        noting_signals() as noted,
        tqdm(
            desc="undoing", initial=step, total=options.steps, disable=not progress, file=sys.stderr
        ) as shown,
    ):
        while True:
            stopping = any_stopped(noted)
            if stopping or step % options.checkpoint_every == 0 or step == options.steps:
                save(step)
            if stopping:
                raise Interrupted(f"stopped at step {step} of {options.steps}; saved")
            if step == options.steps:
                break
            factor = learning_rate_factor(options.schedule, step, options.steps)
            for group in optimizer.param_groups:
                group["lr"] = options.outer_lr * factor
            losses = BilevelLosses(learner, split, options, *batches(step), names)
            noise = derived_seed(options.seed, _NOISE, step)
            if start is not None:
                losses = replace(losses, alignment_target=_alignment_at(start, losses, noise))
            # All passes of a step make the same draws, so losses are functions of the parameters.
            with frozen_early(learner, split), torch.random.fork_rng(devices=[]):
                torch.random.default_generator.manual_seed(noise)
                gradient, phi, line = outer_step(losses, phi)
            for p, g in zip(theta, gradient, strict=True):
                p.grad = g
            if any(value is not None and not math.isfinite(value) for value in line.values()):
                raise Diverged(_not_finite("a loss or the hypergradient", step, options))
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            learner.after_step(step / options.steps)
            elapsed = records.lines[-1]["time"] if records.lines else 0.0
            records.add({"step": step, "time": elapsed + options.outer_lr * factor, **line})
            shown.update()
            shown.set_postfix(DeltaR=f"{line['coding_rate_reduction']:.4g}", refresh=False)
    convergence = diagnose(records.lines) if len(records.lines) >= LEAST_RECORDS else None
    return Undone(learner, before, measure(measured), convergence)


def _not_finite(what: str, step: int, options: UmmOptions) -> str:
    return (
        f"{what} is no longer finite at step {step}; expected smaller learning rates than "
        f"{options.outer_lr:g} and {options.inner_lr:g} (the last good checkpoint is kept)"
    )


def _alignment_at(start: Learner, losses: BilevelLosses, noise: int) -> torch.Tensor:
    """Alignment of the initial learner on the batch of the step."""
    split = split_encoder(start.encoder, losses.split.layer)
    with frozen_early(start, split), torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(noise)
        return replace(losses, learner=start, split=split).alignment_now()


def start_digest(learner: Learner, data: Images, held_out: Images) -> str:
    """Hash of the learner and the images that a run starts from.

    Parameters
    ----------
    learner : Learner
        The learner before fine-tuning.
    data, held_out : Images
        Images to fine-tune on and images to measure on.

    Returns
    -------
    str
        Hash in 32 hexadecimal characters.

    Examples
    --------
    >>> from sslsim.data.datasets import load_images
    >>> from sslsim.methods.build import build_learner
    >>> few, images = load_images(limit=4), load_images(limit=8)
    >>> learners = [build_learner("simclr", (1, 8, 8), 4, encoder="mlp", seed=s) for s in (0, 0, 1)]
    >>> first, same, other = (start_digest(learner, images, few) for learner in learners)
    >>> first == same, first == other, first == start_digest(learners[0], few, images)
    (True, False, False)
    """
    digest = hashlib.blake2b(digest_size=16)
    tensors: Iterable[torch.Tensor] = (
        *learner.state_dict().values(), data.images, held_out.images
    )  # fmt: skip
    for tensor in tensors:
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _load(folder: Path, run: dict[str, Any], device: torch.device) -> dict[str, Any] | None:
    """Load the newest checkpoint of this run; None if there is none."""
    state = load_newest_checkpoint(folder / "checkpoints", device)
    if state is None:
        return None
    old = state.get("options", {})
    for name, wanted in run["options"].items():
        if old.get(name) != wanted:
            raise ValueError(
                f"{folder} holds a run with {name} {old.get(name)}, now it is {wanted}; expected "
                "the same options, or another folder"
            )
    if state.get("start") != run["start"]:
        raise ValueError(
            f"{folder} holds a run from another learner or on other images; expected the same, or "
            "another folder"
        )
    return state
