"""Images and pairs by name, by folder or by file.

Known names are ``digits`` (ships with scikit-learn, nothing to download), ``cifar10``,
``cifar100``, ``stl10``, ``fashion_mnist`` and ``imagenette`` (from torchvision). All other names
are paths of a folder of images or of a file of arrays (:mod:`sslsim.data.array_files`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from sslsim.core.files import npz_names
from sslsim.data.array_files import is_array_file, npz_array, read_images
from sslsim.encoders.checks import check_count

# Large packages are imported where they are used: pairs from a file need only numpy.
if TYPE_CHECKING:
    import torch

DATA_SETS = ("digits", "cifar10", "cifar100", "stl10", "fashion_mnist", "imagenette")

Order = Callable[[int, "torch.Tensor | None"], "torch.Tensor"]

_SPLITS = ("train", "test", "all")
_DIGITS_TRAIN = 1437  # of 1797: four fifths


@dataclass(frozen=True, eq=False)
class Images:
    """A data set in memory, or in a file that is mapped into memory.

    Attributes
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        Images with 1 channel (grey) or 3 (red, green, blue).
    labels : Tensor of int64, shape (n,), or None
        Classes from 0; None without labels.
    name : str
        Name or path of the data set.
    streamed : bool
        Whether the images are those of a mapped file, which may be larger than memory: use them in
        parts.
    """

    images: torch.Tensor
    labels: torch.Tensor | None
    name: str
    streamed: bool = False


def load_images(
    name: str | os.PathLike[str] = "digits",
    root: str | os.PathLike[str] | None = None,
    *,
    split: str = "train",
    size: int | None = None,
    limit: int | None = None,
    order: Order | None = None,
    stream: Literal["auto", "always", "never"] = "auto",
    cache: str | os.PathLike[str] | None = None,
) -> Images:
    """Load a data set of images.

    Parameters
    ----------
    name : str or path
        Known name (see the module), folder of images, ``.npz`` file with ``images`` and
        optionally ``labels``, ``.npy`` file of images, or IDX file of images (the format of MNIST,
        with ``.gz`` or without). In a folder, links to folders are followed, EXIF orientations are
        applied, and files with other endings are counted in a warning.
    root : path, optional
        Folder of the torchvision data sets; missing data are downloaded to it. Default: the
        environment variable ``SSLSIM_DATA``, else ``~/.cache/sslsim``. A folder given here must
        exist. It is not used for digits, folders and files.
    split : {"train", "test", "all", "unlabeled"}
        ``digits``: train is the first 1437 images, test the last 360. ``imagenette``: test is its
        ``val``. Only ``stl10`` has "unlabeled"; its "all" is train and test. A folder with
        subfolders ``train`` and ``val`` or ``test`` has these splits; other folders and files have
        no "test".
    size : int, optional
        Side of the square that images are scaled to: the shorter edge is resized (bicubic), the
        centre is cut out. Default: no change if all have one size, else 96.
    limit : int, optional
        Maximum number of images, spread evenly over the data set.
    order : callable, optional
        Function of the number of images and of their labels that gives the order to load them in,
        as indices. Default: that of the data set.
    stream : {"auto", "always", "never"}
        Whether images of a folder (and of ``imagenette``) are decoded once into a file, which is
        then mapped into memory and read where images are used
        (:func:`sslsim.data.photos.stored.read_or_map`). ``auto``: if they have more than 1 GiB
        decoded. Other data are always in memory.
    cache : path, optional
        Folder of these files, one for each data set, split, size and limit. Default:
        ``$XDG_CACHE_HOME/sslsim``, else ``~/.cache/sslsim``.

    Returns
    -------
    Images
        Images with pixels as uint8: grey values 0..16 of digits become ``round(255 v / 16)``,
        floats in [0, 1] of a file become ``round(255 v)``.

    Raises
    ------
    ValueError
        If the data set, split or root is unknown, a download fails, a folder contains no image, a
        file cannot be read, or a file does not contain the expected arrays.

    Examples
    --------
    >>> digits = load_images()
    >>> tuple(digits.images.shape), digits.labels[:5].tolist()
    ((1437, 1, 8, 8), [0, 1, 2, 3, 4])
    """
    if not isinstance(name, str | os.PathLike) or not os.fspath(name):
        raise ValueError(f"name is {name!r}; expected a data set, a folder or a file")
    for option, value in (("size", size), ("limit", limit)):
        if value is not None:
            check_count(option, value)
    import torch

    source = _source(os.fspath(name), root, split)
    labels = source.labels
    places: slice | NDArray[np.int64] = _spread(source.count, limit)
    if order is not None:
        places = np.arange(source.count)[places]
        chosen = None if labels is None else torch.as_tensor(labels, dtype=torch.int64)[places]
        places = places[np.asarray(order(len(places), chosen))]
    if labels is not None:
        labels = torch.as_tensor(labels, dtype=torch.int64)[places]
    if isinstance(source, _Photos):
        from sslsim.data.photos import read_or_map

        used = np.arange(source.count)[places]
        key = (source.folder, split, size, limit, order is not None)
        images, streamed = read_or_map(
            [source.paths[k] for k in used],
            size,
            Path(_default_cache() if cache is None else cache) / _store_name(*key),
            base=source.folder,
            stream=stream,
        )
        return Images(images, labels, os.fspath(name), streamed)
    if stream == "always":
        raise ValueError(
            f"stream is 'always', but {os.fspath(name)} is no folder of images; expected auto or "
            "never"
        )
    images = torch.as_tensor(source.pixels)[places]
    if size is not None and images.shape[2:] != (size, size):
        from sslsim.data.photos import resized

        images = resized(images, size)
    return Images(images, labels, os.fspath(name))


def has_test_split(name: str | os.PathLike[str]) -> bool:
    """Whether a data set has a test split.

    Parameters
    ----------
    name : str or path
        As for :func:`load_images`.

    Returns
    -------
    bool
        False for files, and for folders without ``train`` and ``val`` or ``test``.

    Examples
    --------
    >>> has_test_split("digits"), has_test_split("images.npz")
    (True, False)
    """
    if os.fspath(name) in DATA_SETS:
        return True
    from sslsim.data.photos import split_folders

    return "test" in split_folders(name)


def holds_pairs(path: str | os.PathLike[str]) -> bool:
    """Whether a file contains pairs (``x`` and ``x_prime``) instead of images.

    Parameters
    ----------
    path : path
        Name or path, as in :func:`load_images`; only an ``.npz`` file can contain pairs.

    Returns
    -------
    bool
        True for an ``.npz`` file with ``x`` and ``x_prime``.

    Raises
    ------
    ValueError
        If an ``.npz`` file is missing or cannot be read.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "pairs.npz"
    >>> np.savez(path, x=np.eye(3), x_prime=np.ones((3, 3)))
    >>> holds_pairs(path), holds_pairs("digits")
    (True, False)
    """
    if Path(path).suffix.lower() != ".npz" or Path(path).is_dir():
        return False
    return {"x", "x_prime"} <= set(npz_names(path))


def load_pairs(path: str | os.PathLike[str]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Load the two views of every pair from an ``.npz`` file, as they are.

    Parameters
    ----------
    path : path
        File with ``x`` and ``x_prime``, both (n, m), of any real type.

    Returns
    -------
    x, x_prime : ndarray, shape (n, m)
        Views, neither scaled nor centred: float64, float32 or uint8 as in the file, other types as
        float64.

    Raises
    ------
    ValueError
        If the file cannot be read, an array is missing or not real, shapes differ, a value
        is not finite, or there are fewer than 2 pairs.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "pairs.npz"
    >>> np.savez(path, x=np.eye(3), x_prime=np.ones((3, 3)))
    >>> load_pairs(path)[1].shape
    (3, 3)
    """
    x, x_prime = (npz_array(path, key) for key in ("x", "x_prime"))
    if x.shape != x_prime.shape or x.ndim != 2 or len(x) < 2:
        raise ValueError(
            f"{path}: x has shape {x.shape} and x_prime {x_prime.shape}; "
            "expected equal shapes (n, m) with n of at least 2"
        )
    kept = (np.float64, np.float32, np.uint8)
    x, x_prime = (view if view.dtype in kept else view.astype(np.float64) for view in (x, x_prime))
    return x, x_prime


