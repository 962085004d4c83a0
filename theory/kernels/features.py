r"""Finite features of a kernel on given points, exact or by landmarks.

With the decomposition K = Q diag(kappa) Q^T of the kernel matrix of the 2n stacked views, the rows
of Phi = Q kappa^{1/2} are features with Phi Phi^T = K: Barlow Twins with the kernel is the linear
model of Phi, and everything that is known of linear models applies (arXiv 2303.15438, section on
kernels). The features of any point x are ``k(x, X) @ basis`` with basis = Q kappa^{-1/2}.

Where K does not fit into memory, the features are those of landmarks Z (Nystroem's method; Williams
and Seeger, Advances in Neural Information Processing Systems 2000):

    Phi = K_XZ basis,   basis = Q kappa^{-1/2},   K_ZZ = Q diag(kappa) Q^T.

They are the projections of the exact ones onto the span of the landmarks. Gamma is compressed to
that span, so that no positive eigenvalue gets larger (Cauchy's interlacing): step times by
landmarks are late, never early. Of the trace of K the share ``missing_trace`` is lost. If all
points are landmarks, nothing is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.arrays import Array, finite_array, whole_number
from theory.kernels.modes import Truncation, kernel_basis


@dataclass(frozen=True, eq=False)
class KernelFeatures:
    """Finite features of a kernel.

    Attributes
    ----------
    values : ndarray, shape (2n, r)
        Features of the stacked views, first views first.
    basis : ndarray, shape (L, r)
        Features of any point x are ``k(x, Z) @ basis``, with Z the landmarks.
    landmarks : ndarray of int, shape (L,)
        Rows of the stacked views that are landmarks; all of them for exact features.
    truncation : Truncation
        Eigenvalues of the landmarks' kernel that were dropped as noise.
    missing_trace : float
        Share of the trace of K that the features miss, between 0 and 1.
    """

    values: Array
    basis: Array
    landmarks: NDArray[np.int64]
    truncation: Truncation
    missing_trace: float

    @property
    def pairs(self) -> tuple[Array, Array]:
        """Features of the first and of the second views, (n, r) each."""
        n = len(self.values) // 2
        return self.values[:n], self.values[n:]


def kernel_features(kernel: ArrayLike) -> KernelFeatures:
    """Exact features of a kernel matrix of two views.

    Parameters
    ----------
    kernel : array_like, shape (2n, 2n)
        Kernel matrix of the stacked views, first views first; see :func:`stacked_kernel`.

    Returns
    -------
    KernelFeatures
        Features; all points are landmarks.

    Raises
    ------
    ValueError
        If the matrix is not symmetric, of odd size, smaller than 4 x 4, without a positive
        eigenvalue or not finite.

    Notes
    -----
    One symmetric eigenproblem, O(n^3), and memory for five matrices of the size of K.

    Examples
    --------
    >>> features = kernel_features(np.diag([4.0, 2.0, 4.0, 2.0]))
    >>> (features.values @ features.values.T).round(9).diagonal().tolist()
    [4.0, 2.0, 4.0, 2.0]
    """
    axes, root, truncation = kernel_basis(kernel)
    _check_size(len(axes), np.shape(kernel))
    trace = float(np.trace(np.asarray(kernel)))
    return KernelFeatures(
        values=axes * root,
        basis=axes / root,
        landmarks=np.arange(len(axes)),
        truncation=truncation,
        missing_trace=max(1.0 - float(np.sum(root**2)) / trace, 0.0),
    )


def landmark_features(
    columns: ArrayLike, landmarks: ArrayLike, diagonal: ArrayLike
) -> KernelFeatures:
    """Features of a kernel that is known at landmarks only.

    Parameters
    ----------
    columns : array_like, shape (2n, L)
        Kernel between the stacked views (rows) and the landmarks (columns).
    landmarks : array_like of int, shape (L,)
        Rows of the stacked views that are the landmarks.
    diagonal : array_like, shape (2n,)
        Kernel of every view with itself.

    Returns
    -------
    KernelFeatures
        Features of all views, and the share of the trace that they miss.

    Raises
    ------
    ValueError
        If shapes do not fit, a landmark is not a row, or the kernel of the landmarks is not
        positive semi-definite.

    Notes
    -----
    O(n L^2) operations, and memory for ``columns``, the features and four (L, L) matrices.

    Examples
    --------
    >>> kernel = np.kron(np.ones((2, 2)), np.diag([4.0, 2.0]))  # equal views of two samples
    >>> landmark_features(kernel[:, :2], [0, 1], np.diag(kernel)).missing_trace
    0.0
    >>> round(landmark_features(kernel[:, :1], [0], np.diag(kernel)).missing_trace, 3)
    0.333
    """
    columns, diagonal = finite_array("columns", columns, 2), finite_array("diagonal", diagonal, 1)
    rows = np.asarray(landmarks)
    size = len(columns)
    _check_size(size, columns.shape)
    if rows.shape != columns.shape[1:] or diagonal.shape != (size,):
        raise ValueError(
            f"columns has shape {columns.shape}, landmarks {rows.shape} and diagonal "
            f"{diagonal.shape}; expected (2n, L), (L,) and (2n,)"
        )
    whole = np.issubdtype(rows.dtype, np.integer) and len(np.unique(rows)) == len(rows)
    if not whole or rows.min(initial=0) < 0 or rows.max(initial=0) >= size:
        raise ValueError(f"landmarks are not different rows; expected numbers from 0 to {size - 1}")
    axes, root, truncation = kernel_basis(columns[rows])
    basis = axes / root
    values = columns @ basis
    kept = float(np.einsum("ij,ij->", values, values))
    missing = max(1.0 - kept / float(diagonal.sum()), 0.0)
    return KernelFeatures(values, basis, rows.astype(np.int64), truncation, missing)


def choose_landmarks(n: int, count: int, rng: np.random.Generator | int = 0) -> NDArray[np.int64]:
    """Landmarks drawn at random: both views of pairs that are drawn without replacement.

    Parameters
    ----------
    n : int
        Number of pairs.
    count : int
        Number of landmarks, an even number from 2 to 2n.
    rng : numpy.random.Generator or int
        Generator, or seed. The landmarks of a smaller number are among those of a larger one.

    Returns
    -------
    ndarray of int, shape (count,)
        Rows of the stacked views; view and second view of a pair follow each other.

    Raises
    ------
    ValueError
        If the number is odd or out of range.

    Examples
    --------
    >>> chosen = choose_landmarks(5, 4)
    >>> (chosen[1::2] - chosen[::2]).tolist()
    [5, 5]
    """
    n = whole_number("n", n, 1)
    count = whole_number("count", count, 2, 2 * n)
    if count % 2:
        raise ValueError(f"count is {count}; expected an even number, both views of each pair")
    first = np.random.default_rng(rng).permutation(n)[: count // 2]
    return np.stack([first, first + n], axis=1).ravel()


def stacked_kernel(within: ArrayLike, across: ArrayLike, within_prime: ArrayLike) -> Array:
    """Kernel matrix of the stacked views from its blocks.

    Parameters
    ----------
    within, across, within_prime : array_like, shape (n, n)
        K(x, x), K(x, x') and K(x', x'); entry (i, j) of ``across`` belongs to view i and second
        view j.

    Returns
    -------
    ndarray, shape (2n, 2n)
        The kernel matrix of [x; x'].

    Raises
    ------
    ValueError
        If a block is not square or not finite, or the blocks differ in size.

    Examples
    --------
    >>> stacked_kernel([[4.0]], [[1.0]], [[2.0]]).tolist()
    [[4.0, 1.0], [1.0, 2.0]]
    """
    blocks = [
        finite_array(name, block, 2)
        for name, block in (("within", within), ("across", across), ("within_prime", within_prime))
    ]
    n = len(blocks[0])
    if any(block.shape != (n, n) for block in blocks):
        raise ValueError(
            f"blocks have shapes {', '.join(str(block.shape) for block in blocks)}; expected equal "
            "square shapes (n, n)"
        )
    first, cross, second = blocks
    return np.block([[first, cross], [cross.T, second]])


def _check_size(size: int, shape: tuple[int, ...]) -> None:
    if size % 2 or size < 4:
        raise ValueError(
            f"kernel has shape {shape}; expected 2n rows for both views of n >= 2 samples"
        )
