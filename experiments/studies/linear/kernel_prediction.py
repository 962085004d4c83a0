"""Predict steps from a kernel of the pairs alone: ``sslsim predict --kernel relu:2``.

The keys of ``prediction.json`` are explained in ``experiments/docs/predict.md``.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.options import DataOptions, PredictOptions
from experiments.studies.linear.kernels import (
    Between,
    KernelChoice,
    between_views,
    features_of,
    parse_kernel,
    stored_kernel,
)
from experiments.studies.linear.pairs import (
    check_model,
    gather_pairs,
    image_shape,
    plain_training,
)
from experiments.studies.linear.predict import (
    RESULTS,
    check_stability,
    curve_times,
    described,
    noting_warnings,
    source,
)
from sslsim.core.files import write_arrays, write_json
from sslsim.data.pair_sets import PairSet
from sslsim.runs.folder import check_folder, new_results
from theory.kernels import KernelFeatures
from theory.pairs.gamma import read_pairs
from theory.pairs.spectrum import spectrum
from theory.prediction import predict_kernel_steps


def predict_kernel(options: PredictOptions) -> Path:
    """Predict step times from a kernel and write them into a run folder.

    >>> import contextlib, io, tempfile
    >>> from sslsim.core.files import read_json
    >>> options = PredictOptions(kernel="relu:2", pairs=50, dim=2, out=Path(tempfile.mkdtemp()))
    >>> with contextlib.redirect_stdout(io.StringIO()):
    ...     folder = predict_kernel(options)
    >>> len(read_json(folder / "prediction.json")["step_time_mean"])
    2
    """
    assert options.kernel is not None
    choice = parse_kernel(options.kernel)
    if options.memory < 1:
        raise ValueError(f"memory is {options.memory}; expected at least 1 MiB")
    plain_training(options, "kernel")
    check_folder(options.out, "predict", RESULTS)
    between, size, mean, origin, groups = _kernel(choice, options)
    check_model(options, size, size // 2)
    features, covariance, half = features_of(
        between, size, (options.memory << 20) - 8 * size * len(mean), options.seed
    )
    check_model(options, features.values.shape[1], size // 2)
    prediction, messages = noting_warnings(
        lambda: predict_kernel_steps(
            features,
            options.dim,
            covariance=covariance,
            init_scale=options.init_scale,
            rng=options.seed,
            learning_rate=options.lr,
            groups=groups,
            level=options.interval_level,
        )
    )
    steps = prediction.steps
    check_stability(steps)
    times = curve_times(steps)
    with new_results(options.out, "predict", options, results=RESULTS) as folder:
        write_arrays(
            folder / "prediction.npz",
            times=times,
            loss=steps.loss(times),
            eigenvalues=steps.eigenvalue_curves(times),
            coefficients=prediction.coefficients,
            landmarks=features.landmarks,
            mean=mean,
        )
        write_json(
            folder / "prediction.json",
            {
                **described(steps),
                **origin,
                "kernel": options.kernel,
                "step_time_mean": prediction.step_time_mean,
                "step_time_draw_low": prediction.step_time_draw_low,
                "step_time_draw_high": prediction.step_time_draw_high,
                "kernel_eigenvalues_dropped": features.truncation.dropped,
                "most_negative": features.truncation.most_negative,
                "landmarks": None if half is None else len(features.landmarks),
                "missing_trace": features.missing_trace,
                "eigenvalue_change": None if half is None else _change(half, steps.eigenvalues),
                "warnings": messages,
            },
        )
    print(
        f"{origin['data']}: {size // 2} pairs, kernel {options.kernel}; d = {options.dim}, "
        f"init scale {options.init_scale:g}, learning rate {steps.learning_rate:.4g}"
    )
    return options.out


def _kernel(
    choice: KernelChoice, options: PredictOptions
) -> tuple[Between, int, NDArray[np.float64], dict[str, Any], NDArray[np.int64] | None]:
    """The kernel, the number of its rows, the mean of the views, and where they come from."""
    if choice.path is not None:
        between, size = stored_kernel(choice.path)
        for field in fields(DataOptions):
            value = getattr(options, field.name)
            if value != field.default:
                name = field.name.replace("_", "-")
                raise ValueError(
                    f"{name} is {value}, but {choice.path} holds the kernel of the pairs; "
                    f"expected no --{name}"
                )
        nothing = PairSet(None, None, None, size // 2, 0, None, None, None)
        origin = {**source(nothing, options), "data": str(choice.path), "features": None}
        return between, size, np.zeros(0), {**origin, "centred": False}, None
    pairs = gather_pairs(options, options.seed)
    if 8 * 2 * pairs.n_pairs * pairs.m > options.memory << 19:
        raise ValueError(
            f"memory is {options.memory} MiB; expected {(pairs.array_bytes >> 19) + 1} or more for "
            f"the views of {pairs.n_pairs} pairs"
        )
    shape = image_shape(pairs, options) if choice.kind == "conv" else None
    views = np.concatenate([np.asarray(view, dtype=np.float64) for view in pairs.arrays()])
    mean = views.mean(axis=0) if options.center else np.zeros(pairs.m)
    views -= mean
    between = between_views(
        choice, views, shape, options.init_scale, chunk_bytes=options.memory << 17
    )
    origin = {**source(pairs, options), "centred": options.center}
    return between, len(views), mean, origin, pairs.groups


def _change(half: KernelFeatures, eigenvalues: NDArray[np.float64]) -> NDArray[np.float64]:
    """Relative growth of the eigenvalues from half of the landmarks to all of them."""
    dim = len(eigenvalues)
    fewer = np.zeros(dim)
    found = spectrum(read_pairs(*half.pairs), min(dim, half.values.shape[1])).eigenvalues[:dim]
    fewer[: len(found)] = found
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(eigenvalues > 0, 1.0 - fewer / eigenvalues, np.nan)
