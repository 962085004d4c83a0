"""Random boxes, and resampled crops of a batch of images."""

from __future__ import annotations

import math

import torch

CROP_AREA = (0.2, 1.0)  # share of the image's area
CROP_RATIO = (3 / 4, 4 / 3)  # width over height

_ATTEMPTS = 10  # boxes drawn for an image before the whole image is used


def crop_boxes(
    n: int,
    height: int,
    width: int,
    generator: torch.Generator,
    *,
    area: tuple[float, float] = CROP_AREA,
) -> torch.Tensor:
    """Boxes of random area, shape and place, as torchvision's RandomResizedCrop draws them.

    Parameters
    ----------
    n : int
        Number of boxes.
    height, width : int
        Size of the images.
    generator : torch.Generator
        Generator of the draws; the boxes are on its device.
    area : tuple of float
        Smallest and largest area of a box, as a share of the image.

    Returns
    -------
    Tensor of float32, shape (n, 4)
        Top, left, height and width in pixels, not rounded. The share of the area is uniform in
        ``area``, the logarithm of width over height is uniform in the range of ``CROP_RATIO``, both
        conditional on a box that fits into the image. If 10 draws do not fit, the box is the whole
        image (torchvision: its largest centred box in that range of shapes).

    Raises
    ------
    ValueError
        If the areas are not ascending shares above 0.

    Examples
    --------
    >>> top, left, height, width = crop_boxes(1, 8, 8, torch.Generator().manual_seed(0))[0]
    >>> bool((top + height <= 8) & (left + width <= 8))
    True
    """
    if not 0 < area[0] <= area[1] <= 1:
        raise ValueError(f"area is {area}; expected two ascending shares above 0 and at most 1")
    device = generator.device
    # In float64, rounded to float32 at the end: machines then rarely differ in a bit.
    share, shape = torch.rand(2, n, _ATTEMPTS, generator=generator, device=device).double()
    pixels = height * width * (area[0] + (area[1] - area[0]) * share)
    low, high = math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])
    ratio = torch.exp(low + (high - low) * shape)
    tall, wide = torch.sqrt(pixels / ratio), torch.sqrt(pixels * ratio)
    # The last candidate is the whole image; argmax finds the first that fits.
    whole = torch.tensor([[height, width]], dtype=tall.dtype, device=device).expand(n, 2)
    tall = torch.cat([tall, whole[:, :1]], dim=1)
    wide = torch.cat([wide, whole[:, 1:]], dim=1)
    first = ((tall <= height) & (wide <= width)).to(torch.uint8).argmax(dim=1, keepdim=True)
    tall, wide = tall.gather(1, first)[:, 0], wide.gather(1, first)[:, 0]
    place = torch.rand(2, n, generator=generator, device=device)
    boxes = torch.stack([(height - tall) * place[0], (width - wide) * place[1], tall, wide], dim=1)
    return boxes.float()


def resized_crop(
    images: torch.Tensor,
    boxes: torch.Tensor,
    flip: torch.Tensor,
    *,
    size: tuple[int, int] | None = None,
) -> torch.Tensor:
    """Cut a box out of every image and stretch it to one size.

    Parameters
    ----------
    images : Tensor, shape (n, c, h, w)
        Images as floats.
    boxes : Tensor, shape (n, 4)
        Top, left, height and width in pixels, in the type of the images.
    flip : Tensor of bool, shape (n,)
        Whether to mirror an image left to right.
    size : tuple of int
        Height and width of the result. Default: those of the images.

    Returns
    -------
    Tensor, shape (n, c, h', w')
        Crops, bilinear without antialiasing. The box of the whole image returns the image up to
        rounding.

    Notes
    -----
    On the CPU ``grid_sample`` samples every image separately, in an order that depends only on the
    size of the grid: the bits of a row do not depend on the other rows or on the number of threads.

    Within half a pixel (of the result) of the border of a box, the interpolation uses pixels
    outside it; torchvision, which cuts first, repeats the outermost pixels.

    Examples
    --------
    >>> image = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    >>> resized_crop(image, torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([True])).tolist()
    [[[[1.0, 0.0], [1.0, 0.0]]]]
    """
    height, width = images.shape[2:]
    rows, columns = size or (height, width)
    top, left, tall, wide = boxes.T
    # The map from result to image is separable: its two coordinates, both in [-1, 1], are spread
    # over the grid at a tenth of the cost of torch's affine_grid.
    grid = images.new_empty(len(images), rows, columns, 2)
    across = torch.where(flip, -wide, wide) / width
    grid[..., 0] = _places(across, (2 * left + wide) / width - 1, columns)[:, None, :]
    grid[..., 1] = _places(tall / height, (2 * top + tall) / height - 1, rows)[:, :, None]
    return torch.nn.functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def _places(scale: torch.Tensor, centre: torch.Tensor, count: int) -> torch.Tensor:
    """Coordinates in [-1, 1] of the centres of ``count`` pixels, (n, count)."""
    pixels = torch.arange(1 - count, count, 2, dtype=scale.dtype, device=scale.device) / count
    return scale[:, None] * pixels + centre[:, None]
