"""Options of ``sslsim memorization``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.train_options import LearnerOptions
from sslsim.names import Distance, Form, Method, Optimizer, View


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
