"""The picture of the front page shows stored numbers beside their baselines."""

import numpy as np
import pytest

from paper_figs.figures import FIGURES
from paper_figs.paper.figure8_memorization import by_layer
from paper_figs.store import RESULTS
from paper_figs.style import styled
from sslsim.core.files import read_arrays, read_json


@pytest.fixture(scope="module")
def front():
    with styled():
        figure, caption = FIGURES[0](RESULTS)
    return figure.get_axes(), " ".join(caption.split())


def line_named(axes, label):
    (line,) = [line for line in axes.get_lines() if line.get_label() == label]
    return line


def test_four_panels_have_letters_findings_and_named_axes(front):
    panels, _ = front
    titles = [axes.get_title(loc="left") for axes in panels]
    assert [title[:8] for title in titles] == [rf"$\bf{{{mark}}}$" for mark in "abcd"]
    assert all(len(title) > 20 for title in titles)
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in panels)


def test_steps_are_those_of_the_first_seed_and_all_seeds_are_counted(front):
    (axes, *_), caption = front
    folder = RESULTS / "methods" / "barlow_twins_0"
    records, result = read_arrays(folder / "records.npz"), read_json(folder / "training.json")
    curves = [line.get_ydata() for line in axes.get_lines() if len(line.get_xdata()) > 20]
    np.testing.assert_array_equal(np.array(curves).T, records[result["spectrum"]])
    circles = [line.get_xdata()[0] for line in axes.get_lines() if line.get_marker() == "o"]
    assert circles == [step for step in result["step_times"] if step is not None]
    others = [
        read_json(RESULTS / "methods" / f"barlow_twins_{seed}" / "training.json")["detected_steps"]
        for seed in (1, 2)
    ]
    assert f"in {result['detected_steps']} steps" in axes.get_title(loc="left")
    assert f"({others[0]}, {others[1]} with other seeds)" in caption


def test_forecasts_at_rest_are_beside_the_last_rate_on_the_same_steps(front):
    (_, axes, *_), caption = front
    result = read_json(RESULTS / "forecast" / "forecast.json")
    rest = result["summary"]["states"]["at rest"]
    filled = [
        line for line in axes.get_lines() if line.get_label()[0] != "_" and len(line.get_xdata())
    ]
    filled = [line for line in filled if line.get_label() != "last rate kept up"]
    assert sum(len(line.get_xdata()) for line in filled) == rest["plateaus"]
    ratios = np.concatenate([line.get_ydata() / line.get_xdata() for line in filled])
    assert np.median(ratios) == pytest.approx(rest["median_time_ratio"], rel=1e-4)  # six digits
    hollow = [
        line
        for line in axes.get_lines()
        if line.get_markerfacecolor() == "white" and len(line.get_xdata())
    ]
    ratios = np.concatenate([line.get_ydata() / line.get_xdata() for line in hollow])
    last = rest["forecasters"]["last_rate"]["median_time_ratio"]
    assert np.median(ratios) == pytest.approx(last, rel=1e-4)
    error = 100 * rest["median_time_error"]
    naive = 100 * rest["forecasters"]["last_rate"]["median_time_error"]
    assert f"miss by {error:.2g} %, last rates by {naive:.0f} %" in axes.get_title(loc="left")
    assert f"{rest['plateaus']} steps forecast at rest of {len(result['runs'])} train" in caption


def test_memorisation_is_that_of_both_networks_by_layer(front):
    (*_, axes, _), caption = front
    for study, label in (("resnet18", "ResNet-18"), ("convnet", "convnet")):
        layers = by_layer(read_json(RESULTS / "memorization" / study / "memorization.json"))
        means = [scores["difference"] for scores in layers.values()]
        np.testing.assert_array_equal(line_named(axes, label).get_ydata(), means)
        scores = layers["backbone"]
        told = " [".join(f"{scores[key]:.2f}" for key in ("difference", "low"))
        assert f"{label} {told}, {scores['high']:.2f}]" in caption
    # What the title says.
    networks = {
        study: by_layer(read_json(RESULTS / "memorization" / study / "memorization.json"))
        for study in ("resnet18", "convnet")
    }
    deep, plain = (networks[study]["backbone"] for study in ("resnet18", "convnet"))
    assert deep["low"] > plain["high"]


def test_ways_to_train_are_beside_sgd(front):
    (*_, axes), caption = front
    result = read_json(RESULTS / "acceleration" / "convnet" / "acceleration.json")
    arms = {arm["arm"]: arm for arm in result["arms"]}
    for name in ("sgd", "muon", "sgd+embedding", "muon+embedding"):
        means = np.mean([curve["modes"][1:] for curve in arms[name]["curves"]], axis=0)
        np.testing.assert_allclose(line_named(axes, name).get_ydata(), means)
    sooner = arms["muon+embedding"]["passages"][f"mode {result['dim'] // 2}"]["sooner"]
    assert f"{sooner['mean']:.0f} times sooner than sgd" in axes.get_title(loc="left")
    told = f"{sooner['mean']:.1f} [{sooner['low']:.1f}, {sooner['high']:.1f}] times sooner"
    assert told in caption
