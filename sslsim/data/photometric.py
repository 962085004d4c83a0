"""Changes of colour and blur in batches: jitter, greyscale, solarising, Gaussian blur."""

from __future__ import annotations

import math

import torch

_GREY = (0.299, 0.587, 0.114)
_THIRD = 3**-0.5
_AROUND_GREY = ((0.0, -_THIRD, _THIRD), (_THIRD, 0.0, -_THIRD), (-_THIRD, _THIRD, 0.0))


def colour_factors(
    brightness: torch.Tensor, contrast: torch.Tensor, saturation: torch.Tensor, hue: torch.Tensor
) -> torch.Tensor:
    """Factors of :func:`colour_jitter`.

    Parameters
    ----------
    brightness, contrast, saturation : Tensor, shape (n,)
        Factors, 1 for no change.
    hue : Tensor, shape (n,)
        Rotation about the grey axis in full turns, positive from red to green; 0 for no change.

    Returns
    -------
    Tensor of float64, shape (n, 5)
        The three factors, and cosine and sine of the rotation.

    Examples
    --------
    >>> same, none = torch.ones(1), torch.zeros(1)
    >>> colour_factors(same, same, same / 2, none).tolist()
    [[1.0, 1.0, 0.5, 1.0, 0.0]]
    """
    angle = 2 * math.pi * hue.double()
    factors = brightness.double(), contrast.double(), saturation.double()
    return torch.stack([*factors, torch.cos(angle), torch.sin(angle)], dim=1)


def colour_jitter(images: torch.Tensor, factors: torch.Tensor, grey: torch.Tensor) -> torch.Tensor:
    """Change the colours of every image by one matrix and one offset.

    Parameters
    ----------
    images : Tensor, shape (n, c, h, w)
        Floats in [0, 1]; with c = 1 saturation, hue and greyscale do nothing.
    factors : Tensor, shape (n, 5)
        Factors from :func:`colour_factors`.
    grey : Tensor of bool, shape (n,)
        Whether an image becomes grey.

    Returns
    -------
    Tensor, shape (n, c, h, w)
        Changed images, clamped to [0, 1].

    Notes
    -----
    Contrast blends with the mean grey of the brightened image. Saturation, hue and greyscale do not
    change grey, so they leave this offset as it is.

    Products and sums are rounded one by one, and the mean adds the halves of an image, their halves
    and so on: the bits of a row do not depend on the other rows or on the processor.

    Examples
    --------
    >>> same, none = torch.ones(1), torch.zeros(1)
    >>> factors = colour_factors(same / 2, same, same, none)
    >>> colour_jitter(torch.ones(1, 3, 1, 1), factors, none > 0).ravel().tolist()
    [0.5, 0.5, 0.5]
    """
    channels = images.shape[1]
    brightness, contrast, saturation, cosine, sine = factors.to(images.dtype).T[..., None, None]
    level = _halved_sum(images.flatten(2)) / images[0, 0].numel()  # (n, c)
    if channels == 1:
        matrix = torch.ones_like(brightness)
    else:
        eye = torch.eye(3, dtype=images.dtype, device=images.device)
        to_grey = images.new_tensor(_GREY)  # a row that gives the grey
        # Rodrigues' formula about the grey axis, on which the mean of the channels lies.
        matrix = cosine * eye + sine * images.new_tensor(_AROUND_GREY) + (1 - cosine) / 3
        matrix = saturation * matrix + (1 - saturation) * to_grey
        only = _grey_of(matrix)[:, None, :].expand_as(matrix)
        matrix = torch.where(grey[:, None, None], only, matrix)
        level = _grey_of(level)[:, None]
    matrix = (brightness * contrast) * matrix
    offset = ((1 - contrast) * brightness)[..., 0] * level  # (n, 1)
    total = images[:, :1] * matrix[:, :, 0, None, None]
    part = torch.empty_like(total)
    for i in range(1, channels):
        total += torch.mul(images[:, i : i + 1], matrix[:, :, i, None, None], out=part)
    return total.add_(offset[:, :, None, None]).clamp_(0, 1)


def _grey_of(colours: torch.Tensor) -> torch.Tensor:
    """Grey of the three rows along the second axis."""
    red, green, blue = (weight * colours[:, i] for i, weight in enumerate(_GREY))
    return red + green + blue


def _halved_sum(values: torch.Tensor) -> torch.Tensor:
    """Sum over the last axis, in an order that depends only on its length."""
    while values.shape[-1] > 1:
        half, odd = divmod(values.shape[-1], 2)
        total = values[..., :half] + values[..., half : 2 * half]
        if odd:
            total[..., 0] += values[..., -1]
        values = total
    return values[..., 0]


def solarise(images: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Invert the pixels of at least one half in the chosen images (2006.07733, appendix B).

    Parameters
    ----------
    images : Tensor, shape (n, c, h, w)
        Floats in [0, 1].
    chosen : Tensor of bool, shape (n,)
        Whether to change an image.

    Returns
    -------
    Tensor, shape (n, c, h, w)
        Chosen images with pixels in [0, 1/2]; the others as they are.

    Examples
    --------
    >>> image = torch.tensor([[[[0.25, 0.5, 1.0]]]])
    >>> solarise(image, torch.tensor([True])).ravel().tolist()
    [0.25, 0.5, 0.0]
    """
    # The minimum of x and 1 - x is continuous at the threshold and needs no mask of pixels.
    limit = torch.where(chosen, 0.0, 1.0).to(images)[:, None, None, None]
    return torch.minimum(images, torch.maximum(1 - images, limit))


def blur_edge(height: int, width: int) -> int:
    """Edge of the blurring kernel: the odd number at a tenth of the shorter side (2002.05709).

    Parameters
    ----------
    height, width : int
        Size of the images.

    Returns
    -------
    int
        Edge in pixels, odd and at least 1.

    Examples
    --------
    >>> blur_edge(32, 32), blur_edge(96, 120), blur_edge(224, 224)
    (3, 9, 23)
    """
    return min(height, width) // 10 | 1


def gaussian_kernels(sigma: torch.Tensor, edge: int) -> torch.Tensor:
    """Gaussian kernels along one axis, from the centre outwards.

    Parameters
    ----------
    sigma : Tensor, shape (n,)
        Standard deviations in pixels; 0 for no blur.
    edge : int
        Edge of the kernels in pixels, odd.

    Returns
    -------
    Tensor of float64, shape (n, edge // 2 + 1)
        Weights of the centre and of the pixels at distance 1, 2, ... The centre and twice the
        others sum to 1.

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
    """Blur every image with its own kernel.

    Parameters
    ----------
    images : Tensor, shape (n, c, h, w)
        Images as floats.
    kernels : Tensor, shape (n, r + 1)
        Kernels from :func:`gaussian_kernels`; images whose kernel is only the centre do not
        change.

    Returns
    -------
    Tensor, shape (n, c, h, w)
        Blurred images. Borders are reflected about the outermost pixels, as in torchvision.

    Raises
    ------
    ValueError
        If a kernel is larger than an image allows.

    Notes
    -----
    The blur is a sum of shifted images, as fast as a depthwise convolution. Products and sums are
    rounded one by one, so that the bits of a row do not depend on the other rows or on the
    processor.

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
    # All rows form one long row: a shift by a row and one by a pixel are both shifts of it.
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
