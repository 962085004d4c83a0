r"""Step times for the way a model is trained: batches, momentum, penalties, depth, and so on.

Without depth, the reduced equation of :mod:`theory.linear.reduced` in the top eigenvectors of Gamma
(twice the embedding dimension; with batches, which turn the map out of these, up to four times)
covers every allowed combination; a product of N layers follows the closed form of
:mod:`theory.linear.deep` from balanced, aligned factors, and orthogonalised descent that of
:mod:`theory.linear.orthogonalised`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import ArrayLike

from theory.arrays import (
    Array,
    non_negative_number,
    positive_number,
    whole_number,
)
from theory.linear import deep, minibatch, orthogonalised, reduced
from theory.linear.closed_form import Plateau, plateaus_between
from theory.linear.gradient_descent import stable_learning_rate
from theory.linear.momentum import momentum_coefficient
from theory.linear.reduced import Side, preconditioners
from theory.linear.ties import InitialModes
from theory.pairs.gamma import Pairs
from theory.pairs.spectrum import Spectrum

LARGEST_DIM = 64
"""Largest embedding dimension with batches: their covariances take 8 dim^4 bytes."""

OPTIMIZERS = ("sgd", "muon")
"""Ways to update: gradient descent, and by the polar factor of the gradient."""

_MOST_MODES = 24  # of batches, unless the embedding dimension is larger
_MOST_ITERATIONS = 100_000  # later steps are those of the flow, which is accurate there
_NOISE = 0.02  # of the order in the learning rate: above it, the law errs by several per cent


@dataclass(frozen=True)
class Training:
    """How the linear model is trained, with the plain way as default.

    Attributes
    ----------
    batch_size : int, optional
        Number of pairs in a batch, drawn without replacement in every epoch. Default: all pairs.
    momentum : float
        Heavy ball coefficient as in ``torch.optim.SGD``.
    weight_decay : float
        Weight decay as in ``torch.optim.SGD``.
    off_diagonal : float
        Weight of the squared off-diagonal entries of C in the loss.
    depth : int
        Number of layers whose product is the map, from balanced factors aligned with Gamma.
    precondition : (str, float, float) or tuple of these, optional
        ``('embedding', p, rho)``, ``('input', q, delta)`` or both, see
        :class:`theory.linear.reduced.Law`.
    relative_ridge : bool
        The number delta is a multiple of the largest eigenvalue of Gamma.
    optimizer : {'sgd', 'muon'}
        Gradient descent, or orthogonalised descent (:mod:`theory.linear.orthogonalised`).

    Raises
    ------
    ValueError
        If a value is out of range or a combination has no theory.

    Examples
    --------
    >>> Training(momentum=0.9).plain
    False
    >>> Training(depth=2, batch_size=32)
    Traceback (most recent call last):
    ValueError: depth is 2 with batch_size; expected it with momentum only
    """

    batch_size: int | None = None
    momentum: float = 0.0
    weight_decay: float = 0.0
    off_diagonal: float = 1.0
    depth: int = 1
    precondition: Side | tuple[Side, ...] | None = None
    relative_ridge: bool = False
    optimizer: str = "sgd"

    def __post_init__(self) -> None:
        if self.batch_size is not None:
            whole_number("batch_size", self.batch_size, 1)
        momentum_coefficient(self.momentum)
        non_negative_number("weight_decay", self.weight_decay)
        positive_number("off_diagonal", self.off_diagonal)
        whole_number("depth", self.depth, 1)
        self._check_optimizer()
        self.law()
        changed = [
            field.name for field in fields(self) if getattr(self, field.name) != field.default
        ]
        others = [name for name in changed if name not in ("depth", "momentum")]
        if self.depth > 1 and others:
            raise ValueError(
                f"depth is {self.depth} with {', '.join(others)}; expected it with momentum only"
            )
        if self.precondition and self.batch_size is not None:
            raise ValueError("precondition is given with batch_size; expected full batches")
        if self.relative_ridge and "input" not in self.sides:
            raise ValueError("relative_ridge is given without precondition of the input side")

    def _check_optimizer(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer is {self.optimizer!r}; expected {' or '.join(OPTIMIZERS)}")
        if self.optimizer != "muon":
            return
        others = [
            field.name
            for field in fields(self)
            if field.name not in ("optimizer", "momentum", "relative_ridge")
            and getattr(self, field.name) != field.default
        ]
        if others:
            raise ValueError(
                f"optimizer is muon with {', '.join(others)}; expected it with momentum only"
            )

    @property
    def plain(self) -> bool:
        """Whether this is plain gradient descent on all pairs."""
        return self == Training()

    @property
    def sides(self) -> dict[str, tuple[float, float]]:
        """Exponent and regulariser of the preconditioner on each side."""
        return preconditioners(self.precondition)

    def with_ridge_in_units(self, largest: float) -> Training:
        """The same training without a relative ridge, for a largest eigenvalue of Gamma."""
        if not self.relative_ridge:
            return self
        return replace(
            self, precondition=self._ridge_times(max(largest, 0.0) or 1.0), relative_ridge=False
        )

    def scaled(self, unit: float) -> Training:
        """The same training of views times ``unit``, with W divided by it."""
        precondition = self.precondition if self.relative_ridge else self._ridge_times(unit**2)
        return replace(self, weight_decay=self.weight_decay * unit**2, precondition=precondition)

    def _ridge_times(self, factor: float) -> Side | tuple[Side, ...] | None:
        """The preconditioners with another regulariser on the input side."""
        if not self.precondition:
            return self.precondition
        sides = tuple(
            (side, power, ridge * (factor if side == "input" else 1.0))
            for side, (power, ridge) in self.sides.items()
        )
        return sides if len(sides) > 1 else sides[0]

    def clock(self, unit: float) -> float:
        """Flow time by which a unit of flow time of :meth:`scaled` is to be multiplied."""
        if self.optimizer == "muon":
            return unit
        if self.depth > 1:
            return unit ** (2.0 / self.depth)
        return unit ** (2.0 - 2.0 * self.sides.get("input", (0.0, 0.0))[0])

    def time_per_update(self, learning_rate: float) -> float:
        """Flow time of an update; an orthogonalised one has its size with any momentum."""
        return learning_rate / (1.0 if self.optimizer == "muon" else 1.0 - self.momentum)

    def law(self, noise: Array | None = None) -> reduced.Law:
        """The loss and its gradient, with the covariances of batches."""
        return reduced.Law(
            self.off_diagonal, self.weight_decay, noise, self.precondition,
            self.optimizer == "muon",
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class ReducedCurves:
    """Curves of the reduced equation, and the maps in the space of the views."""

    flow: reduced.ReducedFlow
    vectors: Array  # (m, K)
    start: Array  # (d, K)
    law: reduced.Law

    def eigenvalue_curves(self, t: ArrayLike) -> Array:
        """Eigenvalues (..., dim) at flow times."""
        return self.flow.eigenvalue_curves(t)

    def loss(self, t: ArrayLike) -> Array:
        """Loss of all pairs (...) at flow times."""
        return self.flow.loss(t)

    def weights(self, t: ArrayLike) -> Array:
        """Map (..., dim, m) at flow times."""
        return self.flow.maps(t) @ self.vectors.T

    def descent_curves(self, iterations: ArrayLike, learning_rate: float, momentum: float) -> Array:
        """Eigenvalues (T, dim) at iterations of gradient descent."""
        return reduced.descent_curves(
            iterations, self.flow.gamma, self.start, learning_rate, law=self.law, momentum=momentum
        )


@dataclass(frozen=True, eq=False)
class DeepCurves:
    """Curves of a product of balanced layers."""

    gamma: Array
    s0: Array
    depth: int
    left: Array
    vectors: Array

    def eigenvalue_curves(self, t: ArrayLike) -> Array:
        """Eigenvalues (..., dim) at flow times."""
        return deep.eigenvalue_curves(t, self.gamma, self.s0, self.depth)

    def loss(self, t: ArrayLike) -> Array:
        """Loss (...) at flow times."""
        return np.sum((1.0 - self.eigenvalue_curves(t)) ** 2, axis=-1)

    def weights(self, t: ArrayLike) -> Array:
        """Product of the layers (..., dim, m) at flow times."""
        curves = self.eigenvalue_curves(t)
        values = np.sqrt(
            np.divide(curves, self.gamma, out=np.zeros_like(curves), where=self.gamma != 0)
        )
        return (self.left * values[..., None, :]) @ self.vectors.T

    def descent_curves(self, iterations: ArrayLike, learning_rate: float, momentum: float) -> Array:
        """Eigenvalues (T, dim) at iterations of gradient descent."""
        return deep.descent_curves(
            iterations, self.gamma, self.s0, self.depth, learning_rate, momentum=momentum
        )


@dataclass(frozen=True, eq=False)
class OrthogonalisedCurves:
    """Curves of orthogonalised descent, in closed form for small steps."""

    gamma: Array
    s0: Array
    left: Array
    vectors: Array
    top: Array  # eigenvalues (K,) and initial map (d, K) of the iterations
    start: Array
    law: reduced.Law

    def eigenvalue_curves(self, t: ArrayLike) -> Array:
        """Eigenvalues (..., dim) at flow times, descending."""
        curves = orthogonalised.eigenvalue_curves(t, self.gamma, self.s0)
        return np.sort(curves, axis=-1)[..., ::-1]

    def loss(self, t: ArrayLike) -> Array:
        """Loss (...) at flow times."""
        return orthogonalised.loss(t, self.gamma, self.s0)

    def weights(self, t: ArrayLike) -> Array:
        """Map (..., dim, m) at flow times."""
        values = orthogonalised.singular_values(t, self.gamma, self.s0)
        return (self.left * values[..., None, :]) @ self.vectors.T

    def descent_curves(self, iterations: ArrayLike, learning_rate: float, momentum: float) -> Array:
        """Eigenvalues (T, dim) at iterations of orthogonalised descent."""
        return reduced.descent_curves(
            iterations, self.top, self.start, learning_rate, law=self.law, momentum=momentum
        )


Curves = ReducedCurves | DeepCurves | OrthogonalisedCurves
"""Curves of a training that is not plain."""


@dataclass(frozen=True, eq=False)
class ScaledCurves:
    """Curves in units of the data, of a prediction for views times ``unit``."""

    scaled: Curves
    unit: float
    clock: float

    def eigenvalue_curves(self, t: ArrayLike) -> Array:
        """Eigenvalues (..., dim) at flow times."""
        return self.scaled.eigenvalue_curves(np.asarray(t) / self.clock)

    def loss(self, t: ArrayLike) -> Array:
        """Loss of all pairs (...) at flow times."""
        return self.scaled.loss(np.asarray(t) / self.clock)

    def weights(self, t: ArrayLike) -> Array:
        """Map (..., dim, m) at flow times."""
        return self.unit * self.scaled.weights(np.asarray(t) / self.clock)

    def descent_curves(self, iterations: ArrayLike, learning_rate: float, momentum: float) -> Array:
        """Eigenvalues (T, dim) at iterations of gradient descent."""
        return self.scaled.descent_curves(iterations, learning_rate / self.clock, momentum)


@dataclass(frozen=True, eq=False)
class TrainedSteps:
    """Step times of a way to train.

    Attributes
    ----------
    ceilings : ndarray, shape (dim,)
        Final heights of the eigenvalues of the embedding cross-correlation, descending.
    step_times : ndarray, shape (dim,)
        Flow times at which they pass half of these.
    step_iterations : ndarray, shape (dim,)
        The same in iterations of gradient descent.
    plateaus : tuple of Plateau
        Plateaus of the loss.
    curves : ReducedCurves, DeepCurves or OrthogonalisedCurves
        Curves and maps.
    """

    ceilings: Array
    step_times: Array
    step_iterations: Array
    plateaus: tuple[Plateau, ...]
    curves: Curves


def stable_rate(gamma: Array, lowest: float, training: Training) -> float:
    """Largest learning rate at which the learned map is stable.

    Parameters
    ----------
    gamma : ndarray, shape (k,)
        Top eigenvalues of Gamma, descending.
    lowest : float
        Smallest eigenvalue of Gamma.
    training : Training
        How the model is trained.

    Returns
    -------
    float
        ``1 / (4 gamma_1)`` for plain training, times 1 + momentum, and by the curvature of the
        other ways to train. Stability is local: with much momentum, descent from a small W(0) can
        overshoot and diverge below it. On the embedding side it bounds the first growth as well.
        Orthogonalised descent does not diverge; see
        :func:`theory.linear.orthogonalised.stable_learning_rate`.

    Examples
    --------
    >>> stable_rate(np.array([1.0, 0.5]), 0.0, Training(momentum=0.9))
    0.475
    """
    if training.optimizer == "muon":
        return orthogonalised.stable_learning_rate(gamma, training.momentum)
    for side, (power, ridge) in training.sides.items():
        if side == "input":
            gamma = gamma * (np.abs(gamma) + ridge) ** -power
            lowest = lowest * (abs(lowest) + ridge) ** -power
        else:
            gamma, lowest = gamma * ridge**-power, lowest * ridge**-power
    top = max(float(gamma.max()), 0.0)
    stable = stable_learning_rate([top, min(lowest, 0.0)])
    if training.depth > 1 and top:
        stable = 1.0 / (4.0 * training.depth * top ** (1.0 / training.depth))
    if training.plain:
        return stable
    return stable * (1.0 + training.momentum) / max(1.0, training.off_diagonal)


def modes_needed(dim: int, training: Training) -> int:
    """Number of modes of Gamma that a prediction needs.

    Parameters
    ----------
    dim : int
        Embedding dimension d.
    training : Training
        How the model is trained.

    Returns
    -------
    int
        d for plain training, else 2 d; with batches up to 4 d, but not more than the larger of 24
        and d.

    Examples
    --------
    >>> [modes_needed(dim, Training(batch_size=8)) for dim in (4, 10, 30)]
    [16, 24, 30]
    """
    if training.plain or training.depth > 1:
        return dim
    return max(dim, min(4 * dim, _MOST_MODES)) if training.batch_size else 2 * dim


def trained_steps(
    training: Training,
    pairs: Pairs,
    modes: Spectrum,
    gamma: Array,
    w0: Array,
    start: InitialModes,
    learning_rate: float,
) -> TrainedSteps:
    """Steps of a way to train that is not the plain one.

    Parameters
    ----------
    training : Training
        How the model is trained.
    pairs : Pairs
        The pairs; they are read once more with batches.
    modes : Spectrum
        The top eigenpairs, see :func:`modes_needed`.
    gamma : ndarray, shape (dim,)
        Top eigenvalues.
    w0 : ndarray, shape (dim, m)
        Initial weights.
    start : InitialModes
        The equivalent aligned initialisation, from which a product of layers starts.
    learning_rate : float
        Learning rate of the iterations.

    Returns
    -------
    TrainedSteps
        Step times, ceilings, plateaus, curves.

    Raises
    ------
    ValueError
        If a batch is larger than the pairs, or dim above ``LARGEST_DIM`` with batches.

    Warns
    -----
    UserWarning
        If the learning rate is large for the noise of the batches.
    """
    if training.depth > 1:
        return _deep_steps(training, gamma, start, learning_rate)
    dim = len(gamma)
    if training.batch_size is not None and dim > LARGEST_DIM:
        raise ValueError(f"dim is {dim} with batch_size; expected at most {LARGEST_DIM}")
    most = modes_needed(dim, training)
    positive = int(np.count_nonzero(modes.eigenvalues[:most] > 0))
    count = max(positive, 1)
    top, basis = modes.eigenvalues[:count], modes.eigenvectors[:, :count]
    if training.optimizer == "muon":
        return _orthogonalised_steps(training, gamma, top, w0 @ basis, start, learning_rate)
    noise = None
    if training.batch_size is not None:
        views = [(a @ basis, b @ basis) for a, b in pairs]
        a, b = (np.concatenate(view) for view in zip(*views, strict=True))
        if pairs.views is None:
            noise = minibatch.batch_covariance(a, b, training.batch_size, pairs.n)
        else:
            # The first of each two are views of the images, one by one.
            noise = minibatch.fresh_covariance(
                a.reshape(-1, pairs.views, count), training.batch_size
            )
    law, w0_v = training.law(noise), w0 @ basis
    flow = reduced.reduced_flow(top, w0_v, law=law)
    if noise is not None:
        _check_noise(top[:dim], noise, flow.ceilings, learning_rate, training)
    iterations = reduced.descent_step_iterations(
        top,
        w0_v,
        learning_rate,
        law=law,
        momentum=training.momentum,
        limit=_iterations(flow.end, learning_rate, training.momentum),
    )
    late = ~np.isfinite(iterations)
    iterations[late] = flow.step_times[late] * (1.0 - training.momentum) / learning_rate
    plateaus = plateaus_between(
        flow.step_times, flow.passages(0.1), flow.passages(0.9), lambda t: float(flow.loss(t))
    )
    return TrainedSteps(
        flow.ceilings, flow.step_times, iterations, plateaus, ReducedCurves(flow, basis, w0_v, law)
    )


def _iterations(end: float, learning_rate: float, momentum: float) -> int:
    """Iterations that pass the end of the flow, if they are not too many."""
    count = 2.0 * end * (1.0 - momentum) / learning_rate + 100.0
    return int(min(count, _MOST_ITERATIONS))


def _check_noise(
    gamma: Array, noise: Array, heights: Array, learning_rate: float, training: Training
) -> None:
    size = len(gamma)
    rivalry = minibatch.competition(gamma, noise[:size, :size, :size, :size])
    scale = learning_rate / (1.0 - training.momentum)
    order = minibatch.noise_order(gamma, rivalry, np.minimum(heights[:size], 1.0), scale)
    if order > _NOISE:
        warnings.warn(
            f"the learning rate is large for batches of {training.batch_size}: step times and "
            f"ceilings can be off by {order:.1%} and more; a smaller one sharpens the prediction",
            stacklevel=5,
        )


def _deep_steps(
    training: Training, gamma: Array, start: InitialModes, learning_rate: float
) -> TrainedSteps:
    depth, s0 = training.depth, start.s0
    times = deep.step_times(gamma, s0, depth)
    iterations = deep.descent_step_iterations(
        gamma, s0, depth, learning_rate, momentum=training.momentum, limit=_MOST_ITERATIONS // 5
    )
    late = ~np.isfinite(iterations)
    iterations[late] = times[late] * (1.0 - training.momentum) / learning_rate
    curves = DeepCurves(gamma, s0, depth, start.left, start.right)
    begins, ends = deep.level_times([0.1, 0.9], gamma, s0, depth)
    plateaus = plateaus_between(times, begins, ends, lambda t: float(curves.loss(t)))
    ceilings = np.where(np.isfinite(times), 1.0, 0.0)
    return TrainedSteps(ceilings, times, iterations, plateaus, curves)


def _orthogonalised_steps(
    training: Training, gamma: Array, top: Array, w0_v: Array, start: InitialModes, rate: float
) -> TrainedSteps:
    law, s0 = training.law(), start.s0
    times = np.sort(orthogonalised.step_times(gamma, s0))
    last = float(np.max(times[np.isfinite(times)], initial=0.0))
    iterations = reduced.descent_step_iterations(
        top, w0_v, rate, law=law, momentum=training.momentum,
        limit=_iterations(last, rate, 0.0),
    )  # fmt: skip
    late = ~np.isfinite(iterations)
    iterations[late] = times[late] / rate
    curves = OrthogonalisedCurves(gamma, s0, start.left, start.right, top, w0_v, law)
    begins, ends = orthogonalised.level_times([0.1, 0.9], gamma, s0)
    plateaus = plateaus_between(
        orthogonalised.step_times(gamma, s0), begins, ends, lambda t: float(curves.loss(t))
    )
    return TrainedSteps(np.isfinite(times).astype(float), times, iterations, plateaus, curves)


def scaled_interval(
    early: Array, late: Array, plain: Array, trained: Array, power: float = 1.0
) -> tuple[Array, Array]:
    """Intervals of plain step times, by the ratio of the trained to the plain one of each mode.

    Parameters
    ----------
    early, late : ndarray, shape (dim,)
        Interval in plain training.
    plain, trained : ndarray, shape (dim,)
        Step times of the sample in plain training and in the other way to train.
    power : float
        The trained step times change like the plain ones to this power, if eigenvalues change.

    Returns
    -------
    early, late : ndarray, shape (dim,)
        The interval; without an end where the mode never steps.

    Examples
    --------
    >>> scaled_interval(*np.array([[1.0, 1.0], [3.0, 3.0], [2.0, 2.0], [4.0, np.inf]]))
    (array([2., 1.]), array([ 6., inf]))
    """
    both = np.isfinite(plain) & np.isfinite(trained) & (plain > 0)
    base, times = np.where(both, plain, 1.0), np.where(both, trained, 1.0)
    return (
        times * (early / base) ** power,
        np.where(np.isfinite(trained), times * (late / base) ** power, np.inf),
    )
