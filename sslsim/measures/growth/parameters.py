"""Parameters of a network as one vector."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn


def copied_parameters(encoder: nn.Module) -> tuple[nn.Module, list[nn.Parameter], tuple[str, ...]]:
    """Copy an encoder in float64, and list the parameters that move with their names."""
    copied = copy.deepcopy(encoder).double().eval()
    moving = {name: value for name, value in copied.named_parameters() if value.requires_grad}
    if not moving:
        raise ValueError("the encoder has no parameter that requires a gradient; expected one")
    return copied, list(moving.values()), tuple(moving)


def flat_gradient(value: torch.Tensor, parameters: Sequence[nn.Parameter]) -> torch.Tensor:
    """Gradient of a value after all parameters, which keeps the graph."""
    gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return flattened(gradients, parameters)


def flattened(
    gradients: Sequence[torch.Tensor | None], parameters: Sequence[nn.Parameter]
) -> torch.Tensor:
    """One vector of a tensor for each parameter, with zeros for those that have none."""
    return torch.cat(
        [
            torch.zeros_like(parameter).flatten() if gradient is None else gradient.flatten()
            for gradient, parameter in zip(gradients, parameters, strict=True)
        ]
    )
