"""Checks of arrays and tensors. Every message says what was given and what is expected."""

from __future__ import annotations

import numpy as np
import torch
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
        If ``value`` is complex.

    Examples
    --------
    >>> real_array("times", [1, 2])
    array([1., 2.])
    """
    if np.iscomplexobj(value):
        raise ValueError(f"{name} is complex; expected real numbers")
    return np.asarray(value, dtype=np.float64)


def real_tensor(name: str, value: torch.Tensor | ArrayLike) -> torch.Tensor:
    """Return ``value`` as a float64 tensor; complex numbers would lose their imaginary parts.

    Parameters
    ----------
    name : str
        Name of the argument in the message.
    value : Tensor or array_like
        The argument.

    Returns
    -------
    Tensor of float64
        The tensor, on the same device and in the same graph.

    Raises
    ------
    ValueError
        If ``value`` is complex.

    Examples
    --------
    >>> real_tensor("scores", [1, 2])
    tensor([1., 2.], dtype=torch.float64)
    """
    if not isinstance(value, torch.Tensor):
        if np.iscomplexobj(value):
            raise ValueError(f"{name} is complex; expected real numbers")
        # With the type: by default torch makes float32 of Python's numbers.
        return torch.as_tensor(value, dtype=torch.float64)
    if value.is_complex():
        raise ValueError(f"{name} is complex; expected real numbers")
    return value.double()


def finite_matrix(name: str, value: torch.Tensor | ArrayLike, rows: int = 1) -> torch.Tensor:
    """Return ``value`` as a matrix of floats without NaN or infinity.

    Parameters
    ----------
    name : str
        Name of the argument in the message.
    value : Tensor or array_like, shape (n, d)
        The argument, samples in rows.
    rows : int
        Minimum number of rows.

    Returns
    -------
    Tensor, shape (n, d)
        The matrix, on the same device and in the same graph; integers become float64, floats keep
        their type.

    Raises
    ------
    ValueError
        If ``value`` is not a matrix, has too few rows or no columns, is complex, or has an entry
        that is NaN or infinite.

    Examples
    --------
    >>> finite_matrix("z", [[1, 2]])
    tensor([[1., 2.]], dtype=torch.float64)
    """
    matrix = torch.as_tensor(value)
    if matrix.ndim != 2 or matrix.shape[0] < rows or matrix.shape[1] < 1:
        raise ValueError(
            f"{name} has shape {tuple(matrix.shape)}; expected (n, d) with n of at least {rows} "
            "and d of at least 1"
        )
    if matrix.is_complex():  # torch would drop the imaginary parts
        raise ValueError(f"{name} is complex; expected real numbers")
    if not matrix.is_floating_point():
        matrix = matrix.double()
    # A finite sum proves that all entries are finite, and is fast. It may overflow, so check again.
    total = matrix.detach().sum()
    if not (bool(total.isfinite()) or bool(torch.isfinite(matrix).all())):
        raise ValueError(f"{name} holds NaN or infinite values; expected finite numbers")
    return matrix


def equal_shapes(name: str, first: torch.Tensor, other: str, second: torch.Tensor) -> None:
    """Raise an error if two tensors differ in shape.

    Parameters
    ----------
    name, other : str
        Names of the two arguments in the message.
    first, second : Tensor
        The arguments.

    Raises
    ------
    ValueError
        If their shapes differ.

    Examples
    --------
    >>> equal_shapes("z", torch.ones(2, 3), "z_prime", torch.zeros(2, 3))
    """
    if first.shape != second.shape:
        raise ValueError(
            f"{name} has shape {tuple(first.shape)} and {other} {tuple(second.shape)}; "
            "expected equal shapes"
        )
