"""Spectra, ranks and steps of embeddings that some network gave at several times of its training.

The embeddings may come from any tool: only the arrays are needed, not the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from sslsim.core.checks import real_array, real_tensor
from sslsim.measures.snapshots import embedding_measures
from sslsim.measures.steps import Steps, detect_eigenvalue_steps

Array = NDArray[np.float64]
Views = Sequence[Any] | NDArray[Any] | torch.Tensor

SPECTRA = ("cross", "covariance")
_MOST_CURVES = 64  # leading eigenvalues in which steps are looked for
_FEWEST_RECORDS = 5


@dataclass(frozen=True, eq=False)
class EmbeddingSpectra:
    """Spectra and metrics of embeddings over T times. What needs two views is None without them.

    Attributes
    ----------
    times : ndarray, shape (T,)
        Times of the embeddings, in the unit that was given.
    spectrum : {"cross", "covariance"}
        Spectrum in which steps were detected.
    cross_spectrum : ndarray, shape (T, d), or None
        Eigenvalues of C = (Z^T Z' + Z'^T Z)/(2n), not centred, descending.
    covariance_spectrum : ndarray, shape (T, d)
        Eigenvalues of the centred covariance, descending.
    effective_rank, rank_me, alpha_req, coding_rate, uniformity : ndarray, shape (T,)
        Metrics of the first view, see :mod:`sslsim.measures.embeddings`; the coding rate is of the
        centred embeddings at eps 0.1, in nats.
    alignment, lidar : ndarray, shape (T,), or None
        Metrics of the two views.
    collapsed : tuple of (str or None)
        Why an embedding counts as collapsed, None where it does not.
    detected : Steps
        A step for each of the first 64 eigenvalues; none in fewer than 5 times.
    """

    times: Array
    spectrum: str
    cross_spectrum: Array | None
    covariance_spectrum: Array
    effective_rank: Array
    rank_me: Array
    alpha_req: Array
    coding_rate: Array
    uniformity: Array
    alignment: Array | None
    lidar: Array | None
    collapsed: tuple[str | None, ...]
    detected: Steps


def embedding_spectra(
    z: Views,
    z_prime: Views | None = None,
    times: ArrayLike | None = None,
    *,
    spectrum: str | None = None,
) -> EmbeddingSpectra:
    """Spectra, ranks, coding rates and detected steps of embeddings over training.

    Parameters
    ----------
    z, z_prime : array, Tensor or sequence of them, shape (T, n, d)
        Embeddings of the same n samples at T times, in one view or two.
    times : array_like, shape (T,), optional
        Times or updates, strictly ascending. Default: 0, 1, ...
    spectrum : {"cross", "covariance"}, optional
        Spectrum in which steps are detected: ``cross`` (the theory's lambda) for losses that see
        the mean of the embeddings, as Barlow Twins with C not normalised; ``covariance`` for losses
        that do not. Default: ``cross`` with two views, else ``covariance``.

    Returns
    -------
    EmbeddingSpectra
        Independent of the order of samples and of rotations of the embedding.

    Raises
    ------
    ValueError
        If shapes do not fit, a number is NaN or infinite, times do not ascend, or the spectrum
        needs two views and there is one.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> mode = rng.standard_normal((40, 1))
    >>> size = 1 / (1 + np.exp(-(np.arange(30.0) - 12)))
    >>> z = np.sqrt(size)[:, None, None] * mode * [1.0, 0.0]
    >>> found = embedding_spectra(z, z)
    >>> found.cross_spectrum.shape, found.detected.times.round(1).tolist()
    ((30, 2), [12.0, inf])
    """
    views = [_snapshots("z", z)]
    if z_prime is not None:
        views.append(_snapshots("z_prime", z_prime))
        shapes = [[tuple(part.shape) for part in view] for view in views]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"z has shape {_shape(views[0])} and z_prime {_shape(views[1])}; expected equal "
                "shapes"
            )
    clock = _times(times, len(views[0]))
    name = ("covariance" if z_prime is None else "cross") if spectrum is None else spectrum
    if name not in SPECTRA:
        raise ValueError(f"spectrum is {name!r}; expected one of {', '.join(SPECTRA)}")
    if name == "cross" and z_prime is None:
        raise ValueError("spectrum is cross, but there is one view; expected z_prime as well")
    lines = []
    for place, parts in enumerate(zip(*views, strict=True)):
        first, second = (real_tensor("z", part) for part in (parts[0], parts[-1]))
        try:
            lines.append(embedding_measures(first, None if z_prime is None else second))
        except ValueError as error:
            raise ValueError(f"embeddings {place} of {len(clock)}: {error}") from error

    def over_times(key: str) -> Array | None:
        return np.array([line[key] for line in lines]) if key in lines[0] else None

    measured: dict[str, Any] = {
        key: over_times(key)
        for key in (
            *("cross_spectrum", "covariance_spectrum", "effective_rank", "rank_me", "alpha_req"),
            *("coding_rate", "uniformity", "alignment", "lidar"),
        )
    }
    return EmbeddingSpectra(
        times=clock,
        spectrum=name,
        **measured,
        collapsed=tuple(line["collapsed"] for line in lines),
        detected=spectrum_steps(clock, measured[f"{name}_spectrum"]),
    )


def spectrum_steps(times: Array, curves: NDArray[Any]) -> Steps:
    """Steps of recorded eigenvalues.

    Parameters
    ----------
    times : ndarray, shape (T,)
        Times of the records.
    curves : ndarray, shape (T, d)
        Eigenvalues, descending.

    Returns
    -------
    Steps
        One entry for each of the first 64 eigenvalues, by
        :func:`sslsim.measures.steps.detect_eigenvalue_steps`; none in fewer than 5 records.

    Examples
    --------
    >>> spectrum_steps(np.arange(3.0), np.ones((3, 2))).detected
    array([False, False])
    """
    curves = curves[:, :_MOST_CURVES]
    if len(times) < _FEWEST_RECORDS:
        never = np.full(curves.shape[1], np.inf)
        return Steps(never, never, np.zeros_like(never), never, np.zeros(len(never), dtype=bool))
    return detect_eigenvalue_steps(times, curves)


def _snapshots(name: str, views: Views) -> list[Any]:
    """Embeddings one by one, all of one shape (n, d)."""
    parts = list(views)
    shapes = {tuple(np.shape(part)) for part in parts}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise ValueError(
            f"{name} has shape {_shape(parts)}; expected (T, n, d), embeddings of n samples at T "
            "times"
        )
    if next(iter(shapes))[0] < 2 or next(iter(shapes))[1] < 1:
        raise ValueError(
            f"{name} has shape {_shape(parts)}; expected (T, n, d) with n of at least 2 and d of "
            "at least 1"
        )
    return parts


def _shape(parts: Sequence[Any]) -> str:
    shapes = {tuple(np.shape(part)) for part in parts}
    if len(shapes) > 1:
        return f"({len(parts)}, ...), of different shapes"
    return str((len(parts), *(next(iter(shapes)) if shapes else ())))


def _times(times: ArrayLike | None, count: int) -> Array:
    clock = np.arange(float(count)) if times is None else real_array("times", times)
    if clock.shape != (count,):
        raise ValueError(f"times has shape {clock.shape}; expected ({count},), one for each of z")
    if not np.all(np.isfinite(clock)):
        raise ValueError("times hold NaN or infinite values; expected finite numbers")
    if np.any(np.diff(clock) <= 0):
        raise ValueError("times do not ascend; expected every one later than the one before")
    return clock
