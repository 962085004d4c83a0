"""``sslsim memorization --f ... --g ...``: encoders of runs of ``sslsim train``."""

import numpy as np
import pytest
from studies import arguments, of_runs, refused

from experiments.cli import main
from sslsim.core.files import read_arrays

pytestmark = pytest.mark.slow


def test_encoders_of_runs_are_scored(runs, tmp_path):
    assert main(arguments(tmp_path / "o", **of_runs(runs))) == 0
    arrays = read_arrays(tmp_path / "o/scores.npz")
    assert not (tmp_path / "o/encoders").exists()
    # The same runs in both places: no image is memorised, whatever its set.
    assert np.abs(arrays["scores"]).max() > 0


def test_encoders_that_do_not_fit_the_sets_are_refused(runs, tmp_path, capsys):
    folder = tmp_path / "o"
    line = refused(capsys, folder, **of_runs(runs, "g", "f"))
    assert "was trained on the independent images and on no candidate one" in line
    assert "f and g seem to be swapped" in line
    line = refused(capsys, folder, **of_runs(runs, g="f"))
    assert "is given as g, but was trained on the candidate images" in line
    given = of_runs(runs)
    for changes, message in [
        ({"g": (runs / "g0", runs / "other")}, "g[1] and f[0] are of different architectures"),
        ({"g": (runs / "g0", runs / "empty")}, "holds no checkpoint of its training"),
        ({"g": (runs / "g0", tmp_path / "no")}, "config.json cannot be read"),
        ({"g": (runs / "g0",)}, "2 encoder(s) f and 1 g were given"),
        ({"sets": runs / "overlap.npz"}, "is in the sets candidate and shared; expected disjoint"),
        ({"sets": runs / "outside.npz"}, "holds places from 3 to 999; expected some of 0 to 39"),
        ({"atypical": 1.0}, "images; expected all of them"),
        ({"curve": 2}, "expected encoders trained here"),
    ]:
        assert message in refused(capsys, folder, **{**given, **changes})
    del given["sets"]
    assert "without --sets; expected what they saw" in refused(capsys, folder, **given)
