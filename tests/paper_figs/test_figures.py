"""Figures are drawn from run folders, and show something."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.image
import numpy as np
import pytest

from experiments.options import CompareOptions, PredictOptions
from experiments.studies.linear.compare import compare
from experiments.studies.linear.predict import predict
from paper_figs.runs import linear as prediction
from paper_figs.runs import linear as staircase


@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "options", "draw", "name"),
    [
        (predict, PredictOptions, prediction.draw_prediction, "prediction.png"),
        (compare, CompareOptions, staircase.draw_comparison, "comparison.png"),
    ],
)
def test_a_picture_is_drawn_and_not_blank(tmp_path, study, options, draw, name):
    before = dict(mpl.rcParams)
    folder = study(options(pairs=100, dim=3, out=Path(tmp_path)))
    path = draw(folder)
    assert path == tmp_path / name
    pixels = matplotlib.image.imread(path)[..., :3]
    height, width, _ = pixels.shape
    assert height > 600
    assert width > 900
    for half in np.array_split(pixels, 2):
        inked = (half < 0.9).any(axis=2).mean()
        assert 0.005 < inked < 0.5
    assert dict(mpl.rcParams) == before
    first = path.read_bytes()
    assert draw(folder).read_bytes() == first


@pytest.mark.slow
@pytest.mark.parametrize("draw", [prediction.draw_prediction, staircase.draw_comparison])
def test_modes_never_learned_can_be_drawn(tmp_path, draw):
    np.savez(tmp_path / "pairs.npz", x=np.eye(3), x_prime=-np.eye(3))
    study, options = (
        (predict, PredictOptions)
        if draw is prediction.draw_prediction
        else (compare, CompareOptions)
    )
    with pytest.warns(UserWarning, match="never learned"):
        study(options(data=str(tmp_path / "pairs.npz"), dim=2, center=False, out=tmp_path))
    assert draw(tmp_path).stat().st_size > 1000


@pytest.mark.parametrize("draw", [prediction.draw_prediction, staircase.draw_comparison])
def test_a_folder_without_results_is_refused(tmp_path, draw):
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        draw(tmp_path)
