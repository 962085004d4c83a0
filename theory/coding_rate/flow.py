r"""Coding rate of a linear encoder along a solved training flow.

Embeddings of inputs X, (n, m), samples in rows, by a map W(t), (d, m), are Z = X W(t)^T, hence

    R(t) = 1/2 logdet(I + d / eps^2 W(t) S W(t)^T),      S = X^T X / n.

W(t) may come from any solution: :func:`theory.linear.closed_form.weights` for an aligned start,
:func:`theory.losses.near_origin.growth` near the origin, or, since R does not change under
rotations of the embedding, the transpose of
:func:`theory.losses.spectral_contrastive.weights_factor` for spectral contrastive learning from any
W(0) of rank d.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, positive_number, real_array
from theory.coding_rate.rate import embeddings


def coding_rate_curve(maps: ArrayLike, x: ArrayLike, eps: float) -> Array:
    """Coding rate of the embeddings of one set of inputs by many linear maps.

    Parameters
    ----------
    maps : array_like, shape (..., d, m)
        Linear maps, for instance at many times.
    x : array_like, shape (n, m)
        Inputs, samples in rows; uncentred, as in the linear theory.
    eps : float
        Distortion in the unit of the embeddings.

    Returns
    -------
    ndarray, shape (...)
        Coding rates in nats.

    Raises
    ------
    ValueError
        If the shapes do not fit, a value is not finite, or ``eps`` is not a finite number above
        zero.

    Examples
    --------
    >>> from theory.linear.closed_form import weights
    >>> maps = weights([0.0, 1e4], [0.25], [1e-3], [[1.0]], [[0.0], [1.0]])  # (2, 1, 2)
    >>> x = [[1.0, 0.5], [1.0, -0.5]]
    >>> coding_rate_curve(maps, x, eps=1.0).round(4).tolist()  # 1/2 log(1 + 2^2 0.5^2) at the end
    [0.0, 0.3466]
    """
    x, eps = embeddings(x, rows=1), positive_number("eps", eps)
    maps = real_array("maps", maps)
    if maps.ndim < 2 or maps.shape[-1] != x.shape[1] or maps.shape[-2] < 1:
        raise ValueError(
            f"maps has shape {maps.shape} and x {x.shape}; expected (..., d, m) and (n, m)"
        )
    if not np.all(np.isfinite(maps)):
        raise ValueError("maps holds NaN or infinite values; expected finite numbers")
    n, d = len(x), maps.shape[-2]
    # R of a QR factorisation replaces X: same singular values, min(n, m) rows.
    inputs = np.linalg.qr(x, mode="r") * (np.sqrt(d / n) / eps)
    values = np.linalg.svd(inputs @ np.swapaxes(maps, -1, -2), compute_uv=False)
    return np.asarray(0.5 * np.log1p(values**2).sum(axis=-1))
