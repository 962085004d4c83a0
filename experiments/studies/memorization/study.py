"""Who is memorised: ``sslsim memorization``.

The keys of ``memorization.json`` and the arrays of ``scores.npz`` are explained in
``experiments/docs/memorization.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from tqdm import tqdm

from experiments.campaign.parts import make_parts
from experiments.studies.memorization.analysis.atypicality import (
    Reference,
    atypicality_results,
    image_atypicality,
    open_reference,
)
from experiments.studies.memorization.analysis.forms import scores_by_form
from experiments.studies.memorization.analysis.predictors import predictor_results
from experiments.studies.memorization.analysis.units import unit_results
from experiments.studies.memorization.checks import (
    RESULTS,
    check_images,
    check_options,
    check_own_folder,
    check_scoring,
)
from experiments.studies.memorization.closed_form import score_closed_form
from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.results import (
    curve_point,
    probe_accuracies,
    write_results,
)
from experiments.studies.memorization.settings import (
    encoder_count,
    pixels_of,
    pool_members,
    scored_images,
    scoring_of,
)
from sslsim.data.pixels import PixelStatistics
from sslsim.measures.frozen import FrozenEncoder
from sslsim.memorization.image_sets import FAMILIES, ScoredImages
from sslsim.memorization.losses import ImageScores
from sslsim.memorization.one_encoder.influence import score_influence
from sslsim.memorization.split import score_split
from sslsim.memorization.subsampling import score_pool
from sslsim.runs.encoders import (
    encoder_at,
    encoders_of_runs,
    own_encoders,
    train_encoder,
    train_ensemble,
    trains_at_once,
    untrained_encoders,
)
from sslsim.runs.folder import new_results
from sslsim.runs.networks import kept_steps, spread_steps

_DIM = 8  # modes in closed form, where the options name no number
Families = Mapping[str, list[FrozenEncoder]]


def memorization(options: MemorizationOptions) -> Path:
    """Train what is not yet trained, score all images and say what the scores show."""
    check_options(options)
    options = replace(options, encoders=encoder_count(options))
    check_own_folder(options)
    images = scored_images(options)
    check_images(options, images)
    reference = open_reference(options, images)
    of_runs = None
    if options.f:
        of_runs = (
            encoders_of_runs(options.f, options.g, images, options.device)
            if options.module is None
            else own_encoders(options, options.f, options.g, images)
        )
    encoder = of_runs["f"][0] if of_runs else None
    if encoder is None and (options.protocol != "closed-form" or options.kernel):
        encoder = encoder_at(options, images.data)
    check_scoring(options, images, encoder, options.dim or _DIM)
    pooled = options.protocol in ("subsample", "influence")
    at_once = pooled and _trains_at_once(options, images)
    trainings = 0 if of_runs or at_once else len(_trainings(options, images))
    if options.workers > 1 and not trainings:
        raise ValueError(
            f"workers is {options.workers}, and all encoders are trained already or together, in "
            "one process; expected 1, or together False"
        )
    with new_results(options.out, "memorization", options, results=RESULTS, resumes=True) as folder:
        make_parts(folder, options.workers, trainings)
        families = of_runs or trained_encoders(options, images, at_once)
        scores, details = scores_of(options, images, families)
        if options.evaluate:
            details["accuracies"] = probe_accuracies(families, images, options.layers)
        if options.curve:
            details["curve"] = _curve(options, images)
        untrained = _untrained(options, images)
        details, arrays = _beside(options, images, families, scores, details, reference)
        write_results(folder, options, images, scores, details, arrays, untrained)
    return options.out


def trained_encoders(options: MemorizationOptions, images: ScoredImages, at_once: bool) -> Families:
    """Encoders of the protocol, by family; those that are trained are loaded."""
    if at_once:
        pool, members = images.part(_everything(images)), pool_members(options)
        every = options.checkpoint_every
        encoders = train_ensemble(
            options,
            pool,
            members,
            options.out / "encoders" / "together",
            classes=images.classes,
            checkpoint_every=every,
            pixels=pixels_of(options, images),
        )
        return {"all": encoders}
    families: dict[str, list[FrozenEncoder]] = {}
    pixels = pixels_of(options, images)
    trainings = _trainings(options, images)
    for family, i, name, rows in tqdm(trainings, desc="encoders", disable=not sys.stderr.isatty()):
        encoder = _trained(options, images, pixels, i, name, rows)
        families.setdefault(family, []).append(encoder)
    return families


def encoder_parts(options: MemorizationOptions) -> dict[str, Callable[[], FrozenEncoder]]:
    """Encoders that several processes may train, by folder."""
    images = scored_images(options)
    train = partial(_trained, options, images, pixels_of(options, images))
    return {name: partial(train, i, name, rows) for _, i, name, rows in _trainings(options, images)}


def _trained(
    options: MemorizationOptions,
    images: ScoredImages,
    pixels: PixelStatistics | None,
    i: int,
    name: str,
    rows: torch.Tensor,
) -> FrozenEncoder:
    """Train an encoder, or load it where it is trained."""
    return train_encoder(
        replace(options, seed=options.seed + i),
        images.part(rows),
        options.out / "encoders" / name,
        classes=None if options.protocol == "closed-form" else images.classes,
        # The newest checkpoint, or those of a curve.
        checkpoint_every=max(1, options.steps // options.curve)
        if options.curve
        else options.checkpoint_every,
        checkpoints_kept=0 if options.curve else 1,
        pixels=pixels,
    )


def _trainings(
    options: MemorizationOptions, images: ScoredImages
) -> list[tuple[str, int, str, torch.Tensor]]:
    """Family, number, folder and images of every encoder to train."""
    if options.protocol == "closed-form":
        return [("all", 0, "0", _everything(images))] if options.kernel else []
    if options.protocol in ("subsample", "influence"):
        parts = [inside.nonzero()[:, 0] for inside in pool_members(options)]
        return [("all", i, str(i), rows) for i, rows in enumerate(parts)]
    # Both encoders of a pair have one seed: they start from the same weights.
    pairs = range(options.encoder_pairs)
    return [(name, i, f"{name}{i}", images.rows(name)) for i in pairs for name in FAMILIES]


def _everything(images: ScoredImages) -> torch.Tensor:
    return torch.arange(len(images.images))


def scores_of(
    options: MemorizationOptions, images: ScoredImages, families: Families
) -> tuple[ImageScores, dict[str, Any]]:
    """Scores of all images, and what else goes to ``memorization.json``."""
    encoders = [each for family in families.values() for each in family]
    scoring = scoring_of(options, encoders[0].views if encoders else options.views or "simclr")
    if options.protocol == "closed-form":
        return score_closed_form(
            images,
            scoring,
            options.dim or _DIM,
            encoder=encoders[0] if encoders else None,
            standardise=options.standardise,
            exact=options.exact,
        )
    details: dict[str, Any] = {"views": scoring.views, "encoders": len(encoders)}
    if options.protocol == "influence":
        details |= {"damping": options.damping, "projection": options.projection}
        return score_influence(
            encoders,
            images.images,
            scoring,
            damping=options.damping,
            projection=options.projection,
            numbers=images.numbers,
            progress=sys.stderr.isatty(),
        ), details
    if options.protocol == "subsample":
        details["share"] = options.share
        return score_pool(encoders, pool_members(options), images, scoring), details
    details["seeds"] = len(families["f"])
    return score_split(families["f"], families["g"], images, scoring), details


def _beside(
    options: MemorizationOptions,
    images: ScoredImages,
    families: Families,
    scores: ImageScores,
    details: Mapping[str, Any],
    reference: Reference | None,
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What is measured beside the scores, for ``memorization.json`` and ``scores.npz``."""
    results, arrays = dict(details), dict[str, NDArray[Any]]()
    if reference is not None:
        values = arrays["atypicality"] = image_atypicality(reference, images)
        forms = scores_by_form(scores, options.form, options.protocol)
        results["atypicality"] = atypicality_results(reference, values, forms, images)
    if scores.gradient_norms is not None:
        arrays["gradient_norms"] = scores.gradient_norms
        results["predictors"] = predictor_results(
            options.compare, images, scores, options.layers, options.top
        )
    if options.units:
        scoring = scoring_of(options, families["f"][0].views)
        results["unit_memorization"], of_units = unit_results(
            families, images, scores, scoring, options.top
        )
        arrays |= of_units
    return results, arrays


