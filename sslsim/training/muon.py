r"""Muon: descent along orthogonalised momentum, for matrices and kernels.

The momentum M = U S V^T of every matrix is replaced by its polar factor U V^T, so that all singular
directions of a layer move at the same speed (Jordan et al. 2024; Bernstein and Newhouse, arXiv
2409.20325). In linear Barlow Twins a mode then half rises at ``sqrt(1 / (2 gamma))`` instead of
``log(1 / initialisation) / (8 gamma)``: ``theory.linear.orthogonalised``.

``torch.optim.Muon`` accepts matrices only and ends its iteration, in bfloat16, with singular values
from 0.7 to 1.2. This one flattens kernels, works in the dtype of the weights, converges, and costs
two products of the size of the matrix; the iteration itself is on the Gram matrix of its smaller
side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

# Odd polynomials a x + b x^3 + c x^5 of the singular values. The first, of Jordan et al., raises
# small ones fast but leaves 0.7 to 1.2; the other, of Newton and Schulz, converges to 1.
_FAST = (3.4445, -4.7750, 2.0315)
_SAFE = (1.875, -1.25, 0.375)
_ITERATIONS = (*[_FAST] * 6, *[_SAFE] * 3)


def polar_factor(matrix: torch.Tensor) -> torch.Tensor:
    """Orthogonal factor U V^T of a matrix U S V^T, by iteration.

    Parameters
    ----------
    matrix : Tensor, shape (n, m)
        Matrix of floating-point numbers; those of 16 bits are iterated in float32.

    Returns
    -------
    Tensor, shape (n, m)
        In the dtype of the matrix. Singular values above 1/300 of the Frobenius norm have become 1
        within 0.01; smaller ones are raised up to 1, and zero stays zero.

    Raises
    ------
    ValueError
        If it is no matrix.

    Examples
    --------
    >>> polar_factor(torch.tensor([[0.0, 4.0, 0.0], [-3.0, 0.0, 0.0]])).round(decimals=2)
    tensor([[ 0.,  1.,  0.],
            [-1.,  0.,  0.]])
    """
    if matrix.ndim != 2:
        raise ValueError(f"matrix has the shape {tuple(matrix.shape)}; expected two dimensions")
    if matrix.shape[0] > matrix.shape[1]:
        return polar_factor(matrix.T).T
    dtype = matrix.dtype
    matrix = matrix.to(torch.promote_types(dtype, torch.float32))
    # By the largest entry first: squares of small ones would underflow.
    matrix = matrix / matrix.abs().amax().clamp(min=torch.finfo(matrix.dtype).tiny)
    matrix = matrix / matrix.norm().clamp(min=torch.finfo(matrix.dtype).tiny)
    # x -> x p(x^2) on singular values x: the factors p multiply up, and x^2 -> x^2 p(x^2)^2.
    gram = matrix @ matrix.T
    product: torch.Tensor | None = None
    for a, b, c in _ITERATIONS:
        factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal().add_(a)
        product = factor if product is None else factor @ product
        gram = factor @ gram @ factor
    assert product is not None
    return (product @ matrix).to(dtype)


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for matrices, and descent with momentum for the rest.

    Parameters
    ----------
    params : iterable
        Parameter groups, with ``adapt`` (bool): whether steps are orthogonalised, as they are of
        parameters with two dimensions or more and more than one row. Further dimensions are
        columns.
    lr : float
        Learning rate: the length of a step in every singular direction, times the root of rows per
        column where there are more rows.
    momentum : float
        Momentum mu in [0, 1), as Nesterov's: the polar factor is that of ``g + mu m``, with ``m <-
        mu m + g``. The rest has heavy-ball momentum.

    Notes
    -----
    Weight decay is decoupled, as in ``torch.optim.Muon``: weights are multiplied by 1 - lr times
    it.

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.zeros(2, 2))
    >>> weight.grad = torch.tensor([[0.0, 100.0], [1.0, 0.0]])
    >>> Muon([weight], lr=0.1).step()
    >>> weight.detach().round(decimals=3)
    tensor([[ 0.0000, -0.1000],
            [-0.1000,  0.0000]])
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float = 0.9) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": 0.0, "adapt": True}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        assert closure is None, "closures are not used"
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weight)
                change = state["momentum"].mul_(group["momentum"]).add_(weight.grad)
                rate = group["lr"]
                if group["adapt"]:
                    ahead = weight.grad.add(change, alpha=group["momentum"]).flatten(1)
                    rows, columns = ahead.shape
                    rate *= max(1.0, rows / columns) ** 0.5
                    change = polar_factor(ahead).view(weight.shape)
                weight.mul_(1.0 - group["lr"] * group["weight_decay"])
                weight.sub_(change, alpha=rate)
