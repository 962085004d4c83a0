"""Seeds derived from a seed, a purpose and a number, so that draws need no state to resume."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derived_generator(
    seed: int, purpose: int, number: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator of its own for every purpose and number.

    Parameters
    ----------
    seed : int
        Of the whole run, at least 0.
    purpose : int
        What is drawn, at least 0.
    number : int
        Which of the draws: a step, an epoch, a chunk.
    device : torch.device or str
        Of the generator.

    Returns
    -------
    torch.Generator
        Seeded with 64 well-mixed bits.

    Examples
    --------
    >>> first, again, other = (derived_generator(0, 1, n).initial_seed() for n in (5, 5, 6))
    >>> first == again, first == other
    (True, False)
    """
    return torch.Generator(device).manual_seed(derived_seed(seed, purpose, number))


def derived_seed(seed: int, purpose: int, number: int) -> int:
    """A seed of 64 bits of its own for every purpose and number.

    Parameters
    ----------
    seed, purpose, number : int
        As for :func:`derived_generator`.

    Returns
    -------
    int
        From numpy's SeedSequence.

    Raises
    ------
    ValueError
        If the seed is no whole number of at least 0.

    Examples
    --------
    >>> derived_seed(0, 0, 0) == derived_seed(0, 0, 1)
    False
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed is {seed!r}; expected a whole number of at least 0")
    sequence = np.random.SeedSequence(seed, spawn_key=(purpose, number))
    return int(sequence.generate_state(1, np.uint64)[0])


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
