"""Representations of one batch under several encoders and layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from sslsim.encoders.encoder import Encoder
from sslsim.encoders.features import features
from sslsim.encoders.output import as_parameters, network_output

Represent = Callable[[torch.Tensor], Sequence[torch.Tensor]]


def representations(
    encoders: Sequence[Callable[[torch.Tensor], torch.Tensor]],
    layers: Sequence[str] | None = None,
) -> Represent:
    """A function that gives the representations of a batch under every encoder and layer.

    Parameters
    ----------
    encoders : sequence of callable
        Each maps views (b, c, h, w) to representations (b, d). Of an ``Encoder`` the backbone's
        output is taken; modules are run in evaluation mode, on their device and in their floating
        type, and left as they were.
    layers : sequence of str, optional
        Layers of the encoders, all of which must then be of ``Encoder``: those that
        :func:`sslsim.encoders.features.features` takes, for scores by layer in one forward pass.

    Returns
    -------
    callable
        Views -> list of representations, layer by layer of the first encoder, then of the next.

    Raises
    ------
    ValueError
        If there are no encoders, or layers are named of something that is no ``Encoder``.

    Examples
    --------
    >>> represent = representations([nn.Flatten(), lambda views: views.mean(dim=(2, 3))])
    >>> [tuple(z.shape) for z in represent(torch.rand(2, 3, 4, 4))]
    [(2, 48), (2, 3)]
    """
    if not encoders:
        raise ValueError("no encoders were given; expected at least one")
    for encoder in encoders:
        if layers is not None and not isinstance(encoder, Encoder):
            raise ValueError(
                f"layers is {list(layers)} for a {type(encoder).__name__}; expected an Encoder"
            )

    def represent(views: torch.Tensor) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        for encoder in encoders:
            if isinstance(encoder, Encoder):
                names = ["backbone"] if layers is None else layers
                fed = as_parameters(encoder, views)
                found += features(encoder, fed, names, batch_size=len(views)).values()
            elif isinstance(encoder, nn.Module):
                found.append(_evaluate(encoder, views))
            else:
                found.append(network_output(encoder, views))
        return found

    return represent


def _evaluate(module: nn.Module, views: torch.Tensor) -> torch.Tensor:
    flags = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        return network_output(module, views)
    finally:
        for part, training in flags:
            part.training = training
