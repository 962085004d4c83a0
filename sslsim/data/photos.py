"""Photographs in folders, decoded by several threads into one tensor."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tqdm import tqdm

from sslsim.core.errors import first_line
from sslsim.core.torchvision import torchvision

DEFAULT_SIZE = 96  # edge that images of different sizes are scaled to

_SUFFIXES = torchvision.datasets.folder.IMG_EXTENSIONS
_TEST_FOLDERS = ("val", "test")
_GREY_MODES = ("1", "L", "LA")
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
_ORIENTATION = 0x0112  # EXIF tag
_FILES_AT_ONCE = 256  # files in one block for the threads


def find_photos(
    folder: str | os.PathLike[str], split: str
) -> tuple[list[Path], NDArray[np.int64] | None]:
    """List the image files of a folder, with their classes if there are any.

    Parameters
    ----------
    folder : path
        Folder to search at any depth, including links to folders; hidden files and folders are
        skipped. A folder with a subfolder ``train`` and one named ``val`` or ``test`` has these
        splits.
    split : {"train", "test", "all"}
        Split of the folder; a folder without splits has no "test".

    Returns
    -------
    paths : list of Path
        Paths in sorted order.
    labels : ndarray of int, shape (n,), or None
        Class of each file: the index of its first-level subfolder among the sorted subfolders with
        images. None if images are in the folder itself or in a single subfolder.

    Raises
    ------
    ValueError
        If the folder contains no image or has no such split.

    Warns
    -----
    UserWarning
        If there are files whose endings are not those of images: they are skipped and counted.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> root = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("cat", "dog"):
    ...     (root / name).mkdir()
    ...     (root / name / "1.png").touch()
    >>> find_photos(root, "train")[1].tolist()
    [0, 1]
    """
    folder = Path(folder)
    tests = [name for name in _TEST_FOLDERS if (folder / name).is_dir()]
    if tests and (folder / "train").is_dir():
        parts = {"train": ["train"], "test": tests[:1], "all": ["train", *tests[:1]]}
    else:
        parts = {"train": [""], "all": [""]}
    if split not in parts:
        raise ValueError(f"{folder} has no split {split!r}; expected one of {', '.join(parts)}")

    places: dict[str, list[Path]] = {}  # paths of each part's photos inside it
    others: Counter[str] = Counter()  # endings of the skipped files
    for part in parts["all"]:
        files = _files_inside(folder / part, Path())
        places[part] = sorted(path for path in files if path.suffix.lower() in _SUFFIXES)
        if part in parts[split]:
            others.update(path.suffix for path in files if path.suffix.lower() not in _SUFFIXES)
    photos = [(folder / part / file, file) for part in parts[split] for file in places[part]]
    if not photos:
        raise ValueError(f"{folder} holds no images; expected files {', '.join(_SUFFIXES)}")
    if others:
        counts = ", ".join(
            f"{count} {suffix or 'without'}" for suffix, count in others.most_common(5)
        )
        warnings.warn(
            f"{folder}: {others.total()} file(s) of other endings are passed over ({counts}); "
            f"images are files {', '.join(_SUFFIXES)}",
            stacklevel=2,
        )
    paths = [path for path, _ in photos]
    # A class has the same number in all parts, even if a part has no images of it.
    everywhere = [inside for part in places.values() for inside in part]
    classes = sorted({inside.parts[0] for inside in everywhere if len(inside.parts) > 1})
    if len(classes) < 2 or any(len(inside.parts) == 1 for inside in everywhere):
        return paths, None
    number = {name: k for k, name in enumerate(classes)}
    return paths, np.array([number[inside.parts[0]] for _, inside in photos], dtype=np.int64)


def read_photos(paths: Sequence[str | os.PathLike[str]], size: int | None = None) -> torch.Tensor:
    """Decode image files into one tensor.

    Parameters
    ----------
    paths : sequence of path
        Image files with 8 bits per channel.
    size : int, optional
        Side of the square that every image is scaled to: the shorter edge is resized (bicubic), the
        centre is cut out. Default: no change if all have one size, else 96.

    Returns
    -------
    Tensor of uint8, shape (n, c, h, w)
        Images; c is 1 if every file is greyscale, else 3. Transparency is dropped, and the EXIF
        orientation is applied.

    Raises
    ------
    ValueError
        If a file cannot be read as an image of 8 bits per channel; the message names it.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "red.png"
    >>> Image.new("RGB", (4, 6), "red").save(path)
    >>> tuple(read_photos([path]).shape), read_photos([path], size=2)[0, :, 0, 0].tolist()
    ((1, 3, 6, 4), [255, 0, 0])
    """
    if size is not None and size < 1:
        raise ValueError(f"size is {size}; expected an edge of at least 1 pixel")
    workers = min(32, 2 * (os.cpu_count() or 1))
    with ThreadPoolExecutor(workers) as threads:
        headers = _in_order(threads, _header, paths, "looking at photographs")
        sizes = {shape for shape, _ in headers}
        mode = "L" if all(grey for _, grey in headers) else "RGB"
        if size is None and len(sizes) == 1:
            (target,) = sizes
        else:
            target = (size or DEFAULT_SIZE,) * 2
        width, height = target
        images = np.empty((len(paths), height, width, len(mode)), dtype=np.uint8)

        def fill(place: int) -> None:
            images[place] = _decode(paths[place], mode, target)

        _in_order(threads, fill, range(len(paths)), "reading photographs")
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


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


def _files_inside(folder: Path, inside: Path, above: frozenset[str] = frozenset()) -> list[Path]:
    """Paths of all files in a folder and its subfolders, relative to it, without hidden ones.

    Links to folders are followed, except to a folder above.
    """
    real = os.path.realpath(folder)
    if real in above:
        return []
    files = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                files += _files_inside(folder / entry.name, inside / entry.name, above | {real})
            elif entry.is_file():
                files.append(inside / entry.name)
    return files


def _in_order(
    threads: ThreadPoolExecutor, work: Callable[[Any], Any], items: Sequence[Any], what: str
) -> list[Any]:
    results: list[Any] = []
    with tqdm(total=len(items), desc=what, unit=" files", delay=2.0, disable=None) as bar:
        for start in range(0, len(items), _FILES_AT_ONCE):
            block = items[start : start + _FILES_AT_ONCE]
            results += threads.map(work, block)
            bar.update(len(block))
    return results


def _header(path: str | os.PathLike[str]) -> tuple[tuple[int, int], bool]:
    try:
        with Image.open(path) as image:
            size, mode = image.size, image.mode
            if _orientation(image) > 4:  # rotated by 90 degrees
                size = size[::-1]
    except _UNREADABLE as error:
        raise ValueError(f"{path} cannot be read as an image: {first_line(error)}") from error
    if mode.startswith(("I", "F")):
        raise ValueError(f"{path} has pixels of type {mode}; expected 8 bits a channel")
    return size, mode in _GREY_MODES


def _decode(path: str | os.PathLike[str], mode: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as opened:
            # A large JPEG is decoded at a fraction of its size, at least twice the target size.
            opened.draft(None, (2 * max(size), 2 * max(size)))
            image: Image.Image = opened
            if _orientation(opened) > 1:
                image = ImageOps.exif_transpose(opened)
            if "transparency" in image.info:
                image = image.convert("RGBA")
            image = image.convert(mode)
            if image.size != size:
                image = ImageOps.fit(image, size, method=Image.Resampling.BICUBIC)
            return np.asarray(image).reshape(size[1], size[0], len(mode))
    except _UNREADABLE as error:
        raise ValueError(f"{path} cannot be read as an image: {first_line(error)}") from error


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 if it is missing or unreadable."""
    if "exif" not in image.info:  # getexif would decode a whole PNG
        return 1
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damage outside the pixels
        return 1
    return orientation if orientation in range(1, 9) else 1
