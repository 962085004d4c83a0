"""Predict the steps, train on the same pairs, compare: ``sslsim compare``.

Two witnesses see the same pairs and the same W(0): :func:`theory.predict_steps_from`, which never
trains, and :func:`sslsim.training.full_batch.train_linear`, which knows no formula. Training is by
full-batch gradient descent, or as the options say: by batches, with momentum and so on. With fresh
views, the prediction sees all pairs of k views of each image, and training sees other views of the
same images. The keys of
``comparison.json`` are explained in ``experiments/docs/compare.md``.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.options import CompareOptions
from experiments.studies.linear.pairs import (
    all_views,
    check_model,
    gather_pairs,
    pairs_at_once,
    training_of,
)
from experiments.studies.linear.predict import check_stability, headline, noting_warnings, source
from sslsim.core.files import write_arrays, write_json
from sslsim.data.datasets import holds_pairs
from sslsim.data.pair_sets import PairSet
from sslsim.measures.steps import half_rise_times
from sslsim.runs.folder import check_folder, new_results
from sslsim.training.full_batch import (
    LinearRun,
    epoch_batches,
    train_linear,
    train_linear_fresh,
)
from theory import StepPrediction, predict_steps_from
from theory.linear import closed_form, orthogonalised
from theory.linear.closed_form import rise_widths
from theory.linear.deep import balanced_factors
from theory.linear.gradient_descent import (
    descent_singular_values,
    descent_step_iterations,
    flow_time_error,
)
from theory.linear.initialization import column_norms
from theory.pairs.views import view_pairs

Array = NDArray[np.float64]

_IDLE_ITERATIONS = 1000  # where no step is predicted
_SMALL = 2**20  # numbers in a view of all pairs
_FRESH_VIEWS = 8  # of an image, all pairs of which predict training with fresh views

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
    if options.batch_size is not None and options.repeats < 1:
        raise ValueError(f"repeats is {options.repeats}; expected at least 1")
    if options.fresh_views:
        options = _with_fresh_views(options)
    check_folder(options.out, "compare", RESULTS)
    pairs = gather_pairs(options, options.seed)
    check_model(options, pairs.m, pairs_at_once(pairs, fresh=options.fresh_views))
    x, x_prime = (np.asarray(view, dtype=np.float64) for view in pairs.arrays())
    rng = np.random.default_rng(options.seed)
    w0 = options.init_scale * rng.standard_normal((options.dim, pairs.m))
    first, second = (all_views(pairs), None) if options.fresh_views else (x, x_prime)
    prediction, messages = noting_warnings(
        lambda: predict_steps_from(
            first,
            second,
            w0,
            learning_rate=options.lr,
            center=options.center,
            groups=None if options.fresh_views else pairs.groups,
            level=options.interval_level,
            rng=rng,  # where predict_steps has it after drawing W(0)
            **training_of(options),
        )
    )
    check_stability(prediction)
    print(headline(pairs, options, prediction), flush=True)
    iterations = _enough_iterations(prediction, options.max_iterations)
    with _few_threads(x.size):
        if prediction.training.plain:
            if options.fresh_views:
                recorded, curves = _trained_fresh(pairs, w0, prediction, iterations, records)
            else:
                centred = np.stack([x, x_prime]) - prediction.mean
                recorded, curves = _trained(centred, w0, prediction, iterations, records)
            judged = partial(_judged, records=recorded, curves=curves)
        else:
            views = (
                pairs if options.fresh_views else (x - prediction.mean, x_prime - prediction.mean)
            )
            runs = _trained_otherwise(views, prediction, iterations, records, options)
            recorded, curves = runs[0].iterations, runs[0].eigenvalues
            judged = partial(_judged_otherwise, runs=runs)
    result = judged(prediction)
    if options.fresh_views:
        each = pairs.views_per_image // 2
        one_pair = predict_steps_from(
            x[::each],
            x_prime[::each],
            w0,
            learning_rate=prediction.learning_rate,
            center=options.center,
            level=options.interval_level,
            **training_of(options),
        )
        other = judged(one_pair)
        result["one_pair_step_times"] = other["predicted_step_times"]
        result["one_pair_relative_error"] = other["relative_error"]
        result["one_pair_mean_relative_error"] = other["mean_relative_error"]
    late = np.isfinite(prediction.step_iterations) & (prediction.step_iterations > iterations)
    if late.any():
        messages.append(
            f"{late.sum()} mode(s) step after the {iterations} iterations trained, the last at "
            f"{prediction.step_iterations[late].max():.0f}; raise --max-iterations to see them"
        )
        warnings.warn(messages[-1], stacklevel=2)
    stored = _thinned(len(recorded), curve_points)
    aligned = prediction.training.plain or prediction.training.depth > 1
    theory_curves = _predicted_curves(prediction, recorded[stored])
    with new_results(options.out, "compare", options, results=RESULTS) as folder:
        write_arrays(
            folder / "comparison.npz",
            iterations=recorded[stored],
            times=recorded[stored] * _time_per_iteration(prediction),
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
                "near_ties": near_ties(prediction, options.init_scale) if aligned else [],
                "equal": prediction.equal,
                "integrated": prediction.integrated,
                **source(pairs, options, prediction, fresh=options.fresh_views),
                **training_of(options),
                "warnings": messages,
            },
        )
    return options.out


def _with_fresh_views(options: CompareOptions) -> CompareOptions:
    """The options with a number of views, if fresh views are possible with them.

    >>> _with_fresh_views(CompareOptions(precondition="input"))
    Traceback (most recent call last):
    ValueError: precondition is input with fresh-views; expected embedding: Gamma changes with views
    """
    if holds_pairs(options.data):
        raise ValueError(f"fresh-views needs images, but {options.data} holds pairs")
    if options.optimizer == "muon":
        raise ValueError(
            "optimizer is muon with fresh-views; expected sgd: an orthogonalised update does not "
            "average the noise of new views"
        )
    for name, side in (("precondition", "input"), ("precondition-inputs", "covariance")):
        if getattr(options, name.replace("-", "_")) == side:
            raise ValueError(
                f"{name} is {side} with fresh-views; expected embedding: Gamma changes with views"
            )
    if options.views_per_image is None:
        return replace(options, views_per_image=_FRESH_VIEWS)
    if options.batch_size is not None and options.views_per_image < 4:
        raise ValueError(
            f"views-per-image is {options.views_per_image} with fresh-views and batch-size; "
            "expected at least 4"
        )
    return options


def near_ties(prediction: StepPrediction, init_scale: float) -> list[int]:
    """Modes that a generic W(0) of this scale does not separate well from their neighbours.

    Their step times are not those of the closed form but integrated, see :mod:`theory.linear.ties`.

    >>> x = np.diag([3.0, 2.9, 1.0])
    >>> near_ties(predict_steps_from(x, x, 1e-3 * np.eye(2, 3)), 1e-3)
    [1]
    """
    gamma = np.append(prediction.eigenvalues, prediction.next_eigenvalue)
    if not gamma[0] > 0:
        return []
    start = init_scale * math.sqrt(gamma[0])  # without a unit
    return [
        mode + 1
        for mode in range(len(gamma) - 1)
        if gamma[mode] > 0 and start ** (2.0 * (1.0 - gamma[mode + 1] / gamma[mode])) > 0.1
    ]


def _enough_iterations(prediction: StepPrediction, most: int) -> int:
    """Iterations that see the last step to its end, if they are not too many."""
    learned = np.isfinite(prediction.step_iterations)
    if not learned.any():
        return min(most, _IDLE_ITERATIONS)
    steps = prediction.step_iterations[learned]
    if not prediction.training.plain:
        # The last mode settles, and ceilings can be measured.
        return min(most, math.ceil(1.6 * steps.max()) + 1)
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
    views: Array, w0: Array, prediction: StepPrediction, iterations: int, records: int
) -> tuple[NDArray[np.int64], Array]:
    """Iteration numbers and eigenvalues recorded in training."""
    # In a unit of the data (a power of two, so without rounding) in which nothing overflows.
    unit = 2.0 ** -math.frexp(float(np.abs(views).max()))[1]
    x, x_prime = views * unit
    w0, learning_rate = w0 / unit, prediction.learning_rate / unit**2
    progress = sys.stderr.isatty()
    first = min(iterations, records)
    run = train_linear(x, x_prime, w0, learning_rate, first, progress=progress)
    if first == iterations:
        return run.iterations, run.eigenvalues
    rest = iterations - first
    more = train_linear(
        x,
        x_prime,
        run.weights,
        learning_rate,
        rest,
        record_every=math.ceil(rest / records),
        progress=progress,
    )
    return (
        np.concatenate([run.iterations, first + more.iterations[1:]]),
        np.concatenate([run.eigenvalues, more.eigenvalues[1:]]),
    )


def _trained_fresh(
    pairs: PairSet, w0: Array, prediction: StepPrediction, iterations: int, records: int
) -> tuple[NDArray[np.int64], Array]:
    """Iteration numbers and eigenvalues recorded in training with new views in every iteration."""
    run = train_linear_fresh(
        _new_views(pairs, prediction),
        w0,
        prediction.learning_rate,
        iterations,
        record_every=math.ceil(iterations / records),
        progress=sys.stderr.isatty(),
    )
    return run.iterations, run.eigenvalues


def _new_views(
    pairs: PairSet, prediction: StepPrediction, batches: Iterator[torch.Tensor] | None = None
) -> Callable[[int], tuple[torch.Tensor, torch.Tensor]]:
    """Draws of centred views of all images, or of batches of them."""
    assert pairs.stream is not None
    stream, mean = pairs.stream, torch.from_numpy(prediction.mean)

    def draw(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        x, x_prime = stream.fresh(number, None if batches is None else next(batches))
        return x.double() - mean, x_prime.double() - mean

    return draw


def _trained_otherwise(
    views: PairSet | tuple[Array, Array],
    prediction: StepPrediction,
    iterations: int,
    records: int,
    options: CompareOptions,
) -> list[LinearRun]:
    """Trainings that are not plain: several with batches, which differ by their draw."""
    training, start = prediction.training, prediction.initial_weights
    if training.depth > 1:
        widths = [options.dim] * (training.depth - 1)
        singular = prediction.initial_singular_values
        layers = balanced_factors(singular, prediction.left, prediction.eigenvectors, widths)
    size = training.batch_size
    if size is not None or isinstance(views, PairSet):
        records = math.ceil(records / 10)  # a record of all pairs costs more than an update
    if isinstance(views, PairSet):
        # Each view with the mean of the others: the C of all pairs, without the noise of a draw.
        assert views.stream is not None
        known = view_pairs(views.stream.views().arrays() - prediction.mean)
        everything = torch.from_numpy(known[0]), torch.from_numpy(known[1])
    runs = []
    for seed in range(options.seed, options.seed + (1 if size is None else options.repeats)):
        how: dict[str, Any] = {
            "w0": start if training.depth == 1 else tuple(layers),
            "learning_rate": prediction.learning_rate,
            "iterations": iterations,
            "record_every": math.ceil(iterations / records),
            "momentum": training.momentum,
            "weight_decay": training.weight_decay,
            "off_diagonal": training.off_diagonal,
            "precondition": training.precondition,
            "optimizer": training.optimizer,
            "progress": sys.stderr.isatty(),
        }
        if isinstance(views, PairSet):
            images = pairs_at_once(views, fresh=True)
            batches = None if size is None else epoch_batches(images, size, seed)
            updates = _new_views(views, prediction, batches)
            runs.append(train_linear_fresh(lambda _: everything, draw_batch=updates, **how))
        else:
            runs.append(train_linear(*views, batch_size=size, seed=seed, **how))
    return runs


def _time_per_iteration(prediction: StepPrediction) -> float:
    return prediction.training.time_per_update(prediction.learning_rate)


def _predicted_curves(prediction: StepPrediction, iterations: NDArray[np.int64]) -> Array:
    """Eigenvalues (T, d) by the exact recursion of gradient descent."""
    if prediction.curves is not None:
        return prediction.curves.descent_curves(
            iterations, prediction.learning_rate, prediction.training.momentum
        )
    shown = descent_singular_values(
        iterations,
        prediction.eigenvalues,
        prediction.initial_singular_values,
        prediction.learning_rate,
    )
    return prediction.eigenvalues * shown**2


def _judged_otherwise(prediction: StepPrediction, runs: list[LinearRun]) -> dict[str, Any]:
    """Predicted against measured step times and ceilings of a training that is not plain."""
    scale, gamma = _time_per_iteration(prediction), prediction.eigenvalues
    predicted = scale * prediction.step_iterations
    singular = prediction.initial_singular_values
    norms = column_norms(prediction.initial_weights, prediction.eigenvectors)
    if prediction.training.optimizer == "muon":
        # At a rate for orthogonalised updates, plain descent may be unstable.
        plain = closed_form.step_times(gamma, singular)
        naive = orthogonalised.step_times(gamma, norms)
    else:
        plain = scale * descent_step_iterations(gamma, singular, scale)
        naive = scale * descent_step_iterations(gamma, norms, scale)
    known = np.isfinite(predicted)
    measured = np.full((len(runs), len(gamma)), np.inf)
    order = np.argsort(predicted, kind="stable")
    order = order[known[order]]
    # Reduced curves are sorted as measured ones are; those of layers are in the order of modes.
    place = np.arange(len(order)) if prediction.training.depth > 1 else order
    for run, times in zip(runs, measured, strict=True):
        tops = prediction.ceilings[order]
        times[order] = half_rise_times(run.times, run.eigenvalues[:, place], top=tops)
    mean = measured.mean(axis=0)
    ends = np.array([_last_tenth(run) for run in runs])
    error = _relative_error(predicted, mean)
    later = _later(prediction, predicted)
    return {
        "eigenvalues": gamma,
        "resolved": prediction.resolved,
        "predicted_step_times": predicted,
        "predicted_low": prediction.step_time_low * later,
        "predicted_high": prediction.step_time_high * later,
        "measured_step_times": mean,
        "measured_by_run": measured,
        "relative_error": error,
        "mean_relative_error": _mean(error),
        "naive_step_times": naive,
        "naive_relative_error": _relative_error(naive, mean),
        "naive_mean_relative_error": _mean(_relative_error(naive, mean)),
        "plain_step_times": plain,
        "plain_relative_error": _relative_error(plain, mean),
        "plain_mean_relative_error": _mean(_relative_error(plain, mean)),
        "flow_step_times": prediction.step_times,
        "flow_relative_error": _relative_error(prediction.step_times, mean),
        "ceilings": prediction.ceilings,
        "measured_ceilings": ends.mean(axis=0),
        "ceiling_error": np.abs(ends.mean(axis=0) - prediction.ceilings).max(),
        "step_time_low": prediction.step_time_low,
        "step_time_high": prediction.step_time_high,
        "interval_level": prediction.interval_level,
        "predicted_step_iterations": prediction.step_iterations,
        "measured_step_iterations": mean / scale,
    }


def _last_tenth(run: LinearRun) -> Array:
    """Mean eigenvalues over the last tenth of the records."""
    return run.eigenvalues[-max(len(run.eigenvalues) // 10, 1) :].mean(axis=0)


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
    later = _later(prediction, predicted)
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


def _later(prediction: StepPrediction, predicted: Array) -> Array:
    """Factor (d,) on intervals, which are of the flow: descent is later than it by as much."""
    later = np.ones_like(predicted)
    learned = np.isfinite(predicted) & (prediction.step_times > 0)
    later[learned] = predicted[learned] / prediction.step_times[learned]
    return later


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
