"""``sslsim memorization`` end to end on digits: the split protocol, resuming, methods."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from shown import shown
from studies import PAGE, SMALL, arguments, contents, study

from experiments.cli import main
from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.settings import scored_images
from experiments.studies.memorization.study import memorization
from sslsim.core.checkpoints import load_checkpoint
from sslsim.core.files import read_arrays, read_json
from sslsim.memorization.outliers import KINDS, plant_atypical
from sslsim.memorization.statistics import SETS
from sslsim.runs.options import TrainOptions
from sslsim.runs.setup import split_data

pytestmark = pytest.mark.slow


def keys_of(value):
    """All keys of nested dictionaries, but for names of sets, layers and kinds."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_of(inner)


def test_a_split_study_leaves_scores_tests_and_a_picture(split, capsys):
    result, arrays = read_json(split / "memorization.json"), read_arrays(split / "scores.npz")
    assert arrays["scores"].shape == arrays["standard_error"].shape == (2, 23)
    assert arrays["units"].shape == (2, 2, 23)
    assert arrays["losses"].shape == (4, 2, 23)
    np.testing.assert_allclose(arrays["scores"], arrays["units"].mean(axis=1), atol=1e-12)
    assert np.bincount(arrays["sets"]).tolist() == [6, 5, 8, 4]
    # f saw shared images and candidates, g shared and independent ones.
    assert arrays["members"].sum(axis=1).tolist() == [14, 14, 13, 13]
    assert arrays["members"][:2, arrays["sets"] == 0].all()
    assert not arrays["members"][:, arrays["sets"] == 3].any()
    # Ranked are candidates, whose images are kept.
    assert set(arrays["order"]) == set(np.flatnonzero(arrays["sets"] == 0))
    assert (np.diff(arrays["scores"][0][arrays["order"]]) <= 0).all()
    images = scored_images(MemorizationOptions(**SMALL, atypical=0.5)).images
    assert np.array_equal(arrays["most"], images[arrays["order"][:3]].numpy())
    assert np.array_equal(arrays["least"], images[arrays["order"][::-1][:3].copy()].numpy())
    for layer, tests in enumerate(result["sets"]):
        units = arrays["units"][layer]
        for code, name in enumerate(SETS):
            means = units[:, arrays["sets"] == code].mean(axis=1)
            np.testing.assert_allclose(tests["means"][name], means, atol=1e-12)
    assert [point["step"] for point in result["curve"]] == [0, 2, 4]
    last = result["curve"][-1]["means"]["candidate"]
    np.testing.assert_allclose(last, result["sets"][0]["means"]["candidate"], atol=1e-12)
    assert {k: len(v["backbone"]) for k, v in result["accuracies"].items()} == {"f": 2, "g": 2}
    told = {*SETS, *KINDS, "backbone", "projector", "any"}
    for key in dict.fromkeys([*keys_of(result), *arrays]):
        assert key in told or f"`{key}`" in PAGE, key
    assert (split / "memorization.png").stat().st_size > 20_000


def test_outliers_are_found_as_often_as_pairs_of_images_say(split):
    result, arrays = read_json(split / "memorization.json"), read_arrays(split / "scores.npz")
    for code, name in enumerate(SETS):
        inside, kinds = arrays["sets"] == code, arrays["atypical"]
        assert result["atypical"][name], name
        for kind, found in result["atypical"][name].items():
            planted = inside & (kinds > 0 if kind == "any" else kinds == KINDS.index(kind))
            assert found["points"] == planted.sum()
            one, *units = (
                (scores[planted][:, None] > scores[inside & (kinds == 0)]).mean()
                for scores in (arrays["scores"][0], *arrays["units"][0])
            )
            assert (found["auc"], found["units"]) == (pytest.approx(one), pytest.approx(units))
            if np.ptp(units):  # Student's interval over the two pairs, 90 %
                low, high = stats.t.interval(0.9, 1, np.mean(units), stats.sem(units))
                assert (found["low"], found["high"]) == pytest.approx((low, high))
    aucs = [found["auc"] for kinds in result["atypical"].values() for found in kinds.values()]
    assert any(auc != 0.5 for auc in aucs)


