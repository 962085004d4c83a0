"""Decoded photographs in one file that is mapped into memory, for folders larger than memory.

A store is a folder. ``images.u8`` holds the pixels, and ``files.npz`` says of which files they are.
The latter is written last: a store without it is not complete. While the store is made, a file
``block-*.npz`` says the same of every block of images that is safe on the disk.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from sslsim.core.errors import reason
from sslsim.core.files import read_arrays, sweep, write_arrays
from sslsim.core.locks import only_writer
from sslsim.data.photos.decoding import (
    Shape,
    decoded,
    read_photos,
    reading_threads,
    shape_of_photos,
)

STREAMED_ABOVE = 2**30
"""Bytes of decoded images above which they are mapped and not read into memory."""

_IMAGES, _FILES = "images.u8", "files.npz"
_BLOCK_BYTES = 2**25  # of pixels, in one block
_BLOCK_FILES = 1024  # in one block, at most
_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # named from Python 3.13 on

Files = Mapping[str, NDArray[Any]]
"""What is known of files: shape (of an image), names, sizes, times and digests (of contents)."""


def read_or_map(
    paths: Sequence[str | os.PathLike[str]],
    size: int | None,
    store: Path,
    *,
    base: str | os.PathLike[str],
    stream: Literal["auto", "always", "never"] = "auto",
) -> tuple[torch.Tensor, bool]:
    """Photographs in memory or, where they are large, mapped from a file that holds them decoded.

    Parameters
    ----------
    paths : sequence of path
        Image files.
    size : int, optional
        As for :func:`sslsim.data.photos.decoding.read_photos`.
    store : Path
        Folder of the decoded images, made when it is first needed.
    base : path
        Folder that the names of the files are relative to.
    stream : {"auto", "always", "never"}
        Whether to map them; ``auto``: above 1 GiB of decoded images.

    Returns
    -------
    images : Tensor of uint8, shape (n, c, h, w)
        The same bits in both cases. A mapped tensor is read from the disk where it is used; what is
        written to it stays in memory.
    mapped : bool

    Raises
    ------
    ValueError
        If a file cannot be read, or the store cannot be written.

    Warns
    -----
    UserWarning
        If files have changed since the store was made, so that it is made anew.

    Notes
    -----
    The store is of the same files if their names, their order and their sizes are the same and,
    where the time of last change differs, the digest (BLAKE2b, 128 bits) of the content.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> Image.new("L", (4, 6), 9).save(folder / "grey.png")
    >>> paths = [folder / "grey.png"]
    >>> images, mapped = read_or_map(paths, None, folder / "s", base=folder, stream="always")
    >>> images.shape, mapped, torch.equal(images, read_photos(paths))
    (torch.Size([1, 1, 6, 4]), True, True)
    """
    names = [os.path.relpath(path, base) for path in paths]
    if stream != "never":
        images = _mapped(paths, names, store)
        if images is not None and (stream == "always" or images.numel() > STREAMED_ABOVE):
            return images, True
    shape = shape_of_photos(paths, size)
    if stream == "never" or (stream == "auto" and len(paths) * _bytes(shape) <= STREAMED_ABOVE):
        return read_photos(paths, shape=shape), False
    with only_writer(store, wait=True):
        images = _mapped(paths, names, store)  # another process may have made it
        if images is None:
            _make(paths, names, shape, store)
            images = _mapped(paths, names, store)
    if images is None:
        raise ValueError(f"files in {base} changed while they were read; expected none that change")
    return images, True


def _mapped(
    paths: Sequence[str | os.PathLike[str]], names: Sequence[str], store: Path
) -> torch.Tensor | None:
    """Images of a store; None if it is not complete, or not of these files as they are now."""
    files = _known(store / _FILES)
    if files is None or not _same_files(files, paths, names, store / _FILES):
        return None
    shape = (len(paths), *map(int, files["shape"]))
    try:
        with (store / _IMAGES).open("rb") as file:
            if os.fstat(file.fileno()).st_size != np.prod(shape):
                return None
            # Private pages that are not reserved: they may be more than the memory.
            pages = mmap.mmap(
                file.fileno(),
                0,
                flags=mmap.MAP_PRIVATE | _NO_RESERVE,
                prot=mmap.PROT_READ | mmap.PROT_WRITE,
            )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"{store / _IMAGES} cannot be read: {reason(error)}") from error
    return torch.from_numpy(np.frombuffer(pages, dtype=np.uint8).reshape(shape))


def _make(
    paths: Sequence[str | os.PathLike[str]], names: Sequence[str], shape: Shape, store: Path
) -> None:
    """Decode photographs into a store, or go on where a killed process stopped.

    A complete store that is out of date loses its images first: others that have mapped them keep
    them, and no later kill leaves the list of one set of files with the images of another.
    """
    images, total = store / _IMAGES, len(paths) * _bytes(shape)
    sweep(store)
    if (store / _FILES).exists():
        files = _known(store / _FILES)
        changes = None if files is None else _what_changed(files, paths, names)
        problem = "is damaged" if changes is None else f"is of other files ({changes})"
        warnings.warn(f"{store} {problem}; it is made anew", stacklevel=3)
        images.unlink(missing_ok=True)
        (store / _FILES).unlink()
    if not images.exists() or images.stat().st_size != total:
        images.unlink(missing_ok=True)
        for block in store.glob("block-*.npz"):
            block.unlink()
        _check_space(store, total)
    length = max(1, min(_BLOCK_FILES, _BLOCK_BYTES // _bytes(shape)))
    blocks = []
    try:
        with (
            images.open("r+b" if images.exists() else "w+b") as file,
            reading_threads() as threads,
            tqdm(total=len(paths), desc="storing photographs", unit=" files", disable=None) as bar,
        ):
            file.truncate(total)
            for start in range(0, len(paths), length):
                some, their = paths[start : start + length], names[start : start + length]
                block = store / f"block-{start // length:06d}.npz"
                files = _known(block)
                if (
                    files is None
                    or tuple(files["shape"]) != shape
                    or not _same_files(files, some, their, block)
                ):
                    pixels = np.empty((len(some), *shape), dtype=np.uint8)
                    facts = list(threads.map(partial(_read, shape=shape), some, pixels))
                    file.seek(start * _bytes(shape))
                    file.write(pixels.data)
                    file.flush()
                    os.fsync(file.fileno())
                    files = _described(shape, their, facts)
                    write_arrays(block, **files)
                blocks.append(files)
                bar.update(len(some))
    except OSError as error:
        raise ValueError(f"{images} cannot be written: {reason(error)}") from error
    parts = {key: np.concatenate([b[key] for b in blocks]) for key in ("sizes", "times", "digests")}
    write_arrays(store / _FILES, shape=np.array(shape), names=_joined(names), **parts)
    for path in store.glob("block-*.npz"):
        path.unlink()


def _read(
    path: str | os.PathLike[str], into: NDArray[np.uint8], shape: Shape
) -> tuple[int, int, bytes]:
    """Decode a file into an array; its size, time of change and digest."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            content = file.read()
    except OSError as error:
        raise ValueError(f"{path} cannot be read as an image: {reason(error)}") from error
    into[:] = decoded(path, shape, content)
    return len(content), status.st_mtime_ns, _digest(content)


