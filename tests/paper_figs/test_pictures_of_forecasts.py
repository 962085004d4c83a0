"""Pictures of forecasts, and figure 5: times that remain, over those that remained."""

import itertools
import shutil

import numpy as np
import pytest

from paper_figs.paper import figure5_step_times
from paper_figs.runs import forecast
from paper_figs.store import RESULTS
from paper_figs.style import styled
from sslsim.core.files import read_json, write_arrays, write_json

WHOLE = [0, 1]
LEVEL = 0.001


def told(size, time, step, measured, low, high, last, **changes):
    """A forecast, as ``forecast.json`` has it."""
    return {
        "run": "a", "method": "simclr", "encoder": "mlp", "mode": 1, "size": size, "time": time,
        "lam": 0.01, "ceiling": 1.0, "early_rate": 0.0, "late_rate": 1.0, "low": low, "high": high,
        "step_times": {"two_factor": step, "last_rate": last}, "measured_step_time": measured,
        **changes,
    }  # fmt: skip


BACKTEST = [
    told(LEVEL, 2.0, 6.0, 5.0, 4.0, 12.0, 10.0),  # 4 of 3 remaining, naive 8 of 3
    told(LEVEL, 3.0, 4.0, 8.0, 3.5, 6.0, 5.0, mode=2),  # 1 of 5, 2 of 5
    told(LEVEL, 1.0, 3.0, 2.0, 1.5, 5.0, 4.0, method="byol", run="b"),  # 2 of 1, 3 of 1
    told(LEVEL, 4.0, 9.0, None, 5.0, 20.0, 30.0, mode=3),  # never seen
    told(0.1, 4.5, 5.5, 5.0, 4.7, 6.0, None),  # 1 of 0.5, naive never
    told(0.1, 5.0, 5.6, 5.0, 5.1, 6.0, 7.0, mode=2),  # nothing remained
]


def backtest(folder):
    write_arrays(folder / "forecast.npz", times_0=np.zeros(1))
    result = {"at": None, "judged_at": LEVEL, "interval_level": 0.9, "forecasts": BACKTEST}
    write_json(folder / "forecast.json", result)


def test_a_backtest_shows_remaining_times_counted_from_now(
    tmp_path, figure_of, same_lines, same_segments
):
    backtest(tmp_path)
    first, second, _, empty = figure_of(forecast.draw_forecast, tmp_path).get_axes()
    # From the least to the most of all times drawn, of one method each.
    ends, other = [1.0 / 1.5, 8.0 * 1.5], [1.0 / 1.5, 3.0 * 1.5]
    same_lines(first, [([3.0, 5.0], [4.0, 1.0]), ([3.0, 5.0], [8.0, 2.0]), (ends, ends)])
    same_lines(second, [([1.0], [2.0]), ([1.0], [3.0]), (other, other)])
    same_segments(first, [([3, 3], [2.0, 10.0]), ([5, 5], [0.5, 3.0])])
    same_segments(second, [([1, 1], [0.5, 4.0])])
    assert not empty.axison


def test_forecasts_tighten_as_their_ratios_to_what_happened_do(
    tmp_path, figure_of, same_lines, same_bands
):
    backtest(tmp_path)
    _, _, path, _ = figure_of(forecast.draw_forecast, tmp_path).get_axes()
    # By size: of the two factors 1/5, 4/3, 2 and 2; of the naive one 2/5, 8/3, 3 and none.
    same_lines(
        path,
        [([LEVEL, 0.1], [4 / 3, 2.0]), ([LEVEL], [8 / 3]), (WHOLE, 1.0)],
    )
    # Between the first two of three lies the tenth percentile at 0.2 of the way.
    tenth, ninetieth = 0.2 + 0.2 * (4 / 3 - 0.2), 4 / 3 + 0.8 * (2 - 4 / 3)
    naive = 0.4 + 0.2 * (8 / 3 - 0.4), 8 / 3 + 0.8 * (3 - 8 / 3)
    same_bands(
        path,
        [([LEVEL, 0.1], [tenth, 2.0], [ninetieth, 2.0]), ([LEVEL], [naive[0]], [naive[1]])],
    )


