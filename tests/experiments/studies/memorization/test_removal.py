"""``memorization-removal`` and ``memorization-penalty`` end to end on digits."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from studies import contents

from experiments.cli import main
from experiments.studies.memorization.options import (
    MemorizationOptions,
    PenaltyOptions,
    RemovalOptions,
)
from experiments.studies.memorization.penalty import chosen_candidates, memorization_penalty
from experiments.studies.memorization.removal import memorization_removal
from experiments.studies.memorization.source_study import load_study, probe_data
from experiments.studies.memorization.study import memorization
from experiments.studies.memorization.tables import penalty_rows, removal_curves
from paper_figs.runs.retraining import draw_penalty, draw_removal
from sslsim.core.files import read_json
from sslsim.data.datasets import load_images
from sslsim.data.pixels import to_shape
from sslsim.encoders.build import build_encoder
from sslsim.measures.frozen import EvaluationData, FrozenEncoder, linear_accuracies
from sslsim.memorization import remaining_points
from sslsim.runs.cache import short_name, training_identity
from sslsim.runs.encoders import train_encoder
from sslsim.runs.layers.evaluation import fine_tuned_accuracies
from sslsim.runs.options import TrainOptions

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[4] / "experiments/docs/removal.md").read_text(encoding="utf-8")


def studied(folder, **options):
    given = {"widths": (4, 5), "dim": 4, "steps": 6, "batch": 20, "augmentations": 2,
             "device": "cpu", "limit": 200, "seed": 3, "out": folder}  # fmt: skip
    return memorization(MemorizationOptions(**given | options))


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies") / "pool"
    return studied(folder, protocol="subsample", pool=60, encoders=4, share=0.5, atypical=0.1)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies") / "split"
    sizes = {"shared": 40, "candidates": 20, "independent": 20, "external": 20}
    return studied(folder, protocol="split", encoder_pairs=2, lr=0.01, **sizes)


def removing(pool, out, **options):
    given = {"remove": (0.1, 0.3), "seeds": 2, "device": "cpu"}
    return RemovalOptions(scores=pool, out=out, **given | options)


@pytest.fixture(scope="module")
def removed(pool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("removal") / "whole"
    return memorization_removal(removing(pool, folder))


def test_removal_end_to_end(removed, pool):
    found = read_json(removed / "removal.json")
    assert (found["pool"], found["seeds"], found["data"]) == (60, [7, 8], "digits")
    # Probes see the whole pool; where outliers are planted, held-out ones are read apart.
    assert found["probe_images"] == {"digits": 60}
    assert found["test_images"] == {"digits": 360, "digits, outliers": 36}
    assert [one["measure"] for one in found["results"]] == ["linear", "linear"]
    result = found["results"][0]
    assert len(result["none"]["values"]) == 2
    assert [curve["which"] for curve in result["curves"]] == ["most", "random", "least"]
    for curve in result["curves"]:
        assert [point["removed"] for point in curve["points"]] == [6, 18]
        for point in curve["points"]:
            assert len(point["accuracy"]["values"]) == 2
            assert (point["from_random"] is None) == (curve["which"] == "random")
            differences = np.subtract(point["accuracy"]["values"], result["none"]["values"])
            assert point["from_none"]["values"] == pytest.approx(differences)
    assert len(found["cells"]) == 2 * 7 * 2
    assert draw_removal(removed).stat().st_size > 5000
    point = result["curves"][0]["points"][0]
    for key in (*found, *result, *point, *point["accuracy"], *found["cells"][0]):
        assert f"`{key}`" in PAGE, key


def trainings(folder):
    """Names of the encoders that a study trained."""
    return {path.name for path in (folder / "cells").iterdir() if path.is_dir()}


def test_nothing_removed_is_plain_training_on_the_pool_bit_by_bit(removed, pool):
    study = load_study(removing(pool, removed), ("subsample",), "")
    options = replace(study.options, seed=7)
    whole = train_encoder(options, study.images.part(torch.arange(60)), Path("x"))
    data = study.images.part(remaining_points(study.scores, 0))
    every = study.options.checkpoint_every
    name = short_name(training_identity(study.options, data, 7, checkpoint_every=every))
    state = torch.load(removed / "cells" / name / "checkpoints/checkpoint-000000006.pt")
    for key, value in whole.encoder.state_dict().items():
        assert torch.equal(value, state["learner"][f"encoder.{key}"]), key


def test_what_is_stored_is_not_trained_or_measured_again(removed, pool):
    result, cells = read_json(removed / "removal.json"), contents(removed / "cells")
    memorization_removal(removing(pool, removed))
    assert read_json(removed / "removal.json") == result
    assert contents(removed / "cells") == cells


def test_an_interrupted_study_goes_on_with_the_same_numbers(removed, pool, tmp_path):
    part = tmp_path / "part"
    shutil.copytree(removed, part)
    # As a process leaves it that is killed after three encoders, the fourth trained only.
    (part / "removal.json").unlink()
    done, trained = sorted(trainings(removed))[:3], sorted(trainings(removed))[3]
    for path in list((part / "cells").iterdir()):
        if path.is_dir() and path.name not in (*done, trained):
            shutil.rmtree(path)
        elif path.is_file() and path.name.partition("-")[0] not in done:
            path.unlink()
    before = contents(part / "cells")
    memorization_removal(removing(pool, part))
    after = contents(part / "cells")
    assert {path: after[path] for path in before} == before
    assert trainings(part) == trainings(removed)
    again, whole = (read_json(folder / "removal.json") for folder in (part, removed))
    assert again["results"] == whole["results"]


def test_more_shares_train_only_what_is_new(removed, pool):
    before, known = contents(removed / "cells"), trainings(removed)
    memorization_removal(removing(pool, removed, remove=(0.1, 0.3, 0.5), which=("most",)))
    after = contents(removed / "cells")
    assert {path: after[path] for path in before} == before
    study = load_study(removing(pool, removed), ("subsample",), "")
    parts = {seed: study.images.part(remaining_points(study.scores, 30))
             for seed in (7, 8)}  # fmt: skip
    every = study.options.checkpoint_every
    assert trainings(removed) - known == {
        short_name(training_identity(study.options, data, seed, checkpoint_every=every))
        for seed, data in parts.items()
    }
    assert {len(data.images) for data in parts.values()} == {30}


def cells_with_effects(effects, seeds=4):
    """Accuracies 0.8 + seed's own + effect, and an alternating disturbance of 0.01."""
    for (which, removed), effect in effects.items():
        for seed in range(seeds):
            noise = 0.01 * (-1) ** seed if which == "most" else 0.0
            accuracy = 0.8 + 0.05 * seed + effect + noise
            yield {"which": which, "removed": removed, "share": removed / 100, "seed": seed,
                   "data": "digits", "measure": "linear", "accuracy": accuracy}  # fmt: skip


