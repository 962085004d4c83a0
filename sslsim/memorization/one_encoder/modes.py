r"""Modes of an embedding: where its directions come from, and how far views differ along each.

The squared distance of two views is a sum over any orthonormal basis u_1, ..., u_k of the
embedding:

    ||z - z'||^2 = sum_j (u_j^T z - u_j^T z')^2.

With the modes of every encoder, a memorisation score of squared distances (arXiv 2401.12233) is a
sum over modes too, whatever basis each encoder has. The modes used here are the eigenvectors of the
covariance of embeddings on reference images that no encoder was trained on, by descending variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sslsim.core.checks import finite_matrix
from sslsim.core.unit_rows import unit_rows
from sslsim.measures.frozen import FrozenEncoder
from sslsim.memorization.losses import Scoring
from sslsim.memorization.views import ViewPairs

_ORTHONORMAL = 1e-8  # largest error of an orthonormal basis


@dataclass(frozen=True, eq=False)
class Modes:
    """An orthonormal basis of an embedding.

    Attributes
    ----------
    basis : Tensor of float64, shape (k, k)
        A column a mode.
    variance : Tensor of float64, shape (k,)
        Variance of the reference embeddings along every mode.
    """

    basis: torch.Tensor
    variance: torch.Tensor


def covariance_modes(z: torch.Tensor) -> Modes:
    """Eigenvectors of the covariance of embeddings, by descending variance.

    Parameters
    ----------
    z : Tensor, shape (n, k)
        Embeddings of at least two reference images.

    Returns
    -------
    Modes

    Raises
    ------
    ValueError
        If the embeddings are no finite matrix of at least two rows.

    Examples
    --------
    >>> modes = covariance_modes(torch.tensor([[0.0, 3.0], [0.0, -3.0], [1.0, 0.0], [-1.0, 0.0]]))
    >>> modes.variance.tolist(), modes.basis.abs().tolist()
    ([4.5, 0.5], [[0.0, 1.0], [1.0, 0.0]])
    """
    z = finite_matrix("z", z, 2).double()
    centred = z - z.mean(dim=0)
    variance, basis = torch.linalg.eigh(centred.T @ centred / len(z))
    return Modes(basis.flip(1), variance.flip(0).clamp(min=0.0))


def aligned_modes(modes: Modes, z: torch.Tensor, z_other: torch.Tensor) -> Modes:
    """Modes of one encoder in the embedding of another, by the rotation that brings both together.

    Parameters
    ----------
    modes : Modes
        Modes of the embedding ``z``.
    z, z_other : Tensor, shape (n, k)
        Embeddings of the same reference images under both encoders.

    Returns
    -------
    Modes
        Column j is the direction of ``z_other`` that stands for mode j of ``z``, with the variance
        of ``z_other`` along it.

    Raises
    ------
    ValueError
        If shapes differ, or an embedding is not finite.

    Notes
    -----
    The orthogonal Procrustes problem: Q that minimises ``||z_other Q - z||`` of centred embeddings
    is ``U V^T`` with ``z_other^T z = U S V^T``.

    Examples
    --------
    >>> z = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> aligned_modes(covariance_modes(z), z, z.flip(1)).basis.abs().tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    z, z_other = finite_matrix("z", z, 2).double(), finite_matrix("z_other", z_other, 2).double()
    if z.shape != z_other.shape or modes.basis.shape[0] != z.shape[1]:
        raise ValueError(
            f"z has shape {tuple(z.shape)}, z_other {tuple(z_other.shape)} and the basis "
            f"{tuple(modes.basis.shape)}; expected (n, k) twice and (k, k)"
        )
    centred, other = z - z.mean(dim=0), z_other - z_other.mean(dim=0)
    left, _, right = torch.linalg.svd(other.T @ centred)
    basis = left @ right @ modes.basis
    return Modes(basis, (other @ basis).square().mean(dim=0))


