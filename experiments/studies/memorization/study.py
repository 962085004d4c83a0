"""Who is memorised: ``sslsim memorization``.

The keys of ``memorization.json`` and the arrays of ``scores.npz`` are explained in
``experiments/docs/memorization.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from experiments.studies.memorization.closed_form import (
    check_closed_form,
    check_modes,
    score_closed_form,
)
from experiments.studies.memorization.encoders import (
    Scored,
    Trained,
    encoder_losses,
    given_families,
)
from experiments.studies.memorization.image_sets import (
    ScoredImages,
    draw_points,
    scored_views,
    sets_of,
)
from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.source_study import (
    agreement_with,
    common_points,
    image_hashes,
)
from experiments.studies.memorization.split import check_split, score_split
from experiments.studies.memorization.subsample import (
    drawn_members,
    score_subsample,
    trains_together,
)
from sslsim.core.files import plain, read_arrays, write_arrays, write_json
from sslsim.measures.intervals import mean_interval
from sslsim.memorization import rank_points
from sslsim.memorization.outliers import KINDS
from sslsim.memorization.statistics import SETS, split_tests
from sslsim.runs.folder import check_folder, check_same, new_results
from sslsim.runs.networks import check_different
from sslsim.runs.options import training_options
from sslsim.runs.setup import chosen_device, initial_learner
from sslsim.runs.stored import stored_config

Array = NDArray[np.float64]

_SHOWN = 24  # images at either end of the ranking that are kept for the picture
_LEVEL = 0.9


def write_results(
    folder: Path, options: MemorizationOptions, points: ScoredImages, scored: Scored
) -> dict[str, Any]:
    """Write ``scores.npz`` and ``memorization.json``."""
    first = scored.scores[0]
    sets = sets_of(points)
    # Of the four sets candidates alone can be memorised: they are ranked.
    ranked = np.flatnonzero(np.isin(sets, (-1, SETS.index("candidate"))))
    order = ranked[rank_points(first[ranked]).numpy()]
    shown = min(_SHOWN, len(order) // 2)
    most, least = order[:shown], order[::-1][:shown].copy()
    atypical = points.atypical.numpy()
    layers = scored.details.get("layers", options.layers)
    agreement = [
        agreement_with(other, points, scored.scores, layers, options.top)
        for other in options.compare
    ]
    result = {
        "protocol": options.protocol,
        "method": options.method,
        "encoder": options.encoder,
        "data": options.data,
        "points": len(first),
        "form": options.form,
        "distance": options.distance,
        "normalise": options.normalise,
        "layers": options.layers,
        **scored.details,
        "mean": scored.scores.mean(axis=1),
        "deviation": scored.scores.std(axis=1),
        "sets": _by_set(scored, points) if points.sets else None,
        "atypical": _found_outliers(scored, sets, atypical) if options.atypical else None,
        "agreement": agreement,
    }
    write_arrays(
        folder / "scores.npz",
        scores=scored.scores,
        standard_error=scored.standard_error,
        units=scored.units,
        losses=scored.losses,
        members=scored.members,
        numbers=points.numbers.numpy(),
        hashes=image_hashes(points.images),
        sets=sets,
        atypical=atypical,
        order=order,
        most=points.images[most].numpy(),
        least=points.images[least].numpy(),
    )
    write_json(folder / "memorization.json", result)
    return result


def _by_set(scored: Scored, points: ScoredImages) -> list[dict[str, Any]]:
    """Of every layer: mean scores of the sets and the tests between them, pairs as units."""
    found = []
    for units in scored.units:
        tests = split_tests(units, {name: rows.numpy() for name, rows in points.sets.items()})
        found.append(
            {
                "means": tests.means,
                "offset": tests.offset,
                "offset_error": tests.offset_error,
                "comparisons": [asdict(test) for test in tests.comparisons],
                "agreement_of_pairs": _pairs_agree(units[:, points.sets["candidate"].numpy()]),
            }
        )
    return found


def _pairs_agree(units: Array) -> float:
    """Mean Kendall's tau of the candidates' scores between pairs of encoders."""
    taus = [
        stats.kendalltau(units[i], units[j]).statistic for i in range(len(units)) for j in range(i)
    ]
    return float(np.mean(taus))


def _found_outliers(scored: Scored, sets: NDArray[Any], atypical: NDArray[Any]) -> dict[str, Any]:
    """How well scores of the first layer tell outliers, set by set: areas under ROC curves."""
    groups = {SETS[code]: sets == code for code in range(len(SETS)) if np.any(sets == code)}
    groups = groups or {"all": np.ones(len(sets), dtype=bool)}
    found: dict[str, Any] = {}
    for name, rows in groups.items():
        kinds = {"any": atypical > 0}
        kinds |= {KINDS[kind]: atypical == kind for kind in range(1, len(KINDS))}
        of_group = {}
        for kind, chosen in kinds.items():
            planted, others = chosen & rows, (atypical == 0) & rows
            if not planted.any() or not others.any():
                continue
            units = [_auc(unit[planted], unit[others]) for unit in scored.units[0]]
            of_group[kind] = {
                "points": int(planted.sum()),
                "auc": _auc(scored.scores[0][planted], scored.scores[0][others]),
                **_interval(units),
            }
        found[name] = of_group
    return found


def _auc(planted: Array, others: Array) -> float:
    """Chance that an outlier scores above another image, ties counting half."""
    statistic = stats.mannwhitneyu(planted, others).statistic
    return float(statistic / (len(planted) * len(others)))


def _interval(units: Sequence[float]) -> dict[str, Any]:
    """Mean over pairs of encoders and its Student interval."""
    if len(units) < 2:
        return {"units": np.asarray(units), "mean": None, "low": None, "high": None}
    mean, low, high, *_ = mean_interval(units, _LEVEL)
    return {"units": np.asarray(units), "mean": mean, "low": low, "high": high}


# What may change between two commands that work on one folder: nothing an encoder depends on.
_FREE = (
    "out", "root", "device", "layers", "augmentations", "against", "distance", "normalise", "form",
    "score_views", "compare", "top", "evaluate", "exact", "external", "encoder_pairs",
)  # fmt: skip
_OF_PROTOCOL = {
    "split": ("shared", "candidates", "independent", "external", "sets", "encoder_pairs", "f", "g",
              "curve"),
    "subsample": ("pool", "encoders", "share", "together"),
    "closed-form": ("pool", "kernel", "exact"),
}  # fmt: skip
_RESULTS = ("memorization.json", "scores.npz", "memorization.png")


def memorization(options: MemorizationOptions) -> Path:
    """Train what is not yet trained, score all images and say what the scores show."""
    _check(options)
    _check_folder(options)
    points = draw_points(options)
    _check_images(options, points)
    for other in options.compare:
        if other.resolve() == options.out.resolve():
            raise ValueError(f"compare holds {other}, the folder of this study; expected others")
        common_points(other, points)
    if options.evaluate and (points.data.labels is None or points.held_out.labels is None):
        raise ValueError(f"{options.data} has no labels; expected some, or no --evaluate")
    given = given_families(options, points) if options.f else None
    if options.protocol != "closed-form" or options.kernel:
        _check_scoring(options, points, given["f"][0] if given else _untrained(options, points))
    if options.protocol == "subsample":
        trains_together(options, points)
    if options.protocol == "closed-form":
        check_modes(options, points)
    with new_results(
        options.out, "memorization", options, results=_RESULTS, resumes=True
    ) as folder:
        if options.protocol == "split":
            scored = score_split(options, points, options.out, given)
        elif options.protocol == "subsample":
            scored = score_subsample(options, points, options.out)
        else:
            scored = score_closed_form(options, points, options.out)
        write_results(folder, options, points, scored)
    return options.out


def _check(options: MemorizationOptions) -> None:
    _check_protocol(options)
    if options.augmentations < 1:
        raise ValueError(
            f"augmentations is {options.augmentations}; expected at least 1 pair of views"
        )
    for name in ("draw_seed", "seed", "curve"):
        if getattr(options, name) < 0:
            raise ValueError(f"{name} is {getattr(options, name)}; expected at least 0")
    check_different("compare", options.compare)
    if options.top < 1:
        raise ValueError(f"top is {options.top}; expected at least 1")
    if options.batch < 2:
        raise ValueError(f"batch is {options.batch}; expected at least 2")
    training_options(options)
    if options.protocol == "split":
        check_split(options)
    elif options.protocol == "subsample":
        drawn_members(options)
    else:
        check_closed_form(options)


def _check_protocol(options: MemorizationOptions) -> None:
    """Refuse options without effect: those of other protocols."""
    own = _OF_PROTOCOL[options.protocol]
    for name in dict.fromkeys(name for names in _OF_PROTOCOL.values() for name in names):
        given, default = getattr(options, name), getattr(MemorizationOptions, name)
        if name not in own and given != default:
            its = " or ".join(key for key, names in _OF_PROTOCOL.items() if name in names)
            raise ValueError(
                f"{name} is {plain(given)}, an option of protocol {its}; expected it not to be "
                f"given for {options.protocol}"
            )


def _check_folder(options: MemorizationOptions) -> None:
    """Refuse a folder of something else, or whose encoders are others than those asked for."""
    check_folder(options.out, "memorization", _RESULTS)
    begun = (options.out / "encoders").exists()
    trains = options.protocol != "closed-form" and not options.f
    # Encoders trained beside results of other options could not be told from theirs.
    if not begun and not (trains and (options.out / _RESULTS[0]).exists()):
        return
    kept = stored_config(options.out)[1]
    given = {name: value for name, value in asdict(options).items() if name not in _FREE}
    check_same(options.out, kept, given, holds="encoders" if begun else "scores")


def _check_images(options: MemorizationOptions, points: ScoredImages) -> None:
    """Refuse a folder whose encoders saw other images of the same options: of changed data."""
    path = options.out / "scores.npz"
    if not path.exists() or not (options.out / "encoders").exists():
        return
    try:
        kept = read_arrays(path)
        theirs = dict(zip(kept["numbers"].tolist(), kept["hashes"].tolist(), strict=True))
    except (ValueError, KeyError):  # damaged, and about to be written anew
        return
    hashes = image_hashes(points.images).tolist()
    for place, found in zip(points.numbers.tolist(), hashes, strict=True):
        if theirs.get(place, found) != found:
            raise ValueError(
                f"{options.out} holds encoders of a study whose image {place} of {options.data} "
                "was another; expected the same images, or another folder"
            )


def _untrained(options: MemorizationOptions, points: ScoredImages) -> Trained:
    learner = initial_learner(options, points.data)
    device = chosen_device(options.device)
    return Trained(learner.to(device).eval().encoder, None, options.views or learner.views)


def _check_scoring(options: MemorizationOptions, points: ScoredImages, encoder: Trained) -> None:
    """Score two images: what cannot be scored is known before anything is trained."""
    kind = scored_views(options, encoder.views)
    few = replace(options, augmentations=1)
    encoder_losses([encoder], points.images[:2], points.numbers[:2], kind, few)
