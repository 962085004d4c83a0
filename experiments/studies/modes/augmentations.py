"""How the modes of a linear model change as parts of the views are left out, one at a time."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from experiments.studies.modes.options import ModesOptions
from sslsim.data.augmentation import BLUR_FROM, PARTS, recipe_without
from sslsim.data.datasets import Images
from sslsim.data.own_views import Kind
from sslsim.data.single_view import RECIPES, views_without
from sslsim.measures.modes.directions import Array, counts_of_modes
from sslsim.measures.modes.meaning import explained, mode_meaning
from sslsim.measures.modes.overlap import mode_overlaps
from sslsim.measures.snapshots import draw_held_out_pairs
from sslsim.runs.trained_run import TrainedRun
from theory.pairs.gamma import read_pairs
from theory.pairs.spectrum import spectrum


def parts_of(kind: str, shape: tuple[int, ...]) -> list[str]:
    """Parts that views of a kind have, of images (c, h, w).

    >>> parts_of("simclr", (3, 16, 16)), parts_of("weak", (1, 32, 32))
    (['crop', 'flip', 'jitter', 'grey', 'colour'], ['crop', 'flip'])
    """
    recipes = RECIPES[kind]
    small = min(shape[1:]) < BLUR_FROM
    return [
        part
        for part in PARTS
        if any(recipe_without(recipe, part) != recipe for recipe in recipes)
        and not (part == "blur" and small)
        and not (part in ("grey", "colour") and shape[0] == 1)
    ]


def linear_modes_by_part(
    run: TrainedRun, held_out: Images, statistics: dict[str, Array], options: ModesOptions
) -> dict[str, Any]:
    """Modes of linear Barlow Twins on the run's images: eigenvectors of Gamma, by part left out.

    The first row has all parts; the second too, with another draw of the views: its overlap with
    the first is what the draw leaves uncertain.
    """
    kind = options.augmentations
    assert kind is not None
    parts = parts_of(kind, tuple(held_out.images.shape[1:]))
    views: list[tuple[str, Kind, int]] = [
        ("nothing", kind, options.seed),
        ("nothing, again", kind, options.seed + 1),
        *((part, partial(views_without, kind=kind, part=part), options.seed) for part in parts),
    ]
    inputs = run.standardised(held_out.images.float() / 255).flatten(1).double().numpy()
    counts = counts_of_modes(inputs.shape[1], options.modes)
    rows, modes = [], []
    for name, view, seed in views:
        drawn = draw_held_out_pairs(run.images.images, view, options.pairs, seed, run.pixels)
        pairs = read_pairs(*(v.flatten(1).numpy() for v in (drawn.x, drawn.x_prime)), center=True)
        top = spectrum(pairs, max(counts), rng=options.seed)
        values = inputs @ np.asarray(top.eigenvectors)[:, : max(counts)]
        found = mode_meaning(values, statistics, level=options.interval_level, rng=options.seed)
        modes.append(values)
        rows.append(
            {
                "without": name,
                "eigenvalues": top.eigenvalues[: max(counts)],
                "overlap": mode_overlaps([modes[0], values], counts)[:, 0, 1],
                "correlation": found.correlation,
                "low": found.low,
                "high": found.high,
                "p_value": found.p_value,
                "explained": np.array([explained(values[:, :k], statistics) for k in counts]),
            }
        )
    return {
        "views": kind,
        "pairs": len(drawn.x),
        "counts": counts,
        "statistics": list(statistics),
        "chance": np.array(counts) / (len(inputs) - 1),
        "rows": rows,
    }
