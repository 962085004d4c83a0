"""Forecasts of the rise of a mode: by the law with momentum, and by simpler rules beside it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from experiments.options import ForecastOptions
from experiments.studies.forecasts.curves import curve_time
from experiments.studies.forecasts.intervals import interval_factor, run_name, scores_for
from experiments.studies.forecasts.laws import learning_rate, mode_law, momentum_of
from experiments.studies.forecasts.moments import (
    JUDGED,
    LATEST,
    STEP,
    Array,
    Moment,
    expected_ceiling,
    mode_ahead,
)
from experiments.studies.forecasts.rest import (
    AT_REST,
    NOT_SETTLED,
    may_be_at_rest,
    mode_state,
)
from sslsim.measures.growth import Growth, adaptation, growth, hessian_product
from sslsim.measures.snapshots import HeldOutPairs
from sslsim.ntk import pair_ntk
from sslsim.runs.history import RunHistory
from sslsim.runs.options import has_theory_form, network_name
from theory.growth.lag import lagged_rate
from theory.growth.two_factor import growth_time, most_even_cut, two_factor_law
from theory.kernels.plateau import plateau_rate

MAIN = "lagged_law"
"""The forecaster that has an interval: factors, the pull of the loss and the lag of momentum."""

CURVES = "curves"
"""The one that needs recorded curves only, and its state in a calibration."""

_HESSIAN_PAIRS = 256
_LAST_LAYER = "projector"
_LEARNED = 0.2


@dataclass(frozen=True)
class Forecast:
    """A forecast of one mode's rise, and the measured rise.

    Attributes
    ----------
    run, method, encoder, batching : str
        Folder, what was trained, and on ``full batches``, ``mini-batches`` of fixed pairs or
        ``fresh views``.
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
    adaptation : float
        d ln(``own_rate`` / pull) / d ln(lambda) as the features adapt to the mode.
    lagged_rate : float
        ``own_rate`` as momentum lets it grow.
    actual_rate : float
        d ln(lambda) / dt by the momentum of the optimiser; NaN where there is none.
    state : str
        Of the mode: at rest, not settled, queued behind mode k, collapsing or learned.
    rates : dict of str to float
        Forecasts of the mean rate until the eigenvalue is ten times as large: ``lagged_law``,
        ``two_factor`` (gradient flow, any loss as Barlow Twins), ``curves`` (the recorded curve
        alone), ``last_rate`` (the rate measured since the checkpoint before), ``last_layer`` (fixed
        features) and, where computed, ``kernel`` and ``hessian``.
    step_times : dict of str to float
        Forecasts of the flow time at which the eigenvalue is half the ceiling.
    low, high : float
        Interval of ``step_times["lagged_law"]``; of a queued mode, a lower bound alone.
    measured_rate, measured_step_time : float
        What happened; NaN and infinity where the run ended before.
    """

    run: str
    method: str
    encoder: str
    batching: str
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
    adaptation: float
    lagged_rate: float
    actual_rate: float
    state: str
    rates: dict[str, float]
    step_times: dict[str, float]
    low: float
    high: float
    measured_rate: float
    measured_step_time: float


def judged_moments(history: RunHistory, moments: Sequence[Moment], quiet: bool) -> list[Moment]:
    """Crossings, with those at the judged size moved to the first checkpoint at which all is still.

    If there is none before the mode has as good as stepped, it is the first at which the mode is
    next in line, else the crossing itself.
    """
    moved: list[Moment] = []
    for index, mode, size in tqdm(moments, desc="plateaus", disable=quiet, file=sys.stderr):
        place = _first_at_rest(history, index, mode) if size == JUDGED else index
        moved.append((place, mode, size))
    return sorted(moved, key=lambda moment: (moment[0], moment[1], moment[2] or 0.0))


def _first_at_rest(history: RunHistory, crossing: int, mode: int) -> int:
    next_in_line = None
    for index in range(crossing, len(history.steps)):
        if history.lam[index, mode] >= LATEST * expected_ceiling(history, index, mode):
            break
        if mode_ahead(history, index, mode) is not None:
            continue
        next_in_line = index if next_in_line is None else next_in_line
        possible = may_be_at_rest(history, index, mode)
        if possible and _measured(history, index, mode)[1] == AT_REST:
            return index
    return crossing if next_in_line is None else next_in_line


def _measured(history: RunHistory, index: int, mode: int) -> tuple[Growth, str]:
    """Rates of a mode at a checkpoint, and its state."""
    options, step = history.run.options, history.steps[index]
    now = growth(
        history.encoder_at(index),
        history.pairs,
        history.objective,
        [mode],
        spectrum=history.spectrum,
        velocity=history.velocity_at(index),
    )
    ceiling = expected_ceiling(history, index, mode)
    rate, momentum = learning_rate(options, step), momentum_of(options)
    return now, mode_state(history, index, mode, now, ceiling, rate, momentum)


def forecasts_of(
    history: RunHistory, moments: Sequence[Moment], options: ForecastOptions, quiet: bool
) -> list[Forecast]:
    """Forecasts of a run at some moments, in the order of time, without intervals."""
    shown = tqdm(moments, desc="forecasts", disable=quiet, file=sys.stderr)
    return [_forecast(history, index, mode, size, options) for index, mode, size in shown]


def with_intervals(
    forecasts: Sequence[Forecast], calibration: dict[str, object], level: float
) -> list[Forecast]:
    """Forecasts of one run, in the order of time, with their intervals at a level."""
    done: list[Forecast] = []
    for entry in forecasts:
        own = [
            score(earlier)
            for earlier in done
            if earlier.size == JUDGED
            and earlier.state == entry.state
            and earlier.measured_step_time <= entry.time
            and np.isfinite(score(earlier))
        ]
        name = run_name(Path(entry.run))
        others = scores_for(calibration, entry.method, entry.state, leave_out=name)
        left, low, high = entry.step_times[MAIN] - entry.time, entry.time, np.inf
        if np.isfinite(left):
            factor = interval_factor(others, own, level)
            low, high = entry.time + left / factor, entry.time + left * factor
        elif np.isnan(left):  # a queued mode steps after the one ahead
            ahead = [
                earlier.low
                for earlier in done
                if earlier.step == entry.step
                and earlier.size == entry.size
                and earlier.mode < entry.mode
            ]
            low = max([low, *ahead])
        done.append(replace(entry, low=low, high=high))
    return done


def score(forecast: Forecast, name: str = MAIN) -> float:
    """|ln(measured / forecast)| of the remaining time; NaN if one of them is not finite."""
    left = forecast.step_times.get(name, np.nan) - forecast.time
    measured = forecast.measured_step_time - forecast.time
    known = 0 < left < np.inf and 0 < measured < np.inf
    return float(abs(np.log(measured / left))) if known else np.nan


def _forecast(
    history: RunHistory, index: int, mode: int, size: float | None, options: ForecastOptions
) -> Forecast:
    encoder, trained = history.encoder_at(index), history.run.options
    now, state = _measured(history, index, mode)
    adapts = adaptation(
        encoder, history.pairs, history.objective, mode, spectrum=history.spectrum, now=now
    )
    law = mode_law(history, index, mode, now, adapts)
    ceiling, time = law.ceiling, float(history.times[index])
    # As an eigenvalue in its own unit it is below 1; a ceiling by the pull may be passed.
    lam = min(float(history.lam[index, mode]) / ceiling, 1.0 - 1e-9)
    own, shares = float(now.own[0]), now.shares[0].numpy()
    early, late, cut = most_even_cut(shares)
    # Where the pull holds the mode down, the law knows no growth.
    share = max(own, 0.0) / (early + late) if early + late > 0 else 0.0
    early, late = share * early, share * late
    flow = two_factor_law(lam, late, early)
    last = [name.startswith(_LAST_LAYER) for name in now.names]
    last_layer = float(shares[last].sum())
    rest, decade = 1.0 - lam, max(min(10 * lam, STEP), lam)
    fixed = {"last_rate": _last_rate(history, index, mode), "last_layer": last_layer}
    if size == (JUDGED if options.at is None else None):
        if options.kernel and has_theory_form(trained) and not _batch_normalised(encoder):
            fixed["kernel"] = rest * _kernel_rate(encoder, history.pairs, now, mode)
        if options.hessian:
            fixed["hessian"] = _hessian_rate(encoder, history)
    rate, momentum = learning_rate(trained, history.steps[index]), momentum_of(trained)
    curve = history.lam[: index + 1, mode] / ceiling
    past = history.times[: index + 1]
    actual = float(now.actual[0])
    velocity = actual if state == AT_REST and actual > 0 else None

    def by_law(end: float) -> float:
        if state not in (AT_REST, NOT_SETTLED):
            return np.nan
        return law.time_to(end * ceiling, rate, momentum, velocity)

    def by_curve(end: float) -> float:
        return curve_time(past, curve, end, rate, momentum, trained.method)

    def by_flow(end: float) -> float:
        return float(growth_time(flow, lam, end))

    curved = {MAIN: by_law, "two_factor": by_flow, CURVES: by_curve}
    rates = {
        name: np.log(decade / lam) / left(decade) if decade > lam else np.nan
        for name, left in curved.items()
    } | fixed
    steps = {name: time + left(max(STEP, lam)) for name, left in curved.items()}
    for name, value in fixed.items():
        steps[name] = time + np.log(rest / lam) * rest / value if value > 0 else np.inf
    return Forecast(
        run=str(history.run.folder),
        method=trained.method,
        encoder=network_name(trained),
        batching=batching(history),
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
        adaptation=adapts,
        lagged_rate=float(lagged_rate(max(own, 0.0), rate, momentum)),
        actual_rate=actual,
        state=state,
        rates={name: float(value) for name, value in rates.items()},
        step_times={name: float(value) for name, value in steps.items()},
        low=time,
        high=np.inf,
        measured_rate=_measured_rate(history, index, mode, decade * ceiling),
        measured_step_time=history.passing(mode, STEP * ceiling, after=index),
    )


def batching(history: RunHistory) -> str:
    """What a run's batches are."""
    options = history.run.options
    if not options.fixed_views:
        return "fresh views"
    whole = options.batch >= history.run.trained_count
    return "full batches" if whole else "mini-batches"


