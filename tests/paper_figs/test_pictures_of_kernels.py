"""Pictures of tangent kernels hold the numbers of their files."""

import numpy as np
import pytest

from paper_figs import captions
from paper_figs.paper import figure4_kernels
from paper_figs.runs import kernels as ntk
from paper_figs.store import RESULTS
from paper_figs.style import styled
from sslsim.core.files import write_json

WHOLE = [0, 1]
NETWORK = {
    "method": "simclr", "encoder": "mlp", "data": "x/digits", "step": 90, "module": "own:build",
    "mode_alignment": [0.9, 0.4, 0.2], "chance": 0.125,
}  # fmt: skip


def bars(heights):
    return [([mode + 0.6, mode + 1.4], [0, height]) for mode, height in enumerate(heights)]


def test_a_network_shows_shares_of_modes_and_times_of_steps(
    tmp_path, figure_of, same_lines, same_boxes
):
    times = {"predicted_step_times": [1.0, 3.0, None], "measured_step_times": [2.0, None, 5.0]}
    write_json(tmp_path / "ntk.json", NETWORK | times)
    modes, steps = figure_of(ntk.draw_kernel, tmp_path).get_axes()
    same_boxes(modes, bars([0.9, 0.4, 0.2]))
    same_lines(modes, [(WHOLE, 0.125)])
    same_lines(steps, [([1.0], [2.0]), ([1.0, 2.0], [1.0, 2.0])])
    assert modes.get_title(loc="left") == "simclr, mlp, update 90"


def test_a_module_of_the_users_has_no_times(tmp_path, figure_of, same_boxes):
    write_json(tmp_path / "ntk.json", NETWORK)
    (modes,) = figure_of(ntk.draw_kernel, tmp_path).get_axes()
    same_boxes(modes, bars([0.9, 0.4, 0.2]))
    assert modes.get_title(loc="left") == "own:build"


def test_over_training_every_alignment_and_every_way_to_date_a_step_is_drawn(
    tmp_path, figure_of, same_lines
):
    times = [0.0, 1.0, 4.0]
    keys = ("kernel_alignment", "kernel_cka", "with_embedding", "with_final_embedding")
    numbers = np.linspace(0.1, 0.9, 12).reshape(4, 3)
    lines = [
        {"time": time}
        | {
            key: float(value) if key.startswith("kernel") else
            {"subspace_alignment": float(value), "chance": 0.05 if row == 2 else 0.5}
            for row, (key, value) in enumerate(zip(keys, values, strict=True))
        }
        for time, values in zip(times, numbers.T, strict=True)
    ]  # fmt: skip
    result = NETWORK | {
        "over_training": lines,
        "measured_step_times": [1.5, 3.0, None],
        "predicted_step_times": [1.0, 2.0, 9.0],
        "refreshed_step_times": [1.25, None, 8.0],
        "restarted_step_times": [None, 2.75, 7.0],
        "mean_relative_error": 0.33,
        "refreshed_agreement": {"mean_relative_error": 0.17},
        "restarted_agreement": {"mean_relative_error": None},
    }
    write_json(tmp_path / "ntk.json", result)
    kernel, steps = figure_of(ntk.draw_over_training, tmp_path).get_axes()
    same_lines(
        kernel,
        [
            *((times, values) for values in numbers),
            *(([at, at], WHOLE) for at in (1.5, 3.0)),
            (WHOLE, 0.05),
        ],
    )
    same_lines(
        steps,
        [
            ([1.5, 3.0], [1.0, 2.0]), ([1.5], [1.25]), ([3.0], [2.75]),
            ([1.0, 3.0], [1.0, 3.0]),
        ],
    )  # fmt: skip
    told = [text.get_text() for text in steps.get_legend().texts]
    assert told == [
        "initial kernel, off by 33 %", "refreshed kernels, off by 17 %", "restarted before the step"
    ]  # fmt: skip


