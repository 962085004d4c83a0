"""Kernels that ``--kernel`` names, on the views of a data set or from a file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from theory.kernels import (
    KernelFeatures,
    choose_landmarks,
    convolutional_kernels,
    infinite_width_kernels,
    kernel_features,
    landmark_features,
    rbf_kernel,
)

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
Between = Callable[[Rows, Rows], tuple[Array, Array | None]]
"""Kernel between two sets of rows of the stacked views, and the covariance of the start, if any."""

EXPECTED = (
    "expected relu:DEPTH, relu-last:DEPTH, conv:DEPTH, conv-last:DEPTH, rbf:WIDTH or a file .npy"
)
# Matrices that exist at the same time, measured; see the test of the memory.
_EXACT = 12  # of (2n, 2n)
_TALL, _SQUARE = 8, 10  # of (2n, landmarks) and (landmarks, landmarks)
_FEWEST = 8  # landmarks
_BLOCK = 8  # share of the memory for a block of the kernel is one over this
_COPIES = 12  # of a block


@dataclass(frozen=True)
class KernelChoice:
    """A kernel by name: ``kind`` relu, conv (``depth``), rbf (``width``) or file (``path``).

    ``last`` says that the start is small because the last layer is, so that the other layers hardly
    learn; otherwise the kernel is that of all layers.
    """

    kind: str
    depth: int = 0
    width: float = 0.0
    path: Path | None = None
    last: bool = False


def parse_kernel(text: str) -> KernelChoice:
    """Read the value of ``--kernel``.

    >>> parse_kernel("relu-last:2")
    KernelChoice(kind='relu', depth=2, width=0.0, path=None, last=True)
    >>> parse_kernel("relu:two")
    Traceback (most recent call last):
    ValueError: kernel is relu:two; expected a whole number of layers from 1 to 100 after relu:
    """
    if text.endswith(".npy"):
        return KernelChoice("file", path=Path(text))
    name, colon, value = text.partition(":")
    kind, last = name.removesuffix("-last"), name.endswith("-last")
    if not colon or kind not in ("relu", "conv", "rbf") or (kind == "rbf" and last):
        raise ValueError(f"kernel is {text}; {EXPECTED}")
    if kind == "rbf":
        try:
            width = float(value)
        except ValueError:
            width = np.nan
        if not (np.isfinite(width) and width > 0):
            raise ValueError(f"kernel is {text}; expected a finite width above zero after rbf:")
        return KernelChoice(kind, width=width)
    if not (value.isascii() and value.isdecimal() and 1 <= int(value) <= 100):
        raise ValueError(
            f"kernel is {text}; expected a whole number of layers from 1 to 100 after {name}:"
        )
    return KernelChoice(kind, depth=int(value), last=last)


def kernel_and_covariance(
    choice: KernelChoice,
    x1: Array,
    x2: Array,
    shape: tuple[int, ...] | None,
    init_scale: float,
    chunk_bytes: int = 2**26,
) -> tuple[Array, Array | None]:
    """Kernel between two sets of flattened views, and the covariance of the random start.

    ``shape`` is that of a view, for convolutions.
    """
    if choice.kind == "rbf":
        return rbf_kernel(x1, x2, width=choice.width), None
    same = x1 is x2
    if choice.kind == "conv":
        assert shape is not None
        images = [x.reshape(-1, *shape) for x in (x1, x2)]
        covariance, tangent = convolutional_kernels(
            images[0], None if same else images[1], depth=choice.depth, chunk_bytes=chunk_bytes
        )
    else:
        covariance, tangent = infinite_width_kernels(x1, x2, layers=choice.depth + 1)
    if choice.last:
        # The part of the layers below comes through the last one's weights.
        tangent = covariance + init_scale**2 * (tangent - covariance)
    return tangent, covariance


def between_views(
    choice: KernelChoice,
    views: Array,
    shape: tuple[int, ...] | None,
    init_scale: float,
    chunk_bytes: int = 2**26,
) -> Between:
    """Kernel between rows of the stacked views."""

    def between(rows: Rows, columns: Rows) -> tuple[Array, Array | None]:
        x1 = views[rows]
        x2 = x1 if np.array_equal(rows, columns) else views[columns]
        return kernel_and_covariance(choice, x1, x2, shape, init_scale, chunk_bytes)

    return between


def stored_kernel(path: Path) -> tuple[Between, int]:
    """Kernel of a file, read in parts, and its size 2n."""
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        what = "not there" if not path.exists() else "not a file of numpy.save"
        raise ValueError(f"{path} is {what}; expected a (2n, 2n) matrix in a .npy file") from error
    if not isinstance(matrix, np.ndarray) or matrix.dtype.kind not in "fiub":
        raise ValueError(f"{path} holds {matrix.dtype}; expected real numbers")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) % 2 or len(matrix) < 4:
        raise ValueError(
            f"{path} holds an array of shape {matrix.shape}; expected (2n, 2n) for both views of "
            "n >= 2 samples, [x; x'] stacked"
        )

    def between(rows: Rows, columns: Rows) -> tuple[Array, Array | None]:
        return np.asarray(matrix[rows][:, columns], dtype=np.float64), None

    return between, len(matrix)


def landmark_count(size: int, memory: int) -> int | None:
    """Number of landmarks that fits into a memory in bytes; None if the whole kernel fits.

    >>> landmark_count(3000, 2**30), landmark_count(20_000, 2**30), landmark_count(100_000, 2**30)
    (None, 702, 146)
    """
    usable = memory - memory // _BLOCK
    if 8 * _EXACT * size**2 <= usable:
        return None
    # The positive root of SQUARE L^2 + TALL size L = usable / 8.
    root = np.sqrt((_TALL * size) ** 2 + _SQUARE * usable / 2)
    count = int((root - _TALL * size) / (2 * _SQUARE)) // 2 * 2
    if count < _FEWEST:
        least = 8 * _FEWEST * (_TALL * size + _SQUARE * _FEWEST) * _BLOCK / (_BLOCK - 1) / 2**20
        raise ValueError(
            f"memory is {memory >> 20} MiB; expected {int(least) + 1} or more for {size // 2} pairs"
        )
    return min(count, size)


def kernel_parts(between: Between, points: Rows, memory: int) -> tuple[Array, Array | None]:
    """Kernel of some rows and covariance, in blocks; each pair is computed once."""
    size = len(points)
    kernel, covariance = np.empty((size, size)), None
    for rows in _row_blocks(size, size, memory, "kernel"):
        first, last = rows[0], rows[-1] + 1
        for columns in (rows, np.arange(last, size)):
            if not len(columns):
                continue
            block = between(points[rows], points[columns])
            if block[1] is not None and covariance is None:
                covariance = np.empty((size, size))
            for matrix, values in zip((kernel, covariance), block, strict=True):
                if matrix is not None and values is not None:
                    matrix[first:last, columns] = values
                    matrix[columns, first:last] = values.T
    return kernel, covariance


def features_of(
    between: Between, size: int, memory: int, seed: int
) -> tuple[KernelFeatures, Array | None, KernelFeatures | None]:
    """Features of a kernel within a memory in bytes, exact if they fit.

    Returns the features, the covariance of the start at their landmarks, and the features of half
    of the landmarks, which show how far the eigenvalues still move (None if exact).
    """
    count = landmark_count(size, memory)
    if count is None:
        kernel, covariance = kernel_parts(between, np.arange(size), memory)
        return kernel_features(kernel), covariance, None
    landmarks = choose_landmarks(size // 2, count, np.random.default_rng((seed, 1)))
    columns, diagonal = np.empty((size, count)), np.empty(size)
    for rows in _row_blocks(size, count, memory, "landmarks"):
        columns[rows[0] : rows[-1] + 1] = between(rows, landmarks)[0]
        for part in np.split(rows, range(8, len(rows), 8)):
            diagonal[part] = np.diagonal(between(part, part)[0])
    half = landmark_features(columns[:, : count // 4 * 2], landmarks[: count // 4 * 2], diagonal)
    features = landmark_features(columns, landmarks, diagonal)
    return features, kernel_parts(between, landmarks, memory)[1], half


def _row_blocks(size: int, columns: int, memory: int, name: str) -> list[Rows]:
    rows = max(1, memory // _BLOCK // (8 * _COPIES * columns))
    blocks = np.split(np.arange(size), range(rows, size, rows))
    return tqdm(blocks, desc=name, disable=not sys.stderr.isatty())
