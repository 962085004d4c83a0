"""What the options of a study say in terms of the domain: its images, and how they are scored."""

from __future__ import annotations

import torch

from experiments.studies.memorization.options import MemorizationOptions
from sslsim.data.own_views import is_own
from sslsim.data.pixels import PixelStatistics, pixel_statistics
from sslsim.data.single_view import VIEWS
from sslsim.memorization import draw_members
from sslsim.memorization.image_sets import ScoredImages, pool_images, split_images
from sslsim.memorization.losses import Scoring
from sslsim.runs.setup import split_data


def scored_images(options: MemorizationOptions) -> ScoredImages:
    """Load the data set, plant outliers and draw what is scored.

    >>> options = MemorizationOptions(shared=10, candidates=4, independent=3, external=2)
    >>> images = scored_images(options)
    >>> {name: len(places) for name, places in images.sets.items()}, len(images.images)
    ({'candidate': 4, 'independent': 3, 'shared': 10, 'external': 2}, 19)
    """
    data, held_out = split_data(options)
    atypical, seed = options.atypical, options.draw_seed
    if options.protocol != "split":
        return pool_images(data, held_out, options.pool, atypical=atypical, seed=seed)
    sizes = {
        "candidate": options.candidates,
        "independent": options.independent,
        "shared": options.shared,
        "external": options.external,
    }
    return split_images(data, held_out, options.sets or sizes, atypical=atypical, seed=seed)


def scoring_of(options: MemorizationOptions, views: str) -> Scoring:
    """How images are scored under encoders that were trained on a kind of views.

    >>> [scoring_of(MemorizationOptions(), views).views for views in ("multicrop", "mask")]
    ['strong', 'mask']
    """
    wanted = options.score_views
    if wanted is not None and wanted not in VIEWS and not is_own(wanted):
        raise ValueError(
            f"score_views is {wanted!r}; expected one of {', '.join(VIEWS)}, or package.module:name"
        )
    return Scoring(
        views=options.score_views or (views if views in VIEWS or is_own(views) else "strong"),
        layers=options.layers,
        pairs=options.augmentations,
        against=options.against,
        distance=options.distance,
        normalise=options.normalise,
        form=options.form,
        seed=options.draw_seed,
    )


def pixels_of(options: MemorizationOptions, images: ScoredImages) -> PixelStatistics | None:
    """Statistics that all encoders share; None where each has those of its own images.

    >>> options = MemorizationOptions(shared=10, candidates=4, independent=3, external=2)
    >>> pixels_of(options, scored_images(options)) is None
    True
    """
    return pixel_statistics(images.data.images) if options.common_pixels else None


def encoder_count(options: MemorizationOptions) -> int:
    """Number of encoders of a pool, by default that of the protocol.

    >>> encoder_count(MemorizationOptions()), encoder_count(MemorizationOptions(encoders=3))
    (16, 3)
    """
    if options.encoders is not None:
        return options.encoders
    return 1 if options.protocol == "influence" else 16


def pool_members(options: MemorizationOptions) -> torch.Tensor:
    """Images of the pool that every encoder is trained on.

    >>> pool_members(MemorizationOptions(encoders=4, share=0.5, pool=10)).sum(dim=1).tolist()
    [5, 5, 5, 5]
    """
    count = encoder_count(options)
    if options.protocol == "influence":
        return torch.ones(count, options.pool, dtype=torch.bool)
    return draw_members(count, options.pool, options.share, seed=options.draw_seed)
