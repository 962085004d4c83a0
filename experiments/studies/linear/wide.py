"""Does a wide network follow its kernel? ``sslsim compare --width 64 256 1024 4096``.

ReLU networks in the NTK parameterisation, of one hidden layer or as ``--kernel`` says, are made
small at the start in two ways that leave them in the linear regime, and trained on the very pairs.
Their step times are compared with those of their tangent kernel at initialisation, and with what
the data alone predict. The keys of ``wide.json`` are explained in
``experiments/docs/wide.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from experiments.options import CompareOptions
from experiments.studies.linear.compare import RESULTS
from experiments.studies.linear.pairs import (
    check_model,
    gather_pairs,
    image_shape,
    plain_training,
)
from experiments.studies.linear.predict import source
from experiments.studies.linear.wide_networks import (
    WAYS,
    Followed,
    infinite_width_kernel,
    network_kernel,
    small_network,
    train_and_predict,
)
from sslsim.core.files import write_arrays, write_json
from sslsim.measures.intervals import mean_interval
from sslsim.measures.modes.agreement import step_time_agreement
from sslsim.runs.folder import check_folder, new_results
from theory.kernels.modes import kernel_modes
from theory.kernels.random_functions import projection_scales, step_time_law
from theory.linear.gradient_descent import descent_step_iterations, stable_learning_rate
from theory.prediction.predict import STABLE_SHARE

Array = NDArray[np.float64]

PREDICTIONS = ("kernel", "full_kernel", "limit")

_PAIRS = 100
_FULL_BYTES = 2**30  # of a kernel with all blocks between outputs


def wide(options: CompareOptions) -> Path:
    """Train networks of every width, compare them with their kernels, and write the result.

    >>> import contextlib, io, tempfile
    >>> from sslsim.core.files import read_json
    >>> out = Path(tempfile.mkdtemp())
    >>> options = CompareOptions(pairs=20, dim=1, width=(8, 32), repeats=2, out=out)
    >>> with contextlib.redirect_stdout(io.StringIO()):
    ...     folder = wide(options)
    >>> np.shape(read_json(folder / "wide.json")["ways"]["last"]["kernel_change"])
    (2, 2)
    """
    _check(options)
    check_folder(options.out, "compare", RESULTS)
    pairs = gather_pairs(options, options.seed)
    if options.pairs is None and pairs.n_pairs > _PAIRS:
        pairs = gather_pairs(replace(options, pairs=_PAIRS), options.seed)
    check_model(options, pairs.m, pairs.n_pairs)
    size = 2 * pairs.n_pairs * options.dim
    if 8 * size**2 > _FULL_BYTES:
        raise ValueError(
            f"{pairs.n_pairs} pairs and dim {options.dim} make a kernel of "
            f"{8 * size**2 / 2**30:.1f} GiB; expected at most {_FULL_BYTES / 2**30:g}, that is "
            "fewer --pairs or a lower --dim"
        )
    convolutional = network_kernel(options).kind == "conv"
    shape = image_shape(pairs, options) if convolutional else (pairs.m,)
    views = np.concatenate([np.asarray(view, dtype=np.float64) for view in pairs.arrays()])
    if options.center:
        views = views - views.mean(axis=0)
    views = views.reshape(-1, *shape)
    ways: dict[str, Any] = {}
    curves: dict[str, Array] = {}
    for way in WAYS:
        limit, covariance = infinite_width_kernel(views, way, options)
        eta = _learning_rate(limit, options)
        runs = []
        for width in options.width:
            for seed in range(options.seed, options.seed + options.repeats):
                network = small_network(width, shape, options, way, seed)
                runs.append(train_and_predict(network, views, limit, eta, options.max_iterations))
                print(_line(way, width, seed, runs[-1]), flush=True)
        ways[way] = {
            "learning_rate": eta,
            "limit_eigenvalues": kernel_modes(limit, options.dim).gamma,
            **_judged(runs, options),
            "data_alone": _data_alone(limit, covariance, eta, runs, options),
        }
        widest = runs[int(np.argmax(options.width)) * options.repeats]
        for name, curve in widest.curves.items():
            curves[f"{way}_{name}_times"] = eta * np.arange(len(curve), dtype=np.float64)
            curves[f"{way}_{name}_eigenvalues"] = curve
    with new_results(options.out, "compare", options, results=RESULTS) as folder:
        write_arrays(folder / "wide.npz", **curves)
        write_json(
            folder / "wide.json",
            {
                "widths": options.width,
                "kernel": options.kernel or "relu:1",
                "repeats": options.repeats,
                "centred": options.center,
                "interval_level": options.interval_level,
                "ways": ways,
                **source(pairs, options),
            },
        )
    return options.out


def _data_alone(
    limit: Array, covariance: Array, eta: float, runs: list[Followed], options: CompareOptions
) -> dict[str, Any]:
    """Step times over draws of the initial function, which no network has to be built for."""
    modes = kernel_modes(limit, options.dim)
    law = step_time_law(
        modes.gamma,
        projection_scales(modes.coefficients, covariance),
        options.dim,
        options.init_scale,
        options.interval_level,
        lambda gamma, s0: eta * descent_step_iterations(gamma, s0, eta),
    )
    mean, low, high = (times[np.argsort(law[0])] for times in law)
    shape = (len(options.width), options.repeats)
    measured = np.reshape([run.step_times["measured"] for run in runs], (*shape, options.dim))
    errors = [
        step_time_agreement(mean, run.step_times["measured"])["mean_relative_error"] for run in runs
    ]
    return {
        "step_time_mean": mean,
        "step_time_draw_low": low,
        "step_time_draw_high": high,
        "mean_relative_error": np.reshape(np.array(errors, dtype=np.float64), shape),
        "inside": np.mean((low <= measured) & (measured <= high), axis=(1, 2)),
    }


def power_law(widths: Sequence[int], errors: Array) -> tuple[float, float] | None:
    """Exponent of errors as a power of the width."""
    wide = np.repeat(np.asarray(widths, dtype=np.float64), errors.shape[1])
    known = np.isfinite(errors.ravel()) & (errors.ravel() > 0)
    if len(np.unique(wide[known])) < 2 or known.sum() < 3:
        return None
    line = stats.linregress(np.log(wide[known]), np.log(errors.ravel()[known]))
    return float(line.slope), float(line.stderr)


def _check(options: CompareOptions) -> None:
    network_kernel(options)
    if len(set(options.width)) < len(options.width) or min(options.width) < 1:
        raise ValueError(
            f"width is {' '.join(map(str, options.width))}; expected different numbers above zero"
        )
    plain_training(options, "width")
    if options.repeats < 2:
        raise ValueError(f"repeats is {options.repeats}; expected at least 2")
    if options.fresh_views:
        raise ValueError("fresh-views is given with width; expected the linear model without width")
    if options.max_iterations < 1:
        raise ValueError(f"max-iterations is {options.max_iterations}; expected at least 1")


def _learning_rate(limit: Array, options: CompareOptions) -> float:
    gamma = kernel_modes(limit).eigenvalues
    stable = stable_learning_rate([max(gamma[0], 0.0), min(gamma[-1], 0.0)])
    if options.lr is None:
        return STABLE_SHARE * stable
    if options.lr >= stable:
        raise ValueError(
            f"lr is {options.lr:g}; expected below {stable:.4g}, where descent is stable"
        )
    return options.lr


def _judged(runs: list[Followed], options: CompareOptions) -> dict[str, Any]:
    """Step times and errors by (width, repeat, step), and how errors shrink."""
    shape = (len(options.width), options.repeats)

    def gathered(values: list[Any]) -> Array:
        return np.reshape(np.array(values, dtype=np.float64), (*shape, *np.shape(values[0])))

    judged: dict[str, Any] = {
        "measured_step_times": gathered([run.step_times["measured"] for run in runs]),
        "kernel_change": gathered([run.kernel_change for run in runs]),
        "kernel_distance": gathered([run.kernel_distance for run in runs]),
    }
    for name in PREDICTIONS:
        agreements = [
            step_time_agreement(run.step_times[name], run.step_times["measured"]) for run in runs
        ]
        errors = gathered([entry["mean_relative_error"] for entry in agreements])
        with np.errstate(divide="ignore"):  # no error at all: a mean of 0 without an interval
            logs = mean_interval(np.log(errors), options.interval_level, axis=1)
        law = power_law(options.width, errors)
        judged[name] = {
            "step_times": gathered([run.step_times[name] for run in runs]),
            "relative_error": gathered([entry["relative_error"] for entry in agreements]),
            "mean_relative_error": errors,
            "geometric_mean": np.exp(logs.mean),
            "low": np.exp(logs.low),
            "high": np.exp(logs.high),
            "exponent": None if law is None else law[0],
            "exponent_error": None if law is None else law[1],
        }
    return judged


def _line(way: str, width: int, seed: int, run: Followed) -> str:
    errors = []
    for name in PREDICTIONS:
        agreement = step_time_agreement(run.step_times[name], run.step_times["measured"])
        error = agreement["mean_relative_error"]
        errors.append("-" if error is None else f"{100 * error:.2f} %")
    return f"{way}, width {width}, seed {seed}: off by " + ", ".join(errors)
