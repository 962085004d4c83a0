"""What modes mean: ``modes.png``, ``mode_images.png`` and ``mode_overlap.png``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs.style import BAND, INK, QUIET, WIDTH, entitle, mode_colours, save, styled
from sslsim.core.files import read_arrays, read_json

_MARKERS = "os^Dv"
_CURVES = {
    "first": ("first k modes", INK, "-", "o"),
    "random": ("k random directions", QUIET, "--", "s"),
    "untrained": ("first k, untrained", QUIET, ":", "^"),
    "without": ("without the first k", INK, "--", "v"),
}


def draw_modes(folder: str | os.PathLike[str], group: int = 0) -> Path:
    """Draw what a folder of ``sslsim modes`` holds; ``group`` is that of ``modes.png``."""
    folder = Path(folder)
    result, arrays = read_json(folder / "modes.json"), read_arrays(folder / "modes.npz")
    path = draw_meaning(folder, group)
    _draw_ends(result, arrays["ends"], folder / "mode_images.png")
    if result["overlap"]:
        draw_overlap(folder)
    return path


def draw_meaning(folder: str | os.PathLike[str], group: int = 0) -> Path:
    """Draw what the modes of a group follow in an image, and the accuracy of the first of them."""
    result = read_json(Path(folder) / "modes.json")
    groups = result["groups"]
    if not 0 <= group < len(groups):
        raise ValueError(f"group is {group}; {folder} holds {len(groups)}, counted from 0")
    return _draw_meaning(result, groups[group], Path(folder) / "modes.png")


def _draw_meaning(result: Mapping[str, Any], group: Mapping[str, Any], path: Path) -> Path:
    dropped = result["augmentations"]
    panels = [1.0, *([0.8] if group["accuracy"] else []), *([1.0] if dropped else [])]
    seeds = len(group["seeds"])
    with styled():
        figure = Figure(figsize=(3.4 * sum(panels), 3.6), layout="constrained")
        places = iter(np.atleast_1d(figure.subplots(1, len(panels), width_ratios=panels)))
        axes = next(places)
        sizes, significant = np.array(group["correlation"]["mean"]), np.array(group["significant"])
        modes = [str(mode + 1) for mode in range(len(sizes))]
        marks = significant == seeds
        _heat(axes, sizes, modes, group["statistics"], ["*" if m else "" for m in marks.ravel()])
        axes.set(ylabel="mode")
        entitle(axes, "a", f"correlation, {group['label']}")
        letters = iter("bc")
        if group["accuracy"]:
            axes = next(places)
            _accuracies(axes, group)
            entitle(axes, next(letters), "linear probe")
        if dropped:
            axes = next(places)
            place = min(2, len(dropped["counts"]) - 1)
            shares = np.array([row["explained"][place] for row in dropped["rows"]])
            texts = [f"{value:.2f}" for value in shares.ravel()]
            names = [row["without"] for row in dropped["rows"]]
            _heat(axes, shares, names, dropped["statistics"], texts)
            axes.set(ylabel="views without")
            count = dropped["counts"][place]
            entitle(axes, next(letters), f"share, {count} linear modes")
        return save(figure, path)


def _heat(axes: Axes, values: Any, rows: list[str], columns: list[str], texts: list[str]) -> None:
    axes.imshow(values, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    for ((row, column), value), text in zip(np.ndenumerate(values), texts, strict=True):
        ink = "white" if value > 0.55 else INK
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=6.5)


def _accuracies(axes: Axes, group: Mapping[str, Any]) -> None:
    counts, most = np.array(group["counts"]), 0.0
    for key, (label, colour, style, marker) in _CURVES.items():
        mean, low, high = (
            100 * np.array(group["accuracy"].get(key, {}).get(end, []), dtype=np.float64)
            for end in ("mean", "low", "high")
        )
        if not np.isfinite(mean).any():  # of one mode, none is left without the first
            continue
        most = max(most, np.nanmax(mean))
        axes.plot(counts, mean, color=colour, ls=style, marker=marker, ms=4, label=label)
        axes.fill_between(counts, low, high, color=BAND, alpha=0.6, lw=0, zorder=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(k) for k in counts])
    axes.set(xlabel="number k of modes", ylabel="accuracy (%)", ylim=(0, 1.25 * most))
    axes.legend(fontsize=7)


def _draw_ends(result: Mapping[str, Any], ends: Any, path: Path) -> Path:
    """Images at both ends of the first modes: a row a mode, the lowest values on the left."""
    shown, _, each = ends.shape[:3]
    with styled():
        figure = Figure(figsize=(WIDTH, 0.45 * shown + 0.5))
        axes = figure.add_axes((0.08, 0.02, 0.9, 0.86))
        rows = [
            np.concatenate([_strip(mode[0]), _gap(mode), _strip(mode[1][::-1])], axis=1)
            for mode in ends
        ]
        picture = np.concatenate(rows, axis=0)
        axes.imshow(picture, aspect="auto", interpolation="nearest", cmap="gray", vmin=0, vmax=255)
        height = picture.shape[0] / shown
        axes.set_yticks(
            [(i + 0.5) * height for i in range(shown)], [str(i + 1) for i in range(shown)]
        )
        axes.set_xticks([])
        axes.tick_params(length=0)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.set(ylabel="mode")
        label = result["groups"][0]["label"]
        axes.set_title(f"{label}: {each} lowest (left) and {each} highest images of every mode")
        return save(figure, path)


def _strip(images: Any) -> Any:
    """Images (n, c, h, w) side by side, (h, n w, 3)."""
    across = np.concatenate(list(images.transpose(0, 2, 3, 1)), axis=1)
    return np.repeat(across, 3, axis=2) if across.shape[2] == 1 else across


def _gap(mode: Any) -> Any:
    height, width = mode.shape[-2:]
    return np.full((height, max(width // 2, 1), 3), 255, dtype=np.uint8)


def draw_overlap(folder: str | os.PathLike[str]) -> Path:
    """Draw overlap of groups at the number of modes in the middle, and of each by number."""
    overlap = read_json(Path(folder) / "modes.json")["overlap"]
    counts, labels = overlap["counts"], overlap["labels"]
    mean = np.array(overlap["mean"], dtype=np.float64)
    known = [place for place in range(len(counts)) if np.isfinite(mean[place]).any()]
    place = known[min(2, len(known) - 1)]
    with styled():
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
        texts = ["-" if np.isnan(v) else f"{v:.2f}" for v in mean[place].ravel()]
        _heat(left, mean[place], labels, labels, texts)
        entitle(left, "a", f"overlap of the first {counts[place]} modes")
        colours = mode_colours(len(labels))
        for row, (label, colour) in enumerate(zip(labels, colours, strict=True)):
            mark = _MARKERS[row % len(_MARKERS)]
            right.plot(counts, mean[:, row, row], color=colour, marker=mark, ms=4, label=label)
        right.plot(counts, overlap["chance"], color=QUIET, ls=":", label="chance")
        right.set_xscale("log", base=2)
        right.set_xticks(counts, [str(k) for k in counts])
        right.set(xlabel="number k of modes", ylim=(0, 1.02))
        right.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        entitle(right, "b", "between networks of one kind")
        return save(figure, Path(folder) / "mode_overlap.png")