def _curve(options: MemorizationOptions, images: ScoredImages) -> list[dict[str, Any]]:
    """Scores of the first layer over training: how the sets come apart."""
    steps = spread_steps(kept_steps(options.out / "encoders/f0"), options.curve + 1)
    first = replace(options, layers=options.layers[:1])
    curve = []
    for step in tqdm(steps, desc="curve", disable=not sys.stderr.isatty()):
        scores, _ = scores_of(first, images, _pairs_at(options, images, step))
        curve.append(curve_point(step, scores, images))
    return curve


def _pairs_at(options: MemorizationOptions, images: ScoredImages, step: int) -> Families:
    """Pairs of encoders after some updates; the initialisation needs no folder."""
    pixels = pixels_of(options, images)
    return {
        name: [
            encoder_at(
                replace(options, seed=options.seed + pair),
                images.part(images.rows(name)),
                options.out / "encoders" / f"{name}{pair}",
                step,
                classes=images.classes,
                pixels=pixels,
            )
            for pair in range(options.encoder_pairs)
        ]
        for name in FAMILIES
    }


def _untrained(options: MemorizationOptions, images: ScoredImages) -> NDArray[Any] | None:
    """Scores by layer under every pair at its initialisation, where that is known."""
    if options.protocol != "split" or (options.f and options.module is not None):
        return None
    families: Families = (
        untrained_encoders(options.f, options.g, options.device)
        if options.f
        else _pairs_at(options, images, 0)
    )
    return scores_of(options, images, families)[0].units


def _trains_at_once(options: MemorizationOptions, images: ScoredImages) -> bool:
    folders = [options.out / "encoders" / name for name in ("together", "0")]
    return trains_at_once(options, images.data, pool_members(options), folders, options.together)
