"""``sslsim memorization --units``: UnitMem of f and g, on candidates and external images."""

import numpy as np
import pytest
import torch
from scipy import stats
from shown import shown
from studies import PAGE, contents, refused, study

from experiments.studies.memorization.analysis.units import unit_results
from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.settings import scored_images
from sslsim.core.files import read_arrays, read_json
from sslsim.encoders.build import Encoder
from sslsim.measures.frozen import FrozenEncoder
from sslsim.memorization.losses import ImageScores, Scoring

pytestmark = pytest.mark.slow


def test_units_are_measured_of_a_finished_study(tmp_path):
    options = {"encoder": "convnet", "widths": (6, 5), "layers": ("projector", "layer1"),
               "candidates": 9, "external": 7}  # fmt: skip
    folder = study(tmp_path / "o", **options)
    assert read_json(folder / "memorization.json")["unit_memorization"] is None
    before, plain = contents(folder / "encoders"), read_arrays(folder / "scores.npz")
    study(folder, units=True, top=3, **options)
    assert contents(folder / "encoders") == before
    result, arrays = read_json(folder / "memorization.json"), read_arrays(folder / "scores.npz")
    np.testing.assert_array_equal(arrays["scores"], plain["scores"])
    assert arrays["unit_layers"].tolist() == [0] * 2 + [1] * 6
    assert arrays["unit_memorization"].shape == (4, 2, 8)
    assert arrays["unit_images"].shape == (4, 8)
    # Maxima are candidates; as many of these as of external images are looked at.
    assert set(arrays["sets"][arrays["unit_images"]].flatten()) == {0}
    for layer, entry in enumerate(result["unit_memorization"]):
        values = arrays["unit_memorization"][:, :, arrays["unit_layers"] == layer]
        means = np.nanmean(values, axis=2)
        assert (entry["points"], entry["top"]) == (7, 3)
        assert entry["unit_count"] == values.shape[2]
        np.testing.assert_allclose(entry["f_candidate"]["values"], means[:2, 0])
        np.testing.assert_allclose(entry["f_external"]["values"], means[:2, 1])
        np.testing.assert_allclose(entry["g_candidate"]["values"], means[2:, 0])
        np.testing.assert_allclose(entry["above_external"]["values"], means[:2, 0] - means[:2, 1])
        np.testing.assert_allclose(entry["above_g"]["values"], means[:2, 0] - means[2:, 0])
        contrast = (means[:2, 0] - means[2:, 0]) - (means[:2, 1] - means[2:, 1])
        np.testing.assert_allclose(entry["contrast"]["values"], contrast, atol=1e-12)
        low, high = stats.t.interval(0.9, 1, contrast.mean(), stats.sem(contrast))
        assert (entry["contrast"]["low"], entry["contrast"]["high"]) == pytest.approx((low, high))
        for key in [*entry, *entry["maxima_f"], "effect", "values"]:
            assert f"`{key}`" in PAGE, key
    for name in arrays:
        assert f"`{name}`" in PAGE, name
    assert "UnitMem, mean over units, on 7 images a set" in shown("memorization", folder)


def test_units_belong_to_the_split(tmp_path, capsys):
    told = refused(capsys, tmp_path / "o", protocol="subsample", pool=12, units=True)
    assert "units is True, an option of protocol split" in told


def lookup(images, chosen):
    """An encoder with a unit for each of some images, active for it alone, and a constant one."""
    flat = images.images.flatten(1).float() / 255
    directions = flat[chosen] - flat.mean(dim=0)
    heights = directions @ flat.T
    own = heights[torch.arange(len(chosen)), chosen]
    heights[torch.arange(len(chosen)), chosen] = -torch.inf
    layer = torch.nn.Linear(flat.shape[1], len(chosen) + 1)
    layer.weight.data = torch.cat([directions, torch.zeros(1, flat.shape[1])])
    layer.bias.data = torch.cat([-(own + heights.max(dim=1).values) / 2, torch.ones(1)])
    backbone = torch.nn.Sequential(torch.nn.Flatten(), layer, torch.nn.ReLU())
    dim = len(chosen) + 1
    clear = own - heights.max(dim=1).values
    encoder = FrozenEncoder(Encoder(backbone, torch.nn.Identity(), dim, dim), None, "noise")
    return encoder, clear


def clearest(images, name):
    """The eight images of a set that such units know best from all others."""
    rows = images.sets[name]
    return rows[lookup(images, rows)[1].argsort(descending=True)[:8]]


def test_planted_units_stand_out_and_their_images_are_those_of_the_highest_scores():
    images = scored_images(
        MemorizationOptions(shared=30, candidates=40, independent=40, external=40)
    )
    known, n = clearest(images, "candidate"), len(images.images)
    scores, none = np.zeros((1, n)), np.empty((1, 0, n))
    scores[0, known] = 1.0
    found = ImageScores(scores, scores, none, none, np.empty((0, n), bool))
    f, g = lookup(images, known)[0], lookup(images, clearest(images, "independent"))[0]
    scoring = Scoring("noise", pairs=2)
    (entry,), arrays = unit_results({"f": [f, f], "g": [g, g]}, images, found, scoring, 8)
    assert entry["f_candidate"]["mean"] == pytest.approx(8 / 9)
    assert entry["above_external"]["mean"] == pytest.approx(8 / 9)
    assert entry["contrast"]["mean"] == pytest.approx(8 / 9)
    assert (entry["silent"], entry["g_candidate"]["mean"]) == (0.0, 0.0)
    assert set(arrays["unit_images"][0, :8]) == set(known.tolist())
    # Eight of its images and the first, which the constant unit has, of the eight highest.
    maxima = entry["maxima_f"]
    expected = len({*known.tolist(), int(images.sets["candidate"][0])})
    assert maxima["images"] == [expected] * 2
    assert maxima["overlap"]["mean"] == pytest.approx(8 / expected)
    assert (maxima["chance"], max(maxima["chance_p"]) < 1e-6) == (8 / 40, True)
    assert min(entry["maxima_g"]["chance_p"]) > 0.05
    # f and g exchanged: what stood out stands below.
    (other,), _ = unit_results({"f": [g, g], "g": [f, f]}, images, found, scoring, 8)
    assert other["contrast"]["mean"] == pytest.approx(-8 / 9)
