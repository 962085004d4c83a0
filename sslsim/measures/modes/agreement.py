"""How far two kernels or embeddings of the same points agree, or predicted and measured times."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from sslsim.measures.embeddings import linear_cka, subspace_alignment

Array = NDArray[np.float64]


def leading_basis(z: Array, count: int, center: bool = False) -> Array:
    """Orthonormal basis of the principal directions of embeddings, as functions of the samples.

    Parameters
    ----------
    z : ndarray, shape (n, d)
        Embeddings, samples in rows.
    count : int
        Number of directions.
    center : bool
        Subtract the mean embedding first.

    Returns
    -------
    ndarray, shape (n, count)
        Left singular vectors, the largest singular value first.

    Raises
    ------
    ValueError
        If there are fewer directions.

    Examples
    --------
    >>> np.abs(leading_basis(np.array([[0.0, 3.0], [1.0, 0.0], [0.0, 0.0]]), 1)).round(9).tolist()
    [[1.0], [0.0], [0.0]]
    """
    if not 1 <= count <= min(z.shape):
        raise ValueError(f"{count} directions of embeddings of shape {z.shape} asked; too many")
    z = z - z.mean(axis=0) if center else z
    return np.asarray(np.linalg.svd(z, full_matrices=False)[0][:, :count], dtype=np.float64)


def embedding_agreement(predicted: Array, measured: Array) -> dict[str, Any]:
    """How far two embeddings of the same points agree.

    Parameters
    ----------
    predicted : ndarray, shape (n, k)
        Embeddings as predicted, one mode a column; a mode that is zero is not counted.
    measured : ndarray, shape (n, d)
        Embeddings as they are.

    Returns
    -------
    dict
        ``subspace_alignment`` of the leading subspaces, from 0 to 1, and its ``chance``; ``cka``;
        ``mode_alignment`` (k,), share of every predicted mode in the subspace of the other.

    Examples
    --------
    >>> z = np.random.default_rng(0).standard_normal((50, 2))
    >>> agreement = embedding_agreement(z, z @ [[1.0, 2.0], [0.0, 1.0]])
    >>> round(agreement["subspace_alignment"], 6), agreement["chance"]
    (1.0, 0.04)
    """
    norms = np.linalg.norm(predicted, axis=0)
    unit = predicted / np.where(norms > 0, norms, 1.0)
    count = int(np.count_nonzero(norms))
    # Of a matrix that lacks rank, further singular vectors are arbitrary.
    bases = [leading_basis(z, count) if count else z[:, :0] for z in (predicted, measured)]
    u, v = (torch.from_numpy(basis) for basis in bases)
    return {
        "subspace_alignment": float(subspace_alignment(u, v)) if count else 0.0,
        "chance": count / len(predicted),
        "cka": float(linear_cka(torch.from_numpy(predicted), torch.from_numpy(measured))),
        "mode_alignment": np.sum((bases[1].T @ unit) ** 2, axis=0),
    }


def kernel_agreement(kernel: Array, other: Array) -> dict[str, float]:
    """How far two kernel matrices agree up to a factor.

    Parameters
    ----------
    kernel, other : ndarray, shape (n, n)
        Kernels of the same points.

    Returns
    -------
    dict of str to float
        ``kernel_alignment``, the cosine of the matrices, and ``kernel_cka``, that of the matrices
        centred on both sides; 0 where one is zero.

    Examples
    --------
    >>> agreement = kernel_agreement(np.eye(2) + 5, np.eye(2))
    >>> {name: round(value, 3) for name, value in agreement.items()}
    {'kernel_alignment': 0.768, 'kernel_cka': 1.0}
    """
    cosines = {}
    for name, center in (("kernel_alignment", False), ("kernel_cka", True)):
        a, b = (_centred(k) if center else k for k in (kernel, other))
        norms = np.linalg.norm(a) * np.linalg.norm(b)
        cosines[name] = float(np.sum(a * b) / norms) if norms > 0 else 0.0
    return cosines


def step_time_agreement(predicted: Array, measured: Array) -> dict[str, Any]:
    """How far predicted and measured step times agree, as they are and up to one factor.

    Parameters
    ----------
    predicted, measured : ndarray, shape (d,)
        Step times; infinite where there is no step.

    Returns
    -------
    dict
        ``relative_error`` (d,), |predicted - measured| / measured, NaN where either is missing,
        and its mean; ``spearman``, their rank correlation; ``fitted_time_scale``, the geometric
        mean of measured / predicted; ``scaled_relative_error`` of the predictions times this
        factor, and its mean, of two steps at least. None where there is none.

    Examples
    --------
    >>> agreement = step_time_agreement(np.array([1.0, 2.0, 4.0]), np.array([2.0, 4.0, np.inf]))
    >>> round(agreement["fitted_time_scale"], 6), round(agreement["spearman"], 6)
    (2.0, 1.0)
    """
    both = np.isfinite(predicted) & np.isfinite(measured) & (predicted > 0) & (measured > 0)
    nothing = np.full(len(predicted), np.nan)
    if not both.any():
        return {
            "relative_error": nothing,
            "mean_relative_error": None,
            "spearman": None,
            "fitted_time_scale": None,
            "scaled_relative_error": nothing,
            "mean_scaled_relative_error": None,
        }
    p, m = predicted[both], measured[both]
    scale = float(np.exp(np.mean(np.log(m) - np.log(p))))
    raw, scaled = nothing.copy(), nothing.copy()
    raw[both], scaled[both] = np.abs(p - m) / m, np.abs(scale * p - m) / m
    enough = len(p) >= 2
    ordered = np.ptp(p) > 0 and np.ptp(m) > 0  # else there is no order to correlate
    return {
        "relative_error": raw,
        "mean_relative_error": float(raw[both].mean()),
        "spearman": float(spearmanr(p, m).statistic) if ordered else None,
        "fitted_time_scale": scale,
        "scaled_relative_error": scaled,
        "mean_scaled_relative_error": float(scaled[both].mean()) if enough else None,
    }


def _centred(kernel: Array) -> Array:
    rows = kernel - kernel.mean(axis=0)
    return np.asarray(rows - rows.mean(axis=1, keepdims=True), dtype=np.float64)
