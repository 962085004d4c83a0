r"""Step times from a kernel: when a wide network, or any kernel method, learns each dimension.

Barlow Twins with a kernel is the linear model of the kernel's features
(:mod:`theory.kernels.features`), and its prediction is that of
:mod:`theory.prediction.predict`, intervals included. What differs is the start. A linear model has
weights W(0) that its user can state; a network has a random function, a Gaussian process of known
covariance. One function is drawn for the prediction, and the step times over all draws are given
in closed form (:mod:`theory.kernels.random_functions`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import Array, positive_number, whole_number
from theory.kernels.features import KernelFeatures
from theory.kernels.random_functions import initial_weights, projection_scales, step_time_law
from theory.prediction.predict import StepPrediction, predict_steps_from


@dataclass(frozen=True, eq=False)
class KernelPrediction:
    """Prediction of step times from a kernel.

    Attributes
    ----------
    steps : StepPrediction
        Prediction for one draw of the initial function, with intervals for the population of the
        pairs. Eigenvectors and weights are in the coordinates of the features.
    coefficients : ndarray, shape (L, dim)
        Mode j is ``v_j(x) = coefficients[:, j] . k(Z, x)``, Z the landmarks.
    scales : ndarray, shape (dim,)
        Standard deviations of the projections of the initial function, for init scale 1.
    step_time_mean, step_time_draw_low, step_time_draw_high : ndarray, shape (dim,)
        Mean and interval of the step times of the given pairs over draws of the initial function,
        at the level of ``steps``.
    """

    steps: StepPrediction
    coefficients: Array
    scales: Array
    step_time_mean: Array
    step_time_draw_low: Array
    step_time_draw_high: Array


def predict_kernel_steps(
    features: KernelFeatures,
    dim: int = 10,
    *,
    covariance: ArrayLike | None = None,
    init_scale: float = 1e-3,
    rng: np.random.Generator | int = 0,
    learning_rate: float | None = None,
    groups: ArrayLike | None = None,
    level: float = 0.9,
) -> KernelPrediction:
    """Predict when Barlow Twins with a kernel learns each embedding dimension.

    Parameters
    ----------
    features : KernelFeatures
        Features of the stacked views, exact or by landmarks.
    dim : int
        Embedding dimension d, at most the number of features.
    covariance : array_like, shape (L, L), optional
        Covariance of an output of the initial function at the landmarks, before the factor
        ``init_scale``. Default: the kernel itself, as of standard normal weights of its features.
    init_scale : float
        Factor alpha on the initial outputs.
    rng : numpy.random.Generator or int
        Generator, or seed, of the initial function and of the intervals.
    learning_rate, groups, level
        As in :func:`theory.prediction.predict.predict_steps`.

    Returns
    -------
    KernelPrediction

    Raises
    ------
    ValueError
        As in :func:`theory.prediction.predict.predict_steps`, or if the covariance does not fit.

    Warns
    -----
    UserWarning
        If ``dim`` exceeds the number of positive modes.

    Notes
    -----
    arXiv 2303.15438, section on kernels. A tangent kernel is constant in training only at infinite
    width.

    Examples
    --------
    >>> from theory.kernels import infinite_width_kernels, kernel_features
    >>> x = np.random.default_rng(0).standard_normal((30, 4)) * [2.0, 1.0, 0.5, 0.2]
    >>> covariance, tangent = infinite_width_kernels(np.vstack([x, x + 0.01]), layers=2)
    >>> found = predict_kernel_steps(kernel_features(tangent), dim=2, covariance=covariance)
    >>> found.step_time_mean.round(1).tolist()
    [1.6, 3.5]
    """
    dim = whole_number("dim", dim, 1, features.values.shape[1])
    alpha = positive_number("init_scale", init_scale)
    rng = np.random.default_rng(rng)
    w0 = initial_weights(features, dim, covariance, alpha, rng)
    steps = predict_steps_from(
        *features.pairs, w0, learning_rate=learning_rate, groups=groups, level=level, rng=rng
    )
    coefficients = features.basis @ steps.eigenvectors
    scales = np.ones(dim) if covariance is None else projection_scales(coefficients, covariance)
    mean, low, high = step_time_law(steps.eigenvalues, scales, dim, alpha, level)
    return KernelPrediction(steps, coefficients, scales, mean, low, high)
