"""An encoder in two parts, cut at a named layer: a frozen early part f_e and a late part f_l.

The parts share their modules, and so their parameters, with the encoder.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from sslsim.encoders.build import Encoder
from sslsim.encoders.vit import VisionTransformer

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@contextmanager
def elementary_normalisation(module: nn.Module) -> Iterator[None]:
    """Compute BatchNorms and LayerNorms of a module by elementary operations.

    Elementary operations have derivatives of any order; torch's fused kernels do not.

    Parameters
    ----------
    module : nn.Module
        Module that contains the layers. Values are the same up to rounding, and running statistics
        change as usual.

    Yields
    ------
    None
        Afterwards the layers are restored.

    Examples
    --------
    >>> layer, x = nn.LayerNorm(3), torch.tensor([[1.0, 2.0, 6.0]])
    >>> with elementary_normalisation(layer):
    ...     out = layer(x)
    >>> torch.allclose(out, layer(x))
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
            del layer.forward  # the method of the class is visible again


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


@dataclass(frozen=True, eq=False)
class Split:
    """An encoder in two parts, the result of :func:`split_encoder`.

    Attributes
    ----------
    layer : str
        Last layer of the early part.
    cut : nn.Module
        Module of that layer; its output is the output of the early part.
    early : nn.Module
        f_e: images -> z_e, the output of the layer, of any shape (n, ...).
    late : nn.Module
        Rest of the backbone: z_e -> representation (n, feature_dim).
    projector : nn.Module
        Projector of the encoder: representation -> embedding (n, dim). f_l is ``late``, then this.
    """

    layer: str
    cut: nn.Module
    early: nn.Module
    late: nn.Module
    projector: nn.Module


class _Tokens(nn.Module):
    """Patches of images -> tokens after the last of some blocks."""

    def __init__(self, whole: VisionTransformer, blocks: int) -> None:
        super().__init__()
        shortened = copy.copy(whole)  # shares parameters and buffers
        shortened.__dict__["_modules"] = dict(whole._modules)
        shortened._modules |= {"blocks": whole.blocks[:blocks], "norm": nn.Identity()}
        self.transformer = shortened

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.transformer.tokens(x)


class _FromTokens(nn.Module):
    """Tokens after the first blocks -> representation."""

    def __init__(self, whole: VisionTransformer, blocks: int) -> None:
        super().__init__()
        self.blocks, self.norm = whole.blocks[blocks:], whole.norm
        self.pool = whole.pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(self.norm(self.blocks(x)))


def split_encoder(encoder: Encoder, layer: str) -> Split:
    """Split an encoder after one of its layers.

    Parameters
    ----------
    encoder : Encoder
        Encoder of ``build_encoder``, or another whose backbone is an ``nn.Sequential`` or a
        ``VisionTransformer``. Left as it is.
    layer : str
        One of ``encoder.layers``.

    Returns
    -------
    Split
        The parts; ``projector(late(early(x)))`` is ``encoder(x)``, bit by bit.

    Raises
    ------
    ValueError
        If the layer is unknown (the message lists the layers) or the backbone is of another kind.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> encoder = build_encoder("convnet", (1, 8, 8), 5, seed=0)
    >>> split, x = split_encoder(encoder, "layer2"), torch.rand(3, 1, 8, 8)
    >>> split.early(x).shape
    torch.Size([3, 64, 2, 2])
    >>> torch.equal(split.projector(split.late(split.early(x))), encoder(x))
    True
    >>> split_encoder(encoder, "layer9")
    Traceback (most recent call last):
    ValueError: split layer is 'layer9'; expected one of layer1, layer2, layer3
    """
    if layer not in encoder.layers:
        known = ", ".join(encoder.layers) or "none, for the encoder names no layers"
        raise ValueError(f"split layer is {layer!r}; expected one of {known}")
    backbone = encoder.backbone
    cut = backbone.get_submodule(layer)
    if isinstance(backbone, VisionTransformer):
        count = [f"blocks.{i}" for i in range(len(backbone.blocks))].index(layer) + 1
        tokens = _Tokens(backbone, count), _FromTokens(backbone, count)
        return Split(layer, cut, *tokens, encoder.projector)
    children = list(backbone.named_children())
    names = [name for name, _ in children]
    if type(backbone) is not nn.Sequential or layer not in names:
        raise ValueError(
            f"the backbone is {type(backbone).__name__}; expected an nn.Sequential that has "
            f"{layer!r} among its children, or a VisionTransformer"
        )
    place = names.index(layer) + 1
    early, late = (
        nn.Sequential(OrderedDict(part)) for part in (children[:place], children[place:])
    )
    return Split(layer, cut, early, late, encoder.projector)


@contextmanager
def frozen_early(learner: nn.Module, split: Split) -> Iterator[None]:
    """Freeze the early part: evaluation mode and no gradients. Everything else is in training mode.

    BatchNorms of the early part use their running statistics and do not change them. BatchNorms of
    the late part use the statistics of the batch, as in training. Normalisation layers have
    derivatives of any order (:func:`elementary_normalisation`).

    Parameters
    ----------
    learner : nn.Module
        Module that contains the encoder.
    split : Split
        Split of this encoder.

    Yields
    ------
    None
        Afterwards all modes and gradient flags are restored.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> encoder = build_encoder("mlp", (1, 8, 8), 5, seed=0, widths=(4, 4))
    >>> with frozen_early(encoder, split_encoder(encoder, "layer1")):
    ...     [name for name, p in encoder.named_parameters() if p.requires_grad]
    ['backbone.layer2.0.weight', 'projector.0.weight']
    """
    modes = [(module, module.training) for module in learner.modules()]
    gradient_flags = [(p, p.requires_grad) for p in split.early.parameters()]
    try:
        learner.train()
        split.early.eval()
        for p, _ in gradient_flags:
            p.requires_grad_(False)
        with elementary_normalisation(learner):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for p, flag in gradient_flags:
            p.requires_grad_(flag)


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Put modules into evaluation mode, and restore their modes afterwards.

    Parameters
    ----------
    *modules : nn.Module
        Modules; all their submodules are included.

    Yields
    ------
    None

    Examples
    --------
    >>> layer = nn.Linear(1, 1)
    >>> with evaluating(layer):
    ...     layer.training
    False
    >>> layer.training
    True
    """
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        for module in modules:
            module.eval()
        yield
    finally:
        for part, mode in modes:
            part.training = mode
