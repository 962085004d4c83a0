r"""Top eigenpairs of Gamma, by the cheapest of three routes.

The routes have the same accuracy; the size of the data decides between them:

dense
    The full eigenproblem of the smaller of Gamma (m x m) and its counterpart in the span of the 2n
    views (2n x 2n, from a QR factorisation of the data). For sides up to 2,048.
krylov
    Gamma is computed (m <= 4,096), its top modes by randomised block Krylov iteration.
streamed
    The same iteration without the matrix Gamma: every pass reads the pairs once. Memory is one
    chunk and the Krylov basis, 16 m (k + 10) bytes for each of the first 16 passes;
    m = 27,648 and n = 100,000 need no m x m matrix.

Block Krylov iteration with full reorthogonalisation and a Rayleigh-Ritz step (Musco and Musco,
arXiv 1504.05477) converges in fewer passes over the data than power iterations with the same block,
and passes over the data are the main cost. The residuals are part of the result.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.linalg.lapack import dsytrf, dsytrf_lwork

from theory.arrays import Array, finite_array, positive_number, whole_number
from theory.pairs.gamma import Pairs, apply_cross_correlation, cross_correlation, stacked_views
from theory.pairs.views import view_pairs

DENSE_SIDE = 2048
FORMED_SIDE = 4096
OVERSAMPLING = 10
BASIS_BLOCKS = 16
ROUTES = ("auto", "dense", "krylov", "streamed")


@dataclass(frozen=True)
class Spectrum:
    """Eigenpairs of a symmetric matrix, descending.

    Attributes
    ----------
    eigenvalues : ndarray, shape (k,)
        Eigenvalues, descending; zero if they are below rounding errors.
    eigenvectors : ndarray, shape (m, k)
        Orthonormal columns.
    residuals : ndarray, shape (k,)
        ``||A v - gamma v||``. The error of an eigenvalue is at most this, and about its square
        divided by the gap to the other eigenvalues.
    complete : bool
        Whether these are all eigenpairs of the span of the data (the rest are zero).
    positive_modes : int or None
        Number of positive eigenvalues above rounding error; None if only the top was computed.
    route : str
        ``dense``, ``krylov`` or ``streamed``.
    passes : int
        Number of applications of the matrix (krylov and streamed).
    lowest : float
        Smallest eigenvalue; if only the top was computed, the smallest Ritz value, which is equal
        or slightly larger.
    matrix : ndarray, shape (m, m), or None
        The matrix, where it was formed.
    """

    eigenvalues: Array
    eigenvectors: Array
    residuals: Array
    complete: bool
    positive_modes: int | None
    route: str
    passes: int
    lowest: float
    matrix: Array | None = None


def spectrum(
    pairs: Pairs,
    k: int,
    *,
    beyond: int = 0,
    route: str = "auto",
    tolerance: float = 1e-7,
    max_passes: int = 60,
    rng: np.random.Generator | int = 0,
) -> Spectrum:
    """Top-k eigenpairs of Gamma.

    Parameters
    ----------
    pairs : Pairs
        From :func:`theory.pairs.gamma.read_pairs`.
    k : int
        Number of modes; the dense route returns all modes.
    beyond : int
        Number of further modes to return as they are, with any residual (krylov, streamed).
    route : {'auto', 'dense', 'krylov', 'streamed'}
        Route, see the module's docstring.
    tolerance : float
        Largest residual of each mode, relative to the largest eigenvalue in size (krylov,
        streamed).
    max_passes : int
        Maximum number of applications of Gamma; a warning follows if it is not enough.
    rng : numpy.random.Generator or int
        Generator, or seed, of the random start.

    Returns
    -------
    Spectrum
        At least k eigenpairs, or all of the span of the data.

    Raises
    ------
    ValueError
        If ``k`` is out of range or ``route`` is unknown.

    Examples
    --------
    >>> from theory.pairs.gamma import read_pairs
    >>> x = np.diag([2.0, 1.0, 0.5])
    >>> spectrum(read_pairs(x, x), 2).eigenvalues.round(3).tolist()
    [1.333, 0.333, 0.083]
    """
    k = whole_number("k", k, 1, pairs.m)
    beyond = whole_number("beyond", beyond, 0, pairs.m - k)
    if route not in ROUTES:
        raise ValueError(f"route is {route!r}; expected one of {', '.join(ROUTES)}")
    if route == "auto":
        route = route_by_size(pairs.n, pairs.m, k)
    if route == "dense":
        side = 2 * pairs.n if pairs.views is None else pairs.n
        return _primal(pairs) if pairs.m <= side else _dual(pairs)
    gamma = cross_correlation(pairs) if route == "krylov" else None

    def apply(block: Array) -> Array:
        return apply_cross_correlation(pairs, block) if gamma is None else gamma @ block

    values, vectors, residuals, passes, (lowest, _) = block_krylov(
        apply, pairs.m, k, beyond=beyond, tolerance=tolerance, max_passes=max_passes, rng=rng
    )
    rounding = _rounding(_magnitude(pairs), max(pairs.n, pairs.m))
    values[np.abs(values) <= rounding] = 0.0
    positive = None if gamma is None else count_above(gamma, rounding)
    return Spectrum(values, vectors, residuals, False, positive, route, passes, lowest, gamma)


def route_by_size(n: int, m: int, k: int) -> str:
    """Route that ``auto`` takes.

    Parameters
    ----------
    n, m : int
        Number of pairs and of features.
    k : int
        Number of modes wanted.

    Returns
    -------
    {'dense', 'krylov', 'streamed'}
        See the module's docstring.

    Examples
    --------
    >>> route_by_size(50_000, 784, 10), route_by_size(100_000, 27_648, 10)
    ('dense', 'streamed')
    """
    side = min(m, 2 * n)
    # Beyond half of the side a Krylov basis would fill the space: nothing to save.
    if side <= DENSE_SIDE or k + OVERSAMPLING > side // 2:
        return "dense"
    return "krylov" if m <= min(FORMED_SIDE, 2 * n) else "streamed"


def block_krylov(
    apply: Callable[[Array], Array],
    m: int,
    k: int,
    *,
    beyond: int = 0,
    tolerance: float = 1e-7,
    max_passes: int = 60,
    basis_blocks: int = BASIS_BLOCKS,
    rng: np.random.Generator | int = 0,
) -> tuple[Array, Array, Array, int, tuple[float, Array]]:
    """Top-k eigenpairs of a symmetric operator by randomised block Krylov iteration.

    Parameters
    ----------
    apply : callable
        Function from an (m, b) block to the product of operator and block.
    m, k : int
        Size of the operator and number of eigenpairs, k <= m.
    beyond : int
        Number of further pairs to return as they are, at most ``OVERSAMPLING``.
    tolerance : float
        Largest residual of each pair, relative to the largest Ritz value in size.
    max_passes : int
        Applications after which to stop; a warning says what was reached.
    basis_blocks : int
        Memory limit: blocks, of 16 m (k + 10) bytes each, that the basis holds before it is cut
        to its best half. At least 2; fewer need more passes.
    rng : numpy.random.Generator or int
        Generator, or seed, of the random start.

    Returns
    -------
    values : ndarray, shape (k + beyond,)
        Eigenvalues, descending by value (not by size).
    vectors : ndarray, shape (m, k + beyond)
        Eigenvectors, orthonormal.
    residuals : ndarray, shape (k + beyond,)
        ``||A v - gamma v||`` of each pair.
    passes : int
        Number of applications.
    lowest : (float, ndarray of shape (m,))
        Smallest Ritz value, equal to or slightly above the smallest eigenvalue, and its vector.

    Examples
    --------
    >>> values, *_ = block_krylov(np.diag(np.arange(100.0)).__matmul__, 100, 3)
    >>> values.round(6).tolist()
    [99.0, 98.0, 97.0]
    """
    k = whole_number("k", k, 1, m)
    beyond = whole_number("beyond", beyond, 0, min(OVERSAMPLING, m - k))
    max_passes = whole_number("max_passes", max_passes, 1)
    basis_blocks = whole_number("basis_blocks", basis_blocks, 2)
    tolerance = positive_number("tolerance", tolerance)
    width = min(k + OVERSAMPLING, m)
    room = min(basis_blocks * width, m)
    basis, images = np.empty((m, room), order="F"), np.empty((m, room), order="F")
    projected = np.empty((room, room))
    block = np.linalg.qr(np.random.default_rng(rng).standard_normal((m, width)))[0]
    size = passes = 0
    while True:
        passes += 1
        new = slice(size, size + block.shape[1])
        basis[:, new], images[:, new] = block, apply(block)
        # Only the new columns of basis^T A basis have to be computed.
        size = new.stop
        current, image = basis[:, :size], images[:, new]
        cross = current.T @ image
        projected[:size, new] = cross
        projected[new, :size] = cross.T
        values, coordinates = scipy.linalg.eigh(projected[:size, :size])
        top = slice(-1, -k - beyond - 1, -1)
        vectors, theta = current @ coordinates[:, top], values[top]
        residuals = np.linalg.norm(images[:, :size] @ coordinates[:, top] - vectors * theta, axis=0)
        largest = float(np.abs(values).max())
        goal = tolerance * largest
        reached = residuals[:k].max()
        if reached <= goal or passes == max_passes:
            break
        block = complement(current, image - current @ cross, 64.0 * _rounding(largest, m))
        block = block[:, : m - size]
        if block.shape[1] == 0:  # the basis spans an invariant subspace
            break
        if size + block.shape[1] > room:
            # Thick restart (Wu and Simon): keep the best half and the lowest, with their images.
            size = room // 2
            best = np.r_[0, len(values) - size + 1 : len(values)]
            basis[:, :size] = current @ coordinates[:, best]
            images[:, :size] = images[:, : len(values)] @ coordinates[:, best]
            projected[:size, :size] = np.diag(values[best])
    if reached > goal:
        warnings.warn(
            f"eigenpairs reached a residual of {reached:.1e} in {passes} passes; "
            f"asked was {goal:.1e}",
            stacklevel=2,
        )
    return theta, vectors, residuals, passes, (float(values[0]), current @ coordinates[:, 0])


def complement(basis: Array, block: Array, floor: float) -> Array:
    """Orthonormal columns that a block adds to a basis, without those below a floor.

    A remainder at rounding level has no direction: after normalisation it would copy a vector of
    the basis, and its eigenvalue would count twice.
    """
    orthonormal, upper, _ = scipy.linalg.qr(block, mode="economic", pivoting=True)
    added = orthonormal[:, np.abs(np.diagonal(upper)) > floor]
    # Twice is enough (Kahan, Parlett): one projection leaves rounding errors along the basis.
    added -= basis @ (basis.T @ added)
    return np.linalg.qr(added)[0]


def count_above(matrix: Array, threshold: float) -> int:
    """Number of eigenvalues of a symmetric matrix above a threshold, without computing them.

    Parameters
    ----------
    matrix : ndarray, shape (m, m)
        Symmetric matrix.
    threshold : float
        The threshold.

    Returns
    -------
    int
        Number of eigenvalues, from the signs of an L D L^T factorisation by Sylvester's law of
        inertia. It costs m^3 / 3 floating-point operations.

    Raises
    ------
    ValueError
        If the matrix is not square or not finite, or the threshold is not finite.

    Examples
    --------
    >>> count_above(np.diag([3.0, 2.0, -1.0]), 0.5)
    2
    """
    shifted = np.array(finite_array("matrix", matrix, 2), order="F")
    if len(shifted) < 1 or shifted.shape[0] != shifted.shape[1]:
        raise ValueError(f"matrix has shape {shifted.shape}; expected a square matrix")
    if not np.isfinite(threshold):
        raise ValueError(f"threshold is {threshold}; expected a finite number")
    shifted[np.diag_indices_from(shifted)] -= threshold
    lwork = int(dsytrf_lwork(len(shifted))[0])
    factor, pivots, _ = dsytrf(shifted, lwork=lwork, overwrite_a=True)
    # A 2 x 2 pivot of the Bunch-Kaufman factorisation has one eigenvalue of each sign.
    single = pivots > 0
    positive = np.count_nonzero(np.diagonal(factor)[single] > 0)
    return int(positive + np.count_nonzero(~single) // 2)


def _primal(pairs: Pairs) -> Spectrum:
    gamma = cross_correlation(pairs)
    return _whole(gamma, None, pairs)


def _dual(pairs: Pairs) -> Spectrum:
    """Diagonalise in the span of all views: stacked^T = Q R gives Gamma = Q (R Z R^T) Q^T."""
    stacked = stacked_views(pairs) if pairs.views is None else np.concatenate([x for x, _ in pairs])
    orthonormal, upper = scipy.linalg.qr(stacked.T, mode="economic", overwrite_a=True)
    if pairs.views is None:
        first, second = upper[:, : pairs.n].T, upper[:, pairs.n :].T
    else:
        first, second = view_pairs(upper.T.reshape(-1, pairs.views, len(upper)))
    product = first.T @ second
    small = (product + product.T) / (2.0 * pairs.n)
    return _whole(small, orthonormal, pairs)


def _whole(matrix: Array, basis: Array | None, pairs: Pairs) -> Spectrum:
    values, vectors = scipy.linalg.eigh(matrix)
    values, vectors = values[::-1], vectors[:, ::-1]
    residuals = np.linalg.norm(matrix @ vectors - vectors * values, axis=0)
    rounding = _rounding(_magnitude(pairs), max(pairs.n, pairs.m))
    values = np.where(np.abs(values) <= rounding, 0.0, values)
    if basis is not None:
        vectors = basis @ vectors
    return Spectrum(
        eigenvalues=values,
        eigenvectors=vectors,
        residuals=residuals,
        complete=True,
        positive_modes=int(np.count_nonzero(values > 0)),
        route="dense",
        passes=0,
        lowest=float(values[-1]),
        matrix=matrix if basis is None else None,
    )


def _magnitude(pairs: Pairs) -> float:
    """Mean squared norm of a view, plus the rounding left by the subtraction of a large mean."""
    mean, norm = float(np.linalg.norm(pairs.mean)), float(np.sqrt(pairs.energy))
    return norm * (norm + mean) + float(np.finfo(np.float64).eps) * mean**2


def _rounding(scale: float, size: int) -> float:
    """Size below which an eigenvalue cannot be distinguished from zero in float64.

    ``scale`` bounds the terms of the sum: for Gamma the mean squared norm of a view, not the
    largest eigenvalue. If views hardly agree, Gamma is small, but its rounding errors are not.
    """
    return float(8.0 * np.finfo(np.float64).eps * np.sqrt(size) * scale)
