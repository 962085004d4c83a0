r"""Step times over the draws of a random initial function.

The outputs of a wide network at initialisation are independent Gaussian processes with a known
covariance q (:mod:`theory.kernels.infinite_width`); let them be multiplied by alpha. The inner
product of output i with the mode v_j = sum_z a_zj k(z, .) is sum_z a_zj f_i(z), by the reproducing
property. Its covariance over the modes is alpha^2 S,

    S = a^T q a = C^T C,     C upper triangular.

The projections are thus G C with G (d, k) standard normal. If G = Q R, then G C = Q (R C), so that
the equivalent singular values (:mod:`theory.linear.initialization`) are alpha R_jj C_jj. The R_jj
of a normal matrix are independent, and R_jj^2 has a chi-squared distribution with d - j + 1 degrees
of freedom. Hence the exact law

    s_j(0)^2 = alpha^2 C_jj^2 chi^2_{d - j + 1},

which gives mean and quantiles of the step times without a single draw. For a linear model with
standard normal weights, and for any kernel whose own Gaussian process is the start, C = 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2

from theory.arrays import (
    Array,
    finite_array,
    positive_number,
    real_array,
    symmetric_matrix,
    whole_number,
)
from theory.kernels.features import KernelFeatures
from theory.kernels.modes import kernel_basis
from theory.linear.closed_form import step_times

_GRID = 1000  # quantiles over which a mean is taken


def initial_weights(
    features: KernelFeatures,
    dim: int,
    covariance: ArrayLike | None = None,
    init_scale: float = 1.0,
    rng: np.random.Generator | int = 0,
) -> Array:
    """Draw an initial function as a linear map of the features.

    Parameters
    ----------
    features : KernelFeatures
        Features of the stacked views.
    dim : int
        Number d of outputs.
    covariance : array_like, shape (L, L), optional
        Covariance of an output at the landmarks. Default: the kernel itself.
    init_scale : float
        Factor alpha on the outputs.
    rng : numpy.random.Generator or int
        Generator, or seed. The outputs depend on it, not on the signs of the features.

    Returns
    -------
    ndarray, shape (d, r)
        Weights W(0); the outputs at the views are ``features.values @ W(0).T``.

    Raises
    ------
    ValueError
        If the covariance is not symmetric, not positive semi-definite or has another size.

    Examples
    --------
    >>> from theory.kernels.features import kernel_features
    >>> initial_weights(kernel_features(np.eye(4)), dim=2).shape
    (2, 4)
    """
    basis = features.basis
    draws = np.random.default_rng(rng).standard_normal((whole_number("dim", dim, 1), len(basis)))
    draws *= positive_number("init_scale", init_scale)
    if covariance is None:
        return np.asarray(draws @ (basis / np.linalg.norm(basis, axis=0)))
    axes, root, _ = kernel_basis(covariance)
    if len(axes) != len(basis):
        raise ValueError(
            f"covariance has shape {(len(axes), len(axes))}; expected ({len(basis)}, {len(basis)}),"
            " one row for each landmark"
        )
    return np.asarray((draws @ axes * root) @ (axes.T @ basis))


def projection_scales(coefficients: ArrayLike, covariance: ArrayLike) -> Array:
    """Scales C_jj of the initial singular values.

    Parameters
    ----------
    coefficients : array_like, shape (L, k)
        Mode j is ``coefficients[:, j] . k(Z, x)``; modes in order of decreasing eigenvalue.
    covariance : array_like, shape (L, L)
        Covariance of an output of the initial function at the points Z.

    Returns
    -------
    ndarray, shape (k,)
        Standard deviation of the projection on each mode, given those on the modes before.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, or the covariance is not symmetric.

    Examples
    --------
    >>> projection_scales([[1.0, 1.0], [0.0, 1.0]], np.eye(2)).round(9).tolist()
    [1.0, 1.0]
    """
    a = finite_array("coefficients", coefficients, 2)
    q = symmetric_matrix("covariance", covariance, tolerance=1e-5)
    if len(a) != len(q):
        raise ValueError(
            f"coefficients has shape {a.shape} and covariance {q.shape}; expected (L, k) and (L, L)"
        )
    projected = a.T @ q @ a
    values, vectors = np.linalg.eigh((projected + projected.T) / 2)
    # A root that is not triangular, made so: S may be singular, where Cholesky's method fails.
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    return np.abs(np.diagonal(np.linalg.qr(root, mode="r")))


def singular_value_quantiles(
    level: ArrayLike, scales: ArrayLike, dim: int, init_scale: float = 1.0
) -> Array:
    """Quantiles of the equivalent initial singular values.

    Parameters
    ----------
    level : array_like, shape (...)
        Probabilities, between 0 and 1.
    scales : array_like, shape (k,)
        From :func:`projection_scales`; ones for standard normal weights.
    dim : int
        Number d of outputs, at least k.
    init_scale : float
        Factor alpha on the initial outputs.

    Returns
    -------
    ndarray, shape (..., k)
        Quantiles of s_j(0).

    Raises
    ------
    ValueError
        If a value is out of range.

    Examples
    --------
    >>> singular_value_quantiles(0.5, [1.0, 1.0], dim=2).round(3).tolist()
    [1.177, 0.674]
    """
    levels, scales = real_array("level", level), finite_array("scales", scales, 1)
    if not np.all((levels >= 0) & (levels <= 1)):
        raise ValueError("level holds a value outside [0, 1]; expected probabilities")
    if np.any(scales < 0):
        raise ValueError(f"scales has a smallest value of {scales.min()}; expected none below zero")
    dim = whole_number("dim", dim, max(len(scales), 1))
    alpha = positive_number("init_scale", init_scale)
    freedom = dim - np.arange(len(scales))
    return np.asarray(alpha * scales * np.sqrt(chi2.ppf(levels[..., None], freedom)))


def step_time_law(
    gamma: ArrayLike,
    scales: ArrayLike,
    dim: int,
    init_scale: float,
    level: float = 0.9,
    times: Callable[[Array, Array], Array] = step_times,
) -> tuple[Array, Array, Array]:
    """Mean and interval of step times over the draws of the initial function.

    Parameters
    ----------
    gamma : array_like, shape (k,)
        Eigenvalues of the modes, in decreasing order.
    scales : array_like, shape (k,)
        From :func:`projection_scales`.
    dim : int
        Number d of outputs.
    init_scale : float
        Factor alpha on the initial outputs.
    level : float
        Probability that a step time is in its interval.
    times : callable
        Function of eigenvalues and initial singular values, (p,) each, that returns step times;
        they must fall where a singular value grows. Default: those of gradient flow.

    Returns
    -------
    mean, low, high : ndarray, shape (k,)
        Flow times of the half-rise; infinite for modes that are never learned.

    Raises
    ------
    ValueError
        If shapes do not fit or a value is out of range.

    Notes
    -----
    The interval leaves out equal probabilities on both sides and is exact for each mode. The mean
    is that of a thousand quantiles; it is off by less than 0.001 / (8 gamma).

    Examples
    --------
    >>> mean, low, high = step_time_law([1.0, 0.5], [1.0, 1.0], dim=2, init_scale=1e-3)
    >>> mean.round(2).tolist(), low.round(2).tolist(), high.round(2).tolist()
    ([1.71, 3.94], [1.5, 3.29], [2.01, 5.01])
    """
    gamma, scales = finite_array("gamma", gamma, 1), finite_array("scales", scales, 1)
    if gamma.shape != scales.shape:
        raise ValueError(
            f"gamma has shape {gamma.shape} and scales {scales.shape}; expected equal shapes"
        )
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected between 0 and 1")
    tails = [(1 + level) / 2, (1 - level) / 2]
    levels = np.append((np.arange(_GRID) + 0.5) / _GRID, tails)
    s0 = singular_value_quantiles(levels, scales, dim, init_scale)
    rises = times(np.tile(gamma, len(s0)), s0.ravel()).reshape(s0.shape)
    return rises[:_GRID].mean(axis=0), rises[-2], rises[-1]
