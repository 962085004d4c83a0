"""Forecasts from recorded curves: files, the law behind a planted curve, and the command."""

from pathlib import Path

import numpy as np
import pytest

from experiments.options import ForecastOptions
from experiments.studies.forecasts import curves
from experiments.studies.forecasts.curves import curve_shares, curve_time, read_curves
from experiments.studies.forecasts.study import forecast
from sslsim.core.files import read_json
from theory.growth.adaptation import factors_with
from theory.growth.two_factor import growth_rate, growth_time, two_factor_law

RATE = 1e-5  # so small that updates are gradient flow


def planted(late=1.0, early=0.5, start=1e-3, end=0.05):
    """Curve of the two-factor law."""
    lam = np.geomspace(start, end, 60)
    return growth_time(two_factor_law(start, late, early), start, lam), lam


def test_a_curve_of_the_law_is_continued_by_the_law():
    # Shares with the adaptation that is assumed, and those of the same law at the start.
    last, first = 0.05, 1e-3
    (late, early), _ = factors_with(1.0, curves._ADAPTATION)
    start = two_factor_law(last, late, early)
    gap, total = late - early, growth_rate(start, first)
    gap *= (1 - first) / (1 - last)
    times, lam = planted((total + gap) / 2, (total - gap) / 2)
    told = curve_time(times, lam, 0.5, RATE, 0.0)
    assert told == pytest.approx(float(growth_time(start, last, 0.5)), rel=0.02)


def test_a_curve_that_falls_has_no_shares():
    shares, velocity = curve_shares(np.arange(4.0), np.array([0.4, 0.3, 0.2, 0.1]), RATE, 0.9)
    assert not shares.any()
    assert np.isnan(velocity)
    assert curve_time(np.arange(4.0), np.array([0.4, 0.3, 0.2, 0.1]), 0.5, RATE, 0.9) == np.inf


def test_files_of_three_kinds_hold_the_same_curves(tmp_path):
    times, lam = np.arange(4.0), np.array([[0.1, 0.2], [0.2, 0.3], [0.3, 0.4], [0.4, 0.5]])
    table = np.column_stack([times, lam])
    np.savez(tmp_path / "a.npz", times=times, eigenvalues=lam)
    np.save(tmp_path / "a.npy", table)
    np.savetxt(tmp_path / "a.csv", table, delimiter=",", header="t,one,two", comments="")
    for name in ("a.npz", "a.npy", "a.csv"):
        found_times, found = read_curves(tmp_path / name)
        np.testing.assert_array_equal(found_times, times)
        np.testing.assert_array_equal(found, lam[:, ::-1])  # descending


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.npy", "curves none.npy cannot be read: "),
        ("none.txt", "curves none.txt cannot be read: expected .npz, .npy or .csv"),
        ("short.csv", "short.csv holds 2 times; expected at least 3"),
        ("back.csv", "back.csv: expected finite eigenvalues at finite, ascending times"),
        ("other.npz", "other.npz holds other; expected times and eigenvalues"),
    ],
)
def test_what_is_no_curve_is_refused(name, message):
    np.savetxt("short.csv", [[0, 1], [1, 2]], delimiter=",")
    np.savetxt("back.csv", [[0, 1], [2, 2], [1, 3]], delimiter=",")
    np.savez("other.npz", other=[1.0])
    with pytest.raises(ValueError, match=message) as caught:
        read_curves(Path(name))
    assert "\n" not in str(caught.value)


def test_the_next_in_line_is_forecast_and_the_queue_gets_a_lower_bound(tmp_path):
    times, lam = planted()
    np.savez(
        tmp_path / "c.npz", times=times,
        eigenvalues=np.stack([np.full(60, 0.99), lam, lam / 10], axis=1),
    )  # fmt: skip
    folder = forecast(
        ForecastOptions(curves=tmp_path / "c.npz", lr=RATE, momentum=0.0, out=tmp_path / "out")
    )
    found = read_json(folder / "forecast.json")
    states = [entry["state"] for entry in found["states"]]
    assert states == ["learned", "next in line", "queued behind mode 2"]
    first, second = found["forecasts"]
    assert first["low"] < first["step_times"]["curves"]
    assert second["low"] == first["low"]
    assert second["high"] is second["step_times"]["curves"] is None
