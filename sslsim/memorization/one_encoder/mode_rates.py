r"""Coding rate and its reduction, mode by mode.

R = 1/2 logdet(I + a Z^T Z) is split by the chain rule along ordered modes: with G_j the leading
j x j block of I + a (Z U)^T (Z U),

    R = sum_j r_j,    r_j = 1/2 log(det G_j / det G_{j-1}),

the nats that mode j adds to the modes before it. The same rule splits the rate of every group, so
that the parts of Delta R sum exactly to the whole. Part j of Delta R is not negative: it is the
information that mode j has about the group beyond that of the modes before it (of Gaussians; the
Schur complement is concave). If modes are eigenvectors of Z^T Z, r_j = 1/2 log(1 + a lambda_j). The
drop of Delta R when a mode is removed has neither property: drops of several modes do not add up.
"""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike

from sslsim.core.checks import finite_matrix
from sslsim.memorization.one_encoder.modes import checked_basis

_BYTES = 2**26  # of the second moments of groups at a time


def coding_rate_by_mode(z: torch.Tensor, basis: torch.Tensor, eps: float) -> torch.Tensor:
    """Coding rate that every mode adds to those before it.

    Parameters
    ----------
    z : Tensor, shape (n, k)
        Embeddings, samples in rows.
    basis : Tensor, shape (k, k)
        Orthonormal, a column a mode, in order.
    eps : float
        Distortion in the unit of the embeddings; eps itself, not its square.

    Returns
    -------
    Tensor of float64, shape (k,)
        Nats, none below 0; their sum is :func:`sslsim.coding_rate.coding_rate`.

    Raises
    ------
    ValueError
        If ``z`` is no finite matrix, the basis does not fit it, or ``eps`` is not above zero.

    Notes
    -----
    arXiv 2006.08558, equation 1. The parts are logarithms of the diagonal of a Cholesky factor.

    Examples
    --------
    >>> coding_rate_by_mode(torch.eye(2), torch.eye(2), eps=1.0)  # 1/2 log 2 each
    tensor([0.3466, 0.3466], dtype=torch.float64)
    """
    z = finite_matrix("z", z, 1).double() @ checked_basis(basis, z.shape[1]).to(z.device)
    return _parts(z[None], _factor(z, eps))[0]


def coding_rate_reduction_by_mode(
    z: torch.Tensor, groups: torch.Tensor | ArrayLike, basis: torch.Tensor, eps: float
) -> torch.Tensor:
    """Coding rate reduction that every mode adds to those before it.

    Parameters
    ----------
    z : Tensor, shape (n, k)
        Embeddings, samples in rows.
    groups : Tensor of int, shape (n,)
        A label for each sample.
    basis, eps
        As for :func:`coding_rate_by_mode`.

    Returns
    -------
    Tensor of float64, shape (k,)
        Nats, none below 0 up to rounding; their sum is
        :func:`sslsim.coding_rate.coding_rate_reduction`.

    Raises
    ------
    ValueError
        As :func:`coding_rate_by_mode`, or if there is not one label a row.

    Notes
    -----
    arXiv 2006.08558, section 2.

    Examples
    --------
    >>> z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> parts = coding_rate_reduction_by_mode(z, torch.tensor([0, 0, 1, 1]), torch.eye(2), eps=1.0)
    >>> parts.sum().round(decimals=4)  # log 2 - 1/2 log 3
    tensor(0.1438, dtype=torch.float64)
    """
    whole = coding_rate_by_mode(z, basis, eps)
    z = finite_matrix("z", z, 2).double() @ checked_basis(basis, z.shape[1]).to(z.device)
    labels = torch.as_tensor(groups, device=z.device)
    if labels.shape != (len(z),) or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"groups has shape {tuple(labels.shape)} and type {labels.dtype}; expected "
            f"{len(z)} whole numbers"
        )
    _, member, sizes = labels.unique(return_inverse=True, return_counts=True)
    order, ends = member.argsort(stable=True), sizes.cumsum(0)
    grouped = torch.zeros_like(whole)
    for size in sizes.unique().tolist():
        first = (ends - sizes)[sizes == size]
        for starts in first.split(max(1, _BYTES // (8 * z.shape[1] * (z.shape[1] + size)))):
            rows = order[starts[:, None] + torch.arange(size, device=z.device)]
            parts = _parts(z[rows], _factor(z, eps) * len(z) / size)
            grouped += size / len(z) * parts.sum(dim=0)
    return whole - grouped


def _factor(z: torch.Tensor, eps: float) -> float:
    """Factor d / (n eps^2) of the second moments."""
    if not 0 < eps < float("inf"):
        raise ValueError(f"eps is {eps}; expected a finite number above zero")
    return z.shape[-1] / (len(z) * eps**2)


def _parts(z: torch.Tensor, factor: float) -> torch.Tensor:
    """``1/2 log`` of the ratios of leading minors of I + factor Z^T Z, for many Z (b, n, k)."""
    moments = factor * z.mT @ z
    moments.diagonal(dim1=-2, dim2=-1).add_(1.0)
    return torch.linalg.cholesky(moments).diagonal(dim1=-2, dim2=-1).log()
