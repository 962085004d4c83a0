"""Checks of the matrices that theories take: paired views and symmetric matrices."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.checks import finite_array
from theory.closed_form import Array


def paired_views(x: ArrayLike, x_prime: ArrayLike) -> tuple[Array, Array]:
    """Check two views of the same samples.

    Parameters
    ----------
    x, x_prime : array_like, shape (n, m)
        Two views, samples in rows, at least two samples.

    Returns
    -------
    x, x_prime : ndarray, shape (n, m)
        The same as float64.

    Raises
    ------
    ValueError
        If the shapes differ, there are fewer than two samples or no inputs, or a value is not
        finite.

    Examples
    --------
    >>> paired_views([[1], [2]], [[3], [4]])[1].tolist()
    [[3.0], [4.0]]
    """
    x, x_prime = finite_array("x", x, 2), finite_array("x_prime", x_prime, 2)
    if x.shape != x_prime.shape:
        raise ValueError(
            f"x has shape {x.shape} and x_prime {x_prime.shape}; expected equal shapes (n, m)"
        )
    if x.shape[0] < 2 or x.shape[1] < 1:
        raise ValueError(f"x has shape {x.shape}; expected at least two samples and one input")
    return x, x_prime


def symmetric_matrix(name: str, value: ArrayLike, tolerance: float = 1e-10) -> Array:
    """Check a matrix that must be symmetric, and remove what asymmetry rounding left.

    Parameters
    ----------
    name : str
        How the caller calls the argument.
    value : array_like, shape (k, k)
        The matrix.
    tolerance : float
        Largest asymmetry accepted, as a fraction of the largest entry.

    Returns
    -------
    ndarray, shape (k, k)
        The symmetric part, float64.

    Raises
    ------
    ValueError
        If it is not square, empty, not finite, or less symmetric than asked.

    Examples
    --------
    >>> symmetric_matrix("operator", [[1.0, 2.0], [2.0, 3.0]]).tolist()
    [[1.0, 2.0], [2.0, 3.0]]
    """
    array = finite_array(name, value, 2)
    if array.shape[0] != array.shape[1] or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; expected a square matrix")
    gap, scale = np.abs(array - array.T).max(), np.abs(array).max()
    if gap > tolerance * scale:
        raise ValueError(
            f"{name} differs from its transpose by up to {gap:.3g} with entries up to"
            f" {scale:.3g}; expected a symmetric matrix"
        )
    return (array + array.T) / 2.0
