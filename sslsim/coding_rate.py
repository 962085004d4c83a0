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
from typing import Any

import torch
from numpy.typing import ArrayLike

from sslsim.core.checks import finite_matrix

# Forming a Z^T Z rounds it by about machine epsilon * a ||Z||_F^2, and as no eigenvalue of
# I + a Z^T Z lies below 1, each log is off by no more than that.
_CHOLESKY_ERROR = 1e-10
# The same for G / sqrt(a), of norm at most 1/2, multiplied out in the type of Z: its machine
# epsilon * sqrt(a) ||Z||_F, as ||B|| <= 1, were each sum of products rounded once.
_PRODUCT_ERROR = 5e-6
_ROWS, _COLUMNS = 256, 96  # of a block of a Gram matrix, to stay in the cache


def half_logdet(z: torch.Tensor, root: float) -> torch.Tensor:
    """``1/2 logdet(I + root^2 Z^T Z)`` of one matrix or of many.

    Parameters
    ----------
    z : Tensor, shape (..., n, d)
        Matrices of floats, finite.
    root : float
        Above zero: the square root of a, which a small distortion does not let overflow.

    Returns
    -------
    Tensor of float64, shape (...)
        Differentiable any number of times, by torch.autograd and by torch.func's grad, vjp, jvp,
        jacrev, jacfwd and hessian. torch.func.vmap over ``z`` is refused by torch, as the route
        depends on the values: leading dimensions are there instead.

    Raises
    ------
    ValueError
        If ``root`` times the norm of a matrix may overflow.

    Notes
    -----
    A logarithm, of which there are min(n, d), is off by at most about 1e-10 up to ``a
    ||Z||_F^2 = 4.5e5`` and by 1e-16 times the root of that number beyond. Derivatives have the
    type of ``z``; those of float32 are multiplied out in float32 up to ``a ||Z||_F^2 = 1.7e3``,
    which costs some 1e-6 of the bound ``sqrt(a) / 2`` of their norm, up to 5e-5 where all of Z is
    one direction, and in float64 beyond.

    Examples
    --------
    >>> half_logdet(torch.eye(2), 1.0)  # twice 1/2 log(1 + 1)
    tensor(0.6931, dtype=torch.float64)
    """
    tall = z.mT if z.shape[-2] < z.shape[-1] else z  # (..., max(n, d), min(n, d))
    norms = torch.linalg.vector_norm(tall.detach(), dim=(-2, -1), dtype=torch.float64)
    norm = root * float(norms.max())
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


class _Rate(torch.autograd.Function):
    """The value by a Cholesky factor of float64, which is kept for the gradient."""

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
    """G and B of the module's head, whose derivatives are made of Z, G and B alone."""

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
        found = _hessian(z, gradient, inverse, v.to(z.dtype), ctx.scale)
        return (found - gradient @ (both @ inverse)).to(v.dtype), None, None, None

    @staticmethod
    def jvp(ctx: Any, dz: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
        dtype = ctx.saved_tensors[2].dtype
        z, gradient, inverse = (saved.to(dtype) for saved in ctx.saved_tensors)
        half = inverse @ (dz.to(dtype).mT @ gradient)
        found = _hessian(z, gradient, inverse, dz.to(dtype), ctx.scale)
        return found.to(dz.dtype), -(half + half.mT)


def _hessian(
    z: torch.Tensor, gradient: torch.Tensor, inverse: torch.Tensor, v: torch.Tensor, scale: float
) -> torch.Tensor:
    kept = v - gradient @ (z.mT @ v)
    return scale * kept @ inverse - gradient @ (v.mT @ gradient)


def _lower_gram(z: torch.Tensor) -> torch.Tensor:
    """``Z^T Z`` in float64 up to its upper triangle, which a Cholesky factor does not need."""
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
    torch.func, as :func:`sslsim.coding_rate.half_logdet`.

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
