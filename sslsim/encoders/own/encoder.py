"""A user's own network as an encoder: its representation, its projector, its layers by name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sslsim.core.seeds import seeded
from sslsim.encoders import heads, small
from sslsim.encoders.build import Encoder
from sslsim.encoders.checks import check_counts
from sslsim.encoders.features import channel_axis
from sslsim.encoders.output import network_output

_FEWEST = 4  # layers, below which the largest one is taken apart
_ROWS = 3  # images of the trial
_NORMALISATIONS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)
_TAKEN = ("backbone", "projector")  # names of the two parts of an encoder
_SEED = 0  # of the trial's images


def own_encoder(
    network: nn.Module,
    shape: Sequence[int],
    dim: int | None = None,
    *,
    projector: str | None = None,
    projector_widths: Sequence[int] | None = None,
    seed: int = 0,
) -> Encoder:
    """Make an encoder of any network.

    Parameters
    ----------
    network : nn.Module
        Images (n, c, h, w) -> (n, k). If it is an ``Encoder``, or its output is that of its
        ``projector`` on that of its ``backbone`` (parts of these names), it has its own projector.
        Parameters that its output does not depend on are frozen.
    shape : (int, int, int)
        Channels, height and width of the images.
    dim : int, optional
        Dimension of the embedding. Default: 8, or that of a network without a projector of ours.
    projector : {"linear", "mlp", "none"}, optional
        Put on top of the network; "none" leaves it with its own one, if any. Default: "none" for
        one that has its own, else "linear".
    projector_widths : sequence of int, optional
        Hidden widths of the mlp projector, by default 2048, 2048.
    seed : int
        Seed of the projector.

    Returns
    -------
    Encoder
        Its ``layers`` are those of :func:`named_layers`.

    Raises
    ------
    ValueError
        If the network does not take images of this shape or gives no matrix, nothing in it can be
        trained, or the dimension is not that of its output.

    Examples
    --------
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4))
    >>> encoder = own_encoder(network, (1, 8, 8), 2)
    >>> encoder.layers, encoder.feature_dim, encoder.dim
    (('1', '3'), 4, 2)
    """
    shape = check_counts("shape", shape, 3)
    images = torch.rand(_ROWS, *shape, generator=torch.Generator().manual_seed(_SEED))
    if projector_widths is not None and projector != "mlp":
        raise ValueError(f"projector_widths is given with projector {projector!r}; expected 'mlp'")
    network.float().eval()
    with torch.enable_grad():
        output = network_output(network, images)
        _freeze_unused(network, output)
    output = output.detach()
    parts = _parts(network, images, output) if projector in (None, "none") else None
    if parts is not None:
        backbone, head = parts
        width = backbone(images).shape[1]
        out = output.shape[1]
    else:
        backbone, width = network, output.shape[1]
        out = width if projector == "none" else 8 if dim is None else dim
        with seeded(seed):
            head = _projector(projector or "linear", projector_widths, width, out)
    if dim not in (None, out):
        raise ValueError(f"dim is {dim} for a network of {out} outputs; expected {out}")
    layers = named_layers(backbone, images)
    return Encoder(backbone, head, width, out, layers, shape).train()


def _projector(kind: str, widths: Sequence[int] | None, width: int, dim: int) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    if kind == "linear":
        return small.linear_map(width, dim, "standard")
    hidden = (2048, 2048) if widths is None else check_counts("projector_widths", widths)
    return heads.projector((width, *hidden, dim))


def _freeze_unused(network: nn.Module, output: torch.Tensor) -> None:
    """No gradient for parameters that have none: processes would wait for it."""
    trained = [p for p in network.parameters() if p.requires_grad]
    if not trained:
        return
    if not output.requires_grad:
        raise ValueError(
            "the network's output has no gradient; expected one that is not computed under no_grad"
        )
    gradients = torch.autograd.grad(output.sum(), trained, allow_unused=True)
    for parameter, gradient in zip(trained, gradients, strict=True):
        if gradient is None:
            parameter.requires_grad_(False)


@torch.no_grad()
def _parts(
    network: nn.Module, images: torch.Tensor, output: torch.Tensor
) -> tuple[nn.Module, nn.Module] | None:
    """The network's own backbone and projector, if these are all that it does."""
    backbone, projector = (getattr(network, name, None) for name in ("backbone", "projector"))
    if not (isinstance(backbone, nn.Module) and isinstance(projector, nn.Module)):
        return None
    try:
        features = backbone(images)
        same = features.ndim == 2 and torch.equal(projector(features), output)
    except Exception:  # the parts are used in another way
        return None
    return (backbone, projector) if same else None


@torch.no_grad()
def named_layers(network: nn.Module, images: torch.Tensor) -> tuple[str, ...]:
    """Layers of any network, from early to late, to be measured and cut at.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode.
    images : Tensor, shape (n, c, h, w)
        What it is tried on.

    Returns
    -------
    tuple of str
        Submodules with parameters that run once and give a tensor (n, ...) of two to four axes
        whose channels are known (:func:`sslsim.encoders.features.channel_axis`), without
        normalisation: children of the network. While these are fewer than four, the one
        with the most modules inside is taken apart, such as the stack of blocks of a transformer.

    Examples
    --------
    >>> blocks = nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.ReLU()) for _ in range(3)])
    >>> network = nn.Sequential(nn.Flatten(), blocks, nn.Linear(64, 2))
    >>> named_layers(network, torch.rand(2, 1, 8, 8))
    ('1.0', '1.1', '1.2', '2')
    """
    calls: dict[str, list[bool]] = {}  # by name, in the order in which they first finish

    def note(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        usable = isinstance(output, torch.Tensor) and len(output) == len(images)
        calls.setdefault(name, []).append(usable and _is_measurable(output, module, network))

    with ExitStack() as hooks:
        for name, part in network.named_modules():
            hooks.enter_context(part.register_forward_hook(partial(note, name)))
        network(images)
    order = list(calls)
    chosen = _children(network, "", calls)
    while True:
        usable = [name for name in chosen if calls.get(name) == [True] and name not in _TAKEN]
        stacks = [name for name in chosen if _is_stack(network.get_submodule(name))]
        if len(usable) >= _FEWEST or not stacks:
            return tuple(sorted(usable, key=order.index))
        largest = max(stacks, key=lambda name: len(list(network.get_submodule(name).modules())))
        place = chosen.index(largest)
        chosen[place : place + 1] = _children(network.get_submodule(largest), f"{largest}.", calls)


def _is_measurable(output: torch.Tensor, layer: nn.Module, network: nn.Module) -> bool:
    if output.ndim in (3, 4):
        return channel_axis(output, layer, network) is not None
    return output.ndim == 2


def _children(module: nn.Module, prefix: str, calls: Collection[str]) -> list[str]:
    """Children with parameters, but for normalisation layers; of a list that does not run, its."""
    names: list[str] = []
    for name, child in module.named_children():
        if next(child.parameters(), None) is None or isinstance(child, _NORMALISATIONS):
            continue
        runs = prefix + name in calls
        names += [prefix + name] if runs else _children(child, f"{prefix}{name}.", calls)
    return names


def _is_stack(module: nn.Module) -> bool:
    """Whether a module holds others that have parts themselves."""
    return any(next(child.children(), None) is not None for child in module.children())
