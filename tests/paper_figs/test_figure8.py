"""Figure 8 shows the numbers that are stored of memorisation, and says what is not stored."""

import re

import numpy as np
import pytest

from paper_figs.figures import figures
from paper_figs.paper.figure8_memorization import figure
from paper_figs.runs.memorization.overlap import chance, overlaps
from paper_figs.store import RESULTS, store
from paper_figs.style import INK, styled
from sslsim.core.files import read_arrays, read_json, write_arrays, write_json

STUDY = RESULTS / "memorization" / "resnet18"
SCORES = ["scores", "sets", "atypical", "order", "most", "least"]
SETS = ("candidate", "independent", "shared", "external")


def drawn(results):
    with styled():
        return figure(results)


def panel(figure, letter):
    found = [
        axes
        for axes in figure.get_axes()
        if axes.get_title(loc="left").startswith(rf"$\bf{{{letter}}}$")
    ]
    assert len(found) == 1
    return found[0]


def letters_of(figure):
    titles = " ".join(axes.get_title(loc="left") for axes in figure.get_axes())
    return "".join(re.findall(r"bf\{(\w)\}", titles))


def summary(*values):
    mean = float(np.mean(values))
    return {"mean": mean, "low": mean - 0.01, "high": mean + 0.02, "effect": 1.0, "values": values}


def curve(which, accuracies, differences):
    points = [
        {
            "share": share,
            "removed": int(100 * share),
            "accuracy": summary(accuracy),
            "from_none": summary(0.0),
            "from_random": None if difference is None else summary(difference),
        }
        for share, accuracy, difference in zip((0.1, 0.3), accuracies, differences, strict=True)
    ]
    return {"which": which, "points": points}


REMOVAL = {
    "data": "digits",
    "pool": 100,
    "seeds": [5, 6],
    "interval_level": 0.9,
    "results": [
        {"data": "cifar10", "measure": "linear", "none": None,
         "curves": [curve("most", (0.31, 0.32), (None, None))]},
        {"data": "digits", "measure": "fine-tuned", "none": None, "curves": []},
        {"data": "digits", "measure": "linear", "none": summary(0.9),
         "curves": [curve("most", (0.81, 0.72), (-0.03, -0.04)),
                    curve("random", (0.84, 0.76), (None, None)),
                    curve("least", (0.86, 0.78), (0.02, 0.025))]},
    ],
}  # fmt: skip
MEASURES = ("raw_above_external", "ratio_above_external", "alignment_candidate", "linear: digits")
PENALTY = {
    "data": "digits",
    "steps": 77,
    "encoder": "convnet",
    "seeds": [5, 6],
    "interval_level": 0.9,
    "targets": ["all"],
    "strengths": [0.0, 10.0],
    "rows": [
        {"target": "all", "strength": strength,
         "measures": {name: {"value": summary(strength / 1000 + 0.1 * place)}
                      for place, name in enumerate(MEASURES)}}
        for strength in (0.0, 10.0)
    ],
}  # fmt: skip


KINDS = ("any", "inverted", "noise", "collage", "colours")


def planted_outliers():
    """A study with outliers: all numbers differ between forms and kinds."""
    result = read_json(STUDY / "memorization.json")
    kinds = {kind: {"points": 100 + place} for place, kind in enumerate(KINDS)}
    for shift, form in enumerate(("raw", "ratio")):
        found = {
            kind: {"points": 100 + place, "mean": 0.3 + 0.1 * place + 0.03 * shift,
                   "low": 0.2 + 0.1 * place, "high": 0.4 + 0.1 * place + 0.02 * shift}
            for place, kind in enumerate(KINDS)
        }  # fmt: skip
        result["forms"][form]["atypical"] = [{"candidate": found}]
    return result | {"atypical": {"candidate": kinds}}


@pytest.fixture
def alone(tmp_path):
    """Results with the study alone."""
    files = ["memorization.json", "scores.npz"]
    store(STUDY, "memorization/resnet18", files, results=tmp_path / "R")
    return tmp_path / "R"


