"""The start of a fine-tuning, from a run and the options of a command."""

from __future__ import annotations

from pathlib import Path

from experiments.studies.umm.options import UmmCommand, UmmSettings, core_options
from sslsim.runs.options import TrainOptions
from sslsim.runs.setup import split_data
from sslsim.runs.trained_run import TrainedRun
from sslsim.umm.outer_step import trained_names
from sslsim.umm.split import split_encoder
from sslsim.umm.start import Start

_HYPERGRADIENT = {  # options of each kind alone
    "darts": ("radius",),
    "implicit": ("proximal", "damping", "solver", "solver_iterations"),
}
_BILEVEL = (
    "hypergradient", "inner_lr", "inner_steps", *_HYPERGRADIENT["darts"],
    *_HYPERGRADIENT["implicit"],
)  # fmt: skip


def start_from(folder: Path, settings: UmmSettings) -> Start:
    """Load what a run left.

    >>> start_from(Path("nowhere"), UmmSettings())
    Traceback (most recent call last):
    ValueError: nowhere/config.json cannot be read: No such file or directory
    """
    if settings.test_images < 2:
        raise ValueError(f"test_images is {settings.test_images}; expected at least 2")
    if settings.transfer is None and settings.transfer_limit is not None:
        raise ValueError(
            f"transfer-limit is {settings.transfer_limit} without transfer; expected both, or none"
        )
    if isinstance(settings, UmmCommand):
        _check_module(settings)
        _check_effect(settings)
    if isinstance(settings, UmmCommand) and settings.module is not None:
        run = _own_run(settings)
    else:
        run = TrainedRun.open(folder, settings.root)
    options = core_options(settings, run.options)
    step = run.step_at(settings.checkpoint)
    learner = run.learner(step)
    # What does not fit is told before anything is written.
    trained_names(learner, split_encoder(learner.encoder, options.split), options)
    transfer = None
    if settings.transfer is not None:
        height, width = run.images.images.shape[2:]
        other = TrainOptions(
            data=settings.transfer,
            root=run.options.root,
            size=height if height == width else None,
            limit=settings.transfer_limit,
        )
        transfer = split_data(other)
        shapes = [tuple(images.images.shape[1:]) for images in (transfer[0], run.images)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{settings.transfer} has images of shape {shapes[0]}, {folder} was trained on "
                f"{shapes[1]}; expected equal shapes"
            )
        if transfer[0].labels is None:
            raise ValueError(f"{settings.transfer} has no labels; expected some to probe")
    return Start(run, learner, step, options, transfer)


_OF_MODULE = ("output", "method", "data", "size", "limit", "views", "standardise")


def _own_run(settings: UmmCommand) -> TrainedRun:
    """The user's own network as a run."""
    values = {name: getattr(settings, name) for name in (*_OF_MODULE, "module", "root")}
    source = TrainOptions(**values, seed=settings.seed or 0, device=settings.device)
    return TrainedRun.of_module(source, [settings.weights] if settings.weights else [])


def _check_module(settings: UmmCommand) -> None:
    """Refuse what describes a network of the user's where there is none."""
    if settings.module is not None:
        if settings.run != UmmCommand.run:
            raise ValueError("both run and module are given; expected one of them")
        if settings.checkpoint is not None:
            raise ValueError(
                f"checkpoint is {settings.checkpoint}, which means nothing with module; expected "
                "--weights FILE"
            )
        return
    for name in (*_OF_MODULE, "weights"):
        value = getattr(settings, name)
        if value != getattr(UmmCommand, name):
            raise ValueError(
                f"{name} is {value}, which means nothing without module; expected none given"
            )


def _check_effect(settings: UmmCommand) -> None:
    """Refuse options that another one leaves without effect."""
    alignment = settings.alignment and settings.beta != 0
    coding_rate = settings.coding_rate and settings.coding_rate_weight != 0
    if not (alignment or coding_rate or settings.control):
        raise ValueError(
            "neither alignment nor coding rate has a weight: nothing is left to undo memorisation "
            "with; expected one of them, or control, plain further training"
        )
    reasons = {
        "no-alignment": (not settings.alignment, ("beta",)),
        "no-coding-rate": (not settings.coding_rate, ("coding_rate_weight",)),
        "joint": (settings.joint, _BILEVEL),
        "control": (settings.control, ("beta", "coding_rate_weight", *_BILEVEL)),
        f"hypergradient {settings.hypergradient}": (
            True,
            tuple(
                name
                for kind, names in _HYPERGRADIENT.items()
                if kind != settings.hypergradient
                for name in names
            ),
        ),
    }
    for reason, (applies, names) in reasons.items():
        for name in names if applies else ():
            value = getattr(settings, name)
            if value != getattr(UmmCommand, name):
                raise ValueError(
                    f"{name.replace('_', '-')} is {value}, which means nothing with {reason}; "
                    "expected none given"
                )
