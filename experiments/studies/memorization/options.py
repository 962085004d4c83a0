"""Options of ``sslsim memorization``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sslsim.core.names import Distance, Encoder, Form, Method, Optimizer, View
from sslsim.runs.options import LearnerOptions


@dataclass(frozen=True)
class MemorizationOptions(LearnerOptions):
    """Score how much encoders memorise single images, from encoders trained with and without them.

    The score of an image is high if encoders trained with it align its views better than encoders
    trained without it (arXiv 2401.12233). The same command resumes an interrupted study and does
    not train a finished encoder again.

    Attributes
    ----------
    protocol : {"split", "subsample", "closed-form", "influence"}
        How encoders with and without an image are obtained. split: pairs of encoders f and g,
        trained on shared images and on candidates (f) or independent images (g). subsample:
        encoders on random subsets of a pool; every image gets a score. closed-form: no retraining,
        leave-one-out of the linear model of the pixels, or of the tangent kernel of one trained
        network. influence: no retraining either; how far every image shapes its own alignment loss,
        by the gradients of encoders trained on the whole pool. An option of one protocol is refused
        with another.
    shared : int
        With split: number of shared images, in the training of both f and g.
    candidates : int
        With split: number of candidates, in the training of f only.
    independent : int
        With split: number of independent images, in the training of g only.
    external : int
        With split: number of external images, in no training.
    sets : Path or None
        With split: an .npz file with the indices of the images of each set, in
        arrays `shared`, `candidate`, `independent` (of training images) and `external` (of held-out
        images). It replaces the random sets and their sizes. Default: random sets.
    encoder_pairs : int
        With split: number of encoder pairs (f, g), the units of the tests. Pair i has seed + i.
    f : tuple of Path
        With split: folders of `sslsim train` whose encoders, trained with the candidates, are used
        instead of training new ones; or, with `module`, files with weights of your own encoders.
        Options of method, network and training are then ignored. Default: train encoders.
    g : tuple of Path
        With split: as many folders or files, of encoders trained with the independent images.
        Default: train encoders.
    pool : int
        With all but split: number of images scored, spread over the training images.
    encoders : int or None
        With subsample and influence: number of encoders; encoder i has seed + i. Default: 16 with
        subsample, 1 with influence.
    share : float
        With subsample: share of the pool that each encoder is trained on. A larger share leaves
        fewer encoders without an image.
    together : bool or None
        With subsample and influence: train all encoders at once. Default: as the study began; a new
        study does so on a CPU for images of at most 8 x 8 pixels, where it is faster, if method and
        optimiser allow it.
    kernel : bool
        With closed-form: use the tangent kernel of a network trained on the pool instead of the
        pixels.
    exact : bool
        With closed-form: solve leave-one-out exactly for every image instead of to first order.
    damping : float
        With influence: what is added to the second moments of the gradients, in units of their mean
        eigenvalue.
    projection : int
        With influence: number of dimensions that gradients are projected to at random.
    common_pixels : bool
        With all but closed-form: standardise the pixels of all encoders by the statistics of all
        training images. Default: each encoder by those of its own images, so that f and g differ
        before they are trained.
    atypical : float
        Share of the images of every set that are made outliers before the training: inverted,
        blended with noise, collages of four, or with exchanged colours.
    draw_seed : int
        Seed of the sets, the outliers and the views that are scored. Studies with the same number
        score the same images, also for other networks.
    score_views : str or None
        Views that are compared, or package.module:name of a function, as for `sslsim train`.
        Default: those of the training; for multicrop, strong ones.
    augmentations : int
        Number of pairs of views of every image.
    against : {"view", "original"}
        Compare two views, as in the definition, or the image and one view, as in the published
        code.
    distance : {"l2", "l1", "cosine", "angular", "sqeuclidean"}
        Distance of two representations; closed-form always uses sqeuclidean of embeddings that are
        not normalised.
    normalise : bool
        Scale representations to unit norm.
    form : {"raw", "ratio"}
        Score as g - f of the alignment losses (raw), or as (g - f) / (g + f) (ratio).
    layers : tuple of str
        Layers to score: backbone (the representation), projector (the embedding), or layers of the
        backbone such as layer1. The first one is tested and shown.
    curve : int
        With split: number of checkpoints over training that are scored too; 0 scores the end only.
    compare : tuple of Path
        Folders of earlier studies of the same images, whose rankings are compared with this one by
        the first layer that both scored.
    reference : Path or None
        Folder of `sslsim train` whose encoder says how atypical images are: the mean distance to
        the 10 nearest neighbours among the training images of the data set. It must not be one of
        the encoders that are scored. The scores are correlated with it. Default: none.
    top : int
        Number of images with the highest scores that are compared with those of other studies.
    units : bool
        With split: measure UnitMem too, how far single units of the layers answer to one image
        alone.
    evaluate : bool
        If images have labels: fit a linear probe (logistic regression) to the frozen features of
        every encoder.
    checkpoint_every : int
        Number of updates between checkpoints of an encoder.
    workers : int
        With split and subsample: number of processes of this machine that train encoders at the
        same time, each with its share of the processors. Results may depend on the number of
        threads of a process: torch then adds in another order.
    out : Path
        Run folder: config.json, memorization.json, scores.npz, memorization.png, encoders.
    """

    protocol: Literal["split", "subsample", "closed-form", "influence"] = "split"
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
    encoders: int | None = None
    share: float = 0.7
    together: bool | None = None
    kernel: bool = False
    exact: bool = False
    damping: float = 1.0
    projection: int = 1024
    common_pixels: bool = False
    atypical: float = 0.0
    draw_seed: int = 0
    score_views: View | str | None = None
    augmentations: int = 10
    against: Literal["view", "original"] = "view"
    distance: Distance = "l2"
    normalise: bool = True
    form: Form = "raw"
    layers: tuple[str, ...] = ("backbone",)
    curve: int = 0
    compare: tuple[Path, ...] = ()
    reference: Path | None = None
    top: int = 50
    units: bool = False
    evaluate: bool = False
    checkpoint_every: int = 500
    workers: int = 1
    out: Path = Path("runs/memorization")


@dataclass(frozen=True)
class RetrainOptions:
    """The study to start from, and what is measured of the encoders trained anew.

    Attributes
    ----------
    scores : Path or None
        Folder of a finished `sslsim memorization`; its data, network and training are used. It must
        be given.
    method : str or None
        Another method than that of the study; options that belong to the study's method then have
        their defaults. Default: as in the study.
    encoder : str or None
        Another architecture than that of the study; options that belong to the study's network then
        have their defaults. Default: as in the study.
    steps : int or None
        Number of updates of every training. Default: as in the study.
    seeds : int
        Number of trainings of each kind. Their seeds follow those of the study's own encoders.
    transfer : tuple of str
        Other data sets on which linear probes are fitted too, converted to the network's image
        shape.
    transfer_limit : int or None
        Largest number of training images of each. None: all.
    fine_tune : int
        Number of updates of a fine-tuning of all weights with labels, after which the accuracy is
        measured too. With 0 there is no fine-tuning.
    fine_tune_lr : float or None
        Learning rate of the fine-tuning. Default: as in the study.
    interval_level : float
        Confidence level of the intervals over seeds.
    workers : int
        Number of processes of this machine that train at the same time, each with its share of the
        processors. Results may depend on the number of threads of a process: torch then adds in
        another order.
    root : Path or None
        Folder of the torchvision data sets, if it has moved since the study.
    device : str
        Device: cpu, cuda, or auto (cuda if there is one).
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
    workers: int = 1
    root: Path | None = None
    device: str = "auto"


