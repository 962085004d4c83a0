"""``sslsim memorization`` of a pool: encoders on random shares of it, and the closed forms."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from studies import PAGE, POOL, contents

from experiments.studies.memorization.closed_form import linear_scores
from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.settings import pool_members, scored_images
from experiments.studies.memorization.study import memorization
from sslsim.core.files import read_arrays, read_json, write_json
from sslsim.data.datasets import load_images
from sslsim.data.pixels import pixel_statistics
from sslsim.memorization import subsample_scores

pytestmark = pytest.mark.slow


def test_members_go_by_the_draw_and_not_by_the_seed_of_training():
    options = MemorizationOptions(**POOL)
    members = pool_members(options)
    assert torch.equal(pool_members(replace(options, seed=9)), members)
    assert not torch.equal(pool_members(replace(options, draw_seed=9)), members)


def begun_elsewhere(folder, options, together):
    """A study that was begun with the default, where that is another than here."""
    memorization(replace(options, out=folder, together=together))
    config = read_json(folder / "config.json")
    config["options"]["together"] = None
    write_json(folder / "config.json", config)
    return contents(folder / "encoders")


def test_encoders_begun_together_go_on_together_on_any_device(tmp_path):
    digits = torch.nn.functional.pad(load_images(limit=60).images, (0, 1, 0, 1))
    np.savez(tmp_path / "large.npz", images=digits.numpy())
    # One after another is the default of images of 9 x 9 pixels, together of those of 8 x 8.
    large = MemorizationOptions(**{**POOL, "limit": 60}, data=str(tmp_path / "large.npz"))
    for options, default in ((large, False), (MemorizationOptions(**POOL), True)):
        folder = tmp_path / str(default)
        memorization(replace(options, out=folder / "fresh"))
        assert (folder / "fresh/encoders/together").exists() is default
        before = begun_elsewhere(folder / "begun", options, together=not default)
        memorization(replace(options, out=folder / "begun"))
        assert contents(folder / "begun/encoders") == before
        assert (folder / "begun/encoders/together").exists() is not default


def test_subsampling_at_once_and_one_after_another_agree(tmp_path):
    found = []
    for together in (True, False):
        folder = memorization(
            MemorizationOptions(
                **POOL, together=together, evaluate=True, out=tmp_path / str(together)
            )
        )
        found.append(read_arrays(folder / "scores.npz"))
        expected = subsample_scores(found[-1]["losses"][:, 0], found[-1]["members"], centre=True)
        np.testing.assert_allclose(found[-1]["scores"][0], expected.scores, rtol=1e-12)
        result = read_json(folder / "memorization.json")
        assert len(result["accuracies"]["all"]["backbone"]) == 4
        assert result["sets"] is None
        for key in result:
            assert f"`{key}`" in PAGE, key
    assert (tmp_path / "True/encoders/together").is_dir()
    assert (tmp_path / "False/encoders/3").is_dir()
    # float32 over 4 updates
    np.testing.assert_allclose(found[0]["losses"], found[1]["losses"], rtol=1e-3, atol=1e-5)
    assert np.array_equal(found[0]["members"], found[1]["members"])
    assert found[0]["members"].sum() == round(0.7 * 4 * 12)


@pytest.mark.parametrize("kernel", [False, True])
def test_a_closed_form_study_scores_the_pool(tmp_path, kernel):
    options = {**POOL, "protocol": "closed-form", "views": "crops", "exact": not kernel}
    del options["encoders"]
    folder = memorization(MemorizationOptions(**options, kernel=kernel, out=tmp_path / "c"))
    result, arrays = read_json(folder / "memorization.json"), read_arrays(folder / "scores.npz")
    assert arrays["scores"].shape == (1, 12)
    assert (result["layers"], result["distance"]) == (["projector"], "sqeuclidean")
    assert (folder / "encoders/0").exists() is kernel
    images = scored_images(MemorizationOptions(**options))
    if not kernel:
        expected = linear_scores(
            images.images, "crops", 2, augmentations=2, numbers=images.numbers, exact=True,
            pixels=pixel_statistics(images.images),
        )  # fmt: skip
        np.testing.assert_array_equal(arrays["scores"][0], expected.scores)
    # Of the pixels there is one model, whatever is asked for.
    names = ("simclr", "linear") if kernel else ("barlow_twins", "linear")
    assert (result["method"], result["encoder"]) == names
    for key in result:
        assert f"`{key}`" in PAGE, key
