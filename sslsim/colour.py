"""Changes of colour in batches: jitter and greyscale by one matrix an image, and solarising."""

from __future__ import annotations

import math

import torch

_GREY = (0.299, 0.587, 0.114)
_THIRD = 3**-0.5
_AROUND_GREY = ((0.0, -_THIRD, _THIRD), (_THIRD, 0.0, -_THIRD), (-_THIRD, _THIRD, 0.0))


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


def solarise(images: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Invert the pixels from one half up in the chosen images (2006.07733, appendix B).

    Parameters
    ----------
    images : Tensor, shape (n, c, h, w)
        Floats in [0, 1].
    chosen : Tensor of bool, shape (n,)
        Which of them to change.

    Returns
    -------
    Tensor, shape (n, c, h, w)
        In [0, 1/2] where chosen; the others as they are.

    Examples
    --------
    >>> image = torch.tensor([[[[0.25, 0.5, 1.0]]]])
    >>> solarise(image, torch.tensor([True])).ravel().tolist()
    [0.25, 0.5, 0.0]
    """
    # Of x and 1 - x the lesser: continuous at the threshold, and without a mask of all pixels.
    limit = torch.where(chosen, 0.0, 1.0).to(images)[:, None, None, None]
    return torch.minimum(images, torch.maximum(1 - images, limit))