@dataclass(frozen=True)
class RemovalOptions(RetrainOptions):
    """Train without the most memorised images, without random ones and without the least memorised.

    Linear probes and fine-tuning use all labelled images of the pool, whether an encoder was
    trained on them or not: only the encoders differ. Random choices are nested, and encoders of one
    seed start from the same weights. The same command resumes an interrupted study and adds what is
    new.

    Attributes
    ----------
    remove : tuple of float
        Shares of the pool to remove. Training on the whole pool is always included for comparison.
    which : tuple of {"most", "random", "least"}
        Images to remove: the most memorised, random ones, or the least memorised.
    out : Path
        Run folder: config.json, removal.json, removal.png, cells.
    """

    remove: tuple[float, ...] = (0.02, 0.08, 0.32)
    which: tuple[Literal["most", "random", "least"], ...] = ("most", "random", "least")
    out: Path = Path("runs/memorization-removal")


@dataclass(frozen=True)
class PenaltyOptions(RetrainOptions):
    """Train with a penalty on the distance between two views' representations.

    Encoders f and g of the study's split are trained anew with several strengths of the penalty,
    and its effect on memorisation and accuracy is measured. The same command resumes an interrupted
    study and adds what is new.

    Attributes
    ----------
    strengths : tuple of float
        Weights of the mean distance in the loss. 0 is always included for comparison; a negative
        weight pushes views apart.
    targeted : tuple of {"most", "random"}
        Penalise some candidates only, in the training of f alone: the most memorised ones of the
        study, or as many random ones. Default: all images, in the training of both f and g.
    count : int
        With `targeted`: number of these candidates.
    out : Path
        Run folder: config.json, penalty.json, penalty.png, cells.
    """

    strengths: tuple[float, ...] = (0.0, 0.1, 1.0, 10.0)
    targeted: tuple[Literal["most", "random"], ...] = ()
    count: int = 50
    out: Path = Path("runs/memorization-penalty")