def test_a_forecast_ahead_shows_the_rise_from_now_on(tmp_path, figure_of, same_lines, same_boxes):
    times = np.array([0.0, 1.0, 2.0, 3.0])
    lam = np.array([[0.01, 0.0], [0.1, 0.001], [1.0, 0.01], [2.0, 0.1]])
    write_arrays(tmp_path / "forecast.npz", times_0=times, eigenvalues_0=lam)
    ahead = [
        told(None, 1.0, 2.0, 2.0, 1.5, 4.0, 3.0, lam=0.05, ceiling=2.0, late_rate=3.8),
        told(None, 1.0, 9.0, None, 5.0, None, 3.0, mode=2, lam=0.001, late_rate=0.999),
    ]
    write_json(tmp_path / "forecast.json", {"at": 10, "judged_at": None, "forecasts": ahead})
    (axes,) = figure_of(forecast.draw_forecast, tmp_path).get_axes()
    rises = [line for line in axes.get_lines() if len(line.get_xdata()) == 60]
    # One layer: a logistic rise of rate r / (1 - lambda), from now and the eigenvalue now.
    for line, ceiling, start, rate in zip(
        rises, (2.0, 1.0), (0.05, 0.001), (4.0, 1.0), strict=True
    ):
        when, height = line.get_data()
        odds = start / (1 - start) * np.exp(rate * (when - 1.0))
        np.testing.assert_allclose(height, ceiling * odds / (1 + odds), rtol=1e-9)
        assert (when[0], height[-1]) == (1.0, pytest.approx(0.98 * ceiling))
    past = [(times[:2], lam[:2, 0]), (times[:2], [np.nan, 0.001])]
    rest = [(times[1:], lam[1:, 0]), (times[1:], lam[1:, 1])]
    same_lines(
        axes,
        [
            *past, *rest, *(line.get_data() for line in rises),
            ([1.5, 4.0], [1.0, 1.0]), ([5.0, np.nan], [0.2, 0.2]),  # the second below the first
            ([2.0], [1.0]), ([9.0], [0.2]),
        ],
    )  # fmt: skip
    names = [(text.get_text().strip(), text.get_position()) for text in axes.texts]
    assert names == [("mode 1", (2.0, 1.0)), ("mode 2", (9.0, 0.2))]
    same_boxes(axes, [([0.0, 1.0], WHOLE)])
    assert axes.get_xlim() == (0.0, 4.0)


def test_a_mode_without_a_step_time_is_named_at_its_lower_end(tmp_path, figure_of):
    times, lam = np.array([0.0, 1.0]), np.array([[0.01, 0.001], [0.1, 0.001]])
    write_arrays(tmp_path / "forecast.npz", times_0=times, eigenvalues_0=lam)
    queued = told(None, 1.0, None, None, 5.0, None, 3.0, mode=2, lam=0.001, late_rate=0.999)
    write_json(tmp_path / "forecast.json", {"at": 10, "judged_at": None, "forecasts": [queued]})
    (axes,) = figure_of(forecast.draw_forecast, tmp_path).get_axes()
    (text,) = axes.texts
    assert text.get_text().strip() == "mode 2: not before"
    assert text.get_position() == (5.0, 0.5)


def expected_kinds(results=RESULTS):
    """Measured, predicted, low and high of the steps behind figure 5, from the files."""

    def numbers(values):
        return np.array([np.nan if value is None else value for value in values], dtype=float)

    linear = [read_json(path) for path in sorted((results / "linear").glob("*/comparison.json"))]
    keys = ("measured_step_times", "predicted_step_times", "predicted_low", "predicted_high")
    yield "linear: closed form", [np.concatenate([numbers(c[k]) for c in linear]) for k in keys]
    wide = read_json(results / "wide/wide.json")
    last = wide["ways"]["last"]
    both = (last["measured_step_times"], last["kernel"]["step_times"])
    for place in (0, -1):
        name = f"one hidden layer of {wide['widths'][place]}: initial kernel"
        yield name, [numbers(itertools.chain(*times[place])) for times in both]
    kernels = [read_json(path) for path in sorted((results / "kernels").glob("*/ntk.json"))]
    for encoder, name in (("resnet18", "ResNet-18"), ("resnet50", "ResNet-50")):
        some = [
            one for one in kernels if (one["encoder"], one["method"]) == (encoder, "barlow_twins")
        ]
        yield (
            f"{name}: initial kernel",
            [np.concatenate([numbers(one[key]) for one in some]) for key in keys[:2]],
        )
    stored = read_json(results / "forecast/forecast.json")
    names = {"mlp": "MLP", "convnet": "convnet", "resnet18": "ResNet-18"}
    for encoder in {one["encoder"] for one in stored["forecasts"]}:
        name = names[encoder]
        some = [
            one for one in stored["forecasts"] if one["size"] == 1e-3 and one["encoder"] == encoder
        ]
        yield (
            f"{name}: forecast in training",
            [
                numbers(values) - numbers([one["time"] for one in some])
                for values in (
                    [one["measured_step_time"] for one in some],
                    [one["step_times"]["lagged_law"] for one in some],
                    [one["low"] for one in some],
                    [one["high"] for one in some],
                )
            ],
        )