@pytest.fixture
def whole(alone):
    """With another network, outliers, removal, penalty, and studies compared with the first."""
    folder = alone / "memorization"
    config = read_json(STUDY / "config.json")
    for name, result in (("removal", REMOVAL), ("penalty", PENALTY)):
        (folder / name).mkdir()
        write_json(folder / name / f"{name}.json", result)
        write_json(folder / name / "config.json", config)
    store(RESULTS / "memorization" / "convnet", "memorization/convnet", ["memorization.json"],
          results=alone)  # fmt: skip
    store(STUDY, "memorization/outliers", ["scores.npz"], results=alone)
    arrays = read_arrays(folder / "outliers" / "scores.npz")
    arrays["atypical"] = np.arange(len(arrays["atypical"]), dtype=np.int8) % 5
    arrays["most"] = arrays["most"][::-1].copy()
    write_arrays(folder / "outliers" / "scores.npz", **arrays)
    write_json(folder / "outliers" / "memorization.json", planted_outliers())
    for place, (name, changed, run) in enumerate(
        (
            ("views_weak", {"views": "weak"}, "resnet18"),
            ("seeds", {"seed": 10}, "resnet18"),
            ("closed", {"protocol": "closed-form"}, "convnet"),
            ("vicreg", {"method": "vicreg", "seed": 10}, "resnet18"),
        )
    ):
        options = config["options"] | changed
        (folder / name).mkdir()
        write_json(folder / name / "config.json", config | {"options": options})
        other = {"run": run, "method": "simclr", "encoder": "resnet18", "protocol": "split"}
        other |= {"points": 300, "top": 50, "tau": 0.9, "overlap": 0.2, "layer": "projector"}
        own = {"layer": "backbone", "tau": 0.1 * place, "correlation": 0.11 * place,
               "corrected": 0.2 * place, "corrected_low": 0.2 * place - 0.1,
               "corrected_high": None if place == 0 else 0.2 * place + 0.3}  # fmt: skip
        if place == 0:
            own |= {"corrected": None, "corrected_low": None}
        other["by_layer"] = [{"layer": "projector", "tau": 0.9}, own]
        write_json(folder / name / "memorization.json", {"agreement": [other], "protocol": "any"})
    return alone


def test_scores_and_layers_are_those_stored(whole):
    shown, caption = drawn(whole)
    result, arrays = read_json(STUDY / "memorization.json"), read_arrays(STUDY / "scores.npz")
    assert result["layers"][0] == "backbone"
    strokes = [
        line.get_xdata()[0] for line in panel(shown, "a").get_lines() if line.get_linewidth() == 1.6
    ]
    means = [arrays["scores"][0][arrays["sets"] == code].mean() for code in range(4)]
    np.testing.assert_allclose(strokes[::-1], means)

    layers = panel(shown, "b")
    words = [tick.get_text() for tick in layers.get_xticklabels()]
    assert words == ["layer1", "layer2", "layer3", "representation", "embedding"]
    names = ("layer1", "layer2", "layer3", "backbone", "projector")
    for label, study, drawn_layers in (
        ("ResNet-18", "resnet18", names),
        ("convnet", "convnet", ("layer1", "layer2", "backbone", "projector")),
    ):
        stored = read_json(RESULTS / "memorization" / study / "memorization.json")
        found = dict(zip(stored["layers"], stored["forms"]["ratio"]["sets"], strict=True))
        expected = [found[layer]["comparisons"][0] for layer in drawn_layers]
        (line,) = [line for line in layers.get_lines() if line.get_label() == label]
        assert line.get_ydata().tolist() == [one["difference"] for one in expected]
        places = [names.index(layer) for layer in drawn_layers]
        np.testing.assert_allclose(line.get_xdata(), places, atol=0.1)
        ends = [list(one.get_ydata()) for one in layers.get_lines() if len(one.get_xdata()) == 2]
        assert all([one["low"], one["high"]] in ends for one in expected)

    test = result["sets"][0]["comparisons"][0]
    ends = f"{test['difference']:.2f} [{test['low']:.2f}, {test['high']:.2f}]"
    assert f"{ends} (90 % interval over images" in caption
    assert "100 candidates" in caption
    assert "seeds 0, 1 and 2" in caption


