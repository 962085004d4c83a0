"""An encoder cut in two at a named layer: an early part f_e, held still, and a late part f_l.

The parts share their modules with the encoder: what happens to its parameters happens to theirs.
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


@dataclass(frozen=True, eq=False)
class Split:
    """An encoder in two parts. Made by :func:`split_encoder`.

    Attributes
    ----------
    layer : str
        Last layer of the early part.
    cut : nn.Module
        That layer: its output is that of the early part.
    early : nn.Module
        f_e: images -> z_e, the output of the layer, of any shape (n, ...).
    late : nn.Module
        Rest of the backbone: z_e -> representation (n, feature_dim).
    projector : nn.Module
        The encoder's own: representation -> embedding (n, dim). f_l is it after ``late``.
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
        Of any name of ``build_encoder``, or another whose backbone is an ``nn.Sequential`` or a
        ``VisionTransformer``. Left as it is.
    layer : str
        One of ``encoder.layers``.

    Returns
    -------
    Split
        ``projector(late(early(x)))`` has the bits of ``encoder(x)``.

    Raises
    ------
    ValueError
        If the layer is unknown (the message lists those there are) or the backbone of another
        kind.

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
    """Hold the early part still: evaluation mode, no gradients; all else in training mode.

    BatchNorms of the early part use their running statistics and leave them; those of the late
    part use the statistics of the batch, as they did when the learner was trained. Normalisations
    have derivatives of any order (:mod:`sslsim.umm.split`).

    Parameters
    ----------
    learner : nn.Module
        The module that owns the encoder.
    split : Split
        Of this encoder.

    Yields
    ------
    None
        Afterwards every flag, of gradients and of modes, is as it was.

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> encoder = build_encoder("mlp", (1, 8, 8), 5, seed=0, widths=(4, 4))
    >>> with frozen_early(encoder, split_encoder(encoder, "layer1")):
    ...     [name for name, p in encoder.named_parameters() if p.requires_grad]
    ['backbone.layer2.0.weight', 'projector.0.weight']
    """
    modes = [(module, module.training) for module in learner.modules()]
    asking = [(p, p.requires_grad) for p in split.early.parameters()]
    try:
        learner.train()
        split.early.eval()
        for p, _ in asking:
            p.requires_grad_(False)
        with elementary_normalisation(learner):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for p, asks in asking:
            p.requires_grad_(asks)


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode of modules, put back afterwards.

    Parameters
    ----------
    *modules : nn.Module
        With all their submodules.

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
    modes = [(one, one.training) for module in modules for one in module.modules()]
    try:
        for module in modules:
            module.eval()
        yield
    finally:
        for one, mode in modes:
            one.training = mode
