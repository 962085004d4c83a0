"""How far kernels and embeddings of the same points agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sslsim.measures.embeddings import linear_cka, subspace_alignment
from theory.kernels.modes import KernelModes, embed, kernel_modes

Array = NDArray[np.float64]


def leading_basis(z: Array, count: int, center: bool = False) -> Array:
    """Orthonormal basis of the principal directions of embeddings, as functions of the samples.

    >>> np.abs(leading_basis(np.array([[0.0, 3.0], [1.0, 0.0], [0.0, 0.0]]), 1)).round(9).tolist()
    [[1.0], [0.0], [0.0]]
    """
    if not 1 <= count <= min(z.shape):
        raise ValueError(f"{count} directions of embeddings of shape {z.shape} asked; too many")
    z = z - z.mean(axis=0) if center else z
    return np.asarray(np.linalg.svd(z, full_matrices=False)[0][:, :count], dtype=np.float64)


def embedding_agreement(predicted: Array, found: Array) -> dict[str, Any]:
    """How far two embeddings of the same points agree.

    >>> z = np.random.default_rng(0).standard_normal((50, 2))
    >>> found = embedding_agreement(z, z @ [[1.0, 2.0], [0.0, 1.0]])
    >>> round(found["subspace_alignment"], 6), found["chance"]
    (1.0, 0.04)
    """
    norms = np.linalg.norm(predicted, axis=0)
    unit = predicted / np.where(norms > 0, norms, 1.0)
    count = int(np.count_nonzero(norms))
    # Of a matrix that lacks rank, further singular vectors are arbitrary.
    bases = [leading_basis(z, count) if count else z[:, :0] for z in (predicted, found)]
    u, v = (torch.from_numpy(basis) for basis in bases)
    return {
        "subspace_alignment": float(subspace_alignment(u, v)) if count else 0.0,
        "chance": count / len(predicted),
        "cka": float(linear_cka(torch.from_numpy(predicted), torch.from_numpy(found))),
        "mode_alignment": np.sum((bases[1].T @ unit) ** 2, axis=0),
    }


def kernel_agreement(kernel: Array, other: Array) -> dict[str, float]:
    """How far two kernel matrices agree up to a factor.

    >>> found = kernel_agreement(np.eye(2) + 5, np.eye(2))
    >>> {name: round(value, 3) for name, value in found.items()}
    {'kernel_alignment': 0.768, 'kernel_cka': 1.0}
    """
    found = {}
    for name, center in (("kernel_alignment", False), ("kernel_cka", True)):
        a, b = (_centred(k) if center else k for k in (kernel, other))
        norms = np.linalg.norm(a) * np.linalg.norm(b)
        found[name] = float(np.sum(a * b) / norms) if norms > 0 else 0.0
    return found


def predictions(kernel: Array, z: Array) -> tuple[dict[str, Any], KernelModes, Array]:
    """What a kernel predicts of the embedding, and how far that is right.

    >>> kernel = np.diag([4.0, 2.0, 4.0, 2.0])
    >>> z = np.array([[1.0], [0.0], [1.0], [0.0]])
    >>> round(predictions(kernel, z)[0]["subspace_alignment"], 9)
    1.0
    """
    modes = kernel_modes(kernel, min(z.shape[1], len(z) // 2))
    predicted = embed(modes, kernel)
    found = {
        **embedding_agreement(predicted, z),
        "eigenvalues": modes.gamma,
        "positive_modes": modes.positive_modes,
        "dropped": modes.truncation.dropped,
        "most_negative": modes.truncation.most_negative,
        "n_pairs": len(z) // 2,
    }
    return found, modes, predicted


def _centred(kernel: Array) -> Array:
    rows = kernel - kernel.mean(axis=0)
    return np.asarray(rows - rows.mean(axis=1, keepdims=True), dtype=np.float64)
