"""Finished parts of long work, stored in a run folder: each is made once, and read when resumed.

A part is recognised by what it depends on (options, images, seed, weights), not by its place in a
command: a command with more shares, strengths, seeds or data sets makes what is new.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from sslsim.core.files import plain, read_json, read_lines, whole_file, write_json
from sslsim.data.datasets import Images
from sslsim.runs.options import LearnerOptions, chosen_options

_FREE = (
    "root",
    "device",
    "data",
    "limit",
    "split",
    "size",
    "stream",
    "cache",
)  # images go by their content

Encoder = TypeVar("Encoder")
Measures = Mapping[str, tuple[dict[str, Any], Callable[[Encoder, Path], Any]]]


def stored_part(
    path: Path,
    identity: Mapping[str, Any],
    keys: Collection[str],
    make: Callable[[], Mapping[str, Any]],
    *,
    identity_key: str = "identity",
) -> dict[str, Any]:
    """A finished part of a study: as its file holds it, or made now and stored there.

    Parameters
    ----------
    path : Path
        File of the part.
    identity : mapping
        All that the part depends on; a file of another identity is made anew.
    keys : collection of str
        What is read of the part.
    make : callable
        Makes the part: a mapping with these keys and any others to be stored.
    identity_key : str
        Key of the identity in the file.

    Returns
    -------
    dict
        The keys, as JSON holds their values.

    Raises
    ------
    ValueError
        If the file cannot be read or written, or as ``make``.

    Examples
    --------
    >>> import tempfile
    >>> path, makes = Path(tempfile.mkdtemp()) / "part.json", iter([{"loss": 0.5}])
    >>> [stored_part(path, {"seed": 0}, ["loss"], lambda: next(makes)) for _ in range(2)]
    [{'loss': 0.5}, {'loss': 0.5}]
    """
    stored = read_json(path) if path.exists() else {}
    if stored.get(identity_key) != plain(identity) or not set(keys) <= set(stored):
        stored = plain(make())
        write_json(path, {identity_key: identity, **stored})
    return {key: stored[key] for key in keys}


def stored_lines(path: Path, needed: Collection[str]) -> dict[str, dict[str, Any]]:
    """Finished parts of a file of lines, by their keys.

    Parameters
    ----------
    path : Path
        JSON lines, written by :func:`stored_line`; need not exist.
    needed : collection of str
        What every line holds beside its key.

    Returns
    -------
    dict of str to dict
        The lines.

    Raises
    ------
    ValueError
        If the file cannot be read, or a line lacks something.

    Examples
    --------
    >>> stored_lines(Path("nowhere.jsonl"), ["layers"])
    {}
    """
    if not path.exists():
        return {}
    lines = read_lines(path)
    if not all(isinstance(line, dict) and {"key", *needed} <= set(line) for line in lines):
        names = " and ".join(["key", *needed])
        raise ValueError(f"{path} holds a line without {names}; expected measurements")
    return {line["key"]: line for line in lines}


def stored_line(
    path: Path,
    lines: dict[str, dict[str, Any]],
    key: str,
    make: Callable[[], Mapping[str, Any]],
) -> dict[str, Any]:
    """A finished part among the lines of a file, or made now and stored there.

    Parameters
    ----------
    path : Path
        The file; it is written whole, so that an interruption leaves only whole lines.
    lines : dict
        Of :func:`stored_lines`; the new line is added.
    key : str
        All that the part depends on, in short.
    make : callable
        Makes the part.

    Returns
    -------
    dict
        The line, as it was made or as JSON holds it.

    Raises
    ------
    ValueError
        If the file cannot be written, or as ``make``.

    Examples
    --------
    >>> import tempfile
    >>> path, makes = Path(tempfile.mkdtemp()) / "parts.jsonl", iter([{"loss": 0.5}])
    >>> for _ in range(2):
    ...     line = stored_line(path, stored_lines(path, ["loss"]), "0", lambda: next(makes))
    >>> line
    {'loss': 0.5, 'key': '0'}
    """
    if key not in lines:
        lines[key] = {**make(), "key": key}
        with whole_file(path) as file:
            for line in lines.values():
                file.write(json.dumps(plain(line), allow_nan=False).encode() + b"\n")
    return lines[key]


def training_identity(
    options: LearnerOptions, data: Images, seed: int, **others: Any
) -> dict[str, Any]:
    """All that a trained encoder depends on.

    Parameters
    ----------
    options : LearnerOptions
        Method, network and training.
    data : Images
        What it is trained on.
    seed : int
        Seed of the training.
    **others
        What else makes a difference.

    Returns
    -------
    dict
        As JSON holds it.

    Examples
    --------
    >>> from sslsim.data.datasets import load_images
    >>> options = LearnerOptions()
    >>> few, more = (training_identity(options, load_images(limit=n), 0) for n in (5, 6))
    >>> [key for key in few if few[key] != more[key]]
    ['images']
    """
    names = {field.name for field in fields(LearnerOptions)} - {*_FREE, "seed"}
    settings = {name: value for name, value in chosen_options(options).items() if name in names}
    return plain({**settings, "seed": seed, "images": digest_of(data), **others})


def digest_of(*parts: Images) -> str:
    """Digest of images and their labels.

    Parameters
    ----------
    *parts : Images
        Of one or several data sets.

    Returns
    -------
    str
        24 hexadecimal digits.

    Examples
    --------
    >>> import torch
    >>> data = Images(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), None, "x")
    >>> digest_of(data) == digest_of(data), digest_of(data) == digest_of(data, data)
    (True, False)
    """
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        for tensor in (part.images, part.labels):
            if tensor is not None:
                digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
                digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def measured_cell(
    cells: Path,
    identity: Mapping[str, Any],
    train: Callable[[Path], Encoder],
    measures: Measures[Encoder],
) -> dict[str, Any]:
    """Measures of an encoder: as stored, or made now, which trains it first if need be.

    Parameters
    ----------
    cells : Path
        Folder of all cells: ``NAME/`` holds the training, ``NAME-MEASURE.json`` a measure.
    identity : mapping
        Of :func:`training_identity`.
    train : callable
        Folder -> the encoder, trained there or loaded from there.
    measures : mapping of str to (dict, callable)
        By name: what the measure depends on beside the encoder, and how to make it, in a folder
        of its own that is removed afterwards.

    Returns
    -------
    dict of str to object
        By name, as JSON holds it.

    Raises
    ------
    ValueError
        If a file cannot be read or written, or as the callables.

    Examples
    --------
    >>> import tempfile
    >>> folder, calls = Path(tempfile.mkdtemp()), []
    >>> measures = {"share": ({}, lambda encoder, folder: 0.5)}
    >>> for _ in range(2):
    ...     values = measured_cell(folder, {"seed": 0}, calls.append, measures)
    >>> values, len(calls)
    ({'share': 0.5}, 1)
    """
    name = short_name(identity)
    encoder = cache(partial(train, cells / name))
    values = {}
    for measure, (others, read) in measures.items():
        whole = {"encoder": dict(identity), "measure": measure, **others}
        path = cells / f"{name}-{short_name(whole)}.json"
        scratch = path.with_suffix("")
        part = stored_part(
            path,
            whole,
            ["found"],
            partial(_measure, read, encoder, scratch),
            identity_key="of",
        )
        values[measure] = part["found"]
        shutil.rmtree(scratch, ignore_errors=True)
    return values


def _measure(
    read: Callable[[Encoder, Path], Any], encoder: Callable[[], Encoder], folder: Path
) -> dict[str, Any]:
    return {"found": read(encoder(), folder)}


def short_name(identity: Mapping[str, Any]) -> str:
    """Name of the file or folder of a part.

    Parameters
    ----------
    identity : mapping
        All that the part depends on.

    Returns
    -------
    str
        12 hexadecimal digits.

    Examples
    --------
    >>> short_name({"seed": 0, "steps": 7}) == short_name({"steps": 7, "seed": 0})
    True
    """
    text = json.dumps(plain(identity), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
