"""What an earlier command left in its folder, checked as it is read."""

from __future__ import annotations

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from sslsim.core.files import read_arrays, read_json

Options = TypeVar("Options")


def stored_config(folder: Path) -> tuple[str | None, dict[str, Any]]:
    """The command that made a run folder, and its options as they were written.

    Parameters
    ----------
    folder : Path
        Run folder.

    Returns
    -------
    command : str or None
        None where it is not told.
    options : dict
        Of ``config.json``.

    Raises
    ------
    ValueError
        If the file cannot be read or holds no options.

    Examples
    --------
    >>> stored_config(Path("nowhere"))
    Traceback (most recent call last):
    ValueError: nowhere/config.json cannot be read: No such file or directory
    """
    config = read_json(folder / "config.json")
    return config.get("command"), _options(folder, config)


def stored_options(folder: Path, command: str, kind: type[Options]) -> Options:
    """Options that a command was called with.

    Parameters
    ----------
    folder : Path
        Run folder.
    command : str
        The command that is expected to have made it.
    kind : type
        Dataclass of its options.

    Returns
    -------
    kind
        Of ``config.json``; options that it does not name have their defaults.

    Raises
    ------
    ValueError
        If the folder holds no run of that command, or an option that is unknown or of another type.

    Examples
    --------
    >>> from experiments.options import PredictOptions
    >>> stored_options(Path("nowhere"), "predict", PredictOptions)
    Traceback (most recent call last):
    ValueError: nowhere/config.json cannot be read: No such file or directory
    """
    config = read_json(folder / "config.json")
    if config.get("command") != command:
        raise ValueError(
            f"{folder} holds a run of {config.get('command')!r}; expected one of sslsim {command}"
        )
    stored = _options(folder, config)
    hints = get_type_hints(kind)
    if unknown := [name for name in stored if name not in hints]:
        raise ValueError(
            f"{folder}/config.json holds options unknown here: {', '.join(unknown)}; expected "
            f"those of sslsim {command}"
        )
    values = {}
    for name, value in stored.items():
        try:
            values[name] = _of_type(value, hints[name])
        except TypeError:
            raise ValueError(
                f"{folder}/config.json holds {name} {value!r}; expected what --"
                f"{name.replace('_', '-')} of sslsim {command} takes"
            ) from None
    try:
        return kind(**values)
    except TypeError as error:  # one without a default is missing
        raise ValueError(f"{folder}/config.json lacks options: {error}") from error


def stored_result(path: Path, needed: Mapping[str, type]) -> dict[str, Any]:
    """Content of a JSON file that is expected to hold some keys.

    Parameters
    ----------
    path : Path
        The file.
    needed : mapping of str to type
        Type of the value of every key that has to be there.

    Returns
    -------
    dict
        All of it.

    Raises
    ------
    ValueError
        If it cannot be read, or a key is missing or of another type.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "training.json"
    >>> size = path.write_text('{"views": "crops"}')
    >>> stored_result(path, {"views": str})
    {'views': 'crops'}
    """
    content = read_json(path)
    for key, kind in needed.items():
        if key not in content:
            raise ValueError(f"{path} lacks {key!r}; expected the result of a finished run")
        if not isinstance(content[key], kind):
            raise ValueError(
                f"{path} holds {key!r} of type {type(content[key]).__name__}; expected "
                f"{kind.__name__}"
            )
    return content


def stored_arrays(path: Path, needed: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    """Arrays of an ``.npz`` file that is expected to hold some.

    Parameters
    ----------
    path : Path
        The file.
    needed : mapping of str to int
        Dimensions of every array that has to be there.

    Returns
    -------
    dict of str to ndarray
        All of it.

    Raises
    ------
    ValueError
        If it cannot be read, or an array is missing, of other dimensions or not of numbers.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "records.npz"
    >>> np.savez(path, times=[0.0, 1.0])
    >>> stored_arrays(path, {"times": 1})
    {'times': array([0., 1.])}
    """
    content = read_arrays(path)
    for name, dimensions in needed.items():
        if name not in content:
            raise ValueError(f"{path} lacks {name!r}; expected the arrays of a finished run")
        array = content[name]
        if array.ndim != dimensions or not np.issubdtype(array.dtype, np.number):
            raise ValueError(
                f"{path}: {name} is {array.dtype} of shape {array.shape}; expected numbers in "
                f"{dimensions} dimension(s)"
            )
    return content


def _options(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    options = config.get("options")
    if not isinstance(options, dict):
        raise ValueError(
            f"{folder}/config.json holds options of type {type(options).__name__}; expected an "
            f"object, those of the command {config.get('command')!r}"
        )
    return options


def _of_type(value: Any, hint: Any) -> Any:
    """A value of JSON as the type that an option has; raises TypeError where it is none."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        for alternative in arguments:
            try:
                return _of_type(value, alternative)
            except TypeError:
                continue
    elif origin is Literal:
        if value in arguments:
            return value
    elif origin is tuple:
        if isinstance(value, list):
            return tuple(_of_type(item, arguments[0]) for item in value)
    elif hint is type(None):
        if value is None:
            return None
    elif hint is Path:
        if isinstance(value, str):
            return Path(value)
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
    elif isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise TypeError
