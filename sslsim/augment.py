"""SimCLR's augmentation in batches, every sample with its own draw.

One affine resampling does the crop and the flip of a whole batch, one 3x3 matrix and offset an
image all of the colour. All draws come from one generator, so that a view is a pure function of
images and generator state. The differences from a chain of torchvision's transforms on one image
at a time (2002.05709, appendix A):

- crop boxes are not rounded to whole pixels, and shrinking is bilinear without antialiasing;
- colour changes come in the fixed order brightness, contrast, saturation, hue, greyscale, and
  values are clamped to [0, 1] once, after the last;
- hue is a rotation about the grey axis, not a shift of the angle in HSV: the two agree at thirds of
  a turn, in between one keeps the mean of the channels and the other their extremes (within the
  range of the jitter their changes have a cosine of 0.8 and more);
- images are not blurred.
"""

from __future__ import annotations

import math

import torch

CROP_AREA = (0.2, 1.0)  # share of the image's area
CROP_RATIO = (3 / 4, 4 / 3)  # width over height
JITTER = (0.4, 0.4, 0.4, 0.1)  # brightness, contrast, saturation, hue: SimCLR's at strength 1/2
JITTER_SHARE = 0.8
GREY_SHARE = 0.2

_ATTEMPTS = 10  # boxes drawn for an image before the whole of it is taken
_GREY = (0.299, 0.587, 0.114)
_THIRD = 3**-0.5
_AROUND_GREY = ((0.0, -_THIRD, _THIRD), (_THIRD, 0.0, -_THIRD), (-_THIRD, _THIRD, 0.0))


