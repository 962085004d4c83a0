r"""Prediction of step times from positive pairs, the main function of this package.

The top eigenpairs of Gamma (:mod:`theory.pairs.spectrum`) and the aligned initialisation that is
equivalent to W(0) (:mod:`theory.linear.initialization`, and :mod:`theory.linear.ties` where
eigenvalues are equal or close) give step times, curves and plateaus in
closed form (:mod:`theory.linear.closed_form`), iterations of gradient descent
(:mod:`theory.linear.gradient_descent`), and intervals for the population of the pairs
(:mod:`theory.prediction.uncertainty`). Batches, momentum, weight decay and the like change these
laws (:mod:`theory.prediction.training`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.arrays import Array, finite_array, positive_number, whole_number
from theory.linear import closed_form, orthogonalised
from theory.linear.closed_form import Plateau
from theory.linear.gradient_descent import descent_step_iterations
from theory.linear.initialization import equivalent_initialization
from theory.linear.reduced import Side
from theory.linear.ties import InitialModes, initial_modes
from theory.pairs.gamma import Pairs, read_pairs, unit_energy
from theory.pairs.moments import pair_moments
from theory.pairs.spectrum import Spectrum, spectrum
from theory.prediction.held_out import held_out_eigenvalues
from theory.prediction.training import (
    Curves,
    ScaledCurves,
    Training,
    modes_needed,
    scaled_interval,
    stable_rate,
    trained_steps,
)
from theory.prediction.uncertainty import estimate_eigenvalues, step_intervals

STABLE_SHARE = 0.2
"""Default learning rate as a share of the largest stable one, usually 0.05 / gamma_1."""
MUON_SHARE = 0.05
"""The same share with orthogonalised descent, whose first update is as large as any other;
divided by 1 - momentum, which the stable rate has as a factor, up to the share above."""
BATCH_SHARE = 0.25
"""Factor on the default learning rate with batches, whose law holds for small ones."""

_BEYOND = 10  # modes after those of interest, which delay them where eigenvalues are close

SMALL_START = 0.1
"""Largest initial eigenvalue of the embedding for which W(0) counts as small."""


@dataclass(frozen=True)
class StepPrediction:
    """Prediction of the times at which embedding dimensions are learned.

    Attributes
    ----------
    eigenvalues : ndarray, shape (dim,)
        Top eigenvalues of Gamma, descending.
    next_eigenvalue : float
        Eigenvalue after these; NaN if it was not computed or does not exist.
    eigenvectors : ndarray, shape (m, dim)
        Eigenvectors of the top eigenvalues.
    residuals : ndarray, shape (dim,)
        Residuals ``||Gamma v - gamma v||``.
    eigenvalue_low, eigenvalue_high : ndarray, shape (dim,)
        Intervals of the population's eigenvalues.
    eigenvalue_bias : ndarray, shape (dim,)
        Expected excess of the sample's eigenvalues over the population's. The intervals are
        corrected for it; ``eigenvalues`` and ``step_times`` are those of the given pairs.
    eigenvalue_deviation_images, eigenvalue_deviation_views : ndarray, shape (dim,)
        Standard deviation of the sample's eigenvalues over the choice of images, and of views of
        the same images; NaN if the pairs do not tell them apart, with fewer than two pairs or three
        views of an image.
    resolved : ndarray of bool, shape (dim,)
        Whether the sample separates the mode from its neighbours and from zero.
    step_times : ndarray, shape (dim,)
        Flow time (learning rate x step / (1 - momentum), or learning rate x step with ``muon``) of
        the half-rise; infinite if the mode is never learned.
    step_time_low, step_time_high : ndarray, shape (dim,)
        Intervals of the population's step times at this W(0).
    interval_level : float
        Coverage probability of each interval.
    initial_weights : ndarray, shape (dim, m)
        Initial weights W(0).
    initial_singular_values : ndarray, shape (dim,)
        Singular values of the equivalent aligned initialisation.
    left : ndarray, shape (dim, dim)
        Left singular vectors U of that initialisation.
    equal, integrated : ndarray of bool, shape (dim,)
        Modes whose eigenvalue is equal or close to another one's, see :mod:`theory.linear.ties`.
    learning_rate : float
        Learning rate for ``step_iterations``.
    stable_learning_rate : float
        Largest stable learning rate of gradient descent: ``1 / (4 gamma_1)``, or
        ``1 / (2 |gamma_min|)`` if the most negative eigenvalue requires it; infinite if all are
        zero. With ``muon``, the largest one at which learned modes stay above 1/2.
    step_iterations : ndarray, shape (dim,)
        Half-rise in iterations of gradient descent, by the exact recursion.
    plateaus : tuple of Plateau
        Plateaus of the loss, in flow time.
    positive_modes : int or None
        Number of positive eigenvalues of Gamma; None if only the top was computed.
    centred : bool
        Whether the mean over both views was subtracted.
    mean : ndarray, shape (m,)
        Mean over both views, zero if not centred.
    n_pairs : int
        Number of pairs; k views of an image give k (k - 1) / 2.
    route : str
        Algorithm of the eigenpairs, see :mod:`theory.pairs.spectrum`.
    ceilings : ndarray, shape (dim,)
        Final heights of the eigenvalues lambda of the embedding cross-correlation: 1, or 0 for a
        mode that is never learned, in plain training; lower with batches or weight decay.
    training : Training
        How the model is trained. If not plainly, the j-th step time is that of the j-th largest
        lambda: the time at which it first passes half of ``ceilings[j]``. Intervals are then those
        of plain training times the ratio of the two step times of the mode.
    curves : ReducedCurves, DeepCurves, OrthogonalisedCurves, ScaledCurves or None
        Curves of that training; None for the plain closed form.
    """

    eigenvalues: Array
    next_eigenvalue: float
    eigenvectors: Array
    residuals: Array
    eigenvalue_low: Array
    eigenvalue_high: Array
    eigenvalue_bias: Array
    eigenvalue_deviation_images: Array
    eigenvalue_deviation_views: Array
    resolved: NDArray[np.bool_]
    step_times: Array
    step_time_low: Array
    step_time_high: Array
    interval_level: float
    initial_weights: Array
    initial_singular_values: Array
    left: Array
    equal: NDArray[np.bool_]
    integrated: NDArray[np.bool_]
    learning_rate: float
    stable_learning_rate: float
    step_iterations: Array
    plateaus: tuple[Plateau, ...]
    positive_modes: int | None
    centred: bool
    mean: Array
    n_pairs: int
    route: str
    ceilings: Array
    training: Training
    curves: Curves | ScaledCurves | None

    def loss(self, t: ArrayLike) -> Array:
        """Predicted loss at flow times ``t`` (...), without weight decay."""
        if self.curves is not None:
            return self.curves.loss(t)
        return closed_form.loss(t, self.eigenvalues, self.initial_singular_values)

    def eigenvalue_curves(self, t: ArrayLike) -> Array:
        """Predicted eigenvalues (..., dim) of the embedding cross-correlation at times ``t``."""
        if self.curves is not None:
            return self.curves.eigenvalue_curves(t)
        return closed_form.eigenvalue_curves(t, self.eigenvalues, self.initial_singular_values)

    def weights(self, t: ArrayLike) -> Array:
        """Predicted map (..., dim, m) at flow times ``t``; embeddings are ``x @ W.T``."""
        if self.curves is not None:
            return self.curves.weights(t)
        return closed_form.weights(
            t, self.eigenvalues, self.initial_singular_values, self.left, self.eigenvectors
        )

    def final_weights(self) -> Array:
        """Predicted map (dim, m) at the end of training."""
        if self.curves is not None:
            return self.curves.weights(np.inf)
        return closed_form.final_weights(self.eigenvalues, self.left, self.eigenvectors)


def predict_steps(
    x: ArrayLike | Iterable[Any],
    x_prime: ArrayLike | None = None,
    dim: int = 10,
    *,
    init_scale: float = 1e-3,
    rng: np.random.Generator | int = 0,
    learning_rate: float | None = None,
    center: bool = False,
    scale: float = 1.0,
    groups: ArrayLike | None = None,
    level: float = 0.9,
    route: str = "auto",
    batch_size: int | None = None,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    off_diagonal: float = 1.0,
    depth: int = 1,
    precondition: Side | tuple[Side, ...] | None = None,
    relative_ridge: bool = False,
    optimizer: str = "sgd",
) -> StepPrediction:
    """Predict when linear Barlow Twins learns each embedding dimension.

    Parameters
    ----------
    x : array_like, shape (n, m), ndarray, shape (n, k, m), or iterable of chunks
        First views in rows; or k views of each image, of which all pairs count; or re-iterable
        chunks, each (x, x') or views (images, k, m).
    x_prime : array_like, shape (n, m), optional
        Second views; not used with views of images or chunks.
    dim : int
        Embedding dimension d, from 1 to m.
    init_scale : float
        Standard deviation alpha of the entries of W(0).
    rng : numpy.random.Generator or int
        Generator, or seed, of W(0) = alpha * standard normal of shape (d, m), and of the intervals.
    learning_rate : float, optional
        Learning rate for ``step_iterations``. Default: a fifth of the largest stable one; a quarter
        of that with batches, and with momentum times 1 - momentum; with ``muon`` a twentieth
        of it without momentum.
    center : bool
        Subtract the mean over both views.
    scale : float
        Factor on the data, for instance 1/255 for uint8 images.
    groups : array_like of int, shape (n,), optional
        Image of each pair, if images have several pairs. Not used with views of images.
    level : float
        Coverage probability of each interval.
    route : {'auto', 'dense', 'krylov', 'streamed'}
        Algorithm of the eigenpairs, see :mod:`theory.pairs.spectrum`.
    batch_size : int, optional
        Pairs in a batch of SGD, drawn without replacement in each epoch; with k >= 4 views of each
        image, images in a batch, with a new pair of views each. Default: all pairs.
    momentum, weight_decay : float
        As in ``torch.optim.SGD``.
    off_diagonal : float
        Weight of the squared off-diagonal entries in the loss; 1 is ``||C - I||_F^2``.
    depth : int
        Layers of the linear network, which starts from balanced factors of the aligned
        initialisation that is equivalent to W(0). Only ``momentum`` can be combined with it.
    precondition : (str, float, float) or tuple of these, optional
        ``('embedding', p, rho)`` multiplies the gradient by ``(C + rho I)^-p``, ``('input', q,
        delta)`` by ``(|Gamma| + delta I)^-q``, and a tuple of both by both. Only momentum and
        ``off_diagonal`` can be combined with it.
    relative_ridge : bool
        The number delta is a multiple of the largest eigenvalue of Gamma.
    optimizer : {'sgd', 'muon'}
        Gradient descent, or orthogonalised descent (:mod:`theory.linear.orthogonalised`), with
        which only momentum can be combined.

    Returns
    -------
    StepPrediction
        Eigenvalues, step times with intervals, curves, plateaus.

    Raises
    ------
    ValueError
        If the pairs are not valid (shapes, NaN, fewer than two), an option is out of range, or a
        combination of options has no theory.

    Warns
    -----
    UserWarning
        If ``dim`` exceeds the number of positive modes, W(0) is not small, or the learning rate is
        large for the noise of batches.

    Notes
    -----
    arXiv 2303.15438, section 4.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> z = rng.standard_normal((1000, 3)) * [1.0, 0.7, 0.5]
    >>> x, x_prime = (z + 0.1 * rng.standard_normal(z.shape) for _ in range(2))
    >>> steps = predict_steps(x, x_prime, dim=2)
    >>> steps.eigenvalues.round(2).tolist(), steps.step_times.round(1).tolist()
    ([0.99, 0.46], [2.2, 4.6])
    >>> steps = predict_steps(x, x_prime, dim=2, batch_size=8)
    >>> steps.ceilings.round(2).tolist(), steps.step_times.round(1).tolist()
    ([0.75, 0.73], [2.1, 4.8])
    """
    training = Training(
        batch_size, momentum, weight_decay, off_diagonal, depth, precondition, relative_ridge,
        optimizer,
    )  # fmt: skip
    pairs = read_pairs(x, x_prime, center=center, scale=scale)
    dim = whole_number("dim", dim, 1, pairs.m)
    rng = np.random.default_rng(rng)
    w0 = positive_number("init_scale", init_scale) * rng.standard_normal((dim, pairs.m))
    return _predict(pairs, w0, learning_rate, groups, level, rng, route, training)


def predict_steps_from(
    x: ArrayLike | Iterable[Any],
    x_prime: ArrayLike | None,
    w0: ArrayLike,
    *,
    learning_rate: float | None = None,
    center: bool = False,
    scale: float = 1.0,
    groups: ArrayLike | None = None,
    level: float = 0.9,
    rng: np.random.Generator | int = 0,
    route: str = "auto",
    batch_size: int | None = None,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    off_diagonal: float = 1.0,
    depth: int = 1,
    precondition: Side | tuple[Side, ...] | None = None,
    relative_ridge: bool = False,
    optimizer: str = "sgd",
) -> StepPrediction:
    """Predict step times from given initial weights.

    Parameters
    ----------
    x, x_prime
        The pairs or views, as in :func:`predict_steps`.
    w0 : array_like, shape (dim, m)
        Initial weights W(0), small.
    learning_rate, center, scale, groups, level, route
        As in :func:`predict_steps`.
    batch_size, momentum, weight_decay, off_diagonal, depth, precondition, relative_ridge, optimizer
        As in :func:`predict_steps`.
    rng : numpy.random.Generator or int
        Generator, or seed, of the intervals.

    Returns
    -------
    StepPrediction
        As in :func:`predict_steps`.

    Raises
    ------
    ValueError
        As in :func:`predict_steps`, or if ``w0`` does not fit the pairs.

    Examples
    --------
    >>> x = np.diag([2.0, 1.0])
    >>> predict_steps_from(x, x, [[1e-3, 0.0]]).step_times.round(3).tolist()
    [0.82]
    """
    training = Training(
        batch_size, momentum, weight_decay, off_diagonal, depth, precondition, relative_ridge,
        optimizer,
    )  # fmt: skip
    pairs = read_pairs(x, x_prime, center=center, scale=scale)
    w0 = finite_array("w0", w0, 2)
    if w0.shape[1] != pairs.m or not 1 <= w0.shape[0] <= pairs.m:
        raise ValueError(
            f"w0 has shape {w0.shape}; expected (dim, {pairs.m}) with dim from 1 to {pairs.m}"
        )
    rng = np.random.default_rng(rng)
    return _predict(pairs, w0, learning_rate, groups, level, rng, route, training)


def _predict(
    pairs: Pairs,
    w0: Array,
    learning_rate: float | None,
    groups: ArrayLike | None,
    level: float,
    rng: np.random.Generator,
    route: str,
    training: Training,
) -> StepPrediction:
    dim = w0.shape[0]
    pairs, unit = unit_energy(pairs)
    w0, given, training = w0 / unit, training, training.scaled(unit)
    clock = training.clock(unit)
    if learning_rate is not None:
        learning_rate = positive_number("learning_rate", learning_rate) / clock
    count = min(modes_needed(dim, training), pairs.m)
    modes = spectrum(
        pairs, count, beyond=min(_BEYOND, pairs.m - count) if count == dim else 0, route=route
    )
    gamma, vectors, residuals = _top_modes(modes, w0, dim)
    largest = float(modes.eigenvalues.max(initial=0.0))
    training = training.with_ridge_in_units(largest)
    given = given.with_ridge_in_units(largest * unit**-2)
    positive = int(np.count_nonzero(gamma > 0))
    if positive < dim:
        warnings.warn(
            f"{dim} dimensions asked for, but Gamma has {positive} positive mode(s): "
            "the rest is never learned",
            stacklevel=3,
        )
    start = _initial_modes(modes, w0, gamma, vectors, positive)
    plain = closed_form.step_times(gamma, start.s0)
    if training.optimizer == "muon":
        none = np.zeros(dim, dtype=bool)
        left, s0 = orthogonalised.equivalent_initialization(w0, gamma, vectors)
        start = InitialModes(left, s0, vectors, none, none)
    s0 = start.s0
    if training.depth == 1:  # balanced layers are exact from any start
        _check_small(gamma * s0**2)
    stable = stable_rate(gamma, modes.lowest, training)
    if learning_rate is None:
        # Momentum makes steps of the flow longer; the default keeps them as they are without.
        share = STABLE_SHARE * (1.0 - training.momentum) / (1.0 + training.momentum)
        share *= BATCH_SHARE if training.batch_size is not None else 1.0
        if training.optimizer == "muon":
            share = min(MUON_SHARE / (1.0 - training.momentum), STABLE_SHARE)
        learning_rate = share * stable if np.isfinite(stable) else 1.0
    units = pairs.groups if groups is None else np.asarray(groups)
    # Null directions that complete a short spectrum have no data, so nothing is known.
    known = dim if not np.any(gamma == 0) else int(np.count_nonzero(gamma > 0))
    low, high = np.full(dim, -np.inf), np.full(dim, np.inf)
    early, late = np.zeros(dim), np.full(dim, np.inf)
    bias, resolved = np.zeros(dim), np.zeros(dim, dtype=bool)
    from_images, from_views = np.full(dim, np.nan), np.full(dim, np.nan)
    if known:
        moments = pair_moments(pairs, modes, known, units)
        estimate = estimate_eigenvalues(moments)
        held_out = held_out_eigenvalues(pairs, modes, known, units, rng=rng)
        bounds = step_intervals(
            moments, estimate, held_out, w0, modes.eigenvectors, level=level, rng=rng
        )
        low[:known], high[:known] = bounds.eigenvalue_low, bounds.eigenvalue_high
        early[:known], late[:known] = bounds.step_time_low, bounds.step_time_high
        bias[:known], resolved[:known] = estimate.bias, estimate.separated & held_out.learned
        from_images[:known], from_views[:known] = moments.deviations()
    step_times = plain
    curves: Curves | None = None
    if training.plain:
        iterations = descent_step_iterations(gamma, s0, learning_rate)
        plateaus = closed_form.plateaus(gamma, s0)
        ceilings = np.where(np.isfinite(step_times), 1.0, 0.0)
    else:
        steps = trained_steps(training, pairs, modes, gamma, w0, start, learning_rate)
        step_times, iterations, curves = steps.step_times, steps.step_iterations, steps.curves
        plateaus, ceilings = steps.plateaus, steps.ceilings
        # Orthogonalised step times are proportional to gamma^-1/2, plain ones to 1/gamma.
        power = 0.5 if training.optimizer == "muon" else 1.0
        early, late = scaled_interval(early, late, plain, step_times, power)
        if training.optimizer == "muon":  # where there is no ratio
            never = ~np.isfinite(step_times)
            early[never] = np.sqrt(0.5 / np.maximum(high[never], np.finfo(float).tiny))
    prediction = StepPrediction(
        eigenvalues=gamma,
        next_eigenvalue=float(modes.eigenvalues[dim]) if len(modes.eigenvalues) > dim else np.nan,
        eigenvectors=start.right,
        residuals=residuals,
        eigenvalue_low=low,
        eigenvalue_high=high,
        eigenvalue_bias=bias,
        eigenvalue_deviation_images=from_images,
        eigenvalue_deviation_views=from_views,
        resolved=resolved,
        step_times=step_times,
        step_time_low=early,
        step_time_high=late,
        interval_level=level,
        initial_weights=w0,
        initial_singular_values=s0,
        left=start.left,
        equal=start.equal,
        integrated=start.integrated,
        learning_rate=learning_rate,
        stable_learning_rate=stable,
        step_iterations=iterations,
        plateaus=plateaus,
        positive_modes=modes.positive_modes,
        centred=pairs.centred,
        mean=pairs.mean,
        n_pairs=pairs.n if pairs.views is None else pairs.n * (pairs.views - 1) // 2,
        route=modes.route,
        ceilings=ceilings,
        training=given,
        curves=curves,
    )
    return prediction if unit == 1.0 else _in_units_of_data(prediction, unit, clock)


def _in_units_of_data(prediction: StepPrediction, unit: float, clock: float) -> StepPrediction:
    """Prediction for pairs divided by ``unit``, where a flow time is ``clock`` times as long."""
    times = ("step_times", "step_time_low", "step_time_high", "learning_rate")
    rates = (
        *("next_eigenvalue", "residuals", "eigenvalue_low", "eigenvalue_high", "eigenvalue_bias"),
        *("eigenvalue_deviation_images", "eigenvalue_deviation_views"),
    )
    factors = {
        **dict.fromkeys((*times, "stable_learning_rate"), clock),
        **dict.fromkeys(("eigenvalues", *rates), unit**-2),
        **dict.fromkeys(("initial_weights", "initial_singular_values"), unit),
        "mean": 1.0 / unit,
    }
    changed: dict[str, Any] = {
        name: getattr(prediction, name) * factor for name, factor in factors.items()
    }
    changed["plateaus"] = tuple(
        replace(plateau, start=plateau.start * clock, end=plateau.end * clock)
        for plateau in prediction.plateaus
    )
    if prediction.curves is not None:
        assert not isinstance(prediction.curves, ScaledCurves)
        changed["curves"] = ScaledCurves(prediction.curves, unit, clock)
    return replace(prediction, **changed)


def _initial_modes(
    modes: Spectrum, w0: Array, gamma: Array, vectors: Array, positive: int
) -> InitialModes:
    """Initialisation of the top modes; only positive ones can be close to each other."""
    left, s0 = equivalent_initialization(w0, vectors)
    none = np.zeros(len(s0), dtype=bool)
    if not positive:
        return InitialModes(left, s0, vectors, none, none)
    above = modes.eigenvalues > 0
    start = initial_modes(w0, modes.eigenvalues[above], modes.eigenvectors[:, above], positive)
    return InitialModes(
        np.hstack([start.left, left[:, positive:]]),
        np.r_[start.s0, s0[positive:]],
        np.hstack([start.right, vectors[:, positive:]]),
        np.r_[start.equal, none[positive:]],
        np.r_[start.integrated, none[positive:]],
    )


def _check_small(initial: Array) -> None:
    """Warn if a mode starts so large that W(0) is not small."""
    largest = initial.max()
    if largest > SMALL_START:
        warnings.warn(
            f"W(0) is not small: mode {initial.argmax() + 1} starts at lambda = {largest:.3g}, "
            f"expected below {SMALL_START}; step times may be wrong: make W(0) or the data at "
            f"least {math.sqrt(largest / SMALL_START):.2g} times smaller",
            stacklevel=4,
        )


def _top_modes(modes: Spectrum, w0: Array, dim: int) -> tuple[Array, Array, Array]:
    """Top ``dim`` modes; beyond the span of the data, null directions follow the positive ones."""
    gamma, vectors, m = modes.eigenvalues, modes.eigenvectors, w0.shape[1]
    missing = min(dim, m - len(gamma)) if modes.complete else 0
    if missing <= 0 or (modes.positive_modes or 0) >= dim:
        return gamma[:dim], vectors[:, :dim], modes.residuals[:dim]
    positive = modes.positive_modes or 0
    # Directions without data: first those of W(0) outside the span, which never change.
    outside = (w0 - (w0 @ vectors) @ vectors.T).T
    null = np.linalg.qr(np.hstack([outside, np.eye(m, missing)]))[0][:, :missing]
    gamma = np.r_[gamma[:positive], np.zeros(missing), gamma[positive:]][:dim]
    vectors = np.hstack([vectors[:, :positive], null, vectors[:, positive:]])[:, :dim]
    residuals = np.r_[modes.residuals[:positive], np.zeros(missing), modes.residuals[positive:]]
    return gamma, vectors, residuals[:dim]
