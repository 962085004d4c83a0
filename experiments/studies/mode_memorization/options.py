"""Options of ``sslsim memorization-modes``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from sslsim.runs.options import LearnerOptions
from sslsim.umm.options import LATE_LAYERS, Features, UmmOptions
from sslsim.umm.variants import Variant, variant_options

CONTROL = "control"


@dataclass(frozen=True)
class ModeMemorizationOptions:
    """Measure which modes of an embedding memorise, before and after memorisation is undone.

    Encoder pairs f and g of finished studies of `sslsim memorization` are fine-tuned by the Undoing
    Memorization Mechanism (UMM), and by its control, plain further training. Memorisation, coding
    rate reduction and accuracy are measured mode by mode before and after. The same command resumes
    an interrupted study; with more runs or variants it adds to the table.

    Attributes
    ----------
    run : tuple of Path
        Folders of finished `sslsim memorization`, protocol split, that trained their own encoders.
        Means and intervals are over the encoder pairs of a folder.
    variants : tuple of str
        How encoders are fine-tuned, as for `sslsim umm-sweep`: full, its ablations, or its
        interventions. The control is always included.
    features : {"embedding", "representation"}
        Late features: after the projector (embedding) or before it. UMM changes them, and their
        modes are measured.
    split : str
        Last layer that stays frozen in the fine-tuning.
    beta : float
        Weight of the alignment of UMM.
    coding_rate_weight : float
        Weight of the coding rate reduction of UMM.
    inner_lr : float
        Learning rate of the inner steps of UMM.
    outer_lr : float
        Learning rate of the fine-tuning.
    steps : int
        Number of updates of the fine-tuning.
    batch : int
        Number of images in a batch of the fine-tuning.
    eps : float
        Distortion of the coding rates, for features of unit norm; eps itself, not its square.
    augmentations : int
        Number of pairs of views of every image that are compared.
    reference : int
        Largest number of images outside all sets that modes are taken from and linear probes are
        fitted on.
    test_images : int
        Largest number of held-out images that test linear probes and nearest neighbours.
    remove : tuple of float
        Shares of the modes that are removed before probes are fitted again.
    random : int
        Number of random choices of modes that are removed for comparison.
    interval_level : float
        Confidence level of the intervals over encoder pairs.
    workers : int
        Number of processes of this machine that measure at the same time, each with its share of
        the processors.
    root : Path or None
        Folder of the torchvision data sets, if it has moved since the study.
    device : str
        Device: cpu, cuda, or auto (cuda if there is one).
    out : Path
        Run folder: config.json, cells, memorization_modes.json, memorization_modes.png.
    """

    run: tuple[Path, ...] = ()
    variants: tuple[Variant, ...] = ("full",)
    features: Features = "embedding"
    split: str = "layer2"
    beta: float = 1.0
    coding_rate_weight: float = 1.0
    inner_lr: float = 0.01
    outer_lr: float = 1e-4
    steps: int = 100
    batch: int = 128
    eps: float = 0.1**0.5
    augmentations: int = 10
    reference: int = 2000
    test_images: int = 2000
    remove: tuple[float, ...] = (0.25, 0.5)
    random: int = 5
    interval_level: float = 0.9
    workers: int = 1
    root: Path | None = None
    device: str = "auto"
    out: Path = Path("runs/memorization-modes")


def check_options(options: ModeMemorizationOptions) -> None:
    """Refuse options that are out of range."""
    if not options.run:
        raise ValueError("no run is given; expected --run DIR ..., folders of sslsim memorization")
    for name, least in (
        ("augmentations", 1),
        ("reference", 20),
        ("test_images", 2),
        ("random", 1),
        ("workers", 1),
    ):
        if getattr(options, name) < least:
            raise ValueError(f"{name} is {getattr(options, name)}; expected at least {least}")
    if not 0 < options.interval_level < 1:
        raise ValueError(f"interval_level is {options.interval_level}; expected between 0 and 1")
    if not options.remove or len(set(options.remove)) < len(options.remove):
        raise ValueError(f"remove is {options.remove}; expected different shares of the modes")
    for share in options.remove:
        if not 0 < share < 1:
            raise ValueError(f"remove holds {share}; expected shares between 0 and 1")
    if not 0 <= options.coding_rate_weight < math.inf:
        raise ValueError(
            f"coding_rate_weight is {options.coding_rate_weight}; "
            "expected a finite number of at least 0"
        )


def late_layer(options: ModeMemorizationOptions) -> str:
    """Layer of the late features.

    >>> late_layer(ModeMemorizationOptions())
    'projector'
    """
    return LATE_LAYERS[options.features]


def fine_tunings(
    options: ModeMemorizationOptions, trained: LearnerOptions
) -> dict[str, UmmOptions | None]:
    """How the encoders of a study are fine-tuned, by name; None for those as they are.

    >>> list(fine_tunings(ModeMemorizationOptions(), LearnerOptions()))
    ['before', 'control', 'full']
    """
    base = UmmOptions(
        split=options.split,
        features=options.features,
        eps=options.eps,
        beta=options.beta,
        coding_rate=options.coding_rate_weight,
        inner_lr=options.inner_lr,
        outer_lr=options.outer_lr,
        steps=options.steps,
        batch=options.batch,
        standardise=trained.standardise,
        fixed_views=trained.fixed_views,
        seed=trained.seed,
    )
    names = dict.fromkeys((CONTROL, *options.variants))
    return {"before": None} | {name: variant_options(base, name) for name in names}
