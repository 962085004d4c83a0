"""Forecasts of the rise of a mode: by the two-factor law, and by rates that stay what they are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh
from scipy.stats import t as student
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from experiments.options import ForecastOptions
from sslsim.measures.growth import Growth, growth, hessian_product
from sslsim.measures.snapshots import HeldOutPairs
from sslsim.ntk import pair_ntk
from sslsim.runs.history import RunHistory
from sslsim.runs.options import network_name
from theory.kernels.plateau import plateau_rate
from theory.linear.two_factor import growth_time, most_even_cut, two_factor_law

Array = NDArray[np.float64]

SIZES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Eigenvalues, in units of the ceiling, at which a backtest makes forecasts."""

JUDGED = 1e-3  # where forecasts are summed up

# Before a run has shown how its forecasts come out, they are taken to be right within a factor 1.5
# (one standard deviation), an opinion worth two observations.
_PRIOR_SPREAD, _PRIOR_WEIGHT = np.log(1.5), 2
_LEARNED = 0.2  # a mode above this is learned or about to be: its size says what a ceiling is
_STEP = 0.5  # of the ceiling: the mode is learned
_NOISE = 1e-12  # of the largest eigenvalue: below it, float32 embeddings tell nothing
_HESSIAN_PAIRS = 256
_LAST_LAYER = "projector"


@dataclass(frozen=True)
class Forecast:
    """A forecast of one mode's rise, and the measured rise.

    Attributes
    ----------
    run, method, encoder : str
        Folder, and what was trained.
    mode : int
        From 1.
    size : float or None
        The eigenvalue, in units of the ceiling, whose first passing occasioned the forecast.
    step : int
        Updates done.
    time : float
        Flow time then.
    lam : float
        Eigenvalue in units of the ceiling.
    ceiling : float
        Value at which the mode is expected to saturate.
    rate : float
        d ln(lambda) / dt at that moment, exactly.
    own_rate : float
        Part of it by the pull on the mode itself.
    early_rate, late_rate : float
        Its shares before and after the cut at which both are most even; 0 where it is negative.
    cut : str
        First parameter after the cut.
    last_layer_rate : float
        Share of the last layer in ``own_rate``.
    rates : dict of str to float
        Forecasts of the mean rate until the eigenvalue is ten times as large: ``two_factor``,
        ``last_rate`` (the rate measured since the checkpoint before), ``last_layer`` (fixed
        features) and, where computed, ``kernel`` and ``hessian``.
    step_times : dict of str to float
        Forecasts of the flow time at which the eigenvalue is half the ceiling.
    low, high : float
        Interval of ``step_times["two_factor"]``.
    measured_rate, measured_step_time : float
        What happened; NaN and infinity where the run ended before.
    """

    run: str
    method: str
    encoder: str
    mode: int
    size: float | None
    step: int
    time: float
    lam: float
    ceiling: float
    rate: float
    own_rate: float
    early_rate: float
    late_rate: float
    cut: str
    last_layer_rate: float
    rates: dict[str, float]
    step_times: dict[str, float]
    low: float
    high: float
    measured_rate: float
    measured_step_time: float


def crossings(history: RunHistory, until: int | None = None) -> list[tuple[int, int, float | None]]:
    """Moments at which modes first pass the sizes."""
    last = len(history.steps) if until is None else until
    moments: list[tuple[int, int, float | None]] = []
    for mode in range(history.lam.shape[1]):
        lam = np.array([history.lam[i, mode] / _ceiling(history, i, mode) for i in range(last)])
        for size in SIZES:
            above = np.flatnonzero(lam >= size)
            # Above at the start, it passed nowhere; above the next size or the step, it jumped.
            if len(above) and above[0] > 0 and lam[above[0]] < min(10 * size, _STEP):
                moments.append((int(above[0]), mode, size))
    return sorted(moments, key=lambda moment: moment[:2])


def modes_left(history: RunHistory, index: int) -> list[tuple[int, int, float | None]]:
    """Modes not yet learned at a checkpoint."""
    lam = history.lam[index]
    return [
        (index, mode, None)
        for mode in range(len(lam))
        if _NOISE * lam.max() < lam[mode] < _STEP * _ceiling(history, index, mode)
    ]


def _ceiling(history: RunHistory, index: int, mode: int) -> float:
    """Where a mode will saturate: at 1 by theory, else where the last learned one did."""
    if history.ceiling is not None:
        return history.ceiling
    learned = [value for value in history.lam[index, :mode] if value >= _LEARNED]
    return float(learned[-1]) if learned else 1.0


def forecasts_of(
    history: RunHistory,
    moments: Sequence[tuple[int, int, float | None]],
    options: ForecastOptions,
    quiet: bool,
) -> list[Forecast]:
    """Forecasts of a run at some moments."""
    forecasts: list[Forecast] = []
    for index, mode, size in tqdm(moments, desc="forecasts", disable=quiet, file=sys.stderr):
        known = [
            np.log(
                (earlier.measured_step_time - earlier.time)
                / (earlier.step_times["two_factor"] - earlier.time)
            )
            for earlier in forecasts
            if earlier.measured_step_time <= history.times[index]
            and np.isfinite(earlier.step_times["two_factor"])
            and earlier.size is not None
            # those made at about the same size are the ones that tell
            and (size is None or earlier.size == size)
        ]
        forecasts.append(_forecast(history, index, mode, size, known, options))
    return forecasts


