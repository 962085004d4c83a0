"""torchvision's ResNets with a stem for small images and no classifier."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from sslsim.encoders.checks import check_count
from sslsim.encoders.small import mean_over_places
from sslsim.vision import torchvision

FEATURE_DIMS = {18: 512, 34: 512, 50: 2048}
STEMS = ("small", "imagenet")


def resnet(depth: int, channels: int = 3, stem: str = "imagenet") -> nn.Sequential:
    """ResNet of 18, 34 or 50 layers (arXiv 1512.03385, table 1) up to the mean over places.

    Parameters
    ----------
    depth : {18, 34, 50}
        Layers.
    channels : int
        Of the images.
    stem : {"small", "imagenet"}
        "imagenet": 7 x 7 convolution of stride 2 and max-pooling, which make 224 px into 56.
        "small": 3 x 3 convolution of stride 1 and padding 1, no pooling: 32 px stay 32
        (arXiv 2002.05709, appendix B.9).

    Returns
    -------
    nn.Sequential
        (n, channels, h, w) -> (n, 512), or (n, 2048) for depth 50; children ``stem``, ``layer1``
        to ``layer4``, ``pool``. Drawn from torch's global generator (see ``seeding.seeded``).

    Raises
    ------
    ValueError
        If depth or stem is unknown or there are no channels.

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
    check_count("channels", channels)
    whole = getattr(torchvision.models, f"resnet{depth}")(weights=None)
    first = (7, 2, 3) if stem == "imagenet" else (3, 1, 1)
    convolution = nn.Conv2d(channels, 64, *first, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    layers = OrderedDict[str, nn.Module](stem=nn.Sequential(convolution, whole.bn1, whole.relu))
    if stem == "imagenet":
        layers["stem"].append(whole.maxpool)  # type: ignore[operator]
    for name in ("layer1", "layer2", "layer3", "layer4"):
        layers[name] = getattr(whole, name)
    layers["pool"] = mean_over_places()
    return nn.Sequential(layers)
