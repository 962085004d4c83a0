"""``forecast`` end to end: steps told from the past of a run, and what came of it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from forecasts import trained
from scipy.integrate import quad

from experiments.cli import main
from experiments.options import ForecastOptions
from experiments.studies.forecasts.moments import SIZES
from experiments.studies.forecasts.study import forecast
from experiments.studies.forecasts.tables import forecast_summary
from experiments.summary import as_text
from paper_figs.runs.forecast import draw_forecast
from sslsim.core.files import read_arrays, read_json
from sslsim.runs.history import read_history
from theory.linear.closed_form import step_times

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[4] / "experiments/docs/forecast.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three modes, one after the other."""
    return trained(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """A linear map, whose rates do not rise."""
    folder = tmp_path_factory.mktemp("linear")
    options = {"widths": None, "init_scale": 0.001, "lr": 0.002, "steps": 600, "seed": 0}
    return trained(folder, encoder="linear", **options)


@pytest.fixture(scope="module")
def simclr(tmp_path_factory):
    """A loss whose ceiling no theory knows, on fresh views, with BatchNorm."""
    folder = tmp_path_factory.mktemp("simclr")
    options = {"encoder": "resnet18", "widths": (2,), "steps": 6, "checkpoint_every": 1}
    return trained(folder, method="simclr", similarity="dot", fixed_views=False, **options)


@pytest.fixture(scope="module")
def backtest(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("backtest")
    return forecast(ForecastOptions((run,), pairs=60, hessian=True, out=out))


def test_backtests_put_together_are_those_of_all_runs_at_once(run, linear, tmp_path):
    options = {"pairs": 60, "kernel": False, "calibrate": True}
    whole = forecast(ForecastOptions((run, linear), out=tmp_path / "whole", **options))
    parts = [
        forecast(ForecastOptions((one,), out=tmp_path / str(place), **options))
        for place, one in enumerate((run, linear))
    ]
    put = forecast(ForecastOptions(pool=tuple(parts), out=tmp_path / "put", calibrate=True))
    for name in ("forecast.json", "calibration.json"):
        assert read_json(put / name) == read_json(whole / name)
    for name, values in read_arrays(whole / "forecast.npz").items():
        np.testing.assert_array_equal(read_arrays(put / "forecast.npz")[name], values)
    # With scores of other runs that are a factor of e^3 off, every interval is as wide.
    scores = [
        {"run": f"{n}/train", "method": "barlow_twins", "mode": 1, "state": "at rest", "score": 3.0}
        for n in range(40)
    ]
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({"runs": [], "scores": scores}))
    wide = forecast(ForecastOptions(pool=tuple(parts), calibration=path, out=tmp_path / "wide"))
    made = read_json(wide / "forecast.json")["forecasts"]
    rest = [
        entry
        for entry in made
        if entry["state"] == "at rest" and entry["step_times"]["lagged_law"] is not None
    ]
    assert rest
    first = rest[0]
    left, high = (first[key] - first["time"] for key in ("low", "high"))
    assert high / left == pytest.approx(np.exp(6.0))


def test_a_folder_that_is_no_backtest_cannot_be_pooled(run, tmp_path):
    ahead = forecast(ForecastOptions((run,), at=200, pairs=60, out=tmp_path / "ahead"))
    message = "ahead is no backtest of this version; expected folders of sslsim forecast without"
    with pytest.raises(ValueError, match=message):
        forecast(ForecastOptions(pool=(ahead,), out=tmp_path / "put"))


def test_a_backtest_of_a_run(run, backtest, capsys):
    found, arrays = read_json(backtest / "forecast.json"), read_arrays(backtest / "forecast.npz")
    assert found["runs"] == [str(run)]
    assert found["at"] is None
    lam, times = arrays["eigenvalues_0"], arrays["times_0"]
    assert lam.shape == (46, 3)
    steps = []
    for one in found["forecasts"]:
        index = one["step"] // 10
        assert one["time"] == pytest.approx(times[index])
        mode = one["mode"] - 1
        assert one["size"] in SIZES
        assert one["size"] <= one["lam"] == lam[index, mode]
        if one["size"] != 1e-3:  # those that are judged wait until all is still
            assert lam[index - 1, mode] < one["size"]
        if mode:  # the first rises within a few checkpoints
            # Gradient flow, nearly: the rate now is that of the curve about now.
            around = np.log(lam[index + 1, mode] / lam[index - 1, mode])
            slope = around / (times[index + 1] - times[index - 1])
            assert one["rate"] == pytest.approx(slope, rel=0.15)
        assert np.isclose(one["early_rate"] + one["late_rate"], max(one["own_rate"], 0), rtol=1e-9)
        told = one["step_times"]["lagged_law"]
        assert (told is None) == one["state"].startswith("queued")
        if told is not None and one["high"] is not None:
            assert one["time"] < one["low"] < told < one["high"]
            # As far up as down, in the logarithm of what remains.
            np.testing.assert_allclose(
                (told - one["time"]) ** 2, (one["low"] - one["time"]) * (one["high"] - one["time"])
            )
        assert set(one["rates"]) == set(one["step_times"])
        assert ("kernel" in one["rates"]) == ("hessian" in one["rates"]) == (one["size"] == 1e-3)
        after = np.interp(0.0, np.log(lam[index:, mode] / 0.5), times[index:])
        assert one["measured_step_time"] == pytest.approx(after, rel=1e-9)
        steps.append(one["step"])
    assert steps == sorted(steps)
    assert {one["mode"] for one in found["forecasts"]} == {1, 2, 3}
    judged = [one for one in found["forecasts"] if one["size"] == found["judged_at"] == 1e-3]
    errors = [one["step_times"]["lagged_law"] - one["time"] for one in judged]
    errors = [
        error / (one["measured_step_time"] - one["time"])
        for error, one in zip(errors, judged, strict=True)
    ]
    told = found["summary"]["forecasters"]["lagged_law"]
    assert told["median_time_ratio"] == pytest.approx(np.median(errors))
    assert told["counted"] == found["summary"]["plateaus"] == len(judged) == 2
    assert found["summary"]["covered"] == np.mean(
        [one["low"] <= one["measured_step_time"] <= (one["high"] or np.inf) for one in judged]
    )
    assert list(found["summary"]["groups"]) == ["barlow_twins, mlp"]
    for naive in ("last_rate", "last_layer"):
        error = found["summary"]["forecasters"][naive]["median_time_error"]
        assert told["median_time_error"] < error
    one = found["forecasts"][0]
    for key in [*found, *one, *found["summary"], *told, *judged[0]["rates"]]:
        assert f"`{key}`" in PAGE, key
    for key in arrays:
        assert f"`{key[:-1]}i`" in PAGE, key


def test_every_number_of_a_forecast_follows_from_the_curves_and_shares(backtest):
    """Laws integrated step by step, rates from the curves, intervals from forecasts before."""
    found, arrays = read_json(backtest / "forecast.json"), read_arrays(backtest / "forecast.npz")
    lam, times = arrays["eigenvalues_0"], arrays["times_0"]

    def reached(mode, value, index):
        """When a curve that is exponential between checkpoints comes to a value."""
        above = index + np.flatnonzero(lam[index:, mode] >= value)[0]
        ends = np.log(lam[above - 1 : above + 1, mode])
        return np.interp(np.log(value), ends, times[above - 1 : above + 1])

    def law_time(one, end):
        """Integral of 1 / (lambda (1 - lambda) sqrt(delta^2 + kappa lambda))."""
        early, late, rest = one["early_rate"], one["late_rate"], 1 - one["lam"]
        delta, kappa = abs(late - early) / rest, 4 * late * early / (one["lam"] * rest**2)
        return quad(
            lambda x: 1 / (x * (1 - x) * np.sqrt(delta**2 + kappa * x)), one["lam"], end,
            epsrel=1e-10,
        )[0]  # fmt: skip

    for one in found["forecasts"]:
        index, mode, now, size = one["step"] // 10, one["mode"] - 1, one["time"], one["lam"]
        steps, rates, decade = one["step_times"], one["rates"], min(10 * size, 0.5)
        growth = np.log(lam[index, mode] / lam[index - 1, mode])
        last = growth / (times[index] - times[index - 1])
        assert rates["last_rate"] == pytest.approx(last, rel=1e-9)
        assert rates["two_factor"] == pytest.approx(
            np.log(decade / size) / law_time(one, decade), rel=1e-7
        )
        assert steps["two_factor"] - now == pytest.approx(law_time(one, 0.5), rel=1e-7)
        for name in set(rates) - {
            "two_factor",
            "lagged_law",
            "curves",
        }:  # d ln(lambda) / dt falls as 1 - lambda
            rest = (1 - size) * np.log((1 - size) / size) / rates[name]
            assert steps[name] - now == pytest.approx(rest, rel=1e-9)
        measured = np.log(decade / size) / (reached(mode, decade, index) - now)
        assert one["measured_rate"] == pytest.approx(measured, rel=1e-9)
    sizes = [one["size"] for one in found["forecasts"]]
    assert len(set(sizes)) > 1


def test_forecasts_know_nothing_of_the_future(run, backtest, tmp_path):
    """With all later checkpoints gone, every forecast is what it was, to the last bit."""
    last = 250
    short = tmp_path / "short"
    shutil.copytree(run, short)
    for path in (short / "checkpoints").iterdir():
        if int(path.stem.removeprefix("checkpoint-")) > last:
            path.unlink()

    def told(folder, upto=np.inf):
        found = read_json(folder / "forecast.json")["forecasts"]
        happened = ("run", "measured_rate", "measured_step_time")
        return [
            {key: value for key, value in one.items() if key not in happened}
            for one in found
            if one["step"] <= upto
        ]

    again = forecast(ForecastOptions((short,), pairs=60, hessian=True, out=tmp_path / "b"))
    expected = told(backtest, last)
    assert told(again) == expected
    assert len(expected) >= 4
    both = [
        told(forecast(ForecastOptions((folder,), at=last, pairs=60, out=tmp_path / name)))
        for name, folder in (("c", run), ("d", short))
    ]
    assert both[0] == both[1] != []


def test_at_a_checkpoint_forecasts_are_those_of_the_backtest(run, backtest, tmp_path):
    tried = 0
    for one in read_json(backtest / "forecast.json")["forecasts"]:
        if one["size"] != 1e-3:
            continue
        folder = forecast(ForecastOptions((run,), at=one["step"], pairs=60, out=tmp_path))
        found = read_json(folder / "forecast.json")
        assert found["summary"] == {}
        assert found["judged_at"] is None
        (same,) = (other for other in found["forecasts"] if other["mode"] == one["mode"])
        assert same["size"] is None
        for key in ("step", "time", "lam", "rate", "own_rate", "early_rate", "measured_rate"):
            assert same[key] == one[key]
        for name, value in same["step_times"].items():
            assert value == one["step_times"][name]
        assert {"lagged_law", "two_factor", "kernel", "last_rate"} <= set(same["step_times"])
        tried += 1
    assert tried == 2


def test_of_a_linear_map_forecasts_are_the_closed_form(linear, tmp_path):
    """One layer: no features adapt, and the kernel of now is that of the whole rise."""
    folder = forecast(ForecastOptions((linear,), pairs=60, hessian=True, out=tmp_path))
    found = read_json(folder / "forecast.json")
    judged = [one for one in found["forecasts"] if one["size"] == 1e-3]
    assert [one["mode"] for one in judged] == [1, 2, 3]
    pairs = read_history(linear, 60).pairs
    x, x_prime = (view.flatten(1).double().numpy() for view in (pairs.x, pairs.x_prime))
    gamma = np.linalg.eigvalsh((x.T @ x_prime + x_prime.T @ x) / 120)[::-1][:3]
    for one, value in zip(judged, gamma, strict=True):
        assert one["last_layer_rate"] == 0.0  # there is no projector
        assert one["step_times"]["last_layer"] is None
        # The kernel knows the next mode of the map, the closed form how it rises.
        expected = step_times([value], np.sqrt([one["lam"] / value]))[0]
        assert one["step_times"]["kernel"] - one["time"] == pytest.approx(expected, rel=0.02)
        # The steepest escape is that of the next mode, whose lambda grows as exp(8 gamma t).
        assert one["rates"]["hessian"] == pytest.approx(8 * value, rel=0.05)
        if one["mode"] < 3:  # the run is over before the third
            told = one["step_times"]["lagged_law"] - one["time"]
            # An update is a fifth of the first mode's rise by a factor e.
            assert one["measured_step_time"] - one["time"] == pytest.approx(told, rel=0.1)


def test_an_image_may_have_several_fresh_pairs_but_fixed_ones_are_all_there_are(simclr, run):
    assert read_history(run, 1000).pairs.x.shape[0] == 60
    pairs = read_history(simclr, 150).pairs
    assert len(pairs.x) == 150
    assert len(pairs.x.flatten(1).unique(dim=0)) == 150


def test_a_loss_without_a_known_ceiling_and_a_network_with_batchnorm(simclr, run, tmp_path):
    folder = forecast(ForecastOptions((simclr, run), pairs=30, out=tmp_path))
    found, arrays = read_json(folder / "forecast.json"), read_arrays(folder / "forecast.npz")
    assert sorted(arrays) == ["eigenvalues_0", "eigenvalues_1", "times_0", "times_1"]
    assert draw_forecast(folder).stat().st_size > 5000
    folder = forecast(ForecastOptions((simclr,), at=4, pairs=30, out=tmp_path / "a"))
    found = read_json(folder / "forecast.json")
    for one in found["forecasts"]:
        # Its tangent kernel is none of single samples, and has no ceiling to end at.
        assert set(one["rates"]) == {
            "lagged_law", "two_factor", "curves", "last_rate", "last_layer",
        }  # fmt: skip
        assert (one["method"], one["encoder"]) == ("simclr", "resnet18")
    normed = trained(tmp_path / "b", encoder="resnet18", widths=(2,), steps=3, checkpoint_every=1)
    folder = forecast(ForecastOptions((normed,), at=2, pairs=30, out=tmp_path / "c"))
    for one in read_json(folder / "forecast.json")["forecasts"]:
        assert "kernel" not in one["rates"]


def test_pictures_are_drawn_of_both_forms(run, backtest, tmp_path):
    ahead = forecast(ForecastOptions((run,), at=100, pairs=60, out=tmp_path / "at"))
    for folder in (backtest, ahead):
        path = draw_forecast(folder)
        assert path == folder / "forecast.png"
        pixels = matplotlib.image.imread(path)[..., :3]
        for half in np.array_split(pixels, 2, axis=1):
            assert 0.005 < (half < 0.9).any(axis=2).mean() < 0.6
    first = path.read_bytes()
    assert draw_forecast(folder).read_bytes() == first


@pytest.mark.parametrize("at", [None, 0, 3])
def test_a_run_without_a_step_can_be_drawn(tmp_path, at):
    """Also one whose modes stand still or fall, with nothing to show on a logarithmic axis."""
    folder = trained(tmp_path / "run", method="vicreg", steps=3, checkpoint_every=1, lr=0.0001)
    found = forecast(ForecastOptions((folder,), at=at, pairs=30, out=tmp_path / "out"))
    result = read_json(found / "forecast.json")
    if at is None:
        assert result["summary"]["plateaus"] == 0
        assert result["summary"]["covered"] is None
        assert "no mode passed" in as_text(forecast_summary(result))
    assert draw_forecast(found).stat().st_size > 5000


def test_forecasts_that_never_come_can_be_summed_up_and_drawn(backtest, tmp_path):
    """Infinite times are null in the file."""
    shutil.copytree(backtest, tmp_path / "copy")
    text = (backtest / "forecast.json").read_text()
    value = read_json(backtest / "forecast.json")["forecasts"][-1]["step_times"]["two_factor"]
    (tmp_path / "copy/forecast.json").write_text(text.replace(str(value), "null"))
    assert draw_forecast(tmp_path / "copy").stat().st_size > 5000


def test_from_the_command_line(run, capsys):
    assert main(["forecast", "--run", str(run), "--at", "100", "--pairs", "60", "--out", "o"]) == 0
    assert "two_factor" not in capsys.readouterr().err
    assert {path.name for path in Path("o").iterdir()} == {
        "config.json", "forecast.json", "forecast.npz", "forecast.png"
    }  # fmt: skip
    assert main(["forecast", "--run", str(run), "--at", "101"]) == 2
    told = capsys.readouterr().err
    assert "at is 101; " in told
    assert "holds checkpoints 0, 10, ..., 450" in told
    assert told.count("\n") == 1
    assert not Path("runs").exists()  # nothing was begun


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run": ()}, "no run is given; expected --run DIR, a folder of sslsim train, or --curves"),
        ({"curves": Path("c.npz")}, "both run and curves are given; expected one of them"),
        ({"lr": 0.1}, "lr is 0.1 without curves; expected it with --curves only"),
        ({"run": (), "curves": Path("c.npz")}, "curves are given without lr; expected --lr, their"),
        ({"at": 10, "calibrate": True}, "calibrate is given with at or curves; expected whole"),
        ({"run": (Path("a"), Path("b")), "at": 3}, "at is 3 for 2 runs; expected one run"),
        ({"pairs": 1}, "pairs is 1 and interval_level 0.9; expected at least 2"),
        ({"interval_level": 1.0}, "pairs is 1024 and interval_level 1.0; .* between 0 and 1"),
        ({"interval_level": float("nan")}, "interval_level nan"),
        ({"run": (Path("no"),)}, "no/config.json cannot be read"),
        ({"at": 7}, "at is 7; .* holds checkpoints 0, 10, ..., 450"),
    ],
)
def test_bad_options_are_refused_in_words(run, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        forecast(replace(ForecastOptions((run,)), **options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoints_kept": 1}, r"holds 1 checkpoint\(s\) beside its start; expected those of"),
        ({"method": "supervised", "dim": None}, "was trained by supervised; expected barlow_twins"),
    ],
)
def test_runs_that_cannot_be_forecast_are_refused(tmp_path, options, message):
    folder = trained(tmp_path, steps=2, checkpoint_every=1, **{"fixed_views": False} | options)
    with pytest.raises(ValueError, match=message) as caught:
        forecast(ForecastOptions((folder,)))
    assert "\n" not in str(caught.value)
