r"""Barlow Twins on a frozen kernel with all blocks between outputs, by iteration.

A network of d outputs that stays in its linear regime follows, on the 2n stacked views,

    f_k(x) <- f_k(x) - eta sum_{x', l} Theta(x, x')_{kl} dL / df_l(x'),

with Theta its tangent kernel at initialisation (arXiv 1806.07572, section 4). At infinite width
Theta is block diagonal with the same kernel for every output, and the steps have the closed form of
:mod:`theory.kernels.modes` (arXiv 2303.15438, section on kernels). At width w, the blocks between
outputs are of order w^-1/2, unless only the last layer is trained: its kernel has no such blocks.
Through them a learned output drives the others: a mode at the size alpha of the initialisation
receives a contribution of order w^-1/2, and steps earlier than the trace over outputs predicts, the
more so the smaller alpha is. The iteration with all blocks has no such error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, finite_array, positive_number, whole_number


def frozen_kernel_descent(
    kernel: ArrayLike,
    initial_embeddings: ArrayLike,
    learning_rate: float,
    iterations: int,
    *,
    stop_above: float = np.inf,
) -> Array:
    """Eigenvalues of the embedding cross-correlation in gradient descent on a frozen kernel.

    Parameters
    ----------
    kernel : array_like, shape (2n, 2n, d, d)
        Full tangent kernel of the stacked views, first ones first; entry (x, x', k, l) belongs to
        output k at x and output l at x'.
    initial_embeddings : array_like, shape (2n, d)
        Embeddings of the stacked views at iteration 0.
    learning_rate : float
        Learning rate of gradient descent.
    iterations : int
        Maximum number of updates.
    stop_above : float
        Stop when the smallest eigenvalue exceeds this number.

    Returns
    -------
    ndarray, shape (T, d)
        Eigenvalues of C at iterations 0 to T - 1, descending.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, an option is out of range, or the descent
        diverges.

    Notes
    -----
    ``L = ||C - I||_F^2`` with ``C = (Z^T Z' + Z'^T Z) / (2 n)`` (arXiv 2303.15438, eq. 1), so that
    ``dL/dZ = (2/n) Z' (C - I)``. Each iteration costs ``(2 n d)^2`` multiplications.

    Examples
    --------
    >>> kernel = np.eye(4)[:, :, None, None]
    >>> curves = frozen_kernel_descent(kernel, np.full((4, 1), 1e-3), 0.1, 1000)
    >>> curves[[0, -1]].ravel().round(6).tolist()
    [1e-06, 1.0]
    """
    kernel = finite_array("kernel", kernel, 4)
    f = finite_array("initial_embeddings", initial_embeddings, 2)
    size, d = f.shape
    if size % 2 or size < 4 or d < 1 or kernel.shape != (size, size, d, d):
        raise ValueError(
            f"kernel has shape {kernel.shape} and initial_embeddings {f.shape}; expected "
            "(2n, 2n, d, d) and (2n, d) with n >= 2"
        )
    eta = positive_number("learning_rate", learning_rate)
    iterations = whole_number("iterations", iterations, 1)
    n = size // 2
    matrix = np.ascontiguousarray(kernel.transpose(0, 2, 1, 3)).reshape(size * d, size * d)
    curves = []
    for iteration in range(iterations + 1):
        with np.errstate(over="ignore", invalid="ignore"):
            cross = f[:n].T @ f[n:]
        corr = (cross + cross.T) / (2 * n)
        if not np.all(np.isfinite(corr)):
            raise ValueError(
                f"embeddings diverge at iteration {iteration}; expected a learning rate small "
                f"enough to converge, below {eta}"
            )
        curves.append(np.linalg.eigvalsh(corr)[::-1])
        if curves[-1][-1] > stop_above:
            break
        with np.errstate(over="ignore", invalid="ignore"):
            pull = 2.0 / n * (corr - np.eye(d))
            gradient = np.concatenate([f[n:] @ pull, f[:n] @ pull])
            f = f - eta * (matrix @ gradient.ravel()).reshape(size, d)
    return np.array(curves)