def test_encoders_of_a_pair_start_alike_and_pairs_do_not(split):
    def start(name):
        state = load_checkpoint(
            split / f"encoders/{name}/checkpoints/checkpoint-000000000.pt", torch.device("cpu")
        )
        return torch.cat([value.flatten().double() for value in state["learner"].values()])

    assert torch.equal(start("f0"), start("g0"))
    assert torch.equal(start("f1"), start("g1"))
    assert not torch.equal(start("f0"), start("f1"))
    units = read_arrays(split / "scores.npz")["units"]
    assert (units[:, 0] != units[:, 1]).all()


def test_the_course_is_that_of_shorter_trainings(split, tmp_path):
    course = read_json(split / "memorization.json")["curve"]
    folder = study(tmp_path / "o", atypical=0.5, steps=2)
    short = read_json(folder / "memorization.json")["sets"][0]
    for name in SETS:
        np.testing.assert_allclose(course[1]["means"][name], short["means"][name], rtol=1e-9)
    assert course[1]["means"] != course[2]["means"]


def test_encoders_that_are_trained_are_not_trained_again(split, tmp_path):
    before = contents(split / "encoders")
    whole = read_json(split / "memorization.json")
    given = arguments(split, layers=("projector",), atypical=0.5, curve=2, distance="cosine")
    assert main([*given, "--form", "ratio", "--stream", "never", "--cache", "elsewhere"]) == 0
    assert contents(split / "encoders") == before
    found = read_json(split / "memorization.json")
    assert found["layers"] == ["projector"]
    assert np.abs(read_arrays(split / "scores.npz")["scores"]).max() <= 1
    # And back: the same bits.
    given = arguments(split, layers=("backbone", "projector"), atypical=0.5, curve=2)
    assert main([*given, "--evaluate"]) == 0
    assert read_json(split / "memorization.json") == whole
    # More pairs: those that are there stay.
    assert main(arguments(split, atypical=0.5, curve=2, encoder_pairs=3)) == 0
    after = contents(split / "encoders")
    assert {path: after[path] for path in before} == before
    assert len(after) > len(before)


def test_an_interrupted_study_goes_on_with_the_same_bits(tmp_path):
    study(tmp_path / "whole")
    study(tmp_path / "parts")
    # As a process leaves it that is killed in the third training: encoders f0, g0 and a part of f1.
    parts = tmp_path / "parts"
    for name in ("memorization.json", "scores.npz"):
        (parts / name).unlink()
    shutil.rmtree(parts / "encoders/g1")
    checkpoints = parts / "encoders/f1/checkpoints"
    (checkpoints / "checkpoint-000000004.pt").rename(checkpoints / ".writing-1")
    done = contents(parts / "encoders/f0")
    study(parts)
    assert contents(parts / "encoders/f0") == done
    whole, again = (read_arrays(tmp_path / name / "scores.npz") for name in ("whole", "parts"))
    for name, values in whole.items():
        np.testing.assert_array_equal(values, again[name], err_msg=name)
    first, second = (tmp_path / name / "memorization.json" for name in ("whole", "parts"))
    assert first.read_bytes() == second.read_bytes()


def test_independent_images_of_f_and_g_are_candidates_of_g_and_f(tmp_path):
    places = np.random.default_rng(0).permutation(30)
    sets = {"shared": places[:9], "candidate": places[9:16], "independent": places[16:21],
            "external": np.arange(4)}  # fmt: skip
    exchanged = {**sets, "candidate": sets["independent"], "independent": sets["candidate"]}
    scores = []
    for name, chosen in (("one", sets), ("other", exchanged)):
        np.savez(tmp_path / f"{name}.npz", **chosen)
        folder = study(tmp_path / name, limit=30, sets=tmp_path / f"{name}.npz")
        arrays = read_arrays(folder / "scores.npz")
        scores.append(dict(zip(arrays["numbers"].tolist(), arrays["scores"][0], strict=True)))
    assert scores[0].keys() == scores[1].keys()
    for number, score in scores[0].items():
        assert score == -scores[1][number]


