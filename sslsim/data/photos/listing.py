"""Photographs of a folder: their paths, splits and classes."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslsim.core.torchvision import torchvision

_SUFFIXES = torchvision.datasets.folder.IMG_EXTENSIONS
_TEST_FOLDERS = ("val", "test")


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
    parts = split_folders(folder)
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


def split_folders(folder: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Folders that the splits of a folder consist of.

    Parameters
    ----------
    folder : path
        The folder; it need not exist.

    Returns
    -------
    dict of str to list of str
        By split; "" stands for the folder itself.

    Examples
    --------
    >>> split_folders("nowhere")
    {'train': [''], 'all': ['']}
    """
    folder = Path(folder)
    tests = [name for name in _TEST_FOLDERS if (folder / name).is_dir()]
    if tests and (folder / "train").is_dir():
        return {"train": ["train"], "test": tests[:1], "all": ["train", *tests[:1]]}
    return {"train": [""], "all": [""]}


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
