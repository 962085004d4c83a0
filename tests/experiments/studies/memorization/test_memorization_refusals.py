"""What ``sslsim memorization`` refuses, in one line and before anything is written."""

import json

import numpy as np
import pytest
from studies import NETWORK, arguments, refused

from experiments.cli import main
from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.study import memorization
from sslsim.core.files import read_arrays, read_json
from sslsim.data.datasets import load_images

pytestmark = pytest.mark.slow


BAD = [
    ({"augmentations": 0}, "augmentations is 0; expected at least 1 pair of views"),
    ({"candidates": 1}, "the candidate set is to have 1 point(s); expected at least 2"),
    ({"shared": 1500}, "expected at most 200 training images"),
    ({"layers": ("layer9",)}, "layers is layer9; expected some of backbone, projector"),
    ({"encoder_pairs": 1}, "encoder-pairs is 1; expected at least 2"),
    ({"atypical": 1.5}, "atypical is 1.5; expected a share from 0 to 1"),
    ({"atypical": "nan"}, "atypical is nan; expected a share from 0 to 1"),
    ({"seed": -1}, "seed is -1"),
    ({"batch": 1}, "batch is 1; expected at least 2"),
    ({"score_views": "multicrop"}, "score-views is 'multicrop'; expected one of"),
    ({"views": "crops", "against": "original"}, "expected views of the size of the images"),
    ({"sets": "nowhere.npz"}, "nowhere.npz cannot be read"),
    ({"f": ("a", "b")}, "2 encoder(s) f and 0 g were given"),
    ({"compare": ("nowhere",)}, "nowhere/memorization.json cannot be read"),
    ({"compare": (".",), "out": "."}, "the folder of this study; expected others"),
    ({"protocol": "subsample", "share": 1.5}, "share is 1.5; expected a number between 0 and 1"),
    ({"protocol": "subsample", "share": 0.9, "encoders": 4}, "expected at least 10 encoders"),
    ({"protocol": "subsample", "curve": 2}, "curve is 2, an option of protocol split; expected it"),
    ({"protocol": "subsample", "pool": 5000}, "pool is 5000; expected 4 to 200"),
    (
        {"protocol": "subsample", "pool": 12, "together": True, "optimizer": "lars"},
        "together is asked for with",
    ),
    ({"protocol": "closed-form", "form": "ratio"}, "form is 'ratio'; expected 'raw'"),
    (
        {"protocol": "closed-form", "pool": 9, "dim": 70},
        "dim is 70; expected at most 64, the pixels of a view",
    ),
    ({"share": 0.5}, "share is 0.5, an option of protocol subsample; expected it not to be given"),
    ({"pool": 5}, "pool is 5, an option of protocol subsample or closed-form"),
    (
        {"together": False},
        "together is False, an option of protocol subsample or influence; expected it not",
    ),
    ({"kernel": True}, "kernel is True, an option of protocol closed-form; expected it not to"),
    ({"protocol": "closed-form", "share": 0.5}, "share is 0.5, an option of protocol subsample"),
    ({"protocol": "subsample", "shared": 9}, "shared is 9, an option of protocol split"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_options_are_refused_in_one_line_and_nothing_is_written(
    tmp_path, capsys, options, message
):
    assert main(arguments(options.pop("out", "new"), **options)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert message in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_data_that_changed_leave_a_study_as_it_was(tmp_path, capsys):
    images = load_images(limit=60).images.numpy()
    np.savez(tmp_path / "data.npz", images=images)
    given = {"data": str(tmp_path / "data.npz"), "shared": 8, "limit": 60}
    assert main(arguments(tmp_path / "o", **given)) == 0
    np.savez(tmp_path / "data.npz", images=255 - images)
    capsys.readouterr()
    assert "was another; expected the same images" in refused(capsys, tmp_path / "o", **given)
    # Results that are damaged are no reason to stop.
    np.savez(tmp_path / "data.npz", images=images)
    whole = (tmp_path / "o/memorization.json").read_bytes()
    (tmp_path / "o/scores.npz").write_bytes(b"torn")
    (tmp_path / "o/memorization.json").write_text("{")
    assert main(arguments(tmp_path / "o", **given)) == 0
    assert (tmp_path / "o/memorization.json").read_bytes() == whole


def test_encoders_are_not_trained_beside_scores_of_other_options(tmp_path, capsys):
    options = {**NETWORK, "protocol": "closed-form", "pool": 12, "views": "noise"}
    for limit in (200, 100):  # without encoders, scores of other options replace the earlier ones
        folder = memorization(MemorizationOptions(out=tmp_path, **{**options, "limit": limit}))
    line = refused(capsys, folder)
    assert "holds scores with" in line
    assert "expected the same to go on with it, or another folder" in line


def test_folders_of_something_else_are_refused(split, runs, tmp_path, capsys):
    assert "holds a run of sslsim train; expected another folder" in refused(capsys, runs / "f0")
    line = refused(capsys, split, atypical=0.5, curve=2, steps=5)
    assert "holds encoders with steps 4, now it is 5" in line
    line = refused(capsys, tmp_path / "o", draw_seed=1, compare=(split,))
    assert "expected a study of the same images" in line
    (tmp_path / "torn").mkdir()
    result = read_json(split / "memorization.json")
    arrays = read_arrays(split / "scores.npz")
    for kept, held, message in [
        ({}, {}, "memorization.json lacks 'method'; expected the result of a"),
        (result, {"scores": [0.0]}, "scores.npz lacks 'numbers'; expected the arrays of a"),
        (result, {**arrays, "scores": np.zeros((9, 23))}, "scores of shape (9, 23); expected"),
    ]:
        (tmp_path / "torn/memorization.json").write_text(json.dumps(kept))
        np.savez(tmp_path / "torn/scores.npz", **held)
        assert message in refused(capsys, tmp_path / "o", compare=(tmp_path / "torn",))
