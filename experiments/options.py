"""Options of the commands: frozen dataclasses that tyro turns into a command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from sslsim.core.names import Preconditioner

Views = Literal["crops", "noise", "simclr"]
Side = Literal["embedding", "input"]
PairViews = Literal["crops", "noise", "simclr", "weak", "strong"]


@dataclass(frozen=True)
class DataOptions:
    """Where positive pairs come from.

    Attributes
    ----------
    data : str
        Data set: digits (ships with scikit-learn), cifar10, cifar100, stl10, fashion_mnist,
        imagenette, a folder of images, an .npz file with `images`, an .npy or IDX file (MNIST) of
        images, or an .npz file with pairs `x` and `x_prime` of shape (n, m), which are used as they
        are.
    root : Path or None
        Folder of the torchvision data sets. Default: $SSLSIM_DATA, else ~/.cache/sslsim.
    split : str
        Part of the data set: train, test or all (stl10 also: unlabeled).
    size : int or None
        Side in pixels to which photographs are resized. Default: unchanged if all have the same
        size, else 96.
    limit : int or None
        Largest number of images, spread evenly over the data set. Default: all.
    views : {"crops", "noise", "simclr"}
        How the two views of an image differ: random crops of 3/4 of the side with flips, Gaussian
        noise on every pixel, or the SimCLR augmentations. Ignored for a file of pairs.
    views_per_image : int or None
        Number k of views drawn from each image, an even number. Default: 2. With more, `predict`
        uses all pairs of them and answers for training with fresh views; `compare` trains on k/2
        disjoint pairs of each image.
    pairs : int or None
        Number of pairs of views. Default: one per image, at most 1500; k/2 of every image if more
        than two views are drawn; every row of a file of pairs. Images that are not needed for so
        many pairs are not used, and one line says so.
    center : bool
        Subtract the mean over both views. Without centring the first mode is the mean image, and
        its step comes far ahead of all others.
    """

    data: str = "digits"
    root: Path | None = None
    split: str = "train"
    size: int | None = None
    limit: int | None = None
    views: Views = "simclr"
    views_per_image: int | None = None
    pairs: int | None = None
    center: bool = True


@dataclass(frozen=True)
class ModelOptions(DataOptions):
    """The linear model on top of the pairs.

    Attributes
    ----------
    dim : int
        Embedding dimension d, at most the number of features m.
    init_scale : float
        Standard deviation of the entries of W(0), which are normal.
    lr : float or None
        Learning rate of gradient descent. Default: 0.05 / gamma_1, a fifth of the largest stable
        one; a quarter of that with batches, and with momentum times 1 - momentum. With muon
        it is 0.0146 / sqrt(gamma_1), and less with a momentum above 0.75.
    optimizer : {"sgd", "muon"}
        Gradient descent, or orthogonalised descent: every update is the polar factor of the
        momentum buffer, times the learning rate. Only `momentum` can be combined with muon.
    batch_size : int or None
        Pairs in a batch of SGD; images with a new pair of views each, where the training draws new
        views. Default: all pairs in every iteration.
    momentum : float
        Momentum of SGD, from 0 to below 1.
    weight_decay : float
        Weight decay of SGD.
    off_diagonal : float
        Weight of the squared off-diagonal entries of the cross-correlation in the loss. The
        published value of Barlow Twins is 0.005, with another normalisation.
    depth : int
        Number of layers of the linear network, from a balanced initialisation. Only `momentum` can
        be combined with it.
    precondition : {"embedding", "input"} or None
        Multiply the gradient by `(C + ridge)^-power`, where C is the embedding cross-correlation,
        or by `(|Gamma| + ridge)^-power` on the side of the input. Default: neither.
    power : float
        With `precondition`: exponent, below 1 on the side of the input.
    ridge : float
        With `precondition`: number added to the eigenvalues, above zero.
    precondition_embedding : {"none", "covariance"}
        Multiply the gradient by `(C + ridge)^-power`, where C is the embedding cross-correlation.
        Can be combined with `precondition_inputs`, unlike `precondition`.
    precondition_embedding_power : float
        Exponent on the side of the embedding.
    precondition_embedding_ridge : float
        Number added to the eigenvalues of C, which end at 1.
    precondition_inputs : {"none", "covariance"}
        Multiply the gradient by `(|Gamma| + ridge gamma_1)^-power`, where Gamma is the
        cross-correlation of the inputs and gamma_1 its largest eigenvalue.
    precondition_inputs_power : float
        Exponent on the side of the inputs, below 1.
    precondition_inputs_ridge : float
        Share of gamma_1 added to the eigenvalues of |Gamma|.
    interval_level : float
        Confidence level of the intervals of the step times.
    seed : int
        Seed for the choice of images, their views and W(0).
    """

    dim: int = 10
    init_scale: float = 1e-3
    lr: float | None = None
    optimizer: Literal["sgd", "muon"] = "sgd"
    batch_size: int | None = None
    momentum: float = 0.0
    weight_decay: float = 0.0
    off_diagonal: float = 1.0
    depth: int = 1
    precondition: Side | None = None
    power: float = 0.5
    ridge: float = 0.01
    precondition_embedding: Preconditioner = "none"
    precondition_embedding_power: float = 1.0
    precondition_embedding_ridge: float = 0.1
    precondition_inputs: Preconditioner = "none"
    precondition_inputs_power: float = 0.5
    precondition_inputs_ridge: float = 0.1
    interval_level: float = 0.9
    seed: int = 0


@dataclass(frozen=True)
class PredictOptions(ModelOptions):
    """Predict when each dimension of a linear Barlow Twins embedding is learned.

    Attributes
    ----------
    kernel : str or None
        Kernel in place of the linear model, for networks and kernel methods: relu:DEPTH or
        conv:DEPTH, the tangent kernel of infinitely wide networks with so many hidden layers, all
        of them trained; relu-last:DEPTH or conv-last:DEPTH, the same with a small last layer;
        rbf:WIDTH, a Gaussian function of this standard deviation; or a file .npy with the (2n, 2n)
        kernel matrix of your own views, the n first ones before the n second ones. `init_scale` is
        then a factor on the random initial outputs, several views of an image are disjoint pairs,
        and training is by full batches without other options. Default: the linear model.
    memory : int
        Memory budget with `kernel`, in MiB. Where the whole kernel does not fit, landmarks stand
        for it, and the result says what they miss.
    out : Path
        Run folder: config.json, prediction.json, prediction.npz, prediction.png.
    """

    kernel: str | None = None
    memory: int = 1024
    out: Path = Path("runs/predict")


@dataclass(frozen=True)
class CompareOptions(ModelOptions):
    """Predict the steps, then train on the same pairs and compare.

    Attributes
    ----------
    width : tuple of int
        Widths of the hidden layers. Instead of the linear model, networks of these widths are
        trained and compared with their tangent kernels at initialisation. `init_scale` is then a
        factor on the initial outputs, and `pairs` is at most 100 by default. Default: the linear
        model.
    kernel : str or None
        With `width`: the networks, relu:DEPTH or conv:DEPTH, with so many hidden layers. Default:
        relu:1.
    repeats : int
        Number of networks of each width, at least 2. With `batch_size`: number of trainings, which
        differ by their batches.
    run : Path or None
        Folder of `sslsim train`: compare its records with what theory predicts from its data.
        With `run`, only `pairs` may be given as well. Default: train the linear model here.
    fresh_views : bool
        Train with new views of the same images in every iteration, and compare with the prediction
        from all pairs of `views_per_image` views of each image, 8 by default. The linear model
        only; with `batch_size` from 4 views on, and not with a preconditioner of the input.
    max_iterations : int
        Largest number of training iterations. Modes predicted to step later are reported as not
        reached.
    out : Path
        Run folder: config.json, comparison.json, comparison.npz, comparison.png. With `run`, the
        comparison is written into that folder; with `width`, the files are named wide.
    """

    width: tuple[int, ...] = ()
    kernel: str | None = None
    repeats: int = 3
    run: Path | None = None
    fresh_views: bool = False
    max_iterations: int = 200_000
    out: Path = Path("runs/compare")


@dataclass(frozen=True)
class NtkOptions:
    """Predict embeddings and steps of a network from its tangent kernel.

    The network is that of a run (`--run DIR`) or your own (`--module package.module:factory`). With
    several runs (`--run A B C`) the command compares their embeddings and the predictions of their
    kernels.

    Attributes
    ----------
    run : tuple of Path
        One or more folders of a finished `sslsim train`.
    module : str or None
        A function without arguments that returns a torch module (n, c, h, w) -> (n, d), imported
        from the current directory or the installed packages; or timm:NAME, torchvision:NAME.
    weights : Path or None
        File with weights of the module, by torch.save or safetensors; FILE:NAME chooses one of
        several. Default: the weights that the function returns.
    output : str or None
        Which of several outputs of the module is meant, a key or a number. Default: the only one.
    data : str
        With `module`: data set from which pairs of views are drawn, named as for `sslsim train`. A
        run has its own data: with `run`, of the options from here to `seed` only `root` and `views`
        may be given.
    root : Path or None
        Folder of the torchvision data sets. Default: as in the run, else $SSLSIM_DATA,
        else ~/.cache/sslsim.
    split : str
        Part of the data set whose statistics standardise the pixels. Pairs come from held-out
        images.
    size : int or None
        Side in pixels to which photographs are resized. Default: unchanged if all have the same
        size, else 96.
    limit : int or None
        Largest number of images of that part. Default: all.
    views : str or None
        How the two views of an image differ, or package.module:name of your own function. Default:
        as in the training of the (first) run; simclr for a module.
    standardise : bool
        Subtract the mean of every channel and divide by its standard deviation.
    seed : int
        Seed of the views.
    checkpoint : int or None
        Number of updates after which the kernel is computed: 0 for the initialisation, else a
        checkpoint that the run still has. Default: the newest.
    over_training : int or None
        Number of checkpoints at which the kernel is computed, from the initialisation to the last:
        shows how the kernel, its predicted embedding and its step times change. Default: one
        checkpoint only.
    modes : int or None
        With several runs: dimension of the subspaces that are compared. Default: the dimension of
        the smallest embedding or, if less, the number of positive modes of a kernel.
    center : bool
        With several runs: subtract the mean of embeddings and predictions before comparing them.
    outputs : int or None
        Number of random combinations of the outputs over which the kernel is summed, if there are
        more outputs. Default: sum over all outputs.
    batch_norm : {"running", "pairs"}
        Statistics that BatchNorm uses, held fixed: the running ones, as in evaluation mode, or
        those of the pairs, close to training. Running statistics of an untrained network are
        zeros and ones, so that its initial kernel differs from the one training starts with.
    samples : int
        Number n of held-out pairs; the kernel is 2n x 2n.
    memory : int
        Memory budget of the kernel computation in MiB.
    device : str
        Where the kernel is computed: cpu, cuda, or auto (cuda if there is one).
    out : Path
        Run folder: config.json, ntk.json, ntk.npz, ntk.png; for several runs ntk_across.json, .npz
        and .png.
    """

    run: tuple[Path, ...] = ()
    module: str | None = None
    weights: Path | None = None
    output: str | None = None
    data: str = "digits"
    root: Path | None = None
    split: str = "train"
    size: int | None = None
    limit: int | None = None
    views: PairViews | str | None = None
    standardise: bool = True
    seed: int = 0
    checkpoint: int | None = None
    over_training: int | None = None
    modes: int | None = None
    center: bool = True
    outputs: int | None = None
    batch_norm: Literal["running", "pairs"] = "running"
    samples: int = 128
    memory: int = 1024
    device: str = "auto"
    out: Path = Path("runs/ntk")


@dataclass(frozen=True)
class ForecastOptions:
    """Forecast when the modes of a network in training will be learned.

    With `--at STEP` forecasts start from that checkpoint, for every mode not yet learned. Without
    it, the command runs a backtest: it makes forecasts all along the runs, whenever a mode first
    passes a given size, and compares them with what happened. `sslsim train --checkpoints-kept 0`
    keeps the checkpoints that this needs.

    Attributes
    ----------
    run : tuple of Path
        One or more folders of `sslsim train`.
    pool : tuple of Path
        Folders of earlier backtests whose forecasts are put together instead, with intervals by
        the calibration given.
    curves : Path or None
        Forecast from recorded curves alone instead, with no run. The file is an .npz with times
        and eigenvalues, or an .npy or .csv with flow times in the first column. Needs `--lr`.
    lr : float or None
        Learning rate of the recorded curves.
    momentum : float
        Momentum of the recorded curves.
    method : {"barlow_twins", "simclr", "vicreg", "spectral"}
        Method of the recorded curves: how its loss pulls, and whose scores make the interval.
    ceiling : float or None
        Eigenvalue at which the recorded curves saturate. Default: where the last learned mode is,
        else 1.
    at : int or None
        Number of updates after which the forecast is made; the run must have this checkpoint.
        Default: a backtest over the whole run.
    root : Path or None
        Folder of the torchvision data sets, if it has moved since the training.
    pairs : int
        Number of training pairs on which modes and rates are measured. A run with fixed views uses
        its own pairs, at most all of them; any other run draws fresh ones, spread evenly over the
        images. If views differ much, too few pairs mix small modes with learned ones, and forecasts
        come too early.
    kernel : bool
        Also forecast by the tangent kernel of each mode's direction, with the learned functions
        projected out (Barlow Twins without BatchNorm only).
    hessian : bool
        Also forecast by the most negative eigenvalue of the Hessian of the loss. This takes
        about 30 Hessian-vector products for every plateau.
    interval_level : float
        Confidence level of the intervals of the step times.
    calibrate : bool
        Also write calibration.json: how the forecasts of these runs came out, which sets the
        intervals of other runs.
    calibration : Path or None
        A calibration.json to use. Default: the one that comes with the package.
    out : Path
        Run folder: config.json, forecast.json, forecast.npz, forecast.png.
    """

    run: tuple[Path, ...] = ()
    pool: tuple[Path, ...] = ()
    curves: Path | None = None
    lr: float | None = None
    momentum: float = 0.9
    method: Literal["barlow_twins", "simclr", "vicreg", "spectral"] = "barlow_twins"
    ceiling: float | None = None
    at: int | None = None
    root: Path | None = None
    pairs: int = 1024
    kernel: bool = True
    hessian: bool = False
    interval_level: float = 0.9
    calibrate: bool = False
    calibration: Path | None = None
    out: Path = Path("runs/forecast")

    def check(self) -> None:
        """Refuse what no forecast can start from, before anything large is imported."""
        given = [name for name in ("run", "pool", "curves") if getattr(self, name)]
        if not given:
            raise ValueError(
                "no run is given; expected --run DIR, a folder of sslsim train, or --curves FILE"
            )
        if len(given) > 1:
            raise ValueError(f"both {given[0]} and {given[1]} are given; expected one of them")


@dataclass(frozen=True)
class SpectraOptions:
    """Measure spectra, ranks and steps of embeddings that any tool has stored.

    Attributes
    ----------
    file : Path
        Embeddings of the same n samples at T times: an .npz file with `z`, and where there are any
        with `z_prime` (the second view), `steps` (updates) or `times`; a .npy file of shape T x n x
        d, or 2 x T x n x d for two views; or a .pt file of torch.save with a tensor or a dictionary
        of the same names.
    spectrum : {"cross", "covariance"} or None
        Spectrum in which steps are detected: cross for losses that see the mean of the embeddings,
        covariance for others. Default: cross with two views, else covariance.
    lr : float or None
        Learning rate, by which steps become times. Default: times as in the file, else steps.
    momentum : float
        Momentum of the training. Used with `lr` only.
    out : Path
        Run folder: config.json, spectra.json, spectra.npz, spectra.png.
    """

    file: Positional[Path]
    spectrum: Literal["cross", "covariance"] | None = None
    lr: float | None = None
    momentum: float = 0.0
    out: Path = Path("runs/spectra")


@dataclass(frozen=True)
class ExportOptions:
    """Write runs and their records as CSV tables, or for TensorBoard.

    Attributes
    ----------
    run : tuple of Path
        One or more run folders, of any command.
    curves : int
        Largest number of leading eigenvalues of each spectrum in records.csv.
    tensorboard : bool
        Also write event files for TensorBoard (`pip install 'sslsim[tensorboard]'`).
    out : Path
        Folder for config.json, runs.csv (one row per run), records.csv (one row per snapshot) and
        tensorboard/.
    """

    run: Positional[tuple[Path, ...]]
    curves: int = 16
    tensorboard: bool = False
    out: Path = Path("runs/export")


@dataclass(frozen=True)
class FiguresOptions:
    """Build the figures of the paper with their captions, from stored results. Nothing is trained.

    Attributes
    ----------
    only : tuple of int
        Numbers of the figures to build; 0 is the picture of the front page. Default: all.
    gallery : bool
        Build the small pictures of the gallery instead.
    store : Path or None
        Folder of `sslsim campaign --queue evidence`: its finished results are put into `--results`
        first. Default: none.
    results : Path or None
        Folder of results by name, whole run folders or stored ones: convnet, linear/*, methods/*,
        kernels/*, kernels_across, wide, forecast, overfitting, umm_sweep, memorization/*,
        untrained/*, acceleration/*. Default: the stored results that are installed with the
        figures.
    out : Path
        Folder for figureN.pdf, figureN.png, figureN.md (the caption), the same of front,
        figure1.gif and config.json.
    """

    only: tuple[int, ...] = ()
    gallery: bool = False
    store: Path | None = None
    results: Path | None = None
    out: Path = Path("figures")


@dataclass(frozen=True)
class OverfittingOptions:
    """Measure accuracy and coding rate reduction of every layer over training.

    Do late layers separate the classes less well as training goes on, while early ones do not? And
    does the coding rate reduction, which needs no labels, show it? `sslsim
    train --checkpoints-kept 0` keeps the checkpoints that this needs. Runs that differ only by
    their seed are summarised together. The same command resumes an interrupted study; with more
    runs it measures only the new ones.

    The networks are those of runs (`--run DIR`), or your own at several moments of its training
    (`--module package.module:factory --weights FILE FILE FILE`).

    Attributes
    ----------
    run : tuple of Path
        One or more folders of `sslsim train`.
    module : str or None
        Your own network, as for `sslsim train`.
    weights : tuple of Path
        With `module`: three or more files with its weights, from early to late.
    output : str or None
        With `module`: which of several outputs is meant, a key or a number. Default: the only one.
    data : str
        With `module`: data set, named as for `sslsim train`. A run has its own data.
    size : int or None
        With `module`: side in pixels to which images are resized. Default: unchanged if all have
        the same size, else 96.
    limit : int or None
        With `module`: largest number of training images. Default: all.
    pair_views : str or None
        With `module`: views for the coding rates, or package.module:name of your own function.
        Default: simclr.
    standardise : bool
        With `module`: subtract the mean of every channel and divide by its standard deviation.
    checkpoints : int
        Number of checkpoints of each run to measure, from the initialisation to the last.
    samples : int
        Number of images of each split, training and held out, for the coding rates.
    probed : int
        Largest number of images of each split, to fit the linear probe and nearest
        neighbours (training) and to test them (held out).
    views : int
        Number of views of each image for the coding rates, the same at all checkpoints.
    eps : tuple of float
        Distortions, in the unit of features of norm 1.
    interval_level : float
        Confidence level of the intervals of means over seeds.
    seed : int
        Seed of the views.
    root : Path or None
        Folder of the torchvision data sets, if it has moved since the training.
    out : Path
        Run folder: config.json, measured.jsonl, overfitting.json, overfitting.png.
    """

    run: tuple[Path, ...] = ()
    module: str | None = None
    weights: tuple[Path, ...] = ()
    output: str | None = None
    data: str = "digits"
    size: int | None = None
    limit: int | None = None
    pair_views: PairViews | str | None = None
    standardise: bool = True
    checkpoints: int = 16
    samples: int = 512
    probed: int = 2000
    views: int = 2
    eps: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    interval_level: float = 0.9
    seed: int = 0
    root: Path | None = None
    out: Path = Path("runs/overfitting")


@dataclass(frozen=True)
class ReportOptions:
    """Make one self-contained HTML page from run folders.

    Runs that differ only by their seed are summarised together. The page needs no network and no
    script. Everything on it is read from the folders; it warns of what is missing or doubtful.

    Attributes
    ----------
    folders : tuple of Path
        Run folders, or folders that contain run folders at any depth.
    picture_limit : float
        Largest size of a picture in megabytes; larger ones are left out.
    out : Path
        The page, if the name ends in .html; else a folder for report.html.
    """

    folders: Positional[tuple[Path, ...]]
    picture_limit: float = 4.0
    out: Path = Path("runs/report")


@dataclass(frozen=True)
class CampaignOptions:
    """Run a queue of jobs, as many as fit into a time budget.

    A job is a list of commands, for example a training and the measurements of its network. Jobs
    start in order, each only if its expected minutes are left; nothing runs beyond the budget. The
    same command continues with the pending jobs; a finished job is not run again.

    Attributes
    ----------
    queue : str
        A TOML file, or the name of a queue that ships with the package: small (a minute on a CPU),
        resnet50 (for a GPU), evidence (everything behind the stored results, in parts).
    minutes : float
        Time budget of this call in minutes; on a cluster, of every job.
    data : Path or None
        Path that replaces {data} in the commands of the queue. Default: none.
    jobs : tuple of str
        Names of the jobs to run, including those that failed before; the name of a part stands for
        all of its jobs. Default: all pending jobs.
    list : bool
        Print the table of jobs (of a queue of parts: of parts, with --jobs PART its jobs) and run
        nothing.
    workers : int
        Number of jobs at a time on this machine.
    cluster : {"slurm", "local", "debug"} or None
        Submit every job by submitit (`pip install 'sslsim[cluster]'`) and wait for all of them: to
        Slurm, to processes of this machine, or within this process. Default: run the jobs here.
    partition : str or None
        With Slurm: partition. Default: that of the cluster.
    account : str or None
        With Slurm: account that pays. Default: that of the user.
    qos : str or None
        With Slurm: quality of service. Default: that of the cluster.
    constraint : str or None
        With Slurm: features that a machine must have, such as a kind of GPU. Default: none.
    memory : float or None
        With Slurm: memory of every job in GiB. Default: that of the cluster.
    cpus : int or None
        With Slurm: processors of every job. Default: that of the cluster.
    file_limit : float
        Largest size in MiB of a file in the archive of results; larger arrays are left out.
    out : Path
        Folder with one folder per job, campaign.json and results.tar.gz.
    """

    queue: str = "small"
    minutes: float = 9.0
    data: Path | None = None
    jobs: tuple[str, ...] = ()
    list: bool = False
    workers: int = 1
    cluster: Literal["slurm", "local", "debug"] | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    memory: float | None = None
    cpus: int | None = None
    file_limit: float = 2.0
    out: Path = Path("runs/campaign")
