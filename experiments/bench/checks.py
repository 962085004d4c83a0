"""Checks that all benchmarks share."""

from __future__ import annotations

from typing import Any


def check_least(options: Any, **least: int) -> None:
    """Refuse numbers that are too small; None, for a default, is not."""
    for name, bound in least.items():
        given = getattr(options, name)
        values = given if isinstance(given, tuple) else (given,)
        if not values or any(value is not None and value < bound for value in values):
            each = " each" if isinstance(given, tuple) else ""
            raise ValueError(f"{name} is {given}; expected at least {bound}{each}")
