"""Runs and their records as tables for other programs: ``sslsim export RUN ...``."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.options import ExportOptions
from sslsim.core.files import read_arrays, read_lines, whole_file
from sslsim.runs.folder import check_folder, new_results
from sslsim.runs.networks import check_different
from sslsim.runs.recording.table import run_rows

_RESULTS = ("runs.csv", "records.csv")
_SPECTRA = ("cross_spectrum", "covariance_spectrum")
_BOARDS = "tensorboard"

Row = dict[str, Any]


def export(options: ExportOptions) -> Path:
    """Write one row a run, one row a snapshot, and event files."""
    if options.curves < 0:
        raise ValueError(f"curves is {options.curves}; expected a number, or 0 for none")
    check_different("run", options.run)
    check_folder(options.out, "export", _RESULTS)
    writer = _board_writer() if options.tensorboard else None
    runs = run_rows(options.run)
    records = {str(folder): record_rows(folder, options.curves) for folder in options.run}
    with new_results(options.out, "export", options, results=_RESULTS) as folder:
        _write_csv(folder / "runs.csv", runs)
        rows = [{"run": run, **row} for run, of_run in records.items() for row in of_run]
        if rows:
            _write_csv(folder / "records.csv", rows)
    shutil.rmtree(options.out / _BOARDS, ignore_errors=True)
    if writer is not None:
        for place, of_run in enumerate(records.values()):
            _write_board(writer, options.out / _BOARDS / _board(options.run, place), of_run)
    return options.out


def record_rows(folder: Path, curves: int) -> list[Row]:
    """Snapshots of a run, with the leading eigenvalues of its spectra; none where it has none."""
    if not (folder / "records.jsonl").exists():
        return []
    rows = read_lines(folder / "records.jsonl")
    path = folder / "records.npz"
    arrays = read_arrays(path) if path.exists() else {}
    places = {step: place for place, step in enumerate(arrays.get("steps", np.zeros(0)).tolist())}
    for row in rows:
        place = places.get(row.get("step"))
        for name in _SPECTRA:
            if place is not None and name in arrays:
                values = arrays[name][place][:curves].tolist()
                row |= {f"{name}.{mode}": value for mode, value in enumerate(values, 1)}
    return rows


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """All columns that any row has, in the order in which they come; what a row lacks is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    with whole_file(path) as file:
        file.write(text.getvalue().encode())


def _board(runs: Sequence[Path], place: int) -> str:
    """Name of a run in TensorBoard: that of its folder, with a number where two have the same."""
    names = [run.resolve().name for run in runs]
    name = names[place]
    return name if names.count(name) == 1 else f"{name}-{place + 1}"


def _board_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(
            "TensorBoard is not installed; expected it, by: pip install 'sslsim[tensorboard]'"
        ) from error
    return SummaryWriter


def _write_board(writer: Any, folder: Path, rows: Sequence[Row]) -> None:
    with writer(log_dir=str(folder)) as board:
        for row in rows:
            for name, value in row.items():
                if isinstance(value, (int, float)) and name != "step":
                    board.add_scalar(name.replace(".", "/"), value, row["step"])
