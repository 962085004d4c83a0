"""Checks of arguments. Every message says what was given and what is expected."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def real_array(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """Return ``value`` as a float64 array; complex numbers would lose their imaginary parts.

    Parameters
    ----------
    name : str
        Name of the argument in the message.
    value : array_like
        The argument.

    Returns
    -------
    ndarray
        The array; a float64 array is not copied.

    Raises
    ------
    ValueError
        If ``value`` is complex or not an array of numbers.

    Examples
    --------
    >>> real_array("t", [1, 2])
    array([1., 2.])
    """
    try:
        if not np.iscomplexobj(value):
            return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is {_short(value)}; expected an array of real numbers") from error
    raise ValueError(f"{name} is complex; expected real numbers")


def finite_array(name: str, value: ArrayLike, ndim: int) -> NDArray[np.float64]:
    """Return ``value`` as a float64 array of ``ndim`` dimensions without NaN or infinity.

    Parameters
    ----------
    name : str
        Name of the argument in the message.
    value : array_like
        The argument.
    ndim : int
        Expected number of dimensions.

    Returns
    -------
    ndarray
        The array; a float64 array is not copied.

    Raises
    ------
    ValueError
        If ``value`` is complex, the number of dimensions differs, or an entry is NaN or infinite.

    Examples
    --------
    >>> finite_array("gamma", [1, 2], ndim=1)
    array([1., 2.])
    """
    array = real_array(name, value)
    if array.ndim != ndim:
        raise ValueError(f"{name} has shape {array.shape}; expected {ndim} dimension(s)")
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise ValueError(f"{name} holds {bad} NaN or infinite value(s); expected finite numbers")
    return array


def positive_number(name: str, value: float) -> float:
    """Return ``value`` as a float if it is finite and above zero.

    Parameters
    ----------
    name : str
        Name of the argument in the message.
    value : float
        The argument.

    Returns
    -------
    float
        The number.

    Raises
    ------
    ValueError
        If ``value`` is zero, negative, NaN or infinite.

    Examples
    --------
    >>> positive_number("learning_rate", 0.5)
    0.5
    """
    number = _number(name, value)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} is {value}; expected a finite number above zero")
    return number


def non_negative_number(name: str, value: float) -> float:
    """Return ``value`` as a float if it is finite and not below zero.

    Parameters
    ----------
    name : str
        Name of the argument in the message.
    value : float
        The argument.

    Returns
    -------
    float
        The number.

    Raises
    ------
    ValueError
        If ``value`` is negative, NaN or infinite.

    Examples
    --------
    >>> non_negative_number("penalty", 0)
    0.0
    """
    number = _number(name, value)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{name} is {value}; expected a finite number, zero or above")
    return number


def whole_number(name: str, value: int, low: int, high: int | None = None) -> int:
    """Return ``value`` as an int if it is whole and within ``[low, high]``.

    Parameters
    ----------
    name : str
        Name of the argument in the message.
    value : int
        The argument.
    low, high : int
        Inclusive bounds; None is no upper bound.

    Returns
    -------
    int
        The number.

    Raises
    ------
    ValueError
        If ``value`` is not whole or out of bounds.

    Examples
    --------
    >>> whole_number("dim", 10, 1, 64)
    10
    """
    bounds = f"at least {low}" if high is None else f"from {low} to {high}"
    number = _number(name, value)
    if isinstance(value, bool) or not math.isfinite(number) or int(number) != number:
        raise ValueError(f"{name} is {value}; expected a whole number {bounds}")
    if value < low or (high is not None and value > high):
        raise ValueError(f"{name} is {value}; expected {bounds}")
    return int(value)


def _number(name: str, value: float) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} is {_short(value)}; expected a real number") from error


def _short(value: object) -> str:
    """Text of a value, at most half a line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else f"a {type(value).__name__}"


Array = NDArray[np.float64]


def paired_views(x: ArrayLike, x_prime: ArrayLike) -> tuple[Array, Array]:
    """Check two views of the same samples.

    Parameters
    ----------
    x, x_prime : array_like, shape (n, m)
        Two views, samples in rows, at least two samples.

    Returns
    -------
    x, x_prime : ndarray, shape (n, m)
        The views as float64.

    Raises
    ------
    ValueError
        If the shapes differ, there are fewer than two samples or no features, or a value is not
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
    """Check that a matrix is symmetric, and remove the asymmetry of rounding.

    Parameters
    ----------
    name : str
        Name of the argument in the message.
    value : array_like, shape (k, k)
        The matrix.
    tolerance : float
        Largest accepted asymmetry, as a fraction of the largest entry.

    Returns
    -------
    ndarray, shape (k, k)
        The symmetric part, float64.

    Raises
    ------
    ValueError
        If the matrix is not square, empty, not finite, or not symmetric within the tolerance.

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
