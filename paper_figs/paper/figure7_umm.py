"""Figure 7: before and after undoing memorisation, against plain training, and its ablations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from paper_figs import captions
from paper_figs.runs.umm import draw_changes, late_layers
from paper_figs.store import read_result
from paper_figs.style import INK, WIDTH, entitle, letter

NAME = "umm_sweep"
COMMAND = "sslsim umm-sweep --run RUN RUN ... --out DIR/umm_sweep (DIR as in --results DIR)"
_MEASURES = (  # key, what it is, factor, digits after the point
    ("linear_backbone", "linear probe, representation, %", 100.0, 1),
    ("knn_backbone", "neighbours, representation, %", 100.0, 1),
    ("linear_projector", "linear probe, embedding, %", 100.0, 1),
    ("knn_projector", "neighbours, embedding, %", 100.0, 1),
    ("coding_rate_reduction", r"$\Delta R$, nats", 1.0, 1),
    ("alignment", "distance to early features", 1.0, 3),
    ("loss", "loss", 1.0, 3),
)
_COLUMNS = ("before", "change", "plain training's", "difference")


def figure(results: Path) -> tuple[Figure, str]:
    """Draw the table of the full mechanism and what every setting changes beyond its control."""
    result, config = (
        read_result(results, NAME, file, COMMAND) for file in ("table.json", "config.json")
    )
    rows = [row for row in result["rows"] if row["setting"] == result["first"] and row["seeds"]]
    if not rows:
        raise ValueError(f"{Path(results) / NAME} holds no run of {result['first']!r}")
    settings = list(dict.fromkeys(row["setting"] for row in result["rows"]))
    heights = [0.55 + 0.19 * (1 + len(_MEASURES)) * len(rows), 1.2 + 0.2 * len(settings)]
    drawn = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    top, bottom = drawn.subfigures(2, 1, height_ratios=heights, squeeze=False)[:, 0]
    _draw_table(top.subplots(), table(result))
    panels = bottom.subplots(1, 4, sharey=True)
    names = {row["group"]: captions.group_of(row["group"]) for row in result["rows"]}
    draw_changes(panels, result, names)
    titles = ("linear, points", "neighbours, points", r"$\Delta R$, nats", "distance")
    for place, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        entitle(axes, letter(place + 1), title, fontsize=8.5)
        axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
        axes.tick_params(axis="x", labelsize=7)
    panels[0].set_yticks(range(len(panels[0].get_yticks())), _readable(panels[0]))
    handles, words = panels[0].get_legend_handles_labels()
    bottom.legend(
        handles,
        words,
        title="change beyond plain training's",
        loc="outside lower center",
        ncols=2,
    )
    return drawn, _caption(result, config, rows)


def table(result: Mapping[str, Any]) -> list[list[str]]:
    """Before and after, in words and numbers."""
    rows = []
    for row in result["rows"]:
        if row["setting"] != result["first"] or not row["seeds"]:
            continue
        control: Mapping[str, Any] = next(
            (
                other["measures"]
                for other in result["rows"]
                if other["group"] == row["group"] and other["setting"] == row["control"]
            ),
            {},
        )
        name = captions.group_of(row["group"]).replace(", ", "\n")
        for key, words, factor, digits in _MEASURES:
            measure = row["measures"].get(key)
            if measure is None:
                continue
            before = measure["before"]
            mean = before["mean"] if isinstance(before, dict) else before
            rows.append(
                [
                    name,
                    words,
                    "-" if mean is None else f"{factor * mean:.{digits}f}",
                    captions.interval(measure["change"], factor, digits),
                    captions.interval(control.get(key, {}).get("change"), factor, digits),
                    captions.interval(measure.get("from_control"), factor, digits),
                ]
            )
            name = ""
    return rows


def _draw_table(axes: Axes, rows: list[list[str]]) -> None:
    axes.set_axis_off()
    places = (0.0, 0.115, 0.405, 0.605, 0.805, 1.0)  # left, left, then right edges
    axes.set(xlim=(0, 1), ylim=(len(rows) + 0.2, -1.4))
    entitle(axes, letter(0))
    for place, words in zip(places[2:], _COLUMNS, strict=True):
        axes.text(place, -0.6, words, ha="right", va="center", fontsize=7.5)
    for height, width in ((-1.2, 1.0), (-0.05, 0.7), (len(rows) - 0.0, 1.0)):
        axes.axhline(height, color=INK, lw=width)
    for line, row in enumerate(rows):
        if row[0] and line:
            axes.axhline(line, color=INK, lw=0.4)
        for column, (place, words) in enumerate(zip(places, row, strict=True)):
            axes.text(
                place,
                line + (0.25 if "\n" in words else 0.5),
                words,
                ha="left" if column < 2 else "right",
                va="top" if "\n" in words else "center",
                fontsize=7.0,
            )


def _readable(axes: Axes) -> list[str]:
    return [tick.get_text().replace("_", " ") for tick in axes.get_yticklabels()]


def _caption(
    result: Mapping[str, Any], config: Mapping[str, Any], rows: list[dict[str, Any]]
) -> str:
    options = config["options"]
    level = captions.percent(result["interval_level"])
    runs = captions.listed(
        f"{captions.group_of(row['group'])} ({captions.seeds(row['seeds'])})" for row in rows
    )
    failed = sum(len(row["failed"]) for row in result["rows"])
    lacking = f" {failed} cells failed and are left out." if failed else ""
    return (
        f"Undoing memorisation: {runs}, layers behind {options['split']} fine-tuned for "
        f"{options['steps']} outer steps of {options['batch']} images, eps "
        f"{captions.number(options['eps'])}, beta {captions.number(options['beta'])}, "
        f"{options['optimizer']} of rate {captions.number(options['outer_lr'])}, "
        f"{captions.device([config])}. a: setting {result['first']!r} before fine-tuning (mean), "
        "its change, that of as many updates of plain training (control) of the same runs, and the "
        f"difference, with {level} intervals over runs; accuracies on {options['test_images']} "
        "held-out images, of representation and embedding; Delta R, distance and loss on "
        f"{options['held_out']} held-out ones. b to e: the difference for every setting: ablations "
        f"and single pressures; ticks are runs, lines {level} intervals, accuracies those of the "
        f"{late_layers(result)}.{lacking}"
    )
