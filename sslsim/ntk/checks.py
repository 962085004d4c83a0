"""Checks of the inputs of tangent kernels and of the results."""

from __future__ import annotations

import torch
from torch import nn


def checked_inputs(
    module: nn.Module, x1: torch.Tensor, x2: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return inputs on the module's device after a check of both.

    Parameters
    ----------
    module : nn.Module
        Module that gives the device and type.
    x1 : Tensor, shape (n1, ...)
        First inputs.
    x2 : Tensor, shape (n2, ...), or None
        Second inputs.

    Returns
    -------
    Tensor, Tensor or None
        The inputs on the device of the module.

    Raises
    ------
    ValueError
        If an input is not a tensor of finite floats of the module's type with samples in rows, or
        the shapes of the two do not match.

    Examples
    --------
    >>> checked_inputs(nn.Linear(1, 1), torch.ones(1, 1), None)
    (tensor([[1.]]), None)
    """
    check_input("x1", x1)
    if x2 is not None:
        check_input("x2", x2)
        if x2.shape[1:] != x1.shape[1:] or x2.dtype != x1.dtype:
            raise ValueError(
                f"x2 has shape {tuple(x2.shape)} and type {x2.dtype}; expected (n, "
                f"*{tuple(x1.shape[1:])}) and {x1.dtype} as x1"
            )
    first = next(module.parameters(), None)
    if first is None:
        return x1, x2
    if first.dtype != x1.dtype:
        raise ValueError(f"x1 has type {x1.dtype}; expected the module's {first.dtype}")
    return x1.to(first.device), None if x2 is None else x2.to(first.device)


def check_input(name: str, x: torch.Tensor) -> None:
    """Raise an error unless inputs are finite floats with samples in rows.

    Parameters
    ----------
    name : str
        Name of the inputs in the message.
    x : Tensor, shape (n, ...)
        The inputs.

    Raises
    ------
    ValueError
        If the inputs are not a tensor of finite floats with two or more axes and some entries.

    Examples
    --------
    >>> check_input("x", torch.ones(2, 3))
    """
    if not isinstance(x, torch.Tensor):
        raise ValueError(f"{name} has type {type(x).__name__}; expected a Tensor of floats")
    if x.ndim < 2 or not x.is_floating_point() or 0 in x.shape:
        raise ValueError(
            f"{name} has shape {tuple(x.shape)} and type {x.dtype}; expected floats (n, ...) with "
            "n above zero"
        )
    if not bool(x.isfinite().all()):
        raise ValueError(f"{name} holds NaN or infinite values; expected finite numbers")


def check_block(module: nn.Module, block: torch.Tensor) -> torch.Tensor:
    """Return a block of a kernel after a check that it is finite.

    Parameters
    ----------
    module : nn.Module
        Module whose kernel is checked.
    block : Tensor
        Any part of the kernel.

    Returns
    -------
    Tensor
        The block.

    Raises
    ------
    ValueError
        If the block contains NaN or infinite values; the gradients did too.

    Examples
    --------
    >>> check_block(nn.Linear(1, 1), torch.ones(1))
    tensor([1.])
    """
    if not bool(block.isfinite().all()):
        raise ValueError(
            f"gradients of {type(module).__name__} are not finite; expected finite numbers"
        )
    return block
