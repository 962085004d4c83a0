"""Output of any network, checked: a real matrix, or an error that says what it is instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn


def network_output(
    network: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor
) -> torch.Tensor:
    """Embeddings of images by a network.

    Parameters
    ----------
    network : callable
        ``nn.Module`` in the desired mode, or a function.
    images : Tensor, shape (n, c, h, w)
        Images; they are moved to the device and floating type of the module's parameters, if any.

    Returns
    -------
    Tensor, shape (n, d)
        Output of the network.

    Raises
    ------
    ValueError
        If the network raises an error, or its output is not a real matrix with one row for each
        image.

    Examples
    --------
    >>> network_output(nn.Flatten(), torch.zeros(3, 1, 2, 2)).shape
    torch.Size([3, 4])
    >>> network_output(lambda x: {"z": x}, torch.zeros(3, 1, 2, 2))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: the network gives a dict with z (3, 1, 2, 2), ... for inputs of shape ...
    """
    if isinstance(network, nn.Module):
        images = as_parameters(network, images)
    shape = f"{tuple(images.shape)} and type {str(images.dtype).removeprefix('torch.')}"
    try:
        z = network(images)
    except Exception as error:  # a user's network may raise any error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"the network does not take inputs of shape {shape}: {reason}") from error
    if not isinstance(z, torch.Tensor):
        raise ValueError(
            f"the network gives a {type(z).__name__}{_listed_outputs(z)} for inputs of shape "
            f"{shape}; expected (n, d)"
        )
    if z.ndim != 2 or len(z) != len(images):
        raise ValueError(
            f"the network gives {tuple(z.shape)} for inputs of shape {shape}; expected (n, d)"
        )
    if z.is_complex():
        raise ValueError(f"the network gives complex numbers ({z.dtype}); expected real ones")
    return z


def _listed_outputs(found: object) -> str:
    """Outputs of a network by the names that choose one of them, with their shapes."""
    if isinstance(found, Mapping):
        named = {str(name): part for name, part in found.items()}
    elif isinstance(found, (tuple, list)):
        named = dict(zip(map(str, range(len(found))), found, strict=True))
    else:
        named = dict(getattr(found, "__dict__", {}))
    tensors = [f"{k} {tuple(v.shape)}" for k, v in named.items() if isinstance(v, torch.Tensor)]
    return f" with {', '.join(tensors)}, one of which --output chooses," if tensors else ""


def as_parameters(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Images on the device and of the floating type of a module's parameters.

    Parameters
    ----------
    network : nn.Module
        The module.
    images : Tensor
        Images as floats.

    Returns
    -------
    Tensor
        Converted images; the argument itself if the module has no parameters.

    Examples
    --------
    >>> as_parameters(nn.Linear(2, 1).double(), torch.zeros(2)).dtype
    torch.float64
    """
    first = next(network.parameters(), None)
    if first is None:
        return images
    return images.to(first.device, first.dtype if first.is_floating_point() else None)
