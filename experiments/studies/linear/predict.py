"""Predict the steps of linear Barlow Twins on a data set: ``sslsim predict``.

The keys of ``prediction.json`` are explained in ``experiments/docs/predict.md``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from experiments.options import ModelOptions, PredictOptions
from experiments.studies.linear.pairs import (
    all_views,
    check_model,
    gather_pairs,
    pairs_at_once,
    training_of,
)
from sslsim.core.files import write_arrays, write_json
from sslsim.data.pair_sets import PairSet
from sslsim.runs.folder import check_folder, new_results
from theory import StepPrediction, predict_steps
from theory.linear.closed_form import rise_widths

T = TypeVar("T")

_CURVE_POINTS = 2000
RESULTS = ("prediction.json", "prediction.npz", "prediction.png")


def predict(options: PredictOptions, *, in_memory: int = 2**30) -> Path:
    """Predict step times and write them into a run folder.

    Pairs of images that take more than ``in_memory`` bytes as arrays are streamed.

    >>> import contextlib, io, tempfile
    >>> from sslsim.core.files import read_json
    >>> options = PredictOptions(pairs=100, dim=2, out=Path(tempfile.mkdtemp()))
    >>> with contextlib.redirect_stdout(io.StringIO()):
    ...     folder = predict(options)
    >>> len(read_json(folder / "prediction.json")["step_times"])
    2
    """
    if options.memory != PredictOptions().memory:
        raise ValueError(f"memory is {options.memory}; expected it with --kernel only")
    check_folder(options.out, "predict", RESULTS)
    pairs = gather_pairs(options, options.seed)
    fresh = pairs.views_per_image > 2
    check_model(options, pairs.m, pairs_at_once(pairs, fresh=fresh))
    x: Any
    x_prime: Any = None
    if fresh:
        x = all_views(pairs, in_memory)
    elif pairs.stream is not None and pairs.array_bytes > in_memory:
        x = pairs.stream
    else:
        x, x_prime = pairs.arrays()
    prediction, messages = noting_warnings(
        lambda: predict_steps(
            x,
            x_prime,
            options.dim,
            init_scale=options.init_scale,
            rng=options.seed,
            learning_rate=options.lr,
            center=options.center,
            level=options.interval_level,
            **training_of(options),
        )
    )
    check_stability(prediction)
    times = curve_times(prediction)
    with new_results(options.out, "predict", options, results=RESULTS) as folder:
        write_arrays(
            folder / "prediction.npz",
            times=times,
            loss=prediction.loss(times),
            eigenvalues=prediction.eigenvalue_curves(times),
            eigenvectors=prediction.eigenvectors,
            initial_weights=prediction.initial_weights,
            mean=prediction.mean,
        )
        write_json(
            folder / "prediction.json",
            {
                **described(prediction),
                **source(pairs, options, prediction, fresh=fresh),
                **training_of(options),
                "warnings": messages,
            },
        )
    print(headline(pairs, options, prediction))
    return options.out


def described(prediction: StepPrediction) -> dict[str, Any]:
    """What a prediction says, under the keys of ``prediction.json``."""
    return {
        "eigenvalues": prediction.eigenvalues,
        "eigenvalue_low": prediction.eigenvalue_low,
        "eigenvalue_high": prediction.eigenvalue_high,
        "eigenvalue_bias": prediction.eigenvalue_bias,
        "eigenvalue_deviation_images": prediction.eigenvalue_deviation_images,
        "eigenvalue_deviation_views": prediction.eigenvalue_deviation_views,
        "resolved": prediction.resolved,
        "residuals": prediction.residuals,
        "step_times": prediction.step_times,
        "step_time_low": prediction.step_time_low,
        "step_time_high": prediction.step_time_high,
        "interval_level": prediction.interval_level,
        "step_iterations": prediction.step_iterations,
        "ceilings": prediction.ceilings,
        "learning_rate": prediction.learning_rate,
        "stable_learning_rate": prediction.stable_learning_rate,
        "plateaus": prediction.plateaus,
        "positive_modes": prediction.positive_modes,
        "initial_singular_values": prediction.initial_singular_values,
        "equal": prediction.equal,
        "integrated": prediction.integrated,
        "centred": prediction.centred,
        "route": prediction.route,
    }


def check_stability(prediction: StepPrediction) -> None:
    """Refuse a learning rate at which the learned map is unstable.

    >>> check_stability(predict_steps(np.eye(2), np.eye(2), dim=1, learning_rate=1.0))
    Traceback (most recent call last):
    ValueError: lr is 1; expected below 0.5, where descent is stable
    """
    if prediction.learning_rate >= prediction.stable_learning_rate:
        raise ValueError(
            f"lr is {prediction.learning_rate:g}; expected below "
            f"{prediction.stable_learning_rate:.4g}, where "
            + (
                "learned modes stay above one half"
                if prediction.training.optimizer == "muon"
                else "descent is stable"
            )
        )


def source(
    pairs: PairSet,
    options: ModelOptions,
    prediction: StepPrediction | None = None,
    *,
    fresh: bool = False,
) -> dict[str, Any]:
    """Where the pairs of a result come from, under the keys that all results share.

    >>> options = ModelOptions(pairs=20)
    >>> source(gather_pairs(options, 0), options)["views"]
    'simclr'
    """
    return {
        "target": "fresh views" if fresh else "these pairs",
        "data": options.data,
        "views": pairs.views,
        "n_images": pairs.n_images,
        "n_images_available": pairs.n_available,
        "views_per_image": None if pairs.n_images is None else pairs.views_per_image,
        "n_pairs": pairs.n_pairs if prediction is None else prediction.n_pairs,
        "features": pairs.m,
        "dim": options.dim,
        "init_scale": options.init_scale,
        "seed": options.seed,
    }


def headline(pairs: PairSet, options: ModelOptions, prediction: StepPrediction) -> str:
    """One line that says what is studied, and one more if not all images are used.

    >>> options = ModelOptions(pairs=20, dim=1, lr=0.5)
    >>> pairs = gather_pairs(options, 0)
    >>> prediction = predict_steps(*pairs.arrays(), dim=1, learning_rate=0.5, center=True)
    >>> print(headline(pairs, options, prediction))
    digits: 20 pairs (simclr, centred) of 64 features; d = 1, init scale 0.001, learning rate 0.5
    20 of 1437 images are used; --pairs sets how many
    """
    kind = ", ".join([*([pairs.views] if pairs.views else []), _centring(options)])
    if prediction.n_pairs > pairs.n_pairs:
        kind = f"all of {pairs.views_per_image} views of {pairs.n_images} images, {kind}"
    left_out = ""
    if pairs.n_images is not None and pairs.n_images < (pairs.n_available or 0):
        left_out = (
            f"\n{pairs.n_images} of {pairs.n_available} images are used; --pairs sets how many"
        )
    return (
        f"{options.data}: {prediction.n_pairs} pairs ({kind}) of {pairs.m} features; "
        f"d = {options.dim}, init scale {options.init_scale:g}, "
        f"learning rate {prediction.learning_rate:.4g}{_training(options)}{left_out}"
    )


def curve_times(prediction: StepPrediction) -> NDArray[np.float64]:
    """Flow times that show every step: from well before the first to after the last."""
    rising = np.isfinite(prediction.step_times) & (prediction.step_times > 0)
    if not rising.any():
        eta = prediction.learning_rate
        return np.geomspace(eta, 1000 * eta, _CURVE_POINTS)
    steps = prediction.step_times[rising]
    if prediction.training.plain:
        end = np.max(steps + rise_widths(prediction.eigenvalues[rising]))
    else:
        end = max(1.2 * steps.max(), prediction.plateaus[-1].start)
    return np.geomspace(steps.min() / 4, end, _CURVE_POINTS)


def noting_warnings(call: Callable[[], T]) -> tuple[T, list[str]]:
    """Predict, and keep what was warned of.

    >>> noting_warnings(lambda: predict_steps(np.eye(2), np.eye(2), dim=1))[1]
    []
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        prediction = call()
    messages = [str(warning.message) for warning in caught]
    for message in messages:
        warnings.warn(message, stacklevel=3)
    return prediction, messages


def _training(options: ModelOptions) -> str:
    """What is not plain in the training, in words."""
    given = training_of(options)
    plain = training_of(ModelOptions())
    return "".join(
        f", {name.replace('_', ' ')}{_spoken(value)}"
        for name, value in given.items()
        if value != plain[name]
    )


def _spoken(value: Any) -> str:
    """A value after its name, without brackets; the name alone says that something is on.

    >>> _spoken((("embedding", 1.0, 0.1), ("input", 0.5, 0.1)))
    ' embedding 1.0 0.1 input 0.5 0.1'
    """
    if isinstance(value, tuple):
        return "".join(map(_spoken, value))
    return "" if value is True else f" {value}"


def _centring(options: ModelOptions) -> str:
    return "centred" if options.center else "uncentred"
