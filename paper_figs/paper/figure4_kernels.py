"""Figure 4: what tangent kernels predict, against embeddings, within and across methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs import captions
from paper_figs.runs.kernels import draw_matrix
from paper_figs.store import grouped, read_result, read_results
from paper_figs.style import INK, QUIET, WIDTH, entitle, letter, mode_colours
from sslsim.measures.intervals import interval_summary

WITHIN, ACROSS = "kernels", "kernels_across"
COMMAND = "sslsim ntk --run RUN --out DIR/kernels/SOME_NAME (DIR as in --results DIR)"
COMMAND_ACROSS = "sslsim ntk --run RUN RUN ... --out DIR/kernels_across (DIR as in --results DIR)"
_MARKERS = "osD^vP"
_SHOWN = 10  # modes
_ORDER = ("barlow_twins", "simclr", "vicreg")

Kinds = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]  # networks by encoder and method
Looks = Mapping[str, tuple[Any, str]]  # colour and marker of a method


def networks(results: Path) -> list[dict[str, Any]]:
    """Read every network's result under ``kernels``."""
    every = read_results(results, WITHIN, "ntk.json", "kernel", COMMAND)
    return sorted(
        every, key=lambda result: (result["encoder"], _place(result["method"]), result["method"])
    )


def figure(results: Path) -> tuple[Figure, str]:
    """Draw alignments of predicted modes with embeddings, and of methods with each other."""
    every = networks(results)
    across, config = (
        read_result(results, ACROSS, file, COMMAND_ACROSS)
        for file in ("ntk_across.json", "config.json")
    )
    looks = _looks([network["method"] for network in every])
    encoders = grouped(every, lambda network: network["encoder"])
    drawn = Figure(figsize=(WIDTH, 8.4), layout="constrained")
    top, bottom = drawn.subfigures(2, 1, height_ratios=(1.0, 1.8), squeeze=False)[:, 0]
    *modes, spaces = top.subplots(1, len(encoders) + 1, sharey=True)
    for axes, some in zip(modes, encoders.values(), strict=True):
        _draw_modes(axes, some, looks)
    modes[0].set_ylabel("share in the embedding")
    top.legend(*modes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    _draw_subspaces(spaces, every, looks)
    matrix = bottom.subplots()
    draw_matrix(matrix, across, [captions.name_of(name) for name in across["methods"]])
    titles = [*map(captions.name_of, encoders), "span of all modes"]
    for place, (axes, title) in enumerate(zip((*modes, spaces), titles, strict=True)):
        entitle(axes, letter(place), title)
    entitle(matrix, letter(len(modes) + 1), x=-0.15, y=1.03)
    return drawn, _caption(every, len(modes), across, config)


def _place(method: str) -> int:
    return _ORDER.index(method) if method in _ORDER else len(_ORDER)


def _kinds(every: Sequence[dict[str, Any]]) -> Kinds:
    return grouped(every, lambda network: (network["encoder"], network["method"]))


def _looks(methods: Sequence[str]) -> Looks:
    """Colour and marker of each method."""
    known = list(dict.fromkeys(sorted(methods, key=_place)))
    return dict(zip(known, zip(mode_colours(len(known)), _MARKERS, strict=False), strict=False))


def _untrained(network: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Agreement of a network's embedding with the prediction of its kernel before training."""
    untrained = network.get("untrained")
    return None if untrained is None else untrained["kernel"]


def _draw_modes(axes: Axes, every: Sequence[Mapping[str, Any]], looks: Looks) -> None:
    for method, some in grouped(every, lambda network: network["method"]).items():
        colour, marker = looks[method]
        shares = np.array([network["mode_alignment"][:_SHOWN] for network in some])
        modes = np.arange(1, shares.shape[1] + 1)
        if len(shares) > 1:
            axes.fill_between(modes, shares.min(0), shares.max(0), color=colour, alpha=0.15, lw=0)
        name = captions.name_of(method)
        axes.plot(modes, shares.mean(0), color=colour, marker=marker, ms=4, label=name)
        before = [u["mode_alignment"][:_SHOWN] for n in some if (u := _untrained(n))]
        if before:
            axes.plot(modes, np.mean(before, axis=0), color=colour, lw=1.0, ls=(0, (4, 2)))
    _draw_chance(axes, every)
    axes.plot([], [], color=QUIET, lw=1.0, ls=(0, (4, 2)), label="kernel before training")
    axes.set(xlabel="mode of the kernel", ylim=(0, 1.03))


def _draw_subspaces(axes: Axes, every: Sequence[dict[str, Any]], looks: Looks) -> None:
    encoders = list(dict.fromkeys(network["encoder"] for network in every))
    for (encoder, method), some in _kinds(every).items():
        colour, marker = looks[method]
        after = [network["subspace_alignment"] for network in some]
        before = [np.nan if (u := _untrained(n)) is None else u["subspace_alignment"] for n in some]
        side = 0.27 * (list(looks).index(method) - (len(looks) - 1) / 2)
        offsets = 0.06 * (np.arange(len(some)) - (len(some) - 1) / 2)
        places = encoders.index(encoder) + side + offsets
        axes.vlines(places, before, after, color=colour, lw=0.8)
        axes.plot(places, before, marker, ls="", ms=4, color=colour, mfc="white", label="before")
        axes.plot(places, after, marker, ls="", ms=4, color=colour, label="after")
    _draw_chance(axes, every)
    axes.set_xticks(range(len(encoders)), [captions.name_of(name) for name in encoders])
    axes.set(xlim=(-0.6, len(encoders) - 0.4), ylim=(0, 1.03))


def _draw_chance(axes: Axes, every: Sequence[Mapping[str, Any]]) -> None:
    levels = sorted({network["chance"] for network in every})
    for level in levels:
        axes.axhline(level, color=QUIET, lw=1.0, ls=(0, (1, 2)))
    chance = levels[-1]
    axes.text(0.98, chance + 0.02, "chance", transform=axes.get_yaxis_transform(), ha="right",
              color=INK, fontsize=7.5)  # fmt: skip


def _caption(
    every: list[dict[str, Any]], panels: int, across: Mapping[str, Any], config: Mapping[str, Any]
) -> str:
    runs = captions.listed(_told(kind, some) for kind, some in _kinds(every).items())
    letters = f"{letter(0)} to {letter(panels - 1)}" if panels > 1 else letter(0)
    pairs = captions.listed(sorted({network["n_pairs"] for network in every}))
    data = captions.listed(captions.name_of(network["data"]) for network in every)
    configs = [network["config"] for network in every]
    return (
        f"Embeddings predicted by tangent kernels. {letters}: how far each mode that a trained "
        "network's kernel predicts lies in the network's embedding, in the order of the kernel's "
        "eigenvalues; means, and ranges over networks that differ in their seed; dashed, the same "
        "of the kernel that the network had before training. "
        f"{letter(panels)}: the same of the span of all predicted modes: a filled mark a network "
        "after training, an open one before. Dotted, chance for each dimension of embeddings. "
        f"{pairs} held-out pairs of {data}, "
        f"{captions.device(configs)}; subspace alignment: {runs}. {letter(panels + 1)}: alignment "
        f"of {across['modes']}-dimensional "
        f"subspaces of {len(across['networks'])} networks on {across['n_pairs']} pairs of "
        f"{captions.name_of(across['data'])}, {captions.device([config])}: mean over pairs of "
        "networks and, small, the range; embeddings and what kernels predict, "
        f"{'centred' if across['center'] else 'not centred'}; on the diagonal networks of one "
        "method with each other, and untrained ones as a second base line beside chance."
    )


def _told(kind: tuple[str, str], some: Sequence[Mapping[str, Any]]) -> str:
    """Alignments of the networks of a kind, and what training adds, with its interval."""
    after = [network["subspace_alignment"] for network in some]
    words = ", ".join(f"{value:.2f}" for value in after)
    gained = [
        network["subspace_alignment"] - before["subspace_alignment"]
        for network in some
        if (before := _untrained(network)) is not None
    ]
    if gained:
        found = interval_summary(gained, 0.9)
        found["low"] = None if np.isnan(found["low"]) else found["low"]
        words += f"; by training {captions.interval(found, 1.0, 2)}"
    return f"{', '.join(captions.name_of(word) for word in reversed(kind))} ({words})"
