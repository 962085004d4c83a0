"""The figures show the numbers that are stored, and say what they are."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex

from experiments.cli import main
from paper_figs.figures import FIGURES, figures
from paper_figs.paper import (
    figure1_staircase,
    figure2_linear,
    figure3_methods,
    figure4_kernels,
    figure5_step_times,
    figure6_overfitting,
    figure7_umm,
    figure8_memorization,
    figure9_untrained,
)
from paper_figs.runs.embeddings import principal_points
from paper_figs.store import RESULTS, misfit
from paper_figs.style import styled
from sslsim.core.files import read_arrays, read_json, read_lines, write_json


def drawn(number, results=RESULTS):
    with styled():
        return FIGURES[number](results)


def panel(figure, letter):
    """The panel whose title starts with a letter."""
    found = [
        axes
        for axes in figure.get_axes()
        if axes.get_title(loc="left").startswith(rf"$\bf{{{letter}}}$")
    ]
    assert len(found) == 1
    return found[0]


def lines_of(axes, points):
    """Lines drawn with so many points or more."""
    return [line for line in axes.get_lines() if len(line.get_xdata()) >= points]


def upright(axes):
    """Places of vertical lines through the whole panel."""
    return sorted(
        line.get_xdata()[0]
        for line in axes.get_lines()
        if len(line.get_xdata()) == 2
        and line.get_xdata()[0] == line.get_xdata()[1]
        and line.get_transform() != axes.transData
    )


def test_figure_1_shows_the_recorded_loss_eigenvalues_and_embeddings():
    figure, caption = drawn(1)
    folder = RESULTS / "convnet"
    records, result = read_arrays(folder / "records.npz"), read_json(folder / "training.json")
    places = figure1_staircase.moments(records, result)
    # The last snapshot before nine tenths of the time to the second, third, fourth and fifth step.
    times, steps = records["times"], sorted(filter(None, result["step_times"]))
    assert places == [max(np.flatnonzero(times <= 0.9 * step)) for step in steps[1:5]]
    loss = [line["probe_loss"] for line in read_lines(folder / "records.jsonl")]
    above, below = (axes for axes in figure.get_axes() if axes.get_ylabel())
    (line,) = lines_of(above, 20)
    np.testing.assert_array_equal(line.get_xdata(), records["times"])
    np.testing.assert_allclose(line.get_ydata(), loss)
    curves = np.array([line.get_ydata() for line in lines_of(below, 20)]).T
    np.testing.assert_array_equal(curves, records["cross_spectrum"])
    np.testing.assert_allclose(upright(above), sorted(filter(None, result["step_times"])))
    marks = [line for line in above.get_lines() if len(line.get_xdata()) == 1]
    assert [mark.get_xdata()[0] for mark in marks] == records["times"][places].tolist()
    assert [mark.get_ydata()[0] for mark in marks] == [loss[place] for place in places]
    points = principal_points(records)
    for place, letter in zip(places, "abcd", strict=True):
        axes = panel(figure, letter)
        (dots,) = axes.collections
        shown = np.asarray(dots.get_offsets())
        order = np.argsort(points[place][:, 2])
        np.testing.assert_allclose(shown, points[place][order, :2])
        # The third coordinate is the size of a point, its shade where it ends.
        sizes = dots.get_sizes()
        assert (np.diff(sizes) >= 0).all()
        assert sizes[0] < sizes[-1]
        np.testing.assert_allclose(dots.get_array(), points[places[-1]][order, 2])
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert ((shown > [left, bottom]) & (shown < [right, top])).all()
        done = sum(
            step is not None and step <= records["times"][place] for step in result["step_times"]
        )
        assert f"{done} step" in axes.get_title(loc="left")
    assert [len(done) for done in (places, set(places))] == [4, 4]
    told = " ".join(caption.split())
    assert f"{result['detected_steps']} steps detected" in told
    first = places[0]
    share = records["mean"][first] @ records["mean"][first] / records["cross_spectrum"][first, 0]
    assert f"norm of the mean is {100 * share:.0f} % of the largest eigenvalue" in told


def test_figure_2_shows_every_comparison():
    figure, caption = drawn(2)
    every = figure2_linear.comparisons(RESULTS)
    shown = read_json(RESULTS / figure2_linear.SHOWN / "comparison.json")
    curves = read_arrays(RESULTS / figure2_linear.SHOWN / "comparison.npz")
    later = curves["times"] > 0
    measured, predicted = lines_of(panel(figure, "a"), 50)
    np.testing.assert_array_equal(measured.get_ydata(), curves["measured_loss"][later])
    np.testing.assert_array_equal(predicted.get_ydata(), curves["predicted_loss"][later])
    np.testing.assert_allclose(upright(panel(figure, "a")), shown["predicted_step_times"])
    places = [(x, y) for line in panel(figure, "c").get_lines()[:-1] for x, y in line.get_xydata()]
    stored = [
        pair
        for one in every
        for pair in zip(one["measured_step_times"], one["predicted_step_times"], strict=True)
        if all(pair)
    ]
    assert sorted(places) == sorted(stored)
    errors = [
        y
        for line in panel(figure, "d").get_lines()
        if line.get_marker() == "_"
        for y in line.get_ydata()
    ]
    kept = [
        100 * one[key]
        for one in every
        for key in ("mean_relative_error", "naive_mean_relative_error")
    ]
    np.testing.assert_allclose(sorted(errors), sorted(kept))
    assert f"all {len(stored)} steps of {len(every)} comparisons" in caption
    assert {one["data"] for one in every} >= {"digits", "cifar10"}


def test_figure_3_shows_every_run_and_says_on_what_it_was_trained():
    figure, caption = drawn(3)
    assert "CPU" in caption
    folders = sorted(path.parent for path in (RESULTS / "methods").glob("*/training.json"))
    shown = 0
    for method, letter in (("barlow_twins", "a"), ("simclr", "b"), ("vicreg", "c")):
        of_method = [folder for folder in folders if folder.name.startswith(method)]
        shown += len(of_method)
        first, *others = of_method  # thin lines come first, behind the others
        above = panel(figure, letter)
        below = figure.get_axes()[figure.get_axes().index(above) + 3]
        losses, curves = lines_of(above, 10), lines_of(below, 10)
        for folder in (*others, first):
            records = read_arrays(folder / "records.npz")
            result = read_json(folder / "training.json")
            assert losses.pop(0).get_ydata()[-1] == result["last_record"]["probe_loss"]
            spectra = records[result["spectrum"]][:, :32]
            drawn_curves = [curves.pop(0).get_ydata() for _ in range(spectra.shape[1])]
            np.testing.assert_array_equal(np.array(drawn_curves).T, spectra)
        assert not losses
        predicted = theory_of(first)
        for curve, half, gamma in zip(curves, *predicted, strict=True):
            assert np.interp(half, *curve.get_xydata().T) == pytest.approx(0.5, abs=0.02)
            earlier = np.interp(half - 1 / (8 * gamma), *curve.get_xydata().T)
            assert earlier == pytest.approx(1 / (1 + np.e), abs=0.02)
        assert upright(below) == sorted(filter(None, result["step_times"]))
        assert f"learning rate {read_json(first / 'config.json')['options']['lr']:g}".replace(
            "e-0", "e-"
        ) in caption.replace("\n", " ")
    assert shown == len(folders)


def theory_of(folder):
    """Half-rise times and eigenvalues, in the time of the run, of the curves that theory draws."""
    if not folder.name.startswith("barlow_twins"):
        return [], []
    kernel = read_json(RESULTS / "kernels" / f"resnet50_{folder.name}" / "ntk.json")
    scale = kernel["fitted_time_scale"]
    steps = [scale * step for step in kernel["predicted_step_times"]]
    return steps, [gamma / scale for gamma in kernel["initial_eigenvalues"]]


def test_figure_4_shows_shares_subspaces_and_the_matrix():
    figure, caption = drawn(4)
    every = figure4_kernels.networks(RESULTS)
    encoders = list(dict.fromkeys(one["encoder"] for one in every))
    for encoder, letter in zip(encoders, "abcd", strict=False):
        after, before = {}, {}
        for one in every:
            if one["encoder"] == encoder:
                after.setdefault(one["method"], []).append(one["mode_alignment"][:10])
                shares = one["untrained"]["kernel"]["mode_alignment"][:10]
                before.setdefault(one["method"], []).append(shares)
        lines = lines_of(panel(figure, letter), 3)
        assert len(lines) == 2 * len(after)
        means = [np.mean(rows[method], axis=0) for method in after for rows in (after, before)]
        for line, mean in zip(lines, means, strict=True):
            np.testing.assert_allclose(line.get_ydata(), mean)
        looks = {
            (line.get_marker(), to_hex(line.get_color()), line.get_linestyle()) for line in lines
        }
        assert len(looks) == len(lines)
    spaces = panel(figure, "abcd"[len(encoders)])
    dots = {}
    for line in spaces.get_lines():
        dots.setdefault(line.get_label(), []).extend(line.get_ydata())
    dots = {when: sorted(values) for when, values in dots.items()}
    assert dots["after"] == sorted(one["subspace_alignment"] for one in every)
    untrained = [one["untrained"]["kernel"]["subspace_alignment"] for one in every]
    assert dots["before"] == sorted(untrained)
    gains = {}
    for one, before in zip(every, untrained, strict=True):
        kind = (one["encoder"], one["method"])
        gains.setdefault(kind, []).append(one["subspace_alignment"] - before)
    told = " ".join(caption.split())
    for values in gains.values():
        mean = round(float(np.mean(values)), 2) + 0.0  # zero has no sign
        assert f"by training {mean:{'+' if mean else ''}.2f}".replace("-", "\u2212") in told
    matrix = panel(figure, "abcd"[len(encoders) + 1])
    across = read_json(RESULTS / "kernels_across" / "ntk_across.json")
    mean = np.array(across["alignment"], dtype=float)
    (image,) = matrix.get_images()
    np.testing.assert_array_equal(np.asarray(image.get_array()), mean)
    words = [text.get_text() for text in matrix.texts]
    assert [word for word in words if re.fullmatch(r"\d\.\d\d|-", word)] == [
        "-" if np.isnan(value) else f"{value:.2f}" for value in mean.ravel()
    ]


def test_figure_5_shows_every_step_time_with_its_interval():
    figure, caption = drawn(5)
    kinds = figure5_step_times.predictions(RESULTS)
    names = [one.name for one in kinds]
    assert any("linear" in name for name in names)
    assert any("convnet: forecast" in name for name in names)
    assert any("ResNet" in name for name in names)
    drawn_lines = {line.get_label(): line for line in panel(figure, "a").get_lines()}
    forecasts = read_json(RESULTS / "forecast" / "forecast.json")
    assert sum("forecast" in one.name and len(one.measured) for one in kinds)
    count = sum(len(one.measured) for one in kinds if "forecast" in one.name)
    queued = forecasts["summary"]["states"]["queued behind"]["plateaus"]  # have no forecast
    assert count == forecasts["summary"]["plateaus"] - queued
    segments = [
        segment for lines in panel(figure, "a").collections for segment in lines.get_segments()
    ]
    held = [~np.isnan(one.low) for one in kinds]
    stored = [
        np.concatenate([getattr(one, key)[some] for one, some in zip(kinds, held, strict=True)])
        for key in ("measured", "low", "high")
    ]
    where, low, high = np.array([[a[0], a[1], b[1]] for a, b in segments]).T
    np.testing.assert_array_equal(where, stored[0])
    bottom, top = panel(figure, "a").get_ylim()
    for shown, ends in ((low, stored[1]), (high, stored[2])):
        inside = (bottom < ends) & (ends < top)
        assert inside.mean() > 0.8
        np.testing.assert_array_equal(shown[inside], ends[inside])
        np.testing.assert_array_equal((bottom < shown) & (shown < top), inside)
    for one in kinds:
        line = drawn_lines[one.name]
        np.testing.assert_array_equal(line.get_xdata(), one.measured)
        np.testing.assert_array_equal(line.get_ydata(), one.predicted)
        error = np.median(np.abs(one.predicted / one.measured - 1))
        told = f"{100 * error:.2g} %" if error < 0.1 else f"{100 * error:.0f} %"
        assert (
            f"{one.name[1:]}, {len(one.measured)} steps of {one.runs} "
            f"run{'s'[: one.runs != 1]}, median error {told}" in caption
        )
    ratios = np.concatenate(
        [
            line.get_xdata()
            for line in panel(figure, "b").get_lines()
            if line.get_markersize() == 3.5
        ]
    )
    np.testing.assert_allclose(
        ratios, np.concatenate([one.predicted / one.measured for one in kinds])
    )


def test_figure_6_shows_accuracies_and_correlations():
    figure, _ = drawn(6)
    result = read_json(RESULTS / "overfitting" / "overfitting.json")
    group = result["groups"][figure6_overfitting.most_overfit(result)]
    runs = [result["runs"][place] for place in group["runs"]]
    accuracy = 100 * np.mean([run["linear"] for run in runs], axis=0)
    (image,) = panel(figure, "a").get_images()
    shown = np.asarray(image.get_array())
    layers = [tick.get_text() for tick in panel(figure, "a").get_yticklabels()]
    assert layers[-2:] == ["representation", "embedding"]
    for row, layer in zip(shown, layers, strict=True):
        name = {"representation": "backbone", "embedding": "projector"}.get(layer, layer)
        np.testing.assert_allclose(row, accuracy[runs[0]["layers"].index(name)])
    scale = result["eps"].index(0.03)
    row = group["layers"].index("projector")
    found = group["correlations"]["linear"]["instance"]["all"]["mean"][scale][row]
    points = [tuple(line.get_xdata()) for line in panel(figure, "g").get_lines()]
    assert (found,) in points
    told = [tick.get_text() for tick in panel(figure, "e").get_yticklabels()]
    assert len(set(told)) == len(result["groups"])


def test_figure_7_writes_the_table_and_draws_every_difference():
    figure, caption = drawn(7)
    result = read_json(RESULTS / "umm_sweep" / "table.json")
    rows = figure7_umm.table(result)
    words = [text.get_text() for text in panel(figure, "a").texts]
    for row in rows:
        assert all(word in words for word in row)
    full = {row["group"]: row["measures"] for row in result["rows"] if row["setting"] == "full"}
    (first, *_) = full.values()
    found = first["linear_backbone"]
    before = found["before"]["mean"] if isinstance(found["before"], dict) else found["before"]
    assert rows[0][2] == f"{100 * before:.1f}"
    assert rows[0][5].startswith(
        f"{100 * found['from_control']['mean']:+.1f}".replace("-", "\u2212")
    )
    compared = [row for row in result["rows"] if row["setting"] != row["control"]]
    dots = [
        line.get_xdata()[0]
        for line in panel(figure, "d").get_lines()
        if line.get_marker() in "os" and len(line.get_xdata()) == 1
    ]
    stored = [row["measures"]["coding_rate_reduction"]["from_control"]["mean"] for row in compared]
    np.testing.assert_allclose(sorted(dots), sorted(stored))
    assert "100 outer steps" in caption


@pytest.mark.parametrize("number", sorted(FIGURES))
def test_a_missing_result_is_told_in_one_line_with_its_command(tmp_path, number, capsys):
    arguments = ["figures", "--only", str(number), "--results", str(tmp_path)]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "made by: sslsim " in told


@pytest.mark.slow
@pytest.mark.slow
def test_bytes_do_not_depend_on_the_order_of_sets(tmp_path):
    # In one process the order is the same, and with it the last digits of a layout.
    code = (
        "import sys; from pathlib import Path; from paper_figs.figures import figures; "
        "figures([8], None, Path(sys.argv[1]))"
    )
    for seed in "12":
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code, str(tmp_path / seed)]
        subprocess.run(command, check=True, cwd=RESULTS.parents[1], env=environment)
    for name in ("figure8.pdf", "figure8.png"):
        one, other = ((tmp_path / seed / name).read_bytes() for seed in "12")
        assert one == other


def test_the_command_writes_equal_bytes_at_every_build(tmp_path, capsys):
    for name in ("first", "second"):
        assert main(["figures", "--only", "3", "--out", str(tmp_path / name)]) == 0
        assert f"written to {tmp_path / name}" in capsys.readouterr().out
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == ["config.json", "figure3.md", "figure3.pdf", "figure3.png"]
    for name in files[1:]:
        first = (tmp_path / "first" / name).read_bytes()
        assert first == (tmp_path / "second" / name).read_bytes()
        assert b"CreationDate" not in first
    assert (tmp_path / "first/figure3.md").read_text().startswith("**Figure 3.** ")
    assert (tmp_path / "first/figure3.pdf").read_bytes().startswith(b"%PDF-")


def test_captions_and_figures_follow_other_results(tmp_path):
    shutil.copytree(RESULTS / "methods" / "simclr_0", tmp_path / "methods" / "mine")
    folder = tmp_path / "methods" / "mine"
    config, result = read_json(folder / "config.json"), read_json(folder / "training.json")
    config["options"] |= {"seed": 77, "lr": 0.123, "device": "cuda"}
    config["versions"]["torch"] = "2.13.0"
    config["machine"]["gpu"] = "Some GPU"
    write_json(folder / "config.json", config)
    write_json(folder / "training.json", result | {"encoder": "resnet50", "steps": 4321})
    _, caption = drawn(3, tmp_path)
    told = " ".join(caption.split())
    for words in ("ResNet-50", "seed 77", "learning rate 0.123", "4,321 updates", "on Some GPU"):
        assert words in told
    assert "CPU" not in told


def test_errors_of_figure_2_are_those_of_its_files(tmp_path):
    figure, caption = drawn(2)
    every = figure2_linear.comparisons(RESULTS)
    least = min(one["init_scale"] for one in every)
    errors = [one["mean_relative_error"] for one in every if one["init_scale"] == least]
    told = " ".join(caption.split())
    assert f"the median error is {100 * np.median(errors):.2g} %" in told
    worst = max(one["mean_relative_error"] for one in every)
    assert f"the largest of all is {100 * worst:.2g} %" in told
    some = [
        one["mean_relative_error"]
        for one in every
        if one["data"] == "digits" and one["init_scale"] == least
    ]
    assert len(some) > 1
    mean = 100 * np.prod(some) ** (1 / len(some))
    ends = [line.get_ydata()[0] for line in lines_of(panel(figure, "d"), 3)]
    assert min(abs(np.array(ends) / mean - 1)) < 1e-12


def test_figure_5_counts_what_lies_inside_both_ends_of_its_intervals():
    low, high = np.array([1.0, 3.0, 1.0, np.nan]), np.array([3.0, 4.0, 1.5, np.nan])
    measured = np.full(4, 2.0)
    predicted = np.array([2.0, 3.5, 1.2, 2.0])  # each inside its own interval
    row = figure5_step_times.Predictions("n", measured, predicted, low, high, 1, [])
    assert figure5_step_times._covered(row) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("number", "file", "text", "told"),
    [
        (1, "convnet/records.jsonl", "", "has no "),
        (1, "convnet/training.json", "{}", "has no "),
        (3, "methods/simclr_0/config.json", "{}", "has no "),
        (3, "methods/simclr_0/config.json", "{torn", "is not valid JSON"),
        (3, "methods/simclr_0/config.json", None, "is missing|cannot be read"),
        (3, "methods/simclr_0/training.json", '{"method": 3}', "has no "),
        (4, "kernels_across/ntk_across.json", '{"methods": 3}', "has no "),
        (6, "overfitting/overfitting.json", '{"runs": 1, "groups": 2}', "has no "),
        (7, "umm_sweep/table.json", "{}", "has no "),
    ],
)
def test_a_result_that_lacks_what_is_drawn_is_named_in_one_line(
    tmp_path, capsys, number, file, text, told
):
    results = tmp_path / "R"
    for name in {4: ("kernels", "kernels_across")}.get(number, (file.split("/")[0],)):
        shutil.copytree(RESULTS / name, results / name)
    if text is None:
        (results / file).unlink()
    else:
        (results / file).write_text(text)
    asked = ["--only", str(number), "--results", str(results), "--out", str(tmp_path / "out")]
    assert main(["figures", *asked]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sslsim: error: {results / file}")
    assert re.search(told, line)


def test_a_result_of_another_shape_is_told_with_its_folder(tmp_path):
    shutil.copytree(RESULTS / "umm_sweep", tmp_path / "umm_sweep")
    path = tmp_path / "umm_sweep" / "table.json"
    write_json(path, read_json(path) | {"rows": [1]})
    with pytest.raises(ValueError, match=r"umm_sweep cannot be drawn \(TypeError: .*figure 7"):
        figures([7], tmp_path, tmp_path / "out")


def test_installed_results_fit_each_other():
    names = [path.name for path in RESULTS.iterdir()]
    assert misfit(RESULTS, names) is None


def test_figure_9_shows_the_steps_expected_and_taken_of_every_network():
    figure, caption = drawn(9)
    every = figure9_untrained.networks(RESULTS)
    assert len(every) >= 8
    kinds = {(one["encoder"], one["norm"] or "batch") for one in every}
    steps = panel(figure, "abcdef"[len(kinds)])
    bars = [line for line in steps.get_lines() if len(line.get_xdata()) == 2]
    ticks = [line for line in steps.get_lines() if line.get_marker() == "|"]
    dots = [line for line in steps.get_lines() if line.get_marker() == "o"]
    within = same = 0
    for row, (one, bar, tick, dot) in enumerate(zip(every, bars, ticks, dots, strict=True)):
        expected = one["untrained"]["representation"]
        taken = sum(time is not None for time in one["measured_step_times"])
        assert list(bar.get_xdata()) == [expected["in_time"], expected["at_most"]]
        assert (tick.get_xdata()[0], tick.get_ydata()[0]) == (expected["in_time"], row)
        assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (taken, row)
        same += taken == expected["in_time"]
        within += expected["in_time"] <= taken <= expected["at_most"]
    told = " ".join(caption.split())
    assert f"right in {same} of {len(every)} runs; {within} of them lie on the bar" in told
    curves = [
        line.get_ydata()
        for place in range(len(kinds))
        for line in lines_of(panel(figure, "abcdef"[place]), 5)
    ]
    assert len(curves) == len(every)
    for one, curve in zip(every, curves, strict=True):
        shares = np.array(one["untrained"]["representation"]["shares"][:10], dtype=float)
        np.testing.assert_allclose(curve, np.where(shares > 0, shares, np.nan))


def test_figures_that_do_not_exist_are_told():
    with pytest.raises(
        ValueError, match="there is no figure 10; there are 0, 1, 2, 3, 4, 5, 6, 7, 8 and 9"
    ):
        figures([1, 10])


def test_figure_modules_are_in_order():
    modules = (
        figure1_staircase,
        figure2_linear,
        figure3_methods,
        figure4_kernels,
        figure5_step_times,
        figure6_overfitting,
        figure7_umm,
        figure8_memorization,
        figure9_untrained,
    )
    for number, module in enumerate(modules, 1):
        assert FIGURES[number] is module.figure
        assert module.__name__.split(".")[-1].startswith(f"figure{number}_")
        assert module.__doc__.startswith(f"Figure {number}: ")
