"""Panels of ``memorization.png``: sets, outliers, layers, checkpoints, studies and images."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from paper_figs.style import BAND, INK, QUIET, WIDTH, save, styled
from sslsim.core.files import read_arrays, read_json
from sslsim.measures.intervals import mean_interval

Array = NDArray[Any]

LEVEL = 0.9
_SETS = ("candidate", "independent", "shared", "external")  # codes in scores.npz
_TOLD = {
    "candidate": "candidates (f only)",
    "independent": "independent (g only)",
    "shared": "shared (both)",
    "external": "external (neither)",
}
_KINDS = ("none", "inverted", "noise", "collage", "colours")
_FILLS = {"candidate": "#2a788e", "independent": "#bddf26", "shared": BAND, "external": BAND}
_BLUE = "#2a788e"
_CURVES = (("candidate", "shared"), ("shared", "independent"))
_LINES: tuple[dict[str, Any], ...] = (
    {"color": _BLUE, "marker": "o", "ms": 4, "ls": "-"},
    {"color": INK, "marker": "s", "ms": 3.5, "ls": (0, (4, 2))},
)
_SET_LINES: dict[str, dict[str, Any]] = {
    "candidate": _LINES[0],
    "external": {"color": QUIET, "marker": "^", "ms": 4, "ls": (0, (1, 1.5))},
    "independent": _LINES[1],
}
_APART = 100.0  # sizes by this factor apart cannot be read on one linear scale


def draw_distributions(axes: Axes, result: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Draw the distribution of the scores of every group of images, one above the other."""
    scores, groups = arrays["scores"][0], _groups(result, arrays)
    low, high = _range([scores[rows] for rows, _, _ in groups])
    edges = np.linspace(low, high, 41)
    for place, (rows, label, fill) in enumerate(reversed(groups)):
        values = scores[rows]
        # In the precision of the edges: versions of numpy differ on which side of them others lie.
        heights, _ = np.histogram(values.astype(np.float64).clip(low, high), bins=edges)
        heights = heights.astype(float)
        heights *= 0.85 / heights.max()
        axes.stairs(heights + place, edges, baseline=place, fill=True, color=fill, lw=0)
        axes.stairs(heights + place, edges, baseline=place, color=INK, lw=0.6)
        axes.plot([values.mean()] * 2, [place, place + 0.85], color=INK, lw=1.6)
        axes.text(0.01, place + 0.55, f"{label}, {len(values)}", fontsize=7.5,
                  transform=axes.get_yaxis_transform())  # fmt: skip
    if result["sets"]:
        offset = result["sets"][0]["offset"]
        axes.axvline(offset, color=QUIET, ls=(0, (4, 2)), lw=0.9, zorder=0)
        axes.set_title(f"Scores by set; offset {offset:.3g} (dashed)")
    else:
        axes.axvline(0, color=QUIET, ls=(0, (4, 2)), lw=0.9, zorder=0)
        axes.set_title("Scores")
    axes.set(xlabel=_score_label(result), yticks=[], ylim=(-0.05, len(groups) + 0.02))
    axes.set_xlim(low - 0.5 * (high - low), high)  # labels lie left of all scores
    axes.set_xticks([tick for tick in axes.get_xticks() if low <= tick <= high])
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_bounds(low, high)


def draw_comparisons(axes: Axes, result: Mapping[str, Any]) -> None:
    """Draw differences of sets: pairs of encoders as dots, means with 90 % intervals."""
    scores = result["sets"][0]
    count, labels = len(scores["means"]["shared"]), []
    for place, test in enumerate(scores["comparisons"]):
        differences = np.subtract(scores["means"][test["above"]], scores["means"][test["below"]])
        _spread(axes, differences, place, _ends(test))
        labels.append(f"{test['above']}\nless {test['below']}")
        p_value = "p < 0.0001" if test["p"] < 1e-4 else f"p {test['p']:.2g}"
        axes.text(
            1.0,
            place - 0.3,
            p_value,
            fontsize=7,
            ha="right",
            transform=axes.get_yaxis_transform(),
        )
    _rows(axes, labels)
    axes.axvline(0, color=QUIET, lw=0.8, zorder=0)
    both = any(_ends(test) for test in scores["comparisons"])
    over = "images and pairs" if both else "pairs"
    axes.set_xlabel(
        f"difference of mean scores, {100 * LEVEL:g} % intervals over {over}", fontsize=8
    )
    axes.set_title(f"Differences of sets, {count} pairs of encoders")


