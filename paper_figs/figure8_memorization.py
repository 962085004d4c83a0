"""Figure 8: who is memorised, what for, and whether other encoders memorise the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from paper_figs import captions, memorization_captions
from paper_figs.memorization_overlap import draw_overlaps
from paper_figs.memorization_panels import (
    draw_curve,
    draw_distributions,
    draw_images,
    draw_layers,
    draw_outliers,
)
from paper_figs.memorization_penalty import draw_measure, measures_shown
from paper_figs.memorization_removal import draw_accuracies, label_shares
from paper_figs.memorization_stored import Found, data_name, layer_name, own_and_transferred, read
from paper_figs.style import WIDTH, letter

IMAGES = 16
_TITLES = {
    "scores": "scores by set",
    "layers": "by layer",
    "curve": "over training",
    "outliers": "planted outliers",
}


def figure(results: Path) -> tuple[Figure, str]:
    """Draw scores, what has them high, what removal and penalties do, and how rankings agree.

    Parameters
    ----------
    results : Path
        Folder with ``memorization``, in it the study ``split`` and, as far as they are there,
        ``removal``, ``penalty`` and studies made with ``--compare``.

    Returns
    -------
    Figure
        A panel for everything that is there.
    str
        Caption, which says what is not.

    Raises
    ------
    ValueError
        If the study is missing, is none of four sets, or a file cannot be read.
    """
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
