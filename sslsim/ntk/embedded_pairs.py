"""Tangent kernel and embeddings of the same pairs: what a kernel predicts, beside what it is of."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim.swa_utils import update_bn

from sslsim.core.seeds import derived_generator
from sslsim.encoders.output import as_parameters, network_output
from sslsim.ntk.kernel import pair_ntk

Array = NDArray[np.float64]
BATCH_NORM = ("running", "pairs")
_OUTPUTS = 10  # purpose of the draws of combined outputs


def kernel_and_embeddings(
    network: nn.Module,
    x: torch.Tensor,
    x_prime: torch.Tensor,
    *,
    outputs: int | None = None,
    batch_norm: str = "running",
    device: torch.device | None = None,
    memory_budget: int | None = None,
    progress: bool = False,
) -> tuple[Array, Array]:
    """Tangent kernel and embeddings of positive pairs.

    Parameters
    ----------
    network : nn.Module
        (n, ...) -> (n, d), in evaluation mode; on the CPU afterwards.
    x, x_prime : Tensor, shape (n, ...)
        Both views, as the network is fed with them.
    outputs : int, optional
        Estimate the kernel from so many random combinations of the outputs, where there are more.
        Default: exactly.
    batch_norm : {"running", "pairs"}
        Statistics of BatchNorm, held fixed: the running ones of evaluation mode, or those of these
        pairs, as training uses those of its batches. Running statistics of an untrained network
        are zeros and ones: in evaluation mode it is another function than the one that training
        starts from.
    device : torch.device, optional
        Where to compute. Default: on the CPU.
    memory_budget : int, optional
        Bytes of a block of the kernel, see :func:`sslsim.ntk.pair_ntk`.
    progress : bool
        Show a bar.

    Returns
    -------
    kernel : ndarray, shape (2n, 2n)
        Trace over the outputs, divided by their number.
    embeddings : ndarray, shape (2n, d)
        Rows of both views, the first ones first.

    Raises
    ------
    ValueError
        If the network gives no embedding of finite numbers, or ``batch_norm`` is unknown.

    Examples
    --------
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    >>> kernel, z = kernel_and_embeddings(network, *torch.rand(2, 5, 1, 2, 2))
    >>> kernel.shape, z.shape
    ((10, 10), (10, 3))
    """
    device = torch.device("cpu") if device is None else device
    if batch_norm not in BATCH_NORM:
        raise ValueError(f"batch_norm is {batch_norm!r}; expected one of {', '.join(BATCH_NORM)}")
    network.to(device)
    x, x_prime = (as_parameters(network, view.to(device)) for view in (x, x_prime))
    # Convolutions in TF32, the default of GPUs, would round to three digits.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        if batch_norm == "pairs":
            network = copy.deepcopy(network)
            update_bn([torch.cat([x, x_prime])], network)
        z = _embeddings(network, x, x_prime)  # first: it says more plainly what does not fit
        kernel = pair_ntk(
            network,
            x,
            x_prime,
            output=_combined_outputs(z.shape[1], outputs, x),
            memory_budget=memory_budget,
            progress=progress,
        )
    network.cpu()
    return np.asarray(kernel.numpy(), dtype=np.float64), z


@torch.no_grad()
def _embeddings(network: nn.Module, x: torch.Tensor, x_prime: torch.Tensor) -> Array:
    z = network_output(network, torch.cat([x, x_prime]))
    if not bool(z.isfinite().all()):
        raise ValueError("embeddings of the pairs are not finite; expected finite numbers")
    return np.asarray(z.double().cpu().numpy(), dtype=np.float64)


def _combined_outputs(dim: int, outputs: int | None, x: torch.Tensor) -> Any:
    """What the kernel is taken of: all outputs, or random combinations with the same mean."""
    if outputs is None or outputs >= dim:
        return "trace"
    generator = derived_generator(0, _OUTPUTS, dim)
    signs = torch.randint(2, (dim, outputs), generator=generator) * 2 - 1
    return signs.to(x.dtype) / dim**0.5