def mode_distances(z: torch.Tensor, z_prime: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """Squared distance of two views along every mode.

    Parameters
    ----------
    z, z_prime : Tensor, shape (..., k)
        Embeddings of two views.
    basis : Tensor, shape (k, k)
        Orthonormal, a column a mode.

    Returns
    -------
    Tensor of float64, shape (..., k)
        Their sum over modes is the squared Euclidean distance.

    Raises
    ------
    ValueError
        If shapes do not fit or the basis is not orthonormal.

    Examples
    --------
    >>> mode_distances(torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 1.0]]), torch.eye(2))
    tensor([[4., 0.]], dtype=torch.float64)
    """
    basis = checked_basis(basis, z.shape[-1])
    if z.shape != z_prime.shape:
        raise ValueError(
            f"z has shape {tuple(z.shape)} and z_prime {tuple(z_prime.shape)}; expected equal ones"
        )
    return ((z.double() - z_prime.double()) @ basis).square()


def distances_by_mode(
    encoder: FrozenEncoder,
    images: torch.Tensor,
    scoring: Scoring,
    bases: Sequence[torch.Tensor],
    *,
    numbers: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Mean squared distance of two views of every image, by mode.

    Parameters
    ----------
    encoder : FrozenEncoder
        The encoder.
    images : Tensor of uint8, shape (n, c, h, w)
        Images to score.
    scoring : Scoring
        ``views``, ``pairs``, ``normalise`` and ``seed`` are used, and the first of ``layers``.
    bases : sequence of Tensor, shape (k, k)
        Orthonormal bases of the layer.
    numbers : Tensor of int64, shape (n,), optional
        Number of every image, by which its views are drawn. Default 0 to n - 1.
    dtype : torch.dtype
        Floating type of the views.

    Returns
    -------
    Tensor of float64, shape (bases, n, k)
        On the CPU. Sums over modes are the alignment losses of
        :func:`sslsim.memorization.losses.encoder_losses` for squared distances of the same views.

    Raises
    ------
    ValueError
        If a basis does not fit the layer, or as :class:`sslsim.memorization.views.ViewPairs`.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> encoder = FrozenEncoder(build_encoder("linear", (1, 8, 8), 2, seed=0), None, "noise")
    >>> images = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)
    >>> scoring = Scoring("noise", ("projector",), pairs=4)
    >>> distances_by_mode(encoder, images, scoring, [torch.eye(2)]).shape
    torch.Size([1, 3, 2])
    """
    device, layer = next(encoder.encoder.parameters()).device, scoring.layers[0]
    numbers = torch.arange(len(images)) if numbers is None else numbers
    views = ViewPairs(
        images.to(device), numbers.to(device), scoring.views, scoring.pairs, scoring.seed,
        dtype=dtype,
    )  # fmt: skip
    distances = torch.empty(0)
    for rows, block in views.blocks():
        z = encoder.features(block.flatten(0, 2), [layer])[layer].double()
        z = (unit_rows(z) if scoring.normalise else z).unflatten(0, block.shape[:3])
        first, second = z.unbind(2)
        by_basis = [mode_distances(first, second, basis.to(z)).mean(dim=1) for basis in bases]
        if not len(distances):
            shape = (len(bases), len(images), z.shape[-1])
            distances = torch.empty(shape, dtype=torch.float64)
        distances[:, rows.cpu()] = torch.stack(by_basis).cpu()
    return distances


def class_shares(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Share of the variance of every column that lies between classes.

    Parameters
    ----------
    z : Tensor, shape (n, k)
        Embeddings, a column a mode.
    labels : Tensor of int, shape (n,)
        Classes.

    Returns
    -------
    Tensor of float64, shape (k,)
        From 0 to 1; 0 for a constant column.

    Examples
    --------
    >>> z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> class_shares(z, torch.tensor([0, 0, 1, 1])).tolist()
    [1.0, 0.0]
    """
    z = z.double() - z.double().mean(dim=0)
    _, member, sizes = labels.to(z.device).unique(return_inverse=True, return_counts=True)
    sums = z.new_zeros(len(sizes), z.shape[1]).index_add_(0, member, z)
    total = z.square().sum(dim=0)
    between = (sums.square() / sizes[:, None]).sum(dim=0)
    return torch.where(total > 0, between / torch.where(total > 0, total, 1.0), 0.0)


def checked_basis(basis: torch.Tensor, size: int) -> torch.Tensor:
    """The basis in float64.

    Parameters
    ----------
    basis : Tensor, shape (k, k)
        Orthonormal, a column a mode.
    size : int
        Dimension k of the embedding.

    Returns
    -------
    Tensor of float64, shape (k, k)

    Raises
    ------
    ValueError
        If it has another shape or is not orthonormal.

    Examples
    --------
    >>> checked_basis(2 * torch.eye(2), 2)
    Traceback (most recent call last):
    ValueError: the basis is 3 off an orthonormal one; expected orthonormal columns
    """
    if basis.shape != (size, size):
        raise ValueError(f"the basis has shape {tuple(basis.shape)}; expected ({size}, {size})")
    basis = basis.double()
    off = float((basis.T @ basis - torch.eye(size).to(basis)).abs().max())
    if not off < _ORTHONORMAL:
        raise ValueError(
            f"the basis is {off:.3g} off an orthonormal one; expected orthonormal columns"
        )
    return basis
