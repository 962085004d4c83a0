"""Forecasts while a network trains: they come true, cost no bit, and survive a resumed run."""

import json

import numpy as np
import pytest
import torch

from experiments.studies.forecasts.curves import curve_forecasts
from experiments.studies.forecasts.live import next_step_watch
from sslsim.core.checkpoints import load_newest_checkpoint
from sslsim.core.files import read_json
from sslsim.core.interruption import Interrupted
from sslsim.runs.options import TrainOptions
from sslsim.training import loop
from tests.helpers.forecasts import trained

OPTIONS = {"limit": 300, "batch": 300, "records": 60, "probe": 200}
KEYS = ("next_mode", "next_step", "next_step_low", "next_step_high")


def lines_of(folder):
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("live") / "run", forecast=True, **OPTIONS)


def test_forecasts_are_those_of_the_curves_so_far_and_close_in(watched):
    lines = lines_of(watched)
    arrays = np.load(watched / "records.npz")
    options = TrainOptions(**read_json(watched / "config.json")["options"])
    told = [line for line in lines if line["next_mode"] is not None]
    assert {line["next_mode"] for line in told} >= {1, 2}
    for place, line in enumerate(lines):
        if line["next_mode"] is None or place % 7:
            continue
        lam = arrays["cross_spectrum"][: place + 1].astype(float)
        times = arrays["times"][: place + 1]
        found = curve_forecasts(times, lam, options.lr, options.momentum, "barlow_twins", [], 0.9)
        assert found[line["next_mode"] - 1].step == pytest.approx(line["next_step"], rel=1e-6)
    for mode in (1, 2):
        curve = arrays["cross_spectrum"][:, mode - 1]
        ceiling = 1.0 if mode == 1 else arrays["cross_spectrum"][curve >= 0.4][0, 0]
        measured = arrays["times"][curve >= 0.5 * ceiling][0]
        for line in [line for line in told if line["next_mode"] == mode][-3:]:
            assert line["next_step"] == pytest.approx(measured, rel=0.1)


def test_a_forecast_is_told_again_when_half_of_the_remaining_time_is_gone(tmp_path, capsys):
    trained(tmp_path / "run", forecast=True, **OPTIONS)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("update")]
    assert any(": mode 1 is next, at flow time " in line for line in told)
    assert any(": mode 2 is next, at flow time " in line for line in told)
    assert len(told) < 25


def test_watching_changes_no_bit_of_the_training(watched, tmp_path):
    plain = trained(tmp_path / "plain", **OPTIONS)
    states = [
        load_newest_checkpoint(folder / "checkpoints", torch.device("cpu"))
        for folder in (watched, plain)
    ]
    for one, other in zip(*(state["learner"].values() for state in states), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(lines_of(watched), lines_of(plain), strict=True):
        assert {key: value for key, value in one.items() if key not in KEYS} == other


def test_a_resumed_run_holds_the_forecasts_of_one_that_was_not_stopped(
    watched, tmp_path, monkeypatch
):
    folder, calls = tmp_path / "run", []

    def stops_once(noted):
        calls.append(noted)
        return len(calls) == 200

    monkeypatch.setattr(loop, "any_stopped", stops_once)
    options = OPTIONS | {"forecast": True}
    with pytest.raises(Interrupted):
        trained(folder, **options)
    trained(folder, **options)
    assert lines_of(folder) == lines_of(watched)


def test_the_last_record_is_told_of_too_whatever_the_schedule(capsys):
    options = TrainOptions(steps=20, schedule="cosine", warmup=2, lr=0.01, momentum=0.9)
    watch = next_step_watch(options)
    lines = [{"step": 10, "time": 1.0}, {"step": 15, "time": 1.5}]
    arrays = {"cross_spectrum": [np.array([0.01, 1e-6]), np.array([0.02, 1e-6])]}
    record = {"step": 20, "time": 2.0, "cross_spectrum": np.array([0.04, 1e-6])}
    told = watch(record, lines, arrays)
    assert told["next_mode"] == 1
    assert told["next_step"] > 2.0
    assert capsys.readouterr().out.startswith("update 20: mode 1 is next, at flow time ")
