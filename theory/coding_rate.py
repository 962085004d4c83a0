r"""Coding rate: how many nats an embedding needs at a given distortion (arXiv 2006.08558).

    R(Z) = 1/2 logdet(I + a Z^T Z) = 1/2 sum_i log(1 + a sigma_i^2),      a = d / (n eps^2),

with sigma_i the singular values of Z, (n, d), samples in rows. The sum is what is computed: it
stays exact where the determinant overflows or its matrix is too ill-conditioned to be formed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.checks import finite_array, positive_number


def coding_rate(z: ArrayLike, eps: float) -> float:
    """Coding rate of embeddings, ``1/2 sum log(1 + d / (n eps^2) sigma_i^2)``.

    Parameters
    ----------
    z : array_like, shape (n, d)
        Embeddings, samples in rows.
    eps : float
        Distortion, in the unit of the embeddings; squared here, not by the caller.

    Returns
    -------
    float
        In nats. Zero for an embedding of zeros.

    Raises
    ------
    ValueError
        If ``z`` is no matrix or not finite, or ``eps`` is not a finite number above zero.

    Notes
    -----
    arXiv 2006.08558, equation 1 (there with samples in columns).

    Examples
    --------
    >>> round(coding_rate([[1.0, 0.0], [0.0, 1.0]], eps=1.0), 4)  # twice 1/2 log(1 + 1)
    0.6931
    """
    z, eps = finite_array("z", z, 2), positive_number("eps", eps)
    if z.size == 0:
        raise ValueError(f"z has shape {z.shape}; expected at least one sample and one dimension")
    n, d = z.shape
    scaled = np.linalg.svd(z, compute_uv=False) * (np.sqrt(d / n) / eps)
    return float(0.5 * np.log1p(scaled**2).sum())
