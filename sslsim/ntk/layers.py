r"""What one layer adds to the tangent kernel, from its inputs and output gradients.

A parameter p adds :math:`\sum_k \nabla_p (v_k \cdot f(x_i)) \cdot \nabla_p (v_k \cdot f(x_j))` to
the kernel (arXiv 1806.07572, section 4). For a layer with input a and output gradient g at T places
(pixels, tokens), the gradient of its weight is the sum over places of the outer products
:math:`g_t a_t^T`, so that its part is either of

    contraction of per-sample gradients      T o i  a sample and  o i  a pair,
    sum over places of (g g^T) * (a a^T)     T^2 (o + i / passes)  a pair,

o outputs and i inputs (a patch's entries in a convolution). The cheaper is taken; the second wins
where places are few, at T = 1 always, and its (a a^T) serves all output gradients of one forward
pass. Per-sample gradients are formed for some input channels at a time and dropped. Gradients are
of the module's type, everything summed over pairs of them is float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
# Exact types: a subclass may compute something else with the same parameters.
HANDLED = (nn.Linear, nn.Conv2d, *BATCH_NORMS, nn.LayerNorm, nn.GroupNorm)
# The parameters that their calls use. Others (added by pruning, for example) are not counted.
OWN = ("weight", "bias")

Split = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer: the part of the forward pass that its kernel needs.

    Attributes
    ----------
    layer : nn.Module
        Layer of a type in ``HANDLED``.
    x : Tensor, shape (rows, ...)
        Input of the layer, detached but not copied.
    version : int
        Version counter of the input at the call: a later change in place raises an error.
    input_products : dict
        The (a a^T) of the second form by name of the parameter, for all passes.
    """

    layer: nn.Module
    x: torch.Tensor
    version: int
    input_products: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class WeightShape:
    """Sizes that determine the cost of a weight's part of the kernel.

    Attributes
    ----------
    places, outputs, inputs, groups : int
        T, o and i of the module's docstring (o and i in each group), and the number of groups.
    patch : int
        Entries of a patch that come from one input channel; 1 for a linear map.
    """

    places: int
    outputs: int
    inputs: int
    groups: int = 1
    patch: int = 1


def weight_shape(layer: nn.Module, output: torch.Size) -> WeightShape | None:
    """Sizes of the weight of a linear map or a convolution.

    Parameters
    ----------
    layer : nn.Module
        Layer of a type in ``HANDLED``.
    output : torch.Size
        Shape of the layer's output.

    Returns
    -------
    WeightShape or None
        None for normalisation layers, whose parts cost almost nothing.

    Examples
    --------
    >>> weight_shape(nn.Linear(3, 2), torch.Size([5, 7, 2]))
    WeightShape(places=7, outputs=2, inputs=3, groups=1, patch=1)
    """
    if isinstance(layer, nn.Linear):
        return WeightShape(output[1:-1].numel(), layer.out_features, layer.in_features)
    if isinstance(layer, nn.Conv2d):
        patch = layer.kernel_size[0] * layer.kernel_size[1]
        inputs = layer.in_channels // layer.groups * patch
        outputs = layer.out_channels // layer.groups
        return WeightShape(output[2:].numel(), outputs, inputs, layer.groups, patch)
    return None


def by_places(shape: WeightShape, rows: tuple[int, int], passes: int) -> bool:
    """Whether the sum over places is cheaper than per-sample gradients.

    Parameters
    ----------
    shape : WeightShape
        Sizes of the layer's weight.
    rows : (int, int)
        Rows and columns of the kernel block.
    passes : int
        Output gradients that share a forward pass.

    Returns
    -------
    bool
        True if the sum over places is cheaper.

    Examples
    --------
    >>> by_places(WeightShape(1, 10, 20), (8, 8), 1), by_places(WeightShape(99, 10, 20), (8, 8), 1)
    (True, False)
    """
    t, o, i = shape.places, shape.outputs, shape.inputs
    pairs = rows[0] * rows[1]
    places = 2 * pairs * t * t * (o + i / passes)  # float64 counts twice
    gradients = sum(rows) * t * o * i + 2 * pairs * o * i
    return shape.groups == 1 and (t == 1 or places < gradients)


