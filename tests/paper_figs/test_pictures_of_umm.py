"""Pictures of fine-tuning hold the numbers of their files."""

import json

import numpy as np

from paper_figs.paper import figure7_umm
from paper_figs.runs import umm
from paper_figs.store import RESULTS
from paper_figs.style import styled
from sslsim.core.files import read_json, write_json

WHOLE = [0, 1]
KEYS = ("linear", "knn", "instance_reduction", "early_distance")


def test_a_run_shows_every_layer_before_and_after_and_its_course(tmp_path, figure_of, same_lines):
    layers = ("layer1", "layer2", "backbone")
    numbers = np.linspace(0.1, 0.95, 24).round(3).reshape(2, 3, 4)
    before, after = (
        {"layers": {
            layer: dict(zip(KEYS, row.tolist(), strict=True))
            for layer, row in zip(layers, rows, strict=True)
        }}
        for rows in numbers
    )  # fmt: skip
    after["layers"]["layer2"]["knn"] = None  # not measured: no mark
    write_json(
        tmp_path / "umm.json",
        {
            "before": before, "after": after, "early": "layer1", "split": "layer2",
            "alignment": "cosine", "convergence": {"converges": False},
        },
    )  # fmt: skip
    course = [(0, 5.0, 0.1), (4, 6.0, 0.3), (8, 7.5, 0.2)]
    lines = [
        json.dumps({"step": step, "coding_rate_reduction": rate, "alignment": distance})
        for step, rate, distance in course
    ]
    (tmp_path / "records.jsonl").write_text("\n".join(lines) + "\n")
    panels = figure_of(umm.draw_umm, tmp_path).get_axes()
    shown = [panels[place] for place in (0, 1, 3, 4)]
    for place, (axes, factor) in enumerate(zip(shown, (100, 100, 1, 1), strict=True)):
        expected = []
        for height in range(3):
            if (height, place) != (1, 1):
                old, new = factor * numbers[:, height, place]
                expected += [([old, new], [height] * 2), ([old], [height]), ([new], [height])]
        same_lines(axes, expected)
        hollow = [
            line.get_xdata()[0] for line in axes.get_lines()
            if line.get_markerfacecolor() == "white"
        ]  # fmt: skip
        np.testing.assert_allclose(hollow, [
            factor * numbers[0, height, place] for height in range(3) if (height, place) != (1, 1)
        ])  # fmt: skip
    steps, rates, distances = zip(*course, strict=True)
    same_lines(panels[2], [(steps, rates)])
    same_lines(panels[5], [(steps, distances)])
    assert panels[2].texts[0].get_text() == "does not converge"


def change_marks(result, key, factor):
    """Lines of a panel of :func:`paper_figs.runs.umm.draw_changes`, from the table."""
    rows = [row for row in result["rows"] if row["control"] != row["setting"] and row["seeds"]]
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    groups = list(dict.fromkeys(row["group"] for row in rows))
    expected = [([0, 0], WHOLE)]
    for row in rows:
        late = row.get("layer", "backbone")
        found = row["measures"].get(key.replace("backbone", late), {}).get("from_control")
        if found is None:
            continue
        apart = 0.6 / len(groups)
        place = settings.index(row["setting"])
        place += apart * groups.index(row["group"]) - 0.3 * (len(groups) - 1) / len(groups)
        values = factor * np.array(found["values"], dtype=float)
        expected += [(values, [place] * len(values)), ([factor * found["mean"]], [place])]
        if found["low"] is not None:
            expected.append(([factor * found["low"], factor * found["high"]], [place] * 2))
    return expected


MEASURES = (
    ("linear_backbone", 100), ("knn_backbone", 100), ("coding_rate_reduction", 1), ("alignment", 1)
)  # fmt: skip


def test_a_sweep_shows_changes_beyond_the_control_with_runs_and_intervals(
    tmp_path, figure_of, same_lines
):
    def row(group, setting, shift, ends=(-0.3, 0.6)):
        measures = {}
        for place, (name, _) in enumerate(MEASURES):
            mean = shift + place
            low, high = (None if end is None else mean + end for end in ends)
            found = {"values": [mean - 0.1, mean + 0.1], "mean": mean, "low": low, "high": high}
            measures[name] = {"from_control": found}
        found = {"group": group, "setting": setting, "control": "control", "seeds": [0, 1]}
        return found | {"measures": measures}

    late = row("simclr", "late", 0.2)  # of the embedding, whose accuracies are shown
    late["layer"] = "projector"
    for name in ("linear", "knn"):
        late["measures"][f"{name}_projector"] = row("", "", 5.5)["measures"][f"{name}_backbone"]
    half = row("simclr", "half", 0.3)
    del half["measures"]["knn_backbone"]  # not measured
    result = {
        "interval_level": 0.8,
        "rows": [
            row("simclr", "full", 0.1), row("byol", "full", -0.4, (None, None)),
            half, late, row("simclr", "control", 9.0),
            {**row("byol", "half", 9.0), "seeds": []},
        ],
    }  # fmt: skip
    write_json(tmp_path / "table.json", result)
    figure = figure_of(umm.draw_sweep, tmp_path)
    for axes, (key, factor) in zip(figure.get_axes(), MEASURES, strict=True):
        same_lines(axes, change_marks(result, key, factor))
    assert "80 % interval" in figure.get_supxlabel()
    assert "(accuracies: representation and embedding)" in figure.get_supxlabel()


def test_figure_7_shows_every_difference_of_every_measure(same_lines):
    with styled():
        figure, _ = figure7_umm.figure(RESULTS)
    result = read_json(RESULTS / "umm_sweep/table.json")
    for axes, (key, factor) in zip(figure.get_axes()[1:], MEASURES, strict=True):
        expected = change_marks(result, key, factor)
        assert len(expected) > 12
        same_lines(axes, expected)


def test_the_table_of_figure_7_holds_before_changes_differences_and_intervals():
    result = read_json(RESULTS / "umm_sweep/table.json")
    rows = iter(figure7_umm.table(result))
    shown = (
        ("linear_backbone", 100, 1), ("knn_backbone", 100, 1), ("linear_projector", 100, 1),
        ("knn_projector", 100, 1), ("coding_rate_reduction", 1, 1), ("alignment", 1, 3),
        ("loss", 1, 3),
    )  # fmt: skip
    cells = {(row["group"], row["setting"]): row["measures"] for row in result["rows"]}
    for group in dict.fromkeys(row["group"] for row in result["rows"]):
        for key, factor, digits in shown:
            full, control = cells[group, "full"][key], cells[group, "control"][key]
            row = next(rows)
            for word, found in zip(
                row[3:], (full["change"], control["change"], full["from_control"]), strict=True
            ):
                numbers = [float(part.strip("[],")) for part in word.replace("\u2212", "-").split()]
                told = [factor * found[name] for name in ("mean", "low", "high")]
                np.testing.assert_allclose(numbers, told, atol=0.51 * 10.0**-digits)
    assert next(rows, None) is None
