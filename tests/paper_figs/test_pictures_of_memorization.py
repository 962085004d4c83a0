"""Pictures of memorisation, removal and penalties hold the numbers of their files."""

import numpy as np
import pytest
from claims.modes import STUDIES, group_of
from scipy import stats

from paper_figs.paper.figure8_memorization import figure as figure8
from paper_figs.runs import retraining as memorization_penalty
from paper_figs.runs import retraining as memorization_removal
from paper_figs.runs.memorization import modes
from paper_figs.runs.memorization import scores as memorization
from paper_figs.store import RESULTS
from paper_figs.style import styled
from sslsim.core.files import read_arrays, write_arrays, write_json

WHOLE = [0, 1]
SETS = ("candidate", "independent", "shared", "external")


def students(values):
    """Mean and ends of Student's 90 % interval over the last axis."""
    values = np.asarray(values, dtype=float)
    mean, error = values.mean(axis=-1), stats.sem(values, axis=-1)
    low, high = stats.t.interval(0.9, values.shape[-1] - 1, loc=mean, scale=error)
    return mean, low, high


def interval_marks(x, values):
    """Lines and segments of means with intervals: the course, caps, and bars."""
    mean, low, high = students(values)
    bars = [([at, at], ends) for at, *ends in zip(x, low, high, strict=True)]
    return [(x, mean), (x, low), (x, high)], bars


def spread_marks(values, place):
    """A row of pairs of encoders as dots, with their mean and its interval."""
    mean, low, high = students(values)
    return [([low, high], [place] * 2), (values, place + 0.22), ([mean], [place])]


def split_study():
    """Four sets, two layers, two checkpoints, two kinds of outliers, two studies compared."""
    rng = np.random.default_rng(3)

    def means(shift):
        return {name: (rng.random(3) + shift * place).tolist() for place, name in enumerate(SETS)}

    sets = [{"means": means(shift), "offset": 0.25, "comparisons": []} for shift in (-0.3, 0.2)]
    sets[0]["comparisons"] = [
        {"above": "candidate", "below": "shared", "p": 0.034},
        {"above": "external", "below": "independent", "p": 1e-7},
    ]
    arrays = {
        "scores": rng.standard_normal((2, 40)),
        "sets": np.repeat(np.arange(4), 10),
        "atypical": np.zeros(40, dtype=int),
        "order": np.arange(10),
        "most": np.zeros((4, 3, 5, 5), dtype=np.uint8),
        "least": np.ones((4, 3, 5, 5), dtype=np.uint8),
    }
    result = {
        "method": "simclr", "encoder": "convnet", "data": "digits", "views": "crops",
        "protocol": "split", "layers": ["projector", "layer1"], "form": "raw", "distance": "l2",
        "sets": sets,
        "atypical": {"candidate": {
            "any": {"points": 5, "auc": 0.7, "units": [0.6, 0.75, 0.9]},
            "noise": {"points": 2, "auc": 0.2, "units": [0.1, 0.3, 0.25]},
        }},
        "curve": [{"step": 0, "means": means(0.1)}, {"step": 50, "means": means(0.5)}],
        "agreement": [
            {"run": "x/one", "tau": 0.4, "overlap": 0.6, "chance": 0.1, "top": 5},
            {"run": "y/two", "tau": None, "overlap": 0.3, "chance": 0.2, "top": 5},
        ],
    }  # fmt: skip
    return result, arrays


@pytest.fixture
def panels(tmp_path, figure_of):
    """Of the study above, by the beginnings of their titles."""
    result, arrays = split_study()
    write_json(tmp_path / "memorization.json", result)
    write_arrays(tmp_path / "scores.npz", **arrays)
    figure = figure_of(memorization.draw_memorization, tmp_path)
    return {axes.get_title(loc="left").split(",")[0].split(";")[0]: axes
            for axes in figure.get_axes()}  # fmt: skip


