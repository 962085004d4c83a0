"""Options of ``sslsim memorization``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sslsim.core.names import Distance, Encoder, Form, Method, Optimizer, View
from sslsim.runs.options import LearnerOptions


@dataclass(frozen=True)
class MemorizationOptions(LearnerOptions):
    """Score how far encoders memorise single images, from encoders trained with and without them.

    The score of an image is high where encoders trained with it align its views better than
    encoders trained without it (arXiv 2401.12233). An encoder that is already trained is not
    trained again when the same command is given again.

    Attributes
    ----------
    protocol : {"split", "subsample", "closed-form"}
        How to tell with from without. split: pairs of encoders f and g, trained on shared images
        and on candidates (f) or independent images (g). subsample: encoders on random subsets of a
        pool, every image scored. closed-form: no retraining, leave-one-out of the linear model of
        the pixels, or of the tangent kernel of one trained network. Options of one protocol are
        refused with another.
    shared, candidates, independent, external : int
        Of split: images of every set; external ones are held out of all training.
    sets : Path or None
        Of split: an .npz file with places of the images of each set, in arrays `shared`,
        `candidate`, `independent` (of the training images) and `external` (of the held-out ones),
        instead of sets drawn by lot, whose sizes are then of no account.
    encoder_pairs : int
        Of split: pairs (f, g), the units of the tests. Pair i has seed + i.
    f, g : tuple of Path
        Of split: folders of `sslsim train` to take the encoders from, instead of training them:
        those trained with the candidates, and with the independent images. Options of method,
        network and training are then of no account.
    pool : int
        Of subsample and closed-form: images scored, spread over the training images.
    encoders : int
        Of subsample: how many; encoder i has seed + i.
    share : float
        Of subsample: part of the pool that every encoder is trained on; more leaves fewer encoders
        without an image.
    together : bool or None
        Of subsample: train all encoders at once. Default: as a study was begun; else on a CPU of
        images of 8 x 8 pixels at most, where that is faster, and of methods and optimisers that
        allow it.
    kernel : bool
        Of closed-form: of the tangent kernel of a network trained on the pool, instead of pixels.
    exact : bool
        Of closed-form: solve leave-one-out for every image instead of taking it to first order.
    atypical : float
        Share of the images, in every set, that are made outliers before anything is trained:
        inverted, blended with noise, collages of four, or of exchanged colours.
    draw_seed : int
        Of the sets, the outliers and the views that are scored: studies of one number score the
        same images, whatever their networks.
    score_views : str or None
        Views that are compared. Default: those of the training; of multicrop, strong ones.
    augmentations : int
        Pairs of views of every image.
    against : {"view", "original"}
        Compare two views, as the definition does, or the image with a view, as the published code.
    distance : {"l2", "l1", "cosine", "angular", "sqeuclidean"}
        Of two representations; in closed form sqeuclidean of embeddings that are not normalised.
    normalise : bool
        Representations of unit norm.
    form : {"raw", "ratio"}
        g - f of the alignment losses, or (g - f) / (g + f).
    layers : tuple of str
        Which to score: backbone (the representation), projector (the embedding), or layers of the
        backbone such as layer1. The first one is tested and shown.
    curve : int
        Of split: checkpoints over training at which to score too; 0 for the end alone.
    compare : tuple of Path
        Folders of earlier studies of the same images: how far their rankings agree with this one,
        by the first layer that both scored.
    top : int
        Images of the highest scores compared with those of other studies.
    evaluate : bool
        Probe the frozen features of every encoder (logistic regression), where images have labels.
    checkpoint_every : int
        Updates between checkpoints of an encoder.
    out : Path
        Run folder: config.json, memorization.json, scores.npz, memorization.png, encoders.
    """

    protocol: Literal["split", "subsample", "closed-form"] = "split"
    method: Method = "simclr"
    init_scale: float = 1.0
    optimizer: Optimizer = "adamw"
    lr: float = 0.001
    steps: int = 1000
    shared: int = 600
    candidates: int = 200
    independent: int = 200
    external: int = 200
    sets: Path | None = None
    encoder_pairs: int = 5
    f: tuple[Path, ...] = ()
    g: tuple[Path, ...] = ()
    pool: int = 500
    encoders: int = 16
    share: float = 0.7
    together: bool | None = None
    kernel: bool = False
    exact: bool = False
    atypical: float = 0.0
    draw_seed: int = 0
    score_views: View | None = None
    augmentations: int = 10
    against: Literal["view", "original"] = "view"
    distance: Distance = "l2"
    normalise: bool = True
    form: Form = "raw"
    layers: tuple[str, ...] = ("backbone",)
    curve: int = 0
    compare: tuple[Path, ...] = ()
    top: int = 50
    evaluate: bool = False
    checkpoint_every: int = 500
    out: Path = Path("runs/memorization")


@dataclass(frozen=True)
class RetrainOptions:
    """A finished study to start from, and what is measured of the encoders trained anew.

    Attributes
    ----------
    scores : Path or None
        Folder of a finished `sslsim memorization`, whose data, network and training are taken.
    method, encoder : str or None
        Others than the study's; options that belong to the study's own are then at their defaults.
    steps : int or None
        Updates of every training. Default: as in the study.
    seeds : int
        Trainings of every kind, of the seeds that follow those of the study's own encoders.
    transfer : tuple of str
        Other data sets on which frozen features are probed too, brought to the network's shape.
    transfer_limit : int or None
        Keep at most so many training images of each.
    fine_tune : int
        Fine-tune all weights with labels for so many updates too, and read the accuracy; 0 does
        not.
    fine_tune_lr : float or None
        Learning rate of that. Default: the study's.
    interval_level : float
        Confidence level of intervals over seeds.
    root : Path or None
        Folder of the torchvision data sets, where it has moved since.
    device : str
        cpu, cuda, or auto: cuda if there is one.
    """

    scores: Path | None = None
    method: Method | None = None
    encoder: Encoder | None = None
    steps: int | None = None
    seeds: int = 3
    transfer: tuple[str, ...] = ()
    transfer_limit: int | None = 5000
    fine_tune: int = 0
    fine_tune_lr: float | None = None
    interval_level: float = 0.9
    root: Path | None = None
    device: str = "auto"


@dataclass(frozen=True)
class RemovalOptions(RetrainOptions):
    """Train without the most memorised images, without random ones and without the least memorised.

    Linear probes and fine-tuning see all labelled images of the pool, whether an encoder was
    trained on them or not: encoders alone differ. Random choices are nested, and encoders of one
    seed start from the same weights. What is trained and measured already is kept.

    Attributes
    ----------
    remove : tuple of float
        Shares of the pool to remove. None removed is always there to compare with.
    which : tuple of {"most", "random", "least"}
        Which images to remove.
    out : Path
        Run folder: config.json, removal.json, removal.png, cells.
    """

    remove: tuple[float, ...] = (0.02, 0.08, 0.32)
    which: tuple[Literal["most", "random", "least"], ...] = ("most", "random", "least")
    out: Path = Path("runs/memorization-removal")


@dataclass(frozen=True)
class PenaltyOptions(RetrainOptions):
    """Train with a penalty on the distance between two views' representations.

    Encoders f and g of the study's split are trained anew, with the penalty at several strengths,
    and what it does to memorisation and to accuracy is read. What is trained and measured already
    is kept.

    Attributes
    ----------
    strengths : tuple of float
        Weights of the mean distance in the loss; 0 is always there to compare with, and below it
        views are pushed apart.
    targeted : tuple of {"most", "random"}
        Penalise some candidates only, in training f alone: the most memorised ones of the study, or
        random ones of the same number. Default: all images, in training both f and g.
    count : int
        How many candidates.
    out : Path
        Run folder: config.json, penalty.json, penalty.png, cells.
    """

    strengths: tuple[float, ...] = (0.0, 0.1, 1.0, 10.0)
    targeted: tuple[Literal["most", "random"], ...] = ()
    count: int = 50
    out: Path = Path("runs/memorization-penalty")
