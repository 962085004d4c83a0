"""Figure 8: who is memorised, what for, and whether other encoders memorise the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from paper_figs import captions
from paper_figs.paper import figure8_memorization as memorization_captions
from paper_figs.runs import memorization_overlap
from paper_figs.runs.memorization import (
    LEVEL,
    draw_curve,
    draw_distributions,
    draw_images,
    draw_layers,
    draw_outliers,
)
from paper_figs.runs.memorization_overlap import Overlap, draw_overlaps, overlaps
from paper_figs.runs.retraining import draw_accuracies, draw_measure, label_shares, measures_shown
from paper_figs.store import read_result
from paper_figs.style import WIDTH, letter
from sslsim.core.files import read_json

NAME = "memorization"
COMMAND = "sslsim memorization --curve 5 --out DIR/memorization/split (DIR as in --results DIR)"


@dataclass(frozen=True)
class Found:
    """What is stored of memorisation.

    Attributes
    ----------
    result, config, arrays : mapping
        Of the study ``split``.
    removal, penalty : mapping or None
        Contents of ``removal.json`` and ``penalty.json``.
    rows : list of Overlap
        What studies say of each other.
    configs : list of mapping
        Of everything drawn.
    """

    result: Mapping[str, Any]
    config: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    removal: Mapping[str, Any] | None
    penalty: Mapping[str, Any] | None
    rows: list[Overlap]
    configs: list[Mapping[str, Any]]


def read(results: Path) -> Found:
    """Read what is stored."""
    result, config, arrays = (
        read_result(results, f"{NAME}/split", file, COMMAND)
        for file in ("memorization.json", "config.json", "scores.npz")
    )
    if not result["sets"]:
        raise ValueError(
            f"{Path(results) / NAME / 'split'} is of protocol {result['protocol']}; "
            "expected split, which has four sets"
        )
    folder = Path(results) / NAME
    rows, configs = overlaps(folder), [config]
    made: dict[str, dict[str, Any]] = {}
    for name in ("removal", "penalty"):
        if (folder / name / f"{name}.json").exists():
            made[name] = read_json(folder / name / f"{name}.json")
            configs.append(read_json(folder / name / "config.json"))
    configs += [one.config for one in rows]
    return Found(result, config, arrays, made.get("removal"), made.get("penalty"), rows, configs)


def own_and_transferred(removal: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Curves of linear probes."""
    found = [one for one in removal["results"] if one["measure"] == "linear"]
    return sorted(found, key=lambda one: one["data"] != removal["data"])


def layer_name(layer: str) -> str:
    """A layer as readers know it.

    >>> [layer_name(one) for one in ("layer1", "backbone", "projector")]
    ['layer1', 'representation', 'embedding']
    """
    return {"backbone": "representation", "projector": "embedding"}.get(layer, layer)


def data_name(data: str) -> str:
    """What accuracies were read on, as readers know it.

    >>> data_name("cifar10, outliers"), data_name("digits")
    ('CIFAR-10 (outliers)', 'digits')
    """
    name, comma, kind = data.partition(", ")
    return f"{captions.name_of(name)} ({kind})" if comma else captions.name_of(name)


IMAGES = 16
_TITLES = {
    "scores": "scores by set",
    "layers": "by layer",
    "curve": "over training",
    "outliers": "planted outliers",
}


