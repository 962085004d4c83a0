"""``acceleration.png`` shows the curves of the result: seeds, means, units."""

import numpy as np
import pytest

from paper_figs.runs.acceleration import draw_acceleration
from sslsim.core.files import write_json


def arm(name, factor, seconds):
    curves = [
        {
            "steps": [0, 10, 20, 40],
            "modes": [0.0, *(factor * np.array([1.0, 2.0, 3.0]) + seed)],
            "accuracy": [0.1, *(0.2 + 0.01 * factor * np.array([1.0, 2.0, 3.0]))],
            "effective_rank": [1.0, 2.0, 3.0, 4.0],
        }
        for seed in range(2)
    ]
    return {"arm": name, "seconds": seconds, "curves": curves}


@pytest.mark.parametrize("plateaus", [True, False])
def test_means_and_seeds_are_drawn_over_updates_and_seconds(tmp_path, figure_of, plateaus):
    arms = [arm("sgd", 1.0, 0.5), arm("muon", 2.0, 0.6)]
    result = {"method": "barlow_twins", "encoder": "convnet", "data": "digits", "dim": 8,
              "seeds": [1, 2], "plateaus": plateaus, "arms": arms}  # fmt: skip
    write_json(tmp_path / "acceleration.json", result)
    panels = figure_of(draw_acceleration, tmp_path).get_axes()
    for place, axes in enumerate(panels):
        row, column = divmod(place, 2)
        key = "accuracy" if row else "modes" if plateaus else "effective_rank"
        scale = 100.0 if row else 1.0
        for each in arms:
            (mean,) = [line for line in axes.get_lines() if line.get_label() == each["arm"]]
            factor = each["seconds"] if column else 1.0
            np.testing.assert_allclose(mean.get_xdata(), factor * np.array([10.0, 20.0, 40.0]))
            values = scale * np.array([curve[key][1:] for curve in each["curves"]])
            np.testing.assert_allclose(mean.get_ydata(), values.mean(axis=0))
            thin = [line for line in axes.get_lines() if line.get_linewidth() < 0.5]
            assert sum(np.allclose(line.get_ydata(), values[1]) for line in thin) >= 1
    assert [panels[2].get_xlabel(), panels[3].get_xlabel()] == ["updates", "processor seconds"]
    assert all(panels[place].get_ylabel() for place in (0, 2))
