"""Modes of an embedding as directions in it, in the order in which they are learned."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sslsim.core.checks import equal_shapes, finite_matrix

Array = NDArray[np.float64]
Spectrum = Literal["cross", "covariance"]


def mode_directions(
    z: torch.Tensor, z_prime: torch.Tensor, spectrum: Spectrum = "cross"
) -> tuple[Array, Array]:
    """Eigendirections of the embeddings of pairs of views.

    Parameters
    ----------
    z, z_prime : Tensor, shape (n, d)
        Embeddings of the two views.
    spectrum : {"cross", "covariance"}
        ``cross``: of the symmetric cross-correlation ``(Z^T Z' + Z'^T Z) / (2n)``, not centred
        (arXiv 2303.15438, section 4). ``covariance``: of the covariance of all views.

    Returns
    -------
    eigenvalues : ndarray, shape (d,)
        Descending; those of ``cross`` may be negative.
    directions : ndarray, shape (d, d)
        Orthonormal columns.

    Raises
    ------
    ValueError
        If the embeddings are not finite matrices of one shape.

    Notes
    -----
    In Barlow Twins a mode grows by itself up to eigenvalue 1, the strongest first, so that the
    order of eigenvalues is the order of learning until many are near 1. Modes of almost equal
    eigenvalues may mix: only the space that they span is then defined.

    Examples
    --------
    >>> z = torch.tensor([[1.0, 3.0], [1.0, -3.0], [-1.0, 3.0], [-1.0, -3.0]])
    >>> values, directions = mode_directions(z, z)
    >>> values.tolist(), np.abs(directions).tolist()
    ([9.0, 1.0], [[0.0, 1.0], [1.0, 0.0]])
    """
    z, z_prime = finite_matrix("z", z, rows=2), finite_matrix("z_prime", z_prime)
    equal_shapes("z", z, "z_prime", z_prime)
    first, second = (view.double().cpu().numpy() for view in (z, z_prime))
    if spectrum == "covariance":
        both = np.concatenate([first, second])
        both -= both.mean(axis=0)
        matrix = both.T @ both / len(both)
    else:
        half = first.T @ second
        matrix = (half + half.T) / (2 * len(first))
    values, directions = np.linalg.eigh(matrix)
    return values[::-1].copy(), directions[:, ::-1].copy()


def random_directions(dim: int, count: int, rng: np.random.Generator) -> Array:
    """Orthonormal directions at random.

    Parameters
    ----------
    dim : int
        Dimension d of the embedding.
    count : int
        Number k of directions, at most d.
    rng : numpy.random.Generator
        Generator of the draw.

    Returns
    -------
    ndarray, shape (d, k)
        Orthonormal columns, uniform among all such.

    Examples
    --------
    >>> directions = random_directions(5, 2, np.random.default_rng(0))
    >>> (directions.T @ directions).round(9).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    return np.asarray(np.linalg.qr(rng.standard_normal((dim, count)))[0], dtype=np.float64)


def counts_of_modes(dim: int, most: int | None = None) -> list[int]:
    """Numbers of first modes that are looked at: powers of two, and the largest.

    Parameters
    ----------
    dim : int
        Dimension of the embedding.
    most : int, optional
        Largest number. Default: ``dim``.

    Returns
    -------
    list of int
        Ascending.

    Examples
    --------
    >>> counts_of_modes(6), counts_of_modes(32, 16)
    ([1, 2, 4, 6], [1, 2, 4, 8, 16])
    """
    most = dim if most is None else min(dim, most)
    return sorted({*(2**power for power in range(most.bit_length())), most})
