"""Pictures of overfitting, and figures 2 and 6, hold the numbers of their files, eps by eps."""

import numpy as np
import pytest

from paper_figs.paper import figure2_linear, figure6_overfitting
from paper_figs.runs import overfitting
from paper_figs.store import RESULTS
from paper_figs.style import styled
from sslsim.core.files import read_arrays, read_json, write_json

WHOLE = [0, 1]
LATE = ("backbone", "projector")


def planted():
    """Three runs of two groups: three layers, four checkpoints, three eps; all numbers differ."""
    rng = np.random.default_rng(1)
    layers, steps, eps = ["layer1", "backbone", "projector"], [0, 10, 20, 40], [0.05, 0.25, 2.0]
    runs = [
        {
            "seed": seed, "layers": layers, "steps": steps,
            "linear": rng.random((3, 4)).tolist(), "linear_error": rng.random((3, 4)).tolist(),
            "instance": {"test": (10 * rng.random((3, 3, 4))).tolist()},
        }
        for seed in (4, 5, 4)
    ]  # fmt: skip

    def correlations(rows):
        mean = rng.uniform(-0.9, 0.9, (rows, 3))
        low, high = (mean + sign * rng.random((rows, 3)) for sign in (-1, 1))
        found = {"mean": mean.tolist(), "low": low.tolist(), "high": high.tolist()}
        found["low"][0][1] = found["high"][0][1] = None  # of one seed, no interval
        return found

    groups = [
        {
            "label": label, "runs": places, "seeds": [runs[place]["seed"] for place in places],
            "layers": layers, "options": {},
            "correlations": {"linear": {
                signal: {span: correlations(rows) for span in ("all", "after_peak")}
                for signal, rows in (("instance", 3), ("updates", 1))
            }},
        }
        for label, places in (("first_one", [0, 1]), ("second_one", [2]))
    ]  # fmt: skip
    groups[1]["correlations"]["linear"]["instance"]["all"]["mean"][2][2] = None
    return {"runs": runs, "groups": groups, "eps": eps, "interval_level": 0.9}


def correlation_marks(result, layer, span, scales=None):
    """Every group's, eps by eps from above, then that of the number of updates."""
    scales = range(len(result["eps"])) if scales is None else scales
    heights = np.linspace(-0.32, 0.32, len(scales) + 1) * min(1, (len(scales) + 1) / 4)
    expected = [([0, 0], WHOLE)]
    for place, group in enumerate(result["groups"]):
        row, by_signal = group["layers"].index(layer), group["correlations"]["linear"]
        for scale, height in zip([*scales, None], heights, strict=True):
            last = scale is None
            found = by_signal["updates" if last else "instance"][span]
            mean, low, high = (
                found[key][0 if last else scale][row] for key in ("mean", "low", "high")
            )
            if mean is not None:
                expected.append(([mean], [place + height]))
                if low is not None:
                    expected.append(([max(low, -1), min(high, 1)], [place + height] * 2))
    return expected


def curve_marks(result, group):
    """Lines of accuracies and of Delta R at every eps, and bands, of a group's runs."""
    runs = [result["runs"][place] for place in result["groups"][group]["runs"]]
    layers, steps = runs[0]["layers"], runs[0]["steps"]
    accuracies, bands, reductions = [], [], []
    for layer in (layers[0], *LATE):
        row = layers.index(layer)
        seeds = [100 * np.array(run["linear"][row]) for run in runs]
        error = 100 * np.mean([run["linear_error"][row] for run in runs], axis=0)
        error, mean = error / np.sqrt(len(runs)), np.mean(seeds, axis=0)
        accuracies += [(steps, mean), *((steps, seed) for seed in seeds if len(seeds) > 1)]
        bands.append((steps, mean - error, mean + error))
    for layer in LATE:
        for scale in range(len(result["eps"])):
            values = [run["instance"]["test"][scale][layers.index(layer)] for run in runs]
            mean = np.mean(values, axis=0)
            reductions.append((steps, mean / mean.max()))
    return accuracies, bands, reductions


