"""Initial parameters that depend on a seed alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Build modules whose initial parameters depend on the seed alone.

    Inside, parameters are made and drawn on the CPU, whatever the default device; torch's CPU
    generator is as it was afterwards, and the generators of other devices are never touched
    (``torch.manual_seed`` would seed them too).

    Parameters
    ----------
    seed : int
        At least 0, less than 2^63.

    Raises
    ------
    ValueError
        If the seed is out of range.

    Examples
    --------
    >>> with seeded(0):
    ...     one = torch.nn.Linear(3, 2)
    >>> with seeded(0):
    ...     other = torch.nn.Linear(3, 2)
    >>> torch.equal(one.weight, other.weight)
    True
    """
    if not (type(seed) is int and 0 <= seed < 2**63):
        raise ValueError(f"seed is {seed!r}; expected a whole number from 0 to 2^63 - 1")
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.random.default_generator.manual_seed(seed)
        yield
