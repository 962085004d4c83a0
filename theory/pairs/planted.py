"""Populations with a known Gamma, for the calibration of intervals.

Pairs are x = z + e, x' = z + e', where z is normal with covariance Gamma = diag(gamma) and e, e'
are white noise. The cross-correlation of the population is Gamma, its eigenvectors are the axes.
"""

from __future__ import annotations

import numpy as np

from theory.arrays import Array, whole_number

SPECTRA = ("power", "spiked", "geometric")
"""``power``: 1/k. ``spiked``: ten spikes 2 * 0.75^k above noise. ``geometric``: 0.8^k."""

_NOISE = {"power": 0.05, "spiked": 0.2, "geometric": 0.02}


def planted_spectrum(name: str, m: int) -> Array:
    """Eigenvalues of a named population.

    Parameters
    ----------
    name : {'power', 'spiked', 'geometric'}
        Population, see ``SPECTRA``.
    m : int
        Number of features.

    Returns
    -------
    ndarray, shape (m,)
        Eigenvalues, descending.

    Raises
    ------
    ValueError
        If the name is unknown or ``m`` is below one.

    Examples
    --------
    >>> planted_spectrum("power", 4).round(2).tolist()
    [1.0, 0.5, 0.33, 0.25]
    """
    k = np.arange(1.0, whole_number("m", m, 1) + 1.0)
    if name == "power":
        return 1.0 / k
    if name == "spiked":
        return np.where(k <= 10, 2.0 * 0.75 ** (k - 1.0), 0.0)
    if name == "geometric":
        return 0.8**k
    raise ValueError(f"name is {name!r}; expected one of {', '.join(SPECTRA)}")


def planted_pairs(name: str, n: int, m: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw pairs of a named population.

    Parameters
    ----------
    name : {'power', 'spiked', 'geometric'}
        Population, see ``SPECTRA``.
    n, m : int
        Number of pairs and of features.
    rng : numpy.random.Generator
        Generator of the draws.

    Returns
    -------
    x, x_prime : ndarray, shape (n, m)
        The two views.

    Examples
    --------
    >>> x, x_prime = planted_pairs("power", 5, 3, np.random.default_rng(0))
    >>> x.shape, x_prime.shape
    ((5, 3), (5, 3))
    """
    z = rng.standard_normal((n, m)) * np.sqrt(planted_spectrum(name, m))
    x, x_prime = (z + _NOISE[name] ** 0.5 * rng.standard_normal((n, m)) for _ in range(2))
    return x, x_prime