def test_planted_effects_come_back_with_their_intervals():
    effects = {("none", 0): 0.0, ("most", 5): -0.2, ("random", 5): -0.1, ("least", 5): 0.03}
    (found,) = removal_curves(list(cells_with_effects(effects)), 0.9)
    points = {curve["which"]: curve["points"][0] for curve in found["curves"]}
    assert found["none"]["mean"] == pytest.approx(0.875)
    most = points["most"]["from_random"]
    # Four differences -0.1 +- 0.01: deviation 0.02 / sqrt(3), t_{0.95, 3} = 2.3534.
    half = 2.3534 * 0.02 / math.sqrt(3) / 2
    assert most["mean"] == pytest.approx(-0.1)
    assert (most["low"], most["high"]) == pytest.approx((-0.1 - half, -0.1 + half), rel=1e-4)
    assert points["most"]["from_none"]["mean"] == pytest.approx(-0.2)
    # Pairing takes away what seeds differ by: they differ by 0.05 a seed here.
    least = points["least"]["from_random"]
    assert (least["low"], least["high"]) == pytest.approx((0.13, 0.13))
    assert points["least"]["accuracy"]["high"] - points["least"]["accuracy"]["low"] > 0.1
    assert points["random"]["from_random"] is None


def test_a_seed_that_is_missing_is_left_out_of_the_pairs():
    cells = list(cells_with_effects({("none", 0): 0.0, ("least", 5): 0.03}))
    (found,) = removal_curves([one for one in cells if one != cells[0]], 0.9)
    (point,) = found["curves"][0]["points"]
    assert len(point["from_none"]["values"]) == 3
    assert len(point["accuracy"]["values"]) == 4
    assert point["from_random"] is None


