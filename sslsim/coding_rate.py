r"""Coding rate and its reduction by groups (arXiv 2006.08558).

    R(Z)     = 1/2 logdet(I + d / (n eps^2) Z^T Z)      (Z is (n, d), samples in rows)
    R^c(Z)   = sum_k n_k / (2n) logdet(I + d / (n_k eps^2) Z^T diag(w_k) Z),      n_k = sum_i w_ik
    Delta R  = R - R^c

R is the number of nats that code an embedding at distortion eps; Delta R is the reduction if every
group k is coded separately. w_ik is the share of sample i in group k. Several published codes pass
eps^2 under the name eps.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from numpy.typing import ArrayLike

from sslsim.core.checks import finite_matrix

# Rounding of a Z^T Z is about machine epsilon * a ||Z||_F^2. No eigenvalue of I + a Z^T Z is below
# 1, so the error of each logarithm is at most that.
_CHOLESKY_ERROR = 1e-10
# The same for G / sqrt(a), of norm at most 1/2, computed in the type of Z: the error is machine
# epsilon * sqrt(a) ||Z||_F, since ||B|| <= 1, if each sum of products is rounded once.
_PRODUCT_ERROR = 5e-6
_ROWS, _COLUMNS = 256, 96  # size of a block of a Gram matrix, to stay in the cache


def half_logdet(z: torch.Tensor, root: float) -> torch.Tensor:
    """``1/2 logdet(I + root^2 Z^T Z)`` of one or many matrices.

    Parameters
    ----------
    z : Tensor, shape (..., n, d)
        Matrices of finite floats.
    root : float
        Square root of the factor a, above zero. The root does not overflow at small distortions.

    Returns
    -------
    Tensor of float64, shape (...)
        Values, infinitely differentiable by torch.autograd and by torch.func's grad, vjp, jvp,
        jacrev, jacfwd and hessian. torch does not allow torch.func.vmap over ``z``, because the
        algorithm depends on the values: use leading dimensions instead.

    Raises
    ------
    ValueError
        If ``root`` times the norm of a matrix may overflow.

    Notes
    -----
    The error of each of the min(n, d) logarithms is at most about 1e-10 up to
    ``a ||Z||_F^2 = 4.5e5``, and 1e-16 times the root of that number beyond. Derivatives have the
    type of ``z``. Those of float32 are computed in float32 up to ``a ||Z||_F^2 = 1.7e3``, with an
    error of about 1e-6 relative to the bound ``sqrt(a) / 2`` of their norm (up to 5e-5 if Z has a
    single direction), and in float64 beyond.

    Examples
    --------
    >>> half_logdet(torch.eye(2), 1.0)  # twice 1/2 log(1 + 1)
    tensor(0.6931, dtype=torch.float64)
    """
    tall = z.mT if z.shape[-2] < z.shape[-1] else z  # (..., max(n, d), min(n, d))
    norm = root * _largest_norm(tall.detach())
    energy = norm * norm  # a ||Z||_F^2
    if torch.finfo(torch.float64).eps * energy < _CHOLESKY_ERROR:
        rounded = torch.finfo(z.dtype).eps * norm < _PRODUCT_ERROR
        return _Rate.apply(tall, root * root, z.dtype if rounded else torch.float64)[0]
    largest = float(tall.detach().abs().max())
    if not math.isfinite(root * largest * math.sqrt(tall.shape[-2] * tall.shape[-1])):
        raise ValueError(
            f"z holds numbers up to {largest:.3g}, {root:.3g} times them overflows; expected a "
            "smaller scale of z, or a larger eps"
        )
    scaled = root * tall.double()
    eye = torch.eye(tall.shape[-1], dtype=scaled.dtype, device=z.device)
    eye = eye.expand(*tall.shape[:-2], *eye.shape)
    factor = torch.linalg.qr(torch.cat([scaled, eye], dim=-2)).R
    return factor.diagonal(dim1=-2, dim2=-1).abs().log().sum(dim=-1)


def _largest_norm(z: torch.Tensor) -> float:
    """Largest Frobenius norm of matrices (..., n, d), or slightly more; infinite if it overflows.

    The squares are summed in the type of the matrices, row by row, without a copy in float64. Each
    is counted as the smallest normal number if it may underflow.
    """
    if torch.finfo(z.dtype).bits < 32:
        z = z.float()
    rows = torch.linalg.vector_norm(z, dim=-1).double()
    lost = z.shape[-2] * z.shape[-1] * torch.finfo(z.dtype).tiny
    return math.sqrt(float(rows.square().sum(dim=-1).max()) + lost)


class _Rate(torch.autograd.Function):
    """Value by a Cholesky factor in float64, which is stored for the gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        z: torch.Tensor, scale: float, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        matrix = _lower_gram(z).mul_(scale)  # (..., s, s)
        matrix.diagonal(dim1=-2, dim2=-1).add_(1)
        factor = torch.linalg.cholesky(matrix)
        return factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1), factor

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        z, ctx.scale, ctx.dtype = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(z, output[1])
        ctx.save_for_forward(z, output[1])

    @staticmethod
    def backward(ctx: Any, change: torch.Tensor, _: Any) -> tuple[torch.Tensor, None, None]:
        gradient, _inverse = _Gradient.apply(*ctx.saved_tensors, ctx.scale, ctx.dtype)
        return change.to(gradient.dtype)[..., None, None] * gradient, None, None

    @staticmethod
    def jvp(ctx: Any, dz: torch.Tensor, *_: Any) -> tuple[torch.Tensor, None]:
        gradient, _inverse = _Gradient.apply(*ctx.saved_tensors, ctx.scale, ctx.dtype)
        return (gradient.double() * dz).sum(dim=(-2, -1)), None


