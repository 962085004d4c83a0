"""The pairs and the linear model that options describe."""

from __future__ import annotations

import math
from typing import Any

from experiments.options import DataOptions, ModelOptions
from sslsim.data.pair_sets import PairSet, load_pair_set
from theory.prediction.training import LARGEST_DIM, Training


def gather_pairs(options: DataOptions, seed: int) -> PairSet:
    """Load the data set and draw its pairs."""
    return load_pair_set(
        options.data,
        options.root,
        split=options.split,
        size=options.size,
        limit=options.limit,
        views=options.views,
        views_per_image=2 if options.views_per_image is None else options.views_per_image,
        pairs=options.pairs,
        seed=seed,
    )


def all_views(pairs: PairSet, in_memory: int = 2**30) -> Any:
    """All views of every image: an array (n, k, m), or a stream of such chunks if it is large."""
    assert pairs.stream is not None
    views = pairs.stream.views()
    return views if pairs.array_bytes > in_memory else views.arrays()


def image_shape(pairs: PairSet, options: DataOptions) -> tuple[int, ...]:
    """Channels, height and width of a view, for convolutions."""
    if pairs.stream is None:
        raise ValueError(f"{options.data} holds pairs of vectors; expected images for convolutions")
    from sslsim.data.single_view import view_shape

    return tuple(view_shape(pairs.stream.kind, pairs.stream.images.shape[1:]))


def pairs_at_once(pairs: PairSet, *, fresh: bool) -> int:
    """Pairs that a full batch has: with fresh views one of each image."""
    return pairs.n_images if fresh and pairs.n_images is not None else pairs.n_pairs


def check_model(options: ModelOptions, m: int, n: int) -> None:
    """Check the options of the linear model against n pairs of views with m features.

    >>> check_model(ModelOptions(dim=9), m=4, n=20)
    Traceback (most recent call last):
    ValueError: dim is 9; expected from 1 to the 4 features of a view
    """
    if not 1 <= options.dim <= m:
        raise ValueError(f"dim is {options.dim}; expected from 1 to the {m} features of a view")
    if not 0 < options.init_scale < math.inf:
        raise ValueError(f"init-scale is {options.init_scale}; expected a finite number above zero")
    if options.lr is not None and not 0 < options.lr < math.inf:
        raise ValueError(f"lr is {options.lr}; expected a finite number above zero")
    if not 0 < options.interval_level < 1:
        raise ValueError(f"interval-level is {options.interval_level}; expected between 0 and 1")
    _check_preconditioners(options)
    if options.optimizer == "muon" and (options.views_per_image or 2) > 2:
        raise ValueError(
            f"views-per-image is {options.views_per_image} with optimizer muon; expected 2: an "
            "orthogonalised update does not average the noise of new views"
        )
    if options.batch_size is not None and not 1 <= options.batch_size <= n:
        raise ValueError(f"batch-size is {options.batch_size}; expected from 1 to the {n} pairs")
    try:
        training = Training(**training_of(options))
    except ValueError as error:
        raise ValueError(str(error).replace("_", "-")) from error  # names as on the command line
    if training.batch_size is not None and options.dim > LARGEST_DIM:
        raise ValueError(f"dim is {options.dim} with batch-size; expected at most {LARGEST_DIM}")


def _check_preconditioners(options: ModelOptions) -> None:
    """Refuse numbers of a preconditioner that is not there, and two ways to name one."""
    default = ModelOptions()
    switches = {"": options.precondition is not None}
    for side in ("embedding", "inputs"):
        switches[f"precondition_{side}_"] = getattr(options, f"precondition_{side}") != "none"
    for prefix, given in switches.items():
        for name in (f"{prefix}power", f"{prefix}ridge"):
            value = getattr(options, name)
            if not given and value != getattr(default, name):
                switch = "--precondition" if not prefix else f"--{prefix[:-1].replace('_', '-')}"
                raise ValueError(
                    f"{name.replace('_', '-')} is {value}; expected it with {switch} only"
                )
    if switches.pop("") and any(switches.values()):
        raise ValueError(
            f"precondition is {options.precondition} with precondition-embedding or "
            "precondition-inputs; expected one of the two ways"
        )


def training_of(options: ModelOptions) -> dict[str, Any]:
    """How the linear model is trained: arguments of ``theory.predict_steps``.

    >>> training_of(ModelOptions(precondition="input"))["precondition"]
    ('input', 0.5, 0.01)
    >>> training_of(ModelOptions(precondition_embedding="covariance"))["precondition"]
    ('embedding', 1.0, 0.1)
    """
    names = ("batch_size", "momentum", "weight_decay", "off_diagonal", "depth", "optimizer")
    given = {name: getattr(options, name) for name in names}
    sides: list[tuple[str, float, float]] = []
    if options.precondition is not None:
        sides.append((options.precondition, options.power, options.ridge))
    if options.precondition_embedding != "none":
        power, ridge = options.precondition_embedding_power, options.precondition_embedding_ridge
        sides.append(("embedding", power, ridge))
    if options.precondition_inputs != "none":
        power, ridge = options.precondition_inputs_power, options.precondition_inputs_ridge
        sides.append(("input", power, ridge))
    given["precondition"] = tuple(sides) if len(sides) > 1 else next(iter(sides), None)
    given["relative_ridge"] = options.precondition_inputs != "none"
    return given


def plain_training(options: ModelOptions, other: str) -> None:
    """Refuse options of the training where only plain training is possible.

    >>> plain_training(ModelOptions(momentum=0.9), "width")
    Traceback (most recent call last):
    ValueError: momentum is 0.9 with width; expected it without, for the linear model
    """
    plain = training_of(ModelOptions())
    for name, value in training_of(options).items():
        if value != plain[name]:
            raise ValueError(
                f"{name.replace('_', '-')} is {value} with {other}; expected it without, for the "
                "linear model"
            )
