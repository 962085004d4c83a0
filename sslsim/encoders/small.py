r"""Small encoders without biases or BatchNorm, whose scale at initialisation is known exactly.

Weights are drawn from a standard normal distribution and multiplied by sigma / sqrt(fan_in), with
sigma^2 = 2 if a ReLU follows and 1 otherwise. "standard" stores the product (Kaiming's
initialisation, arXiv 1502.01852, eq. 10); "ntk" stores the draws and multiplies in the forward pass
(arXiv 1806.07572, section 3). Both are the same function for the same draws. Consider an MLP of L
layers, the last one linear, and an input x with m entries. Over the draws, every output f has, at
any widths,

    E f(x)^2 = |x|^2 / m,      E Theta(x, x) = L |x|^2 / m    ("ntk"),

where Theta is the tangent kernel. In "ntk" each layer contributes one L-th of it; in "standard" the
kernel grows with the widths. Without biases the functions are homogeneous, of degree 1 in the input
and of degree L in all weights together.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from sslsim.encoders.checks import check_count, check_counts

PARAMETERIZATIONS = ("standard", "ntk")


class Scale(nn.Module):
    """Multiplication by a fixed number.

    Parameters
    ----------
    factor : float
        Factor on the input.

    Examples
    --------
    >>> Scale(0.5)(torch.tensor([4.0]))
    tensor([2.])
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply the input by the factor."""
        return self.factor * x

    def extra_repr(self) -> str:
        """Factor in the printed form of the module."""
        return f"factor={self.factor:.6g}"


def linear_map(inputs: int, outputs: int, parameterization: str = "standard") -> nn.Sequential:
    """Linear map without bias that preserves the mean square of the entries.

    Parameters
    ----------
    inputs, outputs : int
        Dimensions of input and output.
    parameterization : {"standard", "ntk"}
        Whether the factor 1 / sqrt(inputs) is applied at initialisation or in the forward pass.

    Returns
    -------
    nn.Sequential
        (n, inputs) -> (n, outputs); its last module is the ``nn.Linear``. It is drawn from torch's
        global generator (see :func:`sslsim.core.seeds.seeded`).

    Raises
    ------
    ValueError
        If a dimension is not above zero or the parameterisation unknown.

    Examples
    --------
    >>> linear_map(4, 2, "ntk")
    Sequential(
      (0): Scale(factor=0.5)
      (1): Linear(in_features=4, out_features=2, bias=False)
    )
    """
    check_count("inputs", inputs)
    check_count("outputs", outputs)
    return nn.Sequential(*_drawn(nn.Linear(inputs, outputs, bias=False), 1.0, parameterization))


def linear(
    shape: Sequence[int], widths: Sequence[int], parameterization: str = "standard"
) -> nn.Sequential:
    """Linear map of the flattened image; with more than one width a deep linear network.

    Parameters
    ----------
    shape : (int, int, int)
        Channels, height and width of the images.
    widths : sequence of int
        Output dimensions of the layers.
    parameterization : {"standard", "ntk"}
        Parameterisation, see the module.

    Returns
    -------
    nn.Sequential
        (n, c, h, w) or (n, c h w) -> (n, widths[-1]), children ``flatten``, ``layer1``, ...

    Raises
    ------
    ValueError
        If a size is not above zero or the parameterisation unknown.

    Examples
    --------
    >>> linear((1, 8, 8), (10,))(torch.rand(3, 1, 8, 8)).shape
    torch.Size([3, 10])
    """
    sizes = (math.prod(check_counts("shape", shape, 3)), *check_counts("widths", widths))
    layers = OrderedDict[str, nn.Module](flatten=nn.Flatten())
    for i, (a, b) in enumerate(pairwise(sizes), 1):
        layers[f"layer{i}"] = linear_map(a, b, parameterization)
    return nn.Sequential(layers)


def mlp(
    shape: Sequence[int], widths: Sequence[int], parameterization: str = "standard"
) -> nn.Sequential:
    """Multilayer perceptron of the flattened image, with a ReLU after every layer.

    Parameters
    ----------
    shape : (int, int, int)
        Channels, height and width of the images.
    widths : sequence of int
        Widths of the layers, one or more.
    parameterization : {"standard", "ntk"}
        Parameterisation, see the module.

    Returns
    -------
    nn.Sequential
        (n, c, h, w) or (n, c h w) -> (n, widths[-1]), children ``flatten``, ``layer1``, ...

    Raises
    ------
    ValueError
        If a size is not above zero or the parameterisation unknown.

    Examples
    --------
    >>> net = mlp((1, 8, 8), (32, 16), "ntk")
    >>> net(torch.rand(3, 1, 8, 8)).shape
    torch.Size([3, 16])
    """
    sizes = (math.prod(check_counts("shape", shape, 3)), *check_counts("widths", widths))
    layers = OrderedDict[str, nn.Module](flatten=nn.Flatten())
    for i, (a, b) in enumerate(pairwise(sizes), 1):
        drawn = _drawn(nn.Linear(a, b, bias=False), math.sqrt(2), parameterization)
        layers[f"layer{i}"] = nn.Sequential(*drawn, nn.ReLU())
    return nn.Sequential(layers)


def convnet(
    channels: int, widths: Sequence[int], parameterization: str = "standard"
) -> nn.Sequential:
    """Convolutions 3 x 3 of stride 2, a ReLU after each, then the mean over places.

    Parameters
    ----------
    channels : int
        Channels of the images.
    widths : sequence of int
        Channels of the layers, one or more.
    parameterization : {"standard", "ntk"}
        Parameterisation, see the module; fan_in is 9 times the channels.

    Returns
    -------
    nn.Sequential
        (n, channels, h, w) -> (n, widths[-1]) for any h and w, children ``layer1``, ..., ``pool``.
        Each layer maps h to ceil(h / 2).

    Raises
    ------
    ValueError
        If a size is not above zero or the parameterisation unknown.

    Examples
    --------
    >>> convnet(3, (4, 8))(torch.rand(2, 3, 17, 23)).shape
    torch.Size([2, 8])
    """
    sizes = (check_count("channels", channels), *check_counts("widths", widths))
    layers = OrderedDict[str, nn.Module]()
    for i, (a, b) in enumerate(pairwise(sizes), 1):
        convolution = nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False)
        drawn = _drawn(convolution, math.sqrt(2), parameterization)
        layers[f"layer{i}"] = nn.Sequential(*drawn, nn.ReLU())
    layers["pool"] = mean_over_places()
    return nn.Sequential(layers)


def mean_over_places() -> nn.Sequential:
    """Global average pooling, (n, c, h, w) -> (n, c).

    Returns
    -------
    nn.Sequential
        The module.

    Examples
    --------
    >>> mean_over_places()(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]))
    tensor([[3.]])
    """
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _drawn(layer: nn.Linear | nn.Conv2d, sigma: float, parameterization: str) -> list[nn.Module]:
    if parameterization not in PARAMETERIZATIONS:
        raise ValueError(
            f"parameterization is {parameterization!r}; expected one of {PARAMETERIZATIONS}"
        )
    factor = sigma / math.sqrt(layer.weight[0].numel())
    nn.init.normal_(layer.weight)
    if parameterization == "ntk":
        # The input is multiplied, not the weight, so that the layer is a plain one: its gradient
        # is the product of its input and its output gradient.
        return [Scale(factor), layer]
    with torch.no_grad():
        layer.weight.mul_(factor)
    return [layer]
