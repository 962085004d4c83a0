"""Rankings of several studies of the same images."""

import pytest
from scipy import stats
from shown import shown
from studies import PAGE, study

from sslsim.core.files import read_arrays, read_json
from sslsim.memorization.statistics import SETS

pytestmark = pytest.mark.slow


def test_seeds_and_methods_are_compared_on_the_same_images(tmp_path):
    first = study(tmp_path / "a")
    study(tmp_path / "b", seed=7, method="vicreg", compare=(first,), top=2)
    (found,) = read_json(tmp_path / "b/memorization.json")["agreement"]
    assert (found["method"], found["points"], found["top"]) == ("simclr", 6, 2)
    assert found["chance"] == pytest.approx(1 / 3)
    for key in found:
        assert f"`{key}`" in PAGE, key
    assert (tmp_path / "b/memorization.png").exists() is False  # drawn by the command
    assert "Kendall's tau" in shown("memorization", tmp_path / "b")
    # A study agrees with itself.
    study(tmp_path / "c", compare=(first,))
    (found,) = read_json(tmp_path / "c/memorization.json")["agreement"]
    assert (found["tau"], found["overlap"]) == (pytest.approx(1), 1)


def test_rankings_are_compared_by_layers_of_one_name(tmp_path):
    names = ("backbone", "projector")
    network = {"encoder": "mlp", "widths": (6,)}
    first = study(tmp_path / "a", layers=names, **network)
    study(tmp_path / "b", seed=7, layers=names[::-1], compare=(first,), **network)
    arrays = [read_arrays(tmp_path / name / "scores.npz") for name in "ab"]
    (found,) = read_json(tmp_path / "b/memorization.json")["agreement"]
    assert (found["layer"], found["other_layer"]) == ("projector", "projector")
    rows = arrays[0]["sets"] == SETS.index("candidate")
    taus = [
        stats.kendalltau(arrays[0]["scores"][i][rows], arrays[1]["scores"][0][rows]).statistic
        for i in range(2)
    ]
    assert taus[0] != taus[1]
    assert found["tau"] == pytest.approx(taus[1])
    # What there is in common, be it of another place; else the first of either.
    study(tmp_path / "c", layers=("projector",), **network)
    study(tmp_path / "d", layers=("layer1", "projector"), compare=(tmp_path / "c",), **network)
    (found,) = read_json(tmp_path / "d/memorization.json")["agreement"]
    assert found["layer"] == "projector"
    assert found["tau"] == pytest.approx(1)
    study(tmp_path / "e", layers=("backbone",), compare=(tmp_path / "c",), **network)
    (found,) = read_json(tmp_path / "e/memorization.json")["agreement"]
    assert (found["layer"], found["other_layer"]) == ("backbone", "projector")
    assert "backbone here and projector there" in shown("memorization", tmp_path / "e")