def test_distributions_count_the_scores_of_their_set(panels, same_lines):
    _, arrays = split_study()
    axes = panels["Scores by set"]
    groups = [arrays["scores"][0][arrays["sets"] == code] for code in range(4)][::-1]
    strokes = [([values.mean()] * 2, [place, place + 0.85]) for place, values in enumerate(groups)]
    same_lines(axes, [*strokes, ([0.25, 0.25], WHOLE)])  # the offset, dashed
    ridges = [patch.get_data() for patch in axes.patches]
    for place, values in enumerate(groups):
        counts = np.histogram(values, ridges[2 * place].edges)[0].astype(float)
        # All but the farthest lie within; those count at the ends.
        counts[0] += (values < ridges[2 * place].edges[0]).sum()
        counts[-1] += (values > ridges[2 * place].edges[-1]).sum()
        assert counts.sum() == 10
        for filled in ridges[2 * place : 2 * place + 2]:
            np.testing.assert_allclose(filled.values, place + 0.85 * counts / counts.max())


def test_differences_of_sets_have_90_percent_intervals_over_pairs(panels, same_lines):
    result, _ = split_study()
    means = result["sets"][0]["means"]
    rows = (("candidate", "shared"), ("external", "independent"))
    expected = [
        mark
        for place, (above, below) in enumerate(rows)
        for mark in spread_marks(np.subtract(means[above], means[below]), place)
    ]
    axes = panels["Differences of sets"]
    same_lines(axes, [*expected, ([0, 0], WHOLE)])
    assert [text.get_text() for text in axes.texts] == ["p 0.034", "p < 0.0001"]
    assert axes.get_title(loc="left").endswith("3 pairs of encoders")


def test_intervals_over_images_and_pairs_are_drawn_where_a_result_has_them(tmp_path, figure_of):
    result, arrays = split_study()
    for shift, scores in enumerate(result["sets"]):
        scores["comparisons"] = [
            {"above": above, "below": below, "p": 0.2, "low": low - shift, "high": high + shift}
            for above, below, low, high in (
                ("candidate", "shared", -2.0, 3.0),
                ("shared", "independent", -4.0, 5.0),
            )
        ]
    write_json(tmp_path / "memorization.json", result)
    write_arrays(tmp_path / "scores.npz", **arrays)
    panels = figure_of(memorization.draw_memorization, tmp_path).get_axes()
    titles = {axes.get_title(loc="left").split(",")[0]: axes for axes in panels}
    sets = titles["Differences of sets"]
    lines = [line.get_xdata() for line in sets.get_lines() if len(line.get_xdata()) == 2][:2]
    assert [list(ends) for ends in lines] == [[-2.0, 3.0], [-4.0, 5.0]]
    assert "90 % intervals over images and pairs" in sets.get_xlabel()
    bars = [part[:, 1] for bars in titles["By layer"].collections for part in bars.get_segments()]
    expected = [[-3.0, 4.0], [-2.0, 3.0], [-5.0, 6.0], [-4.0, 5.0]]
    np.testing.assert_allclose(sorted(map(list, bars)), sorted(expected))


def test_outliers_show_every_pair_their_mean_and_that_of_mean_scores(panels, same_lines):
    result, _ = split_study()
    expected = [([0.5, 0.5], WHOLE)]
    for place, one in enumerate(result["atypical"]["candidate"].values()):
        expected += [*spread_marks(one["units"], place), ([one["auc"]], [place])]
    same_lines(panels["Outliers among candidates"], expected)


def test_layers_go_from_the_images_on_with_intervals(panels, same_lines, same_segments):
    result, _ = split_study()
    axes = panels["By layer"]
    lines, bars = [(WHOLE, 0)], []
    for shift, (above, below) in (
        (-0.06, ("candidate", "shared")),
        (0.06, ("shared", "independent")),
    ):
        means = [result["sets"][layer]["means"] for layer in (1, 0)]  # layer1, then the embedding
        values = [np.subtract(one[above], one[below]) for one in means]
        marks = interval_marks(np.array([0, 1]) + shift, values)
        lines, bars = lines + marks[0], bars + marks[1]
    same_lines(axes, lines)
    same_segments(axes, bars)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["layer1", "projector"]


def test_over_training_scores_are_less_those_of_shared_images(panels, same_lines, same_segments):
    result, _ = split_study()
    lines, bars = [(WHOLE, 0)], []
    for name in ("candidate", "external", "independent"):
        values = [
            np.subtract(point["means"][name], point["means"]["shared"]) for point in result["curve"]
        ]
        marks = interval_marks(np.array([0, 50]), values)
        lines, bars = lines + marks[0], bars + marks[1]
    same_lines(panels["Over training"], lines)
    same_segments(panels["Over training"], bars)