def simclr_view(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random resized crop, flip, colour jitter and greyscale of every image.

    Parameters
    ----------
    images : Tensor, shape (n, c, h, w)
        Floats in [0, 1], c of 1 or 3. Grey images change in brightness and contrast only.
    generator : torch.Generator
        On the device of the images; advanced.

    Returns
    -------
    Tensor, shape (n, c, h, w)
        In [0, 1].

    Examples
    --------
    >>> view = simclr_view(torch.rand(2, 3, 8, 8), torch.Generator().manual_seed(0))
    >>> tuple(view.shape)
    (2, 3, 8, 8)
    """
    n, _, height, width = images.shape
    boxes = crop_boxes(n, height, width, generator).to(images.dtype)
    flip, jittered, grey = torch.rand(3, n, generator=generator, device=images.device)
    jitter = 2 * torch.rand(4, n, generator=generator, device=images.device) - 1
    jitter = (jitter * (jittered < JITTER_SHARE)).to(images.dtype)
    strength = [s * j for s, j in zip(JITTER, jitter, strict=True)]
    cropped = resized_crop(images, boxes, flip < 0.5)
    return colour_jitter(
        cropped, 1 + strength[0], 1 + strength[1], 1 + strength[2], strength[3], grey < GREY_SHARE
    )


def crop_boxes(n: int, height: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """Boxes of random area, shape and place, as torchvision's RandomResizedCrop draws them.

    Parameters
    ----------
    n : int
        Number of boxes.
    height, width : int
        Size of the images.
    generator : torch.Generator
        Advanced; the boxes are on its device.

    Returns
    -------
    Tensor of float32, shape (n, 4)
        Top, left, height and width in pixels, not rounded. The area is uniform in ``CROP_AREA`` of
        the image, the logarithm of width over height uniform in ``CROP_RATIO``, given that the box
        fits into the image; after 10 draws that do not fit, the whole image.

    Examples
    --------
    >>> top, left, height, width = crop_boxes(1, 8, 8, torch.Generator().manual_seed(0))[0]
    >>> bool((top + height <= 8) & (left + width <= 8))
    True
    """
    device = generator.device
    area, shape = torch.rand(2, n, _ATTEMPTS, generator=generator, device=device)
    area = height * width * (CROP_AREA[0] + (CROP_AREA[1] - CROP_AREA[0]) * area)
    low, high = math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])
    ratio = torch.exp(low + (high - low) * shape)
    tall, wide = torch.sqrt(area / ratio), torch.sqrt(area * ratio)
    # The last candidate is the whole image; argmax finds the first that fits.
    whole = torch.tensor([[height, width]], dtype=tall.dtype, device=device).expand(n, 2)
    tall = torch.cat([tall, whole[:, :1]], dim=1)
    wide = torch.cat([wide, whole[:, 1:]], dim=1)
    first = ((tall <= height) & (wide <= width)).to(torch.uint8).argmax(dim=1, keepdim=True)
    tall, wide = tall.gather(1, first)[:, 0], wide.gather(1, first)[:, 0]
    place = torch.rand(2, n, generator=generator, device=device)
    return torch.stack([(height - tall) * place[0], (width - wide) * place[1], tall, wide], dim=1)


def resized_crop(images: torch.Tensor, boxes: torch.Tensor, flip: torch.Tensor) -> torch.Tensor:
    """Cut a box out of every image and stretch it to the image's size.

    Parameters
    ----------
    images : Tensor, shape (n, c, h, w)
        Floats.
    boxes : Tensor, shape (n, 4)
        Top, left, height and width in pixels, of the images' type.
    flip : Tensor of bool, shape (n,)
        Which of them to mirror left to right.

    Returns
    -------
    Tensor, shape (n, c, h, w)
        Bilinear; the box of the whole image returns the image up to rounding.

    Examples
    --------
    >>> image = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    >>> resized_crop(image, torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([True])).tolist()
    [[[[1.0, 0.0], [1.0, 0.0]]]]
    """
    height, width = images.shape[2:]
    top, left, tall, wide = boxes.T
    theta = images.new_zeros(len(images), 2, 3)  # output to input coordinates, both in [-1, 1]
    theta[:, 0, 0] = torch.where(flip, -wide, wide) / width
    theta[:, 0, 2] = (2 * left + wide) / width - 1
    theta[:, 1, 1] = tall / height
    theta[:, 1, 2] = (2 * top + tall) / height - 1
    grid = torch.nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    return torch.nn.functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def colour_jitter(
    images: torch.Tensor,
    brightness: torch.Tensor,
    contrast: torch.Tensor,
    saturation: torch.Tensor,
    hue: torch.Tensor,
    grey: torch.Tensor,
) -> torch.Tensor:
    """Change the colours of every image by one matrix and one offset.

    Parameters
    ----------
    images : Tensor, shape (n, c, h, w)
        Floats in [0, 1]; with c = 1 saturation, hue and greyscale do nothing.
    brightness, contrast, saturation : Tensor, shape (n,)
        Factors, 1 for no change; of the images' type.
    hue : Tensor, shape (n,)
        Rotation about the grey axis in full turns, positive from red to green; 0 for no change.
    grey : Tensor of bool, shape (n,)
        Which images lose their colour.

    Returns
    -------
    Tensor, shape (n, c, h, w)
        Clamped to [0, 1].

    Notes
    -----
    Contrast blends with the mean grey of the brightened image. Saturation, hue and greyscale leave
    grey as it is, so that this offset passes through them.

    Examples
    --------
    >>> one, none = torch.ones(1), torch.zeros(1)
    >>> dim = colour_jitter(torch.ones(1, 3, 1, 1), one / 2, one, one, none, none > 0)
    >>> dim.ravel().tolist()
    [0.5, 0.5, 0.5]
    """
    n, channels = images.shape[:2]
    if channels == 1:
        matrix, level = images.new_ones(n, 1, 1), images.mean(dim=(1, 2, 3))
    else:
        weights = images.new_tensor(_GREY)
        eye, to_grey = torch.eye(3).to(images), weights.expand(3, 3)  # rows that give the grey
        angle = 2 * math.pi * hue[:, None, None]
        around = images.new_tensor(_AROUND_GREY)
        # Rodrigues' formula about the grey axis, on which the mean of the channels lies.
        matrix = torch.cos(angle) * eye + torch.sin(angle) * around
        matrix = matrix + (1 - torch.cos(angle)) / 3
        s = saturation[:, None, None]
        matrix = matrix @ (s * eye + (1 - s) * to_grey)
        matrix = torch.where(grey[:, None, None], to_grey @ matrix, matrix)
        level = images.mean(dim=(2, 3)) @ weights
    matrix = (brightness * contrast)[:, None, None] * matrix
    offset = (1 - contrast) * brightness * level
    changed = torch.baddbmm(
        offset[:, None, None], matrix, images.reshape(n, channels, -1)
    )  # (n, c, h w)
    return changed.clamp_(0, 1).reshape(images.shape)
