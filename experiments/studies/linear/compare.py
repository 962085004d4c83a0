"""Predict the steps, train on the same pairs, compare: ``sslsim compare``.

Two witnesses see the same pairs and the same W(0): :func:`theory.predict_steps_from`, which never
trains, and :func:`sslsim.training.full_batch.train_linear`, which knows no formula. The keys of
``comparison.json`` are explained in ``experiments/docs/compare.md``.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.options import CompareOptions
from experiments.studies.linear.pairs import check_model, gather_pairs
from experiments.studies.linear.predict import check_stability, headline, noting_warnings, source
from sslsim.core.files import write_arrays, write_json
from sslsim.measures.steps import half_rise_times
from sslsim.runs.folder import check_folder, new_results
from sslsim.training.full_batch import train_linear
from theory import StepPrediction, predict_steps_from
from theory.linear.closed_form import rise_widths
from theory.linear.gradient_descent import (
    descent_singular_values,
    descent_step_iterations,
    flow_time_error,
)
from theory.linear.initialization import column_norms

Array = NDArray[np.float64]

_IDLE_ITERATIONS = 1000  # where no step is predicted
_SMALL = 2**20  # numbers in a view of all pairs

# Of all forms of the command, since they share a folder.
RESULTS = tuple(
    f"{name}.{end}" for name in ("comparison", "wide") for end in ("json", "npz", "png")
)


def compare(options: CompareOptions, *, records: int = 10_000, curve_points: int = 4000) -> Path:
    """Predict, train and compare, and write the result into a run folder.

    Each of the first ``records`` iterations is recorded, and about as many of the rest; curves are
    stored at ``curve_points`` of them.

    >>> import contextlib, io, tempfile
    >>> from sslsim.core.files import read_json
    >>> options = CompareOptions(pairs=100, dim=2, out=Path(tempfile.mkdtemp()))
    >>> with contextlib.redirect_stdout(io.StringIO()):
    ...     folder = compare(options)
    >>> len(read_json(folder / "comparison.json")["measured_step_times"])
    2
    """
    if options.max_iterations < 1:
        raise ValueError(f"max-iterations is {options.max_iterations}; expected at least 1")
    if options.kernel is not None:
        raise ValueError(f"kernel is {options.kernel} without --width; expected both or neither")
    check_folder(options.out, "compare", RESULTS)
    pairs = gather_pairs(options, options.seed)
    check_model(options, pairs.m)
    x, x_prime = (np.asarray(view, dtype=np.float64) for view in pairs.arrays())
    rng = np.random.default_rng(options.seed)
    w0 = options.init_scale * rng.standard_normal((options.dim, pairs.m))
    prediction, messages = noting_warnings(
        lambda: predict_steps_from(
            x,
            x_prime,
            w0,
            learning_rate=options.lr,
            center=options.center,
            groups=pairs.groups,
            level=options.interval_level,
            rng=rng,  # where predict_steps has it after drawing W(0)
        )
    )
    check_stability(prediction)
    print(headline(pairs, options, prediction), flush=True)
    iterations = _enough_iterations(prediction, options.max_iterations)
    with _few_threads(x.size):
        recorded, curves = _trained(
            x - prediction.mean, x_prime - prediction.mean, w0, prediction, iterations, records
        )
    result = _judged(prediction, recorded, curves)
    late = np.isfinite(prediction.step_iterations) & (prediction.step_iterations > iterations)
    if late.any():
        messages.append(
            f"{late.sum()} mode(s) step after the {iterations} iterations trained, the last at "
            f"{prediction.step_iterations[late].max():.0f}; raise --max-iterations to see them"
        )
        warnings.warn(messages[-1], stacklevel=2)
    stored = _thinned(len(recorded), curve_points)
    shown = descent_singular_values(
        recorded[stored],
        prediction.eigenvalues,
        prediction.initial_singular_values,
        prediction.learning_rate,
    )
    theory_curves = prediction.eigenvalues * shown**2
    with new_results(options.out, "compare", options, results=RESULTS) as folder:
        write_arrays(
            folder / "comparison.npz",
            iterations=recorded[stored],
            times=recorded[stored] * prediction.learning_rate,
            measured_eigenvalues=curves[stored],
            measured_loss=((1.0 - curves[stored]) ** 2).sum(axis=1),
            predicted_eigenvalues=theory_curves,
            predicted_loss=((1.0 - theory_curves) ** 2).sum(axis=1),
        )
        write_json(
            folder / "comparison.json",
            {
                **result,
                "learning_rate": prediction.learning_rate,
                "iterations": iterations,
                "centred": prediction.centred,
                "positive_modes": prediction.positive_modes,
                "near_ties": near_ties(prediction, options.init_scale),
                **source(pairs, options),
                "warnings": messages,
            },
        )
    return options.out


def near_ties(prediction: StepPrediction, init_scale: float) -> list[int]:
    """Modes that a generic W(0) of this scale does not separate well from their neighbours.

    >>> x = np.diag([3.0, 2.9, 1.0])
    >>> near_ties(predict_steps_from(x, x, 1e-3 * np.eye(2, 3)), 1e-3)
    [1]
    """
    gamma = np.append(prediction.eigenvalues, prediction.next_eigenvalue)
    return [
        mode + 1
        for mode in range(len(gamma) - 1)
        if gamma[mode] > 0 and init_scale ** (2.0 * (1.0 - gamma[mode + 1] / gamma[mode])) > 0.1
    ]


def _enough_iterations(prediction: StepPrediction, most: int) -> int:
    """Iterations that see the last step to its end, if they are not too many."""
    learned = np.isfinite(prediction.step_iterations)
    if not learned.any():
        return min(most, _IDLE_ITERATIONS)
    steps = prediction.step_iterations[learned]
    rises = rise_widths(prediction.eigenvalues[learned]) / prediction.learning_rate
    return min(most, math.ceil(np.max(np.maximum(1.15 * steps, steps + rises))) + 1)


@contextmanager
def _few_threads(size: int) -> Iterator[None]:
    """One thread for small data: waiting for a second one would take longer than the work."""
    threads = torch.get_num_threads()
    if size <= _SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _trained(
    x: Array, x_prime: Array, w0: Array, prediction: StepPrediction, iterations: int, records: int
) -> tuple[NDArray[np.int64], Array]:
    """Iteration numbers and eigenvalues recorded in training."""
    progress = sys.stderr.isatty()
    first = min(iterations, records)
    run = train_linear(x, x_prime, w0, prediction.learning_rate, first, progress=progress)
    if first == iterations:
        return run.iterations, run.eigenvalues
    rest = iterations - first
    more = train_linear(
        x,
        x_prime,
        run.weights,
        prediction.learning_rate,
        rest,
        record_every=math.ceil(rest / records),
        progress=progress,
    )
    return (
        np.concatenate([run.iterations, first + more.iterations[1:]]),
        np.concatenate([run.eigenvalues, more.eigenvalues[1:]]),
    )


def _judged(
    prediction: StepPrediction, records: NDArray[np.int64], curves: Array
) -> dict[str, Any]:
    """Predicted against measured step times, in learning rate x iterations."""
    eta, gamma = prediction.learning_rate, prediction.eigenvalues
    predicted = eta * prediction.step_iterations
    # Sorted, the j-th eigenvalue passes one half when the j-th mode does, whichever mode that is.
    measured = np.empty_like(predicted)
    measured[np.argsort(predicted, kind="stable")] = half_rise_times(eta * records, curves)
    naive = eta * descent_step_iterations(
        gamma, column_norms(prediction.initial_weights, prediction.eigenvectors), eta
    )
    # The intervals are of the flow; descent is later than it by the same factor.
    later = np.ones_like(predicted)
    learned = np.isfinite(predicted) & (prediction.step_times > 0)
    later[learned] = predicted[learned] / prediction.step_times[learned]
    errors = {
        "relative_error": _relative_error(predicted, measured),
        "naive_relative_error": _relative_error(naive, measured),
        "flow_relative_error": _relative_error(prediction.step_times, measured),
    }
    return {
        "eigenvalues": gamma,
        "resolved": prediction.resolved,
        "predicted_step_times": predicted,
        "predicted_low": prediction.step_time_low * later,
        "predicted_high": prediction.step_time_high * later,
        "measured_step_times": measured,
        "relative_error": errors["relative_error"],
        "mean_relative_error": _mean(errors["relative_error"]),
        "naive_step_times": naive,
        "naive_relative_error": errors["naive_relative_error"],
        "naive_mean_relative_error": _mean(errors["naive_relative_error"]),
        "flow_step_times": prediction.step_times,
        "flow_relative_error": errors["flow_relative_error"],
        "expected_flow_error": flow_time_error(gamma, eta),
        "step_time_low": prediction.step_time_low,
        "step_time_high": prediction.step_time_high,
        "interval_level": prediction.interval_level,
        "predicted_step_iterations": prediction.step_iterations,
        "measured_step_iterations": measured / eta,
    }


def _relative_error(predicted: Array, measured: Array) -> Array:
    """|predicted - measured| / measured; NaN where either does not happen."""
    error = np.full(predicted.shape, np.nan)
    both = np.isfinite(predicted) & np.isfinite(measured) & (measured > 0)
    error[both] = np.abs(predicted[both] - measured[both]) / measured[both]
    return error


def _mean(errors: Array) -> float | None:
    known = errors[np.isfinite(errors)]
    return float(known.mean()) if known.size else None


def _thinned(count: int, most: int) -> NDArray[np.int64]:
    """Places of ``most`` records at most, dense early: even in the logarithm."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.geomspace(1, count, most).round().astype(np.int64) - 1)
