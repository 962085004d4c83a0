"""Kernels and embeddings of held-out pairs, and what a kernel predicts of the embeddings."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from experiments.options import NtkOptions
from sslsim.data.datasets import Images
from sslsim.measures.modes.agreement import Array, embedding_agreement
from sslsim.measures.snapshots import HeldOutPairs, draw_held_out_pairs
from sslsim.ntk.embedded_pairs import kernel_and_embeddings
from sslsim.runs.options import TrainOptions
from sslsim.runs.setup import chosen_device
from sslsim.runs.trained_run import TrainedRun
from theory.kernels.modes import KernelModes, embed, kernel_modes


def held_out_pairs(
    source: TrainOptions, held_out: Images, kind: str, options: NtkOptions
) -> HeldOutPairs:
    """Draw the pairs that kernels are taken on, not standardised.

    >>> from sslsim.data.datasets import load_images
    >>> images, options = load_images(limit=30), NtkOptions(samples=20)
    >>> held_out_pairs(TrainOptions(), images, "simclr", options).x.shape
    torch.Size([20, 1, 8, 8])
    """
    _warn_of_few(len(held_out.images), source.data, options)
    return draw_held_out_pairs(held_out.images, kind, options.samples, source.seed)


def views_of_run(run: TrainedRun, options: NtkOptions) -> tuple[torch.Tensor, ...]:
    """Held-out pairs of a run, as its network is fed with them."""
    views = run.held_out_pairs(options.samples, options.views)
    _warn_of_few(run.held_out_count, run.options.data, options)
    return views


def _warn_of_few(count: int, data: str, options: NtkOptions) -> None:
    if count < options.samples:
        warnings.warn(
            f"samples is {options.samples} and {data} has {count} held-out images: "
            f"{count} pairs are used, one an image",
            stacklevel=3,
        )


def measured(
    network: nn.Module, views: Sequence[torch.Tensor], options: NtkOptions
) -> tuple[Array, Array]:
    """Kernel and embeddings of pairs of views, as the network is fed with them."""
    return kernel_and_embeddings(
        network,
        views[0],
        views[1],
        outputs=options.outputs,
        batch_norm=options.batch_norm,
        device=chosen_device(options.device),
        memory_budget=options.memory * 2**20,
        progress=sys.stderr.isatty(),
    )


def predictions(kernel: Array, z: Array) -> tuple[dict[str, Any], KernelModes, Array]:
    """What a kernel predicts of the embedding, and how far that is right.

    >>> import numpy as np
    >>> kernel = np.diag([4.0, 2.0, 4.0, 2.0])
    >>> z = np.array([[1.0], [0.0], [1.0], [0.0]])
    >>> round(predictions(kernel, z)[0]["subspace_alignment"], 9)
    1.0
    """
    modes = kernel_modes(kernel, min(z.shape[1], len(z) // 2))
    predicted = embed(modes, kernel)
    result = {
        **embedding_agreement(predicted, z),
        "eigenvalues": modes.gamma,
        "positive_modes": modes.positive_modes,
        "dropped": modes.truncation.dropped,
        "most_negative": modes.truncation.most_negative,
        "n_pairs": len(z) // 2,
    }
    return result, modes, predicted