def figure(results: Path) -> tuple[Figure, str]:
    """Draw scores, what has them high, what removal and penalties do, and how rankings agree."""
    found = read(results)
    letters = {name: letter(place) for place, name in enumerate(_present(found))}
    upper = [name for name in ("scores", "layers", "curve", "outliers") if name in letters]
    heights = [2.0] * -(-len(upper) // 2) + [1.6]
    lowest = 0.75 + max(1.5 if found.penalty else 0.0, 0.17 * len(found.rows))
    heights += [1.85] * (found.removal is not None)
    heights += [lowest] * (found.penalty is not None or bool(found.rows))
    drawn = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    parts = iter(drawn.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    for first in range(0, len(upper), 2):
        names = upper[first : first + 2]
        for axes, name in zip(
            next(parts).subplots(1, len(names), squeeze=False)[0], names, strict=True
        ):
            _draw_upper(axes, name, found)
            _entitle(axes, letters[name], _TITLES[name])
    strips = next(parts).subplots(2, 1)
    draw_images(strips, found.arrays, IMAGES)
    _entitle(strips[0], letters["images"], strips[0].get_title(loc="left"))
    if found.removal is not None:
        _draw_removal(next(parts), found.removal, letters["removal"])
    if found.penalty is not None or found.rows:
        _draw_lowest(next(parts), found, letters)
    return drawn, _caption(found, letters)


def _present(found: Found) -> list[str]:
    """Names of the panels in their order."""
    there = {
        "scores": True,
        "layers": len(found.result["layers"]) > 1,
        "curve": found.result.get("curve"),
        "outliers": found.result["atypical"] and found.result["atypical"].get("candidate"),
        "images": True,
        "removal": found.removal,
        "penalty": found.penalty,
        "overlap": found.rows,
    }
    return [name for name, one in there.items() if one]


def _entitle(axes: Axes, mark: str, words: str) -> None:
    axes.set_title(rf"$\bf{{{mark}}}$  {words}")


def _draw_upper(axes: Axes, name: str, found: Found) -> None:
    if name == "scores":
        draw_distributions(axes, found.result, found.arrays)
    elif name == "layers":
        draw_layers(axes, found.result)
        names = [layer_name(tick.get_text()) for tick in axes.get_xticklabels()]
        axes.set_xticks(axes.get_xticks(), names, rotation=12 if len(names) > 4 else 0, fontsize=7)
        axes.set_ylabel("difference of means")
    elif name == "curve":
        draw_curve(axes, found.result)
        axes.set_ylabel("mean less shared")
    else:
        draw_outliers(axes, found.result, "candidate")
        axes.set_xlabel("area under the ROC curve")


def _draw_removal(part: SubFigure, removal: Mapping[str, Any], mark: str) -> None:
    curves = own_and_transferred(removal)
    ratios = [1.6, *[1.0] * (len(curves) - 1)]
    panels = part.subplots(1, len(curves), width_ratios=ratios, squeeze=False)[0]
    for place, (axes, one) in enumerate(zip(panels, curves, strict=True)):
        draw_accuracies(axes, one)
        label_shares(axes, one)
        axes.tick_params(labelsize=7)
        axes.set_title(data_name(one["data"]), fontsize=8.5)
        if not place:
            _entitle(axes, mark, axes.get_title(loc="left"))
            axes.set_ylabel("linear probe, %")
    part.supxlabel("share of images removed from training, %", fontsize=8)
    handles, words = panels[0].get_legend_handles_labels()
    part.legend(handles, words, loc="outside upper right", ncols=4, fontsize=7)


def _draw_lowest(part: SubFigure, found: Found, letters: Mapping[str, str]) -> None:
    both = found.penalty is not None and bool(found.rows)
    halves: Sequence[Any] = (
        part.subfigures(1, 2, width_ratios=(1.0, 1.7), squeeze=False)[0] if both else [part]
    )
    if found.penalty is not None:
        _draw_penalty(halves[0], found.penalty, letters["penalty"])
    if found.rows:
        panels = halves[-1].subplots(1, 2)
        draw_overlaps(panels, found.rows, found.result["sets"][0]["agreement_of_pairs"])
        _entitle(panels[0], letters["overlap"], "agreement of rankings")


def _draw_penalty(part: SubFigure, penalty: Mapping[str, Any], mark: str) -> None:
    rows, targets = penalty["rows"], penalty["targets"]
    score = measures_shown(targets)[1][0]
    shown = [(score, "score ratio"), (f"linear: {penalty['data']}", "linear probe, %")]
    shown = [one for one in shown if one[0] in rows[0]["measures"]]
    panels = part.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, words) in zip(panels, shown, strict=True):
        draw_measure(axes, rows, targets, name)
        axes.set_ylabel(words, fontsize=8)
        axes.tick_params(labelsize=7)
    strengths = [captions.number(one) for one in penalty["strengths"]]
    panels[-1].set_xticks(range(len(strengths)), strengths)
    panels[-1].set_xlabel("strength of the penalty")
    if len(targets) > 1:
        panels[0].legend(fontsize=7)
    _entitle(panels[0], mark, "penalty on alignment")


def _caption(found: Found, letters: Mapping[str, str]) -> str:
    told = {name: memorization_captions.WORDS[name](found) for name in letters}
    parts = [f"{mark}: {told[name]}" for name, mark in letters.items()]
    missing = [
        words for name, words in memorization_captions.MISSING.items() if name not in letters
    ]
    left = f" Not among the results, and not drawn: {captions.listed(missing)}." if missing else ""
    return (
        f"{memorization_captions.studied(found)} {' '.join(parts)} "
        f"{_sentence(captions.device(found.configs))}.{left}"
    )


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]


MISSING = {
    "layers": "several layers of the study",
    "curve": "its curve over training",
    "outliers": "planted outliers",
    "removal": "removal",
    "penalty": "the penalty on alignment",
    "overlap": "studies to compare with",
}


def studied(found: Found) -> str:
    """What a score is, and of what encoders and images."""
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
