"""Options of ``sslsim train``, and those of every command that trains networks."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sslsim.core.names import (
    Encoder,
    Method,
    Optimizer,
    Precision,
    Preconditioner,
    Projector,
    Schedule,
    TrainingView,
)

if TYPE_CHECKING:
    from sslsim.training.options import TrainingOptions


@dataclass(frozen=True)
class LearnerOptions:
    """Data, method, network and training: shared by every command that trains networks.

    Attributes
    ----------
    method : str
        Training method; supervised is the control with labels.
    encoder : str
        Architecture of the network.
    module : str or None
        Your own network instead: package.module:function, imported from the current directory or
        the installed packages, of a function without arguments that returns a torch module with
        images (n, c, h, w) -> (n, k); or timm:NAME, torchvision:NAME. The projector goes on top,
        unless the network has parts named backbone and projector.
    weights : Path or None
        File with weights of the module, by torch.save or safetensors; FILE:NAME chooses one of
        several. Then `init_scale` applies to a projector of ours only. Default: the weights that
        the function returns.
    output : str or None
        With `module`: which of several outputs is meant, a key or a number. Default: the only one.
    data : str
        Data set: digits (ships with scikit-learn), cifar10, cifar100, stl10, fashion_mnist,
        imagenette, a folder of images, or an .npz file with `images` (and `labels`).
    root : Path or None
        Folder of the torchvision data sets. Default: $SSLSIM_DATA, else ~/.cache/sslsim.
    split : str
        Part of the data set to train on: train, test, all, or unlabeled (stl10).
    size : int or None
        Side in pixels to which images are resized. Default: unchanged if all have the same size,
        else 96.
    limit : int or None
        Largest number of training images, spread evenly over the data set. Default: all.
    stream : {"auto", "always", "never"}
        Whether the images of a folder are decoded once into a file of the cache and read from there
        batch by batch, so that they may be larger than memory: auto (above 1 GiB of decoded
        images), always or never. The numbers are the same.
    cache : Path or None
        Folder of these files. Default: $XDG_CACHE_HOME/sslsim, else ~/.cache/sslsim.
    views : str or None
        Augmentation that makes the views, or package.module:name of your own: a pipeline of
        torchvision, or a function of an image. Default: the one that suits the method.
    dim : int or None
        Embedding dimension. Default: 8; for supervised the number of classes, for mae the dimension
        of the representation.
    widths : tuple of int or None
        Widths of the layers of linear, mlp and convnet; for ResNets one width, that of the first
        stage. Default: those of the architecture (64 for ResNets).
    parameterization : {"standard", "ntk"}
        Where the small networks (linear, mlp, convnet) have their scale factors: in the initial
        weights (standard) or in the forward pass (ntk).
    projector : {"linear", "mlp", "none"} or None
        Network that maps the representation to the embedding. Default: linear; none for the linear
        encoder.
    projector_widths : tuple of int or None
        Hidden widths of the mlp projector.
    norm : {"batch", "none"} or None
        Normalisation of ResNets: BatchNorm or none. Default: BatchNorm.
    stem : {"small", "imagenet"} or None
        First layers of ResNets: a 3 x 3 convolution (small), or a 7 x 7 convolution of stride 2
        with pooling (imagenet). Default: small for images below 64 pixels.
    residual_gain : float or None
        Gain of the residual branches of ResNets at initialisation; at 0 every block starts as its
        shortcut (zero_init_residual). Default: 1.
    init_scale : float
        Factor on the initial parameters of the encoder; a small one makes learning stepwise.
    init_which : {"all", "weights", "last"}
        Parameters that are multiplied: all, the weights of linear maps and convolutions, or the
        last linear map only.
    init_batch_norm : {"keep", "gain"}
        Parameters of normalisation layers: keep them, or multiply gains and biases too (gain).
    barlow_form : {"theory", "published"} or None
        Barlow Twins loss: with C not normalised and lambda = 1 (theory), or with standardised
        embeddings and lambda = 0.005 (published). Default: theory.
    similarity : {"cosine", "dot"} or None
        Similarity of embeddings in the SimCLR loss. Default: cosine.
    temperature : float or None
        Softmax temperature. Default: 0.5 for SimCLR, 0.2 for MoCo v3, 0.1 for SwAV and DINO.
    prototypes : int or None
        Number of prototypes. Default: 128 for SwAV, 1024 for DINO.
    teacher_momentum : float or None
        Momentum of the teacher of BYOL, MoCo v3 and DINO at the start; it rises to 1 at the end.
        Default: 0.99 for MoCo v3, else 0.996.
    steps : int
        Number of updates.
    batch : int
        Number of images in a batch over all processes; at most all images.
    optimizer : {"sgd", "adamw", "lars", "muon"}
        Optimiser; muon takes steps of the same length in all singular directions of a matrix.
    lr : float
        Base learning rate.
    momentum : float
        Momentum of sgd, lars and muon.
    weight_decay : float
        Weight decay, as torch defines it.
    schedule : {"constant", "cosine", "step", "exponential"}
        Schedule of the learning rate.
    warmup : int
        Number of updates of linear warm-up.
    accumulate : int
        Number of batches whose gradients are averaged in one update.
    fixed_views : bool
        Draw the views of every image once and train on these same pairs throughout.
    standardise : bool
        Subtract the mean of every channel of the training images and divide by its standard
        deviation.
    clip_norm : float or None
        Largest norm of the gradient of all parameters; a longer one is shortened to it. Default: no
        limit.
    precondition_embedding : {"none", "covariance"}
        Multiply the gradient of the embedding by an inverse power of its second moments over the
        batch, so that small directions, the late modes, grow sooner.
    precondition_embedding_power : float
        Exponent of this power; 0 is plain training.
    precondition_embedding_ridge : float
        Number that is added to the second moments.
    precondition_inputs : {"none", "covariance"}
        Multiply the gradient of every linear map and convolution by an inverse power of the second
        moments of its inputs. Wide convolutions then cost several times as much.
    precondition_inputs_power : float
        Exponent of this power; 0 is plain training.
    precondition_inputs_ridge : float
        Added to the second moments, as a share of their mean eigenvalue.
    precision : {"float32", "bfloat16"}
        Number format of the network; bfloat16 uses autocast.
    channels_last : bool
        Use the channels-last memory layout, which makes convolutions faster.
    compile : bool
        Compile the network with torch.compile.
    seed : int
        Seed of all random draws.
    device : str
        Device: cpu, cuda, or auto (cuda if there is one).
    """

    method: Method = "barlow_twins"
    encoder: Encoder = "convnet"
    module: str | None = None
    weights: Path | None = None
    output: str | None = None
    data: str = "digits"
    root: Path | None = None
    split: str = "train"
    size: int | None = None
    limit: int | None = None
    stream: Literal["auto", "always", "never"] = "auto"
    cache: Path | None = None
    views: TrainingView | str | None = None
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
    clip_norm: float | None = None
    precondition_embedding: Preconditioner = "none"
    precondition_embedding_power: float = 1.0
    precondition_embedding_ridge: float = 0.1
    precondition_inputs: Preconditioner = "none"
    precondition_inputs_power: float = 0.5
    precondition_inputs_ridge: float = 0.1
    precision: Precision = "float32"
    channels_last: bool = False
    compile: bool = False
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class TrainOptions(LearnerOptions):
    """Train a self-supervised network and record its spectra as it learns.

    The same command resumes a run that was interrupted.

    Attributes
    ----------
    epochs : int or None
        Number of passes through the training images, instead of `steps`. An epoch has as many
        batches as fit whole into the images. config.json holds the `steps` that come of it.
    lr_reference_batch : int or None
        Batch size that `lr` is meant for: it is multiplied by the number of images in an update,
        divided by this. config.json holds the product. Default: `lr` as it is.
    records : int
        Number of snapshots over the run.
    adaptive_records : bool
        Take further snapshots, at most half as many again, where an eigenvalue has moved by more
        than 30 % since the snapshot before.
    forecast : bool
        Forecast from the curves at each snapshot when the next mode will be learned, with an
        interval; told as it closes in, recorded, and drawn in run.png.
    probe : int
        Number of held-out images that snapshots measure.
    checkpoint_every : int
        Number of updates between checkpoints.
    checkpoints_kept : int
        Number of checkpoints kept, the newest ones; 0 keeps all, from the initialisation on, which
        forecasts and studies over training need.
    evaluate : bool
        If images have labels: measure the accuracy of nearest neighbours at every tenth snapshot,
        and at the end of nearest neighbours and a linear probe (logistic regression) on frozen
        features.
    layers : tuple of str
        Layers evaluated at the end: backbone (the representation), projector (the embedding), or a
        layer of the backbone, such as layer1.
    out : Path
        Run folder: config.json, training.json, records.jsonl, records.npz, checkpoints, run.png.
    """

    epochs: int | None = None
    lr_reference_batch: int | None = None
    records: int = 150
    adaptive_records: bool = False
    forecast: bool = False
    probe: int = 256
    checkpoint_every: int = 500
    checkpoints_kept: int = 2
    evaluate: bool = True
    layers: tuple[str, ...] = ("backbone", "projector")
    out: Path = Path("runs/train")

    def check(self) -> None:
        """Raise ValueError for numbers that are too small, before images are loaded."""
        for name in ("epochs", "lr_reference_batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; expected at least 1")


@dataclass(frozen=True)
class RecordOptions:
    """What a :class:`sslsim.Recorder` knows of the training that it records.

    Attributes
    ----------
    method : str
        Method, or the name of the loss.
    barlow_form, similarity, temperature
        Options of the method, as in :class:`LearnerOptions`.
    loss : str or None
        ``package.module:function`` of a loss that can be imported again.
    spectrum : {"cross", "covariance"}
        Spectrum in which steps are detected.
    encoder : str
        Class of the network.
    factory : str or None
        ``package.module:function`` without arguments that builds the network again.
    dim, pairs : int
        Dimension of the embedding, and number of pairs that are measured.
    optimizer : str
        sgd, where time is divided by 1 - momentum, or the name of another.
    lr, momentum : float
        Learning rate at the start, and momentum.
    batch : int or None
        Number of pairs in a batch of the training.
    steps : int or None
        Planned number of updates, where it is known.
    records : int
        Largest number of snapshots.
    adaptive : bool
        Keep a third of them for times at which an eigenvalue moves fast.
    checkpoints : int
        Number of snapshots at which the weights are kept.
    data : str or None
        Labelled images for studies that need some, named as for ``sslsim train``.
    views : str
        Kind of the views that studies draw of these images.
    standardise : bool
        Whether studies standardise their pixels.
    seed : int or None
        Seed of the training; runs that differ in it only are one configuration of a report.
    out : Path
        The run folder.
    """

    method: str = "barlow_twins"
    barlow_form: str | None = None
    similarity: str | None = None
    temperature: float | None = None
    loss: str | None = None
    spectrum: Literal["cross", "covariance"] = "cross"
    encoder: str = ""
    factory: str | None = None
    dim: int = 1
    pairs: int = 2
    optimizer: str = "sgd"
    lr: float = 0.003
    momentum: float = 0.0
    batch: int | None = None
    steps: int | None = None
    records: int = 100
    adaptive: bool = False
    checkpoints: int = 0
    data: str | None = None
    views: str = "simclr"
    standardise: bool = False
    seed: int | None = None
    out: Path = Path("runs/record")


def has_theory_form(options: LearnerOptions) -> bool:
    """Whether a run was trained on the loss of the theory: Barlow Twins with C not normalised.

    Parameters
    ----------
    options : LearnerOptions
        Options of the run.

    Returns
    -------
    bool

    Examples
    --------
    >>> has_theory_form(TrainOptions()), has_theory_form(TrainOptions(barlow_form="published"))
    (True, False)
    """
    return options.method == "barlow_twins" and options.barlow_form != "published"


_LATER = {  # with their defaults
    "stem": None,
    "residual_gain": None,
    "adaptive_records": False,
    "forecast": False,
    "module": None,
    "weights": None,
    "output": None,
    "stream": "auto",
    "cache": None,
    "epochs": None,
    "lr_reference_batch": None,
    "clip_norm": None,
    "precondition_embedding": "none",
    "precondition_embedding_power": 1.0,
    "precondition_embedding_ridge": 0.1,
    "precondition_inputs": "none",
    "precondition_inputs_power": 0.5,
    "precondition_inputs_ridge": 0.1,
}


def for_images(options: TrainOptions, images: int) -> TrainOptions:
    """Options of a training on some number of images, in updates and with its learning rate.

    Parameters
    ----------
    options : TrainOptions
        Options as given.
    images : int
        Number of training images.

    Returns
    -------
    TrainOptions
        ``epochs`` has become ``steps``, rounded up to whole updates, and ``lr_reference_batch`` a
        factor of ``lr``; both are None.

    Raises
    ------
    ValueError
        If one of the two is below 1.

    Examples
    --------
    >>> options = TrainOptions(epochs=3, batch=40, lr=0.1, lr_reference_batch=20)
    >>> trained = for_images(options, 100)  # two batches an epoch
    >>> trained.steps, trained.lr, trained.epochs
    (6, 0.2, None)
    """
    options.check()
    batch = min(options.batch, images)
    steps, lr = options.steps, options.lr
    if options.epochs is not None:
        steps = -(-options.epochs * (images // batch) // options.accumulate)
    if options.lr_reference_batch is not None:
        lr *= batch * options.accumulate / options.lr_reference_batch
    return replace(options, steps=steps, lr=lr, epochs=None, lr_reference_batch=None)


def network_name(options: LearnerOptions) -> str:
    """Name of the network: the architecture, or the function that builds the user's own.

    Parameters
    ----------
    options : LearnerOptions
        Options of the run.

    Returns
    -------
    str

    Examples
    --------
    >>> network_name(TrainOptions()), network_name(TrainOptions(module="mine:net"))
    ('convnet', 'mine:net')
    """
    return options.encoder if options.module is None else options.module


def chosen_options(options: LearnerOptions) -> dict[str, Any]:
    """Options by name, as results are found by them.

    Parameters
    ----------
    options : LearnerOptions
        Options of a run.

    Returns
    -------
    dict
        All options; those that came after version 0.1.0 only where they are not at their default,
        so that results of earlier versions are found.

    Examples
    --------
    >>> "residual_gain" in chosen_options(TrainOptions())
    False
    >>> chosen_options(TrainOptions(residual_gain=0.0))["residual_gain"]
    0.0
    """
    values = {field.name: getattr(options, field.name) for field in fields(options)}
    return {n: v for n, v in values.items() if n not in _LATER or v != _LATER[n]}


def training_options(options: LearnerOptions, **others: Any) -> TrainingOptions:
    """The part of the options that the training loop knows.

    Parameters
    ----------
    options : LearnerOptions
        Options of a command.
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
    values = {field.name: getattr(options, field.name) for field in fields(options)}
    return TrainingOptions(**{n: v for n, v in values.items() if n in names} | others)
