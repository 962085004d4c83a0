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
from paper_figs.runs.memorization import overlap
from paper_figs.runs.memorization.overlap import Overlap, draw_overlaps, overlaps
from paper_figs.runs.memorization.scores import LEVEL, draw_distributions, draw_images
from paper_figs.runs.retraining import draw_accuracies, draw_measure, label_shares, measures_shown
from paper_figs.store import read_result
from paper_figs.style import INK, QUIET, WIDTH, entitle, letter
from sslsim.core.files import read_arrays, read_json

NAME = "memorization"
STUDY, OTHER, OUTLIERS = "resnet18", "convnet", "outliers"
COMMAND = "sslsim campaign --queue memorization (its studies as DIR/memorization/NAME)"


@dataclass(frozen=True)
class Stored:
    """What is stored of memorisation.

    Attributes
    ----------
    result, config, arrays : mapping
        Of the study ``resnet18``.
    networks : dict of str to mapping
        Results by name of the network: of this study, and of ``convnet`` if it is stored.
    outliers : mapping or None
        Result of a study with planted outliers.
    images : mapping or None
        Arrays of that study, else of the first one.
    removal, penalty : mapping or None
        Contents of ``removal.json`` and ``penalty.json``.
    rows : list of Overlap
        Other studies of the same images.
    configs : list of mapping
        Of everything drawn.
    """

    result: Mapping[str, Any]
    config: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    networks: dict[str, Mapping[str, Any]]
    outliers: Mapping[str, Any] | None
    images: Mapping[str, NDArray[Any]]
    removal: Mapping[str, Any] | None
    penalty: Mapping[str, Any] | None
    rows: list[Overlap]
    configs: list[Mapping[str, Any]]


def read(results: Path) -> Stored:
    """Read what is stored."""
    result, config, arrays = (
        read_result(results, f"{NAME}/{STUDY}", file, COMMAND)
        for file in ("memorization.json", "config.json", "scores.npz")
    )
    if not result["sets"]:
        raise ValueError(
            f"{Path(results) / NAME / STUDY} is of protocol {result['protocol']}; "
            "expected split, which has four sets"
        )
    folder = Path(results) / NAME
    rows, configs = overlaps(folder, STUDY), [config]
    made: dict[str, Any] = {}
    for name, file in (
        (OTHER, "memorization.json"),
        (OUTLIERS, "memorization.json"),
        ("removal", "removal.json"),
        ("penalty", "penalty.json"),
    ):
        if (folder / name / file).exists():
            made[name] = read_json(folder / name / file)
            configs.append(read_json(folder / name / "config.json"))
    networks = {captions.name_of(result["encoder"]): result}
    if OTHER in made:
        networks[captions.name_of(made[OTHER]["encoder"])] = made[OTHER]
    images = arrays if OUTLIERS not in made else read_arrays(folder / OUTLIERS / "scores.npz")
    configs += [overlap.config for overlap in rows]
    return Stored(result, config, arrays, networks, made.get(OUTLIERS), images,
                  made.get("removal"), made.get("penalty"), rows, configs)  # fmt: skip


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


