"""Representations of images, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from sslsim.encoders.build import Encoder
from sslsim.encoders.checks import check_count


@torch.no_grad()
def features(
    encoder: Encoder,
    images: torch.Tensor,
    layers: Sequence[str] | None = None,
    *,
    batch_size: int = 256,
) -> dict[str, torch.Tensor]:
    """Outputs of layers for all images, in evaluation mode and without gradients.

    Parameters
    ----------
    encoder : Encoder
        Encoder, left as it was: hooks are removed and training flags are restored, even after an
        error.
    images : Tensor, shape (n, c, h, w)
        Images in the encoder's floating type; they are moved to its device batch by batch.
    layers : sequence of str, optional
        Submodules of the backbone, by default ``encoder.layers``; "backbone" stands for the
        representation, "projector" for the embedding.
    batch_size : int
        Number of images in a batch.

    Returns
    -------
    dict of str to Tensor, shape (n, k)
        Outputs by layer, in the order of ``layers``, on the encoder's device. Feature maps
        (n, k, h, w) are averaged over places, tokens (n, t, k) over tokens.

    Raises
    ------
    ValueError
        If there are no images or they are not floats, a layer is unknown, or the output of a layer
        does not have two to four axes.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> encoder = build_encoder("convnet", (1, 8, 8), 5, seed=0)
    >>> outputs = features(encoder, torch.rand(3, 1, 8, 8), ["layer1", "projector"])
    >>> {name: tuple(values.shape) for name, values in outputs.items()}
    {'layer1': (3, 32), 'projector': (3, 5)}
    """
    names = encoder.layers if layers is None else tuple(layers)
    if not images.is_floating_point() or images.ndim < 2 or len(images) == 0:
        raise ValueError(
            f"images have shape {tuple(images.shape)} and type {images.dtype}; expected floats of "
            "shape (n, c, h, w) with n above zero"
        )
    check_count("batch_size", batch_size)
    known: dict[str, nn.Module] = dict(encoder.backbone.named_modules())
    known |= {"backbone": encoder.backbone, "projector": encoder.projector}
    if missing := [name for name in names if name not in known]:
        raise ValueError(f"layers holds {missing}; expected some of {sorted(filter(None, known))}")
    device = next(encoder.parameters()).device
    network = encoder if "projector" in names else encoder.backbone
    outputs: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    flags = [(module, module.training) for module in encoder.modules()]
    with ExitStack() as hooks:
        for name in outputs:
            hooks.enter_context(known[name].register_forward_hook(_record(name, outputs[name])))
        try:
            encoder.eval()
            for batch in images.split(batch_size):
                network(batch.to(device))
        finally:
            for module, training in flags:
                module.training = training
    return {name: torch.cat(values) for name, values in outputs.items()}


def _record(name: str, into: list[torch.Tensor]) -> Callable[[nn.Module, Any, torch.Tensor], None]:
    def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if output.ndim == 4:
            output = output.mean(dim=(2, 3))
        elif output.ndim == 3:
            output = output.mean(dim=1)
        elif output.ndim != 2:
            raise ValueError(
                f"layer {name!r} gives shape {tuple(output.shape)}; expected two to four axes"
            )
        # A copy: an in-place ReLU may follow.
        into.append(output.clone())

    return hook
