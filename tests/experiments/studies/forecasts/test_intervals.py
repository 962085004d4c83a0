"""Conformal intervals: their guarantee, their update by a run's own plateaus, their file."""

import numpy as np
import pytest

from experiments.studies.forecasts.intervals import (
    calibration_of,
    interval_factor,
    read_calibration,
    scores_for,
)
from sslsim.core.files import write_json


def entry(run, score, method="barlow_twins", state="at rest", mode=1):
    return {"run": run, "method": method, "mode": mode, "state": state, "score": score}


def test_the_interval_is_the_quantile_that_conformal_prediction_asks_for():
    scores = [0.1 * place for place in range(1, 10)]
    assert interval_factor(scores, [], 0.9) == pytest.approx(np.exp(0.9))  # the ninth of nine
    assert interval_factor(scores, [], 0.5) == pytest.approx(np.exp(0.5))
    assert interval_factor(scores[:8], [], 0.9) == np.inf  # eight are too few for 90 %
    assert interval_factor([], [], 0.5) == np.inf


def test_the_level_is_honoured_by_scores_of_any_distribution():
    generator = np.random.default_rng(0)
    for level in (0.5, 0.8, 0.9):
        inside = []
        for _ in range(4000):
            scores = np.log1p(np.abs(generator.standard_cauchy(20)))
            inside.append(scores[0] <= np.log(interval_factor(scores[1:], [], level)))
        # Exact coverage is k / 20, from the level up; four standard errors of 4,000 draws.
        assert level - 0.032 < np.mean(inside) < level + 0.05 + 0.032


def test_own_plateaus_count_more_than_those_of_other_runs():
    others = [0.5] * 20
    assert interval_factor(others, [], 0.9) == pytest.approx(np.exp(0.5))
    assert interval_factor(others, [2.0], 0.9) == pytest.approx(np.exp(2.0))
    assert interval_factor(others, [0.1], 0.5) == pytest.approx(np.exp(0.5))
    assert interval_factor(others, [0.1] * 6, 0.5) == pytest.approx(np.exp(0.1))


def test_scores_are_those_of_other_runs_by_the_same_method_and_state():
    scores = [
        entry("a", 0.1), entry("b", 0.2), entry("b", 0.3, state="not settled"),
        entry("c", 0.4, method="simclr"),
    ]  # fmt: skip
    calibration = calibration_of(scores, "made so")
    assert calibration["runs"] == ["a", "b", "c"]
    assert scores_for(calibration, "barlow_twins", "at rest") == [0.1, 0.2]
    assert scores_for(calibration, "barlow_twins", "at rest", leave_out="a") == [0.2]
    assert scores_for(calibration, "spectral", "at rest") == []
    assert scores_for(calibration, None, "at rest") == [0.1, 0.2, 0.4]
    assert scores_for(calibration, "barlow_twins", "curves") == []


def test_the_calibration_that_ships_names_its_runs_and_command():
    shipped = read_calibration()
    assert {score["run"] for score in shipped["scores"]} == set(shipped["runs"])
    assert shipped["command"].startswith("sslsim forecast --calibrate --run ")
    states = {score["state"] for score in shipped["scores"]}
    assert {"at rest", "curves"} <= states


@pytest.mark.parametrize(
    "content", [{}, {"scores": 3}, {"scores": [{"run": "a"}]}, {"scores": [entry("a", -1.0)]}]
)
def test_what_is_no_calibration_is_refused(tmp_path, content):
    write_json(tmp_path / "c.json", content)
    with pytest.raises(ValueError, match=r"c\.json is no calibration; expected calibration"):
        read_calibration(tmp_path / "c.json")