def by_layer(result: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """Candidates less shared images in ratio form, layer by layer from the images on.

    The last layer before the average over positions has the scores of the representation and is
    left out.
    """
    found = {
        layer: scores["comparisons"][0]
        for layer, scores in zip(result["layers"], result["forms"]["ratio"]["sets"], strict=True)
    }
    depth = {"backbone": "m", "projector": "n"}
    order = sorted(found, key=lambda layer: depth.get(layer, layer))
    return {
        layer: found[layer]
        for layer in order
        if layer == "backbone" or found[layer] != found.get("backbone")
    }


IMAGES = 16
_TITLES = {
    "scores": "scores by set",
    "layers": "by layer",
    "outliers": "planted outliers",
}
_LINES: tuple[dict[str, Any], ...] = (
    {"color": "#2a788e", "marker": "o", "ms": 4, "ls": "-"},
    {"color": INK, "marker": "s", "ms": 3.5, "ls": (0, (4, 2))},
)
_SHAPES = {"o": "circle", "D": "diamond"}
_FORMS = {"raw": ("o", INK, -0.14, "g - f"), "ratio": ("D", "#2a788e", 0.14, "(g - f) / (g + f)")}


def figure(results: Path) -> tuple[Figure, str]:
    """Draw scores, what has them high, what removal and penalties do, and how rankings agree."""
    stored = read(results)
    letters = {name: letter(place) for place, name in enumerate(_present(stored))}
    middle = stored.outliers is not None or bool(stored.rows)
    below = stored.removal is not None or stored.penalty is not None
    heights = [2.1, *[2.2] * middle, 1.6, *[2.3] * below]
    drawn = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    parts = iter(drawn.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    upper = next(parts).subplots(1, 2, squeeze=False)[0]
    draw_distributions(upper[0], stored.result, stored.arrays)
    draw_networks(upper[1], stored.networks)
    for axes, name in zip(upper, ("scores", "layers"), strict=True):
        entitle(axes, letters[name], _TITLES[name])
    if middle:
        _draw_middle(next(parts), stored, letters)
    strips = next(parts).subplots(2, 1)
    draw_images(strips, stored.images, IMAGES)
    entitle(strips[0], letters["images"], strips[0].get_title(loc="left"))
    if below:
        _draw_lowest(next(parts), stored, letters)
    return drawn, _caption(stored, letters)


def _present(stored: Stored) -> list[str]:
    """Names of the panels in their order."""
    there = {
        "scores": True,
        "layers": True,
        "outliers": stored.outliers,
        "overlap": stored.rows,
        "images": True,
        "removal": stored.removal,
        "penalty": stored.penalty,
    }
    return [name for name, content in there.items() if content]


def draw_networks(axes: Axes, networks: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw how much the layers of networks memorise, in ratio form."""
    found = {name: by_layer(result) for name, result in networks.items()}
    names = list(dict.fromkeys(layer for layers in found.values() for layer in layers))
    names.sort(key=lambda layer: {"backbone": "m", "projector": "n"}.get(layer, layer))
    for (name, layers), look, shift in zip(found.items(), _LINES, (-0.05, 0.05), strict=False):
        places = [names.index(layer) + shift for layer in layers]
        mean = [comparison["difference"] for comparison in layers.values()]
        ends = [(one["low"], one["high"]) for one in layers.values()]
        axes.plot(places, mean, **look, label=name)
        for place, (low, high) in zip(places, ends, strict=True):
            axes.plot([place, place], [low, high], color=look["color"], lw=0.9)
    axes.axhline(0, color=QUIET, lw=0.8, zorder=0)
    axes.set_xticks(range(len(names)), [layer_name(layer) for layer in names], rotation=15)
    axes.tick_params(axis="x", labelsize=7.5)
    axes.set_ylabel("(g - f) / (g + f),\ncandidates less shared", fontsize=8)
    axes.legend(loc="upper left", fontsize=7.5)


def _draw_middle(part: SubFigure, stored: Stored, letters: Mapping[str, str]) -> None:
    both = stored.outliers is not None and bool(stored.rows)
    halves: Sequence[Any] = (
        part.subfigures(1, 2, width_ratios=(1.0, 1.35), squeeze=False)[0] if both else [part]
    )
    if stored.outliers is not None:
        axes = halves[0].subplots()
        draw_outliers(axes, stored.outliers)
        entitle(axes, letters["outliers"], _TITLES["outliers"])
    if stored.rows:
        panels = halves[-1].subplots(1, 2)
        place = stored.result["layers"].index(overlap.LAYER)
        between = stored.result["sets"][place]["agreement_of_pairs"]
        draw_overlaps(panels, stored.rows, between)
        entitle(panels[0], letters["overlap"], "agreement of rankings")


def draw_outliers(axes: Axes, result: Mapping[str, Any]) -> None:
    """Draw how well both forms of the first layer's scores tell planted outliers of each kind."""
    kinds = list(result["atypical"]["candidate"])
    for form, (marker, colour, shift, _) in _FORMS.items():
        found = result["forms"][form]["atypical"][0]["candidate"]
        for place, kind in enumerate(kinds):
            ends = [max(found[kind]["low"], 0.0), min(found[kind]["high"], 1.0)]
            axes.plot(ends, [place + shift] * 2, color=colour, lw=1.1)
            axes.plot(found[kind]["mean"], place + shift, marker, color=colour, ms=4)
    points = [result["atypical"]["candidate"][kind]["points"] for kind in kinds]
    labels = [f"{kind} ({count})" for kind, count in zip(kinds, points, strict=True)]
    axes.set_yticks(range(len(kinds)), labels, fontsize=7.5)
    axes.tick_params(axis="y", length=0)
    axes.axvline(0.5, color=QUIET, lw=0.8, zorder=0)
    axes.set(xlim=(0, 1), ylim=(len(kinds) - 0.5, -0.5))
    words = "; ".join(f"{_SHAPES[marker]}: {label}" for marker, _, _, label in _FORMS.values())
    axes.set_xlabel(f"area under the ROC curve\n({words})", fontsize=8)


def _draw_lowest(part: SubFigure, stored: Stored, letters: Mapping[str, str]) -> None:
    both = stored.removal is not None and stored.penalty is not None
    halves: Sequence[Any] = (
        part.subfigures(1, 2, width_ratios=(2.0, 1.0), squeeze=False)[0] if both else [part]
    )
    if stored.removal is not None:
        _draw_removal(halves[0], stored.removal, letters["removal"])
    if stored.penalty is not None:
        _draw_penalty(halves[-1], stored.penalty, letters["penalty"])


def _draw_removal(part: SubFigure, removal: Mapping[str, Any], mark: str) -> None:
    curves = own_and_transferred(removal)
    ratios = [1.6, *[1.0] * (len(curves) - 1)]
    panels = part.subplots(1, len(curves), width_ratios=ratios, squeeze=False)[0]
    for place, (axes, results) in enumerate(zip(panels, curves, strict=True)):
        draw_accuracies(axes, results)
        label_shares(axes, results)
        axes.tick_params(labelsize=7)
        axes.set_title(data_name(results["data"]), fontsize=8.5 if len(curves) < 3 else 7)
        if not place:
            entitle(axes, mark, axes.get_title(loc="left"))
            axes.set_ylabel("linear probe, %")
    part.supxlabel("share of images removed from training, %", fontsize=8)
    handles, words = panels[0].get_legend_handles_labels()
    part.legend(handles, words, loc="outside upper right", ncols=2, fontsize=7)


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
    "outliers": "planted outliers",
    "overlap": "studies to compare with",
    "removal": "removal",
    "penalty": "the penalty on alignment",
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
    return (
        f"scores of the {layer_name(stored.result['layers'][0])} by set, means as strokes; dashed "
        f"the offset, the mean of shared images, {offset} ± {scores['offset_error']:.2g}, "
        f"by which f and g differ alike on all; {test['above']}s less {test['below']} images "
        f"{_with_interval(test)}."
    )


def _with_interval(test: Mapping[str, Any]) -> str:
    """A difference of sets over images and encoder pairs, over pairs alone in older results."""
    if test.get("low") is None:
        p = "below 0.0001" if test["p"] < 1e-4 else f"{test['p']:.2g}"
        error = f"{test['difference']:.3g} ± {test['standard_error']:.2g}"
        return f"{error}, p {p} (paired t-test over pairs)"
    ends = captions.bracketed(test["difference"], test["low"], test["high"])
    return f"{ends} ({captions.percent(LEVEL)} interval over images and encoder pairs together)"


def _layers(stored: Stored) -> str:
    return (
        "candidates less shared images by layer, scores in ratio form, "
        f"{captions.listed(stored.networks)}, with {captions.percent(LEVEL)} intervals over images "
        "and encoder pairs together."
    )


def _outliers(stored: Stored) -> str:
    outliers: Mapping[str, Any] = stored.outliers or {}
    return (
        f"the probability that a planted outlier of a kind (their number) scores above another "
        f"candidate (area under the ROC curve; 0.5: none) in the "
        f"{layer_name(outliers['layers'][0])}, in both forms of the score; "
        f"{captions.percent(LEVEL)} intervals over images and encoder pairs together, cut at 0 and "
        f"1; {outliers['seeds']} encoder pairs."
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
        f"of their views in {penalty['steps']:,} updates of a "
        f"{captions.name_of(penalty['encoder'])}: {score}, and accuracy of linear probes; "
        f"{captions.percent(penalty['interval_level'])} intervals over "
        f"{captions.seeds(penalty['seeds'])}."
    )


def _overlap(stored: Stored) -> str:
    counts = captions.listed(sorted({overlap.points for overlap in stored.rows}))
    return (
        f"rankings of {counts} images by the representations of other networks against that of a: "
        f"left, of mean scores (grey, {captions.percent(overlap.LEVEL)} of rankings "
        "at random; dashed, mean tau between encoder pairs of a); right, between single encoder "
        "pairs (open) and corrected for the reliabilities of both studies, with "
        f"{captions.percent(overlap.LEVEL)} intervals over images, cut at 1."
    )


WORDS: dict[str, Callable[[Stored], str]] = {
    "scores": _scores,
    "layers": _layers,
    "outliers": _outliers,
    "images": _images,
    "removal": _removal,
    "penalty": _penalty,
    "overlap": _overlap,
}