def draw_outliers(axes: Axes, result: Mapping[str, Any], group: str) -> None:
    """Draw how well scores tell planted outliers of each kind."""
    kinds = result["atypical"][group]
    for place, outliers in enumerate(kinds.values()):
        _spread(axes, np.asarray(outliers["units"]), place)
        axes.plot(outliers["auc"], place, "D", color=INK, ms=4.5, mfc="white", zorder=4)
    _rows(axes, [f"{kind} ({outliers['points']})" for kind, outliers in kinds.items()])
    axes.axvline(0.5, color=QUIET, lw=0.8, zorder=0)
    axes.set(xlim=(min(0.35, axes.get_xlim()[0]), 1.02))
    several = any(len(outliers["units"]) for outliers in kinds.values())
    axes.set_xlabel("AUC of outliers" + (" (diamond: of mean scores)" if several else ""))
    axes.set_title("Outliers among " + ("candidates" if group == "candidate" else "all images"))


def draw_layers(axes: Axes, result: Mapping[str, Any]) -> None:
    """Draw scores by layer, from the images on."""
    layers = result["layers"]
    order = sorted(range(len(layers)), key=lambda place: _depth(layers[place]))
    places = np.arange(len(layers))
    if result["sets"]:
        by_layer = [result["sets"][place]["means"] for place in order]
        lines = np.array([[np.subtract(s[a], s[b]) for s in by_layer] for a, b in _CURVES])
        for pair, (above, below) in enumerate(_CURVES):
            ends = [_ends_of(result["sets"][place], above, below) for place in order]
            at = places + 0.06 * (2 * pair - 1)
            _interval_line(axes, at, lines[pair], _LINES[pair], ends)
            axes.plot([], [], **_LINES[pair], label=f"{above} less {below}")
        sizes = np.abs(lines.mean(axis=2)) + _half(lines)
        if sizes.max() > _APART * sizes.min():
            _scale_far_apart(axes, float(sizes.min()))
        _legend_above(axes)
        axes.set(title="By layer", ylabel="difference of mean scores")
    else:
        means, deviations = (np.take(result[key], order) for key in ("mean", "deviation"))
        axes.errorbar(places, means, deviations, fmt="o", color=_BLUE, capsize=2)
        axes.set(title="By layer (± deviation of images)", ylabel=_score_label(result))
    axes.axhline(0, color=QUIET, lw=0.8, zorder=0)
    axes.set_xticks(
        places, [layers[place] for place in order], rotation=20 if len(places) > 4 else 0
    )
    axes.set_xlim(-0.4, len(places) - 0.6)


def draw_curve(axes: Axes, result: Mapping[str, Any]) -> None:
    """Draw mean scores of sets over training, less that of shared images."""
    steps = np.array([point["step"] for point in result["curve"]])
    means = [point["means"] for point in result["curve"]]
    for name, look in _SET_LINES.items():
        values = np.array([np.subtract(point[name], point["shared"]) for point in means])
        _interval_line(axes, steps, values, look)
        axes.plot([], [], **look, label=name)
    axes.axhline(0, color=QUIET, lw=0.8, zorder=0)
    axes.set(xlabel="updates", ylabel="mean score less shared images'", title="Over training")
    _legend_above(axes)


def draw_agreement(axes: Axes, result: Mapping[str, Any]) -> None:
    """Draw how far the ranking agrees with those of other studies."""
    for place, other in enumerate(result["agreement"]):
        if other["tau"] is not None:
            axes.plot(other["tau"], place, "o", color=INK, ms=5)
        axes.plot(other["overlap"], place, "s", color=_BLUE, ms=5)
        axes.plot([other["chance"]] * 2, [place - 0.25, place + 0.25], color=QUIET, lw=1.6)
    for marker, colour, label in (
        ("o", INK, "tau"),
        ("s", _BLUE, "overlap"),
        ("|", QUIET, "chance"),
    ):
        axes.plot([], [], marker, color=colour, ms=5, label=label)
    _rows(axes, [Path(other["run"]).name for other in result["agreement"]])
    axes.axvline(0, color=BAND, lw=0.8, zorder=0)
    axes.legend(fontsize=7, loc="best")
    tops = sorted({other["top"] for other in result["agreement"]})
    axes.set(xlim=(min(-0.05, axes.get_xlim()[0]), 1.05), title="Agreement of rankings")
    axes.set_xlabel(f"tau; overlap of the top {', '.join(map(str, tops))}")


