"""Figure 8 shows the numbers that are stored of memorisation, and says what is not stored."""

import re

import numpy as np
import pytest

from paper_figs.figures import figures
from paper_figs.paper.figure8_memorization import figure
from paper_figs.runs.memorization_overlap import chance, overlaps
from paper_figs.store import RESULTS, store
from paper_figs.style import styled
from sslsim.core.files import read_arrays, read_json, write_json

SPLIT = RESULTS / "memorization" / "split"
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


@pytest.fixture
def alone(tmp_path):
    """Results with the study alone."""
    files = ["memorization.json", "scores.npz"]
    store(SPLIT, "memorization/split", files, results=tmp_path / "R")
    return tmp_path / "R"


@pytest.fixture
def whole(alone):
    """With removal, penalty, and studies compared with the first and with one another."""
    config = read_json(SPLIT / "config.json")
    for name, result in (("removal", REMOVAL), ("penalty", PENALTY)):
        (alone / "memorization" / name).mkdir()
        write_json(alone / "memorization" / name / f"{name}.json", result)
        write_json(alone / "memorization" / name / "config.json", config)
    for place, (name, changed, run) in enumerate(
        (
            ("views_weak", {"views": "weak"}, "split"),
            ("seeds", {"seed": 10}, "split"),
            ("closed", {"protocol": "closed-form"}, "subsample"),
            ("vicreg", {"method": "vicreg", "seed": 10}, "split"),
        )
    ):
        options = config["options"] | changed
        folder = alone / "memorization" / name
        folder.mkdir()
        write_json(folder / "config.json", config | {"options": options})
        other = {"run": run, "method": "simclr", "encoder": "convnet", "protocol": "split"}
        if run == "subsample":
            other["protocol"] = run
        other |= {"points": 300, "top": 50, "tau": 0.1 * place, "overlap": 0.2 + 0.1 * place}
        write_json(folder / "memorization.json", {"agreement": [other], "protocol": "any"})
    return alone


def test_scores_layers_curve_and_outliers_are_those_stored(alone):
    shown, caption = drawn(alone)
    result, arrays = read_json(SPLIT / "memorization.json"), read_arrays(SPLIT / "scores.npz")
    strokes = [
        line.get_xdata()[0] for line in panel(shown, "a").get_lines() if line.get_linewidth() == 1.6
    ]
    means = [arrays["scores"][0][arrays["sets"] == code].mean() for code in range(4)]
    np.testing.assert_allclose(strokes[::-1], means)

    layers = panel(shown, "b")
    words = [tick.get_text() for tick in layers.get_xticklabels()]
    assert words == ["layer1", "layer2", "representation", "embedding"]
    assert result["layers"] == ["projector", "backbone", "layer2", "layer1"]
    lines = [line for line in layers.get_lines() if line.get_label().startswith("_")]
    lines = [line.get_ydata() for line in lines if line.get_linestyle() != "None"]
    stored = [np.mean(one["means"]["candidate"]) - np.mean(one["means"]["shared"])
              for one in result["sets"]][::-1]  # fmt: skip
    assert any(len(line) == 4 and np.allclose(line, stored) for line in lines)
    assert layers.get_yscale() == "symlog"

    points = result["curve"]
    for name in ("candidate", "external", "independent"):
        stored = [np.mean(np.subtract(p["means"][name], p["means"]["shared"])) for p in points]
        lines = [line for line in panel(shown, "c").get_lines() if len(line.get_xdata()) > 2]
        (found,) = [line for line in lines if np.allclose(line.get_ydata(), stored, atol=1e-12)
                    and line.get_linestyle() != "None"]  # fmt: skip
        assert found.get_xdata().tolist() == [point["step"] for point in points]

    found = result["atypical"]["candidate"]
    places = {
        line.get_ydata()[0]: line.get_xdata()[0]
        for line in panel(shown, "d").get_lines()
        if line.get_marker() == "D"
    }
    assert [places[place] for place in range(len(found))] == [k["auc"] for k in found.values()]
    told = [tick.get_text() for tick in panel(shown, "d").get_yticklabels()]
    assert told == [f"{kind} ({one['points']})" for kind, one in found.items()]

    test = result["sets"][0]["comparisons"][0]
    assert f"{test['difference']:.3g} ± {test['standard_error']:.2g}" in caption
    assert "300 candidates" in caption
    assert "seeds 0, 1, 2, 3 and 4" in caption


