r"""A network minus most of its initial output: small outputs with the whole tangent kernel.

    f(x) = h_theta(x) - (1 - alpha) h_theta0(x)

starts at ``alpha h_theta0(x)``, with the gradients of h: a wide network stays in its linear regime
for any small alpha (Chizat, Oyallon and Bach, arXiv 1812.07956, section 2). If all weights are
scaled, the network leaves that regime. If only the last layer is scaled by alpha, it stays there,
but the kernel of the layers before shrinks by alpha^2.
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
        Module whose output depends only on parameters and input. Its parameters are trained; a
        frozen copy of its current state is stored.
    scale : float
        Factor alpha on the initial outputs, at least 0.

    Attributes
    ----------
    module, scale
        The arguments.
    reference : nn.Module
        Frozen copy of the module.

    Raises
    ------
    ValueError
        If the scale is negative or not finite.

    Notes
    -----
    It is computed as ``(h - h_0) + alpha h_0``, so that outputs start at exactly ``alpha h_0``.

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
        """Embed inputs."""
        start = self.reference(x)
        return (self.module(x) - start) + self.scale * start
