"""``sslsim memorization`` end to end on digits: protocols, resuming, bad input."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from shown import shown
from tolerances import rounding

import experiments.studies.memorization.encoders as trained_module
import experiments.studies.memorization.subsample as subsample_module
from experiments.cli import main
from experiments.studies.memorization.closed_form import linear_scores
from experiments.studies.memorization.image_sets import draw_points
from experiments.studies.memorization.options import MemorizationOptions
from experiments.studies.memorization.study import memorization
from experiments.studies.training.train import train_network
from sslsim.core.checkpoints import load_checkpoint
from sslsim.core.files import read_arrays, read_json
from sslsim.core.interruption import Interrupted
from sslsim.data.datasets import load_images
from sslsim.data.pixels import pixel_statistics
from sslsim.encoders.build import build_encoder
from sslsim.encoders.features import features
from sslsim.memorization import alignment_loss, subsample_scores
from sslsim.memorization.outliers import KINDS, plant_atypical
from sslsim.memorization.statistics import SETS
from sslsim.runs.options import TrainOptions
from sslsim.runs.setup import split_data

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[4] / "experiments/docs/memorization.md").read_text(encoding="utf-8")
NETWORK = {"encoder": "linear", "dim": 2, "limit": 200, "steps": 4, "batch": 8, "augmentations": 2}
SMALL = {
    **NETWORK, "shared": 8, "candidates": 6, "independent": 5, "external": 4, "encoder_pairs": 2,
    "device": "cpu", "checkpoint_every": 2,
}  # fmt: skip
POOL = {**NETWORK, "protocol": "subsample", "pool": 12, "encoders": 4, "device": "cpu"}


def study(out, **options):
    return memorization(MemorizationOptions(**{**SMALL, "out": out, **options}))


def arguments(out, **options):
    """The command line of options."""
    given = ["memorization", "--out", str(out)]
    base = SMALL if options.get("protocol", "split") == "split" else NETWORK
    for name, value in {**base, **options}.items():
        values = value if isinstance(value, tuple) else (value,)
        flag = isinstance(value, bool) and name != "together"
        given += [f"--{name.replace('_', '-')}", *([] if flag else map(str, values))]
    return given


def contents(folder):
    """Bytes and times of all files of a folder, but for records, of which there are none."""
    files = [p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("records.")]
    return {p.relative_to(folder): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def keys_of(value):
    """All keys of nested dictionaries, but for names of sets, layers and kinds."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_of(inner)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """A study with everything on, by the command line."""
    folder = tmp_path_factory.mktemp("studies") / "split"
    given = arguments(folder, layers=("backbone", "projector"), atypical=0.5, curve=2)
    assert main([*given, "--evaluate"]) == 0
    return folder


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
    points = draw_points(MemorizationOptions(**SMALL, atypical=0.5))
    assert np.array_equal(arrays["most"], points.images[arrays["order"][:3]].numpy())
    assert np.array_equal(arrays["least"], points.images[arrays["order"][::-1][:3].copy()].numpy())
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


def test_members_go_by_the_draw_and_not_by_the_seed_of_training():
    options = MemorizationOptions(**POOL)
    members = subsample_module.drawn_members(options)
    assert torch.equal(subsample_module.drawn_members(replace(options, seed=9)), members)
    assert not torch.equal(subsample_module.drawn_members(replace(options, draw_seed=9)), members)


def test_encoders_that_are_trained_are_not_trained_again(split, tmp_path):
    before = contents(split / "encoders")
    whole = read_json(split / "memorization.json")
    given = arguments(split, layers=("projector",), atypical=0.5, curve=2, distance="cosine")
    assert main([*given, "--form", "ratio"]) == 0
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


def test_an_interrupted_study_goes_on_with_the_same_bits(tmp_path, monkeypatch):
    study(tmp_path / "whole")
    train, calls = trained_module.train, []

    def stopping(learner, data, kind, options, folder, **others):
        calls.append(folder)
        if len(calls) == 3:
            train(learner, data, kind, options, folder, **others)
            (folder / "checkpoints/checkpoint-000000004.pt").rename(
                folder / "checkpoints/.writing-1"
            )
            raise Interrupted
        return train(learner, data, kind, options, folder, **others)

    monkeypatch.setattr(trained_module, "train", stopping)
    with pytest.raises(Interrupted):
        study(tmp_path / "parts")
    assert not (tmp_path / "parts/memorization.json").exists()
    done = contents(tmp_path / "parts/encoders/f0")
    study(tmp_path / "parts")
    assert contents(tmp_path / "parts/encoders/f0") == done
    whole, parts = (read_arrays(tmp_path / name / "scores.npz") for name in ("whole", "parts"))
    for name, values in whole.items():
        np.testing.assert_array_equal(values, parts[name], err_msg=name)
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


def test_outliers_that_g_learned_are_told_to_be_low(tmp_path):
    study(tmp_path / "a", atypical=0.5)
    lines = shown("memorization", tmp_path / "a").splitlines()
    outliers = {line.partition(",")[0]: line for line in lines if "chance 0.5" in line}
    low = "low where memorised: g saw them, not f"
    assert low in outliers["outliers (any) among independent"]
    assert low not in outliers["outliers (any) among candidate"]


def test_encoders_begun_together_go_on_together_on_any_device(tmp_path, monkeypatch):
    options = MemorizationOptions(**POOL, out=tmp_path / "s")
    memorization(options)
    before = contents(tmp_path / "s/encoders")
    monkeypatch.setattr(subsample_module, "_SMALL", 0)  # as where together is not the default
    memorization(options)
    assert contents(tmp_path / "s/encoders") == before
    memorization(replace(options, out=tmp_path / "t"))
    assert (tmp_path / "t/encoders/0").exists()
    before = contents(tmp_path / "t/encoders")
    monkeypatch.undo()
    memorization(replace(options, out=tmp_path / "t"))
    assert contents(tmp_path / "t/encoders") == before


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


def test_losses_of_many_images_are_those_of_all_at_once(monkeypatch):
    images = load_images(limit=200).images
    numbers = torch.randperm(400, generator=torch.Generator().manual_seed(0))[:200]
    encoders = [
        trained_module.Trained(build_encoder("linear", (1, 8, 8), 3, seed=k), pixels, "weak")
        for k, pixels in enumerate((None, pixel_statistics(images), pixel_statistics(images[:9])))
    ]
    options = MemorizationOptions(augmentations=3, layers=("projector", "backbone"), draw_seed=4)
    whole = trained_module.encoder_losses(encoders, images, numbers, "weak", options)
    assert whole.shape == (3, 2, 200)
    monkeypatch.setattr(trained_module, "_BLOCKS", 2)
    parts = trained_module.encoder_losses(encoders, images, numbers, "weak", options)
    # Encoders see the same batches; distances are averaged over 3 pairs.
    torch.testing.assert_close(parts, whole, rtol=rounding(torch.float64, 64), atol=1e-15)
    for one, layers in zip(encoders, whole, strict=True):
        for layer, found in zip(options.layers, layers, strict=True):

            def fed(views, one=one, layer=layer):
                views = views if one.pixels is None else one.pixels.standardise(views)
                return features(one.encoder, views, [layer])[layer]

            expected = alignment_loss(fed, images, "weak", pairs=3, seed=4, numbers=numbers)
            torch.testing.assert_close(found, expected.mean, rtol=1e-5, atol=1e-7)


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
    points = draw_points(MemorizationOptions(**options))
    if not kernel:
        expected = linear_scores(
            points.images, "crops", 2, augmentations=2, numbers=points.numbers, exact=True,
            pixels=pixel_statistics(points.images),
        )  # fmt: skip
        np.testing.assert_array_equal(arrays["scores"][0], expected.scores)
    # Of the pixels there is one model, whatever is asked for.
    names = ("simclr", "linear") if kernel else ("barlow_twins", "linear")
    assert (result["method"], result["encoder"]) == names
    for key in result:
        assert f"`{key}`" in PAGE, key


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


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs f and g of two seeds and their sets, one of another network, one without checkpoints."""
    folder = tmp_path_factory.mktemp("runs")
    data = load_images(limit=40)
    rows = {"f": np.arange(30), "g": np.r_[0:20, 30:40]}
    for name, places in rows.items():
        np.savez(folder / f"{name}.npz", images=data.images[places].numpy())
    made = {"dim": 2, "steps": 2, "batch": 8, "records": 2, "probe": 4, "evaluate": False,
            "device": "cpu"}  # fmt: skip
    for name in rows:
        for seed in range(2):
            options = {**made, "encoder": "linear", "data": str(folder / f"{name}.npz")}
            train_network(TrainOptions(**options, seed=seed, out=folder / f"{name}{seed}"))
    options = {**made, "encoder": "mlp", "widths": (4,), "data": str(folder / "g.npz")}
    train_network(TrainOptions(**options, out=folder / "other"))
    for path in train_network(TrainOptions(**{**options, "out": folder / "empty"})).glob(
        "checkpoints/*"
    ):
        path.unlink()
    # A tenth of the images of a file is held out of training, the same for files of one size.
    held_out = _held_out(30)
    seen = {name: np.delete(places, held_out) for name, places in rows.items()}
    sets = {
        "shared": np.intersect1d(seen["f"], seen["g"]),
        "candidate": np.setdiff1d(seen["f"], rows["g"]),
        "independent": np.setdiff1d(seen["g"], rows["f"]),
        "external": np.arange(4),
    }
    np.savez(folder / "sets.npz", **sets)
    np.savez(folder / "overlap.npz", **{**sets, "candidate": sets["shared"][:4]})
    np.savez(folder / "outside.npz", **{**sets, "candidate": [3, 999]})
    return folder


def _held_out(count):
    from sslsim.runs.setup import _HELD_OUT

    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order[_HELD_OUT - 1 :: _HELD_OUT].numpy()


def of_runs(runs, f="f", g="g", **options):
    families = {
        name: tuple(runs / f"{kind}{i}" for i in range(2)) for name, kind in (("f", f), ("g", g))
    }
    return {"limit": 40, "sets": runs / "sets.npz", **families, **options}


def test_encoders_of_runs_are_scored(runs, tmp_path):
    assert main(arguments(tmp_path / "o", **of_runs(runs))) == 0
    arrays = read_arrays(tmp_path / "o/scores.npz")
    assert not (tmp_path / "o/encoders").exists()
    # The same runs in both places: no image is memorised, whatever its set.
    assert np.abs(arrays["scores"]).max() > 0


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
    ({"together": False}, "together is False, an option of protocol subsample; expected it not"),
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


def refused(capsys, folder, **options):
    before = contents(folder) if folder.exists() else None
    assert main(arguments(folder, **options)) == 2
    assert (contents(folder) if folder.exists() else None) == before
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


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
