"""Run folders: one writer each, earlier results kept until the new ones are complete.

A study that is done in one go writes into a hidden folder, whose files replace the earlier results
together (:func:`new_results`). Training, which goes on where it was interrupted, writes in place
(:func:`run_in_place`).
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from sslsim.core.errors import reason
from sslsim.core.files import plain, read_json, sweep, whole_file, write_json
from sslsim.runs.stored import stored_config

INSTRUCTION_SETS = ("avx2", "avx512", "amx")
"""Instruction sets on which the speed of matrix products depends."""

_PACKAGES = ("sslsim", "numpy", "scipy", "scikit-learn", "torch", "torchvision", "matplotlib")
_PROGRESS = ("checkpoints", "encoders", "cells", "records.jsonl", "measured.jsonl")
_PARTIAL = ".partial-"  # results that are being written, followed by 16 digits
_COMPLETE = ".complete"  # results that are complete, on their way into the folder
_REPLACED = ".replaced.json"  # in it: names of the earlier results


@contextmanager
def new_results(
    out: str | os.PathLike[str],
    command: str,
    options: Any,
    *,
    results: Sequence[str],
    resumes: bool = False,
) -> Iterator[Path]:
    """Write results that replace those of an earlier run of the same command, all or none.

    Parameters
    ----------
    out : path
        The run folder; made with its parents if missing.
    command : str
        Name of the command.
    options : dataclass or mapping
        Its options.
    results : sequence of str
        Names of all files that the command may write. Earlier ones that are not written again are
        removed in the end.
    resumes : bool
        The command keeps intermediate results in the run folder, to go on from if it is
        interrupted: ``config.json`` is then written at once where there are none yet.

    Yields
    ------
    Path
        Folder to write the results into. If the block raises, it is removed, and the run folder is
        as it was before.

    Raises
    ------
    ValueError
        If the run folder belongs to another command, lacks its ``config.json``, or cannot be
        written to.

    Examples
    --------
    >>> import tempfile
    >>> out = Path(tempfile.mkdtemp()) / "first"
    >>> with new_results(out, "predict", {"seed": 0}, results=("times.json",)) as folder:
    ...     write_json(folder / "times.json", {"times": [1.0]})
    >>> sorted(path.name for path in out.iterdir())
    ['config.json', 'times.json']
    """
    folder = Path(out)
    check_folder(folder, command, results)
    made = _missing(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _settle(folder)
        sweep(folder)
        _remove_partial(folder)
        partial = folder / f"{_PARTIAL}{secrets.token_hex(8)}"
        partial.mkdir()
    except OSError as error:
        raise ValueError(f"{folder} cannot be made a run folder: {reason(error)}") from error
    try:
        write_json(partial / "config.json", described_run(command, options))
        if resumes and not _holds_any(folder, (*_PROGRESS, *results)):
            write_json(folder / "config.json", read_json(partial / "config.json"))
        yield partial
        _publish(partial, folder, results)
    except ValueError as error:
        if str(partial) not in str(error):
            raise
        # The hidden folder is gone when this is read.
        raise ValueError(str(error).replace(str(partial), str(folder))) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if resumes and not _holds_any(folder, (*_PROGRESS, *results)):
            (folder / "config.json").unlink(missing_ok=True)
        for path in made:
            if path.exists() and not any(path.iterdir()):
                path.rmdir()


@contextmanager
def run_in_place(
    out: str | os.PathLike[str],
    command: str,
    options: Any,
    *,
    results: Sequence[str],
    longer: bool = False,
) -> Iterator[Path]:
    """Write a run that goes on in its folder where it was interrupted.

    Parameters
    ----------
    out : path
        The run folder; made with its parents if missing.
    command : str
        Name of the command.
    options : dataclass or mapping
        Its options, recorded in ``config.json`` when the run begins.
    results : sequence of str
        Names of the files that the run writes in the end, the one that it writes last first.
    longer : bool
        The run goes on beyond the end it had: ``config.json`` is written again.

    Yields
    ------
    Path
        The run folder. If the block raises before there is a new checkpoint, the folder is as it
        was before; files of others are left alone.

    Raises
    ------
    ValueError
        If the folder belongs to another command, lacks its ``config.json``, holds results whose
        checkpoints are gone, or cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> out = Path(tempfile.mkdtemp()) / "first"
    >>> with run_in_place(out, "train", {"seed": 0}, results=("training.json",)) as folder:
    ...     write_json(folder / "training.json", {"steps": 3})
    >>> sorted(path.name for path in out.iterdir())
    ['config.json', 'training.json']
    """
    folder = Path(out)
    saved = _checkpoints(folder)
    begun = bool(saved)
    check_folder(folder, command, results)
    if not begun and _holds_any(folder, results[:1]):
        raise ValueError(
            f"{folder} holds a finished run whose checkpoints are gone; expected another folder"
        )
    made = _missing(folder)
    names = ("config.json",) if begun else ("config.json", *results)
    before = {name: _content(folder / name) for name in names}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
    except OSError as error:
        raise ValueError(f"{folder} cannot be made a run folder: {reason(error)}") from error
    try:
        if longer or not begun:
            write_json(folder / "config.json", described_run(command, options))
        yield folder
    except BaseException:
        if _checkpoints(folder) == saved:
            _restore(folder, before)
            for path in made:
                with suppress(OSError):  # it holds something
                    path.rmdir()
        raise


def check_folder(folder: Path, command: str, results: Iterable[str]) -> None:
    """Refuse a folder that belongs to another command, or has lost its ``config.json``.

    Parameters
    ----------
    folder : Path
        May be missing or empty.
    command : str
        Name of the command that is to write there.
    results : iterable of str
        Names of its results.

    Raises
    ------
    ValueError
        If it is not this command's.

    Examples
    --------
    >>> check_folder(Path("nowhere"), "predict", ("prediction.json",))
    """
    if not (folder / "config.json").exists():
        if present := _holds_any(folder, (*results, *_PROGRESS)):
            raise ValueError(
                f"{folder} holds {present} but no config.json; expected another folder"
            )
        return
    owner = read_json(folder / "config.json").get("command")
    if owner != command:
        raise ValueError(
            f"{folder} holds a run of sslsim {owner}; expected another folder for {command}"
        )


def check_same(
    folder: Path, stored: Mapping[str, Any], asked: Mapping[str, Any], *, holds: str = "a run"
) -> None:
    """Refuse options that differ from those of a run that is to go on.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    stored : mapping
        Its options, as its ``config.json`` has them. What it lacks is not compared.
    asked : mapping
        Options now.
    holds : str
        What the folder holds, for the message.

    Raises
    ------
    ValueError
        Names the first option that differs.

    Examples
    --------
    >>> check_same(Path("runs"), {"seed": 1}, {"seed": 2})
    Traceback (most recent call last):
    ValueError: runs holds a run with seed 1, now it is 2; expected the same to go on with it, \
