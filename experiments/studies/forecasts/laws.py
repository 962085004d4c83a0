"""The law of one mode at one checkpoint: its factors, the pull of its loss, its ceiling.

Each method has its pull. Barlow Twins pulls along the line 1 - lambda / ceiling. SimCLR's own curve
and that line are averaged: alone, a mode saturates early, and learned modes make room later.
VICReg's hinge pulls with the inverse of the standard deviation. Any other loss has the curve that
it shows when the mode is scaled in the embeddings. How features adapt is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from experiments.studies.forecasts.moments import Array, expected_ceiling
from sslsim.measures.growth import Growth, pull_curve, zero_of_pull
from sslsim.runs.history import RunHistory
from sslsim.runs.options import TrainOptions, has_theory_form, training_options
from sslsim.training.options import learning_rate_factor
from theory.growth.adaptation import factors_with
from theory.growth.factors import Pull
from theory.growth.heavy_ball import momentum_growth_time

_GRID = 14
_LEAST_PULL = 1e-4  # of the pull at the origin: ceilings are approached, not passed
_MOST_ADAPTATION = 0.5  # that of two balanced factors
_HINGE_FLOOR = 0.3  # of the line: once all dimensions vary enough, decorrelation still pulls


@dataclass(frozen=True)
class ModeLaw:
    """Law of one mode.

    Attributes
    ----------
    shares, rooms : ndarray, shape (p,)
        Factors: their shares in the rate, and the rooms of those that are free of scale.
    pull : callable
        Pull at eigenvalues.
    lam, ceiling : float
        Eigenvalue now, and where it saturates; half of that is the step.
    """

    shares: Array
    rooms: Array
    pull: Pull
    lam: float
    ceiling: float

    def time_to(
        self, lam: float, rate: float, momentum: float, velocity: float | None = None
    ) -> float:
        """Flow time until the mode reaches an eigenvalue, under momentum.

        ``velocity`` is d ln(lambda) / dt now, by the momentum that the optimiser holds; without it,
        the law's own.
        """
        if not self.shares.any():
            return np.inf
        return momentum_growth_time(
            self.shares,
            self.pull,
            self.lam,
            max(lam, self.lam),
            rate,
            momentum,
            self.rooms,
            velocity,
        )


def learning_rate(options: TrainOptions, step: int) -> float:
    """Learning rate of a run after some updates."""
    at = min(step, options.steps - 1)
    training = training_options(options)
    factor = learning_rate_factor(training.schedule, at, training.steps, training.warmup)
    return training.lr * factor


def momentum_of(options: TrainOptions) -> float:
    """Momentum by which a run lags behind its flow time; 0 for optimisers without such a law."""
    return options.momentum if options.optimizer == "sgd" else 0.0


def mode_law(history: RunHistory, index: int, mode: int, now: Growth, adapts: float) -> ModeLaw:
    """Law of a mode from its rates (of this mode alone) and its adaptation at one checkpoint."""
    lam, u = float(now.lam[mode]), now.directions[:, mode]
    options = history.run.options
    grid = np.exp(np.linspace(0.0, np.log(max(3.0, 6.0 / lam)), _GRID))
    strength = pull_curve(
        now.z, now.z_prime, u, history.objective, grid.tolist(), spectrum=history.spectrum
    ).numpy()
    ceiling = expected_ceiling(history, index, mode)
    alone = zero_of_pull((lam * grid).tolist(), strength.tolist())
    hinge = options.method == "vicreg"
    if hinge:
        ceiling = min(ceiling, 1.0)
    elif history.ceiling is None and ceiling == 1.0 and lam < alone < np.inf:
        ceiling = alone
    line = _line(ceiling)
    curve = _curve(lam, grid, strength) if strength[0] > 0 else _over(line, lam)
    if has_theory_form(options):
        pull: Pull = line
    elif options.method == "simclr":
        straight = _over(line, lam)

        def pull(at: Array) -> Array:
            return 0.5 * np.maximum(curve(at), 0.0) + 0.5 * straight(at)

    elif hinge:
        floor = _over(line, lam)

        def pull(at: Array) -> Array:
            return np.maximum(curve(at), _HINGE_FLOOR * floor(at))

    else:
        pull = curve
    own = float(now.own[0])
    # More than the most, and less than none, is seen at single checkpoints, but does not last.
    usable = float(np.clip(adapts, 0.0, _MOST_ADAPTATION)) if np.isfinite(adapts) else 0.0
    shares, rooms = factors_with(max(own, 0.0), usable)
    return ModeLaw(shares, rooms, pull, lam, ceiling)


def _line(ceiling: float) -> Callable[[Array], Array]:
    def pull(lam: Array) -> Array:
        return np.maximum(1.0 - lam / ceiling, _LEAST_PULL)

    return pull


def _over(pull: Callable[[Array], Array], lam: float) -> Callable[[Array], Array]:
    first = float(pull(np.array([lam]))[0])
    return lambda at: pull(at) / first


def _curve(lam: float, grid: Array, strength: Array) -> Callable[[Array], Array]:
    return lambda at: np.interp(np.log(at / lam), np.log(grid), strength / strength[0])
