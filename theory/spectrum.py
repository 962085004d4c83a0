r"""Top eigenpairs of Gamma, by the cheapest sound route.

Three routes, chosen by size, all to the same accuracy:

dense
    The smaller of Gamma (m x m) and its counterpart in the span of the 2n views (2n x 2n, reached
    through a QR factorisation of the data) is diagonalised whole. For sides up to 2,048.
krylov
    Gamma is formed (m <= 4,096) and its top modes found by randomised block Krylov iteration.
streamed
    Gamma is never formed: the same iteration reads the pairs once a pass. Memory is one chunk and
    the Krylov basis, 16 m (k + 10) bytes a pass; m = 27,648 and n = 100,000 need no m x m matrix.

Block Krylov with full reorthogonalisation and a Rayleigh-Ritz step (Musco and Musco,
arXiv 1504.05477) converges in fewer passes over the data than power iterations with the same block,
and reading the data is what costs. The residuals reached are part of the result.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from theory.closed_form import Array
from theory.gamma import Pairs, apply_cross_correlation, cross_correlation, stacked_views

DENSE_SIDE = 2048
FORMED_SIDE = 4096
OVERSAMPLING = 10
ROUTES = ("auto", "dense", "krylov", "streamed")


@dataclass(frozen=True)
class Spectrum:
    """Eigenpairs of a symmetric matrix, descending.

    Attributes
    ----------
    eigenvalues : ndarray, shape (k,)
        Descending.
    eigenvectors : ndarray, shape (m, k)
        Orthonormal columns.
    residuals : ndarray, shape (k,)
        ``||A v - gamma v||``; an eigenvalue is off by at most this, and by about its square over
        the gap to the rest.
    complete : bool
        Whether these are all eigenpairs of the span of the data (the rest are zero).
    positive_modes : int or None
        Number of positive eigenvalues above rounding error; None where only the top was computed.
    route : str
        ``dense``, ``krylov`` or ``streamed``.
    passes : int
        Times the matrix was applied (krylov and streamed).
    """

    eigenvalues: Array
    eigenvectors: Array
    residuals: Array
    complete: bool
    positive_modes: int | None
    route: str
    passes: int


def spectrum(
    pairs: Pairs,
    k: int,
    *,
    route: str = "auto",
    tolerance: float = 1e-7,
    max_passes: int = 60,
    rng: np.random.Generator | int = 0,
) -> Spectrum:
    """Top-k eigenpairs of Gamma.

    Parameters
    ----------
    pairs : Pairs
        From :func:`theory.gamma.read_pairs`.
    k : int
        Number of modes wanted; the dense route returns all it has.
    route : {'auto', 'dense', 'krylov', 'streamed'}
        See the module's docstring.
    tolerance : float
        Residual asked of each mode, relative to the largest eigenvalue in size (krylov, streamed).
    max_passes : int
        Applications of Gamma after which the iteration stops, with a warning if it falls short.
    rng : numpy.random.Generator or int
        Of the random start.

    Returns
    -------
    Spectrum
        At least k eigenpairs, or all that the span of the data has.

    Raises
    ------
    ValueError
        If ``k`` is out of range or ``route`` unknown.

    Examples
    --------
    >>> from theory.gamma import read_pairs
    >>> x = np.diag([2.0, 1.0, 0.5])
    >>> spectrum(read_pairs(x, x), 2).eigenvalues.round(3).tolist()
    [1.333, 0.333, 0.083]
    """
    if not 1 <= k <= pairs.m:
        raise ValueError(f"k is {k}; expected from 1 to the {pairs.m} features")
    if route not in ROUTES:
        raise ValueError(f"route is {route!r}; expected one of {', '.join(ROUTES)}")
    if route == "auto":
        side = min(pairs.m, 2 * pairs.n)
        wide = pairs.m <= FORMED_SIDE and pairs.m <= 2 * pairs.n
        route = "dense" if side <= DENSE_SIDE else "krylov" if wide else "streamed"
        if k + OVERSAMPLING > side // 2:  # a Krylov basis would fill the space: nothing to save
            route = "dense"
    if route == "dense":
        return _primal(pairs) if pairs.m <= 2 * pairs.n else _dual(pairs)
    gamma = cross_correlation(pairs) if route == "krylov" else None

    def apply(block: Array) -> Array:
        return apply_cross_correlation(pairs, block) if gamma is None else gamma @ block

    values, vectors, residuals, passes = block_krylov(
        apply, pairs.m, k, tolerance=tolerance, max_passes=max_passes, rng=rng
    )
    positive = None
    if gamma is not None:
        positive = count_above(gamma, _rounding(values[0], max(pairs.n, pairs.m)))
    return Spectrum(values, vectors, residuals, False, positive, route, passes)


def block_krylov(
    apply: Callable[[Array], Array],
    m: int,
    k: int,
    *,
    tolerance: float = 1e-7,
    max_passes: int = 60,
    rng: np.random.Generator | int = 0,
) -> tuple[Array, Array, Array, int]:
    """Top-k eigenpairs of a symmetric operator by randomised block Krylov iteration.

    Parameters
    ----------
    apply : callable
        Maps an (m, b) block to the operator times it.
    m, k : int
        Size of the operator and number of eigenpairs, k <= m.
    tolerance : float
        Residual asked of each pair, relative to the largest Ritz value in size.
    max_passes : int
        Applications after which to stop; a warning says what was reached.
    rng : numpy.random.Generator or int
        Of the random start.

    Returns
    -------
    values : ndarray, shape (k,)
        Descending by value (not by size).
    vectors : ndarray, shape (m, k)
        Orthonormal.
    residuals : ndarray, shape (k,)
        ``||A v - gamma v||`` of each pair.
    passes : int
        Applications used.

    Examples
    --------
    >>> values, *_ = block_krylov(np.diag(np.arange(100.0)).__matmul__, 100, 3)
    >>> values.round(6).tolist()
    [99.0, 98.0, 97.0]
    """
    width = min(k + OVERSAMPLING, m)
    block = np.linalg.qr(np.random.default_rng(rng).standard_normal((m, width)))[0]
    basis, images = np.empty((m, 0)), np.empty((m, 0))
    projected = np.empty((0, 0))
    passes = 0
    while True:
        passes += 1
        image = apply(block)
        basis, images = np.hstack([basis, block]), np.hstack([images, image])
        # Only the new columns of basis^T A basis have to be computed.
        cross = basis.T @ image
        size = projected.shape[0]
        grown = np.empty((basis.shape[1],) * 2)
        grown[:size, :size] = projected
        grown[:, size:] = cross
        grown[size:, :size] = cross[:size].T
        projected = (grown + grown.T) / 2.0
        values, coordinates = scipy.linalg.eigh(projected)
        top = slice(-1, -k - 1, -1)
        vectors, theta = basis @ coordinates[:, top], values[top]
        residuals = np.linalg.norm(images @ coordinates[:, top] - vectors * theta, axis=0)
        goal = tolerance * max(np.abs(values).max(), np.finfo(float).tiny)
        if residuals.max() <= goal or basis.shape[1] == m:
            break
        if passes == max_passes:
            warnings.warn(
                f"eigenpairs reached a residual of {residuals.max():.1e} in {max_passes} passes; "
                f"asked was {goal:.1e}",
                stacklevel=2,
            )
            break
        # Twice is enough (Kahan, Parlett): one projection leaves rounding errors along the basis.
        block = image - basis @ cross
        block = np.linalg.qr(block)[0]
        block -= basis @ (basis.T @ block)
        block = np.linalg.qr(block[:, : m - basis.shape[1]])[0]
    return theta, vectors, residuals, passes


def count_above(matrix: Array, threshold: float) -> int:
    """Number of eigenvalues of a symmetric matrix above a threshold, without computing them.

    Parameters
    ----------
    matrix : ndarray, shape (m, m)
        Symmetric.
    threshold : float
        The bound.

    Returns
    -------
    int
        By Sylvester's law of inertia from the signs of an L D L^T factorisation, m^3 / 3
        floating-point operations.

    Examples
    --------
    >>> count_above(np.diag([3.0, 2.0, -1.0]), 0.5)
    2
    """
    shifted = matrix - threshold * np.eye(len(matrix))
    blocks = scipy.linalg.ldl(shifted, overwrite_a=True)[1]
    diagonal, off = np.diagonal(blocks).copy(), np.diagonal(blocks, 1)
    # A 2 x 2 pivot of the Bunch-Kaufman factorisation always has one eigenvalue of either sign.
    for i in np.flatnonzero(off):
        diagonal[i], diagonal[i + 1] = 1.0, -1.0
    return int(np.count_nonzero(diagonal > 0))


def _primal(pairs: Pairs) -> Spectrum:
    gamma = cross_correlation(pairs)
    return _whole(gamma, None, pairs)


def _dual(pairs: Pairs) -> Spectrum:
    """Diagonalise in the span of the 2n views: stacked^T = Q R gives Gamma = Q (R Z R^T) Q^T."""
    orthonormal, upper = scipy.linalg.qr(stacked_views(pairs).T, mode="economic", overwrite_a=True)
    half = pairs.n
    product = upper[:, :half] @ upper[:, half:].T
    small = (product + product.T) / (2.0 * pairs.n)
    return _whole(small, orthonormal, pairs)


def _whole(matrix: Array, basis: Array | None, pairs: Pairs) -> Spectrum:
    values, vectors = scipy.linalg.eigh(matrix)
    values, vectors = values[::-1], vectors[:, ::-1]
    residuals = np.linalg.norm(matrix @ vectors - vectors * values, axis=0)
    rounding = _rounding(np.abs(values).max(initial=0.0), max(pairs.n, pairs.m))
    positive = int(np.count_nonzero(values > rounding))
    return Spectrum(
        eigenvalues=values.copy(),
        eigenvectors=vectors if basis is None else basis @ vectors,
        residuals=residuals,
        complete=True,
        positive_modes=positive,
        route="dense",
        passes=0,
    )


def _rounding(largest: float, size: int) -> float:
    """Size below which an eigenvalue of Gamma cannot be told from zero in float64."""
    return float(8.0 * np.finfo(np.float64).eps * np.sqrt(size) * largest)
