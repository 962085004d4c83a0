"""Checkpoints: written completely or not at all; a damaged one falls back to the previous one."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, cast

import torch

from sslsim.core.files import sweep, whole_file

_NAME = re.compile(r"checkpoint-(\d{9})\.pt")


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], *, keep: int = 2) -> Path:
    """Write a checkpoint; remove old checkpoints beyond ``keep`` and all of later steps.

    The file appears under its name only when it is complete on the disk. If the process is killed
    at any moment, the folder contains complete checkpoints. Checkpoints of later steps must be
    damaged, because training resumed before them.

    Parameters
    ----------
    folder : Path
        Folder of the checkpoints, created if missing.
    step : int
        Number of updates so far.
    state : dict
        Tensors, numbers, strings, lists and dictionaries.
    keep : int
        Number of checkpoints to keep, 0 for all. With two, a damaged one can fall back to the
        other.

    Returns
    -------
    Path
        ``checkpoint-<step>.pt``, a file of ``torch.save``.

    Raises
    ------
    ValueError
        If the checkpoint cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for step in (10, 20, 30):
    ...     path = save_checkpoint(folder, step, {"weight": torch.ones(2)})
    >>> [path.name for path in checkpoints(folder)]
    ['checkpoint-000000030.pt', 'checkpoint-000000020.pt']
    """
    path = folder / f"checkpoint-{step:09d}.pt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}") from error
    with whole_file(path) as file:
        _save(state, file)
    paths = checkpoints(folder)
    place = paths.index(path)
    for other in (*paths[:place], *(paths[place + keep :] if keep else ())):
        other.unlink()
    sweep(folder)
    return path


def _save(state: dict[str, Any], file: IO[bytes]) -> None:
    """Save into a file; if that fails, raise the error of the system."""
    failed: list[OSError] = []

    class Noting(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, block: Any) -> int:
            try:
                return file.write(block)
            except OSError as error:
                failed.append(error)
                raise

    try:
        torch.save(state, cast(IO[bytes], Noting()))
    except RuntimeError as error:  # torch names its source code, not the reason
        raise (failed or [OSError(str(error).partition("\n")[0])])[0] from error


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a folder.

    Parameters
    ----------
    folder : Path
        Folder; it need not exist.

    Returns
    -------
    list of Path
        Paths, newest first.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for step in (5, 40):
    ...     path = save_checkpoint(folder, step, {})
    >>> [path.name for path in checkpoints(folder)]
    ['checkpoint-000000040.pt', 'checkpoint-000000005.pt']
    """
    paths = [path for path in folder.glob("checkpoint-*.pt") if _NAME.fullmatch(path.name)]
    return sorted(paths, reverse=True)


def load_newest_checkpoint(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """Load the newest checkpoint that is intact.

    Parameters
    ----------
    folder : Path
        Folder of the checkpoints.
    device : torch.device
        Device of the tensors.

    Returns
    -------
    dict or None
        The saved state; None if there is no checkpoint.

    Raises
    ------
    ValueError
        If there are checkpoints, but none is intact.

    Warns
    -----
    UserWarning
        If a checkpoint is damaged and the previous one is used.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for step in (5, 40):
    ...     path = save_checkpoint(folder, step, {"step": step})
    >>> load_newest_checkpoint(folder, torch.device("cpu"))
    {'step': 40}
    """
    paths = checkpoints(folder)
    for path in paths:
        try:
            return load_checkpoint(path, device)
        except ValueError as error:
            warnings.warn(f"{error}; falling back to the checkpoint before", stacklevel=2)
    if paths:
        raise ValueError(f"{folder} holds {len(paths)} checkpoint(s), none of them intact")
    return None


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Load one checkpoint and verify its check sums.

    Parameters
    ----------
    path : Path
        The file.
    device : torch.device
        Device of the tensors.

    Returns
    -------
    dict
        The saved state.

    Raises
    ------
    ValueError
        If the file is missing or damaged.

    Examples
    --------
    >>> import tempfile
    >>> path = save_checkpoint(Path(tempfile.mkdtemp()), 5, {"weight": torch.ones(2)})
    >>> load_checkpoint(path, torch.device("cpu"))
    {'weight': tensor([1., 1.])}
    """
    try:
        # torch does not verify the check sums of its own archives: a flipped bit would pass.
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise zipfile.BadZipFile(f"check sum of {broken} is wrong")
        state = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"it holds a {type(state).__name__}")
    except Exception as error:  # damage: errors of pickle, zip, struct, keys or the system
        reason = (isinstance(error, OSError) and error.strerror) or str(error).split("\n")[0]
        raise ValueError(f"{path} is not an intact checkpoint: {reason}") from error
    return state


def fingerprint(tensors: Iterable[torch.Tensor | None]) -> str:
    """Hash of the tensors that define a run, to check that a checkpoint belongs to it.

    Parameters
    ----------
    tensors : iterable of Tensor or None
        Tensors in a fixed order; None is skipped.

    Returns
    -------
    str
        Hash of their shapes and bytes, 32 hexadecimal digits.

    Examples
    --------
    >>> fingerprint([torch.zeros(2), None]) == fingerprint([torch.zeros(2)])
    True
    """
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        if tensor is not None:
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()