def test_penalty_rows_pair_seeds_with_strength_0():
    cells = [
        {"target": target, "strength": s, "seed": seed,
         "measures": {"x": 10 * seed + s * (1 if target == "most" else 2)}}
        for target in ("most", "random") for s in (0.0, 1.0) for seed in (0, 1)
    ]  # fmt: skip
    rows = {(row["target"], row["strength"]): row["measures"]["x"] for row in
            penalty_rows(cells, 0.9)}  # fmt: skip
    assert rows["most", 0.0]["from_zero"] is None
    assert rows["most", 1.0]["from_zero"]["values"].tolist() == [1, 1]
    assert rows["random", 1.0]["from_zero"]["values"].tolist() == [2, 2]
    assert rows["random", 1.0]["value"]["mean"] == 7


def test_transfer_and_fine_tuning(pool, tmp_path):
    digits = load_images(limit=80)
    grown = digits.images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    np.savez("colour.npz", images=grown.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy(),
             labels=digits.labels.numpy() % 3)  # fmt: skip
    options = removing(pool, tmp_path / "out", which=("most",), remove=(0.2,), seeds=1,
                       transfer=("colour.npz",), fine_tune=3)  # fmt: skip
    found = read_json(memorization_removal(options) / "removal.json")
    names = [(one["data"], one["measure"]) for one in found["results"]]
    assert set(names) == {
        (data, measure)
        for data in ("digits", "digits, outliers", "colour.npz")
        for measure in ("linear", "fine-tuned")
    }
    assert found["results"][0]["none"]["low"] is None  # of one seed
    assert found["results"][0]["curves"][0]["points"][0]["from_random"] is None
    assert draw_removal(tmp_path / "out").stat().st_size > 5000
    folders = [path for path in (tmp_path / "out/cells").iterdir() if path.is_dir()]
    assert len(folders) == 2  # trainings; those of fine-tuning are gone


def test_images_are_brought_to_the_shape_of_a_network():
    generator = torch.Generator().manual_seed(0)
    colour = torch.randint(256, (3, 3, 8, 8), generator=generator).to(torch.uint8)
    assert to_shape(colour, (3, 8, 8)) is colour
    grey = to_shape(colour, (1, 8, 8))
    red, green, blue = colour[1, :, 2, 3].tolist()
    assert grey[1, 0, 2, 3] == round(0.299 * red + 0.587 * green + 0.114 * blue)
    small = to_shape(colour, (3, 4, 4))
    assert small.shape == (3, 3, 4, 4)
    # Means survive: antialiasing weighs all pixels, those at the border a little more.
    assert small.float().mean() == pytest.approx(colour.float().mean().item(), abs=8)
    back = to_shape(grey, (3, 16, 16))
    assert torch.equal(back[:, 0], back[:, 2])


def test_fine_tuning_learns_and_leaves_the_encoder(tmp_path):
    start = FrozenEncoder(
        build_encoder("convnet", (1, 8, 8), 5, seed=0, widths=(8, 8)), None, "simclr"
    )
    before = {name: value.clone() for name, value in start.encoder.state_dict().items()}
    read = {"digits": load_images(split="test", limit=100)}
    digits = EvaluationData("digits", load_images(limit=200), read)
    options = TrainOptions(optimizer="adamw", lr=0.01, batch=100, device="cpu")
    few, more = (
        fine_tuned_accuracies(start, digits, replace(options, steps=n), tmp_path / str(n))["digits"]
        for n in (1, 60)
    )
    assert more > max(few, 0.1) + 0.2
    assert all(torch.equal(value, before[k]) for k, value in start.encoder.state_dict().items())


