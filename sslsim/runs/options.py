"""Options of ``sslsim train``, and those of every command that trains networks."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sslsim.core.names import (
    Encoder,
    Method,
    Optimizer,
    Precision,
    Projector,
    Schedule,
    TrainingView,
)

if TYPE_CHECKING:
    from sslsim.training.options import TrainingOptions


@dataclass(frozen=True)
class LearnerOptions:
    """Data, method, network and training: what every command that trains networks takes.

    Attributes
    ----------
    method : str
        What to learn by; supervised is the control with labels.
    encoder : str
        The network.
    data : str
        digits (ships with scikit-learn), cifar10, cifar100, stl10, fashion_mnist, imagenette, a
        folder of images, or an .npz file with `images` (and `labels`).
    root : Path or None
        Folder of the torchvision data sets. Default: $SSLSIM_DATA, else ~/.cache/sslsim.
    split : str
        Part to train on: train, test, all, or stl10's unlabeled.
    size : int or None
        Side in pixels to which images are brought. Default: as they are if equal, else 96.
    limit : int or None
        Keep at most so many training images, spread evenly over the data set.
    views : str or None
        How views are drawn. Default: what suits the method.
    dim : int or None
        Dimension of the embedding. Default: 8, the number of classes when supervised, the dimension
        of the representation of mae.
    widths : tuple of int or None
        Widths of the layers of linear, mlp and convnet; of ResNets the one width of the first
        stage, 64 by default.
    parameterization : {"standard", "ntk"}
        Of the small networks: scales in the initial weights, or in the forward pass.
    projector : {"linear", "mlp", "none"} or None
        What turns the representation into the embedding. Default: linear, none for the linear
        encoder.
    projector_widths : tuple of int or None
        Hidden widths of the mlp projector.
    norm : {"batch", "none"} or None
        Of ResNets: BatchNorm (the default), or none.
    stem : {"small", "imagenet"} or None
        First layers of ResNets: 7 x 7 of stride 2 with pooling, or 3 x 3. Default: small for images
        below 64 pixels.
    residual_gain : float or None
        Gain of every residual branch of a ResNet at initialisation (default 1); at 0 every block
        starts as its shortcut (zero_init_residual).
    init_scale : float
        Factor on the encoder's parameters at initialisation; small for stepwise learning.
    init_which : {"all", "weights", "last"}
        Which of them: all, weights of linear maps and convolutions, or the last linear map.
    init_batch_norm : {"keep", "gain"}
        Whether gains and biases of normalisations are multiplied too.
    barlow_form : {"theory", "published"} or None
        Of Barlow Twins: C not normalised and lambda = 1 (the default), or standardised with
        lambda = 0.005.
    similarity : {"cosine", "dot"} or None
        Of SimCLR. Default: cosine.
    temperature : float or None
        Of SimCLR (default 0.5), SwAV and DINO (default 0.1).
    prototypes : int or None
        Of SwAV (default 128) and DINO (default 1024).
    teacher_momentum : float or None
        Of the teachers of BYOL and DINO at the start (default 0.996); 1 at the end.
    steps : int
        Updates in all.
    batch : int
        Images of a batch, over all processes; at most all there are.
    optimizer : {"sgd", "adamw", "lars"}
        How to update.
    lr : float
        Base learning rate.
    momentum : float
        Of sgd and lars.
    weight_decay : float
        As torch defines it.
    schedule : {"constant", "cosine", "step", "exponential"}
        Of the learning rate.
    warmup : int
        Updates of linear warm-up.
    accumulate : int
        Batches whose gradients are averaged in one update.
    fixed_views : bool
        Draw the views of every image once and train on these very pairs.
    standardise : bool
        Subtract the mean of every channel of the training images, divide by its standard deviation.
    precision : {"float32", "bfloat16"}
        bfloat16 runs the network under autocast.
    channels_last : bool
        Memory layout; faster convolutions.
    compile : bool
        Compile the network with torch.compile.
    seed : int
        Of everything random.
    device : str
        cpu, cuda, or auto: cuda if there is one.
    """

    method: Method = "barlow_twins"
    encoder: Encoder = "convnet"
    data: str = "digits"
    root: Path | None = None
    split: str = "train"
    size: int | None = None
    limit: int | None = None
    views: TrainingView | None = None
    dim: int | None = None
    widths: tuple[int, ...] | None = None
    parameterization: Literal["standard", "ntk"] = "standard"
    projector: Projector | None = None
    projector_widths: tuple[int, ...] | None = None
    norm: Literal["batch", "none"] | None = None
    stem: Literal["small", "imagenet"] | None = None
    residual_gain: float | None = None
    init_scale: float = 0.5
    init_which: Literal["all", "weights", "last"] = "all"
    init_batch_norm: Literal["keep", "gain"] = "keep"
    barlow_form: Literal["theory", "published"] | None = None
    similarity: Literal["cosine", "dot"] | None = None
    temperature: float | None = None
    prototypes: int | None = None
    teacher_momentum: float | None = None
    steps: int = 2400
    batch: int = 256
    optimizer: Optimizer = "sgd"
    lr: float = 0.003
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    warmup: int = 0
    accumulate: int = 1
    fixed_views: bool = False
    standardise: bool = True
    precision: Precision = "float32"
    channels_last: bool = False
    compile: bool = False
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class TrainOptions(LearnerOptions):
    """Train a self-supervised network and record its spectra as it learns.

    A run that was interrupted goes on where it stopped when the same command is given again.

    Attributes
    ----------
    records : int
        Snapshots of the held-out probe set over the run.
    probe : int
        Images in the probe set.
    checkpoint_every : int
        Updates between checkpoints.
    checkpoints_kept : int
        How many of the newest stay; 0 keeps all, from the initialisation on, as forecasts and
        studies over training need.
    evaluate : bool
        Where images have labels: read nearest neighbours at every tenth snapshot, and probe the
        frozen features at the end (nearest neighbours, logistic regression).
    layers : tuple of str
        Whose features to probe at the end: backbone (the representation), projector (the
        embedding), or a layer of the backbone, such as layer1.
    out : Path
        Run folder: config.json, training.json, records.jsonl, records.npz, checkpoints, run.png.
    """

    records: int = 150
    probe: int = 256
    checkpoint_every: int = 500
    checkpoints_kept: int = 2
    evaluate: bool = True
    layers: tuple[str, ...] = ("backbone", "projector")
    out: Path = Path("runs/train")


def training_options(options: LearnerOptions, **others: Any) -> TrainingOptions:
    """The part of the options that the training loop knows.

    Parameters
    ----------
    options : LearnerOptions
        Of a command.
    **others
        Fields of ``TrainingOptions`` to set beside or instead of those.

    Returns
    -------
    TrainingOptions
        Fields of the same names; what the command has no option for is as it is by default.

    Raises
    ------
    ValueError
        If one is out of range.

    Examples
    --------
    >>> training_options(TrainOptions(steps=7)).steps
    7
    """
    from sslsim.training.options import TrainingOptions

    names = {field.name for field in fields(TrainingOptions)}
    given = {field.name: getattr(options, field.name) for field in fields(options)}
    return TrainingOptions(**{n: v for n, v in given.items() if n in names} | others)
