"""How far the first modes of several networks are the same functions of the same images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sslsim.measures.modes.meaning import orthonormal_basis

Array = NDArray[np.float64]


def mode_overlaps(modes: Sequence[Array], counts: Sequence[int]) -> Array:
    """Overlap of the spaces of the first modes, for every two networks.

    Parameters
    ----------
    modes : sequence of ndarray, shape (n, d)
        Values of the modes of every network on the same n images, the first first; d may differ.
    counts : sequence of int
        Numbers k of first modes.

    Returns
    -------
    ndarray, shape (counts, networks, networks)
        Mean squared canonical correlation between the first k modes of two networks, from 0 to 1;
        k / (n - 1) in the mean for spaces at random. NaN where a network has fewer than k modes.

    Raises
    ------
    ValueError
        If the networks' modes are not of the same images.

    Examples
    --------
    >>> a = np.random.default_rng(0).standard_normal((50, 3))
    >>> mode_overlaps([a, a[:, :2] @ [[1.0, 1.0], [0.0, 1.0]]], [2, 3]).round(6).tolist()
    [[[1.0, 1.0], [1.0, 1.0]], [[1.0, nan], [nan, nan]]]
    """
    if len({len(values) for values in modes}) > 1:
        raise ValueError(
            f"modes are of {', '.join(str(len(values)) for values in modes)} images; expected the "
            "same images"
        )
    found = np.full((len(counts), len(modes), len(modes)), np.nan)
    for place, k in enumerate(counts):
        bases = [
            orthonormal_basis(values[:, :k]) if values.shape[1] >= k else None for values in modes
        ]
        for i, first in enumerate(bases):
            for j, second in enumerate(bases):
                if first is not None and second is not None:
                    found[place, i, j] = np.sum((first.T @ second) ** 2) / k
    return found
