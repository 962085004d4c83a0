r"""The Gaussian kernel, a radial basis function (RBF).

    k(x, x') = exp(-|x - x'|^2 / (2 w^2))

is the covariance of infinitely many random features sqrt(2) cos(g . x / w + b), with g standard
normal and b uniform on a circle (Rahimi and Recht, Advances in Neural Information Processing
Systems 2007). It depends on differences only: the mean of the data does not matter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, finite_array, positive_number


def rbf_kernel(x1: ArrayLike, x2: ArrayLike | None = None, *, width: float) -> Array:
    """Gaussian kernel between the rows of two matrices.

    Parameters
    ----------
    x1 : array_like, shape (n1, m)
        Inputs in rows.
    x2 : array_like, shape (n2, m), optional
        Other inputs; ``x1`` by default.
    width : float
        Standard deviation w of the Gaussian function, in units of the data.

    Returns
    -------
    ndarray, shape (n1, n2)
        Kernel; 1 where two inputs coincide.

    Raises
    ------
    ValueError
        If inputs are not finite matrices with equal numbers of columns, or the width is not a
        finite number above zero.

    Examples
    --------
    >>> rbf_kernel([[0.0], [2.0]], width=1.0).round(4).tolist()
    [[1.0, 0.1353], [0.1353, 1.0]]
    """
    x1 = finite_array("x1", x1, 2)
    x2 = x1 if x2 is None else finite_array("x2", x2, 2)
    if x1.shape[1] != x2.shape[1]:
        raise ValueError(f"x1 has shape {x1.shape} and x2 {x2.shape}; expected (n1, m) and (n2, m)")
    width = positive_number("width", width)
    # Small coordinates: squared norms would cancel less well around a distant mean.
    middle = x1.mean(axis=0) if len(x1) else 0.0
    a, b = (x1 - middle) / width, (x2 - middle) / width
    squares = np.sum(a**2, axis=1)[:, None] + np.sum(b**2, axis=1) - 2.0 * a @ b.T
    return np.asarray(np.exp(-np.maximum(squares, 0.0) / 2.0))