def test_figure_5_collects_every_step_predicted_and_seen():
    found = {one.name: one for one in figure5_step_times.predictions(RESULTS)}
    expected = dict(expected_kinds())
    assert found.keys() == expected.keys()
    intervals = 0
    for name, rows in expected.items():
        known = (rows[0] > 0) & (rows[1] > 0) & np.isfinite(rows[1])
        assert known.any()
        kept = np.array([row[known] for row in rows])
        kept = kept[:, np.lexsort(kept[:2])]
        drawn = np.array([found[name].measured, found[name].predicted])
        order = np.lexsort(drawn)
        np.testing.assert_allclose(drawn[:, order], kept[:2])
        ends = np.array([found[name].low, found[name].high])[:, order]
        if len(rows) == 2:
            assert np.isnan(ends).all()
        else:
            intervals += len(kept[0])
            np.testing.assert_allclose(ends[0], kept[2])
            endless = np.isnan(kept[3])
            np.testing.assert_allclose(ends[1, ~endless], kept[3, ~endless])
            assert np.isinf(ends[1, endless]).all()
    assert intervals > 100


def test_figure_5_says_how_many_intervals_hold_what_was_measured(tmp_path):
    for name in ("linear", "wide", "kernels", "forecast"):
        shutil.copytree(RESULTS / name, tmp_path / name)
    stored = read_json(tmp_path / "forecast/forecast.json")
    for one in stored["forecasts"]:  # intervals so narrow that most measured times lie outside
        told = one["step_times"]["lagged_law"]
        if told is None:
            continue
        one["low"], one["high"] = told - 0.2 * (told - one["time"]), 1.05 * told
    write_json(tmp_path / "forecast/forecast.json", stored)
    with styled():
        figure, caption = figure5_step_times.figure(tmp_path)
    told, covered = " ".join(caption.split()), []
    for name, rows in expected_kinds(tmp_path):
        measured, predicted, *ends = rows
        known = (measured > 0) & (predicted > 0)
        if len(ends):
            low, high = (row[known] for row in ends)
            inside = (low <= measured[known]) & (measured[known] <= np.where(
                np.isnan(high), np.inf, high))  # fmt: skip
            share = inside[~np.isnan(low)].mean()
            covered.append(share)
            assert f"{name[1:]}, " in told
            part = told[told.index(f"{name[1:]}, ") :].split(";")[0]
            assert f", {100 * share:.0f} % inside the interval" in part
    assert len(covered) == 4
    assert 0.1 < min(covered) < 0.9
    # Bars: from the tenth to the ninetieth percentile of predicted over measured.
    kinds = figure5_step_times.predictions(tmp_path)
    bars = figure.get_axes()[1].get_lines()
    for place, one in enumerate(kinds):
        ratios = np.sort(one.predicted / one.measured)
        at = [line for line in bars if len(set(line.get_ydata())) == 1
              and line.get_ydata()[0] == place + 0.38]  # fmt: skip
        shares = np.arange(len(ratios)) / (len(ratios) - 1)
        low, middle, high = np.interp([0.1, 0.5, 0.9], shares, ratios)
        (ends,) = [line.get_xdata() for line in at if len(line.get_xdata()) == 2]
        (centre,) = [line.get_xdata() for line in at if len(line.get_xdata()) == 1]
        np.testing.assert_allclose([*ends, *centre], [low, high, middle], rtol=1e-9)