def test_the_probe_is_that_of_frozen_features():
    encoder = FrozenEncoder(build_encoder("convnet", (1, 8, 8), 5, seed=0), None, "simclr")
    test = {"digits": load_images(split="test", limit=100)}
    digits = EvaluationData("digits", load_images(limit=150), test)
    shuffled = replace(digits.train, labels=digits.train.labels.roll(1))
    good = linear_accuracies(encoder, digits)["digits"]
    chance = linear_accuracies(encoder, replace(digits, train=shuffled))["digits"]
    assert good > 0.6
    assert chance < 0.4


def penalising(split, out, **options):
    given = {"strengths": (1.0, 1000.0), "seeds": 2, "steps": 25, "device": "cpu"}
    return PenaltyOptions(scores=split, out=out, **given | options)


@pytest.fixture(scope="module")
def penalised(split, tmp_path_factory):
    return memorization_penalty(penalising(split, tmp_path_factory.mktemp("penalty") / "all"))


def test_penalty_end_to_end(penalised):
    found = read_json(penalised / "penalty.json")
    assert (found["targets"], found["strengths"], found["count"]) == (["all"], [0, 1, 1000], None)
    assert found["seeds"] == [5, 6]  # the study's own are 3 and 4
    rows = [row["measures"] for row in found["rows"]]
    losses = [row["alignment_candidate"]["value"]["mean"] for row in rows]
    assert losses[2] < 0.8 * losses[0]  # a strong one aligns
    assert rows[0]["linear: digits"]["from_zero"] is None
    for row in rows:
        assert 0 < row["linear: digits"]["value"]["mean"] <= 1
    assert draw_penalty(penalised).stat().st_size > 5000
    for key in (*found, *found["rows"][0], *found["cells"][0]):
        assert f"`{key}`" in PAGE, key
    for name in rows[0]:
        assert f"`{name.replace('digits', 'DATA')}`" in PAGE, name


def test_chosen_candidates_alone_pay_and_strength_0_is_shared(penalised, split):
    before, known = contents(penalised / "cells"), trainings(penalised)
    options = penalising(split, penalised, strengths=(50.0,), targeted=("most", "random"), count=5)
    found = read_json(memorization_penalty(options) / "penalty.json")
    # Neither plain encoders nor g are trained again: two targets, two seeds.
    assert len(trainings(penalised) - known) == 4
    after = contents(penalised / "cells")
    assert {path: after[path] for path in before} == before
    measures = [path for path in set(after) - set(before) if path.suffix == ".json"]
    assert measures
    for path in measures:
        penalty = read_json(penalised / "cells" / path)["of"]["encoder"]["penalty"]
        assert penalty["strength"] == 50
        assert len(penalty["chosen"]) == 5
    assert [row["target"] for row in found["rows"]] == ["most", "most", "random", "random"]
    for target, row in zip(("most", "random"), found["rows"][1::2], strict=True):
        change = row["measures"]["alignment_chosen"]["from_zero"]
        assert change["mean"] < 0, target  # f aligns what it pays for
        for name in row["measures"]:
            assert f"`{name.replace('digits', 'DATA')}`" in PAGE, name
    assert draw_penalty(penalised).stat().st_size > 5000


def test_targets_are_candidates(split):
    study = load_study(PenaltyOptions(scores=split), ("split",), "")
    candidates = study.images.sets["candidate"]
    most = chosen_candidates(study, "most", 5, 0)
    others = np.setdiff1d(candidates, most)
    assert study.scores[most].min() >= study.scores[others].max()
    one, other, small = (chosen_candidates(study, "random", k, s) for k, s in
                         ((5, 0), (5, 1), (2, 0)))  # fmt: skip
    assert set(one.tolist()) <= set(candidates.tolist())
    assert set(one.tolist()) != set(other.tolist())
    assert set(small.tolist()) < set(one.tolist())


