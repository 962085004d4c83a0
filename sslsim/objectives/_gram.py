"""Sums of squares of d x d matrices of few samples, without forming them.

For A, B of shape (n, d) the trace is cyclic: ||A^T B||_F^2 = <A A^T, B B^T>, of n x n matrices.
"""

from __future__ import annotations

import torch


def off_diagonal(matrix: torch.Tensor) -> torch.Tensor:
    """Entries of square matrices beside their diagonals, as a view.

    Parameters
    ----------
    matrix : Tensor, shape (..., d, d)
        Contiguous.

    Returns
    -------
    Tensor, shape (..., d - 1, d)
        Row by row.

    Examples
    --------
    >>> off_diagonal(torch.arange(4.0).reshape(2, 2)).tolist()
    [[1.0, 2.0]]
    """
    d = matrix.shape[-1]
    # Without the last entry, rows of d + 1 hold a diagonal entry first and d others after it.
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
        One sum a matrix.

    Examples
    --------
    >>> float(inner(torch.eye(3), torch.ones(3, 3)))
    3.0
    """
    return (a * b).sum(dim=(-2, -1))
