"""Runs as a table: one row a run, with its options and the numbers of its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sslsim.core.files import read_json

if TYPE_CHECKING:
    import pandas

_MOST = 64  # entries of a list that become columns


def runs_table(folders: Sequence[str | Path]) -> pandas.DataFrame:
    """Options and results of runs as a data frame.

    Parameters
    ----------
    folders : sequence of path
        Run folders of any commands.

    Returns
    -------
    pandas.DataFrame
        One row a run. Columns are ``run``, ``command``, ``revision``, ``options.NAME``, and
        ``RESULT.KEY`` for every number, text and list of numbers (``RESULT.KEY.1``, ...) of every
        JSON file in the folder: ``training.step_times.1``, ``comparison.mean_relative_error``.

    Raises
    ------
    ValueError
        If a folder holds no run, or pandas is not installed.

    Examples
    --------
    >>> runs_table([])
    Traceback (most recent call last):
    ValueError: no folder was given; expected one or more run folders
    """
    rows = run_rows(folders)
    try:
        import pandas
    except ImportError as error:
        raise ValueError(
            "pandas is not installed; expected it, by: pip install 'sslsim[pandas]'"
        ) from error
    return pandas.DataFrame(rows)


def run_rows(folders: Sequence[str | Path]) -> list[dict[str, Any]]:
    """Options and results of runs, a dictionary for each.

    Parameters
    ----------
    folders : sequence of path
        Run folders of any commands.

    Returns
    -------
    list of dict
        As the columns of :func:`runs_table`.

    Raises
    ------
    ValueError
        If no folder is given, or one holds no run.

    Examples
    --------
    >>> import tempfile
    >>> from sslsim.core.files import write_json
    >>> folder = Path(tempfile.mkdtemp()) / "first"
    >>> folder.mkdir()
    >>> write_json(folder / "config.json", {"command": "train", "options": {"lr": 0.1}})
    >>> write_json(folder / "training.json", {"step_times": [1.5, None]})
    >>> row = run_rows([folder])[0]
    >>> row["options.lr"], row["training.step_times.1"], row["training.step_times.2"]
    (0.1, 1.5, None)
    """
    if isinstance(folders, (str, Path)):
        folders = [folders]
    if not folders:
        raise ValueError("no folder was given; expected one or more run folders")
    return [_row(Path(folder)) for folder in folders]


def _row(folder: Path) -> dict[str, Any]:
    config = read_json(folder / "config.json")
    row: dict[str, Any] = {
        "run": str(folder),
        "command": config.get("command"),
        "revision": config.get("revision"),
    }
    row |= _flat("options", config.get("options"))
    for path in sorted(folder.glob("*.json")):
        if path.name != "config.json":
            row |= _flat(path.stem, read_json(path))
    return row


def _flat(name: str, value: Any) -> dict[str, Any]:
    """Numbers and texts at any depth, by the way to them; long lists and lists of more are left."""
    if isinstance(value, Mapping):
        flat: dict[str, Any] = {}
        for key, part in value.items():
            flat |= _flat(f"{name}.{key}", part)
        return flat
    if isinstance(value, list):
        if len(value) > _MOST or any(isinstance(part, (list, Mapping)) for part in value):
            return {}
        return {f"{name}.{place}": part for place, part in enumerate(value, 1)}
    return {name: value}
