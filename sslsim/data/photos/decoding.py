"""Photographs decoded by several threads: one size, one number of channels, 8 bits."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tqdm import tqdm

from sslsim.core.errors import first_line

DEFAULT_SIZE = 96  # edge that images of different sizes are scaled to

Shape = tuple[int, int, int]
"""Channels, height and width."""

_SIXTEEN_BITS = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_GREY_MODES = ("1", "L", "LA", *_SIXTEEN_BITS)
_WHITE = 2**16 - 1
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
_ORIENTATION = 0x0112  # EXIF tag
_FILES_AT_ONCE = 256  # files in one block for the threads


def read_photos(
    paths: Sequence[str | os.PathLike[str]], size: int | None = None, *, shape: Shape | None = None
) -> torch.Tensor:
    """Decode image files into one tensor.

    Parameters
    ----------
    paths : sequence of path
        Image files.
    size : int, optional
        Side of the square that every image is scaled to: the shorter edge is resized (bicubic), the
        centre is cut out. Default: no change if all have one size, else 96.
    shape : tuple of int, optional
        What :func:`shape_of_photos` says, where it is known already.

    Returns
    -------
    Tensor of uint8, shape (n, c, h, w)
        Images; c is 1 if every file is greyscale, else 3. Transparency is dropped, and the EXIF
        orientation is applied. Greyscale of 16 bits is divided by 257 and rounded: 65535 becomes
        255. Of 16-bit colours Pillow keeps the 8 high bits.

    Raises
    ------
    ValueError
        If a file cannot be read as an image of 8 or 16 bits per channel; the message names it.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "red.png"
    >>> Image.new("RGB", (4, 6), "red").save(path)
    >>> tuple(read_photos([path]).shape), read_photos([path], size=2)[0, :, 0, 0].tolist()
    ((1, 3, 6, 4), [255, 0, 0])
    """
    shape = shape_of_photos(paths, size) if shape is None else shape
    images = np.empty((len(paths), *shape), dtype=np.uint8)

    def fill(place: int) -> None:
        images[place] = decoded(paths[place], shape)

    _in_order(fill, range(len(paths)), "reading photographs")
    return torch.from_numpy(images)


def shape_of_photos(paths: Sequence[str | os.PathLike[str]], size: int | None = None) -> Shape:
    """Shape that photographs are brought to; only their headers are read.

    Parameters
    ----------
    paths : sequence of path
        Image files.
    size : int, optional
        As for :func:`read_photos`.

    Returns
    -------
    channels, height, width : int

    Raises
    ------
    ValueError
        If a file is no image, or has floats as pixels.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "grey.png"
    >>> Image.new("L", (4, 6)).save(path)
    >>> shape_of_photos([path]), shape_of_photos([path], size=8)
    ((1, 6, 4), (1, 8, 8))
    """
    if size is not None and size < 1:
        raise ValueError(f"size is {size}; expected an edge of at least 1 pixel")
    headers = _in_order(_header, paths, "looking at photographs")
    sizes = {edges for edges, _ in headers}
    channels = 1 if all(grey for _, grey in headers) else 3
    if size is None and len(sizes) == 1:
        ((width, height),) = sizes
    else:
        width = height = size or DEFAULT_SIZE
    return channels, height, width


def decoded(
    path: str | os.PathLike[str], shape: Shape, content: bytes | None = None
) -> NDArray[np.uint8]:
    """Decode one photograph.

    Parameters
    ----------
    path : path
        The file.
    shape : tuple of int
        Channels (1 or 3), height and width to bring it to.
    content : bytes, optional
        Its content, where it is in memory already.

    Returns
    -------
    ndarray of uint8, shape (c, h, w)

    Raises
    ------
    ValueError
        As :func:`read_photos`.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "deep.png"
    >>> Image.fromarray(np.full((2, 2), 257 * 9, dtype=np.uint16)).save(path)
    >>> decoded(path, (1, 1, 2)).tolist()
    [[[9, 9]]]
    """
    channels, height, width = shape
    try:
        with Image.open(path if content is None else io.BytesIO(content)) as opened:
            # A large JPEG is decoded at a fraction of its size, at least twice the target size.
            opened.draft(None, (2 * max(height, width), 2 * max(height, width)))
            image: Image.Image = opened
            if _orientation(opened) > 1:
                image = ImageOps.exif_transpose(opened)
            if image.mode in _SIXTEEN_BITS:
                image = _eight_bits(image)
            if "transparency" in image.info:
                image = image.convert("RGBA")
            image = image.convert("L" if channels == 1 else "RGB")
            if image.size != (width, height):
                image = ImageOps.fit(image, (width, height), method=Image.Resampling.BICUBIC)
            return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)
    except _UNREADABLE as error:
        raise ValueError(f"{path} cannot be read as an image: {first_line(error)}") from error


def resized(images: torch.Tensor, size: int) -> torch.Tensor:
    """Bring images in memory to a square, as :func:`read_photos` brings files.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        Images of 1 or 3 channels.
    size : int
        Edge in pixels: the shorter edge is resized (bicubic), the centre cut out.

    Returns
    -------
    Tensor of uint8, shape (n, c, size, size)

    Examples
    --------
    >>> resized(torch.full((2, 1, 8, 6), 7, dtype=torch.uint8), 3).unique().tolist()
    [7]
    """
    pixels = images.permute(0, 2, 3, 1).numpy()
    n, channels = images.shape[:2]
    fitted = np.empty((n, size, size, channels), dtype=np.uint8)
    for place, image in enumerate(pixels):
        picture = Image.fromarray(image[..., 0] if channels == 1 else image)
        scaled = ImageOps.fit(picture, (size, size), method=Image.Resampling.BICUBIC)
        fitted[place] = np.asarray(scaled).reshape(size, size, channels)
    return torch.from_numpy(fitted).permute(0, 3, 1, 2).contiguous()


def _in_order(work: Callable[[Any], Any], items: Sequence[Any], what: str) -> list[Any]:
    """Results of a function of files, by several threads."""
    results: list[Any] = []
    with (
        reading_threads() as threads,
        tqdm(total=len(items), desc=what, unit=" files", delay=2.0, disable=None) as bar,
    ):
        for start in range(0, len(items), _FILES_AT_ONCE):
            block = items[start : start + _FILES_AT_ONCE]
            results += threads.map(work, block)
            bar.update(len(block))
    return results


def reading_threads() -> ThreadPoolExecutor:
    """Threads that read and decode files; decoding runs in parallel."""
    return ThreadPoolExecutor(min(32, 2 * (os.cpu_count() or 1)))


def _header(path: str | os.PathLike[str]) -> tuple[tuple[int, int], bool]:
    """Width and height as seen, and whether it is greyscale."""
    try:
        with Image.open(path) as image:
            size, mode = image.size, image.mode
            if _orientation(image) > 4:  # rotated by 90 degrees
                size = size[::-1]
    except _UNREADABLE as error:
        raise ValueError(f"{path} cannot be read as an image: {first_line(error)}") from error
    if mode.startswith("F"):
        raise ValueError(
            f"{path} has floats as pixels, whose range is unknown; expected 8 or 16 bits a channel "
            "(floats from 0 to 1 can be given in an .npy file)"
        )
    return size, mode in _GREY_MODES


def _eight_bits(image: Image.Image) -> Image.Image:
    """Greyscale of 16 bits, divided by 257 and rounded."""
    values = np.asarray(image).astype(np.int64)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > _WHITE:
        raise ValueError(f"pixels go from {low} to {high}; expected 16 bits, 0 to {_WHITE}")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 if it is missing or unreadable."""
    if "exif" not in image.info:  # getexif would decode a whole PNG
        return 1
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damage outside the pixels
        return 1
    return orientation if orientation in range(1, 9) else 1
