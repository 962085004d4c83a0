"""Memorisation, coding rate reduction and accuracy by mode: ``memorization_modes.png``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from paper_figs.style import BAND, INK, QUIET, save, styled
from sslsim.core.files import read_json

_STATES = {  # label, colour, marker, line: also for grey
    "before": ("before", INK, "o", "-"),
    "control": ("control", QUIET, "s", (0, (4, 2))),
    "full": ("UMM", "#bc5a3c", "^", "-"),
}
_REMOVED = {  # label, colour, marker
    "most": ("most memorising", "#1d3f66", "o"),
    "random": ("random", QUIET, "s"),
    "least": ("least memorising", "#bc5a3c", "^"),
    "first": ("first", INK, "<"),
    "last": ("last", "#6b8f3c", ">"),
}


def draw_modes(folder: str | os.PathLike[str]) -> Path:
    """Draw what ``sslsim memorization-modes`` found, a row a study."""
    result = read_json(Path(folder) / "memorization_modes.json")
    groups = result["groups"]
    with styled():
        figure = Figure(figsize=(10.4, 0.7 + 2.3 * len(groups)), layout="constrained")
        panels = figure.subplots(len(groups), 4, squeeze=False)
        for row, group in zip(panels, groups, strict=True):
            draw_group(row, group)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncol=len(labels))
        removals = [axes.get_legend_handles_labels() for axes in panels[:, 3]]
        handles, labels = max(removals, key=lambda found: len(found[1]))
        if labels:
            figure.legend(handles, labels, loc="outside upper right", ncol=len(labels))
        return save(figure, Path(folder) / "memorization_modes.png")


def draw_group(panels: Sequence[Axes], group: Mapping[str, Any]) -> None:
    """Draw one study: memorisation, Delta R and accuracy by band of modes, and removals."""
    kind = "seen" if group["fixed_views"] else "new"
    shown = {name: look for name, look in _STATES.items() if name in group["states"]}
    panels[0].axhline(0.0, color=QUIET, lw=0.6)
    for place, (state, (label, colour, marker, line)) in enumerate(shown.items()):
        of = group["states"][state]["bands"]
        for axes, key, factor in zip(
            panels, (f"{kind}_relative", "instance_reduction", "linear_unseen_first"),
            (1.0, 1.0, 100.0), strict=False,
        ):  # fmt: skip
            _draw_bands(axes, of[key], factor, (place - 1) * 0.12, label, colour, marker, line)
    title = f"{group['method']}, {group['encoder']}"
    panels[0].set_title(f"{title}: relative\nmemorisation, {kind} views")
    panels[1].set_title(r"$\Delta R$ of instances, nats" + "\nadded by the band")
    panels[2].set_title("linear probe, %\nmodes up to the band")
    for axes in panels[:3]:
        axes.set_xlabel("band of modes, by variance")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    draw_removed(panels[3], group)


def _draw_bands(
    axes: Axes, values: Mapping[str, Any], factor: float, shift: float,
    label: str, colour: str, marker: str, line: Any,
) -> None:  # fmt: skip
    means = factor * np.array(values["mean"], dtype=float)
    places = np.arange(1, len(means) + 1) + shift
    axes.plot(places, means, color=colour, marker=marker, ls=line, ms=3.5, lw=1.1, label=label)
    ends = [np.array(values[end], dtype=float) for end in ("low", "high")]
    if np.isfinite(ends).all():
        axes.vlines(places, factor * ends[0], factor * ends[1], color=colour, lw=0.9)


def draw_removed(axes: Axes, group: Mapping[str, Any]) -> None:
    """Draw what removing modes changes of a linear probe, before fine-tuning and after."""
    shares = _shares(group["states"]["before"]["numbers"])
    if not shares:  # one mode, which cannot be removed
        axes.set_visible(False)
        return
    axes.axhline(0.0, color=QUIET, lw=0.6)
    states = [name for name in _STATES if name in group["states"]]
    labels = []
    for place, (state, share) in enumerate((state, share) for state in states for share in shares):
        of = group["states"][state]["numbers"]
        labels.append(f"{_STATES[state][0]}\n{100 * float(share):g} %")
        for number, (which, (label, colour, marker)) in enumerate(_REMOVED.items()):
            value = of[f"linear_unseen_removed_{which}_{share}"]
            at = place + 0.15 * (number - 2)
            name = label if place == 0 else None
            axes.plot(at, 100 * value["mean"], marker=marker, ms=4, ls="", color=colour, label=name)
            if value["low"] is not None:
                axes.vlines(at, 100 * value["low"], 100 * value["high"], color=colour, lw=0.9)
    for place in range(0, len(labels), 2):
        axes.axvspan(place - 0.5, place + 0.5, color=BAND, alpha=0.3, lw=0)
    axes.set_xticks(range(len(labels)), labels, fontsize=6.5)
    axes.set_title("linear probe without some modes\nless that of all, points")


def _shares(numbers: Mapping[str, Any]) -> list[str]:
    """Shares of the modes that were removed, as the keys name them."""
    start = "linear_unseen_removed_random_"
    return [key.removeprefix(start) for key in numbers if key.startswith(start)]
