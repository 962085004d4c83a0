r"""The scale of an encoder at initialisation, and its effect on the embeddings.

Small initialisation makes self-supervised learning stepwise (arXiv 2303.15438, section 4): the
theory starts near the origin. Parameters that are multiplied by a factor a scale the embeddings

- by a^L in a network of L layers without biases, with ReLUs and means between them, if all layers
  are multiplied;
- by a, in any network, if only the last linear map is multiplied;
- not at all in front of a BatchNorm in training mode, which divides by the scale: of the parameters
  up to the last BatchNorm only its own gain has an effect. This is exact without its eps; with it,
  the output shrinks by a share of about (1 / a^2 - 1) eps / (2 v), v the variance before it, a = 1;
- by no power of a if parts that scale differently are added, as with biases that are not
  multiplied, biases behind more than one multiplied weight, or a transformer's residual sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sslsim.core.torchvision import torchvision
from sslsim.encoders.build import Encoder
from sslsim.encoders.small import Scale

WHICH = ("all", "weights", "last")
BATCH_NORM = ("keep", "gain")

_NORMALIZATIONS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Parameterless and homogeneous of degree 1.
_HOMOGENEOUS = (
    Scale, nn.Identity, nn.Flatten, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d
)  # fmt: skip
_RESIDUAL = (torchvision.models.resnet.BasicBlock, torchvision.models.resnet.Bottleneck)


@torch.no_grad()
def scale_initialization(
    module: nn.Module,
    factor: float,
    which: str = "all",
    batch_norm: str = "keep",
    *,
    trained_only: bool = False,
) -> int | None:
    """Multiply parameters in place, and return the power of the factor that the output follows.

    Parameters
    ----------
    module : nn.Module
        ``Encoder`` or any other network.
    factor : float
        Factor, finite and above zero.
    which : {"all", "weights", "last"}
        Parameters to multiply. "all": weights, biases and tokens. "weights": the weights of linear
        maps and convolutions. "last": weight and bias of the last ``nn.Linear``.
    batch_norm : {"keep", "gain"}
        Whether gains and biases of Batch-, Layer- and GroupNorm are left as they are or multiplied
        too; "gain" cannot be combined with "last".
    trained_only : bool
        Leave parameters without gradients as they are, such as the frozen part of a network.
        Default: they are multiplied as the others are, such as those of a teacher.

    Returns
    -------
    int or None
        Power p if the initial outputs in training mode are proportional to factor^p (up to the eps
        of BatchNorm, see the module). None if there is no such power or the architecture is
        unknown. Known are sequences of linear maps, convolutions, ReLUs, pooling and normalisation
        layers, and torchvision's residual blocks; with "last", any modules around them.

    Raises
    ------
    ValueError
        If the factor is out of range, an option is unknown, or there is no linear map for "last".

    Examples
    --------
    >>> from sslsim.encoders.build import build_encoder
    >>> encoder = build_encoder("mlp", (1, 8, 8), 10, seed=0)  # 2 layers and a linear projector
    >>> images = torch.rand(4, 1, 8, 8)
    >>> before = encoder(images)
    >>> scale_initialization(encoder, 0.5)
    3
    >>> torch.equal(encoder(images), before / 8)
    True
    """
    if not (0 < factor < math.inf):
        raise ValueError(f"factor is {factor!r}; expected a finite number above zero")
    if which not in WHICH:
        raise ValueError(f"which is {which!r}; expected one of {WHICH}")
    if batch_norm not in BATCH_NORM:
        raise ValueError(f"batch_norm is {batch_norm!r}; expected one of {BATCH_NORM}")
    if which == "last" and batch_norm == "gain":
        raise ValueError("batch_norm is 'gain' with which 'last'; expected 'keep'")
    scaled = set(_chosen(module, which, batch_norm))
    if trained_only:
        scaled = {parameter for parameter in scaled if parameter.requires_grad}
    exponent = _exponent(module, scaled, 0)
    for parameter in scaled:
        parameter.mul_(factor)
    return exponent


def _chosen(module: nn.Module, which: str, batch_norm: str) -> Iterator[torch.Tensor]:
    if which == "last":
        maps = [part for part in module.modules() if isinstance(part, nn.Linear)]
        if not maps:
            raise ValueError("module has no nn.Linear; expected one for which 'last'")
        yield from maps[-1].parameters()
        return
    for part in module.modules():
        if isinstance(part, _NORMALIZATIONS):
            if batch_norm == "gain":
                yield from part.parameters()
        elif which == "all":
            yield from part.parameters(recurse=False)
        elif isinstance(part, _WEIGHTED):
            yield part.weight


def _exponent(module: nn.Module, scaled: set[torch.Tensor], p: int | None) -> int | None:
    """Exponent of a module's output, given that of its input."""
    if p is None:
        return None
    if p == 0 and scaled.isdisjoint(module.parameters()):
        return 0
    if isinstance(module, _HOMOGENEOUS):
        return p
    if isinstance(module, _NORMALIZATIONS):
        return _affine(module.weight, module.bias, scaled, 0)
    if isinstance(module, _WEIGHTED):
        return _affine(module.weight, module.bias, scaled, p)
    if isinstance(module, _RESIDUAL):
        convolutions = 3 if hasattr(module, "conv3") else 2
        branch: int | None = p
        for i in range(1, convolutions + 1):
            branch = _exponent(getattr(module, f"conv{i}"), scaled, branch)
            branch = _exponent(getattr(module, f"bn{i}"), scaled, branch)
        shortcut = p if module.downsample is None else _exponent(module.downsample, scaled, p)
        return branch if branch == shortcut else None
    if isinstance(module, Encoder):
        return _exponent(module.projector, scaled, _exponent(module.backbone, scaled, p))
    if type(module) is nn.Sequential:  # a subclass may do something else in between
        for child in module:
            p = _exponent(child, scaled, p)
        return p
    return None


def _affine(
    weight: torch.Tensor | None, bias: torch.Tensor | None, scaled: set[torch.Tensor], p: int
) -> int | None:
    after = p + (weight in scaled)
    # Weight and bias add up to a power only if both have the same.
    agrees = bias is None or (bias in scaled) == after or not bias.any()
    return after if agrees else None
