r"""One global batch on many processes, with the same numbers as on one process.

Every process embeds its rows of the global batch; :func:`gather` joins the embeddings, and each
process computes the same loss L of all of them. Automatic differentiation then differentiates W L,
the sum of the losses of all W processes, and DistributedDataParallel divides the summed gradients
by W. The result is the gradient of L. Statistics inside the network follow the same rule
(:class:`GlobalBatchNorm`). Without a process group, all functions here do nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn


def rank() -> int:
    """Number of this process, 0 without a process group."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes, 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started, if it did.

    Parameters
    ----------
    device : torch.device
        Requested device; under torchrun ``cuda`` becomes the device of this process.

    Yields
    ------
    torch.device
        The device to use.

    Examples
    --------
    >>> with process_group(torch.device("cpu")) as device:
    ...     device, world_size()
    (device(type='cpu'), 1)
    """
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def rows_of_rank(batch: int) -> slice:
    """Rows of the global batch that belong to this process.

    Parameters
    ----------
    batch : int
        Size of the global batch.

    Returns
    -------
    slice
        Rows of this process; the number of rows is the same on every process.

    Raises
    ------
    ValueError
        If the batch does not divide evenly.

    Examples
    --------
    >>> rows_of_rank(8)
    slice(0, 8, None)
    """
    if batch % world_size():
        raise ValueError(
            f"the global batch is {batch} on {world_size()} processes; expected a multiple"
        )
    share = batch // world_size()
    return slice(rank() * share, (rank() + 1) * share)


def gather(rows: torch.Tensor) -> torch.Tensor:
    """Rows of all processes, in the order of the global batch, differentiable.

    Parameters
    ----------
    rows : Tensor, shape (n, ...)
        Rows of this process; n is the same on every process.

    Returns
    -------
    Tensor, shape (W n, ...)
        All rows, the same on every process. Without a process group, the argument itself.

    Examples
    --------
    >>> gather(torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """
    return rows if world_size() == 1 else _Gather.apply(rows)


def global_mean(value: torch.Tensor) -> torch.Tensor:
    """Mean over processes, differentiable.

    Parameters
    ----------
    value : Tensor
        Value of this process; the shape is the same on every process.

    Returns
    -------
    Tensor
        Mean, the same on every process.

    Examples
    --------
    >>> global_mean(torch.tensor(2.0))
    tensor(2.)
    """
    return value if world_size() == 1 else _Sum.apply(value) / world_size()


def largest(value: float) -> float:
    """Largest value over processes; waits for all of them.

    Parameters
    ----------
    value : float
        Value of this process.

    Returns
    -------
    float
        Largest value, the same on every process.

    Examples
    --------
    >>> largest(-2.0)
    -2.0
    """
    if world_size() == 1:
        return value
    maximum = torch.tensor(value, dtype=torch.float64)
    if dist.get_backend() == "nccl":
        maximum = maximum.to("cuda")
    dist.all_reduce(maximum, op=dist.ReduceOp.MAX)
    return float(maximum)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        gradient = _summed(gradient)
        return gradient[rows_of_rank(len(gradient))]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return _summed(value)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _summed(gradient)


def _summed(value: torch.Tensor) -> torch.Tensor:
    # A copy: autograd may hand the same gradient to other branches of the graph.
    value = value.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(value)
    return value


class GlobalBatchNorm(nn.Module):
    """Batch normalisation with the statistics of the global batch, on any backend.

    torch's SyncBatchNorm needs a GPU; this layer needs all-reduce only. It shares parameters,
    running statistics and their names with the layer that it replaces.

    Parameters
    ----------
    layer : nn.BatchNorm1d or nn.BatchNorm2d
        The layer to replace.

    Raises
    ------
    ValueError
        If the layer has no affine parameters, no running statistics or no momentum.

    Examples
    --------
    >>> layer = nn.BatchNorm1d(2)
    >>> x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    >>> torch.allclose(GlobalBatchNorm(layer)(x), layer(x), atol=1e-6)
    True
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor

    def __init__(self, layer: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__()
        if layer.weight is None or layer.running_mean is None or layer.momentum is None:
            raise ValueError(
                f"the layer is {layer}; expected one with affine, track_running_stats and momentum"
            )
        self.eps, self.momentum, self.training = layer.eps, layer.momentum, layer.training
        self.weight, self.bias = layer.weight, layer.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(layer, name))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (n, c) or (n, c, h, w)
        """Normalise by the global batch when training, by running statistics otherwise."""
        if not self.training:
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        dtype = x.dtype
        x = x.to(
            torch.promote_types(dtype, self.running_mean.dtype)
        )  # statistics of half precision
        places = [axis for axis in range(x.ndim) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
        # Two passes: a mean of squares less a squared mean would cancel.
        mean = global_mean(x.mean(dim=places))
        centred = x - mean.view(shape)
        variance = global_mean(centred.square().mean(dim=places))
        if self.momentum:
            self._remember(mean, variance, x.numel() // x.shape[1] * world_size())
        scaled = centred * torch.rsqrt(variance + self.eps).view(shape)
        return (scaled * self.weight.view(shape) + self.bias.view(shape)).to(dtype)

    @torch.no_grad()
    def _remember(self, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)
        self.num_batches_tracked.add_(1)


def synchronise_batch_norm(module: nn.Module, device: torch.device) -> nn.Module:
    """Make every BatchNorm of a module use the statistics of the global batch.

    Parameters
    ----------
    module : nn.Module
        Module, changed in place if possible.
    device : torch.device
        Device; it decides between torch's SyncBatchNorm and :class:`GlobalBatchNorm`.

    Returns
    -------
    nn.Module
        The same module, or its replacement if it is itself a BatchNorm. With one process the
        module does not change.

    Examples
    --------
    >>> layer = nn.BatchNorm1d(2)
    >>> synchronise_batch_norm(layer, torch.device("cpu")) is layer
    True
    """
    if world_size() == 1:
        return module
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        return GlobalBatchNorm(module)
    for name, child in module.named_children():
        setattr(module, name, synchronise_batch_norm(child, device))
    return module
