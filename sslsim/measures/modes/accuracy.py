"""What the first modes of an embedding are worth to a linear probe."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from sslsim.measures.modes.directions import random_directions
from sslsim.measures.probes import linear_probe

Array = NDArray[np.float64]
Embedded = tuple[Array, ArrayLike]
"""Embeddings (n, d) of images, and their classes (n,)."""

PENALTY = 1e-3
"""Penalty of every probe: one for all, so that numbers of modes are compared alike."""


def first_modes_accuracy(
    train: Embedded, test: Embedded, directions: Array, counts: Sequence[int]
) -> Array:
    """Accuracy of a linear probe on the first modes only.

    Parameters
    ----------
    train, test : tuple of (ndarray of shape (n, d), array_like of int of shape (n,))
        Embeddings and classes to fit the probe and to test it.
    directions : ndarray, shape (d, k)
        Directions of the modes, the first first.
    counts : sequence of int
        Numbers of modes; with 0 there is nothing to fit.

    Returns
    -------
    ndarray, shape (counts,)
        Accuracies; NaN without any mode.

    Raises
    ------
    ValueError
        As :func:`sslsim.measures.probes.linear_probe`.

    Examples
    --------
    >>> z = np.random.default_rng(0).standard_normal((200, 3))
    >>> both = z, z[:, 2] > 0
    >>> first_modes_accuracy(both, both, np.eye(3)[:, ::-1], [0, 1]).round(1).tolist()
    [nan, 1.0]
    """
    z, z_test = (torch.from_numpy(embedded[0] @ directions) for embedded in (train, test))
    return np.array(
        [_probe(z[:, :k], train[1], z_test[:, :k], test[1]) if k else np.nan for k in counts]
    )


def accuracy_by_modes(
    train: Embedded,
    test: Embedded,
    directions: Array,
    counts: Sequence[int],
    *,
    draws: int = 3,
    rng: np.random.Generator | int = 0,
) -> dict[str, Array]:
    """Accuracy with the first modes only, without them, and with random directions.

    Parameters
    ----------
    train, test : tuple of (ndarray of shape (n, d), array_like of int of shape (n,))
        Embeddings and classes to fit the probe and to test it.
    directions : ndarray, shape (d, d)
        Directions of all modes, the first first.
    counts : sequence of int
        Numbers k of modes.
    draws : int
        Number of draws of k random directions, over which accuracies are averaged.
    rng : numpy.random.Generator or int
        Generator or seed of the directions.

    Returns
    -------
    dict of str to ndarray, shape (counts,)
        ``first``, ``without`` (NaN where no mode is left) and ``random``.

    Raises
    ------
    ValueError
        As :func:`sslsim.measures.probes.linear_probe`.

    Examples
    --------
    >>> z = np.random.default_rng(0).standard_normal((200, 3))
    >>> both = z, z[:, 0] > 0
    >>> found = accuracy_by_modes(both, both, np.eye(3), [1, 3])
    >>> found["first"].round(1).tolist(), found["without"].round(1).tolist()
    ([1.0, 1.0], [0.6, nan])
    """
    rng = np.random.default_rng(rng)
    dim = directions.shape[1]
    last_first = directions[:, ::-1]
    at_random = [
        first_modes_accuracy(
            train, test, random_directions(len(directions), max(counts), rng), counts
        )
        for _ in range(draws)
    ]
    return {
        "first": first_modes_accuracy(train, test, directions, counts),
        "without": first_modes_accuracy(train, test, last_first, [dim - k for k in counts]),
        "random": np.mean(at_random, axis=0),
    }


def _probe(
    z: torch.Tensor, labels: ArrayLike, z_test: torch.Tensor, test_labels: ArrayLike
) -> float:
    with warnings.catch_warnings():
        # Of the solver's convergence: the accuracy is reported as it is.
        warnings.simplefilter("ignore")
        return linear_probe(z, labels, z_test, test_labels, penalties=(PENALTY,)).accuracy
