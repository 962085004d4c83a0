"""Both forms of scores, layers side by side, untrained encoders and common statistics of pixels."""

import json
from dataclasses import replace

import numpy as np
import pytest
from shown import shown
from studies import POOL, of_runs, refused, study

from experiments.studies.memorization.analysis.forms import by_form, layer_agreement, scores_by_form
from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.settings import scored_images
from experiments.studies.memorization.study import memorization
from sslsim.core.files import read_arrays, read_json
from sslsim.memorization.losses import ImageScores
from sslsim.memorization.statistics import (
    SETS,
    agreement_of_pairs,
    corrected_correlation,
    rank_agreement,
)

pytestmark = pytest.mark.slow

NETWORK = {"encoder": "mlp", "widths": (6,), "layers": ("projector", "backbone")}


def test_both_forms_are_told_whichever_ranks(tmp_path):
    folders = [
        study(tmp_path / form, atypical=0.5, form=form, **NETWORK) for form in ("raw", "ratio")
    ]
    raw, ratio = (read_json(folder / "memorization.json") for folder in folders)
    assert raw["forms"] == ratio["forms"]
    for result in (raw, ratio):
        own = result["forms"][result["form"]]
        assert result["mean"] == own["mean"]
        for place, tests in enumerate(result["sets"]):
            for key in ("means", "offset", "comparisons"):
                assert tests[key] == own["sets"][place][key]
    arrays = read_arrays(folders[0] / "scores.npz")
    f, g = arrays["losses"][:2], arrays["losses"][2:]
    for form, units in (("raw", g - f), ("ratio", (g - f) / (g + f))):
        for layer in range(2):
            for code, name in enumerate(SETS):
                means = units[:, layer, arrays["sets"] == code].mean(axis=1)
                told = raw["forms"][form]["sets"][layer]["means"][name]
                np.testing.assert_allclose(told, means, atol=1e-12)
    for test in raw["sets"][0]["comparisons"]:
        assert test["low"] < test["difference"] < test["high"]
        assert test["pair_error"] == pytest.approx(test["standard_error"])
    text = shown("memorization", folders[0])
    assert "Layers side by side" in text
    assert "raw: above external" in text
    assert "ratio: above external" in text
    first = raw["forms"]["ratio"]["sets"][0]["comparisons"][0]["difference"]
    line = next(line for line in text.splitlines() if line.startswith("candidate above shared: "))
    assert f"ratio {first:.3g} [" in line


def test_layers_are_ranked_side_by_side(tmp_path):
    folder = study(tmp_path, **NETWORK)
    result, arrays = read_json(folder / "memorization.json"), read_arrays(folder / "scores.npz")
    assert np.array_equal(arrays["orders"][0], arrays["order"])
    ranked = arrays["sets"] == 0
    for scores, order in zip(arrays["scores"], arrays["orders"], strict=True):
        assert set(order) == set(np.flatnonzero(ranked))
        assert (np.diff(scores[order]) <= 0).all()
    (found,) = result["layer_agreement"]
    assert (found["layer"], found["other_layer"], found["points"]) == ("projector", "backbone", 6)
    expected = rank_agreement(*(scores[ranked] for scores in arrays["scores"]), found["top"])
    assert found["tau"] == pytest.approx(expected.tau)
    assert found["overlap"] == expected.overlap


def test_studies_are_compared_by_every_layer_and_corrected_for_noise(tmp_path):
    study(tmp_path / "a", encoder_pairs=3, candidates=12, **NETWORK)
    study(tmp_path / "b", candidates=12, seed=9, compare=(tmp_path / "a",), **NETWORK)
    other, own = (read_arrays(tmp_path / name / "scores.npz") for name in "ab")
    (found,) = read_json(tmp_path / "b/memorization.json")["agreement"]
    assert [pair["layer"] for pair in found["by_layer"]] == ["projector", "backbone"]
    assert found["by_layer"][0].items() <= found.items()
    ranked = own["sets"] == 0
    for layer, pair in enumerate(found["by_layer"]):
        units = own["units"][layer][:, ranked], other["units"][layer][:, ranked]
        expected = corrected_correlation(*units)
        assert pair["correlation"] == pytest.approx(expected.correlation)
        assert pair["reliability"] == pytest.approx(expected.reliability)
        assert pair["other_reliability"] == pytest.approx(expected.other_reliability)
        known = None if np.isnan(expected.corrected) else pytest.approx(expected.corrected)
        assert pair["corrected"] == known
    # A study without encoder pairs is compared as it is.
    options = {**POOL, "limit": 200, **NETWORK}
    memorization(MemorizationOptions(**options, out=tmp_path / "pool"))
    memorization(
        MemorizationOptions(**options, seed=9, compare=(tmp_path / "pool",), out=tmp_path / "c")
    )
    (found,) = read_json(tmp_path / "c/memorization.json")["agreement"]
    assert found["tau"] is not None
    assert found["corrected"] is found["reliability"] is None


