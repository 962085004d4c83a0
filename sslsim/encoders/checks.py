"""Checks of what encoders are built from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def check_count(name: str, value: int) -> int:
    """Return a value after a check that it is a whole number above zero.

    Parameters
    ----------
    name : str
        How the caller calls it; it opens the error message.
    value : int
        A size, a width, a number of layers.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If it is no whole number above zero.

    Examples
    --------
    >>> check_count("dim", 10)
    10
    """
    if type(value) is not int or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a whole number above zero")
    return value


def check_counts(name: str, values: Sequence[int], length: int | None = None) -> tuple[int, ...]:
    """Return values as a tuple after a check that all are whole numbers above zero.

    Parameters
    ----------
    name : str
        How the caller calls them; it opens the error message.
    values : sequence of int
        Sizes or widths.
    length : int, optional
        How many are expected; by default one or more.

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        If there are none, not ``length`` of them, or one is no whole number above zero.

    Examples
    --------
    >>> check_counts("widths", [32, 64])
    (32, 64)
    """
    if not (
        isinstance(values, Sequence)
        and len(values) == (length or max(len(values), 1))
        and all(type(value) is int and value > 0 for value in values)
    ):
        expected = "one or more" if length is None else str(length)
        raise ValueError(f"{name} is {values!r}; expected {expected} whole numbers above zero")
    return tuple(values)


def architecture(module: nn.Module) -> set[tuple[str, str]]:
    """What kinds of modules and what shapes of tensors a network is made of.

    Parameters
    ----------
    module : nn.Module
        The network.

    Returns
    -------
    set of (str, str)
        Names within the network, each with the type of a module or the shape of a tensor. Equal
        for networks of one architecture; the smallest of a difference is its first place.

    Examples
    --------
    >>> from torch import nn
    >>> sorted(architecture(nn.Linear(2, 3, bias=False)))
    [('', 'Linear'), ('weight', '(3, 2)')]
    """
    modules = {(name, type(part).__name__) for name, part in module.named_modules()}
    return modules | {(name, str(tuple(t.shape))) for name, t in module.state_dict().items()}
