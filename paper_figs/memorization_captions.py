"""Words of figure 8, from the results and their configurations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from paper_figs import captions, memorization_overlap
from paper_figs.memorization_panels import LEVEL
from paper_figs.memorization_penalty import measures_shown
from paper_figs.memorization_stored import Found, data_name, layer_name, own_and_transferred

MISSING = {
    "layers": "several layers of the study",
    "curve": "its curve over training",
    "outliers": "planted outliers",
    "removal": "removal",
    "penalty": "the penalty on alignment",
    "overlap": "studies to compare with",
}


def studied(found: Found) -> str:
    """What a score is, and of what encoders and images.

    Parameters
    ----------
    found : Found
        What is stored.

    Returns
    -------
    str
        Sentences.
    """
    options, result = found.config["options"], found.result
    images = options["shared"] + options["candidates"]
    seeds = range(options["seed"], options["seed"] + result["seeds"])
    told = captions.training(found.config, {**options, "train_images": images})
    *words, _ = told.split(", ")  # the seed of the first pair
    form = "less" if result["form"] == "raw" else "over the sum, from"
    return (
        "Memorisation of images (arXiv 2401.12233): the alignment loss of an image's views under "
        f"encoders g trained without it {form} that under f trained with it, high where it is "
        f"memorised. {result['seeds']} pairs of encoders ({captions.seeds(seeds)}), each of which "
        f"trains on {options['shared']} shared images and on {options['candidates']} candidates "
        f"(f) or {options['independent']} independent ones (g): {', '.join(words)}."
    )


def _scores(found: Found) -> str:
    one = found.result["sets"][0]
    test = one["comparisons"][0]
    offset = f"{one['offset']:.3g}".replace("-", "\N{MINUS SIGN}")
    p = "below 0.0001" if test["p"] < 1e-4 else f"{test['p']:.2g}"
    return (
        f"scores of the {layer_name(found.result['layers'][0])} by set, means as strokes; dashed "
        f"the offset, the mean of shared images, {offset} ± {one['offset_error']:.2g}, "
        f"by which f and g differ alike on all; {test['above']}s less {test['below']} images "
        f"{test['difference']:.3g} ± {test['standard_error']:.2g}, p {p} (paired "
        "t-test over pairs)."
    )


def _layers(found: Found) -> str:
    return (
        f"differences of mean scores by layer with {captions.percent(LEVEL)} intervals over pairs "
        "(the scale is logarithmic away from zero where sizes lie far apart)."
    )


def _curve(found: Found) -> str:
    first = layer_name(found.result["layers"][0])
    return f"mean scores of the {first} over training, less those of shared images (zero)."


def _outliers(found: Found) -> str:
    return (
        "the chance that a planted outlier of a kind (their number) scores above another candidate "
        f"(area under the ROC curve; 0.5: none): pairs, their mean with {captions.percent(LEVEL)} "
        "interval, and of scores averaged over pairs (diamond)."
    )


def _images(found: Found) -> str:
    return "candidates of the highest and of the lowest scores, planted outliers framed."


def _removal(found: Found) -> str:
    removal: Mapping[str, Any] = found.removal or {}
    first, *others = own_and_transferred(removal)
    read = captions.listed(data_name(one["data"]) for one in (first, *others))
    words = (
        "held-out accuracy of linear probes on representations of encoders trained without some of "
        f"{removal['pool']} images, read on {read}; {captions.percent(removal['interval_level'])} "
        f"intervals over {captions.seeds(removal['seeds'])}, each of one family of encoders."
    )
    told = []
    for curve in first["curves"]:
        point = curve["points"][-1]
        if point["from_random"] is not None:
            told.append(
                f"{_points(point['from_random'])} without the {captions.percent(point['share'])} "
                f"{curve['which']} memorised"
            )
    if told:
        words += (
            f" Against as many random images removed, paired by seeds: {captions.listed(told)}."
        )
    return words


def _points(found: Mapping[str, Any]) -> str:
    told = f"{100 * found['mean']:+.1f} points"
    if found["low"] is not None:
        told += f" [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"
    return told.replace("-", "\N{MINUS SIGN}")


def _penalty(found: Found) -> str:
    penalty: Mapping[str, Any] = found.penalty or {}
    payers = {"all": "all images", "most": "the most memorised", "random": "random candidates"}
    score = "chosen candidates' scores (g - f) / (g + f) above shared images'"
    if measures_shown(penalty["targets"])[1][0] == "ratio_above_external":
        score = "candidates' scores (g - f) / (g + f) above external images'"
    return (
        f"{captions.listed(payers[one] for one in penalty['targets'])} pay for the distance of "
        f"their views in {penalty['steps']:,} updates: {score}, and accuracy of linear probes; "
        f"{captions.percent(penalty['interval_level'])} intervals over "
        f"{captions.seeds(penalty['seeds'])}."
    )


def _overlap(found: Found) -> str:
    counts = captions.listed(sorted({one.points for one in found.rows}))
    return (
        f"rankings of {counts} images by other studies against that of a, or as named (views are "
        "the very same where they are of one kind); grey, "
        f"{captions.percent(memorization_overlap.LEVEL)} of rankings at random; dashed, mean tau "
        "between single pairs of encoders of the study of a."
    )


WORDS: dict[str, Callable[[Found], str]] = {
    "scores": _scores,
    "layers": _layers,
    "curve": _curve,
    "outliers": _outliers,
    "images": _images,
    "removal": _removal,
    "penalty": _penalty,
    "overlap": _overlap,
}
