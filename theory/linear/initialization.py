r"""The aligned initialisation that is equivalent to a generic small one.

The closed form of :mod:`theory.linear.closed_form` needs W(0) = U diag(s(0)) V_d^T. A generic small
W(0) follows the same trajectory: the fastest mode grows along W(0) v_1, the next one along the part
of W(0) v_2 orthogonal to it, and so on. This is a QR factorisation (arXiv 2303.15438):

    W(0) V_d = Q R,  R_jj > 0     is equivalent to     U = Q,  s_j(0) = R_jj.

With alpha the scale of W(0) and r = max_j gamma_{j+1}/gamma_j, the error of W vanishes as
alpha^(1-r) and that of the eigenvalue curves as alpha^(2(1-r)).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, finite_array


def equivalent_initialization(w0: ArrayLike, right: ArrayLike) -> tuple[Array, Array]:
    """Aligned initialisation that is equivalent to a generic small one.

    Parameters
    ----------
    w0 : array_like, shape (d, m)
        Weights at t = 0.
    right : array_like, shape (m, k)
        Eigenvectors of Gamma in columns, in order of decreasing eigenvalue, k <= d.

    Returns
    -------
    left : ndarray, shape (d, k)
        Equivalent left singular vectors U.
    s0 : ndarray, shape (k,)
        Equivalent singular values, not negative.

    Raises
    ------
    ValueError
        If the shapes do not fit or a value is not finite.

    Notes
    -----
    arXiv 2303.15438, generic initialisation.

    Examples
    --------
    >>> left, s0 = equivalent_initialization([[0.0, -2.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]])
    >>> s0.tolist(), left.tolist()
    ([3.0, 2.0], [[0.0, -1.0], [1.0, 0.0]])
    """
    projected = _project(w0, right)
    left, upper = np.linalg.qr(projected)
    sign = np.where(np.diagonal(upper) < 0, -1.0, 1.0)
    return left * sign + 0.0, np.abs(np.diagonal(upper))


def column_norms(w0: ArrayLike, right: ArrayLike) -> Array:
    """Naive initial singular values ``||W(0) v_j||``, a negative control.

    Parameters
    ----------
    w0 : array_like, shape (d, m)
        Weights at t = 0.
    right : array_like, shape (m, k)
        Eigenvectors of Gamma in columns.

    Returns
    -------
    ndarray, shape (k,)
        Column norms. They ignore that later modes must grow orthogonally to earlier ones: their
        step times look right, but the errors are 10 to 30 times those of
        :func:`equivalent_initialization`.

    Raises
    ------
    ValueError
        If the shapes do not fit or a value is not finite.

    Examples
    --------
    >>> column_norms([[0.0, -2.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]]).round(3).tolist()
    [3.0, 4.472]
    """
    projected = _project(w0, right)
    largest = np.abs(projected).max(initial=0.0) or 1.0  # squares of small numbers would underflow
    return np.linalg.norm(projected / largest, axis=0) * largest


def _project(w0: ArrayLike, right: ArrayLike) -> Array:
    w0, right = finite_array("w0", w0, 2), finite_array("right", right, 2)
    if w0.shape[1] != right.shape[0] or right.shape[1] > w0.shape[0]:
        raise ValueError(
            f"w0 has shape {w0.shape} and right {right.shape}; expected (d, m) and (m, k), k <= d"
        )
    return w0 @ right
