"""The results of a campaign in one small archive, the same bytes from the same files."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Any

from sslsim.core.files import read_json, whole_file

NAME = "results.tar.gz"
KINDS = (".json", ".jsonl", ".npz", ".png", ".gif", ".txt")

_CONTENTS = "contents.json"
_UNWANTED = "checkpoints"
_STAMP = (1980, 1, 1, 0, 0, 0)  # the first that a zip file knows


def pack_results(folder: Path, limit: int) -> Path:
    """Pack what a campaign has found.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> count = (folder / "training.json").write_text("{}")
    >>> with tarfile.open(pack_results(folder, 1000)) as packed:
    ...     packed.getnames()
    ['SHA256SUMS', 'contents.json', 'training.json']
    """
    packed: dict[str, bytes] = {}
    trimmed, left_out = _lacking(folder)
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") or part == _UNWANTED for part in inside.parts)
        name = inside.as_posix()
        if hidden or path.suffix not in KINDS or name == _CONTENTS or not path.is_file():
            continue
        if not path.resolve().is_relative_to(folder.resolve()):  # a link to something else
            continue
        try:
            size = path.stat().st_size
            content: bytes | None = path.read_bytes() if size <= limit else None
            if content is None and path.suffix == ".npz":
                content, missing = _smaller(path, limit)
                if content is not None:
                    trimmed[name] = sorted({*missing, *trimmed.get(name, [])})
        except FileNotFoundError:  # replaced or removed by a job that runs meanwhile
            continue
        if content is None:
            left_out[name] = size
        else:
            packed[name] = content
    contents: dict[str, Any] = {"limit": limit, "trimmed": trimmed, "left_out": left_out}
    listing = json.dumps(contents, indent=1, sort_keys=True).encode() + b"\n"
    packed = {_CONTENTS: listing, **packed}
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in packed.items())
    packed = {"SHA256SUMS": sums.encode(), **packed}
    with (
        whole_file(folder / NAME) as file,
        gzip.GzipFile("", "wb", 9, file, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for name, content in packed.items():
            entry = tarfile.TarInfo(name)  # of time, owner and group 0
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return folder / NAME


def _lacking(folder: Path) -> tuple[dict[str, list[str]], dict[str, int]]:
    """What an archive that was unpacked here lacked and is lacking still."""
    try:
        contents = read_json(folder / _CONTENTS)
        trimmed = {
            str(name): [str(array) for array in arrays]
            for name, arrays in contents["trimmed"].items()
            if (folder / name).exists() and not set(_arrays(folder / name)) & set(arrays)
        }
        left_out = {
            str(name): int(size)
            for name, size in contents["left_out"].items()
            if not (folder / name).exists()
        }
    except (ValueError, KeyError, AttributeError, TypeError):  # none, or none of ours
        return {}, {}
    return trimmed, left_out


def _arrays(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as file:
            return [name.removesuffix(".npy") for name in file.namelist()]
    except (OSError, zipfile.BadZipFile):
        return []


def _smaller(path: Path, limit: int) -> tuple[bytes | None, list[str]]:
    """An .npz file without its largest arrays, and their names; None if nothing is left."""
    try:
        with zipfile.ZipFile(path) as file:
            entries = sorted(file.infolist(), key=lambda entry: (entry.file_size, entry.filename))
            names = [entry.filename for entry in entries]
            totals = list(accumulate(entry.file_size for entry in entries))
            fitting = bisect_right(totals, limit)
            if not fitting:
                return None, []
            content = io.BytesIO()
            with zipfile.ZipFile(content, "w") as smaller:
                for name in sorted(names[:fitting]):
                    smaller.writestr(zipfile.ZipInfo(name, _STAMP), file.read(name))
    except zipfile.BadZipFile:  # of a run that was killed
        return None, []
    return content.getvalue(), sorted(name.removesuffix(".npy") for name in names[fitting:])
