"""Seeds derived from a seed, a purpose and a number, so that a resumed run needs no saved state."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derived_generator(
    seed: int, purpose: int, number: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A separate generator for every purpose and number.

    Parameters
    ----------
    seed : int
        Seed of the whole run, at least 0.
    purpose : int
        Number that stands for the kind of draws, at least 0.
    number : int
        Number of the draw: a step, an epoch or a chunk.
    device : torch.device or str
        Device of the generator.

    Returns
    -------
    torch.Generator
        Generator seeded with 64 well-mixed bits.

    Examples
    --------
    >>> first, again, other = (derived_generator(0, 1, n).initial_seed() for n in (5, 5, 6))
    >>> first == again, first == other
    (True, False)
    """
    return torch.Generator(device).manual_seed(derived_seed(seed, purpose, number))


def derived_seed(seed: int, purpose: int, number: int) -> int:
    """A separate 64-bit seed for every purpose and number.

    Parameters
    ----------
    seed, purpose, number : int
        As in :func:`derived_generator`.

    Returns
    -------
    int
        Seed from numpy's SeedSequence.

    Raises
    ------
    ValueError
        If the seed is not a whole number of at least 0.

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
    """Build modules whose initial parameters depend on the seed only.

    Inside the block, parameters are created on the CPU, for any default device. Afterwards torch's
    CPU generator is restored; the generators of other devices do not change
    (``torch.manual_seed`` would seed them too).

    Parameters
    ----------
    seed : int
        Seed, at least 0 and less than 2^63.

    Raises
    ------
    ValueError
        If the seed is out of range.

    Examples
    --------
    >>> with seeded(0):
    ...     layer = torch.nn.Linear(3, 2)
    >>> with seeded(0):
    ...     again = torch.nn.Linear(3, 2)
    >>> torch.equal(layer.weight, again.weight)
    True
    """
    if not (type(seed) is int and 0 <= seed < 2**63):
        raise ValueError(f"seed is {seed!r}; expected a whole number from 0 to 2^63 - 1")
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.random.default_generator.manual_seed(seed)
        yield


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch on the CPU.

    Parameters
    ----------
    seed : int
        Seed, at least 0 and less than 2^63.

    Examples
    --------
    >>> with everything_seeded(0):
    ...     seed_everything(1)
    ...     first = random.random()
    ...     seed_everything(1)
    ...     first == random.random()
    True
    """
    torch.random.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002


@contextmanager
def everything_seeded(seed: int) -> Iterator[None]:
    """Run code of the user's, whose draws may come from Python, numpy or torch.

    Inside the block all three global generators are seeded; afterwards they are as before.

    Parameters
    ----------
    seed : int
        Seed, at least 0 and less than 2^63.

    Examples
    --------
    >>> with everything_seeded(1):
    ...     first = random.random(), np.random.rand(), torch.rand(1)
    >>> with everything_seeded(1):
    ...     first == (random.random(), np.random.rand(), torch.rand(1))
    True
    """
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with seeded(seed):
            seed_everything(seed)
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
