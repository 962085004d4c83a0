"""Checkpoints that are whole or not there, newest first, with a fall-back to the one before."""

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
    """Write a checkpoint and remove the oldest beyond ``keep``, and any of a later step.

    The file appears under its name only when all of it is on the disk: it is written beside,
    flushed, and renamed. Killed at any moment, the folder holds whole checkpoints. A later one must
    have been damaged, since training went on from before it.

    Parameters
    ----------
    folder : Path
        Where checkpoints lie; made if need be.
    step : int
        Updates done so far.
    state : dict
        Of tensors, numbers, strings, lists and dictionaries.
    keep : int
        Checkpoints to keep; two let a damaged one fall back, 0 keeps all.

    Returns
    -------
    Path
        ``checkpoint-<step>.pt``, a plain file of ``torch.save``.

    Raises
    ------
    ValueError
        If it cannot be written.

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
    found = checkpoints(folder)
    place = found.index(path)
    for other in (*found[:place], *(found[place + keep :] if keep else ())):
        other.unlink()
    sweep(folder)
    return path


def _save(state: dict[str, Any], file: IO[bytes]) -> None:
    """Save into a file, with the system's own words if it cannot be written."""
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
    except RuntimeError as error:  # torch names its own code, not the reason
        raise (failed or [OSError(str(error).partition("\n")[0])])[0] from error


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a folder.

    Parameters
    ----------
    folder : Path
        May not exist.

    Returns
    -------
    list of Path
        Newest first.

    Examples
    --------
    >>> checkpoints(Path("nowhere"))
    []
    """
    found = [path for path in folder.glob("checkpoint-*.pt") if _NAME.fullmatch(path.name)]
    return sorted(found, reverse=True)


def load_newest_checkpoint(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """Load the newest checkpoint that is intact.

    Parameters
    ----------
    folder : Path
        Where checkpoints lie.
    device : torch.device
        On which tensors are wanted.

    Returns
    -------
    dict or None
        What was saved; None where there is no checkpoint.

    Raises
    ------
    ValueError
        If there are checkpoints, but none is intact.

    Warns
    -----
    UserWarning
        If a damaged one is passed over.

    Examples
    --------
    >>> load_newest_checkpoint(Path("nowhere"), torch.device("cpu")) is None
    True
    """
    found = checkpoints(folder)
    for path in found:
        try:
            return load_checkpoint(path, device)
        except ValueError as error:
            warnings.warn(f"{error}; falling back to the checkpoint before", stacklevel=2)
    if found:
        raise ValueError(f"{folder} holds {len(found)} checkpoint(s), none of them intact")
    return None


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Load one checkpoint after verifying its check sums.

    Parameters
    ----------
    path : Path
        The file.
    device : torch.device
        On which tensors are wanted.

    Returns
    -------
    dict
        What was saved.

    Raises
    ------
    ValueError
        If it is missing or damaged.

    Examples
    --------
    >>> load_checkpoint(Path("nowhere.pt"), torch.device("cpu"))
    Traceback (most recent call last):
    ValueError: nowhere.pt is not an intact checkpoint: No such file or directory
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
    except Exception as error:  # damage shows in many ways: pickle, zip, struct, key, OS errors
        reason = (isinstance(error, OSError) and error.strerror) or str(error).split("\n")[0]
        raise ValueError(f"{path} is not an intact checkpoint: {reason}") from error
    return state


def fingerprint(tensors: Iterable[torch.Tensor | None]) -> str:
    """Digest of what a run is made with, to tell whether a checkpoint is of the same.

    Parameters
    ----------
    tensors : iterable of Tensor or None
        In an order of their own; None counts for nothing.

    Returns
    -------
    str
        32 hexadecimal digits of their shapes and bytes.

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
