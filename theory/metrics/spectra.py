"""Spectra of embeddings and the ranks read off them, each transcribed from its definition.

The twins of the functions of the same names in ``sslsim``: covariances are formed in full,
whatever the shape. Embeddings are (n, d), samples in rows.

A collapsed embedding has defined values, never NaN: its ranks are 0 where there is nothing to rank
(an embedding of zeros; a constant one once centred) and the decay of such a spectrum is infinite.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, finite_array, paired_views, whole_number


def covariance_spectrum(z: ArrayLike, center: bool = True) -> Array:
    """Eigenvalues of the covariance ``Z^T Z / n``.

    Parameters
    ----------
    z : array_like, shape (n, d)
        Embeddings of at least two samples.
    center : bool
        Subtract the mean first.

    Returns
    -------
    ndarray, shape (d,)
        Descending, none negative; those beyond the rank are 0 up to rounding.

    Raises
    ------
    ValueError
        If ``z`` is no matrix of two rows, or not finite.

    Examples
    --------
    >>> covariance_spectrum([[1.0, 0.0], [-1.0, 0.0]])
    array([1., 0.])
    """
    z = rows_array("z", z, 2)
    z = centred(z) if center else z
    return np.linalg.eigvalsh(z.T @ z / len(z))[::-1].clip(min=0)


def cross_spectrum(z: ArrayLike, z_prime: ArrayLike) -> Array:
    """Eigenvalues of the symmetric cross-correlation ``(Z^T Z' + Z'^T Z) / (2n)``.

    Parameters
    ----------
    z, z_prime : array_like, shape (n, d)
        Embeddings of two views of at least two samples, used without centring.

    Returns
    -------
    ndarray, shape (d,)
        Descending, of both signs.

    Raises
    ------
    ValueError
        If a view is no matrix of two rows or not finite, or their shapes differ.

    Notes
    -----
    arXiv 2303.15438, section 4.

    Examples
    --------
    >>> cross_spectrum([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, -1.0]])
    array([ 0.5, -0.5])
    """
    z, z_prime = paired_views(z, z_prime)
    eigenvalues = np.linalg.eigvalsh((z.T @ z_prime + z_prime.T @ z) / (2 * len(z)))
    return np.asarray(eigenvalues[::-1], dtype=np.float64)


def effective_rank(spectrum: ArrayLike) -> float:
    """Exponential of the entropy of a spectrum scaled to sum to one.

    Parameters
    ----------
    spectrum : array_like, shape (d,)
        Eigenvalues, or singular values, in any order, none negative.

    Returns
    -------
    float
        Between 1 and d; k for k equal values and otherwise zeros; 0 if all are zero.

    Raises
    ------
    ValueError
        If ``spectrum`` is no vector, empty, not finite, or holds a negative value.

    Notes
    -----
    Roy and Vetterli, The effective rank, EUSIPCO 2007, definition 1, who take singular values.

    Examples
    --------
    >>> round(effective_rank([3.0, 3.0, 0.0]), 12)
    2.0
    """
    spectrum = _spectrum(spectrum)
    if not spectrum.any():
        return 0.0
    share = spectrum / spectrum.sum()
    share = share[share > 0]
    return float(np.exp(-np.sum(share * np.log(share))))


def rank_me(z: ArrayLike) -> float:
    """RankMe, the effective rank of the singular values of embeddings.

    Parameters
    ----------
    z : array_like, shape (n, d)
        Embeddings, used without centring.

    Returns
    -------
    float
        Between 1 and min(n, d); 0 for a constant embedding of several rows, as the effective rank
        of its covariance.

    Raises
    ------
    ValueError
        If ``z`` is no matrix or not finite.

    Notes
    -----
    arXiv 2210.02885, equation 1, without the 1e-7 added there to every share: here they sum to one.
    There a constant embedding has rank 1, its mean; here it is told from one of a single direction.

    Examples
    --------
    >>> round(rank_me(2 * np.eye(3)), 12)
    3.0
    """
    z = rows_array("z", z, 1)
    if len(z) > 1 and np.all(z == z[0]):
        return 0.0
    return effective_rank(np.linalg.svd(z, compute_uv=False))


def alpha_req(spectrum: ArrayLike, first: int = 1, last: int | None = None) -> float:
    """Alpha-ReQ, the exponent of a power law fitted to a spectrum.

    Parameters
    ----------
    spectrum : array_like, shape (d,)
        Eigenvalues of a covariance, descending, none negative.
    first, last : int
        Indices between which to fit, counted from 1 and inclusive; ``last`` None means d. The
        published code takes 12 to 100.

    Returns
    -------
    float
        Exactly a for eigenvalues proportional to ``i^-a``; infinite where fewer than two
        eigenvalues are above zero.

    Raises
    ------
    ValueError
        If the spectrum is no vector, not finite, negative somewhere or not descending, or the
        indices are not ``1 <= first <= last <= d``.

    Notes
    -----
    Agrawal et al., NeurIPS 2022 (first as arXiv 2202.05808). Least squares of log eigenvalue on
    log index, weighted by one over the index as in their code, so that every octave counts alike.
    Eigenvalues within d machine epsilons of the largest are rounding, and left out.

    Examples
    --------
    >>> round(alpha_req(np.arange(1.0, 50.0) ** -1.5), 12)
    1.5
    """
    spectrum = _spectrum(spectrum)
    if np.any(np.diff(spectrum) > 0):
        raise ValueError("spectrum ascends somewhere; expected descending eigenvalues")
    d = len(spectrum)
    last = whole_number("last", d if last is None else last, 1, d)
    first = whole_number("first", first, 1, last)
    index = np.arange(1, d + 1)
    within = (index >= first) & (index <= last)
    within &= spectrum > d * np.finfo(np.float64).eps * spectrum[0]
    if within.sum() < 2:
        return float("inf")
    x, y = np.log(index[within]), np.log(spectrum[within])
    # polyfit squares its weights.
    return -float(np.polyfit(x, y, 1, w=index[within] ** -0.5)[0])


def rows_array(name: str, value: ArrayLike, rows: int) -> Array:
    """Return ``value`` as a float64 matrix of at least so many rows and one column.

    Parameters
    ----------
    name : str
        How the caller calls the argument.
    value : array_like, shape (n, d)
        The argument, samples in rows.
    rows : int
        Least number of rows.

    Returns
    -------
    ndarray, shape (n, d)
        The same as float64.

    Raises
    ------
    ValueError
        If it is no matrix, has fewer rows or no columns, or an entry is NaN or infinite.

    Examples
    --------
    >>> rows_array("z", [[1, 2]], 1)
    array([[1., 2.]])
    """
    array = finite_array(name, value, 2)
    if array.shape[0] < rows or array.shape[1] < 1:
        raise ValueError(
            f"{name} has shape {array.shape}; expected (n, d) with n of at least {rows} and d of "
            "at least 1"
        )
    return array


def centred(z: Array) -> Array:
    """Embeddings less their mean; exactly zero where all samples are equal.

    Parameters
    ----------
    z : ndarray, shape (n, d)
        Embeddings.

    Returns
    -------
    ndarray, shape (n, d)
        The same with columns that sum to zero.

    Examples
    --------
    >>> centred(np.full((3, 1), 0.1)).ravel().tolist()
    [0.0, 0.0, 0.0]
    """
    # The first row goes first: what is constant becomes exactly zero, not a rounding of it.
    z = z - z[:1]
    return z - z.mean(axis=0)


def _spectrum(values: ArrayLike) -> Array:
    spectrum = finite_array("spectrum", values, 1)
    if len(spectrum) == 0:
        raise ValueError("spectrum is empty; expected at least one value")
    if np.any(spectrum < 0):
        raise ValueError(f"spectrum holds {spectrum.min():.3g}; expected no negative value")
    return spectrum
