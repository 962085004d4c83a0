"""Options of the commands: frozen dataclasses that tyro turns into a command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

Views = Literal["crops", "noise", "simclr"]
PairViews = Literal["crops", "noise", "simclr", "weak", "strong"]


@dataclass(frozen=True)
class DataOptions:
    """Where positive pairs come from.

    Attributes
    ----------
    data : str
        Data set: digits (ships with scikit-learn), cifar10, cifar100, stl10, fashion_mnist,
        imagenette, a folder of images, an .npz file with `images`, or an .npz file with pairs
        `x` and `x_prime` of shape (n, m), which are taken as they are.
    root : Path or None
        Folder of the torchvision data sets. Default: $SSLSIM_DATA, else ~/.cache/sslsim.
    split : str
        Part of the data set: train, test or all (stl10 also: unlabeled).
    size : int or None
        Side in pixels to which photographs are brought. Default: as they are if equal, else 96.
    limit : int or None
        Keep at most so many images, spread evenly over the data set.
    views : {"crops", "noise", "simclr"}
        How the two views of an image differ: random crops of 3/4 of the side with flips, normal
        noise on every pixel, or the SimCLR augmentations. Of no account to pairs.
    views_per_image : int
        Views drawn of every image, an even number; they make disjoint pairs.
    pairs : int or None
        Number of pairs. Default: one an image, at most 1500; every row of a file of pairs.
    center : bool
        Subtract the mean over both views. Uncentred, the first mode is the mean image and steps
        far ahead of all others.
    """

    data: str = "digits"
    root: Path | None = None
    split: str = "train"
    size: int | None = None
    limit: int | None = None
    views: Views = "simclr"
    views_per_image: int = 2
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
        W(0) is this times standard normal numbers.
    lr : float or None
        Learning rate of full-batch gradient descent. Default: 0.05 / gamma_1, a fifth of the
        largest stable one.
    interval_level : float
        Confidence level of the step times' intervals.
    seed : int
        Of the choice of images, their views and W(0).
    """

    dim: int = 10
    init_scale: float = 1e-3
    lr: float | None = None
    interval_level: float = 0.9
    seed: int = 0


@dataclass(frozen=True)
class PredictOptions(ModelOptions):
    """Predict when each dimension of a linear Barlow Twins embedding is learned.

    Attributes
    ----------
    out : Path
        Run folder: config.json, prediction.json, prediction.npz, prediction.png.
    """

    out: Path = Path("runs/predict")


@dataclass(frozen=True)
class CompareOptions(ModelOptions):
    """Predict the steps, then train on the same pairs and compare.

    Attributes
    ----------
    width : tuple of int
        Widths of the hidden layer: instead of the linear model, train networks of these widths and
        compare with their tangent kernels at initialisation. `init_scale` is then a factor on the
        initial outputs, and `pairs` at most 100 by default.
    repeats : int
        Networks drawn of every width, at least 2.
    run : Path or None
        Folder of `sslsim train`: compare what it recorded with what theory predicts from its data.
        Of the other options only `pairs` may be given then.
    max_iterations : int
        Bound on the training; modes predicted to step later are reported as not reached.
    out : Path
        Run folder: config.json, comparison.json, comparison.npz, comparison.png. With `run` the
        comparison is written into that folder, with `width` its files are called wide.
    """

    width: tuple[int, ...] = ()
    repeats: int = 3
    run: Path | None = None
    max_iterations: int = 200_000
    out: Path = Path("runs/compare")


