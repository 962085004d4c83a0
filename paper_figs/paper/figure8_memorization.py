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
from paper_figs.style import WIDTH, entitle, letter
from sslsim.core.files import read_json

NAME = "memorization"
COMMAND = "sslsim memorization --curve 5 --out DIR/memorization/split (DIR as in --results DIR)"


@dataclass(frozen=True)
class Stored:
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


def read(results: Path) -> Stored:
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
    configs += [overlap.config for overlap in rows]
    return Stored(result, config, arrays, made.get("removal"), made.get("penalty"), rows, configs)


def own_and_transferred(removal: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Curves of linear probes."""
    linear = [curves for curves in removal["results"] if curves["measure"] == "linear"]
    return sorted(linear, key=lambda curves: curves["data"] != removal["data"])


def layer_name(layer: str) -> str:
    """A layer as readers know it.

    >>> [layer_name(layer) for layer in ("layer1", "backbone", "projector")]
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
    stored = read(results)
    letters = {name: letter(place) for place, name in enumerate(_present(stored))}
    upper = [name for name in ("scores", "layers", "curve", "outliers") if name in letters]
    heights = [2.0] * -(-len(upper) // 2) + [1.6]
    lowest = 0.75 + max(1.5 if stored.penalty else 0.0, 0.17 * len(stored.rows))
    heights += [1.85] * (stored.removal is not None)
    heights += [lowest] * (stored.penalty is not None or bool(stored.rows))
    drawn = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    parts = iter(drawn.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    for first in range(0, len(upper), 2):
        names = upper[first : first + 2]
        for axes, name in zip(
            next(parts).subplots(1, len(names), squeeze=False)[0], names, strict=True
        ):
            _draw_upper(axes, name, stored)
            entitle(axes, letters[name], _TITLES[name])
    strips = next(parts).subplots(2, 1)
    draw_images(strips, stored.arrays, IMAGES)
    entitle(strips[0], letters["images"], strips[0].get_title(loc="left"))
    if stored.removal is not None:
        _draw_removal(next(parts), stored.removal, letters["removal"])
    if stored.penalty is not None or stored.rows:
        _draw_lowest(next(parts), stored, letters)
    return drawn, _caption(stored, letters)


def _present(stored: Stored) -> list[str]:
    """Names of the panels in their order."""
    there = {
        "scores": True,
        "layers": len(stored.result["layers"]) > 1,
        "curve": stored.result.get("curve"),
        "outliers": stored.result["atypical"] and stored.result["atypical"].get("candidate"),
        "images": True,
        "removal": stored.removal,
        "penalty": stored.penalty,
        "overlap": stored.rows,
    }
    return [name for name, content in there.items() if content]


def _draw_upper(axes: Axes, name: str, stored: Stored) -> None:
    if name == "scores":
        draw_distributions(axes, stored.result, stored.arrays)
    elif name == "layers":
        draw_layers(axes, stored.result)
        names = [layer_name(tick.get_text()) for tick in axes.get_xticklabels()]
        axes.set_xticks(axes.get_xticks(), names, rotation=12 if len(names) > 4 else 0, fontsize=7)
        axes.set_ylabel("difference of means")
    elif name == "curve":
        draw_curve(axes, stored.result)
        axes.set_ylabel("mean less shared")
    else:
        draw_outliers(axes, stored.result, "candidate")
        axes.set_xlabel("area under the ROC curve")


def _draw_removal(part: SubFigure, removal: Mapping[str, Any], mark: str) -> None:
    curves = own_and_transferred(removal)
    ratios = [1.6, *[1.0] * (len(curves) - 1)]
    panels = part.subplots(1, len(curves), width_ratios=ratios, squeeze=False)[0]
    for place, (axes, results) in enumerate(zip(panels, curves, strict=True)):
        draw_accuracies(axes, results)
        label_shares(axes, results)
        axes.tick_params(labelsize=7)
        axes.set_title(data_name(results["data"]), fontsize=8.5)
        if not place:
            entitle(axes, mark, axes.get_title(loc="left"))
            axes.set_ylabel("linear probe, %")
    part.supxlabel("share of images removed from training, %", fontsize=8)
    handles, words = panels[0].get_legend_handles_labels()
    part.legend(handles, words, loc="outside upper right", ncols=4, fontsize=7)


def _draw_lowest(part: SubFigure, stored: Stored, letters: Mapping[str, str]) -> None:
    both = stored.penalty is not None and bool(stored.rows)
    halves: Sequence[Any] = (
        part.subfigures(1, 2, width_ratios=(1.0, 1.7), squeeze=False)[0] if both else [part]
    )
    if stored.penalty is not None:
        _draw_penalty(halves[0], stored.penalty, letters["penalty"])
    if stored.rows:
        panels = halves[-1].subplots(1, 2)
        draw_overlaps(panels, stored.rows, stored.result["sets"][0]["agreement_of_pairs"])
        entitle(panels[0], letters["overlap"], "agreement of rankings")


def _draw_penalty(part: SubFigure, penalty: Mapping[str, Any], mark: str) -> None:
    rows, targets = penalty["rows"], penalty["targets"]
    score = measures_shown(targets)[1][0]
    shown = [(score, "score ratio"), (f"linear: {penalty['data']}", "linear probe, %")]
    shown = [(name, words) for name, words in shown if name in rows[0]["measures"]]
    panels = part.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, words) in zip(panels, shown, strict=True):
        draw_measure(axes, rows, targets, name)
        axes.set_ylabel(words, fontsize=8)
        axes.tick_params(labelsize=7)
    strengths = [captions.number(strength) for strength in penalty["strengths"]]
    panels[-1].set_xticks(range(len(strengths)), strengths)
    panels[-1].set_xlabel("strength of the penalty")
    if len(targets) > 1:
        panels[0].legend(fontsize=7)
    entitle(panels[0], mark, "penalty on alignment")


def _caption(stored: Stored, letters: Mapping[str, str]) -> str:
    words = {name: WORDS[name](stored) for name in letters}
    parts = [f"{mark}: {words[name]}" for name, mark in letters.items()]
    missing = [words for name, words in MISSING.items() if name not in letters]
    left = f" Not among the results, and not drawn: {captions.listed(missing)}." if missing else ""
    return (
        f"{studied(stored)} {' '.join(parts)} {_sentence(captions.device(stored.configs))}.{left}"
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


def studied(stored: Stored) -> str:
    """What a score is, and of what encoders and images."""
    options, result = stored.config["options"], stored.result
    images = options["shared"] + options["candidates"]
    seeds = range(options["seed"], options["seed"] + result["seeds"])
    training = captions.training(stored.config, {**options, "train_images": images})
    *words, _ = training.split(", ")  # the seed of the first pair
    form = "less" if result["form"] == "raw" else "over the sum, from"
    return (
        "Memorisation of images (arXiv 2401.12233): the alignment loss of an image's views under "
        f"encoders g trained without it {form} that under f trained with it, high where it is "
        f"memorised. {result['seeds']} pairs of encoders ({captions.seeds(seeds)}), each of which "
        f"trains on {options['shared']} shared images and on {options['candidates']} candidates "
        f"(f) or {options['independent']} independent ones (g): {', '.join(words)}."
    )


def _scores(stored: Stored) -> str:
    scores = stored.result["sets"][0]
    test = scores["comparisons"][0]
    offset = f"{scores['offset']:.3g}".replace("-", "\N{MINUS SIGN}")
    p = "below 0.0001" if test["p"] < 1e-4 else f"{test['p']:.2g}"
    return (
        f"scores of the {layer_name(stored.result['layers'][0])} by set, means as strokes; dashed "
        f"the offset, the mean of shared images, {offset} ± {scores['offset_error']:.2g}, "
        f"by which f and g differ alike on all; {test['above']}s less {test['below']} images "
        f"{test['difference']:.3g} ± {test['standard_error']:.2g}, p {p} (paired "
        "t-test over pairs)."
    )


def _layers(stored: Stored) -> str:
    return (
        f"differences of mean scores by layer with {captions.percent(LEVEL)} intervals over pairs "
        "(the scale is logarithmic away from zero where sizes lie far apart)."
    )


def _curve(stored: Stored) -> str:
    first = layer_name(stored.result["layers"][0])
    return f"mean scores of the {first} over training, less those of shared images (zero)."


def _outliers(stored: Stored) -> str:
    return (
        "the chance that a planted outlier of a kind (their number) scores above another candidate "
        f"(area under the ROC curve; 0.5: none): pairs, their mean with {captions.percent(LEVEL)} "
        "interval, and of scores averaged over pairs (diamond)."
    )


def _images(stored: Stored) -> str:
    return "candidates of the highest and of the lowest scores, planted outliers framed."


def _removal(stored: Stored) -> str:
    removal: Mapping[str, Any] = stored.removal or {}
    first, *others = own_and_transferred(removal)
    read = captions.listed(data_name(results["data"]) for results in (first, *others))
    words = (
        "held-out accuracy of linear probes on representations of encoders trained without some of "
        f"{removal['pool']} images, read on {read}; {captions.percent(removal['interval_level'])} "
        f"intervals over {captions.seeds(removal['seeds'])}, each of one family of encoders."
    )
    differences = []
    for curve in first["curves"]:
        point = curve["points"][-1]
        if point["from_random"] is not None:
            differences.append(
                f"{captions.interval(point['from_random'], 100.0, 1, ' points')} without the "
                f"{captions.percent(point['share'])} {curve['which']} memorised"
            )
    if differences:
        words += (
            " Against as many random images removed, paired by seeds: "
            f"{captions.listed(differences)}."
        )
    return words


def _penalty(stored: Stored) -> str:
    penalty: Mapping[str, Any] = stored.penalty or {}
    payers = {"all": "all images", "most": "the most memorised", "random": "random candidates"}
    score = "chosen candidates' scores (g - f) / (g + f) above shared images'"
    if measures_shown(penalty["targets"])[1][0] == "ratio_above_external":
        score = "candidates' scores (g - f) / (g + f) above external images'"
    return (
        f"{captions.listed(payers[target] for target in penalty['targets'])} pay for the distance "
        f"of their views in {penalty['steps']:,} updates: {score}, and accuracy of linear probes; "
        f"{captions.percent(penalty['interval_level'])} intervals over "
        f"{captions.seeds(penalty['seeds'])}."
    )


def _overlap(stored: Stored) -> str:
    counts = captions.listed(sorted({overlap.points for overlap in stored.rows}))
    return (
        f"rankings of {counts} images by other studies against that of a, or as named (views are "
        "the very same where they are of one kind); grey, "
        f"{captions.percent(memorization_overlap.LEVEL)} of rankings at random; dashed, mean tau "
        "between single pairs of encoders of the study of a."
    )


WORDS: dict[str, Callable[[Stored], str]] = {
    "scores": _scores,
    "layers": _layers,
    "curve": _curve,
    "outliers": _outliers,
    "images": _images,
    "removal": _removal,
    "penalty": _penalty,
    "overlap": _overlap,
}
