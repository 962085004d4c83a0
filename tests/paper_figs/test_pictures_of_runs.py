"""Pictures of predictions, trainings and comparisons hold the numbers of their files."""

import json

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from paper_figs.runs import embeddings
from paper_figs.runs import linear as prediction
from paper_figs.runs import linear as staircase
from paper_figs.runs import linear as wide
from paper_figs.runs import training as run
from paper_figs.runs.embeddings import principal_points
from sslsim.core.files import write_arrays, write_json

WHOLE = [0, 1]  # of an axis, for lines across the panel


def test_a_prediction_shows_its_loss_steps_and_intervals(tmp_path, figure_of, same_lines):
    times, loss = np.array([0.5, 1.0, 4.0, 20.0]), np.array([3.0, 2.5, 1.0, 0.2])
    write_arrays(tmp_path / "prediction.npz", times=times, loss=loss)
    write_json(
        tmp_path / "prediction.json",
        {
            "step_times": [2.0, 5.0, 30.0, None],
            "step_time_low": [0.25, 3.0, 21.0, None],
            "step_time_high": [2.5, 40.0, None, None],
            "resolved": [True, False, True, False],
            "interval_level": 0.8,
            "n_pairs": 7,
            "data": "some/where/digits",
        },
    )
    figure = figure_of(prediction.draw_prediction, tmp_path)
    above, below = figure.get_axes()
    steps = [([at, at], WHOLE) for at in (2.0, 5.0, 30.0)]
    same_lines(above, [(times, loss), *steps])
    right = 1.05 * 40.0  # beyond the farthest end; what has none goes as far
    bars = [([0.5, 2.5], [1, 1]), ([3.0, 40.0], [2, 2]), ([21.0, right], [3, 3])]
    dots = [([2.0], [1]), ([5.0], [2]), ([30.0], [3])]
    same_lines(below, [*steps, *bars, *dots])
    assert below.get_xlim() == (0.5, pytest.approx(right))
    hollow = [
        line.get_ydata()[0] for line in below.get_lines() if line.get_markerfacecolor() == "white"
    ]
    assert hollow == [2]
    assert "bars: 80 % intervals" in below.texts[0].get_text()
    assert "7 pairs of digits" in above.get_title(loc="left")


def test_a_prediction_from_a_kernel_shows_its_draws(tmp_path, figure_of):
    write_arrays(tmp_path / "prediction.npz", times=np.array([0.5, 20.0]), loss=np.ones(2))
    write_json(
        tmp_path / "prediction.json",
        {
            "step_times": [2.0, None],
            "step_time_low": [1.0, None],
            "step_time_high": [3.0, None],
            "step_time_mean": [2.5, None],
            "step_time_draw_low": [1.5, None],
            "step_time_draw_high": [4.0, None],
            "resolved": [True, False],
            "interval_level": 0.9,
            "n_pairs": 7,
            "data": "some/where/k.npy",
            "kernel": "some/where/k.npy",
        },
    )
    above, below = figure_of(prediction.draw_prediction, tmp_path).get_axes()
    drawn = [line.get_xdata() for line in below.get_lines() if line.get_ydata()[0] == 1.3]
    assert [list(ends) for ends in drawn] == [[1.5, 4.0]]
    assert "over draws of the initial function" in below.texts[0].get_text()
    assert "Kernel k.npy on 7 pairs" in above.get_title(loc="left")


def recorded(folder, kind="probe_loss", spectrum="cross_spectrum"):
    """A run of four snapshots, with an update in between that was none."""
    times = np.array([0.0, 0.1, 0.2, 0.4])
    curves = np.array([[0.1, 0.0], [0.4, 0.1], [0.9, 0.3], [1.0, 0.8]])
    other = curves[:, ::-1] + 3.0
    both = {"cross_spectrum": other, "covariance_spectrum": other, spectrum: curves}
    write_arrays(folder / "records.npz", times=times, steps=np.array([0, 1, 2, 4]), **both)
    losses = [None, 2.0, 1.5, 9.0, 0.25]
    lines = [{"step": step, "loss": 77.0, kind: loss} for step, loss in enumerate(losses)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "records.jsonl").write_text(text)
    return times, np.array([np.nan, 2.0, 1.5, 0.25]), curves


@pytest.mark.parametrize("kind", ["probe_loss", "loss"])
@pytest.mark.parametrize("spectrum", ["cross_spectrum", "covariance_spectrum"])
def test_a_run_shows_its_loss_eigenvalues_and_steps(
    tmp_path, figure_of, same_lines, kind, spectrum
):
    times, loss, curves = recorded(tmp_path, kind, spectrum)
    write_json(
        tmp_path / "training.json",
        {
            "method": "simclr", "encoder": "mlp", "data": "digits", "detected_steps": 1,
            "spectrum": spectrum, "step_times": [0.15, None],
        },
    )  # fmt: skip
    above, below = figure_of(run.draw_run, tmp_path).get_axes()
    same_lines(above, [([0.15, 0.15], WHOLE), (times, loss)])
    same_lines(below, [([0.15, 0.15], WHOLE), *((times, curve) for curve in curves.T)])
    assert above.get_ylabel() == ("held-out loss" if kind == "probe_loss" else "loss")
    assert above.get_title(loc="left").endswith("1 steps seen")


