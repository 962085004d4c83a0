"""Standardised pixels, the input of networks: the mean image is then not a mode to learn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

_CHUNK = 2**24  # pixels in one sum
_GREY = (0.299, 0.587, 0.114)  # luminance of red, green, blue (ITU-R BT.601)


@dataclass(frozen=True, eq=False)
class PixelStatistics:
    """Mean and standard deviation of the pixels of each channel, for values in [0, 1].

    Attributes
    ----------
    mean, std : Tensor of float64, shape (c,)
        Statistics over all images and places; a constant channel has a ``std`` of one.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def standardise(self, view: torch.Tensor) -> torch.Tensor:
        """Subtract the mean and divide by the standard deviation.

        Parameters
        ----------
        view : Tensor, shape (..., c, h, w)
            Pixels in [0, 1] as floats.

        Returns
        -------
        Tensor, shape (..., c, h, w)
            Standardised pixels of the same type, on the same device.
        """
        mean, std = (value.to(view)[:, None, None] for value in (self.mean, self.std))
        return (view - mean) / std


def pixel_statistics(images: torch.Tensor, places: torch.Tensor | None = None) -> PixelStatistics:
    """Statistics of a data set.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        The training images. They are read once, in parts.
    places : Tensor of int64, shape (m,), optional
        Indices of the images to use. Default: all.

    Returns
    -------
    PixelStatistics
        Statistics on the CPU. They come from integer sums, so they are the same on all devices.

    Raises
    ------
    ValueError
        If the images are not uint8 of that shape or there are none.

    Examples
    --------
    >>> images = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
    >>> pixels = pixel_statistics(images)
    >>> pixels.mean.tolist(), pixels.std.tolist()
    ([0.5], [0.5])
    >>> pixels.standardise(images / 255).flatten().tolist()
    [-1.0, 1.0]
    """
    count = len(images) if places is None else len(places)
    if images.dtype != torch.uint8 or images.ndim != 4 or images.numel() == 0 or count == 0:
        raise ValueError(
            f"images is {images.dtype} of shape {tuple(images.shape)}; "
            "expected uint8 of shape (n, c, h, w)"
        )
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)  # of every value
    length = max(1, _CHUNK // images[0].numel())
    for start in range(0, count, length):
        some = slice(start, start + length)
        chunk = images[some if places is None else places[some].to(images.device)]
        for channel in range(images.shape[1]):
            counts[channel] += chunk[:, channel].flatten().bincount(minlength=256).cpu()
    values = torch.arange(256)
    total, squares = (counts * values).sum(dim=1), (counts * values.square()).sum(dim=1)
    count *= images[0, 0].numel()
    mean = total.double() / count
    variance = (squares.double() / count - mean.square()).clamp(min=0)
    std = variance.sqrt() / 255
    return PixelStatistics(mean / 255, torch.where(std > 0, std, 1.0))


def to_shape(images: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Images brought to the shape that a network takes.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        Grey or colour images.
    shape : tuple of int
        Channels (1 or 3), height and width.

    Returns
    -------
    Tensor of uint8, shape (n, *shape)
        The same tensor if it has that shape. Colours become their luminance, grey is repeated, and
        sizes change by antialiased bilinear interpolation.

    Examples
    --------
    >>> to_shape(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), (1, 4, 4)).shape
    torch.Size([2, 1, 4, 4])
    """
    if tuple(images.shape[1:]) == tuple(shape):
        return images
    changed = images.float()
    if images.shape[1] == 3 and shape[0] == 1:
        changed = (changed * torch.tensor(_GREY).reshape(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    elif images.shape[1] != shape[0]:
        changed = changed.expand(-1, shape[0], -1, -1)
    if tuple(images.shape[2:]) != tuple(shape[1:]):
        changed = nn.functional.interpolate(changed, shape[1:], mode="bilinear", antialias=True)
    return changed.round().clamp(0, 255).to(torch.uint8)
