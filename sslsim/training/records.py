"""The steps at which a run records snapshots, and the files of its records."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslsim.core.files import sweep, whole_file

SEEN = 0.02  # of the largest eigenvalue: what is smaller may move unseen
_ALL = 2**62  # a step beyond all
MOVED = 0.3  # of an eigenvalue, between two snapshots

Spectra = Sequence[NDArray[Any]]


def record_steps(steps: int, count: int) -> list[int]:
    """Updates after which to take a snapshot: half of them spaced evenly, half logarithmically.

    Parameters
    ----------
    steps : int
        Number of updates of the run, at least 1.
    count : int
        Number of snapshots, at least 2.

    Returns
    -------
    list of int
        Updates in ascending order, from 0 to ``steps``; fewer than ``count`` if some coincide.

    Raises
    ------
    ValueError
        If a number is too small.

    Examples
    --------
    >>> record_steps(100, 8)
    [0, 1, 3, 10, 32, 33, 67, 100]
    """
    if steps < 1 or count < 2:
        raise ValueError(
            f"steps is {steps} and records {count}; expected at least 1 update and 2 records"
        )
    half = max(count - count // 2, 2)
    even = np.linspace(0, steps, half)
    log = np.geomspace(1, steps, count - half + 1)[:-1]
    return sorted({round(float(step)) for step in (*even, *log)})


def open_ended_steps(count: int, horizon: int = 1_000_000) -> list[int]:
    """Updates after which to take a snapshot of a run whose length is not known.

    Parameters
    ----------
    count : int
        Largest number of snapshots, at least 2.
    horizon : int
        Updates of the longest run that they reach to.

    Returns
    -------
    list of int
        0, and then updates spaced evenly in their logarithm.

    Raises
    ------
    ValueError
        If a number is too small.

    Examples
    --------
    >>> open_ended_steps(5, 1000)
    [0, 1, 10, 100, 1000]
    """
    if horizon < 1 or count < 2:
        raise ValueError(
            f"horizon is {horizon} and records {count}; expected at least 1 update and 2 records"
        )
    return sorted({0, *(round(float(step)) for step in np.geomspace(1, horizon, count - 1))})


def closer_record(steps: Sequence[int], spectra: Sequence[Spectra]) -> int | None:
    """Update of one more snapshot, where an eigenvalue has moved much since the one before.

    Planned snapshots may lie too far apart for the first steps of a long run. An eigenvalue of at
    least ``SEEN`` of the largest that has changed by more than ``MOVED`` of itself between the last
    two snapshots makes the next one due after half their distance.

    Parameters
    ----------
    steps : sequence of int, length 2
        Updates of the last two snapshots.
    spectra : sequence of sequences of ndarray, length 2
        Spectra of each, every one descending.

    Returns
    -------
    int or None
        The update; None where nothing has moved much.

    Examples
    --------
    >>> spectra = [[np.array([0.1, 0.01])], [np.array([0.4, 0.01])]]
    >>> closer_record([40, 60], spectra), closer_record([40, 60], [spectra[1]] * 2)
    (70, None)
    """
    for before, after in zip(*spectra, strict=True):
        larger = np.maximum(np.abs(before), np.abs(after))
        seen = larger >= SEEN * larger.max(initial=0.0)
        if np.any(np.abs(after - before)[seen] > MOVED * larger[seen]):
            return steps[1] + max((steps[1] - steps[0]) // 2, 1)
    return None


class Records:
    """Snapshots of a run, stored in memory and in its folder.

    ``records.jsonl`` has a line of numbers for each snapshot. ``records.npz`` has ``steps``,
    ``times`` and the arrays of the snapshots under their names, stacked as float32.

    Parameters
    ----------
    folder : Path
        Folder of the run, created at the first record if missing.

    Examples
    --------
    >>> import tempfile
    >>> recorder = Records(Path(tempfile.mkdtemp()) / "run")
    >>> recorder.add({"step": 0, "time": 0.0, "rank_me": 1.0, "mean": np.zeros(2)})
    >>> recorder.save()
    >>> recorder.lines
    [{'step': 0, 'time': 0.0, 'rank_me': 1.0}]
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[dict[str, Any]] = []
        self.arrays: dict[str, list[NDArray[Any]]] = {}

    def add(self, record: dict[str, Any]) -> None:
        """Store a snapshot and append its line to ``records.jsonl``."""
        numbers = {k: v for k, v in record.items() if not isinstance(v, np.ndarray)}
        # Strict JSON has no infinity and no NaN.
        clean = {
            k: None if isinstance(v, float) and not math.isfinite(v) else v
            for k, v in numbers.items()
        }
        self.lines.append(clean)
        for name, value in record.items():
            if isinstance(value, np.ndarray):
                self.arrays.setdefault(name, []).append(value.astype(np.float32))
        path = self.folder / "records.jsonl"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(clean, allow_nan=False) + "\n")
        except OSError as error:
            raise ValueError(f"{path} cannot be written: {error.strerror}") from error

    def save(self) -> None:
        """Write both files, completely or not at all."""
        self._write_lines()
        with whole_file(self.folder / "records.npz") as file:
            arrays: dict[str, Any] = {name: np.stack(rows) for name, rows in self.arrays.items()}
            arrays["steps"] = np.array([line["step"] for line in self.lines], dtype=np.int64)
            arrays["times"] = np.array([line["time"] for line in self.lines], dtype=np.float64)
            np.savez(file, **arrays)

    def resume(self, step: int) -> None:
        """Load the records up to ``step``; later ones will be recorded again.

        Parameters
        ----------
        step : int
            Step of the checkpoint from which training resumes; -1 for a new run.

        Raises
        ------
        ValueError
            If records of a checkpoint cannot be read, or files cannot be written.
        """
        self.lines, self.arrays = [], {}
        if step >= 0:
            try:
                self._read(step)
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                owner = "a recorded run" if step == _ALL else f"the checkpoint of step {step}"
                raise ValueError(
                    f"{self.folder}/records.jsonl and records.npz cannot be read; expected the "
                    f"records that belong to {owner}"
                ) from error
        else:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ValueError(f"{self.folder} cannot be made: {error.strerror}") from error
        sweep(self.folder)
        self._write_lines()

    def recall(self) -> None:
        """Load all complete records, of which :meth:`resume` may drop the last ones."""
        self.lines, self.arrays = [], {}
        if (self.folder / "records.npz").exists():
            self.resume(_ALL)

    def _read(self, step: int) -> None:
        lines = (self.folder / "records.jsonl").read_text(encoding="utf-8").splitlines()
        # Opened here: numpy leaves a damaged file open.
        with (self.folder / "records.npz").open("rb") as opened, np.load(opened) as file:
            # A kill between the two files leaves one of them longer: what both hold counts.
            for text, recorded in zip(lines, file["steps"].tolist(), strict=False):
                if recorded > step or (line := json.loads(text))["step"] != recorded:
                    break
                self.lines.append(line)
            count = len(self.lines)
            self.arrays = {
                name: list(file[name][:count])
                for name in file.files
                if name not in ("steps", "times") and count > 0
            }

    def _write_lines(self) -> None:
        with whole_file(self.folder / "records.jsonl") as file:
            text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in self.lines)
            file.write(text.encode())