def _described(
    shape: Shape, names: Sequence[str], facts: Sequence[tuple[int, int, bytes]]
) -> dict[str, NDArray[Any]]:
    sizes, times, digests = zip(*facts, strict=True)
    return {
        "shape": np.array(shape),
        "names": _joined(names),
        "sizes": np.array(sizes, dtype=np.int64),
        "times": np.array(times, dtype=np.int64),
        "digests": np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(names), -1),
    }


def _known(path: Path) -> Files | None:
    """What a file of a store says; None if there is none, or a damaged one."""
    if not path.exists():
        return None
    with suppress(ValueError):
        files = read_arrays(path)
        if {"shape", "names", "sizes", "times", "digests"} <= set(files):
            return files
    return None


def _same_files(
    files: Files, paths: Sequence[str | os.PathLike[str]], names: Sequence[str], path: Path
) -> bool:
    """Whether files are as they are described; times that differ without a change are noted."""
    if not np.array_equal(files["names"], _joined(names)):
        return False
    sizes, times = _sizes_and_times(paths)
    if not np.array_equal(files["sizes"], sizes):
        return False
    later = np.flatnonzero(files["times"] != times)
    with reading_threads() as threads:
        digests = list(threads.map(lambda place: _digest_of(paths[place]), later))
    if any(files["digests"][k].tobytes() != d for k, d in zip(later, digests, strict=True)):
        return False
    if len(later):
        with suppress(ValueError):  # a store that cannot be written
            write_arrays(path, **{**files, "times": times})
    return True


def _what_changed(
    files: Files, paths: Sequence[str | os.PathLike[str]], names: Sequence[str]
) -> str | None:
    """How files differ from those that are described; None if they are the same."""
    old = files["names"].tobytes().decode(errors="surrogateescape").split("\0")
    place = {name: k for k, name in enumerate(old)}
    changed = sum(
        name in place and files["digests"][place[name]].tobytes() != _digest_of(path)
        for name, path in zip(names, paths, strict=True)
    )
    new, gone = len(set(names) - set(old)), len(set(old) - set(names))
    if not (new or gone or changed):
        return None
    return f"{new} new, {gone} gone, {changed} changed"


def _sizes_and_times(
    paths: Sequence[str | os.PathLike[str]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    try:
        found = [os.stat(path) for path in paths]
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be read: {reason(error)}") from error
    sizes = np.array([status.st_size for status in found], dtype=np.int64)
    return sizes, np.array([status.st_mtime_ns for status in found], dtype=np.int64)


def _check_space(store: Path, total: int) -> None:
    free = shutil.disk_usage(store).free
    if free < total:
        raise ValueError(
            f"{store} has {free / 2**30:.1f} GiB of free space; expected {total / 2**30:.1f} GiB "
            "for the decoded images, in another cache or by a smaller size"
        )


def _digest_of(path: str | os.PathLike[str]) -> bytes:
    try:
        return _digest(Path(path).read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {reason(error)}") from error


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _joined(names: Sequence[str]) -> NDArray[np.uint8]:
    return np.frombuffer("\0".join(names).encode(errors="surrogateescape"), dtype=np.uint8)


def _bytes(shape: Shape) -> int:
    channels, height, width = shape
    return channels * height * width
