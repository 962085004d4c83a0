"""Options of bi-level fine-tuning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from sslsim.training.options import learning_rate_factor

Features = Literal["representation", "embedding"]
Alignment = Literal["gradient", "volume", "reduction", "cka"]
Hypergradient = Literal["unrolled", "darts", "implicit"]
Solver = Literal["cg", "neumann"]
Optimizer = Literal["adam", "sgd"]

FEATURES: tuple[str, ...] = get_args(Features)
LATE_LAYERS = {"representation": "backbone", "embedding": "projector"}
"""Name of the layer of late features, among those that are measured."""
ALIGNMENTS: tuple[str, ...] = get_args(Alignment)
HYPERGRADIENTS: tuple[str, ...] = get_args(Hypergradient)
SOLVERS: tuple[str, ...] = get_args(Solver)
OPTIMIZERS: tuple[str, ...] = get_args(Optimizer)


@dataclass(frozen=True)
class UmmOptions:
    """How to fine-tune.

    The paper's numbers are unknown, except eps^2 = 0.1, one inner step and Adam, from its code.

    Attributes
    ----------
    split : str
        Last layer of the early part, one of ``encoder.layers``.
    features : {"representation", "embedding"}
        Late features: before or after the projector. The outer level raises their coding rate
        reduction, the inner level aligns their distribution.
    eps : float
        Distortion of coding rates, for features of unit norm; eps itself, not its square.
    beta : float
        Weight of the alignment in the inner loss; 0 leaves it out.
    coding_rate : float
        Weight of the coding rate reduction in the outer objective; 0 leaves it out.
    alignment : {"gradient", "volume", "reduction", "cka"}
        Distance of early and late features, see ``sslsim.umm.alignment``. It is recorded even if
        ``beta`` is 0.
    early : str or None
        Layer whose features are the early ones of the alignment, by default the split's. It may be
        an earlier layer.
    joint : bool
        One level without inner steps: descend loss + beta alignment - coding_rate DeltaR. With
        ``beta`` and ``coding_rate`` 0 this is further training of the late part.
    hold : float
        Weight of (alignment - A)^2, for ``joint`` only; A is the alignment of the initial learner
        on the same batch. It raises DeltaR at constant alignment: an intervention, not fine-tuning.
    hypergradient : {"unrolled", "darts", "implicit"}
        Method of the hypergradient, see ``sslsim.umm.hypergradient``.
    inner_lr : float
        Learning rate of the inner gradient steps.
    inner_steps : int
        Inner gradient steps in every outer step.
    radius : float
        Step of the central differences, for darts only; 0.01 as published. With ReLUs a smaller
        radius is more accurate, down to about 1e-4, where float32 rounds.
    proximal, damping : float
        Weight of the proximal term and damping, for the implicit hypergradient only.
    solver : {"cg", "neumann"}
        Solver of the linear system, for the implicit hypergradient only.
    solver_iterations : int
        Maximum number of Hessian-vector products, for the implicit hypergradient only.
    optimizer : {"adam", "sgd"}
        Optimizer of the outer level; sgd has no momentum.
    outer_lr : float
        Base learning rate of the outer level.
    schedule : {"constant", "cosine", "step", "exponential"}
        Schedule of the outer learning rate, see ``sslsim.training.options``.
    steps : int
        Number of outer steps.
    batch : int
        Images in a batch, which both levels see; at most all images.
    held_out : int
        Number of held-out images for the measures before and after, spread evenly; all images if
        there are fewer.
    standardise : bool
        Standardise pixels, as in ``sslsim.training.options``; use the value of the training.
    fixed_views : bool
        Draw the views of every image once: the views of a training with this option and seed.
    checkpoint_every : int
        Outer steps between checkpoints; the end and an interruption save one too.
    seed : int
        Seed of all random draws.

    Raises
    ------
    ValueError
        If a number is out of range or a name unknown.

    Examples
    --------
    >>> UmmOptions(split="layer2", beta=0.0).hypergradient
    'unrolled'
    """

    split: str = "layer2"
    features: str = "representation"
    eps: float = 0.1**0.5
    beta: float = 1.0
    coding_rate: float = 1.0
    alignment: str = "gradient"
    early: str | None = None
    joint: bool = False
    hold: float = 0.0
    hypergradient: str = "unrolled"
    inner_lr: float = 0.01
    inner_steps: int = 1
    radius: float = 0.01
    proximal: float = 1.0
    damping: float = 0.0
    solver: str = "cg"
    solver_iterations: int = 10
    optimizer: str = "adam"
    outer_lr: float = 1e-4
    schedule: str = "constant"
    steps: int = 500
    batch: int = 256
    held_out: int = 256
    standardise: bool = True
    fixed_views: bool = False
    checkpoint_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in {
            "features": FEATURES,
            "alignment": ALIGNMENTS,
            "hypergradient": HYPERGRADIENTS,
            "solver": SOLVERS,
            "optimizer": OPTIMIZERS,
        }.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; expected one of {', '.join(known)}"
                )
        for name in ("eps", "inner_lr", "outer_lr", "radius", "proximal"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; expected a finite number above zero"
                )
        for name in ("beta", "coding_rate", "hold", "damping"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; expected a finite number of at least 0"
                )
        if self.hold > 0 and not self.joint:
            raise ValueError(f"hold is {self.hold} without joint; expected 0, or one level")
        for name in ("inner_steps", "solver_iterations", "steps", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in ("batch", "held_out"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 2 images")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; expected at least 0")
        learning_rate_factor(self.schedule, 0, self.steps)  # checks
