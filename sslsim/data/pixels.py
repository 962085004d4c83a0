"""Standardised pixels, the input of networks: the mean image is then not a mode to learn."""

from __future__ import annotations

from dataclasses import dataclass

import torch

_CHUNK = 2**24  # pixels in one sum


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


def pixel_statistics(images: torch.Tensor) -> PixelStatistics:
    """Statistics of a data set.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        The training images.

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
    if images.dtype != torch.uint8 or images.ndim != 4 or images.numel() == 0:
        raise ValueError(
            f"images is {images.dtype} of shape {tuple(images.shape)}; "
            "expected uint8 of shape (n, c, h, w)"
        )
    total = torch.zeros(2, images.shape[1], dtype=torch.int64)
    for chunk in images.split(max(1, _CHUNK // images[0].numel())):
        values = chunk.to(torch.int64)
        total[0] += values.sum(dim=(0, 2, 3)).cpu()
        total[1] += values.square().sum(dim=(0, 2, 3)).cpu()
    count = images.numel() // images.shape[1]
    mean = total[0].double() / count
    variance = (total[1].double() / count - mean.square()).clamp(min=0)
    std = variance.sqrt() / 255
    return PixelStatistics(mean / 255, torch.where(std > 0, std, 1.0))