@dataclass(frozen=True)
class NtkOptions:
    """Predict embeddings and steps of a network from its tangent kernel.

    The network is that of a run (`--run DIR`), those of several runs (`--run A B C`: do they learn
    the same, and what their kernels predict?), or your own (`--module package.module:factory`).

    Attributes
    ----------
    run : tuple of Path
        One or more folders of a finished `sslsim train`.
    module : str or None
        A function without arguments that returns a torch module (n, c, h, w) -> (n, d), imported
        from the installed packages or the current directory.
    weights : Path or None
        State dict of the module: a file of torch.save.
    data : str
        Of a module (a run has its own, as of all options up to `seed` but `root` and `views`): what
        pairs are drawn of, as of `sslsim train`.
    root : Path or None
        Folder of the torchvision data sets, for runs too where it has moved.
    split : str
        Part of the data set whose statistics standardise the pixels; pairs are of held-out images.
    size : int or None
        Side in pixels to which photographs are brought. Default: as they are if equal, else 96.
    limit : int or None
        Keep at most so many images of that part.
    views : str or None
        How the two views of an image differ. Default: as the (first) run was trained, else simclr.
    standardise : bool
        Subtract the mean of every channel, divide by its standard deviation.
    seed : int
        Of the views.
    checkpoint : int or None
        Updates after which to take the kernel: 0 for the initialisation, else a checkpoint that the
        run still holds. Default: the newest.
    over_training : int or None
        Take the kernel at so many of the checkpoints that the run holds, from the initialisation to
        the last, and follow the kernel, its predictions and the steps that it dates.
    modes : int or None
        Of several runs: dimension of the subspaces compared. Default: the smallest embedding's
        or, if less, the number of positive modes of a kernel.
    center : bool
        Of several runs: subtract the mean of embeddings and predictions before comparing them.
    outputs : int or None
        Sum the kernel over so many random combinations of the outputs, where there are more.
        Default: over all outputs.
    samples : int
        Held-out pairs n; the kernel is 2n x 2n.
    memory : int
        Budget of the kernel's computation in MiB.
    device : str
        Where the kernel is computed: cpu, cuda, or auto: cuda if there is one.
    out : Path
        Run folder: config.json, ntk.json, ntk.npz, ntk.png; of several runs ntk_across.json, .npz
        and .png.
    """

    run: tuple[Path, ...] = ()
    module: str | None = None
    weights: Path | None = None
    data: str = "digits"
    root: Path | None = None
    split: str = "train"
    size: int | None = None
    limit: int | None = None
    views: PairViews | None = None
    standardise: bool = True
    seed: int = 0
    checkpoint: int | None = None
    over_training: int | None = None
    modes: int | None = None
    center: bool = True
    outputs: int | None = None
    samples: int = 128
    memory: int = 1024
    device: str = "auto"
    out: Path = Path("runs/ntk")


@dataclass(frozen=True)
class ForecastOptions:
    """Forecast when the modes of a network in training will be learned.

    With `--at STEP` forecasts are made from that checkpoint, of every mode not yet learned. Without
    it they are made all along the runs, for every mode each time it passes another size, and
    compared with what happened. Runs keep their checkpoints by `sslsim train --checkpoints-kept 0`.

    Attributes
    ----------
    run : tuple of Path
        One or more folders of `sslsim train`.
    at : int or None
        Updates after which to forecast, a checkpoint that the run holds.
    root : Path or None
        Folder of the torchvision data sets, where it has moved since.
    pairs : int
        Training pairs on which modes and rates are measured: the very ones of a run with fixed
        views, all there are at most; else fresh ones, spread evenly over the images. Where views
        differ much, few pairs mix small modes up with learned ones, and forecasts come too soon.
    kernel : bool
        Forecast by the tangent kernel of every mode's direction too, learned functions projected
        out (Barlow Twins without BatchNorm only).
    hessian : bool
        Forecast by the most negative eigenvalue of the loss's Hessian too; takes some 30 products
        with it for every plateau.
    interval_level : float
        Confidence level of the intervals of step times.
    out : Path
        Run folder: config.json, forecast.json, forecast.npz, forecast.png.
    """

    run: tuple[Path, ...]
    at: int | None = None
    root: Path | None = None
    pairs: int = 1024
    kernel: bool = True
    hessian: bool = False
    interval_level: float = 0.9
    out: Path = Path("runs/forecast")


