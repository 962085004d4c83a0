"""Options of ``sslsim accelerate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sslsim.runs.options import LearnerOptions


@dataclass(frozen=True)
class AccelerateOptions(LearnerOptions):
    """Train in ways that may learn late modes sooner, and compare them with a plain long training.

    Every way has its learning rate chosen on seeds of its own; then all are trained from the same
    weights on further seeds, for updates and processor time to half of the modes, to an effective
    rank, and to the accuracy of the long training. The same command resumes an interrupted study
    and adds what is new.

    Attributes
    ----------
    arms : tuple of str
        Ways to train: an optimiser (sgd, adamw, lars, muon), and +embedding or +inputs for
        preconditioned gradients, such as muon+embedding. The first is what all are compared with.
    rates : tuple of str
        Learning rates to choose from, each as ARM=RATE,RATE. Default: three that suit the
        optimiser.
    design_seeds : int
        Number of seeds on which learning rates are chosen, from `seed` on.
    seeds : int
        Number of further seeds, by which ways are compared.
    long : int
        Updates of the long training by the first way; the others have `steps`.
    checks : int
        Number of measures over a training of `steps`.
    probed : int
        Largest numbers of training and of held-out images for accuracies, and of pairs for spectra.
    interval_level : float
        Confidence level of the intervals over seeds.
    workers : int
        Number of processes of this machine that train at the same time, each with its share of the
        processors.
    out : Path
        Run folder: config.json, acceleration.json, acceleration.png, cells.
    """

    dim: int | None = 16
    init_scale: float = 1.0
    batch: int = 128
    steps: int = 600
    clip_norm: float | None = 1.0
    arms: tuple[str, ...] = (
        "sgd",
        "adamw",
        "sgd+embedding",
        "sgd+embedding+inputs",
        "muon",
        "muon+embedding",
    )
    rates: tuple[str, ...] = ()
    design_seeds: int = 1
    seeds: int = 5
    long: int = 2400
    checks: int = 30
    probed: int = 2000
    interval_level: float = 0.9
    workers: int = 1
    out: Path = Path("runs/accelerate")
