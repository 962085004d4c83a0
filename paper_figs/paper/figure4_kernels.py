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

WITHIN, ACROSS = "kernels", "kernels_across"
COMMAND = "sslsim ntk --run RUN --out DIR/kernels/SOME_NAME (DIR as in --results DIR)"
COMMAND_ACROSS = "sslsim ntk --run RUN RUN ... --out DIR/kernels_across (DIR as in --results DIR)"
_MARKERS = "osD^vP"
_ORDER = ("barlow_twins", "simclr", "vicreg")

Kinds = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]  # networks by encoder and method


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
    kinds = _kinds(every)
    drawn = Figure(figsize=(WIDTH, 8.4), layout="constrained")
    top, bottom = drawn.subfigures(2, 1, height_ratios=(1.0, 1.8), squeeze=False)[:, 0]
    modes, spaces = top.subplots(1, 2, width_ratios=(1.5, 1.0))
    _draw_modes(modes, kinds)
    _draw_subspaces(spaces, kinds)
    matrix = bottom.subplots()
    draw_matrix(matrix, across, [captions.name_of(name) for name in across["methods"]])
    for place, axes in enumerate((modes, spaces)):
        entitle(axes, letter(place))
    entitle(matrix, letter(2), x=-0.15, y=1.03)
    return drawn, _caption(every, across, config)


def _place(method: str) -> int:
    return _ORDER.index(method) if method in _ORDER else len(_ORDER)


def _kinds(every: Sequence[dict[str, Any]]) -> Kinds:
    return grouped(every, lambda network: (network["encoder"], network["method"]))


def _looks(
    kinds: Mapping[tuple[str, str], Any],
) -> dict[tuple[str, str], tuple[str, str, Any, str]]:
    """Colour, marker, dash and face: of a method and a network."""
    methods = list(dict.fromkeys(method for _, method in kinds))
    encoders = list(dict.fromkeys(encoder for encoder, _ in kinds))
    colours = mode_colours(len(methods))
    looks = {}
    for encoder, method in kinds:
        colour = colours[methods.index(method)]
        first = encoder == encoders[0]
        looks[encoder, method] = (
            colour,
            _MARKERS[methods.index(method) % len(_MARKERS)],
            "-" if first else (0, (3, 2)),
            colour if first else "white",
        )
    return looks


def _draw_modes(axes: Axes, kinds: Kinds) -> None:
    for kind, (colour, marker, dash, face) in _looks(kinds).items():
        shares = np.array([network["mode_alignment"] for network in kinds[kind]])
        modes = np.arange(1, shares.shape[1] + 1)
        if len(shares) > 1:
            axes.fill_between(modes, shares.min(0), shares.max(0), color=colour, alpha=0.15, lw=0)
        name = ", ".join(captions.name_of(word) for word in reversed(kind))
        axes.plot(
            modes, shares.mean(0), color=colour, marker=marker, ms=4, ls=dash, mfc=face, label=name
        )
    chance = max(network["chance"] for some in kinds.values() for network in some)
    axes.axhline(chance, color=QUIET, lw=1.0, ls=(0, (1, 2)))
    axes.text(1, chance + 0.02, "chance", color=INK, fontsize=7.5)
    axes.set(xlabel="mode of the kernel", ylabel="share in the embedding", ylim=(0, 1.03))
    axes.figure.legend(loc="outside lower center", ncols=3, fontsize=7.5)


def _draw_subspaces(axes: Axes, kinds: Kinds) -> None:
    encoders = list(dict.fromkeys(encoder for encoder, _ in kinds))
    for kind, (colour, marker, _, face) in _looks(kinds).items():
        values = [network["subspace_alignment"] for network in kinds[kind]]
        methods = [method for encoder, method in kinds if encoder == kind[0]]
        middle = encoders.index(kind[0]) + 0.2 * (methods.index(kind[1]) - len(methods) / 2 + 0.5)
        offsets = 0.04 * (np.arange(len(values)) - (len(values) - 1) / 2)
        axes.plot(middle + offsets, values, marker, ms=4.5, color=colour, mfc=face)
    axes.axhline(
        max(network["chance"] for some in kinds.values() for network in some),
        color=QUIET,
        lw=1.0,
        ls=(0, (1, 2)),
    )
    axes.set_xticks(range(len(encoders)), [captions.name_of(name) for name in encoders])
    axes.set(xlim=(-0.5, len(encoders) - 0.5), ylim=(0, 1.03), ylabel="alignment of subspaces")


def _caption(
    every: list[dict[str, Any]], across: Mapping[str, Any], config: Mapping[str, Any]
) -> str:
    kinds = _kinds(every)
    runs = captions.listed(
        f"{captions.name_of(method)}, {captions.name_of(encoder)} ({len(some)} network"
        f"{'s' if len(some) > 1 else ''}, subspace alignment "
        + ", ".join(f"{network['subspace_alignment']:.2f}" for network in some)
        + ")"
        for (encoder, method), some in kinds.items()
    )
    pairs = captions.listed(sorted({network["n_pairs"] for network in every}))
    data = captions.listed(captions.name_of(network["data"]) for network in every)
    configs = [network["config"] for network in every]
    return (
        "Embeddings predicted by tangent kernels. a: how far each mode that a trained network's "
        "kernel predicts lies in the network's embedding, in the order of the kernel's "
        "eigenvalues; means, and ranges over networks that differ in their seed. b: the same of "
        f"the span of all predicted modes, a mark a network. {pairs} held-out pairs of {data}, "
        f"{captions.device(configs)}: {runs}. c: alignment of {across['modes']}-dimensional "
        f"subspaces of {len(across['networks'])} networks on {across['n_pairs']} pairs of "
        f"{captions.name_of(across['data'])}, {captions.device([config])}: mean over pairs of "
        "networks and, small, the range; embeddings and what kernels predict, "
        f"{'centred' if across['center'] else 'not centred'}; on the diagonal networks of one "
        "method with each other, and untrained ones as a second base line beside chance."
    )