@dataclass(frozen=True, eq=False)
class _Pixels:
    """Images (n, c, h, w) in memory, and their labels."""

    pixels: Any
    labels: Any

    @property
    def count(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True, eq=False)
class _Photos:
    """Image files of a folder, and their labels."""

    paths: Any
    labels: Any
    folder: str

    @property
    def count(self) -> int:
        return len(self.paths)


def _source(name: str, root: str | os.PathLike[str] | None, split: str) -> _Pixels | _Photos:
    """A data set whose photographs are not read yet."""
    splits = (*_SPLITS, "unlabeled") if name == "stl10" else _SPLITS
    if split not in splits:
        raise ValueError(f"{name} has no split {split!r}; expected one of {', '.join(splits)}")
    if name == "digits":
        pixels, labels = _digits()
        part = {"train": slice(_DIGITS_TRAIN), "test": slice(_DIGITS_TRAIN, None)}
        places = part.get(split, slice(None))
        return _Pixels(pixels[places].copy(), labels[places].copy())
    if name in DATA_SETS:
        parts = _SPLITS[:2] if split == "all" else (split,)
        if name == "imagenette":
            files = [_imagenette_files(root, part) for part in parts]
            return _Photos(*_joined(files), os.fspath(_root(root)))
        return _Pixels(*_joined([_torchvision_images(name, root, part) for part in parts]))
    if Path(name).is_dir():
        from sslsim.data.photos import find_photos

        return _Photos(*find_photos(name, split), name)
    if is_array_file(name):
        if split == "test":
            raise ValueError(f"{name} has no split 'test'; expected train or all, which are one")
        return _Pixels(*read_images(name))
    if Path(name).exists():
        what = f"{name} is a file of another kind"
    elif Path(name).parent != Path() or name.startswith((".", "~")):
        what = f"no such folder or data set: {name}"
    else:
        what = f"unknown data set {name!r}, and no such folder"
    raise ValueError(
        f"{what}; expected one of {', '.join(DATA_SETS)}, a folder of images, or an .npz, .npy or "
        "IDX file"
    )


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sslsim"


