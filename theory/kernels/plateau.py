r"""The next step from a plateau: the tangent kernel of one direction, without learned functions.

On a plateau of Barlow Twins, let the functions f_v of k modes be learned, with eigenvalues
lambda_v, and let u be an output direction with a small eigenvalue. With K_u the tangent kernel of
the scalar output u . f on the 2n views, and P the swap of the two views, a small function along u
grows as

    df/dt = (2/n) D K_u P f,    D = I - sum_v f_v f_v^T P / (2 n lambda_v),

by the chain rule from the dynamics of arXiv 2303.15438, if the learned residuals are zero and the
kernel is fixed. D is a projection in the inner product of P, so P D = D^T P. The operator has the
nonzero spectrum of (2/n) S P with S = D K_u D^T, which is four times that of the theory's K_Gamma
for the kernel S. The eigenvalue lambda is quadratic in f and grows at twice the largest rate:
8 gamma_1(S), as in the linear model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.arrays import finite_array, symmetric_matrix
from theory.kernels.modes import kernel_modes

Array = NDArray[np.float64]


def plateau_rate(kernel: ArrayLike, learned: ArrayLike, lam: ArrayLike) -> float:
    """Rate at which the next eigenvalue grows on a plateau, with the kernel fixed.

    Parameters
    ----------
    kernel : array_like, shape (2n, 2n)
        Tangent kernel K_u of the scalar output, first views first.
    learned : array_like, shape (2n, k)
        Functions of the learned modes, eigenvectors of C applied to the embeddings; k may be 0.
    lam : array_like, shape (k,)
        Eigenvalues of the learned modes, above zero.

    Returns
    -------
    float
        ``d ln(lambda) / dt`` in inverse flow time; 0 if nothing can grow.

    Raises
    ------
    ValueError
        If shapes do not fit, the kernel is not symmetric, a value is not finite, or an eigenvalue
        is not above zero.

    Notes
    -----
    The kernel may contain all parameters or those of some layers. A kernel of the last layer only
    gives the rate for fixed features.

    Examples
    --------
    Two samples in a plane with equal views; one is learned. Both have gamma 1/2.

    >>> k = np.kron(np.ones((2, 2)), np.eye(2))
    >>> f = np.array([[2.0], [0.0], [2.0], [0.0]])  # lambda is f^T P f / (2n) = 2
    >>> round(plateau_rate(k, f, [2.0]), 9)
    4.0
    """
    # float32 kernels are symmetric to about 1e-6 of their largest entry.
    kernel = symmetric_matrix("kernel", kernel, tolerance=1e-5)
    learned = finite_array("learned", learned, 2)
    lam = finite_array("lam", lam, 1)
    size = len(kernel)
    if size % 2 or size < 4:
        raise ValueError(
            f"kernel has shape {kernel.shape}; expected (2n, 2n) for both views of n >= 2 samples"
        )
    if learned.shape != (size, len(lam)):
        raise ValueError(
            f"learned has shape {learned.shape} with {len(lam)} eigenvalues; "
            f"expected ({size}, {len(lam)})"
        )
    if not (lam > 0).all():
        raise ValueError(f"lam holds {lam.min():g}; expected eigenvalues above zero")
    swapped = np.roll(learned, size // 2, axis=0)  # P F
    deflated = kernel - (learned / lam) @ (swapped.T @ kernel) / size  # D K
    deflated = deflated - (deflated @ swapped) @ (learned / lam).T / size  # D K D^T
    scale = float(np.abs(deflated).max(initial=0.0))
    # If everything is projected out, rounding errors of the kernel are left.
    if scale <= 1e-12 * float(np.abs(kernel).max(initial=0.0)):
        return 0.0
    return max(8.0 * float(kernel_modes((deflated + deflated.T) / 2).eigenvalues[0]), 0.0)
