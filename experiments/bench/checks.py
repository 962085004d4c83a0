"""Checks that all benchmarks share."""

from __future__ import annotations

from typing import Any


def check_least(options: Any, **least: int) -> None:
    """Refuse numbers that are too small; None, for a default, is not.

    Parameters
    ----------
    options : dataclass
        Of a benchmark.
    **least : int
        By the name of the option; of one that takes several numbers, for each.

    Raises
    ------
    ValueError
        If one is smaller, or there is none of several.
    """
    for name, bound in least.items():
        given = getattr(options, name)
        values = given if isinstance(given, tuple) else (given,)
        if not values or any(value is not None and value < bound for value in values):
            each = " each" if isinstance(given, tuple) else ""
            raise ValueError(f"{name} is {given}; expected at least {bound}{each}")
