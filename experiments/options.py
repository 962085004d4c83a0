"""Options of the commands: frozen dataclasses that tyro turns into a command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
