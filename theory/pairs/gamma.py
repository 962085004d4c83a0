r"""The cross-correlation Gamma of two views, as a matrix or as an operator.

    Gamma = 1/(2n) sum_i (x_i x'_i^T + x'_i x_i^T)          (arXiv 2303.15438, section 4)

It is symmetric but not positive semi-definite: a direction along which the two views disagree more
than they agree has a negative eigenvalue and is never learned. Rows are samples here, so that
Gamma = (X^T X' + X'^T X) / (2n) for arrays of shape (n, m).

Data are two arrays or a re-iterable of chunks, of any real type. They are read chunk by chunk in
float64. In addition to the data of the caller, only one chunk and the result are in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg.blas import dgemm

from theory.arrays import Array, positive_number, real_array, whole_number

CHUNK_BYTES = 64 * 2**20
"""Bytes of float64 that one chunk of one view may take, unless told otherwise."""


@dataclass(frozen=True)
class Pairs:
    """Positive pairs, checked once, that can be read any number of times.

    Attributes
    ----------
    source : iterable of (ndarray, ndarray)
        Chunks of rows (x, x') from the caller.
    n, m : int
        Number of pairs and of features.
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
    """

    source: Iterable[tuple[ArrayLike, ArrayLike]]
    n: int
    m: int
    mean: Array
    centred: bool
    scale: float
    energy: float
    chunk_bytes: int

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        """Yield float64 chunks (x, x') of at most ``chunk_bytes`` a view, scaled and centred.

        Raises
        ------
        ValueError
            If the source yields a different number of pairs than at first.
        """
        rows = 0
        for x, x_prime in _split(self.source, self.chunk_bytes):
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
    x: ArrayLike | Iterable[tuple[ArrayLike, ArrayLike]],
    x_prime: ArrayLike | None = None,
    *,
    center: bool = False,
    scale: float = 1.0,
    chunk_bytes: int = CHUNK_BYTES,
) -> Pairs:
    """Check positive pairs and compute their mean, in one pass.

    Parameters
    ----------
    x : array_like, shape (n, m), or iterable of (array_like, array_like)
        First views, samples in rows; or, without ``x_prime``, chunks (x, x') of rows that can be
        iterated over more than once (a list, or an object with ``__iter__``).
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
        once; or if ``chunk_bytes`` is below 1.

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
    elif isinstance(x, np.ndarray):
        raise ValueError(
            f"x is an array of shape {x.shape} and x_prime is missing; "
            "expected both views, or chunks (x, x_prime)"
        )
    elif iter(cast(Any, x)) is x:
        raise ValueError(
            "the pairs are an iterator, which can be read only once; expected a list of chunks "
            "or an object whose __iter__ starts again"
        )
    else:
        source = x
    n, m, total, squares = 0, -1, np.zeros(0), 0.0
    for a, b in _split(source, chunk_bytes):
        if m < 0:
            m, total = a.shape[1], np.zeros(a.shape[1])
        if a.shape[1] != m:
            raise ValueError(f"a chunk has {a.shape[1]} features; expected {m} as in the first")
        a, b = real_array("x", a), real_array("x_prime", b)
        squares += _finite_energy("x", a) + _finite_energy("x_prime", b)
        if center:
            total += a.sum(axis=0) + b.sum(axis=0)
        n += len(a)
    if n < 2:
        raise ValueError(f"{n} pair(s) given; expected at least 2")
    mean = total * (scale / (2 * n))
    energy = max(squares * scale**2 / (2 * n) - float(mean @ mean), 0.0)
    return Pairs(source, n, m, mean, center, scale, energy, chunk_bytes)


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
    source: Iterable[tuple[ArrayLike, ArrayLike]], chunk_bytes: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut the caller's chunks into ones of at most ``chunk_bytes``, checking their shapes."""
    for x, x_prime in source:
        a, b = np.asarray(x), np.asarray(x_prime)
        if a.ndim != 2 or a.shape != b.shape or a.shape[1] == 0:
            raise ValueError(
                f"x has shape {a.shape} and x_prime {b.shape}; expected equal (n, m) with m >= 1"
            )
        rows = max(chunk_bytes // (8 * a.shape[1]), 1)
        for start in range(0, len(a), rows):
            yield a[start : start + rows], b[start : start + rows]


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
