"""Weights of a network: those of a run's checkpoints, or of the user's own module."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from sslsim.core.checkpoints import checkpoints, load_checkpoint
from sslsim.methods.learner import Learner

NESTED = ("state_dict", "model_state_dict", "model", "net", "network")
"""Names under which people save a state dict beside other things."""
PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every key."""


def kept_steps(run: Path) -> list[int]:
    """Updates after which a run's network can be had.

    Parameters
    ----------
    run : Path
        Folder of ``sslsim train``.

    Returns
    -------
    list of int
        Ascending; 0, the initialisation, follows from the run's options and is always there.

    Examples
    --------
    >>> kept_steps(Path("nowhere"))
    [0]
    """
    paths = checkpoints(run / "checkpoints")
    return sorted({0, *(int(path.stem.removeprefix("checkpoint-")) for path in paths)})


def spread_steps(steps: Sequence[int], count: int) -> list[int]:
    """Choose checkpoints: half evenly over those that there are, half evenly in their logarithm.

    Parameters
    ----------
    steps : sequence of int
        Updates at the checkpoints, ascending; the first and the last are always chosen.
    count : int
        How many to choose, about; all where there are fewer.

    Returns
    -------
    list of int
        Ascending.

    Examples
    --------
    >>> spread_steps(range(0, 1001, 10), 6)
    [0, 10, 50, 220, 500, 1000]
    >>> spread_steps([0, 500, 900], 6)
    [0, 500, 900]
    """
    last = len(steps) - 1
    if count > last:
        return list(steps)
    even = np.linspace(0, last, max(count - count // 2, 2))
    logarithmic = np.geomspace(1, last, count // 2 + 1)[:-1] if count > 2 else even[:0]
    places = np.unique(np.rint(np.concatenate([even, logarithmic])).astype(int))
    return [steps[place] for place in places]


def check_different(name: str, folders: Sequence[Path]) -> None:
    """Refuse folders of which two are the same: what comes of one would count twice.

    Links and other spellings of a path are the same folder.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError(
            f"{name} holds a folder twice: {' '.join(map(str, folders))}; expected different "
            "folders"
        )


def load_weights(learner: Learner, path: Path) -> None:
    """Load a checkpoint into the learner that the options of its run describe.

    Raises ValueError if it is damaged or the checkpoint of another network.
    """
    state = load_checkpoint(path, torch.device("cpu")).get("learner")
    if not isinstance(state, Mapping):
        raise ValueError(f"{path} holds no learner; expected a checkpoint of sslsim train")
    for key, value in learner.state_dict().items():
        shapes = [
            tuple(part.shape) if part is not None else None for part in (state.get(key), value)
        ]
        if shapes[0] != shapes[1]:
            fault = "is missing" if shapes[0] is None else f"is {shapes[0]}"
            raise ValueError(
                f"{path} is of another network: {key!r} {fault}; expected {shapes[1]}, as "
                "config.json beside it says"
            )
    if other := [key for key in state if key not in learner.state_dict()]:
        raise ValueError(f"{path} is of another network: it holds {other[0]!r}, which is not there")
    learner.load_state_dict(dict(state))


def load_module(name: str, weights: Path | None = None) -> nn.Module:
    """Build a user's own network and load its weights.

    Parameters
    ----------
    name : str
        ``package.module:factory``, imported from the installed packages or the current directory.
        The factory is called without arguments and returns an ``nn.Module``.
    weights : Path, optional
        File of ``torch.save`` with a state dict: plain, or the only one of the names ``NESTED`` in
        a dictionary; one of the ``PREFIXES`` is dropped where all its keys have it. Default: the
        weights that the factory gives.

    Returns
    -------
    nn.Module
        On the CPU, in evaluation mode.

    Raises
    ------
    ValueError
        If the name has no colon, the module or its factory is not there, the factory raises or
        returns something else, or the weights cannot be read or do not fit (the first key that
        does not is named).

    Examples
    --------
    >>> type(load_module("torch.nn:Identity")).__name__
    'Identity'
    >>> load_module("torch.nn.Identity")
    Traceback (most recent call last):
    ValueError: module is 'torch.nn.Identity'; expected package.module:factory
    """
    with _current_directory():
        build = imported_function(name)
        try:
            network = build()
        except (Exception, SystemExit) as error:
            raise ValueError(f"{name} raised {_one_line(error)}; expected an nn.Module") from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"{name} returned a {type(network).__name__}; expected an nn.Module")
    if weights is not None:
        _load_weights(network, Path(weights))
    return network.cpu().eval()


def imported_function(name: str) -> Callable[..., Any]:
    """Import a user's own function.

    Parameters
    ----------
    name : str
        ``package.module:function``, of the installed packages or the current directory.

    Returns
    -------
    callable

    Raises
    ------
    ValueError
        If the name has no colon, or the module or the function is not there.

    Examples
    --------
    >>> imported_function("math:sqrt")(9.0)
    3.0
    """
    place, colon, function = name.partition(":")
    if not (place and colon and function):
        raise ValueError(f"module is {name!r}; expected package.module:factory")
    with _current_directory():
        try:
            module = importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise ValueError(f"module is {name!r}, but there is {_one_line(error)}") from error
        except (Exception, SystemExit) as error:
            raise ValueError(f"{place} cannot be imported: {_one_line(error)}") from error
    found = getattr(module, function, None)
    if not callable(found):
        what = "has no" if found is None else "cannot be called by"
        raise ValueError(f"{place} {what} {function!r}; expected a function without arguments")
    return cast(Callable[..., Any], found)


def _load_weights(network: nn.Module, path: Path) -> None:
    state, seen = _plain_state(_loaded(path), network, path)
    wanted = network.state_dict()
    label = f"weights {path}{seen}"
    for key, value in wanted.items():
        if key not in state:
            raise ValueError(
                f"{label} lack {key!r}, which the module has; they begin with {_first_keys(state)}"
            )
        shapes = [tuple(getattr(part, "shape", ())) for part in (state[key], value)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"{label}: {key!r} is {shapes[0]}; expected {shapes[1]}")
    if other := [key for key in state if key not in wanted]:
        raise ValueError(f"{label} hold {other[0]!r}, which the module lacks")
    try:
        network.load_state_dict(dict(state))
    except Exception as error:  # extra states are the module's own affair
        raise ValueError(f"{label} do not fit: {_one_line(error)}") from error


def _loaded(path: Path) -> object:
    """Content of a file of torch.save, without running any code that it holds."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"weights {path} cannot be read: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        if "Unsupported global" not in str(error) and "Unsupported class" not in str(error):
            raise ValueError(f"weights {path} are no file of torch.save, or damaged") from error
        raise ValueError(
            f"weights {path} hold pickled Python objects, such as a whole module, which are not "
            "loaded; expected a state dict, saved by torch.save(net.state_dict(), file)"
        ) from error
    except Exception as error:  # damage shows in many ways: pickle, zip, key
        reason = str(error).split("\n")[0]
        raise ValueError(f"weights {path} are no file of torch.save: {reason}") from error


def _plain_state(state: object, network: nn.Module, path: Path) -> tuple[Mapping[str, object], str]:
    """The state dict inside what people save, and in words where it was.

    A single nested dictionary of a usual name is opened, and a usual prefix of all keys is dropped,
    unless the module's own keys have it.
    """
    seen = ""
    for _ in range(2):  # a checkpoint of a checkpoint
        inner = [key for key in NESTED if isinstance(state, Mapping) and _is_state(state.get(key))]
        if not inner:
            break
        if len(inner) > 1:
            raise ValueError(
                f"weights {path} hold {' and '.join(map(repr, inner))}; expected one state dict"
            )
        assert isinstance(state, Mapping)
        state, seen = state[inner[0]], f"{seen} under {inner[0]!r}"
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise ValueError(
            f"weights {path}{seen} hold a {type(state).__name__}; expected a state dict, saved by "
            "torch.save(net.state_dict(), file)"
        )
    wanted = list(network.state_dict())
    while prefix := _common_prefix(state, wanted):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        seen += f" without {prefix!r}"
    return state, seen


def _common_prefix(state: Mapping[str, object], wanted: list[str]) -> str:
    """A usual prefix of all keys that the module's keys lack; empty where there is none."""
    for prefix in PREFIXES:
        mine = any(key.startswith(prefix) for key in wanted)
        if state and not mine and all(key.startswith(prefix) for key in state):
            return prefix
    return ""


def _is_state(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _first_keys(state: Mapping[str, object]) -> str:
    return ", ".join(map(repr, list(state)[:2])) or "nothing"


@contextmanager
def _current_directory() -> Iterator[None]:
    """Import from the current directory too, as ``python -m`` does and an entry point does not."""
    here = os.getcwd()
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(here)


def _one_line(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError):
        return text[:1].lower() + text[1:]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
