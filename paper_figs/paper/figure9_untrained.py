"""Figure 9: how many steps an untrained network allows, and how many it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs import captions
from paper_figs.store import grouped, read_results
from paper_figs.style import INK, QUIET, WIDTH, entitle, letter, mode_colours

NAME = "untrained"
COMMAND = "sslsim ntk --run RUN --batch-norm pairs --out DIR/untrained/NAME (--results DIR)"
_SHOWN = 10  # modes
_MARKERS = "os^Dv"


def networks(results: Path) -> list[dict[str, Any]]:
    """Results of all networks: by encoder, normalisation and gain, the largest gain first."""
    found = read_results(results, NAME, "ntk.json", "kernel", COMMAND)
    return sorted(found, key=lambda result: (*_kind(result), -_gain(result)))


def figure(results: Path) -> tuple[Figure, str]:
    """Draw held-out growth rates by mode, and steps taken beside the steps expected."""
    every = networks(results)
    kinds = grouped(every, _kind)
    drawn = Figure(figsize=(WIDTH, 2.2 + 0.19 * len(every)), layout="constrained")
    rows = (2.4, 0.6 + 0.19 * len(every))
    above, below = drawn.subfigures(2, 1, height_ratios=rows, squeeze=False)[:, 0]
    panels = above.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    gains = sorted({_gain(result) for result in every}, reverse=True)
    looks = dict(
        zip(gains, zip(mode_colours(len(gains)), cycle(_MARKERS), strict=False), strict=True)
    )
    for place, (kind, some) in enumerate(kinds.items()):
        _draw_shares(panels[place], some, looks)
        entitle(panels[place], letter(place), _name(kind))
    panels[0].set_ylabel("growth rate on held-out pairs\n(share of $|h|^2$)")
    handles = [
        panels[0].plot([], [], color=colour, marker=marker, ms=3.5, label=f"{gain:g}")[0]
        for gain, (colour, marker) in looks.items()
    ]
    above.legend(handles=handles, title="gain", loc="outside right upper", fontsize=7)
    axes = below.subplots()
    _draw_steps(axes, every, looks)
    entitle(axes, letter(len(kinds)))
    return drawn, _caption(every)


def _kind(result: Mapping[str, Any]) -> tuple[str, str]:
    return str(result["encoder"]), result["norm"] or "batch"


def _gain(result: Mapping[str, Any]) -> float:
    return 1.0 if result["residual_gain"] is None else float(result["residual_gain"])


def _name(kind: tuple[str, str]) -> str:
    encoder, norm = kind
    return captions.name_of(encoder) + ("" if norm == "batch" else "\nwithout BatchNorm")


def _taken(result: Mapping[str, Any]) -> int:
    return sum(time is not None for time in result["measured_step_times"])


def _draw_shares(
    axes: Axes, some: Sequence[Mapping[str, Any]], looks: Mapping[float, tuple[str, str]]
) -> None:
    for result in some:
        shares = np.array(result["untrained"]["representation"]["shares"][:_SHOWN], dtype=float)
        modes = np.arange(1, len(shares) + 1)
        shown = np.where(shares > 0, shares, np.nan)  # a rate below zero has no place on the axis
        colour, marker = looks[_gain(result)]
        axes.plot(modes, shown, color=colour, marker=marker, ms=3, lw=1.0)
    axes.set(yscale="log", xlabel="mode", ylim=(5e-5, 1.2))
    axes.set_xticks((1, 4, 7, 10))


def _draw_steps(
    axes: Axes, every: Sequence[Mapping[str, Any]], looks: Mapping[float, tuple[str, str]]
) -> None:
    for row, result in enumerate(every):
        expected = result["untrained"]["representation"]
        low, high = expected["in_time"], expected["at_most"]
        axes.plot([low, high], [row, row], color=QUIET, lw=5, alpha=0.4, solid_capstyle="butt")
        axes.plot(low, row, "|", color=INK, ms=9, mew=1.2)
        axes.plot(_taken(result), row, "o", color=looks[_gain(result)][0], mec=INK, ms=5)
    labels = [_label(result, every) for result in every]
    axes.set_yticks(range(len(every)), [label.replace("\n", " ") for label in labels], fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel="steps: expected (tick, at most the bar) and taken (dot)", xlim=(-0.3, 6.5))
    axes.set_xticks(range(7))


def _label(result: Mapping[str, Any], every: Sequence[Mapping[str, Any]]) -> str:
    """A network in words, with its data where they differ."""
    label = f"{_name(_kind(result))}, gain {_gain(result):g}"
    several = len({other["data"] for other in every}) > 1
    return f"{label}, {captions.name_of(result['data'])}" if several else label


def _caption(every: Sequence[Mapping[str, Any]]) -> str:
    expected = [result["untrained"]["representation"] for result in every]
    taken = [_taken(result) for result in every]
    both = list(zip(taken, expected, strict=True))
    same = sum(steps == bounds["in_time"] for steps, bounds in both)
    within = sum(bounds["in_time"] <= steps <= bounds["at_most"] for steps, bounds in both)
    places = len(grouped(every, _kind))
    letters = f"{letter(0)} to {letter(places - 1)}" if places > 1 else letter(0)
    pairs = captions.listed(sorted({bounds["n_pairs"] for bounds in expected}))
    data = captions.listed(captions.name_of(result["data"]) for result in every)
    return (
        f"Modes of untrained networks, and the steps of training them. {letters}: growth rates of "
        "the modes of the representation on held-out pairs, by the gain of the residual branches "
        f"at initialisation ({pairs} pairs of {data}). {letter(places)}: steps detected in "
        "training (dots), and the number expected of the untrained network: the modes that a last "
        "layer on fixed features learns in the time of the run (ticks), at most those that grow on "
        "held-out pairs by two standard errors (bars). "
        f"The tick is right in {same} of {len(every)} runs; {within} of them lie on the bar. "
        f"All ran {captions.device([result['config'] for result in every])}."
    )