@pytest.mark.parametrize("group", [0, 1])
def test_a_study_shows_maps_curves_and_correlations(
    tmp_path, figure_of, same_lines, same_bands, group
):
    result = planted()
    write_json(tmp_path / "overfitting.json", result)
    figure = figure_of(overfitting.draw_overfitting, tmp_path, group)
    panels = [axes for axes in figure.get_axes() if axes.get_label() != "<colorbar>"]
    runs = [result["runs"][place] for place in result["groups"][group]["runs"]]
    accuracy, reduction = (
        np.mean(values, axis=0)
        for values in (
            [run["linear"] for run in runs],
            [run["instance"]["test"][1] for run in runs],  # eps 0.25, the nearest to 0.3
        )
    )
    for axes, values in (
        (panels[0], 100 * accuracy),
        (panels[1], 100 * reduction / reduction.max(axis=1, keepdims=True)),
    ):
        (image,) = axes.get_images()
        np.testing.assert_allclose(image.get_array(), values)
        names = [tick.get_text() for tick in axes.get_yticklabels()]
        assert names == ["layer1", "representation", "embedding"]
        cells = np.array([float(text.get_text()) for text in axes.texts]).reshape(values.shape)
        np.testing.assert_allclose(cells, values, atol=0.1)
    assert "eps 0.25" in panels[1].get_title(loc="left")
    accuracies, bands, reductions = curve_marks(result, group)
    same_lines(panels[2], accuracies)
    same_bands(panels[2], bands)
    same_lines(panels[3], reductions)
    kinds = [(layer, span) for layer in LATE for span in ("all", "after_peak")]
    for axes, kind in zip(panels[4:], kinds, strict=True):
        same_lines(axes, correlation_marks(result, *kind))
        names = [tick.get_text() for tick in axes.get_yticklabels()]
        assert names in (["first one", "second one"], [])


def test_colours_of_eps_are_the_same_for_curves_and_correlations(tmp_path, figure_of):
    write_json(tmp_path / "overfitting.json", planted())
    figure = figure_of(overfitting.draw_overfitting, tmp_path)
    panels = [axes for axes in figure.get_axes() if axes.get_label() != "<colorbar>"]
    looks = []
    for axes in (panels[3], panels[4]):
        handles, labels = axes.get_legend_handles_labels()
        by_label = {
            label.split("eps ")[1]: handle.get_color()
            for handle, label in zip(handles, labels, strict=True)
            if "eps" in label
        }
        looks.append(by_label)
    assert looks[0] == looks[1]
    assert list(looks[0]) == ["0.05", "0.25", "2"]
    assert len(set(looks[0].values())) == 3


def test_figure_6_shows_every_curve_and_every_correlation(same_lines, same_bands):
    with styled():
        figure, caption = figure6_overfitting.figure(RESULTS)
    result = read_json(RESULTS / "overfitting/overfitting.json")
    panels = [axes for axes in figure.get_axes() if axes.get_label() != "<colorbar>"]
    group = figure6_overfitting.most_overfit(result)
    accuracies, bands, reductions = curve_marks(result, group)
    labels = overfitting.short_labels(result["groups"])
    assert f"a to d: {labels[group]} (" in " ".join(caption.split())
    same_lines(panels[2], accuracies)
    same_bands(panels[2], bands)
    same_lines(panels[3], reductions)
    kinds = [(layer, span) for layer in LATE for span in ("all", "after_peak")]
    for axes, kind in zip(panels[4:], kinds, strict=True):
        expected = correlation_marks(result, *kind, scales=[0, 3])
        assert len(expected) > 30
        same_lines(axes, expected)
    assert "90 % intervals" in " ".join(caption.split())
    eps = min(result["eps"], key=lambda one: abs(np.log(one / 0.3)))
    assert f"highest, eps {eps:g}" in " ".join(caption.split())


@pytest.mark.parametrize("group", [0, 1])
def test_the_group_that_figure_6_shows_is_the_one_that_falls_most(group):
    result = planted()
    curves = {True: [0.2, 0.6, 0.5, 0.3], False: [0.1, 0.6, 0.2, 0.5]}
    for place, run in enumerate(result["runs"]):
        run["linear"][2] = curves[(place == 2) == (group == 1)]
    assert figure6_overfitting.most_overfit(result) == group


def test_figure_2_shows_the_eigenvalues_of_its_comparison_and_all_errors(same_lines):
    with styled():
        figure, _ = figure2_linear.figure(RESULTS)
    below, _, errors = figure.get_axes()[1:]
    shown = read_json(RESULTS / figure2_linear.SHOWN / "comparison.json")
    curves = read_arrays(RESULTS / figure2_linear.SHOWN / "comparison.npz")
    later = curves["times"] > 0
    order = np.argsort(shown["predicted_step_times"])
    rows = [*curves["measured_eigenvalues"].T, *curves["predicted_eigenvalues"].T[order]]
    steps = [([at, at], WHOLE) for at in shown["predicted_step_times"]]
    same_lines(below, [*((curves["times"][later], row[later]) for row in rows), *steps])
    expected, kinds = [(WHOLE, 1.0)], {}
    for path in (RESULTS / "linear").glob("*/comparison.json"):
        one = read_json(path)
        kinds.setdefault(one["data"], []).append(one)
    for some in kinds.values():
        for key in ("mean_relative_error", "naive_mean_relative_error"):
            scales = sorted({one["init_scale"] for one in some})
            rows = [
                np.array([100 * one[key] for one in sorted(some, key=lambda o: o["seed"])
                          if one["init_scale"] == scale])
                for scale in scales
            ]  # fmt: skip
            expected += [(scale, row) for scale, row in zip(scales, rows, strict=True)]
            expected.append((scales, [np.prod(row) ** (1 / len(row)) for row in rows]))
    same_lines(errors, expected)