def test_agreement_shows_tau_overlap_and_chance(panels, same_lines):
    same_lines(
        panels["Agreement of rankings"],
        [
            ([0.4], [0]), ([0.6], [0]), ([0.1, 0.1], [-0.25, 0.25]),
            ([0.3], [1]), ([0.2, 0.2], [0.75, 1.25]), ([0, 0], WHOLE),
        ],
    )  # fmt: skip


def test_without_sets_outliers_lie_apart_and_layers_show_deviations(
    tmp_path, figure_of, same_lines, same_segments
):
    result, arrays = split_study()
    kinds = np.repeat([0, 0, 2, 4], 10)
    result |= {
        "protocol": "subsample", "sets": None, "curve": None, "agreement": [],
        "mean": [0.3, 0.1], "deviation": [0.05, 0.2],
        "atypical": {"all": {"noise": {"points": 9, "auc": 0.9, "units": []}}},
    }  # fmt: skip
    write_json(tmp_path / "memorization.json", result)
    write_arrays(tmp_path / "scores.npz", **arrays | {"atypical": kinds, "sets": 0 * kinds - 1})
    figure = figure_of(memorization.draw_memorization, tmp_path)
    scores, outliers, layers = figure.get_axes()[:3]
    strokes = [
        ([arrays["scores"][0][kinds == kind].mean()] * 2, [place, place + 0.85])
        for place, kind in enumerate((0, 4, 2))
    ]
    same_lines(scores, [*strokes, ([0, 0], WHOLE)])
    same_lines(outliers, [([0.9], [0]), ([0.5, 0.5], WHOLE)])
    same_lines(layers, [([0, 1], [0.1, 0.3]), ([0, 1], [-0.1, 0.25]), ([0, 1], [0.3, 0.35]),
                        (WHOLE, 0)])  # fmt: skip
    same_segments(layers, [([0, 0], [-0.1, 0.3]), ([1, 1], [0.25, 0.35])])


def summary(mean, low, high):
    return {"mean": mean, "low": low, "high": high}


def test_removal_shows_accuracies_differences_and_what_nothing_removed_gives(
    tmp_path, figure_of, same_lines, same_boxes
):
    def points(*rows):
        return [
            {
                "share": share,
                "accuracy": summary(*accuracy),
                "from_random": None if random is None else summary(*random),
            }
            for share, accuracy, random in rows
        ]

    curves = [
        {"which": "most", "points": points((0.1, (0.7, 0.6, 0.75), (-0.1, -0.3, 0.05)),
                                           (0.4, (0.5, None, None), (-0.2, None, None)))},
        {"which": "random", "points": points((0.1, (0.8, 0.7, 0.85), None),
                                             (0.4, (0.7, 0.65, 0.9), None))},
        {"which": "least", "points": points((0.1, (0.9, 0.8, 0.95), (0.1, 0.02, 0.2)))},
    ]  # fmt: skip
    one = {"data": "x/digits", "measure": "linear", "none": summary(0.95, 0.9, 0.99)}
    write_json(tmp_path / "removal.json", {"results": [{**one, "curves": curves}]})
    above, below = figure_of(memorization_removal.draw_removal, tmp_path).get_axes()
    left, right = 1 / 1.06, 1.06
    same_lines(
        above,
        [
            (WHOLE, 95),
            ([10 * left, 40 * left], [70, 50]), ([10 * left] * 2, [60, 75]),
            ([10, 40], [80, 70]), ([10] * 2, [70, 85]), ([40] * 2, [65, 90]),
            ([10 * right], [90]), ([10 * right] * 2, [80, 95]),
        ],
    )  # fmt: skip
    same_boxes(above, [(WHOLE, [90, 99])])
    same_lines(
        below,
        [
            (WHOLE, 0), ([10 * left, 40 * left], [-10, -20]), ([10 * left] * 2, [-30, 5]),
            ([10 * right], [10]), ([10 * right] * 2, [2, 20]),
        ],
    )  # fmt: skip
    assert [tick.get_text() for tick in below.get_xticklabels()] == ["10", "40"]


