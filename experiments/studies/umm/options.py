"""Options of ``sslsim umm`` and ``sslsim umm-sweep``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sslsim.core.names import Schedule, View
from sslsim.runs.options import TrainOptions
from sslsim.umm.options import Alignment, Features, Hypergradient, Optimizer, Solver, UmmOptions
from sslsim.umm.variants import Variant, variant_options


@dataclass(frozen=True)
class UmmSettings:
    """How to fine-tune, and on which images to measure.

    Attributes
    ----------
    checkpoint : int or None
        Number of updates of the run after which to start. Default: its newest checkpoint.
    split : str
        Last layer that stays frozen; the layers after it are fine-tuned.
    early : str or None
        Layer whose features are the early ones of the alignment: the split or an earlier layer.
        Default: the split.
    features : {"representation", "embedding"}
        Late features: before the projector (representation) or after it (embedding).
    eps : float
        Distortion of the coding rates, for features of unit norm; eps itself, not its square.
    beta : float
        Weight of the alignment in the inner loss.
    coding_rate_weight : float
        Weight of the coding rate reduction in the outer objective.
    distance : {"gradient", "volume", "reduction", "cka"}
        Distance between early and late features, which the alignment lowers: by gradients of the
        loss as published, by exact volumes (small networks), by the coding rate reduction of two
        groups, or by CKA.
    hypergradient : {"unrolled", "darts", "implicit"}
        How the gradient passes through the inner steps: unrolled is exact, darts uses finite
        differences as published, implicit uses implicit differentiation.
    inner_lr : float
        Learning rate of the inner steps.
    inner_steps : int
        Number of inner steps in every outer step.
    radius : float
        With darts: radius of the finite differences.
    proximal : float
        With implicit: weight of the proximal term of the inner loss.
    damping : float
        With implicit: number added to the Hessian in the linear system.
    solver : {"cg", "neumann"}
        With implicit: solver of the linear system, conjugate gradients or the Neumann series.
    solver_iterations : int
        With implicit: largest number of Hessian-vector products.
    optimizer : {"adam", "sgd"}
        Optimiser of the outer level.
    outer_lr : float
        Base learning rate of the outer level.
    schedule : {"constant", "cosine", "step", "exponential"}
        Schedule of the outer learning rate.
    steps : int
        Number of outer steps.
    batch : int
        Number of images in a batch; at most all images.
    held_out : int
        Number of held-out images whose views measure Delta R, loss and alignment.
    test_images : int
        Largest number of held-out images that test linear probes and nearest neighbours.
    transfer : str or None
        Another data set, named as for `sslsim train`, on which frozen features are tested too.
        Default: none.
    transfer_limit : int or None
        Largest number of its training images. Default: all.
    checkpoint_every : int
        Number of outer steps between checkpoints.
    seed : int or None
        Seed of all random draws. Default: the run's.
    root : Path or None
        Folder of the torchvision data sets, if it has moved since the training.
    device : str
        Device: cpu, cuda, or auto (cuda if there is one).
    """

    checkpoint: int | None = None
    split: str = "layer2"
    early: str | None = None
    features: Features = "representation"
    eps: float = 0.1**0.5
    beta: float = 1.0
    coding_rate_weight: float = 1.0
    distance: Alignment = "gradient"
    hypergradient: Hypergradient = "unrolled"
    inner_lr: float = 0.01
    inner_steps: int = 1
    radius: float = 0.01
    proximal: float = 1.0
    damping: float = 0.0
    solver: Solver = "cg"
    solver_iterations: int = 10
    optimizer: Optimizer = "adam"
    outer_lr: float = 1e-4
    schedule: Schedule = "constant"
    steps: int = 500
    batch: int = 256
    held_out: int = 256
    test_images: int = 2000
    transfer: str | None = None
    transfer_limit: int | None = None
    checkpoint_every: int = 100
    seed: int | None = None
    root: Path | None = None
    device: str = "auto"


@dataclass(frozen=True)
class UmmCommand(UmmSettings):
    """Fine-tune a network so that its late layers forget what they memorised.

    This is the Undoing Memorization Mechanism, a bi-level optimisation. Layers up to the split stay
    frozen. The inner level aligns the late features with the early ones; the outer level raises the
    coding rate reduction, with the views of each image as a group. Accuracy, coding rate reduction
    and alignment are measured before and after, layer by layer, on held-out images. The same
    command resumes a run that was interrupted.

    Attributes
    ----------
    run : Path
        Folder of a finished `sslsim train`.
    module : str or None
        Your own network instead of that of a run, as for `sslsim train`.
    weights : Path or None
        With `module`: file with its weights. Default: the weights that its function returns.
    output : str or None
        With `module`: which of several outputs is meant, a key or a number. Default: the only one.
    method : str
        With `module`: method whose loss is used, one that needs no parts of its own.
    data : str
        With `module`: data set, named as for `sslsim train`.
    size : int or None
        With `module`: side in pixels to which images are resized. Default: unchanged if all have
        the same size, else 96.
    limit : int or None
        With `module`: largest number of training images. Default: all.
    views : str or None
        With `module`: views, or package.module:name of your own function. Default: simclr.
    standardise : bool
        With `module`: subtract the mean of every channel and divide by its standard deviation.
    alignment : bool
        Use the alignment; --no-alignment leaves it out.
    coding_rate : bool
        Use the coding rate reduction; --no-coding-rate leaves it out.
    joint : bool
        One level instead of two: minimise the sum.
    control : bool
        Plain further training of the late layers by the run's own loss, with as many updates: the
        baseline for any gain.
    out : Path
        Run folder: config.json, umm.json, records.jsonl, records.npz, checkpoints, umm.png.
    """

    run: Path = Path("runs/train")
    module: str | None = None
    weights: Path | None = None
    output: str | None = None
    method: Literal["barlow_twins", "simclr", "vicreg", "spectral"] = "simclr"
    data: str = "digits"
    size: int | None = None
    limit: int | None = None
    views: View | str | None = None
    standardise: bool = True
    alignment: bool = True
    coding_rate: bool = True
    joint: bool = False
    control: bool = False
    out: Path = Path("runs/umm")


@dataclass(frozen=True)
class UmmSweepCommand(UmmSettings):
    """Fine-tune several runs in several variants and compare them in one table.

    Runs that differ only by their seed form a group; means and intervals are over the seeds of a
    group. Every variant is compared with the control of the same run. The same command resumes an
    interrupted sweep; with more runs or variants it adds to the table.

    Attributes
    ----------
    run : tuple of Path
        One or more folders of finished `sslsim train`.
    variants : tuple of str
        full; its ablations no_alignment, no_coding_rate and joint; control, plain further
        training (always included); and interventions that add a single pressure to the control:
        align (lower the distance of the alignment), spread (raise Delta R), spread_held (raise
        Delta R with the distance held at its value before).
    vary : tuple of str
        Further settings of the first variant, NAME=VALUE,VALUE,...: each value in turn, all else
        unchanged. NAME is an option above that takes a number or a name, such as eps, beta,
        outer-lr, batch, schedule or early. Default: none.
    grid : tuple of str
        Options to vary together, NAME=VALUE,VALUE,... as for vary, such as inner-lr, batch and
        beta: the first variant is run with every combination of the values, with its alignment and
        without. Default: none.
    push : float
        For align: weight of the alignment, instead of beta.
    hold : float
        For spread_held: weight of the squared change of the distance.
    overfitting : Path or None
        Folder of a finished `sslsim overfitting` of these runs: how far accuracy fell from its
        peak before the fine-tuning is then stored and shown beside the changes. Default: none.
    interval_level : float
        Confidence level of the intervals of means over seeds.
    workers : int
        Number of processes of this machine that fine-tune at the same time, each with its share of
        the processors. Results may depend on the number of threads of a process: torch then adds in
        another order.
    out : Path
        Run folder: config.json, cells, table.json, table.txt, umm_sweep.png.
    """

    run: tuple[Path, ...] = ()
    variants: tuple[Variant, ...] = ("full", "no_alignment", "no_coding_rate", "joint")
    vary: tuple[str, ...] = ()
    grid: tuple[str, ...] = ()
    push: float = 100.0
    hold: float = 1e5
    overfitting: Path | None = None
    interval_level: float = 0.9
    workers: int = 1
    out: Path = Path("runs/umm_sweep")


RENAMED = {"coding_rate_weight": "coding_rate", "distance": "alignment"}
_SAME = (
    "split", "early", "features", "eps", "beta", "hypergradient", "inner_lr", "inner_steps",
    "radius", "proximal", "damping", "solver", "solver_iterations", "optimizer", "outer_lr",
    "schedule", "steps", "batch", "held_out", "checkpoint_every",
)  # fmt: skip
VARIED = tuple(name for name in (*_SAME, *RENAMED) if name != "checkpoint_every")


def core_options(settings: UmmSettings, trained: TrainOptions) -> UmmOptions:
    """Options of the fine-tuning itself."""
    values = {name: getattr(settings, name) for name in _SAME}
    values |= {theirs: getattr(settings, ours) for ours, theirs in RENAMED.items()}
    if trained.fixed_views and settings.seed not in (None, trained.seed):
        raise ValueError(
            f"seed is {settings.seed} for a run with fixed views, drawn by seed {trained.seed}; "
            "expected none given"
        )
    if not 0 <= settings.coding_rate_weight < math.inf:
        raise ValueError(
            f"coding_rate_weight is {settings.coding_rate_weight}; "
            "expected a finite number of at least 0"
        )
    options = UmmOptions(
        **values,
        seed=trained.seed if settings.seed is None else settings.seed,
        standardise=trained.standardise,
        fixed_views=trained.fixed_views,
    )
    if not isinstance(settings, UmmCommand):
        return options
    asked = {
        "no_alignment": not settings.alignment,
        "no_coding_rate": not settings.coding_rate,
        "joint": settings.joint,
    }
    if settings.control and any(asked.values()):
        first = next(name for name, yes in asked.items() if yes).replace("_", "-")
        raise ValueError(f"both control and {first} are given; expected one of them")
    for name, yes in (asked | {"control": settings.control}).items():
        options = variant_options(options, name) if yes else options
    return options
