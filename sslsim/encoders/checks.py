"""Checks of the sizes of encoders, and of their architecture."""

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
        Name of the value in the message.
    value : int
        Size, width or number of layers.

    Returns
    -------
    int
        The value.

    Raises
    ------
    ValueError
        If the value is not a whole number above zero.

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
        Name of the values in the message.
    values : sequence of int
        Sizes or widths.
    length : int, optional
        Expected number of values; by default one or more.

    Returns
    -------
    tuple of int
        The values.

    Raises
    ------
    ValueError
        If the number of values is wrong, or one is not a whole number above zero.

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
    """Types of the modules and shapes of the tensors of a network.

    Parameters
    ----------
    module : nn.Module
        The network.

    Returns
    -------
    set of (str, str)
        Names in the network, each with the type of a module or the shape of a tensor. The sets of
        two networks are equal if their architectures are; the smallest element of the difference
        is the first place where they differ.

    Examples
    --------
    >>> from torch import nn
    >>> sorted(architecture(nn.Linear(2, 3, bias=False)))
    [('', 'Linear'), ('weight', '(3, 2)')]
    """
    modules = {(name, type(part).__name__) for name, part in module.named_modules()}
    return modules | {(name, str(tuple(t.shape))) for name, t in module.state_dict().items()}
