"""``sslsim memorization --reference RUN``: natural atypicality and the scores of a study."""

import numpy as np
import pytest
from scipy import stats
from shown import shown
from studies import PAGE, POOL, SMALL, arguments, contents, of_runs, refused, study

from experiments.cli import main
from experiments.studies.memorization.analysis.atypicality import (
    image_atypicality,
    open_reference,
)
from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.settings import scored_images
from experiments.studies.memorization.study import memorization
from experiments.studies.training.train import train_network
from sslsim.core.files import read_arrays, read_json
from sslsim.memorization.statistics import SETS
from sslsim.runs.options import TrainOptions

pytestmark = pytest.mark.slow

MADE = {"steps": 2, "batch": 8, "records": 2, "probe": 4, "evaluate": False, "device": "cpu"}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A run of another architecture and method, on images of the same shape."""
    out = tmp_path_factory.mktemp("reference") / "run"
    options = {**MADE, "encoder": "mlp", "widths": (16,), "method": "vicreg", "limit": 50}
    return train_network(TrainOptions(**options, out=out))


def test_a_reference_is_added_to_a_finished_study_without_training(reference, tmp_path):
    options = {"layers": ("backbone", "projector"), "atypical": 0.5, "candidates": 12}
    folder = study(tmp_path / "o", **options)
    before, plain = contents(folder / "encoders"), read_arrays(folder / "scores.npz")
    assert read_json(folder / "memorization.json")["atypicality"] is None
    assert main(arguments(folder, **options, reference=reference)) == 0
    assert contents(folder / "encoders") == before
    result, arrays = read_json(folder / "memorization.json"), read_arrays(folder / "scores.npz")
    for name, values in plain.items():
        np.testing.assert_array_equal(values, arrays[name], err_msg=name)
    found = result["atypicality"]
    assert (found["method"], found["encoder"], found["neighbours"]) == ("vicreg", "mlp", 10)
    assert found["population"] == 200 - 100  # planted outliers are no neighbours
    assert arrays["atypicality"].shape == (29,)
    ranked = arrays["sets"] == SETS.index("candidate")
    natural = ranked & (arrays["atypical"] == 0)
    assert found["mean"] == pytest.approx(arrays["atypicality"][ranked].mean())
    for rows, images in ((ranked, "all"), (natural, "natural")):
        for form in ("raw", "ratio"):
            for layer, entry in enumerate(found["forms"][form]):
                f, g = (part[:, layer, rows] for part in np.split(arrays["losses"], 2))
                units = g - f if form == "raw" else (g - f) / (g + f)
                values = arrays["atypicality"][rows]
                taken = [stats.spearmanr(unit, values).statistic for unit in units]
                assert entry[images]["points"] == rows.sum()
                assert entry[images]["spearman"]["mean"] == pytest.approx(np.mean(taken))
                taken = [stats.spearmanr(unit, values).statistic for unit in g]
                assert entry[images]["loss"]["mean"] == pytest.approx(np.mean(taken))
    for key in [*found, *found["forms"]["raw"][0], *found["forms"]["raw"][0]["all"]]:
        assert f"`{key}`" in PAGE, key
    text = shown("memorization", folder)
    assert "Natural atypicality, the mean distance to 10 neighbours among 100 training" in text
    assert "without planted outliers" in text
    # And back again: without a reference there is nothing of it.
    study(folder, **options)
    assert "atypicality" not in read_arrays(folder / "scores.npz")


def test_what_the_reference_saw_is_told(reference, tmp_path):
    found = read_json(study(tmp_path / "o", reference=reference) / "memorization.json")
    candidates = read_arrays(tmp_path / "o/scores.npz")
    assert 0 <= found["atypicality"]["seen"] <= 1
    assert found["atypicality"]["forms"]["raw"][0]["natural"] is None
    own = MemorizationOptions(**SMALL, reference=reference)
    images = scored_images(own)
    opened = open_reference(own, images)
    np.testing.assert_array_equal(candidates["atypicality"], image_atypicality(opened, images))


def test_a_pool_is_correlated_over_all_its_images(reference, tmp_path):
    folder = memorization(MemorizationOptions(**POOL, reference=reference, out=tmp_path / "p"))
    result, arrays = read_json(folder / "memorization.json"), read_arrays(folder / "scores.npz")
    (entry,) = result["atypicality"]["forms"]["raw"]
    expected = stats.spearmanr(arrays["scores"][0], arrays["atypicality"]).statistic
    assert entry["all"]["spearman"]["mean"] == pytest.approx(expected)
    assert entry["all"]["spearman"]["pair_error"] is None
    without = np.where(arrays["members"], 0, arrays["losses"][:, 0]).sum(axis=0)
    without /= (~arrays["members"]).sum(axis=0)
    expected = stats.spearmanr(without, arrays["atypicality"]).statistic
    assert entry["all"]["loss"]["mean"] == pytest.approx(expected)
    # A fault: distances of images to neighbours of other images.
    wrong = stats.spearmanr(arrays["scores"][0], arrays["atypicality"][::-1]).statistic
    assert entry["all"]["spearman"]["mean"] != pytest.approx(wrong)


def test_references_that_cannot_serve_are_refused(reference, runs, tmp_path, capsys):
    def told(**options):
        return refused(capsys, tmp_path / "o", **options)

    assert "holds no checkpoint of its training" in told(limit=40, reference=runs / "empty")
    assert "nowhere/config.json cannot be read" in told(reference=tmp_path / "nowhere")
    small = {"limit": 12, "shared": 3, "candidates": 3, "independent": 3}
    assert "10 training images that are no outliers; expected more than 10" in told(
        **small, atypical=0.2, reference=reference
    )
    images = np.zeros((20, 1, 9, 9), np.uint8)
    images[np.arange(20), 0, 0, 0] = np.arange(20)
    np.savez(tmp_path / "other.npz", images=images)
    other = train_network(
        TrainOptions(
            **MADE, encoder="linear", dim=2, data=str(tmp_path / "other.npz"), out=tmp_path / "r"
        )
    )
    assert "was trained on images of shape (1, 9, 9); expected (1, 8, 8)" in told(reference=other)
    line = told(**of_runs(runs), reference=runs / "f0")
    assert "f, g or reference holds a folder twice" in line
