"""Populations with a known Gamma, for the calibration of intervals.

Pairs are x = z + e, x' = z + e', where z has independent entries of variance gamma and e, e' are
white noise. The cross-correlation of the population is diag(gamma), its eigenvectors are the axes.
"""

from __future__ import annotations

import numpy as np

from theory.arrays import Array, whole_number

SPECTRA = ("power", "spiked", "geometric", "heavy")
"""``power``: 1/k. ``spiked``: ten spikes 2 * 0.75^k above noise. ``geometric``: 0.8^k. ``heavy``:
five spikes 2 * 0.6^k above noise, where signal and noise have Student's distribution with five
degrees of freedom instead of the normal one."""

_NOISE = {"power": 0.05, "spiked": 0.2, "geometric": 0.02, "heavy": 0.2}
_DEGREES = {"heavy": 5}  # of freedom; the others are normal


def planted_spectrum(name: str, m: int) -> Array:
    """Eigenvalues of a named population.

    Parameters
    ----------
    name : {'power', 'spiked', 'geometric', 'heavy'}
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
    if name == "heavy":
        return np.where(k <= 5, 2.0 * 0.6 ** (k - 1.0), 0.0)
    raise ValueError(f"name is {name!r}; expected one of {', '.join(SPECTRA)}")


def planted_pairs(name: str, n: int, m: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw pairs of a named population.

    Parameters
    ----------
    name : {'power', 'spiked', 'geometric', 'heavy'}
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
    signal = np.sqrt(planted_spectrum(name, m))
    degrees = _DEGREES.get(name)

    def entries() -> Array:
        if degrees is None:
            return rng.standard_normal((n, m))
        return rng.standard_t(degrees, (n, m)) * np.sqrt((degrees - 2) / degrees)

    z = entries() * signal
    x, x_prime = (z + _NOISE[name] ** 0.5 * entries() for _ in range(2))
    return x, x_prime
