"""Images and pairs in array files: ``.npz``, ``.npy`` and IDX (the format of MNIST)."""

from __future__ import annotations

import gzip
import math
import os
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslsim.core.errors import first_line, reason
from sslsim.core.files import DAMAGE, npz_names, read_npz

_IDX_NAME = re.compile(r"[.-](idx\d?([.-]\w+)?|ubyte)(\.gz)?$", re.IGNORECASE)
_IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def is_array_file(path: str | os.PathLike[str]) -> bool:
    """Whether a name is that of a file of arrays; a folder is none.

    Parameters
    ----------
    path : path
        Name or path.

    Returns
    -------
    bool
        True for ``.npz``, ``.npy`` and the usual names of IDX files, also with ``.gz``.

    Examples
    --------
    >>> [is_array_file(name) for name in ("a.npz", "t10k-images-idx3-ubyte.gz", "x.idx", "digits")]
    [True, True, True, False]
    """
    path = Path(path)
    known = path.suffix.lower() in (".npz", ".npy") or _IDX_NAME.search(path.name) is not None
    return known and not path.is_dir()


def read_images(path: str | os.PathLike[str]) -> tuple[NDArray[np.uint8], NDArray[Any] | None]:
    """Images of a file of arrays, and their labels if it has some.

    Parameters
    ----------
    path : path
        An ``.npz`` file with ``images`` and optionally ``labels``, an ``.npy`` file of images, or
        an IDX file of images. The labels of ``train-images-idx3-ubyte`` are read from
        ``train-labels-idx1-ubyte`` in the same folder if it exists.

    Returns
    -------
    images : ndarray of uint8, shape (n, c, h, w)
        Pixels: integers up to 255 as they are, floats in [0, 1] as ``round(255 v)``, booleans as 0
        and 255.
    labels : ndarray of int, shape (n,), or None
        Classes.

    Raises
    ------
    ValueError
        If the file cannot be read, or does not hold images of a known shape and type.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "images.npy"
    >>> np.save(path, np.full((2, 4, 4), 0.2, dtype=np.float16))
    >>> images, labels = read_images(path)
    >>> images.shape, int(images[0, 0, 0, 0]), labels
    ((2, 1, 4, 4), 51, None)
    """
    path = Path(path)
    labels = None
    if path.suffix.lower() == ".npz":
        array, labels = npz_array(path, "images"), read_npz(path, ["labels"]).get("labels")
    elif path.suffix.lower() == ".npy":
        array = _checked(f"{path}: images", _read_npy(path))
    else:
        array = _checked(f"{path}: images", read_idx(path))
        beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
        if beside != path and beside.is_file():
            labels = read_idx(beside)
    images = _pixels(path, _with_channels(path, array))
    if labels is not None and (labels.shape != images.shape[:1] or labels.dtype.kind not in "iu"):
        raise ValueError(
            f"{path}: labels has shape {labels.shape} and type {labels.dtype}; "
            f"expected {len(images)} integers"
        )
    return np.ascontiguousarray(images), labels


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Array of an IDX file, also compressed by gzip.

    Parameters
    ----------
    path : path
        The file. It starts with two zero bytes, one for the type and one for the number of
        dimensions; then follow the dimensions, as four bytes each, and the values, big-endian.

    Returns
    -------
    ndarray
        The array.

    Raises
    ------
    ValueError
        If the file cannot be read, is no IDX file, or is shorter or longer than it says.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
    >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
    >>> read_idx(path).tolist()
    [7, 8, 9]
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {reason(error)}") from error
    except DAMAGE as error:
        raise ValueError(f"{path} is not a readable gzip file: {first_line(error)}") from error
    kind = _IDX_TYPES.get(content[2]) if len(content) >= 4 and content[:2] == b"\0\0" else None
    start = 4 + 4 * content[3] if kind is not None else 0
    if kind is None or len(content) < start:
        raise ValueError(f"{path} does not start like an IDX file")
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    size = math.prod(shape) * np.dtype(kind).itemsize
    if len(content) - start != size:
        raise ValueError(
            f"{path} holds {len(content) - start} bytes of values; expected {size} for shape "
            f"{shape}"
        )
    array = np.frombuffer(content, dtype=kind, offset=start).reshape(shape)
    return array.astype(array.dtype.newbyteorder("="))


def npz_array(path: str | os.PathLike[str], key: str) -> NDArray[Any]:
    """Real finite numbers of an ``.npz`` file.

    Parameters
    ----------
    path : path
        The file.
    key : str
        Name of the array.

    Returns
    -------
    ndarray
        The array, in its own type.

    Raises
    ------
    ValueError
        If the file cannot be read, or the array is missing, not of real numbers or not finite.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "pairs.npz"
    >>> np.savez(path, x=np.eye(3))
    >>> npz_array(path, "x").shape
    (3, 3)
    """
    array = read_npz(path, [key]).get(key)
    if array is None:
        names = ", ".join(npz_names(path)) or "nothing"
        raise ValueError(f"{path} holds {names}; expected images (and labels), or x and x_prime")
    return _checked(f"{path}: {key}", array)


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as file:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {reason(error)}") from error
    except DAMAGE as error:
        raise ValueError(f"{path} is not a readable .npy file: {first_line(error)}") from error


def _checked(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} is {array.dtype}; expected real numbers")
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise ValueError(f"{name} holds {bad} NaN or infinite value(s); expected none")
    return array


def _with_channels(path: Path, images: NDArray[Any]) -> NDArray[Any]:
    """Images of shape (n, c, h, w)."""
    shape = images.shape
    # The channels are axis 1 or 3; if both or neither fit, they are unknown.
    channels = [axis for axis in (1, 3) if len(shape) == 4 and shape[axis] in (1, 3)]
    if len(shape) == 3:
        images = images[:, None]
    elif channels == [3]:
        images = images.transpose(0, 3, 1, 2)
    elif channels != [1]:
        images = images[:0]
    if images.size == 0:
        raise ValueError(
            f"{path}: images has shape {shape}; expected (n, h, w), (n, h, w, c) or (n, c, h, w) "
            "with c of 1 or 3 and at least one image"
        )
    return images


def _pixels(path: Path, images: NDArray[Any]) -> NDArray[np.uint8]:
    """Values as pixels from 0 to 255, where it is clear what they mean."""
    if images.dtype == np.uint8:
        return images
    if images.dtype == bool:
        return images.astype(np.uint8) * np.uint8(255)
    low, high = images.min(), images.max()
    if images.dtype.kind == "f":
        if low < 0 or high > 1:
            raise ValueError(
                f"{path}: images range from {low} to {high}; expected floats in [0, 1] or uint8"
            )
        return np.round(images.astype(np.float64) * 255).astype(np.uint8)
    if low < 0 or not 1 < high <= 255:
        raise ValueError(
            f"{path}: images are {images.dtype} from {low} to {high}; expected integers up to 255, "
            "booleans, or floats in [0, 1]"
        )
    return images.astype(np.uint8)
