r"""The cross-correlation Gamma of two views, as a matrix or as an operator.

    Gamma = 1/(2n) sum_i (x_i x'_i^T + x'_i x_i^T)          (arXiv 2303.15438, section 4)

It is symmetric but not positive semi-definite: a direction along which the two views disagree more
than they agree has a negative eigenvalue and is never learned. Rows are samples here, so that
Gamma = (X^T X' + X'^T X) / (2n) for arrays of shape (n, m).

Data are two arrays, k views of each image (:mod:`theory.pairs.views`), or a re-iterable of chunks
of either, of any real type. They are read chunk by chunk in float64. In addition to the data of the
caller, only one chunk and the result are in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg.blas import dgemm

from theory.arrays import Array, positive_number, real_array, whole_number
from theory.pairs.views import view_pairs

Indices = NDArray[np.int64]

CHUNK_BYTES = 16 * 2**20
"""Bytes of float64 that one chunk of one view may take, unless told otherwise. Memory of this size
is reused by the next chunk; from 32 MiB on, the system would clear new memory each time."""

_LEAST, _MOST = 1e-290, 1e290  # of the mean squared norm of a view


@dataclass(frozen=True)
class Pairs:
    """Positive pairs, checked once, that can be read any number of times.

    Attributes
    ----------
    source : iterable of (ndarray, ndarray), or of ndarray
        Chunks of rows (x, x') from the caller, or chunks of views (images, k, m).
    n, m : int
        Number of pairs and of features. k views of an image are k pairs: each view with the mean of
        the others.
    mean : ndarray, shape (m,)
        Mean over both views, after scaling; zero unless the pairs are centred.
    centred : bool
        Whether the mean is subtracted from both views.
    scale : float
        Factor on every value.
    energy : float
        Mean squared norm of a view, mean over both views, after scaling and centring.
    chunk_bytes : int
        Bytes of float64 that one chunk of one view may take.
    views : int or None
        Number k of views of each image; None if the pairs were given one by one.
    """

    source: Iterable[Any]
    n: int
    m: int
    mean: Array
    centred: bool
    scale: float
    energy: float
    chunk_bytes: int
    views: int | None = None

    @property
    def groups(self) -> Indices | None:
        """Image of each pair, shape (n,), if the pairs are k views of each image."""
        return None if self.views is None else np.arange(self.n) // self.views

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        """Yield float64 chunks (x, x') of at most ``chunk_bytes`` a view, scaled and centred.

        Raises
        ------
        ValueError
            If the source yields a different number of pairs than at first.
        """
        rows = 0
        for x, x_prime, _ in _split(self.source, self.chunk_bytes):
            rows += len(x)
            yield self._prepare(x), self._prepare(x_prime)
        if rows != self.n:
            raise ValueError(
                f"the chunks gave {self.n} pairs when first read and {rows} when read again; "
                "expected the same pairs every time"
            )

    def _prepare(self, view: ArrayLike) -> Array:
        array = real_array("x", view)
        if self.scale != 1.0:
            array = array * self.scale
        return array - self.mean if self.centred else array


def read_pairs(
    x: ArrayLike | Iterable[Any],
    x_prime: ArrayLike | None = None,
    *,
    center: bool = False,
    scale: float = 1.0,
    chunk_bytes: int = CHUNK_BYTES,
) -> Pairs:
    """Check positive pairs and compute their mean, in one pass.

    Parameters
    ----------
    x : array_like, shape (n, m), ndarray, shape (n, k, m), or iterable of chunks
        First views, samples in rows; or, without ``x_prime``, k views of each of n images; or
        chunks that can be iterated over more than once (a list, or an object with ``__iter__``),
        each a tuple (x, x') of rows or an array of views (images, k, m).
    x_prime : array_like, shape (n, m), optional
        Second views; row i is the partner of row i of ``x``.
    center : bool
        Subtract the mean over both views from both.
    scale : float
        Factor on every value, for instance 1/255 for uint8 images; integers are otherwise taken
        at face value.
    chunk_bytes : int
        Memory limit: bytes of float64 that one chunk of one view may take (one row at least).

    Returns
    -------
    Pairs
        The pairs; an iteration yields float64 chunks.

    Raises
    ------
    ValueError
        If the views differ in shape, hold fewer than two pairs, or hold NaN or infinite values;
        if an array is given without its partner; if an iterator is given that can be read only
        once; if images differ in their number of views; if squares of the values overflow or
        underflow; or if ``chunk_bytes`` is below 1.

    Examples
    --------
    >>> pairs = read_pairs([[1.0, 0.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 2.0]], center=True)
    >>> pairs.n, pairs.m, pairs.mean.tolist()
    (2, 2, [0.5, 1.0])
    """
    scale = positive_number("scale", scale)
    chunk_bytes = whole_number("chunk_bytes", chunk_bytes, 1)
    if x_prime is not None:
        source: Any = [(np.asarray(x), np.asarray(x_prime))]
    elif isinstance(x, np.ndarray) and x.ndim == 3:
        source = [x]
    elif isinstance(x, np.ndarray):
        raise ValueError(
            f"x is an array of shape {x.shape} and x_prime is missing; "
            "expected both views, chunks (x, x_prime), or views of shape (n, k, m)"
        )
    elif iter(cast(Any, x)) is x:
        raise ValueError(
            "the pairs are an iterator, which can be read only once; expected a list of chunks "
            "or an object whose __iter__ starts again"
        )
    else:
        source = x
    n, m, total, squares = 0, -1, np.zeros(0), 0.0
    views, zero = set(), True
    for a, b, k in _split(source, chunk_bytes):
        views.add(k)
        if len(views) > 1:
            raise ValueError(
                f"chunks of {' and '.join(sorted(map(str, views)))} views of an image are given; "
                "expected the same number in all (None for pairs x, x_prime)"
            )
        if m < 0:
            m, total = a.shape[1], np.zeros(a.shape[1])
        if a.shape[1] != m:
            raise ValueError(f"a chunk has {a.shape[1]} features; expected {m} as in the first")
        a, b = real_array("x", a), real_array("x_prime", b)
        squares += _finite_energy("x", a) + _finite_energy("x_prime", b)
        zero = zero and not (a.any() or b.any())
        if center:
            total += a.sum(axis=0) + b.sum(axis=0)
        n += len(a)
    k = next(iter(views), None)
    if n < 2 * (k or 1):
        what = "pair(s)" if k is None else "image(s)"
        raise ValueError(f"{n // (k or 1)} {what} given; expected at least 2")
    squared = squares / (2 * n) * scale * scale  # of the norm of a view, in the mean
    if not zero and not _LEAST < squared < _MOST:
        size = math.sqrt(squares / (2 * n)) * scale
        raise ValueError(
            f"views have a norm of about {size:.2g}; expected one between 1e-145 and 1e145, whose "
            "square can be computed with"
        )
    mean = total * (scale / (2 * n))
    energy = max(squared - float(mean @ mean), 0.0)
    return Pairs(source, n, m, mean, center, scale, energy, chunk_bytes, k)


def unit_energy(pairs: Pairs) -> tuple[Pairs, float]:
    """Pairs times a factor with which their mean squared norm is of order one.

    Moments are of fourth order in the data, and would overflow at values of 1e80.

    Parameters
    ----------
    pairs : Pairs
        From :func:`read_pairs`.

    Returns
    -------
    pairs : Pairs
        The same pairs, scaled.
    factor : float
        The factor, a power of two, so that scaling makes no rounding errors.

    Examples
    --------
    >>> scaled, factor = unit_energy(read_pairs([[3e100], [4e100]], [[3e100], [4e100]]))
    >>> 0.5 <= scaled.energy < 2.0, factor == 2.0 ** round(np.log2(factor))
    (True, True)
    """
    if pairs.energy == 0.0:
        return pairs, 1.0
    factor = 2.0 ** -round(0.5 * math.log2(pairs.energy))
    scaled = replace(
        pairs,
        mean=pairs.mean * factor,
        scale=pairs.scale * factor,
        energy=pairs.energy * factor**2,
    )
    return scaled, factor


def cross_correlation(pairs: Pairs) -> Array:
    """Gamma as a matrix.

    Parameters
    ----------
    pairs : Pairs
        From :func:`read_pairs`.

    Returns
    -------
    ndarray, shape (m, m)
        Gamma, symmetric and indefinite. It costs 2 n m^2 floating-point operations and 8 m^2 bytes.

    Examples
    --------
    >>> cross_correlation(read_pairs([[1.0, 0.0], [0.0, 2.0]], [[0.0, 1.0], [0.0, 2.0]])).tolist()
    [[0.0, 0.25], [0.25, 2.0]]
    """
    product = np.zeros((pairs.m, pairs.m), order="F")
    for a, b in pairs:
        # product += a.T @ b without a temporary of its size for every chunk.
        product = dgemm(1.0, a.T, b.T, beta=1.0, c=product, trans_b=True, overwrite_c=True)
    # In place: at m = 3072 a temporary matrix costs as much as the result.
    symmetric = product.T.copy()
    symmetric += product
    symmetric *= 0.5 / pairs.n
    return symmetric


def apply_cross_correlation(pairs: Pairs, vectors: Array) -> Array:
    """Gamma times a block of vectors, without the matrix Gamma.

    Parameters
    ----------
    pairs : Pairs
        Pairs from :func:`read_pairs`; they are read once.
    vectors : ndarray, shape (m, k)
        Block of vectors.

    Returns
    -------
    ndarray, shape (m, k)
        ``Gamma @ vectors``, for 8 n m k floating-point operations.

    Examples
    --------
    >>> pairs = read_pairs([[1.0, 0.0], [0.0, 2.0]], [[0.0, 1.0], [0.0, 2.0]])
    >>> apply_cross_correlation(pairs, np.eye(2)).tolist()
    [[0.0, 0.25], [0.25, 2.0]]
    """
    product = np.zeros((pairs.m, vectors.shape[1]))
    for a, b in pairs:
        product += a.T @ (b @ vectors)
        product += b.T @ (a @ vectors)
    product *= 0.5 / pairs.n
    return product


def stacked_views(pairs: Pairs) -> Array:
    """Both views in one array: all x, then all x'.

    Parameters
    ----------
    pairs : Pairs
        From :func:`read_pairs`.

    Returns
    -------
    ndarray, shape (2n, m)
        Views in float64, scaled and centred like ``pairs``.

    Examples
    --------
    >>> stacked_views(read_pairs([[1.0], [2.0]], [[3.0], [4.0]])).ravel().tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    stacked = np.empty((2 * pairs.n, pairs.m))
    row = 0
    for a, b in pairs:
        stacked[row : row + len(a)] = a
        stacked[pairs.n + row : pairs.n + row + len(b)] = b
        row += len(a)
    return stacked


def _split(
    source: Iterable[Any], chunk_bytes: int
) -> Iterator[tuple[np.ndarray, np.ndarray, int | None]]:
    """Cut the caller's chunks into ones of at most ``chunk_bytes``, checking their shapes.

    The third entry is the number of views of an image; chunks of views hold whole images.
    """
    for chunk in source:
        if isinstance(chunk, np.ndarray) and chunk.ndim == 3:
            images = max(chunk_bytes // (8 * max(chunk[0].size, 1)), 1) if len(chunk) else 1
            for start in range(0, len(chunk), images):
                yield *view_pairs(chunk[start : start + images]), chunk.shape[1]
            continue
        x, x_prime = chunk
        a, b = np.asarray(x), np.asarray(x_prime)
        if a.ndim != 2 or a.shape != b.shape or a.shape[1] == 0:
            raise ValueError(
                f"x has shape {a.shape} and x_prime {b.shape}; expected equal (n, m) with m >= 1"
            )
        rows = max(chunk_bytes // (8 * a.shape[1]), 1)
        for start in range(0, len(a), rows):
            yield a[start : start + rows], b[start : start + rows], None


def _finite_energy(name: str, chunk: Array) -> float:
    """Sum of squares of a chunk, by one BLAS call and without a mask of the data's size."""
    flat = chunk.ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        squares = float(flat @ flat)
    if not np.isfinite(squares):
        bad = chunk.size - int(np.count_nonzero(np.isfinite(chunk)))
        if bad:
            raise ValueError(f"{name} holds {bad} NaN or infinite value(s); expected finite ones")
        raise ValueError(f"{name} holds values whose squares overflow; expected smaller ones")
    return squares