def test_a_matrix_shows_mean_and_range_of_every_pair_and_both_levels_of_chance(
    tmp_path, figure_of, same_lines
):
    mean = np.array(
        [[0.9, 0.2, 0.7, 0.31], [0.2, None, 0.4, 0.5], [0.7, 0.4, 0.8, 0.6], [0.31, 0.5, 0.6, 0.99]]
    )
    spread = np.zeros((4, 4))
    spread[0, 3] = spread[3, 0] = 0.11
    low, high = (
        [[None if m is None else m + sign * s for m, s in zip(*rows, strict=True)]
         for rows in zip(mean, spread, strict=True)]
        for sign in (-1, 1)
    )  # fmt: skip
    result = {
        "methods": ["barlow_twins", "byol"], "modes": 3, "alignment": mean.tolist(),
        "lowest": low, "highest": high, "chance": 0.1, "chance_alike": 0.14,
    }  # fmt: skip
    write_json(tmp_path / "ntk_across.json", result)
    matrix, bar = figure_of(ntk.draw_kernel, tmp_path).get_axes()
    (image,) = matrix.get_images()
    np.testing.assert_array_equal(np.ma.filled(image.get_array(), np.nan), mean.astype(float))
    words = {}
    for text in matrix.texts:
        column, row = text.get_position()
        words.setdefault((round(row), round(column)), []).append(text.get_text())
    assert words[0, 3] == words[3, 0] == ["0.31", "0.20-0.42"]
    assert words[1, 1] == ["-"]
    assert words[2, 1] == ["0.40"]
    same_lines(matrix, [(WHOLE, 1.5), ([1.5, 1.5], WHOLE)])
    levels = [line.get_ydata()[0] for line in bar.get_lines() if len(line.get_ydata()) == 2]
    assert levels == [0.1, 0.14]
    assert bar.get_yticklabels()[0].get_text() == "chance 0.10 to 0.14"


def test_figure_4_shows_means_ranges_and_chance(same_bands):
    with styled():
        figure, _ = figure4_kernels.figure(RESULTS)
    every = figure4_kernels.networks(RESULTS)
    encoders = list(dict.fromkeys(one["encoder"] for one in every))
    *panels, spaces = figure.get_axes()[: len(encoders) + 1]
    chance = max(one["chance"] for one in every)
    for axes, encoder in zip(panels, encoders, strict=True):
        kinds = {}
        for one in every:
            if one["encoder"] == encoder:
                kinds.setdefault(one["method"], []).append(one["mode_alignment"][:10])
        bands = [
            (np.arange(1, len(rows[0]) + 1), np.min(rows, axis=0), np.max(rows, axis=0))
            for rows in kinds.values()
            if len(rows) > 1
        ]
        same_bands(axes, bands)
        assert any(np.all(line.get_ydata() == chance) for line in axes.get_lines())
    ticks = [tick.get_text() for tick in spaces.get_xticklabels()]
    assert ticks == [captions.name_of(encoder) for encoder in encoders]
    marks = [line for line in spaces.get_lines() if line.get_label() == "after"]
    drawn = {tuple(line.get_ydata()): line.get_xdata() for line in marks}
    for place, encoder in enumerate(encoders):
        for method in {one["method"] for one in every}:
            some = [one for one in every if (one["encoder"], one["method"]) == (encoder, method)]
            where = drawn[tuple(one["subspace_alignment"] for one in some)]
            assert set(np.round(where)) == {place}


@pytest.mark.parametrize("measured", [[None, None], [2.0, 3.0]])
def test_without_a_step_in_common_there_is_a_word(tmp_path, figure_of, measured):
    times = {"predicted_step_times": [1.0, None], "measured_step_times": measured}
    write_json(tmp_path / "ntk.json", NETWORK | times)
    _, steps = figure_of(ntk.draw_kernel, tmp_path).get_axes()
    assert [text.get_text() for text in steps.texts] == (["no step"] if measured[0] is None else [])