def draw_images(axes: Sequence[Axes], arrays: Mapping[str, Array], count: int = 16) -> None:
    """Draw the most and the least memorised images, outliers framed and named."""
    order = arrays["order"]
    for panel, name, places in ((axes[0], "most", order), (axes[1], "least", order[::-1])):
        images = arrays[name][:count]
        shown, _, height, width = images.shape
        gap = max(1, width // 12)
        strip = np.full((height, shown * (width + gap) - gap, 3), 255, dtype=np.uint8)
        for i, image in enumerate(images):
            left = i * (width + gap)
            strip[:, left : left + width] = image.transpose(1, 2, 0)
            if kind := int(arrays["atypical"][places[i]]):
                frame = ([left - 0.5, left + width - 0.5], [-0.5, height - 0.5])
                x, y = (
                    [frame[0][k] for k in (0, 1, 1, 0, 0)],
                    [frame[1][k] for k in (0, 0, 1, 1, 0)],
                )
                panel.plot(x, y, color="white", lw=3.0, clip_on=False)
                panel.plot(x, y, color="#d1495b", lw=1.6, clip_on=False)
                panel.text(
                    left + width / 2, height, _KINDS[kind], fontsize=6, ha="center", va="top"
                )
        panel.imshow(strip, interpolation="nearest")
        panel.set_title(f"{name.capitalize()} memorised", fontsize=8.5)
        panel.axis("off")


def _groups(result: Mapping[str, Any], arrays: Mapping[str, Array]) -> list[tuple[Array, str, str]]:
    sets, atypical = arrays["sets"], arrays["atypical"]
    if result["sets"]:
        return [(sets == code, _TOLD[name], _FILLS[name]) for code, name in enumerate(_SETS)]
    if not result["atypical"]:
        return [(np.ones(len(sets), dtype=bool), "all images", _BLUE)]
    planted = [
        (atypical == code, _KINDS[code], _BLUE)
        for code in range(1, len(_KINDS))
        if (atypical == code).any()
    ]
    return [*planted, (atypical == 0, "as they were", BAND)]


def _score_label(result: Mapping[str, Any]) -> str:
    form = "ratio" if result["form"] == "ratio" else f"{result['distance']} distance"
    if result["protocol"] == "influence":
        form = "influence"
    return f"memorisation score ({form})"


def _range(groups: Sequence[Array]) -> tuple[float, float]:
    """Where nearly all scores of every group lie: a lone far one would flatten the rest."""
    low = min(float(np.quantile(values, 0.005)) for values in groups)
    high = max(float(np.quantile(values, 0.995)) for values in groups)
    half = max(0.55 * (high - low), 1e-9)
    return (low + high) / 2 - half, (low + high) / 2 + half


def _half(values: Array) -> Array:
    """Half of the interval of means over the last axis; none of fewer than two."""
    over = mean_interval(values, LEVEL, axis=-1)
    return np.where(over.n > 1, over.high - over.mean, 0.0)


def _ends(test: Mapping[str, Any]) -> tuple[float, float] | None:
    """The interval over images and encoder pairs together, where a comparison has one."""
    return None if test.get("low") is None else (test["low"], test["high"])


def _ends_of(scores: Mapping[str, Any], above: str, below: str) -> tuple[float, float] | None:
    for test in scores["comparisons"]:
        if (test["above"], test["below"]) == (above, below):
            return _ends(test)
    return None


def _spread(
    axes: Axes, values: Array, place: float, ends: tuple[float, float] | None = None
) -> None:
    """Pairs of encoders as dots, their mean, and its interval: that given, else over pairs."""
    if len(values) == 0:
        return
    mean, half = values.mean(), _half(values)
    axes.plot(ends or [mean - half, mean + half], [place] * 2, color=INK, lw=1.4)
    axes.plot(values, [place + 0.22] * len(values), "o", color=QUIET, ms=3, mew=0)
    axes.plot(mean, place, "o", color=INK, ms=5)


def _interval_line(
    axes: Axes,
    x: Array,
    values: Array,
    look: Mapping[str, Any],
    ends: Sequence[tuple[float, float] | None] = (),
) -> None:
    """A line of means over pairs with intervals: those given, else over pairs."""
    mean, half = values.mean(axis=1), _half(values)
    errors = np.array([half, half])
    for place, given in enumerate(ends):
        if given is not None:
            errors[:, place] = mean[place] - given[0], given[1] - mean[place]
    axes.errorbar(x, mean, errors, capsize=2, elinewidth=0.9, **look)


def _depth(layer: str) -> tuple[int, int, str]:
    """Places layers in a row, by their names: stages, representation, embedding."""
    ends = {"backbone": 1, "projector": 2}
    return ends.get(layer, 0), len(layer), layer


def _scale_far_apart(axes: Axes, smallest: float) -> None:
    """Linear up to the power of ten above the smallest size, logarithmic from there on."""
    linear = 10.0 ** math.ceil(math.log10(smallest)) if smallest > 0 else 1e-6
    axes.set_yscale("symlog", linthresh=linear, linscale=0.6)
    axes.minorticks_off()


def _legend_above(axes: Axes) -> None:
    """Room for the lines of a legend above what is drawn, on any scale."""
    forward = axes.yaxis.get_transform()
    low, high = forward.transform(np.array(axes.get_ylim()))
    axes.set_ylim(top=float(forward.inverted().transform(high + 0.3 * (high - low))))
    axes.legend(fontsize=7, loc="upper left")


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.6)
    axes.tick_params(axis="y", length=0, labelsize=7.5)