def products(
    call: Call, g: torch.Tensor, own: Sequence[str], split: Split, passes: int, work: int
) -> Iterator[tuple[str, torch.Tensor]]:
    """Parts of the kernel of a layer's parameters, for one output gradient.

    Parameters
    ----------
    call : Call
        The layer and its input.
    g : Tensor, shape (rows, ...)
        Gradient with respect to its output.
    own : sequence of str
        Which of "weight" and "bias".
    split : (slice, slice)
        Rows of the batch that are rows and columns of the kernel block.
    passes : int
        Output gradients that share the forward pass.
    work : int
        Bytes for the per-sample gradients and patches in memory at the same time. A single input
        channel may exceed it.

    Yields
    ------
    str
        Name of the parameter.
    Tensor of float64, shape (n1, n2)
        A summand of its part; a name may come several times.

    Examples
    --------
    >>> layer, x = nn.Linear(2, 3, bias=False), torch.tensor([[1.0, 2.0], [0.0, 4.0]])
    >>> call, both = Call(layer, x, 0), (slice(0, 2), slice(0, 2))
    >>> [(name, k.tolist()) for name, k in products(call, torch.ones(2, 3), ["weight"], both, 1, 0)]
    [('weight', [[15.0, 24.0], [24.0, 48.0]])]
    """
    shape = weight_shape(call.layer, g.shape)
    rows = (len(g[split[0]]), len(g[split[1]]))
    if "weight" in own and shape is not None and by_places(shape, rows, passes):
        yield "weight", _over_places(call, g, split)
        own = tuple(name for name in own if name != "weight")
    for name, gradient in gradients(call, g, own, work):
        yield name, product(gradient, split)


