"""Subsampling: encoders on random shares of a pool, every image of which gets a score."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from experiments.memorization.evaluation import probed_families
from experiments.memorization.options import MemorizationOptions
from experiments.memorization.points import Points, scored_views, trained_on
from experiments.memorization.results import Scored
from experiments.memorization.trained import encoder_losses, trained_encoder
from sslsim.memorization import draw_members, subsample_scores


def score_subsample(options: MemorizationOptions, points: Points, folder: Path) -> Scored:
    """Train encoders on random shares of the pool and score all of it.

    Parameters
    ----------
    options : MemorizationOptions
        Of the study.
    points : Points
        The pool.
    folder : Path
        Of the run; encoders go to ``encoders/0``, ``encoders/1``, ...

    Returns
    -------
    Scored

    Raises
    ------
    ValueError
        As :func:`drawn_members` or :func:`experiments.memorization.trained.trained_encoder`.

    Notes
    -----
    Raw scores are freed of every encoder's offset, as
    :func:`sslsim.memorization.subsample_scores` does by ``centre``.
    """
    members = drawn_members(options)
    encoders = [
        trained_encoder(
            options,
            trained_on(points, inside.nonzero()[:, 0]),
            options.seed + i,
            folder / "encoders" / str(i),
        )
        for i, inside in enumerate(tqdm(members, desc="encoders", disable=not sys.stderr.isatty()))
    ]
    kind = scored_views(options, encoders[0].views)
    found = encoder_losses(encoders, points.images, points.numbers, kind, options)
    losses = torch.stack([torch.stack([loss.mean for loss in layers]) for layers in found])
    details: dict[str, Any] = {"views": kind, "encoders": len(encoders), "share": options.share}
    if options.evaluate:
        details["accuracies"] = probed_families({"all": encoders}, points, options)
    centre = options.form == "raw"
    scores = [
        subsample_scores(losses[:, layer], members, options.form, centre=centre)
        for layer in range(len(options.layers))
    ]
    return Scored(
        scores=torch.stack([one.scores for one in scores]).numpy(),
        standard_error=torch.stack([one.standard_error for one in scores]).numpy(),
        units=np.empty((len(scores), 0, len(points.images))),
        losses=losses.numpy(),
        members=members.numpy(),
        details=details,
    )


def drawn_members(options: MemorizationOptions) -> torch.Tensor:
    """Which images of the pool every encoder is trained on.

    Parameters
    ----------
    options : MemorizationOptions
        Of the study.

    Returns
    -------
    Tensor of bool, shape (encoders, pool)

    Raises
    ------
    ValueError
        If the share is out of range, or there are too few encoders for it.

    Examples
    --------
    >>> drawn_members(MemorizationOptions(encoders=4, share=0.5, pool=10)).sum(dim=1).tolist()
    [5, 5, 5, 5]
    """
    return draw_members(options.encoders, options.pool, options.share, seed=options.draw_seed)
