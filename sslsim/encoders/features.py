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
        Outputs by layer, in the order of ``layers``, on the encoder's device. Feature maps are
        averaged over places and tokens over tokens, by :func:`mean_over_places`.

    Raises
    ------
    ValueError
        If there are no images or they are not floats, a layer is unknown, or the output of a layer
        does not have two to four axes, or channels that cannot be told from places.

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
            hook = _record(name, encoder.backbone, outputs[name])
            hooks.enter_context(known[name].register_forward_hook(hook))
        try:
            encoder.eval()
            for batch in images.split(batch_size):
                network(batch.to(device))
        finally:
            for module, training in flags:
                module.training = training
    return {name: torch.cat(values) for name, values in outputs.items()}


def _record(
    name: str, backbone: nn.Module, into: list[torch.Tensor]
) -> Callable[[nn.Module, Any, torch.Tensor], None]:
    def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        # A copy: an in-place ReLU may follow.
        into.append(mean_over_places(name, output, module, backbone).clone())

    return hook


def mean_over_places(
    name: str, z: torch.Tensor, layer: nn.Module, backbone: nn.Module
) -> torch.Tensor:
    """Output of a layer, averaged over places or tokens.

    Parameters
    ----------
    name : str
        Name of the layer, for messages.
    z : Tensor, shape (n, k), (n, t, k), (n, k, h, w) or (n, h, w, k)
        Its output.
    layer, backbone : nn.Module
        The layer and the network around it, whose parameters tell which axis has the channels
        (:func:`channel_axis`).

    Returns
    -------
    Tensor, shape (n, k)

    Raises
    ------
    ValueError
        If the output does not have two to four axes, or channels cannot be told from places.

    Examples
    --------
    >>> maps, layer = torch.arange(24.0).reshape(1, 2, 3, 4), nn.Conv2d(5, 2, 1)
    >>> mean_over_places("conv", maps, layer, layer)
    tensor([[ 5.5000, 17.5000]])
    """
    if not 2 <= z.ndim <= 4:
        raise ValueError(f"layer {name!r} gives shape {tuple(z.shape)}; expected two to four axes")
    if z.ndim == 2:
        return z
    axis = channel_axis(z, layer, backbone)
    if axis is None:
        raise ValueError(
            f"layer {name!r} gives shape {tuple(z.shape)}, of which the first or the last axis may "
            "have the channels; expected another layer, or images of another size"
        )
    return z.mean(dim=[place for place in range(1, z.ndim) if place != axis])


def channel_axis(z: torch.Tensor, *modules: nn.Module) -> int | None:
    """Axis of a layer's output that has the channels.

    Parameters
    ----------
    z : Tensor, shape (n, t, k), (n, k, h, w) or (n, h, w, k)
        Output of the layer.
    *modules : nn.Module
        The layer, then the network around it: the first one with parameters tells.

    Returns
    -------
    int or None
        The axis, second or last, whose length is that of a weight or bias, as the channels of
        every linear map, convolution and normalisation are. If both or none are: the last one of
        tokens (n, t, k); the second one of maps if the module has neither ``nn.Linear`` nor
        ``nn.LayerNorm``, which act on the last axis, or nothing has parameters. None if that does
        not decide, or a module without such parts seems to have its channels last.

    Examples
    --------
    >>> maps = torch.zeros(2, 8, 8, 6)
    >>> channel_axis(maps, nn.Linear(4, 6)), channel_axis(maps, nn.Conv2d(4, 8, 1))
    (3, 1)
    >>> channel_axis(torch.zeros(2, 6, 6, 6), nn.Linear(4, 6)) is None
    True
    """
    last = z.ndim - 1
    module = next((part for part in modules if next(part.parameters(), None) is not None), None)
    widths = set() if module is None else {len(p) for p in module.parameters() if p.ndim} - {1}
    fitting = [axis for axis in (1, last) if z.shape[axis] in widths]
    if z.ndim == 3:
        return 1 if fitting == [1] else last
    parts = [] if module is None else module.modules()
    if any(isinstance(part, (nn.Linear, nn.LayerNorm)) for part in parts):
        return fitting[0] if len(fitting) == 1 else None
    return None if fitting == [last] else 1
