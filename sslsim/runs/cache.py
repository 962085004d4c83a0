"""Cells of a study of encoders trained anew: each trained once, each measure of it read once.

What is kept is found by what it came of (options, images, seed), not by its place in a command: a
command with more shares, strengths, seeds or data sets trains and measures what is new.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from sslsim.core.files import plain, read_json, write_json
from sslsim.data.datasets import Images
from sslsim.runs.options import LearnerOptions

_FREE = ("root", "device", "data", "limit", "split", "size")  # images go by their content

Trained = TypeVar("Trained")
Measures = Mapping[str, tuple[dict[str, Any], Callable[[Trained, Path], Any]]]


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
        Of the training.
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
    >>> one, other = (training_identity(options, load_images(limit=n), 0) for n in (5, 6))
    >>> [key for key in one if one[key] != other[key]]
    ['images']
    """
    held = {
        field.name: getattr(options, field.name)
        for field in fields(LearnerOptions)
        if field.name not in (*_FREE, "seed")
    }
    return plain({**held, "seed": seed, "images": digest_of(data), **others})


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
    >>> one = Images(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), None, "x")
    >>> digest_of(one) == digest_of(one), digest_of(one) == digest_of(one, one)
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
    train: Callable[[Path], Trained],
    measures: Measures[Trained],
) -> dict[str, Any]:
    """Measures of an encoder: as kept, or read now, which trains it first if need be.

    Parameters
    ----------
    cells : Path
        Folder of all cells: ``NAME/`` holds the training, ``NAME-MEASURE.json`` a measure.
    identity : mapping
        Of :func:`training_identity`.
    train : callable
        Folder -> the encoder, trained there or loaded from there.
    measures : mapping of str to (dict, callable)
        By name: what the measure depends on beside the encoder, and how to read it, in a folder
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
    >>> measures = {"share": ({}, lambda trained, folder: 0.5)}
    >>> for _ in range(2):
    ...     found = measured_cell(folder, {"seed": 0}, calls.append, measures)
    >>> found, len(calls)
    ({'share': 0.5}, 1)
    """
    trained: list[Trained] = []
    name = _short(identity)
    found = {}
    for measure, (of, read) in measures.items():
        whole = {"encoder": dict(identity), "measure": measure, **of}
        path = cells / f"{name}-{_short(whole)}.json"
        kept = read_json(path) if path.exists() else {}
        if kept.get("of") == plain(whole) and "found" in kept:
            found[measure] = kept["found"]
            continue
        if not trained:
            trained.append(train(cells / name))
        found[measure] = plain(read(trained[0], path.with_suffix("")))
        write_json(path, {"found": found[measure], "of": whole})
        shutil.rmtree(path.with_suffix(""), ignore_errors=True)
    return found


def _short(identity: Mapping[str, Any]) -> str:
    text = json.dumps(plain(identity), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
