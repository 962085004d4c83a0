"""Rows of unit norm, infinitely differentiable even at rows of zeros."""

from __future__ import annotations

import torch


def unit_rows(z: torch.Tensor) -> torch.Tensor:
    """Divide every row by its norm; rows of zeros stay zero and have no gradient.

    Parameters
    ----------
    z : Tensor, shape (n, d)
        Rows to scale.

    Returns
    -------
    Tensor, shape (n, d)
        Scaled rows, equal to ``torch.nn.functional.normalize`` except for derivatives at rows of
        zeros. Those of torch are 1e12 at first order and NaN at second order: a single row of zeros
        would make all second derivatives of a loss NaN.

    Examples
    --------
    >>> unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    zero = (z == 0).all(dim=1, keepdim=True)
    # Constants replace rows of zeros and their norms, so no gradient flows through them.
    norms = torch.linalg.vector_norm(torch.where(zero, 1.0, z), dim=1, keepdim=True)
    return z / torch.where(zero, torch.inf, norms.clamp_min(1e-12))