def test_strips_hold_the_images_of_the_highest_and_the_lowest_scores(alone):
    shown, _ = drawn(alone)
    arrays = read_arrays(SPLIT / "scores.npz")
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
        assert len(one.texts) == np.count_nonzero(kinds)
    scores = arrays["scores"][0][arrays["order"]]
    assert (np.diff(scores) <= 0).all()
    assert len(scores) == np.count_nonzero(arrays["sets"] == SETS.index("candidate"))


@pytest.mark.slow
def test_what_is_not_stored_is_left_out_and_told(alone, whole):
    config = read_json(whole / "memorization" / "seeds" / "config.json")
    assert config["options"]["seed"] == 10
    _, caption = drawn(whole)
    assert "not drawn" not in caption
    for name in ("removal", "penalty"):
        (whole / "memorization" / name / f"{name}.json").unlink()
    for path in (whole / "memorization").glob("*/memorization.json"):
        if path.parent.name != "split":
            path.unlink()
    split = whole / "memorization" / "split"
    result = read_json(split / "memorization.json")
    result |= {"curve": None, "atypical": None, "agreement": []}
    write_json(split / "memorization.json", result)
    shown, caption = drawn(whole)
    assert letters_of(shown) == "abc"
    told = "removal, the penalty on alignment and studies to compare with."
    assert caption.endswith(f"not drawn: its curve over training, planted outliers, {told}")


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
    assert "77 updates" in caption


def test_rankings_are_compared_row_by_row_with_chance(whole):
    rows = overlaps(whole / "memorization")
    labels = ["other seeds", "VICReg", "weak views", "closed form, subsampling"]
    assert [one.label for one in rows] == labels
    shown, _ = drawn(whole)
    left = panel(shown, "h")
    right = shown.get_axes()[shown.get_axes().index(left) + 1]
    assert [tick.get_text() for tick in left.get_yticklabels()] == labels
    for axes, values, which in (
        (left, [0.1, 0.3, 0.0, 0.2], 0),
        (right, [0.3, 0.5, 0.2, 0.4], 1),
    ):
        dots = {line.get_ydata()[0]: line.get_xdata()[0] for line in axes.get_lines()
                if line.get_marker() == "o"}  # fmt: skip
        np.testing.assert_allclose([dots[place] for place in range(4)], values)
        for bar in axes.patches:
            ends = (bar.get_x(), bar.get_x() + bar.get_width())
            np.testing.assert_allclose(ends, chance(300, 50)[which])
        low, high = axes.get_xlim()
        assert low < min(*values, *ends)
        assert high > max(*values, *ends)
    between = read_json(SPLIT / "memorization.json")["sets"][0]["agreement_of_pairs"]
    assert between in [line.get_xdata()[0] for line in left.get_lines()]


def test_ranges_of_chance_hold_nine_in_ten_random_rankings():
    rng = np.random.default_rng(0)
    n, top, draws = 40, 10, 400
    upper = np.triu_indices(n, 1)
    taus, shares = [], []
    for _ in range(draws):
        ranks = rng.permutation(n)
        taus.append(np.sign(ranks[upper[1]] - ranks[upper[0]]).mean())
        shares.append(np.mean(ranks[:top] < top))
    (low, high), (least, most) = chance(n, top)
    inside = np.mean((low <= np.array(taus)) & (np.array(taus) <= high))
    assert abs(inside - 0.9) < 4 * np.sqrt(0.09 / draws)
    # Discrete: at least 90 %, and without both ends less.
    shares = np.array(shares)
    assert np.mean((least <= shares) & (shares <= most)) > 0.86
    assert np.mean((least < shares) & (shares < most)) < 0.9


def test_a_study_without_sets_is_refused_in_one_line(alone):
    path = alone / "memorization" / "split" / "memorization.json"
    write_json(path, read_json(path) | {"sets": None, "protocol": "subsample"})
    with pytest.raises(ValueError, match=r"split is of protocol subsample; expected split") as told:
        figures([8], alone, alone.parent / "out")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["split"])
def test_what_is_installed_has_no_more_than_is_drawn(name):
    arrays = read_arrays(RESULTS / "memorization" / name / "scores.npz")
    assert sorted(arrays) == sorted(SCORES)
    assert arrays["scores"].dtype == np.float32


def test_the_installed_figure_says_where_it_was_computed_and_has_no_gaps():
    shown, caption = drawn(RESULTS)
    letters = letters_of(shown)
    assert letters == "abcdefgh"[: len(letters)]
    assert "On a CPU" in caption
    for place, letter in enumerate(letters):
        assert f" {letter}: " in caption, place