@dataclass(frozen=True)
class FiguresOptions:
    """Build the figures of the paper with their captions, from stored results; nothing is trained.

    Attributes
    ----------
    only : tuple of int
        Numbers of the figures to build. Default: all.
    results : Path or None
        Folder of results by name, whole run folders or stored ones: convnet, linear/*, methods/*,
        kernels/*, kernels_across, wide, forecast, overfitting, umm_sweep, memorization/*.
        Default: the stored results that are installed with the figures.
    out : Path
        Folder for figureN.pdf, figureN.png, figureN.md (the caption), figure1.gif and config.json.
    """

    only: tuple[int, ...] = ()
    results: Path | None = None
    out: Path = Path("figures")


@dataclass(frozen=True)
class OverfittingOptions:
    """Follow accuracy and coding rate reduction, layer by layer, over the training of runs.

    Do late layers come to tell classes apart less well while early ones do not, and does the coding
    rate reduction, which needs no labels, show it? Runs keep their checkpoints by `sslsim train
    --checkpoints-kept 0`; those that differ by their seed only are summed up together. A study that
    was interrupted goes on where it stopped, and one given more runs measures those only.

    Attributes
    ----------
    run : tuple of Path
        One or more folders of `sslsim train`.
    checkpoints : int
        Measure so many of the checkpoints that a run holds, from the initialisation to the last.
    samples : int
        Images of either split, training and held out, whose coding rates are measured.
    probed : int
        Images of either split, at most, on which probes are fitted and read.
    views : int
        Views drawn of each image for the coding rates, the same at all checkpoints.
    eps : tuple of float
        Distortions, in the unit of features of norm 1.
    interval_level : float
        Confidence level of the intervals of means over seeds.
    seed : int
        Of the views.
    root : Path or None
        Folder of the torchvision data sets, where it has moved since.
    out : Path
        Run folder: config.json, measured.jsonl, overfitting.json, overfitting.png.
    """

    run: tuple[Path, ...]
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
    """Make one self-contained HTML page of run folders.

    Runs that differ by their seed only are summed up together. The page needs no network and no
    script; everything in it is read from the folders, and what is missing or doubtful it says.

    Attributes
    ----------
    folders : tuple of Path
        Run folders, or folders that hold run folders at any depth.
    picture_limit : float
        Leave out pictures larger than so many megabytes.
    out : Path
        The page, if it ends in .html; else a folder for report.html.
    """

    folders: Positional[tuple[Path, ...]]
    picture_limit: float = 4.0
    out: Path = Path("runs/report")


@dataclass(frozen=True)
class CampaignOptions:
    """Work off a queue of runs, as many as fit in the minutes at hand.

    A job is a list of commands, such as a training and what is to be measured of its network. Jobs
    are started in order while the minutes that they are expected to take are left; nothing outlives
    the budget. The same command goes on with what is pending: what is finished is not run again.

    Attributes
    ----------
    queue : str
        A TOML file, or the name of one that ships with the package: small (a minute on a CPU) or
        resnet50 (for a GPU).
    minutes : float
        Budget of this call; on a cluster, of every job.
    data : Path or None
        What {data} stands for in the commands of the queue.
    jobs : tuple of str
        Only these jobs, also where they failed before. Default: all that are pending.
    list : bool
        Print the table of jobs and run nothing.
    workers : int
        Jobs at a time on this machine.
    cluster : {"slurm", "local", "debug"} or None
        Submit every job by submitit (`pip install 'sslsim[cluster]'`) and wait for all: to Slurm,
        to processes of this machine, or within this very process.
    partition : str or None
        Of Slurm.
    file_limit : float
        MiB of a single file in the archive of results; larger arrays are left out of it.
    out : Path
        Folder: one a job, campaign.json, results.tar.gz.
    """

    queue: str = "small"
    minutes: float = 9.0
    data: Path | None = None
    jobs: tuple[str, ...] = ()
    list: bool = False
    workers: int = 1
    cluster: Literal["slurm", "local", "debug"] | None = None
    partition: str | None = None
    file_limit: float = 2.0
    out: Path = Path("runs/campaign")