def _store_name(folder: str, *choice: object) -> str:
    """Name of the folder of decoded images in the cache, unique to a folder and what is used."""
    real = os.path.realpath(folder)
    digest = hashlib.blake2b(repr((real, *choice)).encode(errors="surrogateescape"), digest_size=8)
    return f"images-{os.path.basename(real)}-{digest.hexdigest()}"


@cache
def _digits() -> tuple[Any, Any]:
    """Pixels and labels of all digits that ship with scikit-learn, read once.

    The file is read directly: importing scikit-learn takes ten times as long.
    """
    package = find_spec("sklearn")
    folders = (package and package.submodule_search_locations) or ()
    paths = (Path(folder, "datasets", "data", "digits.csv.gz") for folder in folders)
    path = next((path for path in paths if path.is_file()), None)
    if path is None:  # a version that stores it elsewhere
        from sklearn.datasets import load_digits

        grey, labels = load_digits(return_X_y=True)
    else:
        rows = np.loadtxt(path, delimiter=",")
        grey, labels = rows[:, :-1], rows[:, -1].astype(np.int64)
    return np.round(grey.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8), labels


def _spread(n: int, limit: int | None) -> slice | NDArray[np.int64]:
    """Indices of at most ``limit`` of n items, spread evenly."""
    if limit is None or limit >= n:
        return slice(None)
    return np.arange(limit) * n // limit


def _joined(parts: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    if len(parts) == 1:
        return parts[0]
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _imagenette_files(root: str | os.PathLike[str] | None, split: str) -> tuple[Any, Any]:
    split = {"test": "val"}.get(split, split)
    # The loader returns the paths: files are decoded by threads, not one after another.
    files = _torchvision("Imagenette", root, split=split, size="160px", loader=str)
    paths, labels = zip(*(files[k] for k in range(len(files))), strict=True)
    return np.array(paths), np.array(labels)


def _torchvision_images(
    name: str, root: str | os.PathLike[str] | None, split: str
) -> tuple[Any, Any]:
    """Images (n, c, h, w) and labels of a data set that torchvision loads into memory."""
    if name == "stl10":
        stl10 = _torchvision("STL10", root, split=split)
        return stl10.data, None if split == "unlabeled" else stl10.labels
    known = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "fashion_mnist": "FashionMNIST"}
    data_set = _torchvision(known[name], root, train=split == "train")
    pixels = np.asarray(data_set.data)
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(pixels), np.asarray(data_set.targets)


def _torchvision(kind: str, root: str | os.PathLike[str] | None, **options: Any) -> Any:
    from sslsim.core.torchvision import torchvision

    folder = _root(root)
    if root is None:
        folder.mkdir(parents=True, exist_ok=True)
    elif not folder.is_dir():
        raise ValueError(f"root {folder} is not a folder; expected one that exists")
    make = getattr(torchvision.datasets, kind)
    try:
        return make(str(folder), download=False, **options)
    except RuntimeError:  # not there yet
        try:
            return make(str(folder), download=True, **options)
        except (OSError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"{kind} is not in {folder} and could not be downloaded: {reason}"
            ) from error


def _root(root: str | os.PathLike[str] | None) -> Path:
    """Folder of the torchvision data sets."""
    if root is not None:
        return Path(root)
    return Path(os.environ.get("SSLSIM_DATA") or Path.home() / ".cache" / "sslsim")


def part_of(data: Images, chosen: torch.Tensor | slice) -> Images:
    """Select images of a data set.

    Parameters
    ----------
    data : Images
        The data set.
    chosen : Tensor or slice
        Indices, or a mask of bools, which copy the images; or a slice, which does not.

    Returns
    -------
    Images
        Selected images with their labels.

    Examples
    --------
    >>> import torch
    >>> data = Images(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.arange(3), "x")
    >>> part_of(data, torch.tensor([2, 0])).labels.tolist()
    [2, 0]
    """
    labels = None if data.labels is None else data.labels[chosen]
    streamed = data.streamed and isinstance(chosen, slice)
    return replace(data, images=data.images[chosen], labels=labels, streamed=streamed)


def spread_over(data: Images, count: int) -> Images:
    """Select images that are spread evenly over a data set.

    Parameters
    ----------
    data : Images
        The data set.
    count : int
        Number of images; all if there are fewer.

    Returns
    -------
    Images
        Selected images with their labels.

    Examples
    --------
    >>> import torch
    >>> data = Images(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), torch.arange(6), "x")
    >>> spread_over(data, 3).labels.tolist()
    [0, 2, 4]
    """
    import torch

    n = len(data.images)
    return part_of(data, torch.arange(min(count, n)) * n // min(count, n))