def test_pairs_agree_before_training_by_their_pixels_and_not_with_common_ones(tmp_path):
    options = {**NETWORK, "candidates": 12, "steps": 1, "lr": 1e-9, "augmentations": 4}
    own = read_json(study(tmp_path / "own", **options) / "memorization.json")
    for tests, arrays in zip(
        own["sets"], read_arrays(tmp_path / "own/scores.npz")["units"], strict=True
    ):
        # One step of nothing: what is told of untrained encoders is told of these.
        untrained = tests["agreement_of_pairs_untrained"]
        assert tests["agreement_of_pairs"] == pytest.approx(untrained, abs=0.05)
        external = read_arrays(tmp_path / "own/scores.npz")["sets"] == SETS.index("external")
        taus = agreement_of_pairs(arrays[:, external])
        assert tests["agreement_of_pairs_external"] == pytest.approx(taus)
    assert own["sets"][1]["agreement_of_pairs_untrained"] is not None
    folder = study(tmp_path / "common", common_pixels=True, **options)
    common = read_json(folder / "memorization.json")
    assert [tests["agreement_of_pairs_untrained"] for tests in common["sets"]] == [None, None]
    scores = [read_arrays(tmp_path / name / "scores.npz")["scores"] for name in ("own", "common")]
    assert np.abs(scores[1]).max() < 1e-5 < np.abs(scores[0]).max()


def test_a_study_goes_on_with_the_pixels_it_began_with(tmp_path, capsys):
    folder = study(tmp_path / "o")
    told = refused(capsys, folder, common_pixels=True)
    assert "encoders with common-pixels False, now it is True" in told
    # As version 0.1.0 left it, which had no such option.
    config = read_json(folder / "config.json")
    del config["options"]["common_pixels"]
    (folder / "config.json").write_text(json.dumps(config))
    assert "common-pixels False, now it is True" in refused(capsys, folder, common_pixels=True)
    before = read_json(folder / "memorization.json")
    study(folder)
    assert read_json(folder / "memorization.json") == before


def test_encoders_of_runs_have_an_untrained_baseline_and_pixels_of_their_own(
    runs, tmp_path, capsys
):
    folder = study(tmp_path / "o", **of_runs(runs))
    (tests,) = read_json(folder / "memorization.json")["sets"]
    assert -1 <= tests["agreement_of_pairs_untrained"] <= 1
    told = refused(capsys, tmp_path / "p", **of_runs(runs), common_pixels=True)
    assert "common-pixels is given for encoders that are trained already" in told


def test_encoders_of_a_pool_share_their_pixels(tmp_path):
    results = []
    for together in (False, True):
        options = {**POOL, "common_pixels": True, "together": together}
        folder = memorization(MemorizationOptions(**options, out=tmp_path / str(together)))
        results.append(read_arrays(folder / "scores.npz")["scores"])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4, atol=1e-6)
    alone = memorization(MemorizationOptions(**POOL, together=False, out=tmp_path / "own"))
    assert np.abs(read_arrays(alone / "scores.npz")["scores"] - results[0]).max() > 1e-4


def planted(form="raw"):
    """Two layers of losses: in the first, candidates are aligned by f; in the second, by none."""
    options = MemorizationOptions(shared=8, candidates=12, independent=6, external=5, limit=60)
    images, rng = scored_images(options), np.random.default_rng(0)
    n = len(images.images)
    losses = 1 + 0.1 * rng.random((4, 2, n))
    losses[:2, 0, images.sets["candidate"].numpy()] *= 0.5
    members = np.zeros((4, n), bool)
    members[:2, images.rows("f")] = members[2:, images.rows("g")] = True
    none = np.empty((2, 0, n))
    whole = ImageScores(none, none, none, losses, members)
    return images, scores_by_form(whole, "", "split"), replace(options, form=form)


def test_planted_memorisation_is_found_in_its_layer_in_both_forms():
    images, forms, _ = planted()
    found = by_form(forms, images, ("projector", "backbone"), atypical=False)
    for form, size in (("raw", 0.5), ("ratio", 1 / 3)):
        first, second = (layer["comparisons"][0] for layer in found[form]["sets"])
        assert first["difference"] == pytest.approx(size, rel=0.1)
        assert first["low"] > 0
        assert second["low"] < 0 < second["high"]
    rankings = layer_agreement(forms["raw"], images, ("projector", "backbone"), 50)
    assert rankings[0]["top"] == 6


def test_raw_scores_follow_the_loss_of_encoders_without_the_image():
    images, _, _ = planted()
    n = len(images.images)
    rng = np.random.default_rng(0)
    without = 0.1 + rng.random(n)
    losses = np.stack([0.2 * without, without])[:, None].repeat(1, axis=1)
    members = np.zeros((2, n), bool)
    members[0] = True
    scores = scores_by_form(
        ImageScores(np.empty((1, n)), np.empty((1, n)), np.empty((1, 1, n)), losses, members),
        "",
        "subsample",
    )
    pool = replace(images, sets={})
    found = by_form(scores, pool, ("z",), atypical=False)
    # Encoders with an image lose the same share of the loss: raw scores are its size alone.
    assert found["raw"]["loss_correlation"] == [pytest.approx(1)]
    assert np.ptp(scores["ratio"].scores) < 1e-9