class _Gradient(torch.autograd.Function):
    """Gradient G = a Z B and B = (I + a Z^T Z)^-1; their derivatives need only Z, G and B."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        z: torch.Tensor, factor: torch.Tensor, scale: float, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        inverse = torch.cholesky_inverse(factor).to(dtype)
        return (z.to(dtype) @ (scale * inverse)).to(z.dtype), inverse

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        z, _, ctx.scale, _ = inputs
        ctx.save_for_backward(z, *output)
        ctx.save_for_forward(z, *output)

    @staticmethod
    def backward(
        ctx: Any, v: torch.Tensor, change: torch.Tensor
    ) -> tuple[torch.Tensor, None, None, None]:
        z, gradient, inverse = (saved.to(change.dtype) for saved in ctx.saved_tensors)
        both = change + change.mT
        curvature = _hessian(z, gradient, inverse, v.to(z.dtype), ctx.scale)
        return (curvature - gradient @ (both @ inverse)).to(v.dtype), None, None, None

    @staticmethod
    def jvp(ctx: Any, dz: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
        dtype = ctx.saved_tensors[2].dtype
        z, gradient, inverse = (saved.to(dtype) for saved in ctx.saved_tensors)
        half = inverse @ (dz.to(dtype).mT @ gradient)
        curvature = _hessian(z, gradient, inverse, dz.to(dtype), ctx.scale)
        return curvature.to(dz.dtype), -(half + half.mT)


def _hessian(
    z: torch.Tensor, gradient: torch.Tensor, inverse: torch.Tensor, v: torch.Tensor, scale: float
) -> torch.Tensor:
    projected = v - gradient @ (z.mT @ v)
    return scale * projected @ inverse - gradient @ (v.mT @ gradient)


def _lower_gram(z: torch.Tensor) -> torch.Tensor:
    """Lower triangle of ``Z^T Z`` in float64, all that a Cholesky factor needs.

    Float32 would be faster, but the bound of the rate's error is too large: even if each sum of
    products is rounded only once, it is ``sqrt(d) / 2 * 6e-8 * a ||Z||_F^2``, for 2,048 rows of
    unit norm, d = 512 and eps^2 = 1/2 already 7e-4 of 267 nats.
    """
    side = z.shape[-1]
    if z.ndim > 2 or side < 2 * _COLUMNS:
        z = z.double()
        return z.mT @ z
    gram = z.new_zeros(side, side, dtype=torch.float64)
    for rows in z.split(_ROWS):
        rows = rows.double()
        for start in range(0, side, _COLUMNS):
            end = min(start + _COLUMNS, side)
            gram[start:end, :end].addmm_(rows[:, start:end].T, rows[:, :end])
    return gram


_SHARES_ERROR = 1e-5  # error of a sum of shares, above the rounding of a softmax in float32


def coding_rate(z: torch.Tensor, eps: float) -> torch.Tensor:
    """Coding rate of embeddings, ``1/2 logdet(I + d / (n eps^2) Z^T Z)``.

    Parameters
    ----------
    z : Tensor, shape (n, d)
        Embeddings, samples in rows, of any floating type; the computation is in float64.
    eps : float
        Distortion in the unit of the embeddings; it is squared here, not by the caller.

    Returns
    -------
    Tensor of float64, shape ()
        Coding rate in nats, infinitely differentiable. It is zero for an embedding of zeros.

    Raises
    ------
    ValueError
        If ``z`` is not a finite matrix, ``eps`` is not a finite number above zero, or z / eps
        overflows.

    Notes
    -----
    arXiv 2006.08558, equation 1 (there with samples in columns). The error for each dimension is at
    most about 1e-10 up to ``d ||Z||_F^2 / (n eps^2) = 4e5``, and 1e-16 times the root of that
    number beyond: about 1e-8 for unit-norm rows, d = 512 and eps = 1e-6. For derivatives and
    transforms of torch.func see :func:`sslsim.coding_rate.half_logdet`.

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
    """Coding rate of embeddings minus the mean rate of their groups, coded separately.

    Parameters
    ----------
    z : Tensor, shape (n, d)
        Embeddings, samples in rows, of any floating type; the computation is in float64. The
        reduction grows with their scale, so compare embeddings of equal norm.
    groups : Tensor of int, shape (n,), or of float, shape (n, k)
        A label for each sample: equal integers form a group. Or the shares of the samples in k
        groups: not negative, each row with sum 1. Derivatives treat shares as constants.
    eps : float
        Distortion in the unit of the embeddings; it is squared here, not by the caller.

    Returns
    -------
    Tensor of float64, shape ()
        Reduction in nats, at least 0 up to rounding, infinitely differentiable.

    Raises
    ------
    ValueError
        If ``z`` is not a finite matrix of at least two samples, ``groups`` does not fit it, a share
        is negative, rows of shares do not sum to 1, a group is empty, or ``eps`` is not a finite
        number above zero.

    Notes
    -----
    arXiv 2006.08558, section 2. Groups of labels with equal size are computed at once, on the
    smaller side of a group. Shares are computed group by group; until the gradient is taken, up to
    k copies of the rows are in memory. The errors of :func:`coding_rate` add up.

    Examples
    --------
    >>> z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> coding_rate_reduction(z, torch.tensor([0, 0, 1, 1]), eps=1.0)  # log 2 - 1/2 log 3
    tensor(0.1438, dtype=torch.float64)
    >>> coding_rate_reduction(z, torch.full((4, 2), 0.5), eps=1.0).abs() < 1e-12  # all groups alike
    tensor(True)
    """
    z = _checked(z, eps, rows=2)
    return half_logdet(z, _root(z, len(z), eps)) - grouped_coding_rate(z, groups, eps)


def grouped_coding_rate(
    z: torch.Tensor, groups: torch.Tensor | ArrayLike, eps: float
) -> torch.Tensor:
    """Mean coding rate R^c of groups that are coded separately, weighted by their sizes.

    Parameters
    ----------
    z : Tensor, shape (n, d)
        Embeddings, samples in rows.
    groups : Tensor of int, shape (n,), or of float, shape (n, k)
        Labels or shares, as in :func:`coding_rate_reduction`.
    eps : float
        Distortion in the unit of the embeddings.

    Returns
    -------
    Tensor of float64, shape ()
        Mean rate in nats, infinitely differentiable.

    Raises
    ------
    ValueError
        As in :func:`coding_rate_reduction`.

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
    """Labels of embeddings where every image is a separate group.

    Parameters
    ----------
    n : int
        Number of images, at least 1.
    views : int
        Number of views of each image, at least 1.

    Returns
    -------
    Tensor of int64, shape (views * n,)
        Labels of embeddings that are stacked view by view, ``torch.cat([z, z_prime])``.

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
