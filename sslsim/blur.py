"""Gaussian blur of a batch of images, every image with a width of its own."""

from __future__ import annotations

import torch


def blur_edge(height: int, width: int) -> int:
    """Edge of the blurring kernel: the odd number at a tenth of the shorter side (2002.05709).

    Parameters
    ----------
    height, width : int
        Size of the images.

    Returns
    -------
    int
        Odd, at least 1.

    Examples
    --------
    >>> blur_edge(32, 32), blur_edge(96, 120), blur_edge(224, 224)
    (3, 9, 23)
    """
    return min(height, width) // 10 | 1


def gaussian_blur(images: torch.Tensor, sigma: torch.Tensor, edge: int) -> torch.Tensor:
    """Blur every image by a Gaussian kernel of its own width.

    Parameters
    ----------
    images : Tensor, shape (n, c, h, w)
        Floats.
    sigma : Tensor, shape (n,)
        Standard deviations in pixels; 0 leaves an image as it is.
    edge : int
        Edge of the kernel in pixels, odd; the kernel is cut off there and sums to 1.

    Returns
    -------
    Tensor, shape (n, c, h, w)
        Borders are reflected about the outermost pixels, as in torchvision.

    Raises
    ------
    ValueError
        If the edge is even, below 1, or reaches across an image.

    Examples
    --------
    >>> dot = torch.tensor([[[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]])
    >>> blurred = gaussian_blur(dot, torch.tensor([1.0]), 3)
    >>> round(blurred[0, 0, 1, 1].item(), 4)
    0.2042
    """
    reach = edge // 2
    if edge < 1 or edge % 2 == 0 or reach >= min(images.shape[2:]):
        raise ValueError(
            f"edge is {edge} for images of {images.shape[2]} x {images.shape[3]}; "
            "expected an odd number whose half is shorter than the image"
        )
    chosen = sigma.nonzero()[:, 0]
    if len(chosen) == 0 or reach == 0:
        return images.clone()
    width = sigma[chosen].to(images.dtype)[:, None]
    away = torch.arange(reach + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (away / width) ** 2)  # (k, reach + 1): the half from the centre on
    kernel = kernel / (2 * kernel.sum(dim=1, keepdim=True) - 1)
    if len(chosen) == len(images):
        return _along(_along(images, kernel, 2), kernel, 3)
    blurred = images.clone()
    blurred[chosen] = _along(_along(images[chosen], kernel, 2), kernel, 3)
    return blurred


def _along(images: torch.Tensor, kernel: torch.Tensor, dim: int) -> torch.Tensor:
    """Sum of shifted images: as fast as a depthwise convolution, the same bits in every batch."""
    reach, length = kernel.shape[1] - 1, images.shape[dim]
    margin = (0, 0, reach, reach) if dim == 2 else (reach, reach, 0, 0)
    padded = torch.nn.functional.pad(images, margin, mode="reflect")
    weights = kernel.T[:, :, None, None, None]  # (reach + 1, n, 1, 1, 1)
    total = images * weights[0]
    for i in range(1, reach + 1):
        before = padded.narrow(dim, reach - i, length)
        total.addcmul_(before + padded.narrow(dim, reach + i, length), weights[i])
    return total
