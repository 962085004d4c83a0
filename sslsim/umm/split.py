"""An encoder in two parts, cut at a named layer: a frozen early part f_e and a late part f_l.

The parts share their modules, and so their parameters, with the encoder.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

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
        Encoder of any network. Left as it is. A backbone other than an ``nn.Sequential`` or a
        ``VisionTransformer`` is tried on images of ``encoder.shape``, to see what acts before the
        layer; without a shape, it is what is registered before the layer's end.
    layer : str
        One of ``encoder.layers``.

    Returns
    -------
    Split
        The parts; ``projector(late(early(x)))`` is ``encoder(x)``, bit by bit (of a backbone of
        another kind in evaluation mode).

    Raises
    ------
    ValueError
        If the layer is unknown (the message lists the layers), or a parameter acts both before and
        behind it, so that not all of the network goes through the layer.

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
        return _split_any(encoder, layer)
    place = names.index(layer) + 1
    early, late = (
        nn.Sequential(OrderedDict(part)) for part in (children[:place], children[place:])
    )
    return Split(layer, cut, early, late, encoder.projector)


class _Until(nn.Module):
    """Images -> output of a layer, of a backbone that is left there."""

    def __init__(self, backbone: nn.Module, cut: nn.Module, parts: _Parts) -> None:
        super().__init__()
        self.parts, self.own = nn.ModuleList(parts.modules), nn.ParameterList(parts.parameters)
        self.__dict__["kept"] = backbone, cut  # not its parts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        backbone, cut = self.__dict__["kept"]

        def leave(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            raise _Reached(output)

        with cut.register_forward_hook(leave):
            try:
                backbone(x)
            except _Reached as reached:
                return reached.output
        raise ValueError("the backbone does not run the layer; expected one that it runs")


class _Reached(Exception):  # it is none
    def __init__(self, output: torch.Tensor) -> None:
        super().__init__()
        self.output = output


class _Onward(nn.Module):
    """Output of a layer -> representation: the backbone runs on nothing, up to there."""

    def __init__(
        self, backbone: nn.Module, cut: nn.Module, parts: _Parts, shape: tuple[int, ...] | None
    ) -> None:
        super().__init__()
        self.parts, self.own = nn.ModuleList(parts.modules), nn.ParameterList(parts.parameters)
        self.__dict__["kept"] = backbone, cut, shape

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        backbone, cut, shape = self.__dict__["kept"]
        if shape is None or len(self.own):
            raise ValueError(
                "the late part cannot run alone; expected an encoder that knows the shape of its "
                "images, and no parameters of its own outside of layers"
            )
        with cut.register_forward_hook(lambda module, inputs, output: z):
            rest: torch.Tensor = backbone(torch.zeros(len(z), *shape, device=z.device))
        return rest


@dataclass(frozen=True, eq=False)
class _Parts:
    """Modules of one side of a cut, and parameters of modules that lie on both sides."""

    modules: list[nn.Module]
    parameters: list[nn.Parameter]


def _split_any(encoder: Encoder, layer: str) -> Split:
    """Split a backbone of any kind."""
    backbone, cut = encoder.backbone, encoder.backbone.get_submodule(layer)
    runs = _order_of_runs(backbone, cut, layer, encoder.shape)
    sides = {True: _Parts([], []), False: _Parts([], [])}  # early, late

    def sort(name: str, module: nn.Module) -> None:
        around = module is not cut and any(part is cut for part in module.modules())
        early = runs.modules.get(name)
        if not around and early is not None:
            sides[early].modules.append(module)
            return
        for child, part in module.named_children():
            sort(f"{name}.{child}".lstrip("."), part)
        for own, parameter in module.named_parameters(recurse=False):
            late = f"{name}.{own}".lstrip(".") in runs.late
            sides[not late].parameters.append(parameter)

    sort("", backbone)
    early = _Until(backbone, cut, sides[True])
    late = _Onward(backbone, cut, sides[False], encoder.shape)
    names = {id(p): name for name, p in backbone.named_parameters()}
    wrong = [names[id(p)] for p in early.parameters() if names[id(p)] in runs.late]
    wrong += [names[id(p)] for p in late.parameters() if names[id(p)] in runs.early]
    if wrong:
        raise ValueError(
            f"{wrong[0]!r} acts before and behind layer {layer!r}; expected a layer that all of "
            "the network goes through"
        )
    return Split(layer, cut, early, late, encoder.projector)


@dataclass(frozen=True)
class _Runs:
    """Whether modules are early, by name, and parameters known to act before and behind a cut."""

    modules: dict[str, bool]
    early: frozenset[str] = frozenset()
    late: frozenset[str] = frozenset()


def _order_of_runs(
    backbone: nn.Module, cut: nn.Module, layer: str, shape: tuple[int, ...] | None
) -> _Runs:
    names = [name for name, _ in backbone.named_modules()]
    if shape is None:  # in the order in which they are registered
        last = max(i for i, name in enumerate(names) if f"{name}.".startswith(f"{layer}."))
        return _Runs({name: i <= last for i, name in enumerate(names) if name})
    ran: list[str] = []
    reached: list[torch.Tensor] = []

    def note(name: str, module: nn.Module, inputs: Any, output: torch.Tensor) -> Any:
        ran.append(name)
        if module is not cut:
            return None
        reached.append(output)
        return output.detach().requires_grad_().clone()

    parameters = dict(backbone.named_parameters())
    flags = [p.requires_grad for p in parameters.values()]
    first = next(iter(parameters.values()))
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)).to(first)
    with ExitStack() as hooks, torch.enable_grad():
        hooks.enter_context(evaluating(backbone))
        for name, part in backbone.named_modules():
            hooks.enter_context(part.register_forward_hook(partial(note, name)))
        try:
            backbone.requires_grad_(True)
            output = backbone(images)
            late = _acting(output, parameters)
            early = _acting(reached[0], parameters) if reached else frozenset()
        finally:
            for parameter, flag in zip(parameters.values(), flags, strict=True):
                parameter.requires_grad_(flag)
    if ran.count(layer) != 1:
        raise ValueError(f"layer {layer!r} runs {ran.count(layer)} times; expected once")
    place = ran.index(layer)
    return _Runs({name: name in ran[: place + 1] for name in ran if name}, early, late)


def _acting(output: torch.Tensor, parameters: Mapping[str, nn.Parameter]) -> frozenset[str]:
    """Names of the parameters that an output depends on."""
    if not output.requires_grad:
        return frozenset()
    total = output.sum()
    gradients = torch.autograd.grad(total, [*parameters.values()], allow_unused=True)
    return frozenset(n for n, g in zip(parameters, gradients, strict=True) if g is not None)


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