def test_a_run_with_forecasts_shows_how_they_close_in(tmp_path, figure_of, same_lines):
    recorded(tmp_path)
    lines = [
        {"step": 0, "time": 0.0, "loss": None, "next_mode": None},
        {"step": 1, "time": 0.1, "loss": 2.0, "next_mode": 1, "next_step": 0.16,
         "next_step_low": 0.12, "next_step_high": 0.3},
        {"step": 2, "time": 0.2, "loss": 1.5, "next_mode": 2, "next_step": 0.5,
         "next_step_low": 0.3, "next_step_high": None},
        {"step": 4, "time": 0.4, "loss": 0.25, "next_mode": 2, "next_step": 0.45,
         "next_step_low": 0.42, "next_step_high": 0.6},
    ]  # fmt: skip
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_json(
        tmp_path / "training.json",
        {
            "method": "simclr", "encoder": "mlp", "data": "digits", "detected_steps": 1,
            "spectrum": "cross_spectrum", "step_times": [0.15, None],
        },
    )  # fmt: skip
    _, _, closing = figure_of(run.draw_run, tmp_path).get_axes()
    end = closing.get_xlim()[1]
    same_lines(
        closing,
        [
            ([0.1], [0.16]),
            ([0.1, 0.15], [0.15, 0.15]),
            ([0.2, 0.4], [0.5, 0.45]),
            ([0, end], [0, end]),
        ],
    )
    assert closing.get_xlabel().startswith("time (learning rate")
    assert closing.get_ylabel() == "time of the next step"


def test_theory_over_a_run_is_moved_by_its_one_factor(tmp_path, figure_of, same_lines):
    times, loss, curves = recorded(tmp_path)
    write_json(
        tmp_path / "comparison.json",
        {
            "method": "simclr", "encoder": "mlp", "data": "digits", "spectrum": "cross_spectrum",
            "fitted_time_scale": 0.5, "predicted_step_times": [0.3, 0.7],
            "measured_step_times": [0.15, 0.38], "mean_scaled_relative_error": 0.07,
        },
    )  # fmt: skip
    above, below = figure_of(run.draw_run_comparison, tmp_path).get_axes()
    seen = [([at, at], WHOLE) for at in (0.15, 0.38)]
    same_lines(above, [*seen, (times, loss)])
    told = [([at, at], WHOLE) for at in (0.15, 0.35)]
    same_lines(below, [*seen, *told, *((times, curve) for curve in curves.T)])
    assert above.get_title(loc="left").endswith("step ratios off by 7 %")
    assert "times 0.5" in " ".join(text.get_text() for text in above.get_legend().texts)


def test_a_staircase_shows_each_mode_over_the_curve_that_steps_with_it(
    tmp_path, figure_of, same_lines
):
    """Measured curves are sorted, predicted ones are by mode: here the second steps first."""
    times = np.array([0.0, 1.0, 3.0, 9.0])
    measured = np.array([[0.0, 0.0], [0.6, 0.1], [0.9, 0.4], [1.0, 0.9]])
    predicted = np.array([[0.0, 0.0], [0.12, 0.61], [0.41, 0.91], [0.91, 1.01]])
    loss, told = np.array([2.0, 1.5, 0.8, 0.1]), np.array([2.0, 1.4, 0.7, 0.2])
    write_arrays(
        tmp_path / "comparison.npz", times=times, measured_loss=loss, predicted_loss=told,
        measured_eigenvalues=measured, predicted_eigenvalues=predicted,
    )  # fmt: skip
    write_json(
        tmp_path / "comparison.json",
        {
            "predicted_step_times": [8.0, 2.0], "dim": 2, "data": "digits", "n_pairs": 5,
            "mean_relative_error": 0.031,
        },
    )  # fmt: skip
    above, below = figure_of(staircase.draw_comparison, tmp_path).get_axes()
    later = times[1:]
    steps = [([at, at], WHOLE) for at in (8.0, 2.0)]
    same_lines(above, [(later, loss[1:]), (later, told[1:]), *steps])
    curves = [(later, curve[1:]) for curve in (*measured.T, *predicted.T)]
    same_lines(below, [*curves, *steps])
    colours = {}
    for line in below.get_lines():
        if len(line.get_xdata()) == 3:
            colours.setdefault(to_hex(line.get_color()), set()).add(line.get_ydata()[-1])
    assert sorted(map(sorted, colours.values())) == [[0.9, 0.91], [1.0, 1.01]]
    assert above.get_title(loc="left").endswith("mean step-time error 3.1 %")


