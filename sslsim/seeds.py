"""Seeds derived from a seed, a purpose and a number, so that draws need no state to resume."""

from __future__ import annotations

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
