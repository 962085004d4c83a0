"""Products with the Hessian of a loss over some batches of pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from sslsim.measures.growth.parameters import copied_parameters, flattened
from sslsim.measures.growth.pull import Objective
from sslsim.measures.snapshots import HeldOutPairs, batch_statistics


def hessian_product(
    encoder: nn.Module, pairs: Sequence[HeldOutPairs], objective: Objective
) -> tuple[Callable[[torch.Tensor], torch.Tensor], int]:
    """Product of a vector with the Hessian of the mean loss over some batches.

    Parameters
    ----------
    encoder : nn.Module
        As in :func:`sslsim.measures.growth.growth`.
    pairs : sequence of HeldOutPairs
        Batches; losses that compare samples depend on their size.
    objective : callable
        As in :func:`sslsim.measures.growth.growth`.

    Returns
    -------
    product : callable
        (p,) float64 -> (p,), over the parameters that require gradients in their order.
    size : int
        p.

    Notes
    -----
    Each product differentiates twice: three to four times the cost of a gradient, and the memory
    of the graph of one batch.

    Examples
    --------
    >>> layer = nn.Linear(1, 1, bias=False)
    >>> product, size = hessian_product(
    ...     layer, [HeldOutPairs(torch.ones(2, 1), torch.ones(2, 1))], lambda z, w: (z * w).sum()
    ... )
    >>> size, product(torch.ones(1, dtype=torch.float64))  # the loss is 2 w^2
    (1, tensor([4.], dtype=torch.float64))
    """
    copied, parameters, _ = copied_parameters(encoder)
    size = sum(parameter.numel() for parameter in parameters)

    def product(vector: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(size, dtype=torch.float64, device=vector.device)
        for batch in pairs:
            with batch_statistics(copied):
                loss = objective(copied(batch.x.double()), copied(batch.x_prime.double()))
            gradients = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
            slope = flattened(gradients, parameters) @ vector
            if slope.requires_grad:
                again = torch.autograd.grad(slope, parameters, allow_unused=True)
                total += flattened(again, parameters) / len(pairs)
        return total

    return product, size
