"""Names that are imported when they are needed: those of a package, and the user's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module, invalidate_caches
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

OURS = ("theory", "experiments", "paper_figs", "tests")
"""Packages of ours whose names a user's own code may have, too."""

_USERS: dict[str, dict[str, ModuleType]] = {}  # such modules of the user's, by their folder


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """``__getattr__`` of a package (PEP 562), for names that would import PyTorch.

    Parameters
    ----------
    package : str
        ``__name__`` of the package.
    homes : mapping of str to str
        Module of every name, relative to the package; empty if the name is a module.

    Returns
    -------
    callable
        Function from a name to the attribute.

    Examples
    --------
    >>> lazily("sslsim", {"umm": "", "flow_time": "training.options"})("flow_time").__name__
    'flow_time'
    """

    def attribute(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if not homes[name]:
            return import_module(f"{package}.{name}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return attribute


def own_callable(name: str, option: str) -> Callable[..., Any]:
    """What the user names as ``package.module:name``.

    Parameters
    ----------
    name : str
        Imported from the current directory or the installed packages. Attributes may have dots.
    option : str
        Name of the option, for messages.

    Returns
    -------
    callable

    Raises
    ------
    ValueError
        If the name has no colon, the module cannot be imported, or there is no such callable.

    Examples
    --------
    >>> own_callable("math:sqrt", "module")(9.0)
    3.0
    >>> own_callable("math.sqrt", "module")
    Traceback (most recent call last):
    ValueError: module is 'math.sqrt'; expected package.module:name
    """
    place, colon, attribute = name.partition(":")
    if not (place and colon and attribute):
        raise ValueError(f"{option} is {name!r}; expected package.module:name")
    with own_modules():
        try:
            found: Any = import_module(place)
        except ModuleNotFoundError as error:
            raise ValueError(
                f"{option} is {name!r}, but there is {one_line(error)} in the current directory "
                "or the installed packages"
            ) from error
        except (Exception, SystemExit) as error:
            raise ValueError(f"{place} cannot be imported: {one_line(error)}") from error
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        what = "has no" if found is None else "cannot be called by"
        raise ValueError(f"{place} {what} {attribute!r}; expected a function")
    return found


@contextmanager
def own_modules() -> Iterator[None]:
    """Import from the current directory first, as ``python -m`` does and an entry point does not.

    A package of the user's there that is called as one of ours (``OURS``) is the one that is
    imported inside the block. Ours come back afterwards, and both keep their modules.

    Examples
    --------
    >>> with own_modules():
    ...     sys.path[0] == os.getcwd()
    True
    """
    here = os.getcwd()
    hidden = {name: spec for name in OURS if (spec := _own_spec(name, here)) is not None}
    users = _USERS.setdefault(here, {})
    ours = _taken(hidden)
    sys.modules.update(users)
    finder = _Finder(hidden)
    sys.meta_path.insert(0, finder)
    sys.path.insert(0, here)
    invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(here)
        sys.meta_path.remove(finder)
        users.update(_taken(hidden))
        sys.modules.update(ours)


class _Finder:
    """Finds the user's packages, also those without ``__init__.py``, before ours."""

    def __init__(self, specs: Mapping[str, ModuleSpec]) -> None:
        self.specs = specs

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return self.specs.get(name)


def _own_spec(name: str, folder: str) -> ModuleSpec | None:
    """A package or module in a folder that is called as one of ours, and is another one."""
    root = Path(__file__).resolve().parents[2]
    return None if Path(folder).resolve() == root else PathFinder.find_spec(name, [folder])


def _taken(names: Mapping[str, Any]) -> dict[str, ModuleType]:
    """Modules of packages, taken out of those that are imported."""
    inside = [name for name in sys.modules if name.partition(".")[0] in names]
    return {name: sys.modules.pop(name) for name in inside}


def one_line(error: BaseException) -> str:
    """An error in one line.

    Parameters
    ----------
    error : BaseException
        Any error.

    Returns
    -------
    str
        Its kind and its words.

    Examples
    --------
    >>> one_line(KeyError("a"))
    "KeyError: 'a'"
    """
    text = " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError):
        return text[:1].lower() + text[1:]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
