"""Rows of unit norm, differentiable any number of times also where a row is zero."""

from __future__ import annotations

import torch


def unit_rows(z: torch.Tensor) -> torch.Tensor:
    """Divide every row by its norm; rows of zeros stay, and have no gradient.

    Parameters
    ----------
    z : Tensor, shape (n, d)
        Any rows.

    Returns
    -------
    Tensor, shape (n, d)
        As ``torch.nn.functional.normalize`` gives it but for derivatives at rows of zeros, which
        are 1e12 there at first order and NaN at second: one dead row, whatever its weight in a
        loss, would spoil the second derivatives of all.

    Examples
    --------
    >>> unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    zero = (z == 0).all(dim=1, keepdim=True)
    # Both times by a constant: no gradient enters or leaves a row of zeros.
    filled = torch.where(zero, 1.0, z)
    return torch.where(zero, 0.0, torch.nn.functional.normalize(filled, dim=1))
