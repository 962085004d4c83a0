"""``sslsim memorization --protocol influence``: a pool scored without retraining."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from shown import shown
from studies import NETWORK, PAGE, POOL, contents, refused

from experiments.studies.memorization.options import (
    MemorizationOptions,
    RemovalOptions,
)
from experiments.studies.memorization.settings import encoder_count, pool_members, scored_images
from experiments.studies.memorization.source_study import load_study, retraining_seeds
from experiments.studies.memorization.study import memorization
from sslsim.core.files import read_arrays, read_json
from sslsim.memorization import subsample_scores
from sslsim.memorization.losses import Scoring
from sslsim.memorization.one_encoder.influence import score_influence
from sslsim.memorization.statistics import rank_agreement, rank_correlations
from sslsim.runs.encoders import encoder_at

pytestmark = pytest.mark.slow

NET = {"encoder": "mlp", "widths": (6,), "layers": ("projector", "backbone"), "views": "crops"}
INFLUENCE = {**NETWORK, **NET, "protocol": "influence", "pool": 12, "device": "cpu"}


def influence(out, **options):
    return memorization(MemorizationOptions(**{**INFLUENCE, "out": out, **options}))


@pytest.fixture(scope="module")
def retrained(tmp_path_factory):
    """A study of the same pool by retraining."""
    out = tmp_path_factory.mktemp("influence") / "retrained"
    return memorization(MemorizationOptions(**{**POOL, **NET, "seed": 30, "out": out}))


@pytest.mark.parametrize("together", [False, True])
def test_the_pool_is_scored_by_encoders_of_all_its_images(tmp_path, retrained, together):
    folder = influence(tmp_path / "o", encoders=2, compare=(retrained,), together=together, top=4)
    result, arrays = read_json(folder / "memorization.json"), read_arrays(folder / "scores.npz")
    assert (result["protocol"], result["encoders"]) == ("influence", 2)
    assert (result["damping"], result["projection"]) == (1.0, 1024)
    assert arrays["scores"].shape == (2, 12)
    assert arrays["units"].shape == arrays["gradient_norms"].swapaxes(0, 1).shape == (2, 2, 12)
    assert arrays["members"].all()
    assert set(arrays["order"]) == set(range(12))
    np.testing.assert_allclose(arrays["scores"], arrays["units"].mean(axis=1))
    assert result["forms"].keys() == {"raw"}
    assert result["forms"]["raw"]["loss_correlation"] == [None, None]  # no encoder without
    if not together:
        options = MemorizationOptions(**INFLUENCE)
        images = scored_images(options)
        encoder = encoder_at(options, images.part(torch.arange(12)), folder / "encoders/0", 4)
        expected = score_influence(
            [encoder], images.images, Scoring("crops", NET["layers"], pairs=2),
            numbers=images.numbers,
        )  # fmt: skip
        np.testing.assert_allclose(arrays["units"][:, 0], expected.units[:, 0], rtol=1e-5)
    for key in [*result, *arrays]:
        assert f"`{key}`" in PAGE, key


def test_simpler_predictors_are_told_beside_it_in_both_forms(tmp_path, retrained):
    folder = influence(tmp_path / "o", compare=(retrained,), top=4)
    result, arrays = read_json(folder / "memorization.json"), read_arrays(folder / "scores.npz")
    theirs = read_arrays(retrained / "scores.npz")
    predictors = {
        "influence": arrays["scores"],
        "gradient_norm": arrays["gradient_norms"][0],
        "loss": arrays["losses"][0],
    }
    assert [entry["layer"] for entry in result["predictors"]] == list(NET["layers"])
    weights = np.full((1, 12), 1 / 12)
    for layer, entry in enumerate(result["predictors"]):
        assert (entry["points"], entry["top"]) == (12, 4)
        assert Path(entry["run"]) == retrained
        for form in ("raw", "ratio"):
            scores = subsample_scores(
                theirs["losses"][:, layer], theirs["members"], form, centre=form == "raw"
            ).scores.numpy()
            for name, values in predictors.items():
                found = entry["forms"][form][name]
                expected = rank_agreement(values[layer], scores, 4)
                assert found["tau"] == pytest.approx(expected.tau)
                assert found["tau_p"] == pytest.approx(expected.tau_p)
                assert found["overlap"] == expected.overlap
                spearman = stats.spearmanr(values[layer], scores).statistic
                assert found["spearman"]["mean"] == pytest.approx(spearman)
                if name == "loss":
                    assert found["given_loss"] is None
                    continue
                partial = rank_correlations(values[layer][None], scores, arrays["losses"][:, layer])
                assert found["given_loss"]["mean"] == pytest.approx(float(partial(weights)[0, 0]))
    agreement = result["agreement"][0]["by_layer"]
    for layer, entry in enumerate(result["predictors"]):
        assert agreement[layer]["tau"] == entry["forms"]["raw"]["influence"]["tau"]
    keys = {*result["predictors"][0], *result["predictors"][0]["forms"]["raw"]["influence"]}
    for key in keys | set(predictors):
        assert f"`{key}`" in PAGE, key
    text = shown("memorization", folder)
    assert "squared norm of the gradient" in text
    assert "predictors of the scores of other studies" in text


def test_damping_and_projection_change_without_training(tmp_path, retrained):
    folder = influence(tmp_path / "o")
    before = contents(folder / "encoders")
    first = read_arrays(folder / "scores.npz")
    influence(folder, damping=1e9, projection=64, compare=(retrained,))
    assert contents(folder / "encoders") == before
    second = read_arrays(folder / "scores.npz")
    assert (first["scores"] != second["scores"]).any()
    np.testing.assert_array_equal(first["gradient_norms"], second["gradient_norms"])
    influence(folder)  # and back: the same bits
    np.testing.assert_array_equal(read_arrays(folder / "scores.npz")["scores"], first["scores"])
    # Very much damping leaves the norm of the gradient, here not projected.
    influence(folder, damping=1e9, projection=10**6)
    found = read_arrays(folder / "scores.npz")
    ratios = found["scores"] / found["gradient_norms"][0]
    assert np.ptp(ratios, axis=1).max() < 1e-4 * ratios.max()


def test_the_number_of_encoders_is_that_of_the_protocol():
    counts = {name: encoder_count(MemorizationOptions(protocol=name)) for name in
              ("influence", "subsample", "split")}  # fmt: skip
    assert counts == {"influence": 1, "subsample": 16, "split": 16}
    assert pool_members(MemorizationOptions(**INFLUENCE)).all()


def test_images_may_be_removed_by_it(tmp_path):
    folder = influence(tmp_path / "o", encoders=2)
    study = load_study(RemovalOptions(scores=folder), ("influence",), "")
    assert retraining_seeds(study, 2) == [2, 3]
    np.testing.assert_array_equal(study.scores, read_arrays(folder / "scores.npz")["scores"][0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"damping": -1.0}, "damping is -1.0; expected a finite number of at least 0"),
        ({"damping": "nan"}, "damping is nan"),
        ({"projection": 0}, "projection is 0"),
        ({"encoders": 0}, "encoders is 0"),
        ({"form": "ratio"}, "form is 'ratio'; expected 'raw' with influence"),
        ({"against": "original"}, "against is 'original'; expected 'view' with influence"),
        ({"layers": ("layer1",)}, "layers is layer1; expected some of backbone, projector"),
        ({"share": 0.5}, "share is 0.5, an option of protocol subsample"),
        ({"units": True}, "units is True, an option of protocol split"),
        ({"protocol": "subsample", "damping": 0.5}, "an option of protocol influence"),
    ],
)
def test_bad_options_are_refused(tmp_path, capsys, options, message):
    base = {**INFLUENCE, **options}
    assert message in refused(capsys, tmp_path / "o", **base)