def test_penalties_show_every_measure_by_target_and_strength(tmp_path, figure_of, same_lines):
    targets, strengths = ["most", "random"], [0.0, 2.0, 8.0]
    names = ("raw_chosen", "ratio_chosen", "alignment_chosen", "linear: digits")
    numbers = iter(np.linspace(-0.4, 0.7, 24).round(4))
    rows = []
    for target in targets:
        for strength in strengths:
            measures = {}
            for name in names:
                mean = next(numbers)
                ends = (None, None) if strength == 8.0 else (mean - 0.1, mean + 0.3)
                measures[name] = {"value": summary(mean, *ends)}
            rows.append({"target": target, "strength": strength, "measures": measures})
    write_json(
        tmp_path / "penalty.json", {"rows": rows, "targets": targets, "strengths": strengths}
    )
    panels = figure_of(memorization_penalty.draw_penalty, tmp_path).get_axes()
    for axes, name in zip(panels, names, strict=True):
        factor, expected = (100, []) if ": " in name else (1, [(WHOLE, 0)])
        if name.startswith("alignment"):  # a loss: zero is no mark
            expected = []
        for number, target in enumerate(targets):
            own = [row["measures"][name]["value"] for row in rows if row["target"] == target]
            places = np.arange(3) + (0.04 if number else -0.04)
            expected.append((places, [factor * one["mean"] for one in own]))
            expected += [
                ([place] * 2, [factor * one["low"], factor * one["high"]])
                for place, one in zip(places, own, strict=True)
                if one["low"] is not None
            ]
        same_lines(axes, expected)
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "2", "8"]


def test_figure_8_counts_the_scores_of_every_set():
    with styled():
        drawn, _ = figure8(RESULTS)
    arrays = read_arrays(RESULTS / "memorization/resnet18/scores.npz")
    ridges = [patch.get_data() for patch in drawn.get_axes()[0].patches]
    assert len(ridges) == 8
    for place, code in enumerate((3, 2, 1, 0)):
        values = arrays["scores"][0][arrays["sets"] == code]
        edges = ridges[2 * place].edges
        places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
        counts = np.bincount(places, minlength=len(edges) - 1)
        heights = (ridges[2 * place].values - place) / 0.85
        np.testing.assert_allclose(heights, counts / counts.max(), atol=1e-12)


def banded(values, factor, shift):
    """Line and intervals of a measure over bands."""
    ends = zip(values["low"], values["high"], strict=True)
    places = [1 + place + shift for place in range(len(values["mean"]))]
    line = list(zip(places, [factor * value for value in values["mean"]], strict=True))
    return line, [
        (at, factor * low, factor * high) for at, (low, high) in zip(places, ends, strict=True)
    ]


@pytest.mark.parametrize("study", STUDIES)
def test_modes_are_drawn_with_the_numbers_of_the_file(study, tmp_path, monkeypatch):
    group = group_of(study)
    write_json(tmp_path / "memorization_modes.json", {"groups": [group]})
    drawn = []
    monkeypatch.setattr(modes, "save", lambda figure, path: drawn.append(figure) or path)
    modes.draw_modes(tmp_path)
    panels = drawn[0].get_axes()
    views = "seen" if group["fixed_views"] else "new"
    keys = ((f"{views}_relative", 1), ("instance_reduction", 1), ("linear_unseen_first", 100))
    states = [name for name in ("before", "control", "full") if name in group["states"]]
    for axes, (key, factor) in zip(panels, keys, strict=False):
        lines = [line for line in axes.get_lines() if len(line.get_xdata()) > 2]
        for place, (state, line) in enumerate(zip(states, lines, strict=True)):
            expected, ends = banded(
                group["states"][state]["bands"][key], factor, 0.12 * (place - 1)
            )
            np.testing.assert_allclose(line.get_xydata(), expected)
            found = axes.collections[place].get_segments()
            np.testing.assert_allclose([(one[0], one[1], two[1]) for one, two in found], ends)
    points = [line.get_xydata()[0] for line in panels[3].get_lines()[1:]]
    expected = [
        100 * group["states"][state]["numbers"][f"linear_unseen_removed_{which}_{share}"]["mean"]
        for state in states
        for share in ("0.25", "0.5")
        for which in ("most", "random", "least", "first", "last")
    ]
    np.testing.assert_allclose([y for _, y in points], expected)