def refused(capsys, *arguments):
    assert main(list(map(str, arguments))) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_bad_input_of_removal(pool, split, tmp_path, capsys):
    def told(*arguments):
        out = ("--out", tmp_path / "no", "--device", "cpu")
        return refused(capsys, "memorization-removal", *arguments, *out)

    given = ("--scores", pool)
    assert "no study is given; expected --scores DIR" in told()
    assert "cannot be read" in told("--scores", tmp_path / "nowhere")
    assert "protocol split; expected subsample or closed-form" in told("--scores", split)
    assert "remove holds 1.5; expected shares between 0 and 1" in told(*given, "--remove", 1.5)
    assert "0 of 60 images; expected shares of 1 to 58" in told(*given, "--remove", 0.001)
    assert "each once" in told(*given, "--remove", 0.1, 0.1001)
    assert "which is most most" in told(*given, "--which", "most", "most")
    assert "seeds is 0; expected at least 1" in told(*given, "--seeds", 0)
    assert "fine-tune is -1" in told(*given, "--fine-tune", -1)
    assert "unknown data set 'nothing'" in told(*given, "--transfer", "nothing")
    assert "transfer holds digits, which is there" in told(*given, "--transfer", "digits")
    assert "interval-level is 2" in told(*given, "--interval-level", 2)
    assert not (tmp_path / "no").exists()


def test_bad_input_of_the_penalty(pool, split, tmp_path, capsys):
    def told(*arguments):
        out = ("--out", tmp_path / "no", "--device", "cpu")
        return refused(capsys, "memorization-penalty", *arguments, *out)

    given = ("--scores", split)
    assert "no study is given" in told()
    assert "protocol subsample; expected split" in told("--scores", pool)
    assert "strength is nan; expected a finite number" in told(*given, "--strengths", "nan")
    assert "count is 21; expected 1 to 20" in told(*given, "--targeted", "most", "--count", 21)
    deep = tmp_path / "deep"
    deep.mkdir()
    for name in ("memorization.json", "scores.npz"):
        (deep / name).write_bytes((split / name).read_bytes())
    config = read_json(split / "config.json")
    config["options"]["layers"] = ["layer2"]
    (deep / "config.json").write_text(json.dumps(config))
    line = told("--scores", deep, "--encoder", "linear")
    assert "scored layer2, which linear lacks; expected a study of one of backbone" in line
    assert "method is supervised, which sees one view" in told(*given, "--method", "supervised")
    assert not (tmp_path / "no").exists()


def test_a_study_of_other_images_is_refused(pool, tmp_path):
    changed = tmp_path / "changed"
    changed.mkdir()
    for name in ("memorization.json", "scores.npz"):
        (changed / name).write_bytes((pool / name).read_bytes())
    config = read_json(pool / "config.json")
    config["options"]["draw_seed"] = 1  # other outliers
    (changed / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"is no longer what .* scored; expected the same images"):
        load_study(removing(changed, tmp_path / "out"), ("subsample",), "")


def test_options_of_another_method_or_network_are_left_behind(pool, tmp_path):
    options = removing(pool, tmp_path / "out", method="byol", encoder="mlp", steps=2)
    study = load_study(options, ("subsample",), "")
    assert (study.options.method, study.options.encoder, study.options.steps) == ("byol", "mlp", 2)
    assert study.options.widths is None
    assert study.options.lr == 0.001  # as in the study
    (data,) = probe_data(study, study.images.numbers, options)
    assert list(data.test) == ["digits", "digits, outliers"]
    # Held-out images as they are, and those that were made outliers as they were made.
    plain, made = load_images(split="test").images, study.images.held_out.images
    planted = (made != plain).flatten(1).any(dim=1)
    assert torch.equal(data.test["digits"].images, plain)
    assert torch.equal(data.test["digits, outliers"].images, made[planted])
    assert int(planted.sum()) == 36


def test_classes_that_are_left_out_are_classes(pool, tmp_path):
    options = removing(pool, tmp_path / "out", method="supervised", steps=1)
    study = load_study(options, ("subsample",), "")
    assert study.options.dim is None  # that of the study is no number of classes
    labels = study.images.data.labels[study.images.numbers]
    few = study.images.part((labels < 5).nonzero()[:, 0])
    found = train_encoder(study.options, few, tmp_path / "e", classes=study.images.classes)
    assert found.encoder.dim == 10
