r"""The dynamics of linear Barlow Twins in the feature space of a kernel.

A kernel k is a linear model in a feature space that is never computed. Stack the 2n views as
[x_1 ... x_n, x'_1 ... x'_n]; let K be their 2n x 2n kernel matrix and P the matrix that swaps the
two halves. Then (arXiv 2303.15438, section on kernels)

    K_Gamma = K^{1/2} Z K^{1/2},    Z = P / (2n),

has the nonzero spectrum of Gamma in feature space. An eigenpair (gamma_j, b_j) gives the mode
v_j(x) = b_j^T K^{-1/2} k(X, x) of unit norm in the RKHS, and

    f(x, t) = U diag(s(t)) v(x),      f(x, infinity) = U diag(gamma^{-1/2}) v(x),

with s(t) of :mod:`theory.linear.closed_form`. Over positive modes, f(x, infinity) has the least
RKHS norm of all maps of zero loss. If K is positive definite, n eigenvalues are positive and n
negative: two views of n samples have at most n modes to learn.

For the tangent kernel of a finite network, K is the trace over outputs of the full
(2n d) x (2n d) kernel, divided by d.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.arrays import Array, finite_array, symmetric_matrix, whole_number
from theory.linear.closed_form import flow_times, singular_values
from theory.linear.initialization import equivalent_initialization

_EPS = float(np.finfo(np.float64).eps)
# float32 kernels are symmetric to about 1e-6 of their largest entry; a wrong matrix is not.
_ASYMMETRY = 1e-5


@dataclass(frozen=True)
class Truncation:
    """Report on the eigenvalues that were dropped before the inverse square root of a kernel.

    Attributes
    ----------
    kept, dropped : int
        Numbers of kept and dropped eigenvalues of K; their sum is 2n.
    threshold : float
        Largest eigenvalue to drop: machine epsilon times 2n times the largest eigenvalue or, if
        larger, the size of the most negative eigenvalue, since noise that makes K indefinite
        changes positive eigenvalues as much.
    largest_dropped : float
        Largest dropped eigenvalue; 0 if there is none.
    most_negative : float
        Most negative eigenvalue of K; 0 if there is none. If it exceeds rounding, K is not a kernel
        matrix, or it was computed in low precision.
    trace_fraction : float
        Sum of the absolute values of the dropped eigenvalues, divided by that of all.
    """

    kept: int
    dropped: int
    threshold: float
    largest_dropped: float
    most_negative: float
    trace_fraction: float


@dataclass(frozen=True)
class KernelModes:
    """Modes of Barlow Twins in the feature space of a kernel.

    Attributes
    ----------
    eigenvalues : ndarray, shape (r,)
        All eigenvalues gamma of K_Gamma in the kept basis of K, descending.
    coefficients : ndarray, shape (2n, k)
        Mode j is ``v_j(x) = coefficients[:, j] . k(X, x)``, of unit RKHS norm; zero if fewer than k
        modes exist.
    gamma : ndarray, shape (k,)
        Eigenvalues that belong to ``coefficients``, zero if fewer than k modes exist.
    positive_modes : int
        Number of positive eigenvalues above rounding; only these modes are ever learned.
    truncation : Truncation
        Report on the dropped eigenvalues of K.
    """

    eigenvalues: Array
    coefficients: Array
    gamma: Array
    positive_modes: int
    truncation: Truncation

    @property
    def squared_norm(self) -> float:
        """Squared RKHS norm of the final embeddings, the sum of 1/gamma over learned modes."""
        return float(np.sum(1.0 / self.gamma[: self.positive_modes]))


def kernel_modes(kernel: ArrayLike, dim: int | None = None) -> KernelModes:
    """Modes of a kernel matrix of two views.

    Parameters
    ----------
    kernel : array_like, shape (2n, 2n)
        Kernel matrix of the stacked views: rows and columns 0 to n - 1 are the first views, n to
        2n - 1 the second views in the same order. It is symmetric, and positive semi-definite up to
        noise.
    dim : int, optional
        Number of modes, the embedding dimension d. Default: the number of positive modes.

    Returns
    -------
    KernelModes
        Eigenvalues, modes and a report on dropped eigenvalues. They cost two symmetric
        eigenproblems of size at most 2n, and memory for a few matrices of that size.

    Raises
    ------
    ValueError
        If the matrix is not symmetric, of odd size, smaller than 4 x 4, without a positive
        eigenvalue or not finite, or if ``dim`` is below 1.

    Warns
    -----
    UserWarning
        If ``dim`` exceeds the number of positive modes: the rest is never learned.

    Notes
    -----
    arXiv 2303.15438, section on kernels. A single decomposition K = Q diag(kappa) Q^T gives
    K^{1/2} and its pseudo-inverse in the kept basis, where
    K_Gamma = kappa^{1/2} Q^T Z Q kappa^{1/2}. The inverse square root of the whole ill-conditioned
    K is never computed.

    Examples
    --------
    >>> modes = kernel_modes(np.diag([4.0, 2.0, 4.0, 2.0]))
    >>> modes.eigenvalues.round(9).tolist(), modes.positive_modes, round(modes.squared_norm, 9)
    ([1.0, 0.5, -0.5, -1.0], 2, 3.0)
    """
    if dim is not None:
        dim = whole_number("dim", dim, 1)
    axes, root, truncation = kernel_basis(kernel)
    size = len(axes)
    if size % 2 or size < 4:
        raise ValueError(
            f"kernel has shape {(size, size)}; expected (2n, 2n) for both views of n >= 2 samples"
        )
    half = axes[: size // 2].T @ axes[size // 2 :]
    gamma, vectors = np.linalg.eigh(root[:, None] * (half + half.T) * root / size)
    gamma, vectors = gamma[::-1], vectors[:, ::-1]
    positive = int(np.count_nonzero(gamma > _EPS * size * np.abs(gamma).max()))
    if dim is None:
        dim = positive
    elif dim > positive:
        warnings.warn(
            f"dim is {dim} but only {positive} modes have a positive eigenvalue; the other"
            f" {dim - positive} are never learned",
            UserWarning,
            stacklevel=2,
        )
    count = min(dim, len(gamma))
    coefficients, leading = np.zeros((size, dim)), np.zeros(dim)
    coefficients[:, :count] = (axes / root) @ vectors[:, :count]
    leading[:count] = gamma[:count]
    return KernelModes(gamma, coefficients, leading, positive, truncation)


def kernel_basis(kernel: ArrayLike) -> tuple[Array, Array, Truncation]:
    """Basis in which a kernel matrix has a safe inverse root.

    Parameters
    ----------
    kernel : array_like, shape (p, p)
        Kernel matrix of any points, positive semi-definite up to noise.

    Returns
    -------
    axes : ndarray, shape (p, r)
        Eigenvectors of the eigenvalues that are above noise, in ascending order.
    root : ndarray, shape (r,)
        Square roots of these eigenvalues.
    truncation : Truncation
        Report on the dropped eigenvalues.

    Raises
    ------
    ValueError
        If the matrix is not symmetric, not finite, or without a positive eigenvalue.

    Examples
    --------
    >>> axes, root, truncation = kernel_basis(np.diag([4.0, 0.0]))
    >>> np.abs(axes).tolist(), root.tolist(), truncation.dropped
    ([[1.0], [0.0]], [2.0], 1)
    """
    kernel = symmetric_matrix("kernel", kernel, tolerance=_ASYMMETRY)
    kappa, axes = np.linalg.eigh(kernel)
    threshold = max(_EPS * len(kernel) * kappa[-1], -kappa[0], 0.0)
    above = kappa > threshold
    if not np.any(above):
        raise ValueError(
            f"kernel has eigenvalues from {kappa[0]:.3g} to {kappa[-1]:.3g}; expected a positive"
            " semi-definite matrix that is not zero"
        )
    return axes[:, above], np.sqrt(kappa[above]), _report(kappa, above, threshold)


def kernel_initialization(modes: KernelModes, initial_embeddings: ArrayLike) -> tuple[Array, Array]:
    """Aligned initialisation that is equivalent to small initial embeddings.

    Parameters
    ----------
    modes : KernelModes
        From :func:`kernel_modes`.
    initial_embeddings : array_like, shape (2n, d)
        Embeddings of the stacked views at t = 0, in the span of the kernel.

    Returns
    -------
    left : ndarray, shape (d, k)
        Equivalent left singular vectors, k the smaller of d and the number of modes.
    s0 : ndarray, shape (k,)
        Equivalent singular values, not negative.

    Raises
    ------
    ValueError
        If the shapes do not fit or a value is not finite.

    Notes
    -----
    The inner product of embedding i at t = 0 with mode j in the RKHS is
    ``initial_embeddings[:, i] . coefficients[:, j]``. It is W(0) v_j of arXiv 2303.15438, so
    :func:`theory.linear.initialization.equivalent_initialization` applies.

    Examples
    --------
    >>> modes = kernel_modes(np.diag([4.0, 2.0, 4.0, 2.0]), dim=1)
    >>> kernel_initialization(modes, [[1e-3], [0.0], [1e-3], [0.0]])[1].round(9).tolist()
    [0.000707107]
    """
    initial = finite_array("initial_embeddings", initial_embeddings, 2)
    size, count = modes.coefficients.shape
    if initial.shape[0] != size or initial.shape[1] < 1:
        raise ValueError(
            f"initial_embeddings has shape {initial.shape}; expected ({size}, d) with d >= 1"
        )
    return equivalent_initialization(
        initial.T, modes.coefficients[:, : min(count, initial.shape[1])]
    )


def embed(
    modes: KernelModes,
    cross_kernel: ArrayLike,
    t: ArrayLike | None = None,
    s0: ArrayLike | None = None,
    left: ArrayLike | None = None,
) -> Array:
    """Embeddings of arbitrary points, in closed form.

    Parameters
    ----------
    modes : KernelModes
        From :func:`kernel_modes`.
    cross_kernel : array_like, shape (p, 2n)
        Kernel between the points to embed (rows) and the stacked training views (columns).
    t : array_like, shape (...), optional
        Flow times, learning rate x step. Default: the end of training.
    s0 : array_like, shape (k,), optional
        Singular values at t = 0, required with ``t``; k is at most the number of modes.
    left : array_like, shape (d, k), optional
        Left singular vectors U. Default the identity: dimension j is mode j.

    Returns
    -------
    ndarray, shape (..., p, d)
        Embeddings in rows. At the end of training, modes that are not positive are zero.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, or only one of ``t`` and ``s0`` is given.

    Notes
    -----
    arXiv 2303.15438, section on kernels: ``f(x) = U diag(gamma^-1/2) B_d^T K^-1/2 k(X, x)``.

    Examples
    --------
    >>> kernel = np.diag([4.0, 2.0, 4.0, 2.0])
    >>> modes = kernel_modes(kernel, dim=1)
    >>> np.abs(embed(modes, kernel)).round(9).ravel().tolist()
    [1.414213562, 0.0, 1.414213562, 0.0]
    """
    cross = finite_array("cross_kernel", cross_kernel, 2)
    size, count = modes.coefficients.shape
    if cross.shape[1] != size:
        raise ValueError(f"cross_kernel has shape {cross.shape}; expected (p, {size})")
    if (t is None) != (s0 is None):
        raise ValueError("only one of t and s0 is given; expected both or, for the end, neither")
    left = None if left is None else finite_array("left", left, 2)
    used = count if s0 is None else finite_array("s0", s0, 1).size
    if left is not None:
        used = left.shape[1] if s0 is None else used
        if left.shape[1] != used:
            raise ValueError(f"left has shape {left.shape}; expected (d, {used}) as s0 has")
    if used > count:
        raise ValueError(f"s0 or left holds {used} modes; expected at most {count}")
    gamma = modes.gamma[:used]
    if t is None or s0 is None:
        learned = np.arange(used) < modes.positive_modes
        scale = np.zeros(used)
        scale[learned] = gamma[learned] ** -0.5
    else:
        scale = singular_values(flow_times(t), gamma, s0)
    features = (cross @ modes.coefficients[:, :used]) * scale[..., None, :]
    return features if left is None else features @ left.T


def _report(kappa: Array, above: NDArray[np.bool_], threshold: float) -> Truncation:
    sizes = np.abs(kappa)
    return Truncation(
        kept=int(np.count_nonzero(above)),
        dropped=int(np.count_nonzero(~above)),
        threshold=float(threshold),
        largest_dropped=float(kappa[~above].max()) if not np.all(above) else 0.0,
        most_negative=float(min(kappa[0], 0.0)),
        trace_fraction=float(sizes[~above].sum() / sizes.sum()),
    )
