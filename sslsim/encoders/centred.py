r"""A network minus most of what it was at initialisation: small outputs, the whole tangent kernel.

    f(x) = h_theta(x) - (1 - alpha) h_theta0(x)

starts at ``alpha h_theta0(x)``, with the gradients of h itself: a wide network stays in its linear
regime however small alpha is (Chizat, Oyallon and Bach, arXiv 1812.07956, section 2). Scaling all
weights leaves that regime; scaling the last layer alone by alpha keeps it, but leaves of the
kernel of the layers before the share alpha^2.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import nn


class Centred(nn.Module):
    """A module from which most of its initial outputs are subtracted.

    Parameters
    ----------
    module : nn.Module
        Any whose output depends on parameters and input alone. Its parameters are those trained; a
        frozen copy of it as it is now is kept.
    scale : float
        Factor alpha on the outputs at the start, from 0 on.

    Attributes
    ----------
    module, scale
        As given.
    reference : nn.Module
        The frozen copy.

    Raises
    ------
    ValueError
        If the scale is negative or not finite.

    Notes
    -----
    Computed as ``(h - h_0) + alpha h_0``, so that outputs start at ``alpha h_0`` to the last bit.

    Examples
    --------
    >>> layer = nn.Linear(2, 1, bias=False)
    >>> x = torch.ones(1, 2)
    >>> bool((Centred(layer, 0.25)(x) == 0.25 * layer(x)).all())
    True
    """

    def __init__(self, module: nn.Module, scale: float) -> None:
        super().__init__()
        if not 0 <= scale < math.inf:
            raise ValueError(f"scale is {scale!r}; expected a finite number of at least zero")
        self.module = module
        self.reference = copy.deepcopy(module).requires_grad_(False)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embed."""
        start = self.reference(x)
        return (self.module(x) - start) + self.scale * start