def test_wide_networks_show_every_error_its_mean_and_interval(
    tmp_path, figure_of, same_lines, same_segments
):
    widths, ways, names = [16, 4], ("last", "centred"), ("kernel", "full_kernel", "limit")
    found, numbers = {way: {} for way in ways}, iter(np.linspace(0.01, 0.3, 60).round(4))
    for way in ways:
        for name in names:
            errors = np.array([next(numbers) for _ in range(4)]).reshape(2, 2)
            middle = np.array([next(numbers) for _ in widths])
            found[way][name] = {
                "mean_relative_error": errors, "geometric_mean": middle, "low": 0.5 * middle,
                "high": 3 * middle, "exponent": -0.25 if name == "kernel" else None,
            }  # fmt: skip
    write_json(tmp_path / "wide.json", {"widths": widths, "ways": found})
    arrays = {}
    for place, way in enumerate(ways):
        for row, name in enumerate(("measured", "kernel", "full_kernel")):
            arrays[f"{way}_{name}_times"] = np.array([0.0, 1.0, 2.0, 4.0]) + row
            arrays[f"{way}_{name}_eigenvalues"] = np.linspace(0, 1 + row + 10 * place, 8).reshape(
                4, 2
            )
    write_arrays(tmp_path / "wide.npz", **arrays)
    panels = figure_of(wide.draw_widths, tmp_path).get_axes()
    for place, way in enumerate(ways):
        lines, bars = [(WHOLE, 0.05)], []
        for shift, name in zip((1 / 1.07, 1.0, 1.07), names, strict=True):
            one = found[way][name]
            dots = np.repeat([16 * shift, 4 * shift], 2), one["mean_relative_error"].ravel()
            order = [1, 0]  # ascending widths
            at, mean, low, high = (
                np.array(row)[order]
                for row in (
                    [16 * shift, 4 * shift], one["geometric_mean"], one["low"], one["high"]
                )
            )  # fmt: skip
            lines += [dots, (at, mean), (at, low), (at, high)]  # the last two are caps of bars
            bars += [([x, x], [bottom, top]) for x, bottom, top in zip(at, low, high, strict=True)]
        same_lines(panels[place], lines)
        same_segments(panels[place], bars)
        words = [text.get_text() for text in panels[place].get_legend().texts]
        assert sum("-0.25" in word for word in words) == 1
        same_lines(
            panels[2 + place],
            [
                (arrays[f"{way}_{name}_times"][1:], curve)
                for name in ("measured", "kernel", "full_kernel")
                for curve in arrays[f"{way}_{name}_eigenvalues"][1:].T
            ],
        )


def unfolding():
    """Three directions open one after another, of four; scores are in turned axes."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    spectra = np.array(
        [[1e-3, 1e-4, 1e-5, 1e-6], [1.0, 0.9, 0.8, 0.01], [1.0, 1.0, 0.7, 0.65], [1.0] * 4]
    )
    whole = np.stack([np.sqrt(row) * rng.standard_normal((6, 4)) for row in spectra])
    axes = np.stack([np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in spectra])
    axes[1] = turn
    records = {
        "times": np.array([0.0, 1.0, 2.0, 3.0]),
        "scores": np.einsum("tnk,tkr->tnr", whole @ turn.T, axes),
        "axes": axes,
        "mean": np.zeros((4, 4)),
        "covariance_spectrum": spectra,
        "cross_spectrum": spectra / 2,
    }
    return records, whole[..., :3]


def test_embeddings_are_seen_along_the_directions_of_the_moment_when_three_are_open():
    records, expected = unfolding()
    np.testing.assert_allclose(principal_points(records), expected, atol=1e-12)


def test_the_animation_shows_points_eigenvalues_and_steps_of_every_moment(
    tmp_path, monkeypatch, same_lines
):
    records, expected = unfolding()
    write_arrays(tmp_path / "records.npz", **records)
    steps = {"step_times": [0.5, 1.5, None, 2.5], "spectrum": "cross_spectrum"}
    write_json(tmp_path / "training.json", steps)
    frames, written = [], FigureCanvasAgg.print_png

    def kept(canvas, *given, **options):
        frames.append(canvas.figure)
        return written(canvas, *given, **options)

    monkeypatch.setattr(FigureCanvasAgg, "print_png", kept)
    embeddings.animate(tmp_path)
    assert len(frames) == 4
    curves = records["cross_spectrum"]
    for place, frame in enumerate(frames):
        space, panel = frame.get_axes()
        np.testing.assert_allclose(
            np.transpose(space.collections[0]._offsets3d), expected[place], atol=1e-12
        )
        done = [(records["times"][: place + 1], curve[: place + 1]) for curve in curves.T]
        whole = [(records["times"], curve) for curve in curves.T]
        same_lines(panel, [*whole, *done, ([float(place)] * 2, WHOLE)])
        assert panel.get_title(loc="left") == (
            "1 step done" if place == 1 else f"{place} steps done"
        )
