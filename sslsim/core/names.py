"""Names of methods, encoders, views and other choices, each list in one place."""

from __future__ import annotations

from typing import Literal, get_args

Method = Literal[
    "barlow_twins",
    "simclr",
    "vicreg",
    "spectral",
    "byol",
    "simsiam",
    "moco_v3",
    "swav",
    "dino",
    "mae",
    "vicregl",
    "lejepa",
    "supervised",
]
Encoder = Literal[
    "linear",
    "mlp",
    "convnet",
    "resnet18",
    "resnet34",
    "resnet50",
    "vit_tiny",
    "vit_small",
]
Projector = Literal["linear", "mlp", "none"]
View = Literal["crops", "noise", "simclr", "weak", "strong", "mask"]
TrainingView = Literal[View, "multicrop"]
Optimizer = Literal["sgd", "adamw", "lars", "muon"]
Preconditioner = Literal["none", "covariance"]
Schedule = Literal["constant", "cosine", "step", "exponential"]
Precision = Literal["float32", "bfloat16"]
Distance = Literal["l2", "l1", "cosine", "angular", "sqeuclidean"]
Form = Literal["raw", "ratio"]

METHODS: tuple[str, ...] = get_args(Method)
ENCODERS: tuple[str, ...] = get_args(Encoder)
PROJECTORS: tuple[str, ...] = get_args(Projector)
VIEWS: tuple[str, ...] = get_args(View)
TRAINING_VIEWS: tuple[str, ...] = get_args(TrainingView)
OPTIMIZERS: tuple[str, ...] = get_args(Optimizer)
PRECONDITIONERS: tuple[str, ...] = get_args(Preconditioner)
SCHEDULES: tuple[str, ...] = get_args(Schedule)
"""``constant``. ``cosine``: half a cosine down to zero (1608.03983). ``step``: divided by ten after
60 % and again after 80 % of the run. ``exponential``: a constant factor per step, down to 1/100."""
PRECISIONS: tuple[str, ...] = get_args(Precision)
DISTANCES: tuple[str, ...] = get_args(Distance)
FORMS: tuple[str, ...] = get_args(Form)
