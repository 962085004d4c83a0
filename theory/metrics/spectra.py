"""Spectra of embeddings and their ranks, each written as its definition.

They are counterparts of the functions of the same names in ``sslsim``, with full covariance
matrices for every shape. Embeddings are (n, d), samples in rows.

A collapsed embedding has defined values, never NaN: the ranks of an embedding of zeros, or of a
constant one after centring, are 0, and the decay of such a spectrum is infinite.
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
        Whether to subtract the mean first.

    Returns
    -------
    ndarray, shape (d,)
        Eigenvalues, descending and not negative; those beyond the rank are 0 up to rounding.

    Raises
    ------
    ValueError
        If ``z`` is not a finite matrix of at least two rows.

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
        Eigenvalues of both signs, descending.

    Raises
    ------
    ValueError
        If a view is not a finite matrix of at least two rows, or shapes differ.

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
        Eigenvalues or singular values, in any order and not negative.

    Returns
    -------
    float
        Effective rank, between 1 and d. It is k for k equal values and zeros, and 0 if all are
        zero.

    Raises
    ------
    ValueError
        If ``spectrum`` is not a vector, empty, not finite, or has a negative value.

    Notes
    -----
    Roy and Vetterli, The effective rank, EUSIPCO 2007, definition 1, for singular values.

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
        RankMe, between 1 and min(n, d); 0 for a constant embedding of several rows, like the
        effective rank of its covariance.

    Raises
    ------
    ValueError
        If ``z`` is not a finite matrix.

    Notes
    -----
    arXiv 2210.02885, equation 1, without the 1e-7 that is added there to every share. A constant
    embedding has rank 1 there, because of its mean, and 0 here.

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
        Eigenvalues of a covariance, descending and not negative.
    first, last : int
        First and last index of the fit, counted from 1; ``last`` None is d. The published code
        has 12 and 100.

    Returns
    -------
    float
        Exponent; it is a for eigenvalues proportional to ``i^-a``, and infinite if fewer than two
        eigenvalues are above zero.

    Raises
    ------
    ValueError
        If the spectrum is not a vector, not finite, has a negative value or does not descend, or
        the indices are not ``1 <= first <= last <= d``.

    Notes
    -----
    Agrawal et al., NeurIPS 2022 (first as arXiv 2202.05808). Least squares of log eigenvalue on
    log index, weighted by one over the index as in their code, so that every octave has the same
    weight. Eigenvalues below d machine epsilons times the largest are rounding and left out.

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
    """Return ``value`` as a float64 matrix with a minimum number of rows and one column.

    Parameters
    ----------
    name : str
        Name of the argument in the message.
    value : array_like, shape (n, d)
        The argument, samples in rows.
    rows : int
        Minimum number of rows.

    Returns
    -------
    ndarray, shape (n, d)
        The matrix as float64.

    Raises
    ------
    ValueError
        If ``value`` is not a finite matrix or has too few rows or no columns.

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
    """Embeddings minus their mean; exactly zero if all samples are equal.

    Parameters
    ----------
    z : ndarray, shape (n, d)
        Embeddings.

    Returns
    -------
    ndarray, shape (n, d)
        Embeddings with columns that sum to zero.

    Examples
    --------
    >>> centred(np.full((3, 1), 0.1)).ravel().tolist()
    [0.0, 0.0, 0.0]
    """
    # Subtract the first row first: constant columns then become exactly zero.
    z = z - z[:1]
    return z - z.mean(axis=0)


def _spectrum(values: ArrayLike) -> Array:
    spectrum = finite_array("spectrum", values, 1)
    if len(spectrum) == 0:
        raise ValueError("spectrum is empty; expected at least one value")
    if np.any(spectrum < 0):
        raise ValueError(f"spectrum holds {spectrum.min():.3g}; expected no negative value")
    return spectrum
