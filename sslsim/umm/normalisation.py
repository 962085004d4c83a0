"""Normalisations that can be differentiated three times.

A hypergradient through an alignment that is itself made of a gradient is a third derivative. Of
torch's BatchNorm, by the statistics of the batch, and of its LayerNorm first and second derivatives
are right, but third ones silently wrong: their second backward passes take the saved mean and
standard deviation for constants (seen in torch 2.13; ``tests/sslsim/test_umm_normalisation.py``).
Composed of elementary operations they are right at any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@contextmanager
def elementary_normalisation(module: nn.Module) -> Iterator[None]:
    """Let BatchNorms and LayerNorms of a module compute by elementary operations.

    Parameters
    ----------
    module : nn.Module
        Values are the same up to rounding, running statistics move as ever.

    Yields
    ------
    None
        Afterwards the layers are as they were.

    Examples
    --------
    >>> layer, x = nn.LayerNorm(3), torch.tensor([[1.0, 2.0, 6.0]])
    >>> with elementary_normalisation(layer):
    ...     found = layer(x)
    >>> torch.allclose(found, layer(x))
    True
    """
    changed = []
    try:
        for layer in module.modules():
            if type(layer) in _BATCH_NORMS:
                layer.forward = partial(_batch_norm, layer)  # type: ignore[arg-type]
            elif type(layer) is nn.LayerNorm:
                layer.forward = partial(_layer_norm, layer)  # type: ignore[method-assign]
            else:
                continue
            changed.append(layer)
        yield
    finally:
        for layer in changed:
            del layer.forward  # that of the class shows again


def _batch_norm(layer: nn.modules.batchnorm._BatchNorm, x: torch.Tensor) -> torch.Tensor:
    """Normalise (n, c) or (n, c, h, w) by channel."""
    if not layer.training and layer.running_mean is not None:
        return type(layer).forward(layer, x)  # constant statistics: torch's own is right
    places = [axis for axis in range(x.ndim) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
    mean = x.mean(dim=places)
    centred = x - mean.view(shape)
    variance = centred.square().mean(dim=places)
    if layer.training and layer.running_mean is not None:
        _remember(layer, mean.detach(), variance.detach(), x.numel() // x.shape[1])
    scaled = centred * torch.rsqrt(variance + layer.eps).view(shape)
    return scaled if layer.weight is None else _affine(layer, scaled, shape)


def _affine(layer: nn.Module, x: torch.Tensor, shape: list[int]) -> torch.Tensor:
    return x * layer.weight.view(shape) + layer.bias.view(shape)  # type: ignore[operator]


@torch.no_grad()
def _remember(
    layer: nn.modules.batchnorm._BatchNorm, mean: torch.Tensor, variance: torch.Tensor, count: int
) -> None:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    share = layer.momentum
    if share is None:  # the plain mean of all batches
        share = 1.0 / float(layer.num_batches_tracked)
    layer.running_mean.lerp_(mean, share)
    layer.running_var.lerp_(variance * (count / max(count - 1, 1)), share)


def _layer_norm(layer: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    axes = list(range(-len(layer.normalized_shape), 0))
    centred = x - x.mean(dim=axes, keepdim=True)
    scaled = centred * torch.rsqrt(centred.square().mean(dim=axes, keepdim=True) + layer.eps)
    if layer.weight is not None:
        scaled = scaled * layer.weight
    return scaled if layer.bias is None else scaled + layer.bias