def test_outliers_are_shown_in_both_forms_with_their_intervals(whole):
    shown, _ = drawn(whole)
    axes, result = panel(shown, "c"), planted_outliers()
    told = [tick.get_text() for tick in axes.get_yticklabels()]
    assert told == [f"{kind} ({100 + place})" for place, kind in enumerate(KINDS)]
    for form, marker in (("raw", "o"), ("ratio", "D")):
        found = result["forms"][form]["atypical"][0]["candidate"]
        dots = [
            (round(line.get_ydata()[0]), line.get_xdata()[0])
            for line in axes.get_lines()
            if line.get_marker() == marker and len(line.get_xdata())
        ]
        assert dots == [(place, found[kind]["mean"]) for place, kind in enumerate(KINDS)]
        ends = [list(line.get_xdata()) for line in axes.get_lines() if len(line.get_xdata()) == 2]
        assert all([one["low"], one["high"]] in ends for one in found.values())


def test_strips_hold_the_images_of_the_highest_and_the_lowest_scores(whole):
    shown, _ = drawn(whole)
    arrays = read_arrays(whole / "memorization" / "outliers" / "scores.npz")
    axes = panel(shown, "e")
    strips = [axes, shown.get_axes()[shown.get_axes().index(axes) + 1]]
    for one, name, order in zip(
        strips, ("most", "least"), (arrays["order"], arrays["order"][::-1]), strict=True
    ):
        (image,) = one.get_images()
        pixels = np.asarray(image.get_array())
        width = arrays[name].shape[-1]
        pitch = width + max(1, width // 12)
        for place in range(16):
            part = pixels[:, place * pitch : place * pitch + width]
            np.testing.assert_array_equal(part, arrays[name][place].transpose(1, 2, 0))
        kinds = arrays["atypical"][order[:16]]
        assert len(one.texts) == np.count_nonzero(kinds) > 0


def test_what_is_not_stored_is_left_out_and_told(whole, alone):
    _, caption = drawn(whole)
    assert "not drawn" not in caption
    for path in (whole / "memorization").glob("*/*.json"):
        if path.parent.name != "resnet18":
            path.unlink()
    shown, caption = drawn(whole)
    assert letters_of(shown) == "abc"
    told = "planted outliers, studies to compare with, removal and the penalty on alignment."
    assert caption.endswith(f"not drawn: {told}")


def test_removal_shows_every_accuracy_the_data_set_of_the_study_first(whole):
    shown, caption = drawn(whole)
    axes = panel(shown, "f")
    assert axes.get_title(loc="left").endswith("digits")
    (other,) = [one for one in shown.get_axes() if one.get_title(loc="left") == "CIFAR-10"]
    for one, result in ((axes, REMOVAL["results"][2]), (other, REMOVAL["results"][0])):
        lines = {line.get_label(): line for line in one.get_lines()}
        for found in result["curves"]:
            word = "random" if found["which"] == "random" else f"{found['which']} memorised"
            accuracies = [100 * point["accuracy"]["mean"] for point in found["points"]]
            np.testing.assert_array_equal(lines[word].get_ydata(), accuracies)
            ends = [100 * found["points"][0]["accuracy"][end] for end in ("low", "high")]
            assert any(list(line.get_ydata()) == ends for line in one.get_lines())
    told = "-4.0 points [-5.0, -2.0] without the 30 % most memorised"
    assert told.replace("-", "\N{MINUS SIGN}") in caption
    assert "+2.5 points [1.5, 4.5] without the 30 % least memorised" in caption


def test_the_penalty_shows_scores_and_accuracy_by_strength(whole):
    shown, caption = drawn(whole)
    above = panel(shown, "g")
    below = shown.get_axes()[shown.get_axes().index(above) + 1]
    for axes, name, factor in ((above, MEASURES[1], 1.0), (below, MEASURES[3], 100.0)):
        stored = [factor * row["measures"][name]["value"]["mean"] for row in PENALTY["rows"]]
        (line,) = [one for one in axes.get_lines() if one.get_marker() == "o"]
        np.testing.assert_allclose(line.get_ydata(), stored)
    assert [tick.get_text() for tick in below.get_xticklabels()] == ["0", "10"]
    assert "77 updates of a convnet" in caption


def test_rankings_are_compared_row_by_row_with_chance(whole):
    rows = overlaps(whole / "memorization", "resnet18")
    labels = ["other seeds", "VICReg", "weak views"]
    assert [one.label for one in rows] == labels
    shown, _ = drawn(whole)
    left = panel(shown, "d")
    right = shown.get_axes()[shown.get_axes().index(left) + 1]
    assert [tick.get_text() for tick in left.get_yticklabels()] == labels

    def dots(axes, colour):
        return {
            line.get_ydata()[0]: line.get_xdata()[0]
            for line in axes.get_lines()
            if line.get_marker() == "o" and line.get_markerfacecolor() == colour
        }

    assert dots(left, INK) == {0: 0.1 * 1, 1: 0.1 * 3, 2: 0.0}
    assert dots(right, "white") == {0: 0.11, 1: 0.11 * 3, 2: 0.0}
    assert dots(right, INK) == {0: 0.2, 1: 0.2 * 3}
    ends = [tuple(line.get_xdata()) for line in right.get_lines() if len(line.get_xdata()) == 2]
    assert {(0.2 - 0.1, 0.2 + 0.3), (0.2 * 3 - 0.1, 0.2 * 3 + 0.3)} <= set(ends)
    for bar in left.patches:
        np.testing.assert_allclose((bar.get_x(), bar.get_x() + bar.get_width()), chance(300))
    between = read_json(STUDY / "memorization.json")["sets"][0]["agreement_of_pairs"]
    assert between in [line.get_xdata()[0] for line in left.get_lines()]


def test_ranges_of_chance_hold_nine_in_ten_random_rankings():
    rng = np.random.default_rng(0)
    n, draws = 40, 400
    upper = np.triu_indices(n, 1)
    taus = []
    for _ in range(draws):
        ranks = rng.permutation(n)
        taus.append(np.sign(ranks[upper[1]] - ranks[upper[0]]).mean())
    low, high = chance(n)
    inside = np.mean((low <= np.array(taus)) & (np.array(taus) <= high))
    assert abs(inside - 0.9) < 4 * np.sqrt(0.09 / draws)


def test_a_study_without_sets_is_refused_in_one_line(alone):
    path = alone / "memorization" / "resnet18" / "memorization.json"
    write_json(path, read_json(path) | {"sets": None, "protocol": "subsample"})
    with pytest.raises(
        ValueError, match=r"resnet18 is of protocol subsample; expected split"
    ) as told:
        figures([8], alone, alone.parent / "out")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["resnet18", "outliers"])
def test_what_is_installed_has_no_more_than_is_drawn(name):
    arrays = read_arrays(RESULTS / "memorization" / name / "scores.npz")
    assert sorted(arrays) == sorted(SCORES)
    assert arrays["scores"].dtype == np.float32


def test_the_installed_figure_says_where_it_was_computed_and_has_no_gaps():
    shown, caption = drawn(RESULTS)
    letters = letters_of(shown)
    assert letters == "abcdefg"
    assert "On a CPU" in caption
    told = " ".join(caption.split())
    assert told.count("90 % intervals over images and encoder pairs together") == 2
    assert "grey, 90 % of rankings at random" in told
    for place, letter in enumerate(letters):
        assert f" {letter}: " in caption, place
