"""Names of a package that are imported at their first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


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
