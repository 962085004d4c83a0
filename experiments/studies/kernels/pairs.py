"""Held-out pairs, and a network's kernel and embeddings of them."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from experiments.options import NtkOptions
from sslsim.core.seeds import derived_generator
from sslsim.data.datasets import Images
from sslsim.data.pixels import PixelStatistics, pixel_statistics
from sslsim.data.single_view import VIEWS
from sslsim.encoders.output import as_parameters, network_output
from sslsim.measures.snapshots import draw_held_out_pairs
from sslsim.ntk import pair_ntk
from sslsim.runs.options import TrainOptions
from sslsim.runs.setup import chosen_device, split_data

Array = NDArray[np.float64]
_OUTPUTS = 10  # purpose of the draws of combined outputs


@dataclass(frozen=True, eq=False)
class Pairs:
    """Held-out positive pairs.

    Attributes
    ----------
    x, x_prime : Tensor, shape (n, c, h, w)
        Views with pixels in [0, 1] (of noise around it).
    pixels : PixelStatistics
        Of the training images.
    data : Images
        The training images.
    kind : str
        Kind of the views.
    """

    x: torch.Tensor
    x_prime: torch.Tensor
    pixels: PixelStatistics
    data: Images
    kind: str

    def fed(self, standardise: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Both views as a network is fed with them."""
        if not standardise:
            return self.x, self.x_prime
        return self.pixels.standardise(self.x), self.pixels.standardise(self.x_prime)


def held_out_pairs(trained: TrainOptions, kind: str, options: NtkOptions) -> Pairs:
    """Draw the pairs that kernels are taken on.

    >>> pairs = held_out_pairs(TrainOptions(limit=100), "mask", NtkOptions(samples=20))
    >>> pairs.x.shape, pairs.kind
    (torch.Size([20, 1, 8, 8]), 'simclr')
    """
    if options.root is not None:
        trained = replace(trained, root=options.root)
    data, held_out = split_data(trained)
    count = len(held_out.images)
    if count < options.samples:
        warnings.warn(
            f"samples is {options.samples} and {trained.data} has {count} held-out images: "
            f"{count} pairs are used, one an image",
            stacklevel=2,
        )
    kind = options.views or (kind if kind in VIEWS and kind != "mask" else "simclr")
    probe = draw_held_out_pairs(held_out.images, kind, options.samples, trained.seed)
    return Pairs(probe.x, probe.x_prime, pixel_statistics(data.images), data, kind)


@torch.no_grad()
def embedded(network: nn.Module, x: torch.Tensor, x_prime: torch.Tensor) -> Array:
    """Embeddings of both views, stacked."""
    stacked = torch.cat([x, x_prime])
    z = network_output(network, stacked)
    if not bool(z.isfinite().all()):
        raise ValueError("embeddings of the pairs are not finite; expected finite numbers")
    found: Array = z.double().cpu().numpy()
    return found


def tangent_kernel(
    network: nn.Module, x: torch.Tensor, x_prime: torch.Tensor, options: NtkOptions
) -> Array:
    """Kernel of the pairs: the trace over outputs, divided by their number."""
    output: Any = "trace"
    with torch.no_grad():
        dim = network(x[:2]).shape[1]
    if options.outputs is not None and options.outputs < dim:
        generator = derived_generator(0, _OUTPUTS, dim)
        signs = torch.randint(2, (dim, options.outputs), generator=generator) * 2 - 1
        output = signs.to(x.dtype) / dim**0.5
    found: Array = pair_ntk(
        network,
        x,
        x_prime,
        output=output,
        memory_budget=options.memory * 2**20,
        progress=sys.stderr.isatty(),
    ).numpy()
    return found


def kernel_and_embeddings(
    network: nn.Module, pairs: Pairs, options: NtkOptions, standardise: bool
) -> tuple[Array, Array]:
    """Kernel and embeddings of the pairs, as the network is fed with them.

    >>> from torch.nn import Flatten, Linear, Sequential
    >>> pairs = held_out_pairs(TrainOptions(limit=100), "simclr", NtkOptions(samples=5))
    >>> network = Sequential(Flatten(), Linear(64, 3))
    >>> kernel, z = kernel_and_embeddings(network, pairs, NtkOptions(), standardise=True)
    >>> kernel.shape, z.shape
    ((10, 10), (10, 3))
    """
    device = chosen_device(options.device)
    x, x_prime = (view.to(device) for view in pairs.fed(standardise))
    network.to(device)
    x, x_prime = as_parameters(network, x), as_parameters(network, x_prime)
    # Convolutions in TF32, the default of GPUs, would round to three digits.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        z = embedded(network, x, x_prime)  # first: it says more plainly what does not fit
        kernel = tangent_kernel(network, x, x_prime, options)
    network.cpu()
    return kernel, z