def test_outliers_that_g_learned_are_told_to_be_low(tmp_path):
    study(tmp_path / "a", atypical=0.5)
    lines = shown("memorization", tmp_path / "a").splitlines()
    outliers = {line.partition(",")[0]: line for line in lines if "chance 0.5" in line}
    low = "low where memorised: g saw them, not f"
    assert low in outliers["outliers (any) among independent"]
    assert low not in outliers["outliers (any) among candidate"]


def test_a_class_that_a_part_lacks_is_a_class(tmp_path):
    # f sees no nine, which is the last class: both have as many outputs, and start alike.
    labels = split_data(TrainOptions(limit=200))[0].labels.numpy()
    nines, others = np.flatnonzero(labels == 9), np.flatnonzero(labels < 9)
    sets = {"shared": others[:20], "candidate": others[20:26], "independent": nines[:6],
            "external": np.arange(4)}  # fmt: skip
    np.savez(tmp_path / "sets.npz", **sets)
    options = {"method": "supervised", "dim": None, "layers": ("projector",), "lr": 1e-30}
    folder = study(
        tmp_path / "o", **options, sets=tmp_path / "sets.npz", score_views="weak", standardise=False
    )
    arrays = read_arrays(folder / "scores.npz")
    assert not arrays["scores"].any()


OVERTRAINED = {"encoder": "mlp", "widths": (64,), "views": "crops", "shared": 20, "candidates": 20,
               "independent": 20, "external": 40, "encoder_pairs": 3, "steps": 300, "batch": 40,
               "augmentations": 5, "lr": 0.01, "dim": 8, "layers": ("projector",),
               "checkpoint_every": 300}  # fmt: skip


def test_overtrained_encoders_memorise_their_candidates(tmp_path):
    folder = study(tmp_path / "o", **OVERTRAINED)
    tests = read_json(folder / "memorization.json")["sets"][0]
    for test in tests["comparisons"]:  # the least of them is 8 standard errors
        assert test["difference"] > 4 * test["standard_error"] > 0, test
    # Images that f and g both saw tell nothing: candidates stand out against their spread.
    assert abs(tests["offset"]) < tests["comparisons"][0]["difference"] / 3


def test_grey_images_have_no_colours_to_exchange(split):
    found = read_json(split / "memorization.json")["atypical"]
    assert all("colours" not in kinds for kinds in found.values())
    grey = torch.zeros(20, 1, 2, 2, dtype=torch.uint8)
    assert KINDS.index("colours") not in plant_atypical(grey, 1.0)[1]
    assert KINDS.index("colours") in plant_atypical(grey.expand(-1, 3, -1, -1), 1.0)[1]


@pytest.mark.parametrize(
    "options",
    [
        {"method": "byol"},
        {"method": "dino", "encoder": "convnet", "widths": (4,)},
        {"method": "mae", "encoder": "vit_tiny", "dim": None, "augmentations": 1},
        {"method": "supervised", "dim": None, "score_views": "noise"},
        {"method": "barlow_twins", "distance": "angular", "against": "original"},
    ],
    ids=lambda options: options["method"],
)
def test_methods_are_scored_by_the_same_command(tmp_path, options):
    small = {"shared": 12, "candidates": 2, "independent": 2, "external": 2, "steps": 1, "batch": 4}
    options = MemorizationOptions(**{**SMALL, **small, **options}, out=tmp_path / "o")
    memorization(replace(options, shared=40 if options.method == "supervised" else 12))
    assert np.isfinite(read_arrays(tmp_path / "o/scores.npz")["scores"]).all()
    # Of dino's multicrop strong views are scored.
    views = {"mae": "mask", "supervised": "noise", "barlow_twins": "simclr"}
    views = views.get(options.method, "strong")
    assert read_json(tmp_path / "o/memorization.json")["views"] == views
