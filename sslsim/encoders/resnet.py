"""torchvision's ResNets with a stem for small images and no classifier."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from sslsim.core.torchvision import torchvision
from sslsim.encoders.checks import check_count
from sslsim.encoders.small import mean_over_places

WIDTH = 64
FEATURE_DIMS = {18: 512, 34: 512, 50: 2048}  # at this width
STEMS = ("small", "imagenet")
NORMS = ("batch", "none")


def resnet(
    depth: int,
    channels: int = 3,
    stem: str = "imagenet",
    *,
    width: int = WIDTH,
    norm: str = "batch",
    residual_gain: float = 1.0,
) -> nn.Sequential:
    """ResNet of 18, 34 or 50 layers (arXiv 1512.03385, table 1) up to the mean over places.

    Parameters
    ----------
    depth : {18, 34, 50}
        Number of layers.
    channels : int
        Channels of the images.
    stem : {"small", "imagenet"}
        "imagenet": 7 x 7 convolution of stride 2 and max-pooling, which map 224 pixels to 56.
        "small": 3 x 3 convolution of stride 1 and padding 1 without pooling, which keeps 32 pixels
        (arXiv 2002.05709, appendix B.9).
    width : int
        Channels of the stem and the first stage; every stage has twice as many as the one before.
    norm : {"batch", "none"}
        BatchNorm or no normalisation. Without it the network is homogeneous in its weights, and its
        tangent kernel does not depend on a batch.
    residual_gain : float
        Factor on every residual branch at initialisation: the gain of its last BatchNorm, or a
        factor on its last convolution where there is no BatchNorm. At 0 every block starts as its
        shortcut (torchvision's ``zero_init_residual``).

    Returns
    -------
    nn.Sequential
        (n, channels, h, w) -> (n, 8 width), or (n, 32 width) for depth 50; children ``stem``,
        ``layer1`` to ``layer4``, ``pool``. It is drawn from torch's global generator (see
        :func:`sslsim.core.seeds.seeded`).

    Raises
    ------
    ValueError
        If depth, stem or norm is unknown, a number is not above zero, or the gain is negative or
        not finite.

    Examples
    --------
    >>> import torch
    >>> net = resnet(18, channels=1, stem="small")
    >>> net(torch.rand(2, 1, 8, 8)).shape
    torch.Size([2, 512])
    """
    if depth not in FEATURE_DIMS:
        raise ValueError(f"depth is {depth!r}; expected one of {tuple(FEATURE_DIMS)}")
    if stem not in STEMS:
        raise ValueError(f"stem is {stem!r}; expected one of {STEMS}")
    if norm not in NORMS:
        raise ValueError(f"norm is {norm!r}; expected one of {NORMS}")
    check_count("channels", channels)
    check_count("width", width)
    if not 0 <= residual_gain < math.inf:
        raise ValueError(
            f"residual_gain is {residual_gain!r}; expected a finite number, at least 0"
        )
    norm_layer: type[nn.Module] = nn.BatchNorm2d if norm == "batch" else nn.Identity
    whole = _ResNet(depth, width, norm_layer)
    first = (7, 2, 3) if stem == "imagenet" else (3, 1, 1)
    convolution = nn.Conv2d(channels, width, *first, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    layers = OrderedDict[str, nn.Module](
        stem=nn.Sequential(convolution, norm_layer(width), whole.relu)
    )
    if stem == "imagenet":
        layers["stem"].append(whole.maxpool)  # type: ignore[operator]
    for name in ("layer1", "layer2", "layer3", "layer4"):
        layers[name] = getattr(whole, name)
    layers["pool"] = mean_over_places()
    _scale_branches(whole, residual_gain)
    return nn.Sequential(layers)


@torch.no_grad()
def _scale_branches(network: nn.Module, gain: float) -> None:
    """Multiply the last layer of every residual branch that has weights."""
    blocks = torchvision.models.resnet
    for part in network.modules():
        if isinstance(part, blocks.BasicBlock | blocks.Bottleneck):
            last = 3 if isinstance(part, blocks.Bottleneck) else 2
            norm = getattr(part, f"bn{last}")
            scaled = norm if isinstance(norm, nn.BatchNorm2d) else getattr(part, f"conv{last}")
            scaled.weight.mul_(gain)


class _ResNet(torchvision.models.ResNet):
    """torchvision's ResNet with stages of any width."""

    def __init__(self, depth: int, width: int, norm_layer: Any) -> None:
        self.width = width
        blocks = torchvision.models.resnet
        block = blocks.Bottleneck if depth == 50 else blocks.BasicBlock
        counts = [2, 2, 2, 2] if depth == 18 else [3, 4, 6, 3]
        super().__init__(block, counts, norm_layer=norm_layer)

    def _make_layer(self, block: Any, planes: int, *args: Any, **options: Any) -> nn.Sequential:
        if planes == WIDTH:
            self.inplanes = self.width  # the stem's channels, before the first stage
        layer: nn.Sequential = super()._make_layer(
            block, planes * self.width // WIDTH, *args, **options
        )
        return layer
