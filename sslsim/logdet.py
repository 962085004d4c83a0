r"""1/2 logdet(I + a Z^T Z) and its derivatives, on the smaller side of Z.

Two exact routes, both differentiable any number of times. A Cholesky factor of the matrix itself,
with the derivatives in closed form: with B = (I + a Z^T Z)^-1 and G = a Z B,

    d rate = <G, dZ>,    dG = a (dZ - G Z^T dZ) B - G dZ^T G,    dB = -(B dZ^T G + G^T dZ B),

where dG with V for dZ is also the derivative of <G, V> in Z, as G is a gradient. And, where that
matrix is so ill-conditioned that forming it would lose the answer, the R of a QR factorisation of
its square root [sqrt(a) Z; I]. It has full rank whatever Z is, so that, unlike singular values,
it has derivatives of every order where singular values meet.
"""

from __future__ import annotations

import math
from typing import Any

import torch

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
