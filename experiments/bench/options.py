"""Options of ``sslsim bench``, one class a benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sslsim.core.names import Precision

NETWORKS: dict[str, tuple[str, tuple[int, ...] | None]] = {
    "linear": ("linear", None),
    "mlp-64": ("mlp", (64, 64)),
    "mlp-512": ("mlp", (512, 512)),
    "convnet-16": ("convnet", (8, 16)),
    "convnet-128": ("convnet", (32, 64, 128)),
}
"""Encoder and widths of the networks that are trained together, by name."""


@dataclass(frozen=True)
class BenchOptions:
    """What every benchmark takes.

    Attributes
    ----------
    repeats : int
        Times that each side is run, in turns; medians are reported.
    out : Path
        Run folder: config.json, bench.json.
    """

    repeats: int = 3
    out: Path = Path("runs/bench")


@dataclass(frozen=True)
class ThreadedOptions(BenchOptions):
    """What benchmarks in one process of torch take.

    Attributes
    ----------
    threads : int or None
        Threads of torch. Default: its own choice.
    """

    threads: int | None = None


@dataclass(frozen=True)
class BenchTheoryOptions(BenchOptions):
    """Time predictions against a plain diagonalisation, a matrix too large to form, and training.

    Attributes
    ----------
    data : str
        Data set whose noise views are predicted, named as for `sslsim predict`.
    root : Path or None
        Folder of the torchvision data sets. Default: $SSLSIM_DATA, else ~/.cache/sslsim.
    pairs : int
        Number of pairs of views.
    dim : int
        Embedding dimension d.
    streamed_edge : int
        Side in pixels of the images of the matrix-free measurement.
    streamed_pairs : int
        Number of pairs of that measurement.
    curve_pairs : int
        Number of pairs of digits whose eigenvalue curves are trained.
    seed : int
        Seed of all random draws.
    """

    data: str = "cifar10"
    root: Path | None = None
    pairs: int = 10_000
    dim: int = 64
    streamed_edge: int = 96
    streamed_pairs: int = 2000
    curve_pairs: int = 500
    seed: int = 0
    out: Path = Path("runs/bench-theory")


@dataclass(frozen=True)
class BenchTrainOptions(ThreadedOptions):
    """Time losses, augmentations and training steps against those of other packages.

    Attributes
    ----------
    batch : int
        Number of embeddings of a loss, and of images of an augmentation.
    dim : int
        Embedding dimension of the losses.
    encoder : str
        Network of the training step and the snapshot.
    step_batch : int
        Number of images in a batch of the training step; images are 32 pixels wide.
    steps : int
        Number of training steps timed at once.
    """

    batch: int = 256
    dim: int = 2048
    encoder: str = "resnet18"
    step_batch: int = 64
    steps: int = 6
    repeats: int = 5
    out: Path = Path("runs/bench-train")


@dataclass(frozen=True)
class BenchThroughputOptions(BenchOptions):
    """Time training, with views and updates, against bare passes of the same network.

    Attributes
    ----------
    encoder : str
        Architecture of the network.
    size : int
        Side of the images in pixels.
    batch : int
        Number of images in a batch, with two views of each.
    dim : int
        Embedding dimension.
    images : int
        Number of training images, of random pixels.
    views : str
        Augmentation that makes the views.
    precision : {"float32", "bfloat16"}
        Number format as for `sslsim train`, for training and bare passes.
    channels_last : bool
        Memory layout as for `sslsim train`, for training and bare passes.
    steps : int
        Number of updates, or passes, timed at once, after as many that are not timed.
    device : str
        Device: cpu, cuda, or auto (cuda if there is one).
    """

    encoder: str = "resnet50"
    size: int = 96
    batch: int = 128
    dim: int = 32
    images: int = 2048
    views: str = "simclr"
    precision: Precision = "float32"
    channels_last: bool = False
    steps: int = 40
    device: str = "auto"
    out: Path = Path("runs/bench-throughput")


@dataclass(frozen=True)
class BenchNtkOptions(BenchOptions):
    """Measure time and memory of exact tangent kernels against other ways to compute them.

    Attributes
    ----------
    samples : int
        Number n of images of 32 x 32 pixels.
    outputs : int
        Number of outputs over which the kernel is summed.
    networks : tuple of str
        Encoders by name.
    threads : int
        Number of threads of every measurement.
    jax_python : Path or None
        Python interpreter that has neural-tangents, which is then measured on resnet18 too.
        Default: not measured.
    large : bool
        Also compute one random projection of the outputs of a large network.
    large_network : str
        Architecture of the large network.
    large_samples : int
        Number of images of the large network.
    budget : int
        Memory budget of the large network's kernel in MiB.
    """

    samples: int = 32
    outputs: int = 10
    networks: tuple[str, ...] = ("convnet", "resnet18")
    threads: int = 1
    jax_python: Path | None = None
    large: bool = False
    large_network: str = "resnet50"
    large_samples: int = 512
    budget: int = 4096
    out: Path = Path("runs/bench-ntk")


@dataclass(frozen=True)
class BenchCodingRateOptions(ThreadedOptions):
    """Time the coding rate and its gradient against the published formula.

    Attributes
    ----------
    samples : int
        Number n of embeddings, in float32.
    dim : int
        Embedding dimension d.
    groups : int
        Number of classes; their membership matrices take 4 n^2 bytes each.
    """

    samples: int = 2048
    dim: int = 512
    groups: int = 10
    repeats: int = 15
    out: Path = Path("runs/bench-coding-rate")


@dataclass(frozen=True)
class BenchMemorizationOptions(ThreadedOptions):
    """Time encoders trained together, and scoring against bare forward passes.

    Attributes
    ----------
    networks : tuple of {"linear", "mlp-64", "mlp-512", "convnet-16", "convnet-128"}
        Networks trained together; the number is the width of the last layer.
    encoders : tuple of int
        Numbers of encoders trained at once, each at least 4.
    sides : tuple of int
        Sides of the images in pixels: one channel below 32, three channels from 32 on.
    batches : tuple of int
        Numbers of images in a batch.
    views : str
        Views of training and scoring.
    steps : int
        Number of updates of every run.
    scored : tuple of str
        Encoders whose scoring is timed, on images of 3 x 32 x 32.
    images : int
        Number of images scored.
    pairs : int
        Number of pairs of views of each image.
    """

    networks: tuple[str, ...] = tuple(NETWORKS)
    encoders: tuple[int, ...] = (4, 16, 64)
    sides: tuple[int, ...] = (8, 32)
    batches: tuple[int, ...] = (64, 256)
    views: str = "weak"
    steps: int = 10
    scored: tuple[str, ...] = ("convnet", "resnet18")
    images: int = 128
    pairs: int = 10
    out: Path = Path("runs/bench-memorization")