or another folder
    """
    for name, value in asked.items():
        if name in stored and stored[name] != plain(value):
            raise ValueError(
                f"{folder} holds {holds} with {name} {stored[name]}, now it is {plain(value)}; "
                "expected the same to go on with it, or another folder"
            )


def options_to_resume(
    folder: Path, command: str, options: Any, *, results: Sequence[str], free: Iterable[str]
) -> dict[str, Any] | None:
    """Options that a run was begun with which is to go on; refuse others.

    Parameters
    ----------
    folder : Path
        The run folder.
    command : str
        Name of the command.
    options : dataclass
        Its options now.
    results : sequence of str
        Names of its results.
    free : iterable of str
        Options that may differ, beside ``out``.

    Returns
    -------
    dict or None
        The options in ``config.json``; None where no checkpoint has been saved.

    Raises
    ------
    ValueError
        If the folder belongs to another command, or the first option that differs is named.

    Examples
    --------
    >>> options_to_resume(Path("nowhere"), "train", None, results=(), free=()) is None
    True
    """
    check_folder(folder, command, results)
    if not _checkpoints(folder):
        return None
    stored = stored_config(folder)[1]
    bound = [field for field in fields(options) if field.name not in {"out", *free}]
    # Older runs lack newer options: they had their defaults.
    defaults = {f.name: plain(f.default) for f in bound if f.default is not MISSING}
    check_same(folder, defaults | stored, {f.name: getattr(options, f.name) for f in bound})
    return stored


def described_run(command: str, options: Any) -> dict[str, Any]:
    """What ``config.json`` says of a run.

    Parameters
    ----------
    command : str
        Name of the command.
    options : dataclass or mapping
        Its options.

    Returns
    -------
    dict
        ``command``, ``options``, ``revision`` (git commit of the package's checkout, with
        ``+changes`` if files differ from it; None outside a checkout), ``versions`` (of Python and
        the packages) and ``machine``: ``platform``, ``processor`` (its model), ``instruction_sets``
        (of :data:`INSTRUCTION_SETS`, those that it has, where the system tells), ``processors``
        (their number), and, where torch is loaded, ``torch_threads`` and ``torch_capability`` (the
        instruction set for which torch chooses its code). It never holds a host's name.

    Examples
    --------
    >>> list(described_run("predict", {"seed": 0}))
    ['command', 'options', 'revision', 'versions', 'machine']
    """
    return {
        "command": command,
        "options": plain(options),
        "revision": _revision(),
        "versions": _versions(),
        "machine": _machine(),
    }


def _publish(partial: Path, folder: Path, results: Sequence[str]) -> None:
    """Move complete results into the run folder.

    The first rename decides: before it the earlier results stand, after it :func:`_settle` brings
    the new ones in, here or, if this process is killed, when the folder is next opened.
    """
    written = {path.name for path in partial.iterdir()}
    write_json(partial / _REPLACED, {"names": [name for name in results if name not in written]})
    partial.rename(folder / _COMPLETE)
    _settle(folder)


def _settle(folder: Path) -> None:
    """Bring complete results in, in an order that can be gone on with after a kill at any call."""
    complete = folder / _COMPLETE
    if not complete.exists():
        return
    if (complete / "config.json").exists():  # first: results without it would be refused
        (complete / "config.json").replace(folder / "config.json")
    if (complete / _REPLACED).exists():
        for name in read_json(complete / _REPLACED)["names"]:
            (folder / name).unlink(missing_ok=True)
    for path in complete.iterdir():
        if path.name != _REPLACED:
            path.replace(folder / path.name)
    shutil.rmtree(complete)


def _remove_partial(folder: Path) -> None:
    """Remove what killed processes left; there is one writer a folder."""
    for path in folder.glob(f"{_PARTIAL}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def _missing(folder: Path) -> list[Path]:
    """The folder and those above it that do not exist, the deepest first."""
    missing = []
    for path in (folder, *folder.parents):
        if path.exists():
            break
        missing.append(path)
    return missing


def _checkpoints(folder: Path) -> set[str]:
    return {path.name for path in (folder / "checkpoints").glob("checkpoint-*.pt")}


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _restore(folder: Path, before: Mapping[str, bytes | None]) -> None:
    """Bring files of a folder back to what they held; no checkpoint has been saved since."""
    for name, content in before.items():
        path = folder / name
        if content is None:
            path.unlink(missing_ok=True)
        elif _content(path) != content:
            with whole_file(path) as file:
                file.write(content)
    with suppress(OSError):  # missing, or it holds something
        (folder / "checkpoints").rmdir()


def _holds_any(folder: Path, names: Iterable[str]) -> str | None:
    return next((name for name in names if (folder / name).exists()), None)


def _revision() -> str | None:
    """Commit of the checkout that the package lies in."""
    here = Path(__file__).resolve().parents[2]
    try:
        outputs = [
            subprocess.run(
                ["git", "-C", str(here), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for arguments in (
                ("rev-parse", "--show-toplevel", "HEAD"),
                ("status", "--porcelain", "--untracked-files=no"),
            )
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    top, commit = outputs[0].rsplit("\n", 1)
    if Path(top).resolve() != here:  # installed into somebody else's repository
        return None
    return commit + ("+changes" if outputs[1] else "")


@cache
def _versions() -> dict[str, str]:
    """Read once a process: every one is a file to be parsed."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _machine() -> dict[str, Any]:
    torch = sys.modules.get("torch")
    return {
        "platform": platform.platform(),
        **processor_of(_cpuinfo()),
        "processors": os.cpu_count(),
        "torch_threads": None if torch is None else torch.get_num_threads(),
        "torch_capability": None if torch is None else torch.backends.cpu.get_cpu_capability(),
    }


def processor_of(cpuinfo: str) -> dict[str, Any]:
    r"""Model of a processor and its instruction sets for matrices.

    Parameters
    ----------
    cpuinfo : str
        What Linux says in ``/proc/cpuinfo``; empty on other systems.

    Returns
    -------
    dict
        ``processor``, or its architecture where the model is unknown, and ``instruction_sets``.

    Examples
    --------
    >>> processor_of("model name\t: Some CPU\nflags\t\t: fpu avx2 avx512f avx512vl amx_tile\n")
    {'processor': 'Some CPU', 'instruction_sets': ['avx2', 'avx512', 'amx']}
    """
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    known: dict[str, str] = {}
    for key, _, value in lines:
        known.setdefault(key.strip(), value.strip())
    flags = known.get("flags", "").split()
    return {
        "processor": known.get("model name") or platform.processor() or platform.machine(),
        "instruction_sets": [
            name for name in INSTRUCTION_SETS if any(flag.startswith(name) for flag in flags)
        ],
    }


@cache
def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