def gradients(
    call: Call, g: torch.Tensor, own: Sequence[str], work: int
) -> Iterator[tuple[str, torch.Tensor]]:
    """Per-sample gradients of a layer's parameters, some entries at a time.

    Parameters
    ----------
    call : Call
        The layer and its input.
    g : Tensor, shape (rows, ...)
        Gradient with respect to its output.
    own : sequence of str
        Which of "weight" and "bias".
    work : int
        Bytes in memory at the same time, 0 for no limit. A single input channel may exceed it.

    Yields
    ------
    str
        Name of the parameter.
    Tensor, shape (rows, p)
        Some entries of its gradient; each entry occurs once. Their order depends only on the layer
        and on ``work``.

    Examples
    --------
    >>> call = Call(nn.LayerNorm(2), torch.tensor([[1.0, 3.0]]), 0)
    >>> parts = gradients(call, torch.tensor([[5.0, 7.0]]), ("weight", "bias"), 0)
    >>> {name: gradient.round().tolist() for name, gradient in parts}
    {'weight': [[-5.0, 7.0]], 'bias': [[5.0, 7.0]]}
    """
    layer, x = call.layer, call.x
    n = len(g)
    if isinstance(layer, nn.Linear):
        g = g.reshape(n, -1, layer.out_features)
        if "weight" in own:
            a = x.reshape(n, -1, layer.in_features)
            entries = n * (g.shape[1] + 3 * g.shape[2]) * g.element_size()
            for channels in _chunks(layer.in_features, work // entries if work else None):
                yield "weight", (g.transpose(1, 2) @ a[:, :, channels]).flatten(1)
        if "bias" in own:
            yield "bias", g.sum(1)
    elif isinstance(layer, nn.Conv2d):
        g = g.flatten(2)
        if "weight" in own:
            for gradient in _convolution_weight(layer, x, g, work):
                yield "weight", gradient
        if "bias" in own:
            yield "bias", g.sum(2)
    elif isinstance(layer, nn.LayerNorm):
        places = tuple(range(1, g.ndim - len(layer.normalized_shape)))
        if "weight" in own:
            normed = functional.layer_norm(x, layer.normalized_shape, eps=layer.eps)
            yield "weight", _summed(g * normed, places).flatten(1)
        if "bias" in own:
            yield "bias", _summed(g, places).flatten(1)
    else:
        places = tuple(range(2, g.ndim))
        if "weight" in own:
            yield "weight", _summed(g * _normed(layer, x), places)
        if "bias" in own:
            yield "bias", _summed(g, places)


def product(gradient: torch.Tensor, split: Split) -> torch.Tensor:
    """Inner products of per-sample gradients in float64.

    Parameters
    ----------
    gradient : Tensor, shape (rows, p)
        One row per sample.
    split : (slice, slice)
        Samples that are rows, and samples that are columns of the result.

    Returns
    -------
    Tensor of float64, shape (n1, n2)

    Examples
    --------
    >>> product(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), (slice(0, 1), slice(1, 2)))
    tensor([[11.]], dtype=torch.float64)
    """
    wide = gradient.double()
    return wide[split[0]] @ wide[split[1]].T


def _over_places(call: Call, g: torch.Tensor, split: Split) -> torch.Tensor:
    layer = call.layer
    if "weight" not in call.input_products:
        if isinstance(layer, nn.Conv2d):
            a = functional.unfold(
                _padded(layer, call.x), layer.kernel_size, layer.dilation, stride=layer.stride
            ).transpose(1, 2)
        else:
            a = call.x.reshape(len(g), -1, call.x.shape[-1])
        call.input_products["weight"] = _place_pairs(a, split)
    left = g.flatten(2).transpose(1, 2) if isinstance(layer, nn.Conv2d) else g
    left = left.reshape(len(g), -1, left.shape[-1])
    pairs = _place_pairs(left, split).mul_(call.input_products["weight"])
    return pairs if left.shape[1] == 1 else _sum_over_places(pairs, left.shape[1])


def _place_pairs(a: torch.Tensor, split: Split) -> torch.Tensor:
    wide = a.double()
    return wide[split[0]].flatten(0, 1) @ wide[split[1]].flatten(0, 1).T  # (n1 T, n2 T)


def _sum_over_places(pairs: torch.Tensor, places: int) -> torch.Tensor:
    n1, n2 = (side // places for side in pairs.shape)
    return pairs.reshape(n1, places, n2, places).sum((1, 3))


def _convolution_weight(
    layer: nn.Conv2d, x: torch.Tensor, g: torch.Tensor, work: int
) -> Iterator[torch.Tensor]:
    n, groups, patch = len(g), layer.groups, layer.kernel_size[0] * layer.kernel_size[1]
    places, outputs = g.shape[2], g.shape[1] // groups
    a = x.unflatten(1, (groups, -1))  # (n, groups, channels, h, w)
    g = g.unflatten(1, (groups, -1))  # (n, groups, o, T)
    # Of one input channel: patches, gradients in two types, the image padded.
    entries = n * (patch * (places + 3 * outputs) + 2 * x[0, 0].numel()) * g.element_size()
    channels = a.shape[2]
    limit = work // entries if work else None
    # Whole groups where they are many and small (depthwise), else channels of one group.
    for some in _chunks(groups, None if limit is None else limit // channels):
        for part in _chunks(channels, limit):
            left = g[:, some]
            images = _padded(layer, a[:, some, part].flatten(1, 2))
            patches = functional.unfold(
                images, layer.kernel_size, layer.dilation, stride=layer.stride
            ).reshape(n, left.shape[1], -1, places)
            yield (left @ patches.transpose(2, 3)).flatten(1)


def _padded(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return functional.pad(x, layer._reversed_padding_repeated_twice, mode=mode)


def _normed(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    if isinstance(layer, nn.GroupNorm):
        return functional.group_norm(x, layer.num_groups, eps=layer.eps)
    return functional.batch_norm(x, layer.running_mean, layer.running_var, eps=layer.eps)  # type: ignore[arg-type]


def _summed(values: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    return values.sum(axes) if axes else values


def _chunks(total: int, limit: int | None) -> Iterator[slice]:
    step = total if limit is None else max(1, min(total, limit))
    return (slice(start, min(start + step, total)) for start in range(0, total, step))
