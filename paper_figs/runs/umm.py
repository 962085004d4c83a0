"""What fine-tuning changed: of one run, layer by layer, and of a sweep, beyond the controls."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs.style import BAND, INK, QUIET, mode_colours, save, styled
from sslsim.core.files import read_json, read_lines

_LAYERS = (  # key, headline, factor
    ("linear", "linear probe, %", 100.0),
    ("knn", "nearest neighbours, %", 100.0),
    ("instance_reduction", r"$\Delta R$ of instances, nats", 1.0),
    ("early_distance", "1 - CKA with {early}", 1.0),
)
_TABLE = (
    ("linear_{layer}", "linear probe, points", 100.0),
    ("knn_{layer}", "nearest neighbours, points", 100.0),
    ("coding_rate_reduction", r"$\Delta R$, nats", 1.0),
    ("alignment", "distance to early features", 1.0),
)
_MARKERS = "osD^vP"
_LATE = {"backbone": "representation", "projector": "embedding"}


def draw_umm(folder: str | os.PathLike[str]) -> Path:
    """Draw what a folder of ``sslsim umm`` holds."""
    folder = Path(folder)
    result, records = read_json(folder / "umm.json"), read_lines(folder / "records.jsonl")
    with styled():
        figure = Figure(figsize=(8.4, 4.6), layout="constrained")
        panels = figure.subplots(2, 3)
        for axes, (key, title, factor) in zip(panels[:, :2].flat, _LAYERS, strict=True):
            _draw_layers(axes, result, key, factor)
            axes.set_title(title.format(early=result["early"]))
        panels[0, 1].tick_params(labelleft=False)
        panels[1, 1].tick_params(labelleft=False)
        _draw_course(panels[:, 2], records, result)
        panels[0, 0].legend(loc="upper left", bbox_to_anchor=(0.0, -0.12), ncol=2)
        return save(figure, folder / "umm.png")


def draw_sweep(folder: str | os.PathLike[str]) -> Path:
    """Draw what a folder of ``sslsim umm-sweep`` holds."""
    folder = Path(folder)
    result = read_json(folder / "table.json")
    settings, groups = _compared(result)
    with styled():
        height = 1.3 + 0.2 * max(len(settings), 1) * max(len(groups), 1)
        figure = Figure(figsize=(8.8, height), layout="constrained")
        draw_changes(figure.subplots(1, len(_TABLE), sharey=True), result)
        level = 100 * result["interval_level"]
        figure.supxlabel(
            f"change beyond the control's (accuracies: {late_layers(result)}); mean over runs with "
            f"{level:g} % interval",
            fontsize=9,
        )
        figure.legend(loc="outside upper right", ncol=max(len(groups), 1))
        return save(figure, folder / "umm_sweep.png")


def draw_changes(
    panels: Sequence[Axes], result: Mapping[str, Any], names: Mapping[str, str] | None = None
) -> None:
    """Draw what every setting changes beyond its control, a measure a panel."""
    settings, groups = _compared(result)
    colours = mode_colours(max(len(groups), 1))
    for axes, (key, title, factor) in zip(panels, _TABLE, strict=True):
        axes.axvline(0.0, color=QUIET, lw=0.8)
        for row in result["rows"]:
            if row["setting"] not in settings or not row["seeds"]:
                continue
            group = groups.index(row["group"])
            offset = (group - (len(groups) - 1) / 2) * 0.6 / len(groups)
            name = key.format(layer=row.get("layer", "backbone"))
            estimate = row["measures"].get(name, {}).get("from_control")
            if estimate is not None:
                place = settings.index(row["setting"]) + offset
                _draw_interval(axes, estimate, factor, place, colours[group], _MARKERS[group % 6])
        axes.set_title(title)
        axes.margins(x=0.1)
        for place in range(0, len(settings), 2):
            axes.axhspan(place - 0.5, place + 0.5, color=BAND, alpha=0.3, lw=0, zorder=0)
    panels[0].set_yticks(range(len(settings)), settings)
    panels[0].set_ylim(len(settings) - 0.5, -0.5)
    for place, (name, colour) in enumerate(zip(groups, colours, strict=False)):
        label = name if names is None else names[name]
        panels[0].plot([], [], _MARKERS[place % 6], ms=4, color=colour, label=label)


def late_layers(result: Mapping[str, Any]) -> str:
    """Layers of the late features of all settings, in words.

    >>> late_layers({"rows": [{"layer": "projector"}, {"layer": "projector"}]})
    'embedding'
    """
    layers = dict.fromkeys(row.get("layer", "backbone") for row in result["rows"])
    return " and ".join(_LATE.get(layer, layer) for layer in layers)


def _compared(result: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Settings that have a control other than themselves, and the groups they were run on."""
    rows = [row for row in result["rows"] if row["control"] != row["setting"] and row["seeds"]]
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    return settings, list(dict.fromkeys(row["group"] for row in rows))


def _draw_interval(
    axes: Axes, estimate: dict[str, Any], factor: float, place: float, colour: str, marker: str
) -> None:
    if estimate["low"] is not None:
        ends = [factor * estimate["low"], factor * estimate["high"]]
        axes.plot(ends, [place, place], color=colour, lw=1.0)
    axes.plot(
        factor * np.array(estimate["values"]), [place] * len(estimate["values"]), "|", color=QUIET
    )
    axes.plot(factor * estimate["mean"], place, marker, ms=4, color=colour)


def _draw_layers(axes: Axes, result: dict[str, Any], key: str, factor: float) -> None:
    layers = list(result["before"]["layers"])
    for place, layer in enumerate(layers):
        before, after = (result[when]["layers"][layer].get(key) for when in ("before", "after"))
        if before is None or after is None:
            continue
        axes.plot([factor * before, factor * after], [place, place], color=INK, lw=1.0)
        first = "before" if place == 0 else None
        second = "after" if place == 0 else None
        axes.plot(factor * before, place, "o", ms=6, mfc="white", mec=INK, mew=0.9, label=first)
        axes.plot(factor * after, place, "o", ms=3, color=INK, label=second)
    split = layers.index(result["split"])
    axes.axhspan(-0.5, split + 0.5, color=BAND, alpha=0.5, lw=0, zorder=0)
    axes.set_yticks(range(len(layers)), layers)
    if (late := result.get("layer")) in layers:  # what was changed
        axes.get_yticklabels()[layers.index(late)].set_fontweight("bold")
    axes.set_ylim(-0.5, len(layers) - 0.5)
    axes.margins(x=0.12)


def _draw_course(panels: Any, records: list[dict[str, Any]], result: dict[str, Any]) -> None:
    steps = [line["step"] for line in records]
    top, below = panels
    top.plot(steps, [line["coding_rate_reduction"] for line in records], color=INK, lw=1.0)
    top.set_title(r"$\Delta R$ of the batches")
    below.plot(steps, [line["alignment"] for line in records], color=INK, lw=1.0)
    below.set_title(f"distance ({result['alignment']}) of the batches")
    below.set_xlabel("outer step")
    estimate = result["convergence"]
    if estimate is not None and not estimate["converges"]:
        top.text(0.02, 0.92, "does not converge", transform=top.transAxes, fontsize=8)
