r"""Coding rate and its reduction by groups (arXiv 2006.08558).

    R(Z)     = 1/2 logdet(I + d / (n eps^2) Z^T Z)      (Z is (n, d), samples in rows)
    R^c(Z)   = sum_k n_k / (2n) logdet(I + d / (n_k eps^2) Z^T diag(w_k) Z),      n_k = sum_i w_ik
    Delta R  = R - R^c

How many nats an embedding needs at a distortion eps as one whole, and how many fewer when every
group k is coded by itself; w_ik is the share of sample i in group k. Several published codes pass
eps^2 under the name eps.
"""

from __future__ import annotations

import math

import torch
from numpy.typing import ArrayLike

from sslsim.checks import finite_matrix
from sslsim.logdet import half_logdet

_SHARES_ERROR = 1e-5  # of a sum of shares, above the rounding of a softmax in float32


def coding_rate(z: torch.Tensor, eps: float) -> torch.Tensor:
    """Coding rate of embeddings, ``1/2 logdet(I + d / (n eps^2) Z^T Z)``.

    Parameters
    ----------
    z : Tensor, shape (n, d)
        Embeddings, samples in rows; computed in float64 whatever their type.
    eps : float
        Distortion, in the unit of the embeddings; squared here, not by the caller.

    Returns
    -------
    Tensor of float64, shape ()
        In nats, differentiable any number of times. Zero for an embedding of zeros.

    Raises
    ------
    ValueError
        If ``z`` is no matrix or not finite, ``eps`` is not a finite number above zero, or z / eps
        overflows.

    Notes
    -----
    arXiv 2006.08558, equation 1 (there with samples in columns). The error is at most about 1e-10 a
    dimension up to ``d ||Z||_F^2 / (n eps^2) = 4e5`` and 1e-16 times the root of that number
    beyond, about 1e-8 for unit-norm rows, d = 512 and eps = 1e-6; derivatives, and transforms of
    torch.func, as :func:`sslsim.logdet.half_logdet`.

    Examples
    --------
    >>> z = torch.eye(2)
    >>> coding_rate(z, eps=1.0)  # twice 1/2 log(1 + 1)
    tensor(0.6931, dtype=torch.float64)
    """
    z = _checked(z, eps, rows=1)
    return half_logdet(z, _root(z, len(z), eps))


def coding_rate_reduction(
    z: torch.Tensor, groups: torch.Tensor | ArrayLike, eps: float
) -> torch.Tensor:
    """Coding rate of embeddings less the mean rate of their groups coded one by one.

    Parameters
    ----------
    z : Tensor, shape (n, d)
        Embeddings, samples in rows; computed in float64 whatever their type. The reduction grows
        with their scale: compare embeddings of one norm.
    groups : Tensor of int, shape (n,), or of float, shape (n, k)
        A label a sample, any integers, each that occurs a group; or the shares of the samples in k
        groups, rows not negative and of sum 1, which are constants to derivatives.
    eps : float
        Distortion, in the unit of the embeddings; squared here, not by the caller.

    Returns
    -------
    Tensor of float64, shape ()
        In nats, at least 0 but for rounding, differentiable any number of times.

    Raises
    ------
    ValueError
        If ``z`` is no matrix of at least two samples or not finite, ``groups`` does not fit it, a
        share is negative, rows of shares do not sum to 1, a group is empty, or ``eps`` is not a
        finite number above zero.

    Notes
    -----
    arXiv 2006.08558, section 2. Groups of labels that have the same size are computed at
    once, on the smaller side of a group; shares group by group, which holds k copies of the rows
    that have a share until their gradient is taken. Errors add up from those of
    :func:`coding_rate`.

    Examples
    --------
    >>> z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> coding_rate_reduction(z, torch.tensor([0, 0, 1, 1]), eps=1.0)  # log 2 less 1/2 log 3
    tensor(0.1438, dtype=torch.float64)
    >>> coding_rate_reduction(z, torch.full((4, 2), 0.5), eps=1.0).abs() < 1e-12  # all groups alike
    tensor(True)
    """
    z = _checked(z, eps, rows=2)
    return half_logdet(z, _root(z, len(z), eps)) - grouped_coding_rate(z, groups, eps)