def _last_rate(history: RunHistory, index: int, mode: int) -> float:
    """Rate since the checkpoint before, what a curve alone tells."""
    before, now = history.lam[index - 1, mode], history.lam[index, mode]
    if index == 0 or before <= 0:
        return float("nan")
    return float(np.log(now / before) / (history.times[index] - history.times[index - 1]))


def _measured_rate(history: RunHistory, index: int, mode: int, end: float) -> float:
    reached = history.passing(mode, end, after=index)
    if not history.times[index] < reached < np.inf:
        return float("nan")
    return float(np.log(end / history.lam[index, mode]) / (reached - history.times[index]))


def _batch_normalised(encoder: torch.nn.Module) -> bool:
    """Whether outputs depend on the other samples, so that there is no kernel of two of them."""
    return any(isinstance(part, _BatchNorm) for part in encoder.modules())


def _kernel_rate(encoder: torch.nn.Module, pairs: HeldOutPairs, now: Growth, mode: int) -> float:
    u = now.directions[:, mode : mode + 1]
    x, x_prime = pairs.x, pairs.x_prime
    kernel = pair_ntk(encoder.eval(), x, x_prime, output=u.to(x.dtype)).numpy()
    learned = now.lam[:mode] >= _LEARNED  # of Barlow Twins
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
