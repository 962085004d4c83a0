"""Subsampling: encoders on random shares of a pool, every image of which gets a score."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from experiments.studies.memorization.encoders import (
    Scored,
    Trained,
    encoder_losses,
    trained_encoder,
)
from experiments.studies.memorization.evaluation import probed_families
from experiments.studies.memorization.image_sets import ScoredImages, scored_views, trained_on
from experiments.studies.memorization.options import MemorizationOptions
from sslsim.data.pixels import pixel_statistics
from sslsim.memorization import draw_members, subsample_scores
from sslsim.methods.learner import Learner
from sslsim.runs.options import training_options
from sslsim.runs.setup import chosen_device, initial_learner
from sslsim.training.ensemble import train_together

_SMALL = 64  # pixels of images on which a CPU trains many small networks faster at once


def score_subsample(options: MemorizationOptions, points: ScoredImages, folder: Path) -> Scored:
    """Train encoders on random shares of the pool and score all of it.

    Raw scores are freed of every encoder's offset, as
    :func:`sslsim.memorization.subsample_scores` does by ``centre``.
    """
    members = drawn_members(options)
    if trains_together(options, points):
        encoders = _at_once(options, points, members, folder / "encoders" / "together")
    else:
        quiet = not sys.stderr.isatty()
        encoders = [
            trained_encoder(
                options,
                trained_on(points, inside.nonzero()[:, 0]),
                options.seed + i,
                folder / "encoders" / str(i),
                classes=points.classes,
            )
            for i, inside in enumerate(tqdm(members, desc="encoders", disable=quiet))
        ]
    kind = scored_views(options, encoders[0].views)
    losses = encoder_losses(encoders, points.images, points.numbers, kind, options)
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

    >>> drawn_members(MemorizationOptions(encoders=4, share=0.5, pool=10)).sum(dim=1).tolist()
    [5, 5, 5, 5]
    """
    return draw_members(options.encoders, options.pool, options.share, seed=options.draw_seed)


def trains_together(options: MemorizationOptions, points: ScoredImages) -> bool:
    """Whether encoders are trained at once: as asked or begun, else where possible and faster.

    >>> from experiments.studies.memorization.image_sets import draw_points
    >>> options = MemorizationOptions(protocol="subsample", pool=400, encoders=4)
    >>> trains_together(options, draw_points(options))
    True
    """
    if options.together is False:
        return False
    if options.together is None:  # go on as was begun, whatever the device is now
        for name, at_once in (("together", True), ("0", False)):
            if (options.out / "encoders" / name).exists():
                return at_once
    learner = initial_learner(options, points.data)
    possible = (
        type(learner).after_step is Learner.after_step  # no teacher
        and options.optimizer != "lars"  # steps depend on whole tensors
        and not (options.compile or options.channels_last)
        and options.batch <= int(drawn_members(options).sum(dim=1).min())
    )
    if options.together and not possible:
        raise ValueError(
            f"together is asked for with {options.method}, {options.optimizer} and batch "
            f"{options.batch}; expected a method without a teacher or prototypes, sgd or adamw, no "
            "--compile, no --channels-last, and a batch of at most an encoder's images"
        )
    small = points.images[0, 0].numel() <= _SMALL
    return possible and (
        options.together is True or (small and chosen_device(options.device).type == "cpu")
    )


def _at_once(
    options: MemorizationOptions, points: ScoredImages, members: torch.Tensor, folder: Path
) -> list[Trained]:
    seeds = [options.seed + i for i in range(len(members))]
    parts = [trained_on(points, inside.nonzero()[:, 0]) for inside in members]
    learners = [
        initial_learner(replace(options, seed=seed), part, points.classes)
        for seed, part in zip(seeds, parts, strict=True)
    ]
    kind = options.views or learners[0].views
    learners = train_together(
        learners,
        trained_on(points, torch.arange(len(points.images))),
        members,
        kind,
        training_options(options, checkpoint_every=options.checkpoint_every, checkpoints_kept=1),
        folder,
        seeds=seeds,
        device=chosen_device(options.device),
        progress=sys.stderr.isatty(),
    )
    return [
        Trained(
            learner.eval().encoder,
            pixel_statistics(part.images) if options.standardise else None,
            kind,
        )
        for learner, part in zip(learners, parts, strict=True)
    ]
