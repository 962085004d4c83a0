r"""Eigenvalues measured on images that had no part in the choice of their eigenvectors.

The eigenvalues of a sample are too large, because its eigenvectors were chosen to make them large.
Here the images are divided into ten folds. Eigenvectors v of nine tenths are applied to the last
tenth, where the mean of (v.x)(v.x') is an unbiased measurement of v^T Gamma v. Eigenvectors of
nine tenths are not quite those of the population, so these values are a little too small where
those of the sample are too large, by as much in second order.

Two corrections make them fit for a decision on which modes exist:

Leftovers
    An eigenvector of pure noise leans on the true modes and picks up some of their agreement. What
    earlier modes explain is removed: mode j is measured along ``u_j = v_j - sum_k c_k v_k``, with
    the regression c on earlier modes that are learned.
Correlated folds
    Folds share most of their eigenvectors' data, so their mean fluctuates up to twice as much as
    its standard error says if the eigenvector is unstable. (With 2.33 standard errors alone, one in
    eight modes of pure noise passes.) A mode therefore also needs half of the sample's own
    eigenvalue, and half of the size of the most negative one, which is noise.

Eigenvectors of nine tenths come without an eigenproblem of size m: by a Rayleigh-Ritz step in the
span of the sample's top d + 10 eigenvectors V and of their images under the Gamma of the fold that
is left out. Every route to the eigenvectors of the sample has the same two passes over the pairs;
without the matrix Gamma (streamed), the second one costs more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from theory.arrays import Array
from theory.pairs.gamma import Pairs
from theory.pairs.moments import Indices, unit_order, variance_of_mean
from theory.pairs.spectrum import Spectrum, complement

FOLDS = 10
GUARD = 10
"""Eigenvectors of the sample beyond the modes of interest, to which those of nine tenths lean."""

LEARNED_ERRORS = 2.33
"""Standard errors by which the held-out value of a learned mode exceeds zero (1 % of a normal)."""

LEARNED_SHARE = 0.5
"""Least held-out value of a learned mode, as a share of its sample eigenvalue and of the noise."""


@dataclass(frozen=True)
class HeldOut:
    """Held-out eigenvalues.

    Attributes
    ----------
    values : ndarray, shape (d,)
        Mean of (u.x)(u.x') over images that had no part in the choice of u.
    errors : ndarray, shape (d,)
        Standard errors of ``values``, with images as units.
    learned : ndarray of bool, shape (d,)
        Whether the mode is known to have a positive eigenvalue in the population.
    """

    values: Array
    errors: Array
    learned: NDArray[np.bool_]


def held_out_eigenvalues(
    pairs: Pairs,
    spectrum: Spectrum,
    dim: int,
    groups: NDArray[np.int64] | None = None,
    *,
    rng: np.random.Generator | int = 0,
) -> HeldOut:
    """Measure eigenvalues on held-out images, in ten folds.

    Parameters
    ----------
    pairs : Pairs
        From :func:`theory.pairs.gamma.read_pairs`.
    spectrum : Spectrum
        Spectrum of their Gamma, with at least ``dim`` modes; better with ``GUARD`` more.
    dim : int
        Number d of modes of interest.
    groups : ndarray of int, shape (n,), optional
        Image of every pair: a fold holds images with all their pairs. Default: each pair is an
        image.
    rng : numpy.random.Generator or int
        Generator, or seed, of the division into folds.

    Returns
    -------
    HeldOut
        Values in the order of the sample's modes. With k = d + 10 they cost 12 n m k floating-point
        operations, and 20 m^2 k more with the matrix Gamma or 40 n m k without it (streamed); they
        take 80 m k + 32 n k bytes.

    Examples
    --------
    >>> from theory.pairs.gamma import read_pairs
    >>> from theory.pairs.spectrum import spectrum
    >>> x, x_prime = np.random.default_rng(0).standard_normal((2, 500, 3))
    >>> x[:, 0] = x_prime[:, 0]
    >>> pairs = read_pairs(x, x_prime)
    >>> held_out_eigenvalues(pairs, spectrum(pairs, 2), 2).learned.tolist()
    [True, False]
    """
    order, starts = unit_order(pairs.n, groups)
    units = np.empty(pairs.n, dtype=np.int64)
    units[order] = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, pairs.n]))
    folds = min(FOLDS, len(starts))
    fold = (np.random.default_rng(rng).permutation(len(starts)) % folds)[units]
    a, b = _held_out_coordinates(pairs, spectrum, dim, fold, folds)
    a, b = a[order], b[order]
    least = np.maximum(spectrum.eigenvalues[:dim], -spectrum.lowest) * LEARNED_SHARE
    together = a.T @ b
    together = (together + together.T) / (2.0 * pairs.n)
    values, errors = np.empty(dim), np.empty(dim)
    learned = np.zeros(dim, dtype=bool)
    for j in range(dim):
        earlier = np.flatnonzero(learned)
        share = np.linalg.solve(together[np.ix_(earlier, earlier)], together[earlier, j])
        product = (a[:, j] - a[:, earlier] @ share) * (b[:, j] - b[:, earlier] @ share)
        values[j] = product.mean()
        errors[j] = np.sqrt(variance_of_mean(product, starts))
        learned[j] = values[j] > max(LEARNED_ERRORS * errors[j], least[j])
    return HeldOut(values, errors, learned)


def _held_out_coordinates(
    pairs: Pairs, spectrum: Spectrum, dim: int, fold: Indices, folds: int
) -> tuple[Array, Array]:
    """Both views of every pair along the top eigenvectors of the other folds, (n, dim) each."""
    basis = spectrum.eigenvectors[:, : dim + GUARD]
    k = basis.shape[1]
    a, b, images = _along_basis(pairs, basis, fold, folds)
    floor = 1e-12 * max(float(np.abs(images).max(initial=0.0)), np.finfo(np.float64).tiny)
    added = [complement(basis, image - basis @ (basis.T @ image), floor) for image in images]
    ends = np.cumsum([0, *(block.shape[1] for block in added)])
    whole = [_gamma_between(spectrum, block) for block in added]
    streamed = spectrum.matrix is None and not spectrum.complete
    stacked = np.hstack(added)
    row = 0
    for x, x_prime in pairs:
        here = fold[row : row + len(x)]
        for j, block in enumerate(added):
            place, at = slice(k, k + block.shape[1]), np.flatnonzero(here == j)
            a[row + at, place], b[row + at, place] = x[at] @ block, x_prime[at] @ block
        if streamed:
            left, right = x @ stacked, x_prime @ stacked
            for j, start in enumerate(ends[:-1]):
                columns = slice(start, ends[j + 1])
                whole[j] += _symmetric(left[:, columns], right[:, columns]) / pairs.n
        row += len(x)
    total = images.sum(axis=0)
    for j, block in enumerate(added):
        at, size = np.flatnonzero(fold == j), k + block.shape[1]
        others = total - images[j]
        matrix = np.empty((size, size))
        matrix[:k, :k] = basis.T @ others
        matrix[k:, :k] = block.T @ others
        matrix[:k, k:] = matrix[k:, :k].T
        matrix[k:, k:] = whole[j] - _symmetric(a[at, k:size], b[at, k:size]) / pairs.n
        vectors = scipy.linalg.eigh(matrix)[1][:, : -dim - 1 : -1]
        # Signs as in the sample, so that products of two modes can be averaged over folds.
        vectors *= np.where(np.diagonal(vectors) < 0, -1.0, 1.0)
        a[at, :dim], b[at, :dim] = a[at, :size] @ vectors, b[at, :size] @ vectors
    return a[:, :dim], b[:, :dim]


def _along_basis(
    pairs: Pairs, basis: Array, fold: Indices, folds: int
) -> tuple[Array, Array, Array]:
    """Both views along a basis, (n, 2 k) with k columns to fill, and each fold's Gamma times it."""
    k = basis.shape[1]
    a, b = np.zeros((pairs.n, 2 * k)), np.zeros((pairs.n, 2 * k))
    images = np.zeros((folds, *basis.shape))
    row = 0
    for x, x_prime in pairs:
        here = fold[row : row + len(x)]
        for j in range(folds):
            at = np.flatnonzero(here == j)
            p, q = x[at], x_prime[at]
            left, right = p @ basis, q @ basis
            a[row + at, :k], b[row + at, :k] = left, right
            images[j] += p.T @ right
            images[j] += q.T @ left
        row += len(x)
    images *= 0.5 / pairs.n
    return a, b, images


def _gamma_between(spectrum: Spectrum, block: Array) -> Array:
    """``block^T Gamma block``; zero, to be added to, if Gamma is only known by its pairs."""
    if spectrum.matrix is not None:
        return block.T @ (spectrum.matrix @ block)
    if spectrum.complete:
        inside = spectrum.eigenvectors.T @ block
        return inside.T @ (spectrum.eigenvalues[:, None] * inside)
    return np.zeros((block.shape[1],) * 2)


def _symmetric(left: Array, right: Array) -> Array:
    product = left.T @ right
    return 0.5 * (product + product.T)
