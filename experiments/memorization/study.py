"""Who is memorised: ``sslsim memorization``.

The keys of ``memorization.json`` and the arrays of ``scores.npz`` are explained in
``experiments/docs/memorization.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from experiments.memorization.agreement import common_points, image_hashes
from experiments.memorization.closed import check_closed_form, check_modes, score_closed_form
from experiments.memorization.given import given_families
from experiments.memorization.options import MemorizationOptions
from experiments.memorization.points import Points, draw_points, scored_views
from experiments.memorization.results import write_results
from experiments.memorization.split import check_split, score_split
from experiments.memorization.statistics import SETS
from experiments.memorization.subsample import drawn_members, score_subsample, trains_together
from experiments.memorization.trained import Trained, encoder_losses
from experiments.networks import check_different
from experiments.run_folder import check_folder, check_same, new_results
from experiments.runs import plain, read_arrays
from experiments.stored import stored_config
from experiments.tables import number, table
from experiments.train_options import training_options
from experiments.train_setup import chosen_device, initial_learner

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
    """Train what is not yet trained, score all images and say what the scores show.

    Parameters
    ----------
    options : MemorizationOptions
        Of the command.

    Returns
    -------
    Path
        The run folder, with ``config.json``, ``memorization.json``, ``scores.npz`` and
        ``encoders/``.

    Raises
    ------
    ValueError
        If options do not fit together or the data, or the folder holds a study of other encoders.
        Nothing is written then.
    sslsim.training.Interrupted
        If the process was interrupted; what is trained is kept.

    Examples
    --------
    >>> memorization(MemorizationOptions(augmentations=0))
    Traceback (most recent call last):
    ValueError: augmentations is 0; expected at least 1 pair of views
    """
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
        result = write_results(folder, options, points, scored)
    print(_report(result))
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


def _check_images(options: MemorizationOptions, points: Points) -> None:
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


def _untrained(options: MemorizationOptions, points: Points) -> Trained:
    learner = initial_learner(options, points.data)
    device = chosen_device(options.device)
    return Trained(learner.to(device).eval().encoder, None, options.views or learner.views)


def _check_scoring(options: MemorizationOptions, points: Points, encoder: Trained) -> None:
    """Score two images: what cannot be scored is known before anything is trained."""
    kind = scored_views(options, encoder.views)
    few = replace(options, augmentations=1)
    encoder_losses([encoder], points.images[:2], points.numbers[:2], kind, few)


def _report(result: Mapping[str, Any]) -> str:
    lines = [
        f"{result['protocol']}: {result['method']}, {result['encoder']} on {result['data']}; "
        f"{result['points']} images, {result['form']} scores of {result['views']} views"
    ]
    if result["sets"]:
        first = result["sets"][0]
        rows = [
            [name, number(first["means"][name].mean()), number(_above(first, name))]
            for name in SETS
        ]
        lines.append(table(["set", "mean score", "less that of shared images"], rows))
        rows = [
            [
                f"{test['above']} above {test['below']}",
                number(test["difference"]),
                number(test["standard_error"]),
                number(test["p"]),
                number(test["effect"]),
                number(test["point_effect"]),
            ]
            for test in first["comparisons"]
        ]
        headers = ["expected", "difference", "standard error", "p", "effect (pairs)", "(points)"]
        lines.append(table(headers, rows))
    for layer, name in enumerate(result["layers"]):
        if result["sets"] and layer:
            raised = result["sets"][layer]["comparisons"][0]
            told = f"{number(raised['difference'])} ± {number(raised['standard_error'])}"
            lines.append(f"{name}: candidates less shared images {told}")
        elif not result["sets"]:
            told = f"mean score {number(result['mean'][layer])}"
            lines.append(f"{name}: {told}, deviation {number(result['deviation'][layer])}")
    for name, kinds in (result["atypical"] or {}).items():
        told = ", ".join(f"{kind} {found['auc']:.2f}" for kind, found in kinds.items())
        if told:
            low = " (low where memorised: g saw them, not f)" if name == "independent" else ""
            lines.append(f"AUC of outliers, {name} images{low}: {told}")
    for family, accuracies in (result.get("accuracies") or {}).items():
        for layer, values in accuracies.items():
            mean = 100 * sum(values) / len(values)
            lines.append(f"linear probe of {layer}, encoders {family}: {mean:.1f} %")
    for other in result["agreement"]:
        lines.append(
            f"{other['run']}, {_compared(other)}: tau {other['tau']:.2f}, {other['overlap']:.0%} "
            f"of the top {other['top']} in common (chance {other['chance']:.0%})"
        )
    return "\n".join(lines)


def _compared(other: Mapping[str, Any]) -> str:
    """Layers of this study and of the other."""
    layer, their = other["layer"], other["other_layer"]
    return str(layer) if layer == their else f"{layer} here and {their} there"


def _above(tests: Mapping[str, Any], name: str) -> float:
    return float(tests["means"][name].mean() - tests["offset"])
