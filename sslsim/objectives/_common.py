"""Common checks of the arguments of objectives: shapes and types, not values.

A check of values would make the host wait for the device at every step. The training loop notices a
loss that is not finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch


def batch(least: int = 2, **embeddings: torch.Tensor) -> list[torch.Tensor]:
    """Check named embeddings of one shape (n, d), and convert half precision to float32.

    Parameters
    ----------
    least : int
        Minimum number of samples.
    **embeddings : Tensor, shape (n, d)
        Embeddings by their names in messages.

    Returns
    -------
    list of Tensor
        Embeddings in the same order; float16 and bfloat16 as float32, the others as they are.

    Raises
    ------
    ValueError
        If one is not floating point or not a matrix, shapes differ, or n < ``least`` or d < 1.

    Examples
    --------
    >>> [str(z.dtype) for z in batch(z=torch.ones(2, 1).half())]
    ['torch.float32']
    """
    shapes = ", ".join(f"{name} {tuple(z.shape)}" for name, z in embeddings.items())
    first = next(iter(embeddings.values())).shape
    if len(first) != 2 or any(z.shape != first for z in embeddings.values()):
        raise ValueError(f"shapes are {shapes}; expected (n, d), equal for all")
    if first[0] < least or first[1] < 1:
        raise ValueError(f"shapes are {shapes}; expected n >= {least} samples and d >= 1")
    return [working_precision(name, z) for name, z in embeddings.items()]


def working_precision(name: str, z: torch.Tensor) -> torch.Tensor:
    """Convert half precision to float32, in which sums over a batch are accurate.

    Parameters
    ----------
    name : str
        Name of the tensor in the message.
    z : Tensor
        Floating-point tensor.

    Returns
    -------
    Tensor
        The tensor, in float32 if it was float16 or bfloat16.

    Raises
    ------
    ValueError
        If ``z`` is not floating point.

    Examples
    --------
    >>> working_precision("z", torch.ones(1).double()).dtype
    torch.float64
    """
    if not z.is_floating_point():
        raise ValueError(f"{name} is of type {z.dtype}; expected floating point")
    return z.float() if z.dtype in (torch.float16, torch.bfloat16) else z


def positive(**numbers: float) -> None:
    """Check that named numbers are finite and above zero.

    Parameters
    ----------
    **numbers : float
        Numbers by their names in messages.

    Raises
    ------
    ValueError
        If a number is not.

    Examples
    --------
    >>> positive(temperature=0.0)
    Traceback (most recent call last):
        ...
    ValueError: temperature is 0.0; expected a finite number above zero
    """
    for name, number in numbers.items():
        if not (math.isfinite(number) and number > 0):
            raise ValueError(f"{name} is {number}; expected a finite number above zero")


def non_negative(**numbers: float) -> None:
    """Check that named numbers are finite and not below zero.

    Parameters
    ----------
    **numbers : float
        Numbers by their names in messages.

    Raises
    ------
    ValueError
        If a number is not.

    Examples
    --------
    >>> non_negative(lam=-1.0)
    Traceback (most recent call last):
        ...
    ValueError: lam is -1.0; expected a finite number, zero or above
    """
    for name, number in numbers.items():
        if not (math.isfinite(number) and number >= 0):
            raise ValueError(f"{name} is {number}; expected a finite number, zero or above")


def views(name: str, outputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Check outputs for two views or more, all of one shape (n, k), and convert half precision.

    Parameters
    ----------
    name : str
        Name of the outputs in messages.
    outputs : sequence of Tensor, shape (n, k)
        One output for each view, n >= 2.

    Returns
    -------
    list of Tensor
        Outputs, as in :func:`batch`.

    Raises
    ------
    ValueError
        If there are fewer than two views, and as in :func:`batch`.

    Examples
    --------
    >>> views("scores", [torch.ones(2, 3)])
    Traceback (most recent call last):
        ...
    ValueError: scores has 1 views; expected 2 or more
    """
    if len(outputs) < 2:
        raise ValueError(f"{name} has {len(outputs)} views; expected 2 or more")
    return batch(2, **{f"{name}[{v}]": output for v, output in enumerate(outputs)})


def off_diagonal(matrix: torch.Tensor) -> torch.Tensor:
    """Off-diagonal entries of square matrices, without a copy.

    Parameters
    ----------
    matrix : Tensor, shape (..., d, d)
        Contiguous matrices.

    Returns
    -------
    Tensor, shape (..., d - 1, d)
        Off-diagonal entries, row by row.

    Examples
    --------
    >>> off_diagonal(torch.arange(4.0).reshape(2, 2)).tolist()
    [[1.0, 2.0]]
    """
    d = matrix.shape[-1]
    # Without the last entry, rows of d + 1 have a diagonal entry first and d others after it.
    return matrix.flatten(-2)[..., :-1].unflatten(-1, (d - 1, d + 1))[..., 1:]


def inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Sum of the products of the entries of two matrices, <A, B>.

    Parameters
    ----------
    a, b : Tensor, shape (..., n, m)
        Stacks of matrices.

    Returns
    -------
    Tensor, shape (...)
        One sum for each matrix.

    Examples
    --------
    >>> float(inner(torch.eye(3), torch.ones(3, 3)))
    3.0
    """
    return (a * b).sum(dim=(-2, -1))