def grouped_coding_rate(
    z: torch.Tensor, groups: torch.Tensor | ArrayLike, eps: float
) -> torch.Tensor:
    """Mean coding rate R^c of groups coded one by one, weighted by their sizes.

    Parameters
    ----------
    z : Tensor, shape (n, d)
        Embeddings, samples in rows.
    groups : Tensor of int, shape (n,), or of float, shape (n, k)
        Labels or shares, as :func:`coding_rate_reduction`.
    eps : float
        Distortion, in the unit of the embeddings.

    Returns
    -------
    Tensor of float64, shape ()
        In nats, differentiable any number of times.

    Raises
    ------
    ValueError
        As :func:`coding_rate_reduction`.

    Examples
    --------
    >>> z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> grouped_coding_rate(z, torch.tensor([0, 0, 1, 1]), eps=1.0)  # 1/2 log 3
    tensor(0.5493, dtype=torch.float64)
    """
    z = _checked(z, eps, rows=2)
    n, groups = len(z), torch.as_tensor(groups, device=z.device)
    if groups.ndim == 2:
        return _rate_of_shares(z, _shares(groups, n), eps)
    if groups.shape != (n,) or groups.is_floating_point() or groups.is_complex():
        raise ValueError(
            f"groups has shape {tuple(groups.shape)} and type {groups.dtype}; expected {n} integer "
            f"labels, one a row of z, or shares of shape ({n}, k)"
        )
    return _rate_of_labels(z, groups, eps)


def instance_groups(n: int, views: int) -> torch.Tensor:
    """Labels of embeddings of which every image is a group of its own.

    Parameters
    ----------
    n : int
        Number of images, at least 1.
    views : int
        Views of each, at least 1.

    Returns
    -------
    Tensor of int64, shape (views * n,)
        Of embeddings stacked view by view, ``torch.cat([z, z_prime])``.

    Raises
    ------
    ValueError
        If a number is below 1.

    Examples
    --------
    >>> instance_groups(3, views=2)
    tensor([0, 1, 2, 0, 1, 2])
    """
    if n < 1 or views < 1:
        raise ValueError(f"n is {n} and views {views}; expected at least 1")
    return torch.arange(n).repeat(views)


def _rate_of_labels(z: torch.Tensor, labels: torch.Tensor, eps: float) -> torch.Tensor:
    n = len(z)
    _, member, sizes = labels.unique(return_inverse=True, return_counts=True)
    order = member.argsort(stable=True)  # rows, group by group
    starts = sizes.cumsum(0) - sizes
    rate = z.new_zeros((), dtype=torch.float64)
    for size in sizes.unique().tolist():
        first = starts[sizes == size]
        rows = order[first[:, None] + torch.arange(size, device=z.device)]  # (groups, size)
        grouped = z.index_select(0, rows.flatten()).reshape(*rows.shape, -1)
        rate = rate + size / n * half_logdet(grouped, _root(z, size, eps)).sum()
    return rate


def _rate_of_shares(z: torch.Tensor, shares: torch.Tensor, eps: float) -> torch.Tensor:
    rate = z.new_zeros((), dtype=torch.float64)
    for share in shares.T:
        size = float(share.sum())
        rows = share.nonzero()[:, 0]
        weighted = z.index_select(0, rows).double() * share[rows, None].sqrt()
        rate = rate + size / len(z) * half_logdet(weighted, _root(z, size, eps))
    return rate


def _root(z: torch.Tensor, size: float, eps: float) -> float:
    return math.sqrt(z.shape[1] / size) / eps


def _checked(z: torch.Tensor, eps: float, rows: int) -> torch.Tensor:
    z = finite_matrix("z", z, rows)
    if not (math.isfinite(eps) and eps > 0):
        raise ValueError(f"eps is {eps}; expected a finite number above zero")
    return z


def _shares(groups: torch.Tensor, n: int) -> torch.Tensor:
    if groups.shape[0] != n or groups.shape[1] < 1 or groups.is_complex():
        raise ValueError(
            f"groups has shape {tuple(groups.shape)} and type {groups.dtype}; expected real shares "
            f"of shape ({n}, k), one row a row of z"
        )
    if groups.requires_grad:
        raise ValueError("groups requires a gradient; expected constant shares (groups.detach())")
    shares = finite_matrix("groups", groups).double()
    if bool((shares < 0).any()):
        raise ValueError(f"groups holds a share of {float(shares.min())}; expected none below zero")
    off = float((shares.sum(dim=1) - 1).abs().max())
    if off > _SHARES_ERROR:
        raise ValueError(f"groups has a row whose sum is {off:.3g} off 1; expected rows of sum 1")
    empty = (shares.sum(dim=0) == 0).nonzero()[:, 0].tolist()
    if empty:
        raise ValueError(f"groups has no member in column {empty[0]}; expected none empty")
    return shares
