"""The closed-form protocol: every image of a pool scored without training without it."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.memorization.closed_form import kernel_scores, linear_scores
from experiments.memorization.evaluation import probed_families
from experiments.memorization.options import MemorizationOptions
from experiments.memorization.points import Points, scored_views, trained_on
from experiments.memorization.results import Scored
from experiments.memorization.trained import trained_encoder
from sslsim.pixels import pixel_statistics
from sslsim.single_view import view_shape

_DIM = 8  # where the options name none


def score_closed_form(options: MemorizationOptions, points: Points, folder: Path) -> Scored:
    """Score the pool by leave-one-out of the linear model of its pixels, or of a network's kernel.

    Parameters
    ----------
    options : MemorizationOptions
        Of the study.
    points : Points
        The pool.
    folder : Path
        Of the run; the network of ``--kernel`` goes to ``encoders/0``.

    Returns
    -------
    Scored
        Of the embedding, squared distances; without standard errors.

    Raises
    ------
    ValueError
        As :func:`experiments.memorization.closed_form.linear_scores`, ``kernel_scores``, or
        :func:`experiments.memorization.trained.trained_encoder`.

    Notes
    -----
    The linear model is that of Barlow Twins, whatever the method: of the pixels, or, of a trained
    network, of its tangent kernel.
    """
    dim = options.dim or _DIM
    shared: dict[str, Any] = {
        "augmentations": options.augmentations,
        "seed": options.draw_seed,
        "numbers": points.numbers,
        "exact": options.exact,
    }
    details: dict[str, Any] = {"dim": dim, "kernel": options.kernel, "exact": options.exact}
    if not options.kernel:
        details |= {"method": "barlow_twins", "encoder": "linear"}  # whatever the options
    pool = trained_on(points, torch.arange(len(points.images)))
    if options.kernel:
        trained = trained_encoder(options, pool, options.seed, folder / "encoders" / "0")
        kind = scored_views(options, trained.views)
        found = kernel_scores(
            trained.encoder,
            points.images,
            kind,
            dim,
            pixels=trained.pixels,
            progress=sys.stderr.isatty(),
            **shared,
        )
        if options.evaluate:
            details["accuracies"] = probed_families({"all": [trained]}, points, options)
    else:
        kind = scored_views(options, options.views or "simclr")
        pixels = pixel_statistics(pool.images) if options.standardise else None
        found = linear_scores(points.images, kind, dim, pixels=pixels, **shared)
    count = len(points.images)
    return Scored(
        scores=found.scores[None],
        standard_error=np.full((1, count), np.nan),
        units=np.empty((1, 0, count)),
        losses=found.losses[None, None],
        members=np.ones((1, count), dtype=bool),
        details={
            **details,
            "views": kind,
            "layers": ["projector"],
            "distance": "sqeuclidean",
            "normalise": False,
            "gamma": found.gamma[: dim + 1],
            "error_bound": None if found.errors is None else found.errors.max(),
        },
    )


def check_modes(options: MemorizationOptions, points: Points) -> None:
    """Refuse more modes of the pixels than there are.

    Parameters
    ----------
    options : MemorizationOptions
        Of the study.
    points : Points
        The pool.

    Raises
    ------
    ValueError
        If there are.

    Examples
    --------
    >>> from experiments.memorization.points import draw_points
    >>> options = MemorizationOptions(protocol="closed-form", pool=10, dim=65)
    >>> check_modes(options, draw_points(options))
    Traceback (most recent call last):
    ValueError: dim is 65; expected at most 64, the pixels of a view
    """
    kind = scored_views(options, options.views or "simclr")
    pixels = math.prod(view_shape(kind, tuple(points.images.shape[1:])))
    if not options.kernel and (options.dim or _DIM) > pixels:
        raise ValueError(
            f"dim is {options.dim or _DIM}; expected at most {pixels}, the pixels of a view"
        )


def check_closed_form(options: MemorizationOptions) -> None:
    """Refuse options that a closed form has no answer to.

    Parameters
    ----------
    options : MemorizationOptions
        Of the study.

    Raises
    ------
    ValueError
        If a form, a distance, layers or a comparison are asked for that are not those of the closed
        form, or probes without a network.

    Examples
    --------
    >>> check_closed_form(MemorizationOptions(form="ratio"))
    Traceback (most recent call last):
    ValueError: form is 'ratio'; expected 'raw' in closed form
    """
    if options.form != "raw":
        raise ValueError(f"form is {options.form!r}; expected 'raw' in closed form")
    if options.against != "view":
        raise ValueError(f"against is {options.against!r}; expected 'view' in closed form")
    if options.distance not in ("l2", "sqeuclidean"):  # the default of the other protocols
        raise ValueError(f"distance is {options.distance!r}; expected 'sqeuclidean' in closed form")
    if options.layers not in (("backbone",), ("projector",)):
        raise ValueError(
            f"layers is {', '.join(options.layers) or 'nothing'}; expected the embedding alone, "
            "projector, in closed form"
        )
    if options.evaluate and not options.kernel:
        raise ValueError("evaluate is asked without --kernel; expected a network to probe")
    if options.dim is not None and options.dim < 1:
        raise ValueError(f"dim is {options.dim}; expected at least 1")
