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


def gaussian_kernels(sigma: torch.Tensor, edge: int) -> torch.Tensor:
    """Gaussian kernels along one axis, from the centre on.

    Parameters
    ----------
    sigma : Tensor, shape (n,)
        Standard deviations in pixels; 0 for no blur.
    edge : int
        Edge of the kernels in pixels, odd; they are cut off there.

    Returns
    -------
    Tensor of float64, shape (n, edge // 2 + 1)
        Weights of the centre and of the pixels 1, 2, ... away. The centre and twice the others sum
        to 1.

    Raises
    ------
    ValueError
        If the edge is even or below 1.

    Examples
    --------
    >>> gaussian_kernels(torch.tensor([0.0, 1.0]), 3).numpy().round(3).tolist()
    [[1.0, 0.0], [0.452, 0.274]]
    """
    if edge < 1 or edge % 2 == 0:
        raise ValueError(f"edge is {edge}; expected an odd number of at least 1")
    away = torch.arange(edge // 2 + 1, dtype=torch.float64, device=sigma.device)
    width = torch.where(sigma > 0, sigma, 1.0).double()[:, None]
    weights = torch.exp(-0.5 * (away / width) ** 2)
    weights = torch.where((sigma > 0)[:, None], weights, (away == 0).double())
    return weights / (2 * weights.sum(dim=1, keepdim=True) - 1)


def gaussian_blur(images: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Blur every image by a kernel of its own.

    Parameters
    ----------
    images : Tensor, shape (n, c, h, w)
        Floats.
    kernels : Tensor, shape (n, r + 1)
        As :func:`gaussian_kernels` gives them; images without weight beside the centre are left as
        they are.

    Returns
    -------
    Tensor, shape (n, c, h, w)
        Borders are reflected about the outermost pixels, as in torchvision.

    Raises
    ------
    ValueError
        If a kernel reaches across an image.

    Notes
    -----
    A sum of shifted images: as fast as a depthwise convolution. Products and sums are rounded one
    by one, so that the bits of a row do not depend on the other rows nor on the processor.

    Examples
    --------
    >>> dot = torch.tensor([[[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]])
    >>> blurred = gaussian_blur(dot, gaussian_kernels(torch.tensor([1.0]), 3))
    >>> round(blurred[0, 0, 1, 1].item(), 4)
    0.2042
    """
    reach = kernels.shape[1] - 1
    if reach >= min(images.shape[2:]):
        raise ValueError(
            f"the edge of the kernels is {2 * reach + 1} for images of {images.shape[2]} x "
            f"{images.shape[3]}; expected one whose half is shorter than the image"
        )
    chosen = kernels[:, 1:].any(dim=1).nonzero()[:, 0]
    if len(chosen) == 0:
        return images.clone()
    if len(chosen) == len(images):
        return _blurred(images, kernels.to(images.dtype))
    blurred = images.clone()
    blurred[chosen] = _blurred(images[chosen], kernels[chosen].to(images.dtype))
    return blurred


def _blurred(images: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    n, channels, height, width = images.shape
    reach = kernels.shape[1] - 1
    row = width + 2 * reach
    padded = torch.nn.functional.pad(images, (reach,) * 4, mode="reflect").flatten(2)
    weights = kernels.T[:, :, None, None]
    # Rows one behind the other: a shift by a row and one by a pixel are shifts of one long row.
    down = _shifted_sum(padded, weights, row, height * row)
    across = _shifted_sum(down, weights, 1, height * row - 2 * reach)
    each = across.shape[2]  # the ends of rows, which mix two rows, are left out
    return across.as_strided((n, channels, height, width), (channels * each, each, row, 1))


def _shifted_sum(
    values: torch.Tensor, weights: torch.Tensor, step: int, length: int
) -> torch.Tensor:
    """Weighted sum of ``values`` (n, c, l) shifted by multiples of ``step``, (n, c, length)."""
    reach = len(weights) - 1
    total = values.narrow(2, reach * step, length) * weights[0]
    pair = torch.empty_like(total)
    for i in range(1, reach + 1):
        before = values.narrow(2, (reach - i) * step, length)
        torch.add(before, values.narrow(2, (reach + i) * step, length), out=pair)
        total += pair.mul_(weights[i])
    return total