Panel = Callable[[Axes], None]


def draw_memorization(folder: str | os.PathLike[str]) -> Path:
    """Draw what a folder of ``sslsim memorization`` holds."""
    folder = Path(folder)
    result, arrays = read_json(folder / "memorization.json"), read_arrays(folder / "scores.npz")
    panels = _panels(result, arrays)
    rows = (len(panels) + 1) // 2
    tall = 1.6
    with styled():
        figure = Figure(figsize=(WIDTH, 2.5 * rows + tall), layout="constrained")
        parts = figure.subfigures(2, 1, height_ratios=[2.5 * rows, tall], squeeze=False)[:, 0]
        upper, lower = parts
        lone = len(panels) % 2
        layout = [[2 * row, 2 * row + 1] for row in range(rows)]
        if lone:  # the first panel, which holds most, gets the place that is left
            layout = [[0, 0], *([2 * row - 1, 2 * row] for row in range(1, rows))]
        axes = upper.subplot_mosaic(layout)
        for place, panel in enumerate(panels):
            panel(axes[place])
        upper.suptitle(_headline(result), x=0.01, ha="left", fontsize=9)
        draw_images(lower.subplots(2, 1), arrays)
        return save(figure, folder / "memorization.png")


def _panels(result: Mapping[str, Any], arrays: Mapping[str, Array]) -> list[Panel]:
    """What there is to show."""
    panels: list[Panel] = [lambda axes: draw_distributions(axes, result, arrays)]
    if result["sets"]:
        panels.append(lambda axes: draw_comparisons(axes, result))
    group = "candidate" if result["sets"] else "all"
    if result["atypical"] and result["atypical"].get(group):
        panels.append(lambda axes: draw_outliers(axes, result, group))
    if len(result["layers"]) > 1:
        panels.append(lambda axes: draw_layers(axes, result))
    if result.get("curve"):
        panels.append(lambda axes: draw_curve(axes, result))
    if result["agreement"]:
        panels.append(lambda axes: draw_agreement(axes, result))
    return panels


def _headline(result: Mapping[str, Any]) -> str:
    trained = (
        f"{result['method']}, {result['encoder']} on {result['data']}, {result['views']} views"
    )
    return f"{trained}; {result['protocol']}, {result['layers'][0]}".replace("_", " ")