def _forecast(
    history: RunHistory,
    index: int,
    mode: int,
    size: float | None,
    known: Sequence[float],
    options: ForecastOptions,
) -> Forecast:
    encoder = history.encoder_at(index)
    now = growth(encoder, history.pairs, history.objective, [mode], spectrum=history.spectrum)
    ceiling = _ceiling(history, index, mode)
    lam, time = float(history.lam[index, mode]) / ceiling, float(history.times[index])
    own, shares = float(now.own[0]), now.shares[0].numpy()
    early, late, cut = most_even_cut(shares)
    # Where the pull holds the mode down, the law knows no growth.
    share = max(own, 0.0) / (early + late) if early + late > 0 else 0.0
    early, late = share * early, share * late
    law = two_factor_law(lam, late, early)
    last = [name.startswith(_LAST_LAYER) for name in now.names]
    last_layer = float(shares[last].sum())
    rest = 1.0 - lam
    fixed = {"last_rate": _last_rate(history, index, mode), "last_layer": last_layer}
    if size == (JUDGED if options.at is None else None):
        if options.kernel and history.ceiling is not None and not _batch_normalised(encoder):
            fixed["kernel"] = rest * _kernel_rate(encoder, history.pairs, now, mode)
        if options.hessian:
            fixed["hessian"] = _hessian_rate(encoder, history)
    remaining = float(growth_time(law, lam, _STEP))
    decade = min(10 * lam, _STEP)
    rates = {"two_factor": np.log(decade / lam) / float(growth_time(law, lam, decade)), **fixed}
    steps = {"two_factor": time + remaining}
    for name, rate in fixed.items():
        steps[name] = time + np.log(rest / lam) * rest / rate if rate > 0 else np.inf
    spread = _spread(known, options.interval_level)
    return Forecast(
        run=str(history.run.folder),
        method=history.run.options.method,
        encoder=network_name(history.run.options),
        mode=mode + 1,
        size=size,
        step=history.steps[index],
        time=time,
        lam=lam,
        ceiling=ceiling,
        rate=float(now.rates[0]),
        own_rate=own,
        early_rate=early,
        late_rate=late,
        cut=now.names[cut],
        last_layer_rate=last_layer,
        rates={name: float(rate) for name, rate in rates.items()},
        step_times={name: float(value) for name, value in steps.items()},
        low=time + remaining / spread,
        high=time + remaining * spread,
        measured_rate=_measured_rate(history, index, mode, decade * ceiling),
        measured_step_time=history.passing(mode, _STEP * ceiling, after=index),
    )


def _spread(known: Sequence[float], level: float) -> float:
    """Factor by which a remaining time may be off, from logarithms of ratios seen before."""
    count = _PRIOR_WEIGHT + len(known)
    variance = (_PRIOR_WEIGHT * _PRIOR_SPREAD**2 + float(np.sum(np.square(known)))) / count
    return float(np.exp(student.ppf((1 + level) / 2, count) * np.sqrt(variance)))


def _last_rate(history: RunHistory, index: int, mode: int) -> float:
    """Rate since the checkpoint before, what a curve alone tells."""
    before, now = history.lam[index - 1, mode], history.lam[index, mode]
    if index == 0 or before <= 0:
        return float("nan")
    return float(np.log(now / before) / (history.times[index] - history.times[index - 1]))


def _measured_rate(history: RunHistory, index: int, mode: int, end: float) -> float:
    reached = history.passing(mode, end, after=index)
    if not np.isfinite(reached):
        return float("nan")
    return float(np.log(end / history.lam[index, mode]) / (reached - history.times[index]))


def _batch_normalised(encoder: torch.nn.Module) -> bool:
    """Whether outputs depend on the other samples, so that there is no kernel of two of them."""
    return any(isinstance(part, _BatchNorm) for part in encoder.modules())


def _kernel_rate(encoder: torch.nn.Module, pairs: HeldOutPairs, now: Growth, mode: int) -> float:
    u = now.directions[:, mode : mode + 1]
    x, x_prime = pairs.x, pairs.x_prime
    kernel = pair_ntk(encoder.eval(), x, x_prime, output=u.to(x.dtype)).numpy()
    learned = now.lam[:mode] >= _LEARNED
    functions = now.functions[:, :mode][:, learned].numpy()
    return plateau_rate(kernel, functions, now.lam[:mode][learned].numpy())


def _hessian_rate(encoder: torch.nn.Module, history: RunHistory) -> float:
    """Twice the rate at which the steepest escape from a saddle grows."""
    x, x_prime = history.pairs.x, history.pairs.x_prime
    count = min(_HESSIAN_PAIRS, len(x))
    batch = HeldOutPairs(x[:count], x_prime[:count])
    product, size = hessian_product(encoder, [batch], history.objective)

    def applied(vector: Array) -> Array:
        image: Array = product(torch.from_numpy(vector.ravel())).numpy()
        return image

    operator = LinearOperator((size, size), matvec=applied, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(size)
    lowest = eigsh(operator, 1, which="SA", v0=start, tol=0.02, return_eigenvectors=False)
    return max(-2.0 * float(lowest[0]), 0.0)
