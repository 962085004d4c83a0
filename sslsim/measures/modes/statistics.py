"""Statistics of images that a mode may follow: colour, brightness, texture and place."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

COLOUR = ("hue", "saturation", "brightness")
"""Statistics that together make up ``colour``."""

GREY = 1 / 255
"""Mean chroma up to which an image counts as grey: hue then is rounding and noise."""

_LUMINANCE = np.array([0.299, 0.587, 0.114])
_AT_A_TIME = 256  # images


def image_statistics(images: torch.Tensor) -> dict[str, Array]:
    """Statistics of every image, by name.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        Images with one channel or three.

    Returns
    -------
    dict of str to ndarray, shape (n, p)
        ``hue`` (p = 2): cosine and sine of the mean hue, which is an angle: the direction of the
        sum of the pixels' hues as unit vectors, each weighted by its chroma (largest less smallest
        channel). ``saturation``: mean of the pixels' saturation in HSV. ``brightness``: mean
        luminance. ``contrast``: standard deviation of the luminance. ``frequency``: mean spatial
        frequency, in cycles a pixel, weighted by the power spectrum of the luminance less its
        mean. ``horizontal`` and ``vertical``: mean place, from -1 (left, top) to 1, weighted by the
        size of the luminance's deviation from its mean. ``colour`` (p = 4): the columns of hue,
        saturation and brightness together. Images with one channel have no hue, no saturation and
        no colour. An image of one luminance has frequency and place 0.

    Raises
    ------
    ValueError
        If the images are not bytes of that shape.

    Examples
    --------
    >>> red = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    >>> red[:, 0] = 255
    >>> found = image_statistics(red)
    >>> found["hue"].round(6).tolist(), found["saturation"].tolist(), found["brightness"].round(3)
    ([[1.0, 0.0]], [[1.0]], array([[0.299]]))
    """
    if images.ndim != 4 or images.dtype != torch.uint8 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"images is {images.dtype} of shape {tuple(images.shape)}; expected uint8 of shape "
            "(n, c, h, w) with c of 1 or 3"
        )
    parts = [_statistics(chunk.numpy() / 255) for chunk in images.cpu().split(_AT_A_TIME)]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if "hue" in found:
        found["colour"] = np.concatenate([found[name] for name in COLOUR], axis=1)
    return found


def class_columns(labels: ArrayLike) -> Array:
    """Membership of classes as columns: a mode's R^2 on them is the correlation ratio eta^2.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        Classes.

    Returns
    -------
    ndarray, shape (n, classes)
        1 in the column of the sample's class, else 0.

    Examples
    --------
    >>> class_columns([3, 5, 3]).tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """
    labels = np.asarray(labels)
    return np.asarray(labels[:, None] == np.unique(labels), dtype=np.float64)


def is_grey(images: torch.Tensor) -> NDArray[np.bool_]:
    """Whether images have no hue: one channel, or a mean chroma of at most ``GREY``.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        Images.

    Returns
    -------
    ndarray of bool, shape (n,)

    Examples
    --------
    >>> is_grey(torch.full((2, 3, 4, 4), 9, dtype=torch.uint8)).tolist()
    [True, True]
    """
    chroma = [
        (chunk.amax(dim=1).int() - chunk.amin(dim=1).int()).double().mean(dim=(1, 2)) / 255
        for chunk in images.cpu().split(_AT_A_TIME)
    ]
    return np.asarray(torch.cat(chroma).numpy() <= GREY)


def _statistics(pixels: Array) -> dict[str, Array]:
    """Columns of statistics of images with pixels in [0, 1], without ``colour``."""
    channels, height, width = pixels.shape[1:]
    found = {}
    if channels == 3:
        largest, chroma = pixels.max(axis=1), np.ptp(pixels, axis=1)
        red, green, blue = np.moveaxis(pixels, 1, 0)
        angle = _hue(red, green, blue, chroma)
        place = [(chroma * turn(angle)).sum(axis=(1, 2)) for turn in (np.cos, np.sin)]
        mean = np.arctan2(place[1], place[0])
        found["hue"] = np.stack([np.cos(mean), np.sin(mean)], axis=1)
        saturation = np.divide(chroma, largest, out=np.zeros_like(chroma), where=largest > 0)
        found["saturation"] = saturation.mean(axis=(1, 2))[:, None]
        luminance = np.tensordot(pixels, _LUMINANCE, axes=(1, 0))
    else:
        luminance = pixels[:, 0]
    brightness = luminance.mean(axis=(1, 2), keepdims=True)
    deviation = luminance - brightness
    # Rounding of the mean of a constant image is no texture.
    deviation = np.where(np.abs(deviation) < 1e-12, 0.0, deviation)
    power = np.abs(np.fft.fft2(deviation)) ** 2
    power[:, 0, 0] = 0.0
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    mass = np.abs(deviation)
    across, down = (
        np.linspace(-1, 1, size) if size > 1 else np.zeros(1) for size in (width, height)
    )
    found["brightness"] = brightness[:, :, 0]
    found["contrast"] = deviation.std(axis=(1, 2))[:, None]
    found["frequency"] = _weighted_mean(radius, power)
    found["horizontal"] = _weighted_mean(across, mass)
    found["vertical"] = _weighted_mean(down[:, None], mass)
    return found


def _hue(red: Array, green: Array, blue: Array, chroma: Array) -> Array:
    """Hue of HSV as an angle; 0 of a grey pixel."""
    safe = np.where(chroma > 0, chroma, 1.0)
    largest = np.maximum(np.maximum(red, green), blue)
    sector = np.where(
        largest == red,
        (green - blue) / safe,
        np.where(largest == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    return np.asarray(np.where(chroma > 0, sector, 0.0) * (np.pi / 3), dtype=np.float64)


def _weighted_mean(values: Array, weights: Array) -> Array:
    """Mean over an image's pixels, a column; 0 where all weights are 0."""
    total = weights.sum(axis=(1, 2))
    weighted = (values * weights).sum(axis=(1, 2))
    return np.divide(weighted, total, out=np.zeros_like(total), where=total > 0)[:, None]
